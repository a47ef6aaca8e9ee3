"""The API's behaviour as a state machine. Pure: no I/O, no clock, every method takes `now`.

Times are seconds on one clock that never goes back. Decisions, where the API is not known:

- The window slides, unless the settings have another one: a request counts until it is `per`
  seconds old. Every request of the API counts (polls can be exempted; outputs, samples and files
  are no API requests), but one that is refused counts nowhere: neither a 401 nor a 429 uses up the
  window.
- A prediction runs from its submission until it is ready, whether or not anybody asks; over the
  limit it is refused, unless the settings let it queue.
- A prediction that is stuck ends as `timeout`, by default after ten minutes.
- It is `created` for the first twentieth of its latency, then `processing`.
- A submission is paid when it is accepted, and paid back when it fails.
- What was deleted or is too old is not found (404); a path that has other methods is a 405.
"""

from __future__ import annotations

import math
import random
from collections import deque
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

from attrs import evolve

from wavespeed_async._prediction import Status
from wavespeed_async.emulator._answers import ERROR_PAGE, envelope
from wavespeed_async.emulator._catalogue import MILLION, catalogue, price_data, price_of
from wavespeed_async.emulator._faults import FAILURES, Dice
from wavespeed_async.emulator._quota import SlidingWindow, Slots, window_of
from wavespeed_async.emulator._records import (
    Call,
    Failure,
    Kind,
    PredictionRecord,
    Reply,
    RequestRecord,
    Scripted,
)
from wavespeed_async.emulator._requests import Refusal, read_submission
from wavespeed_async.emulator._routing import Aim, aim_of, methods_of
from wavespeed_async.emulator._settings import Settings
from wavespeed_async.emulator._store import Purse, Store, deletion, listing
from wavespeed_async.emulator._uploads import Uploads, upload_data
from wavespeed_async.emulator._webhooks import Outbox
from wavespeed_async.emulator._wishes import Wishes, wishes_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Call",
    "Failure",
    "Kind",
    "PredictionRecord",
    "Reply",
    "RequestRecord",
    "Scripted",
    "Settings",
    "State",
]

UNAUTHORISED = 401
NOT_FOUND = 404
NO_METHOD = 405
LIMITED = 429
NO_CREDITS = "Insufficient credits. Please top up your account to continue."
DRAWN_SEEDS = (0, 2147483647)


