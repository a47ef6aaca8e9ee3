"""One call of the API: its turn at the limiter, its tries, its events, and what is paid for.

Paid once. A submission is sent again only where it provably never arrived (no connection was made)
or was refused (429). Everything else that leaves its fate open is `SubmissionUnconfirmedError`, and
its slot stays taken: the prediction may be running. A read may be sent again freely.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar
from urllib.parse import quote

import anyio
from anyio.lowlevel import checkpoint_if_cancelled
from attrs import evolve, frozen

from wavespeed_async._codec import (
    decode_data,
    decode_prediction,
    encode_json,
    encode_request,
)
from wavespeed_async._events import (
    PredictionEnded,
    PredictionLeft,
    PredictionSubmitted,
    RequestFailed,
    SubmissionUnconfirmed,
    TurnGranted,
    notify,
)
from wavespeed_async._prediction import Prediction
from wavespeed_async._retry import deciding_status, is_passing, pause_after, pauses
from wavespeed_async._stream import ToldCall, UntoldCall, hears_details
from wavespeed_async.errors import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
    RateLimitError,
    SubmissionUnconfirmedError,
    WaveSpeedError,
)
from wavespeed_async.models._request import RawRequest, Request

if TYPE_CHECKING:
    import random

    from wavespeed_async._events import CallKind, Event, Observer
    from wavespeed_async._transport import Answer, Body, Transport, Wire
    from wavespeed_async.limits import AnyLimiter, Ask, Bidder, Permit
    from wavespeed_async.limits._slots import Slot

__all__ = ["Calls", "Mark", "Recorder", "Submitted", "Turn", "result_path"]

LAST_WORD, RECORDED_LAST_WORD = 2.0, 1.0
"""Seconds that a submission on its way is given to be answered after its call was cancelled; less
where it is written down, so that it can be looked for."""

LIST_PATH, PRICE_PATH = "/api/v3/predictions", "/api/v3/model/price"

Submitted: TypeAlias = Callable[[Prediction], object]
"""Is told a prediction as soon as its id is known, even where the call is being cancelled."""


T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Decode(Protocol[T_co]):
    """Take what was asked for out of an answer, or raise what it is instead."""

    def __call__(self, status: int, body: bytes, *, retry_after: float | None) -> T_co:
        """Decode an answer's body."""
        ...


class Mark(Protocol):
    """Name a submission to a recorder, and hear what becomes of it."""

    def withdrawn(self) -> None:
        """Hear that it provably made nothing: it never left, or was refused."""
        ...

    def lost(self, slot: Slot) -> None:
        """Hear that it may run, in this slot, while its id is unknown."""
        ...


class Recorder(Protocol):
    """Write down what leaves, so that a later process knows of it."""

    async def sending(self, kind: str, *, counts: bool, mark: Mark | None) -> int:
        """Write down a request before it leaves; what this raises keeps it from leaving."""
        ...

    def answered(self, number: int, *, lost: bool) -> None:
        """Hear that it was answered, or given up."""
        ...

    def unsent(self, number: int) -> None:
        """Hear that it provably never left."""
        ...

    def ended(self, prediction: Prediction) -> None:
        """Hear how a prediction ended, whoever asked for it."""
        ...


@frozen
class _Sending:
    """Hold a submission as it is sent.

    Attributes:
        request: What is asked.
        body: The same as JSON.
        query: Who is to be called at its end. No event tells it: it may hold a secret.
    """

    request: Request
    body: bytes
    query: str

    @classmethod
    def of(cls, request: Request, webhook: str | None, body: bytes | None) -> _Sending:
        """Write a request, and whom to call at its end."""
        query = "" if webhook is None else "?webhook=" + quote(webhook, safe="")
        return cls(request, body or encode_json(encode_request(request)), query)


@frozen
class Turn:
    """Say how urgent a call is, and until when it may wait.

    Attributes:
        deadline: When it has to be over, by the event loop's clock.
        patience: How long a pause after a 429 may be; None for as long as the deadline.
        priority: Lower numbers go first.
        stubborn: Whether 429s count for nothing: a batch tries until its patience ends.
    """

    deadline: float = math.inf
    patience: float | None = None
    priority: int = 0
    stubborn: bool = False

    def left(self) -> float:
        """Tell how many seconds are left."""
        return self.deadline - anyio.current_time()


