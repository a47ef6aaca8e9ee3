"""Which predictions there are: kept for a while, listed by page, deleted; and who pays. Pure."""

from __future__ import annotations

import heapq
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from wavespeed_async._prediction import Status
from wavespeed_async.emulator._catalogue import MILLION
from wavespeed_async.emulator._records import Listing, PredictionRecord
from wavespeed_async.emulator._requests import Refusal, read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wavespeed_async.emulator._settings import Settings

__all__ = ["Purse", "Store", "deletion", "listing"]

PAGE_SIZE = 20
MOST_A_PAGE = 100
_UNPAID = {Status.FAILED, Status.CANCELLED, Status.TIMEOUT}


class Store:
    """Hold the predictions in the order of their submission."""

    def __init__(self, settings: Settings) -> None:
        self._keep = settings.keep
        self._all: dict[str, PredictionRecord] = {}

    def put(self, prediction: PredictionRecord) -> None:
        """Add a prediction."""
        self._all[prediction.id] = prediction

    def change(self, prediction_id: str, **changes: Any) -> PredictionRecord:
        """Answer a prediction after it was changed."""
        changed = self._all[prediction_id] = evolve(self._all[prediction_id], **changes)
        return changed

    def find(self, now: float, prediction_id: str) -> PredictionRecord | None:
        """Look at a prediction as it stands; one that is too old or deleted is not there."""
        found = self._all.get(prediction_id)
        if found is None or found.deleted or found.created <= now - self._keep:
            return None
        return found.seen(now)

    def all(self, now: float) -> tuple[PredictionRecord, ...]:
        """List the predictions as they stand, deleted ones too; forget those that are too old."""
        for prediction in [*self._all.values()]:
            if prediction.created > now - self._keep:
                break
            del self._all[prediction.id]
        return tuple(prediction.seen(now) for prediction in self._all.values())


class Purse:
    """Hold the account's money, in millionths of a USD."""

    def __init__(self, balance: float) -> None:
        self._left = round(balance * MILLION)
        self._refunds: list[tuple[float, str, int]] = []
        self._refunded: set[str] = set()

    def balance(self, now: float) -> int:
        """Answer what is left; what has failed by now is paid back."""
        while self._refunds and self._refunds[0][0] <= now:
            _, prediction_id, price = heapq.heappop(self._refunds)
            if prediction_id not in self._refunded:
                self._refunded.add(prediction_id)
                self._left += price
        return self._left

    def pay(self, prediction: PredictionRecord) -> None:
        """Pay for a prediction."""
        self._left -= prediction.price

    def refund(self, prediction: PredictionRecord) -> None:
        """Pay it back as soon as it has ended, if it ends without pictures."""
        if prediction.failure is not None or prediction.outcome in _UNPAID:
            refund = (prediction.ready, prediction.id, prediction.price)
            heapq.heappush(self._refunds, refund)


# --- what is asked of many predictions at once ---------------------------------------------------


@frozen
class _Query:
    asked: dict[str, Any]

    def number(self, name: str, usual: int, most: int | None = None) -> int:
        value = self.asked.get(name)
        if value is None:
            return usual
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise _wrong(name, "a whole number from 1")
        if most is not None and value > most:
            raise _wrong(name, f"at most {most}")
        return value

    def text(self, name: str) -> str | None:
        value = self.asked.get(name)
        if value is None or (isinstance(value, str) and value):
            return value
        raise _wrong(name, "a text")

    def moment(self, name: str) -> float | None:
        if (value := self.text(name)) is None:
            return None
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise _wrong(name, "a time such as 2025-09-29T23:09:43Z") from None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def listing(
    body: bytes, predictions: Sequence[PredictionRecord], epoch: float, inputs_as: str
) -> Listing:
    """Answer one page of a list: newest first, and only what was asked for.

    Raises:
        Refusal: What is asked cannot be (400).
    """
    query = _Query(read_json(body))
    page = query.number("page", 1)
    size = query.number("page_size", PAGE_SIZE, MOST_A_PAGE)
    tests = _tests(query, epoch)
    found = [p for p in reversed(predictions) if not p.deleted and all(t(p) for t in tests)]
    return Listing(
        page=page,
        total=len(found),
        items=tuple(found[(page - 1) * size : page * size]),
        inputs_as=inputs_as if query.asked.get("include_inputs") is True else None,
    )


def _tests(query: _Query, epoch: float) -> list[Callable[[PredictionRecord], bool]]:
    tests: list[Callable[[PredictionRecord], bool]] = []
    if (model := query.text("model")) is not None:
        tests.append(lambda p: p.model == model)
    if (status := query.text("status")) is not None:
        tests.append(lambda p: p.shown_status == status)
    if (after := query.moment("created_after")) is not None:
        tests.append(lambda p: epoch + p.created >= after)
    if (before := query.moment("created_before")) is not None:
        tests.append(lambda p: epoch + p.created <= before)
    return tests


def deletion(body: bytes) -> list[str]:
    """Read which ids are to be deleted.

    Raises:
        Refusal: They are no list of texts (400).
    """
    ids = read_json(body).get("ids")
    if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
        name = "ids"
        raise _wrong(name, "a list of ids")
    return ids


def _wrong(name: str, allowed: str) -> Refusal:
    return Refusal(400, f'field "{name}" must be {allowed}')