class State:
    """Be one account of the API."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.requests: list[RequestRecord] = []
        self.refused = 0
        self.most_requests_in_window = 0
        self.outbox = Outbox(settings.webhook_pause, settings.faults.lateness)
        self._store = Store(settings)
        self._purse = Purse(settings.balance)
        self._window = window_of(settings)
        self._counted = SlidingWindow(settings.requests, settings.per)
        self._slots = Slots()
        self._open = 0
        self._storm = 0
        self._refuses_until = -math.inf
        self._scripted: deque[Scripted] = deque()
        self._dice = Dice(settings.faults)
        self._ids = random.Random(f"ids {settings.seed}")
        self._latencies = random.Random(f"latencies {settings.seed}")
        self._seeds = random.Random(f"seeds {settings.seed}")
        self._webhook_ids = random.Random(f"webhooks {settings.seed}")
        self.uploads = Uploads(settings, random.Random(f"uploads {settings.seed}"))

    @property
    def most_running(self) -> int:
        """The most predictions that ran at once."""
        return self._slots.most

    def receive(self, now: float, call: Call) -> Reply:
        """Answer one request of the API, and remember it, unless it `waits`.

        It is open from now on: say `answered` when it is not any more.
        """
        aim = aim_of(call)
        scripted, wishes, fault = None, Wishes(), None
        try:
            self._authorise(call)
            if self._is_crowded and self.settings.over == "queue":
                return Reply(waits=True)
            scripted = self._next_scripted(aim.kind)
            marked = call.body if aim.action == "submit" else b""
            wishes = wishes_of(call.headers, marked, scripted.wish if scripted else None)
            if scripted is not None and scripted.wish is None:
                reply = _scripted_reply(scripted)
            else:
                fault = self._fault(aim.kind, call, wishes)
                reply = self._answer(now, call, aim, evolve(wishes, fault=fault))
        except Refusal as refusal:
            is_limit = refusal.status == LIMITED
            headers = self._retry_after(now, call) if is_limit else refusal.headers
            body = envelope(refusal.status, refusal.message)
            reply = Reply(status=refusal.status, body=body, headers=headers)
        reply = evolve(
            reply,
            version=aim.version,
            lost=fault == "lost",
            fault=fault,
            shape=wishes.shape,
        )
        self._open += 1
        if fault == "refused":
            self.refuse(now, self.settings.faults.outage)
        self._remember(now, call, aim.kind, reply)
        return reply

    def answered(self) -> None:
        """Say that a request is not open any more."""
        self._open -= 1

    def find(self, now: float, prediction_id: str) -> PredictionRecord | None:
        """Look at a prediction as it stands, without counting a request."""
        return self._store.find(now, prediction_id)

    def predictions(self, now: float) -> tuple[PredictionRecord, ...]:
        """List all predictions as they stand, in the order of their submission."""
        return self._store.all(now)

    def balance(self, now: float) -> float:
        """Answer what the account has left, in USD."""
        return self._purse.balance(now) / MILLION

    def spoil(self, prediction_id: str, failure: Failure) -> None:
        """Let a prediction end as failed."""
        self._purse.refund(self._store.change(prediction_id, failure=failure))

    def refuse(self, now: float, seconds: float) -> None:
        """Let nobody connect for so long."""
        self._refuses_until = max(self._refuses_until, now + seconds)

    def refuses(self, now: float) -> bool:
        """Tell whether nobody can connect; what comes all the same is not to be received."""
        return now < self._refuses_until

    def script(self, scripted: Scripted) -> None:
        """Queue an answer for the next request of its kind."""
        self._scripted.append(scripted)

    # --- one request, step by step ---------------------------------------------------------------

    def _authorise(self, call: Call) -> None:
        scheme, _, key = call.headers.get("authorization", "").partition(" ")
        known = self.settings.api_key
        is_known = bool(key.strip()) if known is None else key.strip() == known
        if scheme.lower() != "bearer" or not is_known:
            raise Refusal(UNAUTHORISED, "")

    def _next_scripted(self, kind: Kind) -> Scripted | None:
        found = next((s for s in self._scripted if s.kind in {None, kind}), None)
        if found is not None:
            self._scripted.remove(found)
        return found

    def _fault(self, kind: Kind, call: Call, wishes: Wishes) -> str | None:
        """Answer what befalls a request: what goes on, else what is wished, else what is drawn."""
        if self._storm:
            self._storm -= 1
            return "storm"
        fault = wishes.fault or self._dice.fault(kind, has_webhook=call.webhook is not None)
        if fault == "storm":
            self._storm = self._dice.burst() - 1
        return fault

    def _answer(self, now: float, call: Call, aim: Aim, wishes: Wishes) -> Reply:
        fault = wishes.fault
        if fault == "storm":
            raise Refusal(LIMITED, "")
        self._admit(now, aim.kind)
        if fault == "error-json":
            raise Refusal(self._dice.server_error(), "")
        if fault == "error-under-200":
            return Reply(body=envelope(500))
        reply = self._handle(now, call, aim, wishes)
        if fault == "error-html":
            return evolve(reply, status=self._dice.server_error(), body=ERROR_PAGE)
        return reply

    def _admit(self, now: float, kind: Kind) -> None:
        settings = self.settings
        if self._is_counted(kind) and self._window.wait(now) > 0:
            raise Refusal(LIMITED, "")
        if self._is_crowded or (
            kind == "submit"
            and settings.over == "refuse"
            and self._slots.free_at(now, self._most_slots) > now
        ):
            raise Refusal(LIMITED, "")

    def _handle(self, now: float, call: Call, aim: Aim, wishes: Wishes) -> Reply:
        if aim.action == "submit":
            return Reply(prediction=self._submit(now, call, aim.name, wishes), submitted=True)
        if aim.action == "result":
            return Reply(prediction=self._result(now, aim.name))
        if aim.action == "list":
            found = self._store.all(now)
            inputs_as = self.settings.list_inputs_as
            return Reply(listing=listing(call.body, found, call.epoch, inputs_as))
        data_of = self._others.get(aim.action)
        if data_of is None:
            raise _unrouted(call)
        return Reply(body=envelope(200, data=data_of(self, now, call)))

    def _submit(self, now: float, call: Call, model: str, wishes: Wishes) -> PredictionRecord:
        request, fields = read_submission(model, call.body)
        price = price_of(model, request)
        if self._purse.balance(now) < price:
            raise Refusal(400, NO_CREDITS)
        asked = getattr(request, "seed", None)
        started = self._slots.free_at(now, self._most_slots)
        latency, is_stuck = self._latency(), wishes.fault == "stuck"
        code = _failure_code(wishes, self._dice)
        prediction = PredictionRecord(
            id=f"{self._ids.getrandbits(128):032x}",
            model=model,
            fields=fields,
            created=now,
            started=started,
            ready=started + (self._stuck_for if is_stuck else latency),
            status=Status.QUEUED if started > now else Status.CREATED,
            request=request,
            seed=self._seeds.randint(*DRAWN_SEEDS) if asked in {None, -1} else asked,
            origin=call.origin,
            pictures=self.settings.pictures,
            failure=None if code is None else Failure(code, FAILURES[code]),
            outcome=Status.TIMEOUT if is_stuck else _outcome(wishes),
            running_as=wishes.status,
            shape=wishes.shape,
            skew=self._dice.skew() if wishes.fault == "clock-skew" else 0.0,
            price=price,
            webhook=call.webhook,
        )
        self._store.put(prediction)
        self._slots.take(now, started, prediction.ready, prediction.id)
        self._purse.pay(prediction)
        self._purse.refund(prediction)
        if call.webhook is not None:
            webhook_id = f"msg_{self._webhook_ids.getrandbits(96):024x}"
            self.outbox.expect(prediction, webhook_id, wishes.fault)
        return prediction

    def _result(self, now: float, prediction_id: str) -> PredictionRecord:
        found = self._store.find(now, prediction_id)
        if found is None:
            raise Refusal(NOT_FOUND, "prediction not found")
        self._store.change(prediction_id, polls=found.polls + 1)
        return found

    def _latency(self) -> float:
        """Draw from the log-normal distribution of that mean and coefficient of variation."""
        mean, cv = self.settings.latency, self.settings.latency_cv
        if not mean or not cv:
            return mean
        variance = math.log1p(cv * cv)
        return self._latencies.lognormvariate(math.log(mean) - variance / 2, math.sqrt(variance))

    # --- the small endpoints ---------------------------------------------------------------------

    def _delete(self, now: float, call: Call) -> dict[str, Any]:
        found = [self._store.find(now, one) for one in dict.fromkeys(deletion(call.body))]
        there = [prediction for prediction in found if prediction is not None]
        for prediction in there:
            self._store.change(prediction.id, deleted=True)
            self._slots.release(prediction.id)
        return {"deleted_count": len(there)}

    def _upload(self, now: float, call: Call) -> dict[str, Any]:
        return upload_data(self.uploads.receive(now, call.file), call.origin)

    def _ticket(self, now: float, call: Call) -> dict[str, Any]:
        return upload_data(self.uploads.ticket(now, call.body), call.origin)

    def _balance(self, now: float, _: Call) -> dict[str, Any]:
        return {"balance": self.balance(now)}

    def _secret(self, _: float, __: Call) -> dict[str, Any]:
        return {"secret": self.settings.webhook_secret}

    def _price(self, _: float, call: Call) -> dict[str, Any]:
        return price_data(call.body)

    def _models(self, _: float, call: Call) -> list[dict[str, Any]]:
        return catalogue(call.origin)

    _others: dict[str, Callable[[State, float, Call], Any]] = {  # noqa: RUF012 (read only)
        "delete": _delete,
        "upload": _upload,
        "ticket": _ticket,
        "balance": _balance,
        "secret": _secret,
        "price": _price,
        "models": _models,
    }

    # --- what is counted -------------------------------------------------------------------------

    def _is_counted(self, kind: Kind) -> bool:
        return kind != "result" or self.settings.polls_count

    @property
    def _is_crowded(self) -> bool:
        """Whether as many requests are open as may be, where it is them that count."""
        settings = self.settings
        return settings.concurrency_counts == "requests" and self._open >= settings.concurrency

    @property
    def _stuck_for(self) -> float:
        seconds = self.settings.stuck_for
        return math.inf if seconds is None else seconds

    @property
    def _most_slots(self) -> float:
        counts = self.settings.concurrency_counts == "predictions"
        return self.settings.concurrency if counts else math.inf

    def _retry_after(self, now: float, call: Call) -> dict[str, str]:
        form = self.settings.retry_after
        if form is None:
            return {}
        soonest = max(self._window.wait(now), self._slots.free_at(now, self._most_slots) - now)
        seconds = math.ceil(min(max(soonest, 1.0), self.settings.per))
        if form == "seconds":
            return {"retry-after": str(seconds)}
        moment = datetime.fromtimestamp(math.ceil(call.epoch + now) + seconds, UTC)
        return {"retry-after": format_datetime(moment, usegmt=True)}

    def _remember(self, now: float, call: Call, kind: Kind, reply: Reply) -> None:
        if reply.status == LIMITED:
            self.refused += 1
        elif reply.status != UNAUTHORISED and self._is_counted(kind):
            self._window.take(now)
            self._counted.take(now)
            most = max(self.most_requests_in_window, self._counted.count(now))
            self.most_requests_in_window = most
        record = RequestRecord(
            at=now,
            method=call.method,
            path=call.path,
            kind=kind,
            status_code=None if reply.lost else reply.status,
            prediction_id=reply.prediction.id if reply.prediction else None,
            headers={k: v for k, v in call.headers.items() if k != "authorization"},
            fault=reply.fault,
        )
        self.requests.append(record)


def _failure_code(wishes: Wishes, dice: Dice) -> int | None:
    wished = wishes.fault if (wishes.fault or "").startswith("failed") else wishes.outcome
    if wished is None or not wished.startswith("failed"):
        return None
    _, _, code = wished.partition("-")
    return int(code) if code else dice.failure_code()


def _outcome(wishes: Wishes) -> Status:
    wished = (wishes.outcome or "completed").partition("-")[0]
    return Status(wished)


def _unrouted(call: Call) -> Refusal:
    """Answer the refusal of a path that there is not, or of a method that it does not have."""
    if allowed := methods_of(call):
        return Refusal(NO_METHOD, "", {"allow": ", ".join(allowed)})
    return Refusal(NOT_FOUND, "")


def _scripted_reply(scripted: Scripted) -> Reply:
    body = envelope(scripted.status_code) if scripted.body is None else scripted.body
    return Reply(status=scripted.status_code, body=body, headers=scripted.headers)