class Calls:
    """Submit requests and read predictions, each under the limits.

    Args:
        transport: Sends them.
        limiter: Says when.
        max_retries: How many times a failed try is made again.
        observe: Is told what happens.
        dice: Draws the jitter of pauses.
    """

    def __init__(
        self,
        transport: Transport,
        limiter: AnyLimiter,
        *,
        max_retries: int,
        observe: Observer | None,
        dice: random.Random,
    ) -> None:
        self.limiter = limiter
        self.recorders: list[Recorder] = []
        self._transport = transport
        self._max_retries = max_retries
        self._observe, self._details = observe, hears_details(observe)
        self._dice = dice

    def tell(self, event: Event) -> None:
        """Tell the observer what happened."""
        notify(self._observe, event)

    def failed(self, method: str, path: str, error: WaveSpeedError, retry_in: float | None) -> None:
        """Tell the observer that a request brought no usable answer."""
        self.tell(RequestFailed(method=method, path=path, error=error, retry_in=retry_in))

    def told(
        self,
        kind: CallKind,
        *,
        asked: Request | None = None,
        about: Prediction | None = None,
    ) -> ToldCall | UntoldCall:
        """Have the observer told of a call for as long as this context lasts: see `ToldCall`."""
        if self._observe is None or not self._details:
            return UntoldCall()
        clock = self.limiter.now
        asked = asked if isinstance(asked, Request) else None  # it may be anything as yet
        return ToldCall(self._observe, clock, kind, asked=asked, about=about)

    async def _turn(
        self,
        acquire: Callable[[], Awaitable[Permit]],
        kind: str,
        prediction_id: str | None = None,
    ) -> Permit:
        """Wait for a turn at the limiter, and tell how long that took."""
        if not self._details:
            return await acquire()
        since = self.limiter.now()
        permit = await acquire()
        seconds = self.limiter.now() - since
        self.tell(TurnGranted(kind=kind, prediction_id=prediction_id, seconds=seconds))
        return permit

    # --- reading ---------------------------------------------------------------------------------

    async def result(self, prediction_id: str, turn: Turn, version: str = "v3") -> Prediction:
        """Ask for a prediction once; failures that may pass are tried again.

        Raises:
            WaveSpeedError: As `poll` does, carrying the prediction's id.
        """
        waits = pauses(self._dice)
        tries_left = self._max_retries
        while True:
            try:
                return await self.poll(prediction_id, turn, version)
            except WaveSpeedError as error:
                error.prediction_id = prediction_id
                pause = self.pause(error, turn, tries_left, next(waits))
                self.failed("GET", result_path(prediction_id, version), error, pause)
                if pause is None:
                    raise
            tries_left -= 1
            await anyio.sleep(pause)

    def pause(
        self, error: WaveSpeedError, turn: Turn, tries_left: int, pause: float
    ) -> float | None:
        """Decide on another try of a read: after how many seconds, or None for no other."""
        if not is_passing(error) or tries_left == 0:
            return None
        pause = pause_after(error, pause)
        asked = (error.retry_after or 0.0) if isinstance(error, RateLimitError) else 0.0
        return pause if max(pause, asked) < turn.left() else None

    async def poll(self, prediction_id: str, turn: Turn, version: str = "v3") -> Prediction:
        """Ask for a prediction, in one request.

        Raises:
            LimiterTimeoutError: Its turn did not come in time.
            APIConnectionError, APIResponseError, APIStatusError: No usable answer came.
        """
        permit = await self.turn_to_poll(prediction_id, turn)
        return await self.read(prediction_id, permit, version)

    async def turn_to_poll(
        self,
        prediction_id: str,
        turn: Turn,
        *,
        bidder: Bidder | None = None,
        until: float = math.inf,
    ) -> Permit:
        """Wait for a turn to ask for a prediction; the permit is for a `read` at once.

        Args:
            prediction_id: What is to be asked for.
            turn: How urgent it is, and until when.
            bidder: Says what the poll is worth; it is granted when that is a request.
            until: When to give up, if that is before the turn's deadline.
        """
        patience = turn.left() if turn.patience is None else turn.patience
        acquire = partial(
            self.limiter.acquire,
            poll=True,
            priority=turn.priority,
            timeout=min(turn.left(), until - anyio.current_time()),
            patience=patience,
            bidder=bidder,
        )
        return await self._turn(acquire, "poll", prediction_id)

    async def read(self, prediction_id: str, permit: Permit, version: str) -> Prediction:
        """Ask for a prediction now; an answer about another one is none."""
        path = result_path(prediction_id, version)
        about: dict[str, Any] = {"kind": "poll", "prediction_id": prediction_id}
        sending = partial(self._transport.send, "GET", path, permit=permit, **about)
        answer = await self._recorded("poll", permit, sending)
        prediction = decode_prediction(self._data(answer))
        if prediction.id != prediction_id:
            text = f"asked for prediction {prediction_id}, the answer is about {prediction.id}"
            raise APIResponseError(text, status_code=answer.status_code)
        return prediction

    async def listing(self, query: Mapping[str, object], turn: Turn) -> Mapping[str, object]:
        """Ask for one page of the list of predictions; failures that may pass are tried again.

        Raises:
            APIConnectionError, APIResponseError, APIStatusError: No usable answer came.
        """
        return await self.asked("list", "POST", LIST_PATH, turn, query=query, decode=decode_data)

    async def price(
        self, model: str, inputs: Mapping[str, object], turn: Turn
    ) -> Mapping[str, object]:
        """Ask what a request would cost; failures that may pass are tried again.

        Raises:
            APIConnectionError, APIResponseError, APIStatusError: No usable answer came.
        """
        query = {"model_id": model, "inputs": inputs}
        return await self.asked("price", "POST", PRICE_PATH, turn, query=query, decode=decode_data)

    async def asked(
        self,
        kind: str,
        method: str,
        path: str,
        turn: Turn,
        *,
        decode: Decode[T],
        query: Mapping[str, object] | Body | None = None,
        max_retries: int | None = None,
        largest: int | None = None,
    ) -> T:
        """Ask for what makes nothing, and so may be asked for again.

        Args:
            kind: What recorders and events know it as.
            method: GET or POST.
            path: Where.
            turn: How urgent it is, and until when.
            decode: Takes what is asked for out of the answer.
            query: The body of a POST.
            max_retries: How many times a failed try is made again; as all others by default.
            largest: How many bytes the answer may have.

        Raises:
            LimiterTimeoutError: Its turn did not come in time.
            APIConnectionError, APIResponseError, APIStatusError: No usable answer came.
        """
        content = encode_json(query) if isinstance(query, Mapping) else query
        waits = pauses(self._dice)
        tries_left = self._max_retries if max_retries is None else max_retries
        while True:
            acquire = partial(
                self.limiter.acquire,
                priority=turn.priority,
                timeout=turn.left(),
                patience=turn.patience,
            )
            permit = await self._turn(acquire, kind)
            sending = partial(
                self._transport.send,
                method,
                path,
                permit=permit,
                content=content,
                largest=largest,
                kind=kind,
            )
            try:
                answer = await self._recorded(kind, permit, sending)
                return decode(answer.status_code, answer.body, retry_after=answer.retry_after)
            except WaveSpeedError as error:
                turn = self._started(turn)
                spared = turn.stubborn and isinstance(error, RateLimitError)
                pause = self.pause(error, turn, 1 if spared else tries_left, next(waits))
                self.failed(method, path, error, pause)
                if pause is None:
                    raise
                tries_left -= not spared
            await anyio.sleep(pause)

    async def _recorded(
        self,
        kind: str,
        permit: Permit,
        send: Callable[[], Awaitable[Answer]],
        mark: Mark | None = None,
    ) -> Answer:
        """Send a request that all recorders have written down."""
        noted: list[tuple[Recorder, int]] = []
        counts = kind != "poll" or self.limiter.limits.polls_count
        is_lost = True
        try:
            for recorder in tuple(self.recorders):
                number = await recorder.sending(kind, counts=counts, mark=mark)
                noted.append((recorder, number))
            answer = await send()
            is_lost = False
        finally:
            permit.withdrawn()  # of no effect where it was sent
            for recorder, number in noted:
                if permit.never_left:
                    recorder.unsent(number)
                else:
                    recorder.answered(number, lost=is_lost)
        return answer

    # --- submitting ------------------------------------------------------------------------------

    async def submit(
        self,
        request: Request,
        turn: Turn,
        *,
        ask: Ask,
        submitted: Submitted | None = None,
        mark: Mark | None = None,
        webhook: str | None = None,
        body: bytes | None = None,
    ) -> Prediction:
        """Submit a request; its slot is attended when this returns.

        Args:
            request: What is asked.
            turn: How urgent it is, and until when it may wait.
            ask: How to ask for predictions that nobody waits for, when slots are lacking.
            submitted: Is told the id as soon as it is known.
            mark: Names it to the recorders.
            webhook: The URL that the API is to call at its end.
            body: What is sent where that is not just the request: with addresses for its images.

        Raises:
            SubmissionUnconfirmedError: It may exist and be billed.
            LimiterTimeoutError, APIConnectionError, APIStatusError: It does not exist.
        """
        sending = _Sending.of(request, webhook, body)
        waits = pauses(self._dice)
        tries_left = self._max_retries
        again = False
        while True:
            acquire = partial(
                self.limiter.acquire,
                slot=True,
                priority=turn.priority,
                timeout=turn.left(),
                patience=turn.patience,
                front=again,
                ask=ask,
            )
            permit = await self._turn(acquire, "submit")
            try:
                return await self._submit_once(sending, permit, submitted, mark)
            except (APIConnectionError, RateLimitError) as error:
                turn = self._started(turn)
                pause = self._pause_before_submitting(error, turn, tries_left, next(waits))
                self.failed("POST", _submit_path(request), error, pause)
                if pause is None:
                    raise
                tries_left -= not (turn.stubborn and isinstance(error, RateLimitError))
            again = True
            await anyio.sleep(pause)

    def _started(self, turn: Turn) -> Turn:
        """Bound a turn without a deadline from its first try on, by its patience."""
        if turn.deadline < math.inf or turn.patience is None:
            return turn
        return evolve(turn, deadline=anyio.current_time() + turn.patience)

    def _pause_before_submitting(
        self, error: WaveSpeedError, turn: Turn, tries_left: int, pause: float
    ) -> float | None:
        """Decide on another try of a submission: only if it was refused or provably never left."""
        if isinstance(error, APIConnectionError) and error.sent:
            return None
        if turn.stubborn and isinstance(error, RateLimitError):
            tries_left = 1
        return self.pause(error, turn, tries_left, pause)

    async def _submit_once(
        self,
        sending: _Sending,
        permit: Permit,
        submitted: Submitted | None,
        mark: Mark | None,
    ) -> Prediction:
        """Submit; if cancelled on the way, leave behind a prediction that somebody knows of."""
        known: list[Prediction] = []

        def note(prediction: Prediction) -> None:
            known.append(prediction)
            if submitted is not None:
                submitted(prediction)

        await self._cancel_unsent(permit)
        wire = self._transport.wire()
        try:
            submit = partial(self._submit, sending, permit, note, wire=wire, mark=mark)
            last_word = LAST_WORD if mark is None else RECORDED_LAST_WORD
            return await _outlive(submit, wire, last_word)
        except anyio.get_cancelled_exc_class():
            for prediction in known:
                if not prediction.status.ended:
                    self.leave(prediction, 0.0)
            raise

    async def _cancel_unsent(self, permit: Permit) -> None:
        """Be cancelled here rather than later, if at all: nothing is sent yet."""
        try:
            await checkpoint_if_cancelled()
        except BaseException:
            self.limiter.release(_slot(permit))
            permit.withdrawn()
            raise

    async def _submit(
        self,
        sending: _Sending,
        permit: Permit,
        note: Submitted,
        *,
        wire: Wire,
        mark: Mark | None,
    ) -> Prediction:
        """Send a submission and settle its slot, whatever comes."""
        slot, request = _slot(permit), sending.request
        send = partial(
            self._transport.send,
            "POST",
            _submit_path(request),
            query=sending.query,
            permit=permit,
            content=sending.body,
            held=_is_held(request),
            wire=wire,
            kind="submit",
        )
        try:
            answer = await self._recorded("submit", permit, send, mark)
            prediction = self._submitted(request, answer)
        except BaseException as error:
            if permit.never_left or _was_refused(error):
                self.limiter.release(slot)
                if mark is not None:
                    mark.withdrawn()
                raise
            self.limiter.abandon(slot)
            if mark is not None:
                mark.lost(slot)
            self.tell(SubmissionUnconfirmed(request=request))
            if not isinstance(error, WaveSpeedError):
                raise
            text = f"the submission of {request.model} may exist and be billed: {error}"
            raise SubmissionUnconfirmedError(text, request=request) from error
        self.limiter.name(slot, prediction.id)
        self.tell(PredictionSubmitted(prediction=prediction))
        note(prediction)
        self.settle(prediction)
        return prediction

    def _submitted(self, request: Request, answer: Answer) -> Prediction:
        """Read a submission's answer; an id is enough, since it is all that must not be lost."""
        try:
            data = self._data(answer)
        except APIStatusError as error:
            if error.prediction_id is None or 400 <= answer.status_code < 500:  # noqa: PLR2004 (4xx: refused)
                raise
            data = {"id": error.prediction_id}
        try:
            return decode_prediction(data, request=request)
        except APIResponseError as error:
            if error.prediction_id is None:
                raise
            known = error.prediction_id
            return Prediction(id=known, model=request.model, raw=data, request=request)

    # --- what is known now -----------------------------------------------------------------------

    def settle(self, prediction: Prediction) -> None:
        """Give the slot back of a prediction that has ended, and tell it once."""
        if prediction.status.ended:
            held = self.limiter.age(prediction.id) is not None
            self.limiter.ended(prediction.id)
            if held:
                for recorder in tuple(self.recorders):
                    recorder.ended(prediction)
                self.tell(PredictionEnded(prediction=prediction))

    def leave(self, prediction: Prediction, ask_in: float) -> None:
        """Note that nobody waits any longer for a prediction that still runs, and tell."""
        self.limiter.leave(prediction.id, ask_in=ask_in)
        self.tell(PredictionLeft(prediction=prediction))

    def _data(self, answer: Answer) -> Mapping[str, object]:
        return decode_data(answer.status_code, answer.body, retry_after=answer.retry_after)


