"""What the account has, costs and keeps: balance, prices, the list of predictions, deletion."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import anyio
from attrs import frozen

from wavespeed_async._codec import decode_data, decode_id, decode_prediction, encode_request
from wavespeed_async._prediction import Prediction, Status
from wavespeed_async.errors import APIConnectionError, APIResponseError, InvalidRequestError
from wavespeed_async.models._images import unnamed
from wavespeed_async.models._request import short

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wavespeed_async._calls import Calls, Turn
    from wavespeed_async.models._request import Request

__all__ = ["Listing", "Price", "balance", "checked_ids", "delete", "in_time", "listing", "price_of"]

T = TypeVar("T")

BALANCE_PATH, DELETE_PATH = "/api/v3/balance", "/api/v3/predictions/delete"
LARGEST = 1024 * 1024
"""Bytes of an answer that tells a number or two."""
MOST_DELETED = 100
"""Ids that are deleted by one request."""
MOST_A_PAGE = 100
"""Predictions of one page (the API's own bound)."""
PAGES_KNOWN = 20
"""While a list is read new predictions push others onto the next page: those of the last pages are
known again."""
PAGES_ALIKE = 5
"""After so many pages in a row with nothing new, a list leads nowhere."""


@frozen(kw_only=True)
class Price:
    """Say what a request costs.

    Attributes:
        model: The model's id.
        amount: What it costs this account.
        list_price: What it costs without the account's discount.
        currency: In what, such as `USD`.
    """

    model: str
    amount: float
    list_price: float
    currency: str = "USD"


async def in_time(turn: Turn, ask: Callable[[], Awaitable[T]]) -> T:
    """Await an answer until the turn's deadline.

    Raises:
        APIConnectionError: It did not come until then.
    """
    with anyio.CancelScope(deadline=turn.deadline):
        return await ask()
    message = "no answer within its time"
    raise APIConnectionError(message)


async def balance(calls: Calls, turn: Turn) -> float:
    """Ask what the account has left, in USD."""
    data = await calls.asked(
        "balance", "GET", BALANCE_PATH, turn, decode=decode_data, largest=LARGEST
    )
    return _amount(data, "balance")


async def price_of(calls: Calls, request: Request, turn: Turn) -> Price:
    """Ask what a request would cost."""
    data = await calls.price(request.model, encode_request(request, unnamed), turn)
    names = [name for name in ("discounted_price", "price") if data.get(name) is not None]
    amount, list_price = _amount(data, *names[:1]), _amount(data, *names[-1:])
    currency = data.get("currency")
    return Price(
        model=request.model,
        amount=amount,
        list_price=list_price,
        currency=currency if isinstance(currency, str) and currency else "USD",
    )


async def delete(calls: Calls, ids: tuple[str, ...], turn: Turn) -> int:
    """Delete predictions, and answer how many were there."""
    deleted = 0
    for start in range(0, len(ids), MOST_DELETED):
        query = {"ids": ids[start : start + MOST_DELETED]}
        data = await calls.asked(
            "delete", "POST", DELETE_PATH, turn, query=query, decode=decode_data, largest=LARGEST
        )
        deleted += int(_amount(data, "deleted_count"))
    return deleted


def checked_ids(given: Iterable[Prediction | str]) -> tuple[str, ...]:
    """Take predictions and ids, each once.

    Raises:
        InvalidRequestError: One is no prediction and no id.
    """
    if isinstance(given, str | Prediction) or not isinstance(given, Iterable):
        raise _wrong(name="predictions", value=given, allowed="a list of predictions or ids")
    ids = [item.id if isinstance(item, Prediction) else item for item in given]
    for item in ids:
        if decode_id({"id": item}) is None:
            raise _wrong(name="predictions", value=item, allowed="predictions or their ids")
    return tuple(dict.fromkeys(ids))


def _amount(data: Mapping[str, Any], name: str = "price") -> float:
    """Read an amount, which drives what is done next: it must be one."""
    found = data.get(name)
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    if not is_number or not math.isfinite(found):  # type: ignore[arg-type]  # it is a number
        _refuse(f"{name} is {short(found)}, no number")
    return found  # type: ignore[return-value]  # it is a number


def _refuse(what: str) -> NoReturn:
    text = f"the answer (HTTP 200) is not in the API's format: {what}"
    raise APIResponseError(text, status_code=200)


def _wrong(name: str, value: object, allowed: str) -> InvalidRequestError:
    return InvalidRequestError.of("the account", name, value, allowed)


# --- the list of predictions ---------------------------------------------------------------------


def listing(
    ask: Callable[[Mapping[str, object]], Awaitable[Mapping[str, Any]]],
    *,
    model: str | None,
    status: Status | str | None,
    created_after: datetime | None,
    created_before: datetime | None,
    include_inputs: bool,
    page_size: int,
) -> Listing:
    """Check what is asked for, and answer the list of it.

    Raises:
        InvalidRequestError: A filter cannot be.
    """
    whole = isinstance(page_size, int) and not isinstance(page_size, bool)
    if not whole or not 1 <= page_size <= MOST_A_PAGE:
        allowed = f"a whole number from 1 to {MOST_A_PAGE}"
        raise _wrong(name="page_size", value=page_size, allowed=allowed)
    query: dict[str, object] = {"page_size": page_size}
    for name, text in (("model", model), ("status", status)):
        if text is not None:
            if not isinstance(text, str) or not text:
                raise _wrong(name, text, "a text that is not empty")
            query[name] = str(text)
    for name, time in (("created_after", created_after), ("created_before", created_before)):
        if time is not None:
            if not isinstance(time, datetime) or time.tzinfo is None:
                raise _wrong(name, time, "a datetime that knows its time zone")
            query[name] = time.isoformat()
    if include_inputs:
        query["include_inputs"] = True
    return Listing(ask, query)


class Listing(AsyncIterator[Prediction]):
    """Iterate over predictions as the API lists them, the newest first, page by page.

    Args:
        ask: Answers one page.
        query: What is asked for.

    Raises:
        WaveSpeedError: While iterating: no usable page came. To iterate on asks for it again.
    """

    def __init__(
        self,
        ask: Callable[[Mapping[str, object]], Awaitable[Mapping[str, Any]]],
        query: Mapping[str, object],
    ) -> None:
        self._ask = ask
        self._query = query
        self._page = 1
        self._alike = 0
        self._is_last = False
        self._next: deque[Prediction] = deque()
        self._known: deque[set[str]] = deque(maxlen=PAGES_KNOWN)

    async def __anext__(self) -> Prediction:
        while not self._next:
            if self._is_last:
                raise StopAsyncIteration
            self._take(await self._ask({**self._query, "page": self._page}))
        return self._next.popleft()

    def _take(self, data: Mapping[str, Any]) -> None:
        items = data.get("items")
        if items is None:
            items = []
        if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
            _refuse("items is no list of predictions")
        found = [decode_prediction(item) for item in items]
        new = [one for one in found if not any(one.id in known for known in self._known)]
        self._alike = 0 if new else self._alike + 1
        if found and self._alike == PAGES_ALIKE:
            _refuse("each page of the list is the same")
        self._known.append({one.id for one in found})
        self._next.extend({one.id: one for one in new}.values())
        total, size = data.get("total"), int(str(self._query["page_size"]))
        is_told = isinstance(total, int) and self._page * size >= total
        self._is_last = is_told or len(found) < size
        self._page += 1
