"""What happened, as frozen records: one stream of them serves logs, traces, figures and tests.

Each event carries `at`, the wall-clock time in Unix seconds, and `call`, the number of the call in
whose course it happened: a submission has no id before it is answered, and a call that lacks a slot
asks for predictions of others. Calls are the client's `run`, `submit` and `wait`, and each item of
a batch. No event carries the key or a body.

In order. Each `CallBegan` is followed by one `CallEnded`, in the same task, however it ends; each
`RequestSent` by one `RequestAnswered` or `RequestLost`. What went wrong with an answer is told by
`RequestFailed`, after those.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Literal, TypeAlias

from attrs import field, frozen

from wavespeed_async.models._request import show

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wavespeed_async._prediction import Prediction
    from wavespeed_async.models._request import Request

__all__ = [
    "CallBegan",
    "CallEnded",
    "CallKind",
    "Event",
    "ImageUploaded",
    "LimiterPaused",
    "Observer",
    "PictureSaved",
    "PredictionEnded",
    "PredictionLeft",
    "PredictionPolled",
    "PredictionSubmitted",
    "RequestAnswered",
    "RequestFailed",
    "RequestLost",
    "RequestSent",
    "RequestUnchecked",
    "SubmissionFound",
    "SubmissionUnconfirmed",
    "TurnGranted",
    "WebhookReceived",
    "current_call",
    "listening",
    "notify",
    "tell",
]

CallKind: TypeAlias = Literal["run", "submit", "wait"]
"""What a call is for: to submit and to wait, or one of both."""

current_call: ContextVar[int | None] = ContextVar("current_call", default=None)
"""The number of the call that the running task makes."""


@frozen(kw_only=True, eq=False, repr=False)
class Event:
    """Be the base of every event."""

    at: float = field(factory=time.time)
    call: int | None = field(factory=current_call.get)

    def __repr__(self) -> str:
        return show(self)


@frozen(kw_only=True, eq=False, repr=False)
class CallBegan(Event):
    """Tell that a call of the client began: `asked` for a request, or `about` what runs already."""

    kind: CallKind
    asked: Request | None = None
    about: Prediction | None = None


@frozen(kw_only=True, eq=False, repr=False)
class CallEnded(Event):
    """Tell that it ended after `seconds`: well, by an error, or because it was cancelled.

    What it was `about` is told as it was seen last, if it is known.
    """

    kind: CallKind
    about: Prediction | None
    error: Exception | None
    cancelled: bool
    seconds: float


@frozen(kw_only=True, eq=False, repr=False)
class TurnGranted(Event):
    """Tell that a request got its turn from the limiter, for which it had waited for `seconds`.

    A poll waits on purpose, until it is worth its request. `kind` is `submit`, `poll`, `list` and
    so on; `prediction_id` is what a poll asks for.
    """

    kind: str
    prediction_id: str | None = None
    seconds: float


@frozen(kw_only=True, eq=False, repr=False)
class RequestSent(Event):
    """Tell that an HTTP request of the API is on its way; `path` is what the API counts."""

    method: str
    path: str
    kind: str = ""
    prediction_id: str | None = None


@frozen(kw_only=True, eq=False, repr=False)
class RequestAnswered(Event):
    """Tell that it was answered, after `seconds`."""

    method: str
    path: str
    status_code: int
    seconds: float
    kind: str = ""
    prediction_id: str | None = None


@frozen(kw_only=True, eq=False, repr=False)
class RequestLost(Event):
    """Tell that it brought no answer, after `seconds`; without an error its call was cancelled."""

    method: str
    path: str
    error: Exception | None
    seconds: float
    kind: str = ""
    prediction_id: str | None = None


@frozen(kw_only=True, eq=False, repr=False)
class RequestFailed(Event):
    """Tell that no usable answer came; it is tried again after `retry_in` seconds, unless None."""

    method: str
    path: str
    error: Exception
    retry_in: float | None


@frozen(kw_only=True, eq=False, repr=False)
class RequestUnchecked(Event):
    """Tell that a raw request goes without a check of its fields, and why."""

    request: Request
    reason: str


@frozen(kw_only=True, eq=False, repr=False)
class LimiterPaused(Event):
    """Tell that a 429 closed the limiter for all of the account, for `seconds`."""

    seconds: float


@frozen(kw_only=True, eq=False, repr=False)
class PredictionSubmitted(Event):
    """Tell that a submission was accepted: from here on it may be billed."""

    prediction: Prediction


@frozen(kw_only=True, eq=False, repr=False)
class PredictionPolled(Event):
    """Tell that a prediction was asked for, `age` seconds after its submission."""

    prediction: Prediction
    age: float


@frozen(kw_only=True, eq=False, repr=False)
class WebhookReceived(Event):
    """Tell that a webhook told of a prediction, and whether somebody waited for that."""

    prediction: Prediction
    awaited: bool


@frozen(kw_only=True, eq=False, repr=False)
class PredictionEnded(Event):
    """Tell that a prediction ended, well or not."""

    prediction: Prediction


@frozen(kw_only=True, eq=False, repr=False)
class PredictionLeft(Event):
    """Tell that a prediction goes on while nobody waits for it any longer: its id resumes it."""

    prediction: Prediction


@frozen(kw_only=True, eq=False, repr=False)
class SubmissionUnconfirmed(Event):
    """Tell that a submission may exist and be billed, although no usable answer came."""

    request: Request


@frozen(kw_only=True, eq=False, repr=False)
class SubmissionFound(Event):
    """Tell that an unconfirmed submission was found in the API's list: its prediction exists."""

    prediction: Prediction


@frozen(kw_only=True, eq=False, repr=False)
class PictureSaved(Event):
    """Tell that a prediction's outputs are whole files now; it took so many `seconds`."""

    prediction: Prediction
    paths: tuple[Path, ...]
    seconds: float | None = None


@frozen(kw_only=True, eq=False, repr=False)
class ImageUploaded(Event):
    """Tell that an image of this machine was uploaded, in `seconds`; `image` says which it is."""

    image: str
    url: str
    size: int
    seconds: float


Observer: TypeAlias = Callable[[Event], object]

_log = logging.getLogger("wavespeed_async")


_listener: ContextVar[Observer | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Observer) -> Iterator[None]:
    """Have a listener told what the calls of this block tell, beside the client's own observer.

    It hears this task and those that its calls start, so that who follows one call among hundreds
    needs no client of its own. A call may look after other predictions by the way: they are told,
    too. Only a client's observer hears of single requests.
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def notify(observe: Observer | None, event: Event) -> None:
    """Tell the observer and the listener; what they raise is logged, never raised into a run."""
    for told in (observe, _listener.get()):
        if told is not None:
            tell(told, event)


def tell(told: Observer, event: Event) -> None:
    """Tell somebody; what that raises is logged."""
    try:
        told(event)
    except Exception:  # noqa: BLE001 (an observer's bug is no reason to lose a picture)
        _log.exception("the observer failed on %s", type(event).__name__)