async def _outlive(send: Callable[[], Awaitable[T]], wire: Wire, last_word: float) -> T:
    """Run `send`; if cancelled once anything may have left, let it go on for `last_word` more.

    If cancelled before, nothing leaves any more: each transport looks just before the first byte.
    """
    results: list[T] = []
    errors: list[Exception] = []
    over = anyio.Event()

    async def run(shield: anyio.CancelScope) -> None:
        with shield:
            try:
                results.append(await send())
            except Exception as error:  # noqa: BLE001 (raised below, without a group around it)
                errors.append(error)
        over.set()

    async with anyio.create_task_group() as group:
        shield = anyio.CancelScope(shield=True)
        group.start_soon(run, shield)
        try:
            await over.wait()
        except anyio.get_cancelled_exc_class():
            if wire.may_have_left:
                shield.deadline = anyio.current_time() + last_word
            else:
                shield.cancel()
            raise
    if errors:
        raise errors[0]
    return results[0]


def _slot(permit: Permit) -> Slot:
    assert permit.slot is not None  # noqa: S101 (it was asked for)
    return permit.slot


def _was_refused(error: BaseException) -> bool:
    """Tell whether the API refused a submission: a 3xx or 4xx, as status or as code under 200."""
    return isinstance(error, APIStatusError) and 300 <= deciding_status(error) < 500  # noqa: PLR2004 (these classes)


def _is_held(request: Request) -> bool:
    fields = request.fields if isinstance(request, RawRequest) else {}
    return fields.get("enable_sync_mode", getattr(request, "enable_sync_mode", False)) is True


def _submit_path(request: Request) -> str:
    return f"/api/{request.version}/{request.model}"


def result_path(prediction_id: str, version: str) -> str:
    """Answer where a prediction is read."""
    return f"/api/{version}/predictions/{prediction_id}/result"
