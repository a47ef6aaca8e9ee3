"""Spans of a client's events: one for each prediction, with what its time went to below it.

What is a span. The conventions ask for one span for an operation with all its retries, and for one
for each HTTP request of them. Whatever else takes time is a span, too: the waits for a turn, and
transfers of files. Nothing is a span event: those cannot tell how long something took.

Whose child it is. A call's span is the child of whatever was the current span where the call was
made; so it is in a batch, whose tasks inherit the context in which its block was entered. Without a
current span each prediction is a trace of its own. While it lasts, the call's span is the current
one of its task: what logs or other instruments tell meanwhile belongs to it.

That none is left open. Only a call's span is ever open, and each call ends in its own task, however
that is (`CallEnded`). All others begin and end in one step, once they are over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field
from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from wavespeed_async._events import (
    CallBegan,
    CallEnded,
    ImageUploaded,
    PictureSaved,
    PredictionLeft,
    PredictionPolled,
    PredictionSubmitted,
    RequestAnswered,
    RequestFailed,
    RequestLost,
    SubmissionUnconfirmed,
    TurnGranted,
)
from wavespeed_async.observe.otel._conventions import (
    asked_in_words,
    error_type,
    made_in_words,
    nanoseconds,
    of_exchange,
    of_operation,
    of_prediction,
    of_request,
    of_server,
    span_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

    from wavespeed_async._events import Event
    from wavespeed_async._prediction import Prediction
    from wavespeed_async.observe.otel._conventions import Attributes

__all__ = ["Spans"]

BRIEF = 0.01
"""Seconds up to which a wait is none."""


@define(eq=False)
class _Open:
    """Hold the span of a call that goes on.

    Attributes:
        span: The span.
        context: What its children are made in.
        token: Makes the span before it the current one again.
        seen: The prediction, as it was seen last.
        polls: How often it was polled.
        resends: How often a request was made again, by method and path.
    """

    span: Span
    context: Context
    token: Token[Context] | None
    seen: Prediction | None
    polls: int = 0
    resends: dict[tuple[str, str], int] = field(factory=dict)


class Spans:
    """Make spans of one client's events.

    Args:
        tracer: Makes spans.
        server: Where the API is.
        requests: Whether each HTTP request has one.
        content: Whether prompts, addresses and outputs are told.
    """

    def __init__(self, tracer: Tracer, server: str, *, requests: bool, content: bool) -> None:
        self._tracer = tracer
        self._server = server
        self._where = of_server(server)
        self._content = content
        self._open: dict[int, _Open] = {}
        self._heard: dict[type[Event], Callable[[Any, _Open | None], None]] = {
            TurnGranted: self._waited,
            PredictionSubmitted: self._saw,
            PredictionPolled: self._saw,
            PredictionLeft: self._left,
            SubmissionUnconfirmed: self._unconfirmed,
            RequestFailed: self._failed,
            ImageUploaded: self._uploaded,
            PictureSaved: self._saved,
        }
        if requests:
            self._heard |= {RequestAnswered: self._exchanged, RequestLost: self._exchanged}

    def __call__(self, event: Event) -> None:
        """Make what an event tells a span, or part of one."""
        if isinstance(event, CallBegan):
            self._begin(event)
        elif isinstance(event, CallEnded):
            self._end(event)
        elif (hear := self._heard.get(type(event))) is not None:
            found = None if event.call is None else self._open.get(event.call)
            if found is None or found.span.is_recording():
                hear(event, found)

    # --- calls -----------------------------------------------------------------------------------

    def _begin(self, event: CallBegan) -> None:
        request, prediction = event.asked, event.about
        request = request or (prediction.request if prediction else None)
        model = request.model if request else prediction.model if prediction else ""
        told = of_operation(model) | self._where | {"wavespeed.call": event.kind}
        if request is not None:
            told |= of_request(request)
        if request is not None and self._content:
            told |= asked_in_words(request)
        span = self._tracer.start_span(
            span_name(model),
            kind=SpanKind.CLIENT,
            attributes=told,
            start_time=nanoseconds(event.at),
        )
        context = trace.set_span_in_context(span)
        token = contexts.attach(context) if span.get_span_context().is_valid else None
        assert event.call is not None  # noqa: S101 (it is of a call)
        self._open[event.call] = _Open(span, context, token, prediction)

    def _end(self, event: CallEnded) -> None:
        assert event.call is not None  # noqa: S101 (as above)
        found = self._open.pop(event.call, None)
        if found is None:
            return
        span, seen = found.span, _latest(event.about, found.seen)
        if span.is_recording():
            span.set_attributes({"wavespeed.polls": found.polls})
            if seen is not None:
                self._tell_prediction(span, seen)
            if event.error is not None or event.cancelled:
                self._tell_error(span, event.error)
        span.end(nanoseconds(event.at))
        if found.token is not None and trace.get_current_span() is span:
            contexts.detach(found.token)

    def _tell_prediction(self, span: Span, seen: Prediction) -> None:
        told = of_prediction(seen)
        if seen.request is not None:
            told |= of_request(seen.request)  # with the seed that was drawn
        elif seen.model:  # it was made elsewhere: only now its model is known
            span.update_name(span_name(seen.model))
            told |= of_operation(seen.model)
        if self._content and seen.outputs:
            told |= made_in_words(seen)
        span.set_attributes(told)

    def _tell_error(self, span: Span, error: Exception | None) -> None:
        span.set_attribute("error.type", error_type(error))
        words = str(error) if self._content and error is not None else None
        span.set_status(Status(StatusCode.ERROR, words))

    def _saw(self, event: PredictionSubmitted | PredictionPolled, found: _Open | None) -> None:
        if found is not None and _is_own(event.prediction, found):
            found.seen = event.prediction

    def _left(self, event: PredictionLeft, found: _Open | None) -> None:
        if found is not None and _is_own(event.prediction, found):
            found.seen = event.prediction
            found.span.set_attribute("wavespeed.prediction.left", value=True)

    def _unconfirmed(self, _: SubmissionUnconfirmed, found: _Open | None) -> None:
        if found is not None:
            found.span.set_attribute("wavespeed.submission.unconfirmed", value=True)

    # --- what is below them ----------------------------------------------------------------------

    def _failed(self, event: RequestFailed, found: _Open | None) -> None:
        """Count tries, for the request that comes next."""
        if found is not None and event.retry_in is not None:
            key = event.method, event.path
            found.resends[key] = found.resends.get(key, 0) + 1

    def _exchanged(self, event: RequestAnswered | RequestLost, found: _Open | None) -> None:
        told = of_exchange(event, self._server) | self._where
        resends = found.resends.get((event.method, event.path), 0) if found else 0
        if resends:
            told["http.request.resend_count"] = resends
        name = f"{event.method} {told['url.template']}"
        self._over(name, event, event.seconds, told, found, kind=SpanKind.CLIENT)

    def _waited(self, event: TurnGranted, found: _Open | None) -> None:
        told: Attributes = {"wavespeed.request.kind": event.kind}
        if event.prediction_id is not None:
            told["gen_ai.response.id"] = event.prediction_id
        if found is not None and found.seen is not None and found.seen.id == event.prediction_id:
            found.polls += 1
        if event.seconds >= BRIEF:
            self._over(f"wait to {event.kind}", event, event.seconds, told, found)

    def _uploaded(self, event: ImageUploaded, found: _Open | None) -> None:
        told: Attributes = {"wavespeed.image.size": event.size}
        self._over("upload image", event, event.seconds, told, found)

    def _saved(self, event: PictureSaved, found: _Open | None) -> None:
        told: Attributes = {
            "gen_ai.response.id": event.prediction.id,
            "wavespeed.files": len(event.paths),
        }
        self._over("save pictures", event, event.seconds or 0.0, told, found)

    def _over(
        self,
        name: str,
        event: Event,
        seconds: float,
        told: Attributes,
        found: _Open | None,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> None:
        """Make a span of what is over."""
        span = self._tracer.start_span(
            name,
            context=None if found is None else found.context,
            kind=kind,
            attributes=told,
            start_time=nanoseconds(event.at - seconds),
        )
        if "error.type" in told:
            span.set_status(Status(StatusCode.ERROR))
        span.end(nanoseconds(event.at))


def _latest(told: Prediction | None, seen: Prediction | None) -> Prediction | None:
    """Choose what is newer: a call that was cancelled tells no more than what it began with."""
    return told if seen is None or (told is not None and told.status.ended) else seen


def _is_own(prediction: Prediction, found: _Open) -> bool:
    """Tell whether it is the call's own prediction: it may ask for others that hold slots."""
    return found.seen is None or found.seen.id == prediction.id
