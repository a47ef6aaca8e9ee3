"""Metrics of a client's events, and of its limiter.

Attributes that were handed over are not changed any more: early SDKs keep them as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import ref

from attrs import define
from opentelemetry.metrics import Observation

from wavespeed_async._events import (
    CallBegan,
    CallEnded,
    ImageUploaded,
    LimiterPaused,
    PictureSaved,
    PredictionEnded,
    PredictionSubmitted,
    RequestAnswered,
    RequestFailed,
    RequestLost,
    TurnGranted,
)
from wavespeed_async.observe.otel._conventions import (
    error_type,
    of_answer,
    of_operation,
    of_server,
    template_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.metrics import CallbackOptions, Meter

    from wavespeed_async._events import Event
    from wavespeed_async.limits import AnyLimiter
    from wavespeed_async.observe.otel._conventions import Attributes

__all__ = ["Instruments", "Metrics"]

SECONDS_OF_OPERATIONS = (
    *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
)
SECONDS_OF_REQUESTS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""The bounds that the conventions ask for."""
POLLS = (0, 1, 2, 3, 4, 5, 7, 10, 15, 20, 50)


class Instruments:
    """Hold the instruments that all clients share, and know their limiters.

    Limiters are only looked at, by the thread that exports; they add up.

    Args:
        meter: Makes them.
    """

    def __init__(self, meter: Meter) -> None:
        self._limiters: tuple[ref[AnyLimiter], ...] = ()
        self.operations = meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="How long calls took.",
            explicit_bucket_boundaries_advisory=SECONDS_OF_OPERATIONS,
        )
        self.requests = meter.create_histogram(
            "http.client.request.duration",
            unit="s",
            description="How long HTTP requests took.",
            explicit_bucket_boundaries_advisory=SECONDS_OF_REQUESTS,
        )
        self.waits = meter.create_histogram(
            "wavespeed.client.limiter.wait",
            unit="s",
            description="How long requests waited for their turn; polls do so on purpose.",
            explicit_bucket_boundaries_advisory=SECONDS_OF_OPERATIONS,
        )
        self.polls = meter.create_histogram(
            "wavespeed.client.polls",
            unit="{poll}",
            description="How often a prediction was polled until its end was known.",
            explicit_bucket_boundaries_advisory=POLLS,
        )
        self.pictures = meter.create_counter(
            "wavespeed.client.pictures", unit="{picture}", description="Pictures that were made."
        )
        self.predictions = meter.create_counter(
            "wavespeed.client.predictions",
            unit="{prediction}",
            description="Predictions that ended, by how they did.",
        )
        self.failures = meter.create_counter(
            "wavespeed.client.failures",
            unit="{call}",
            description="Calls that ended with an error, by which.",
        )
        self.retries = meter.create_counter(
            "wavespeed.client.retries", unit="{request}", description="Requests made again."
        )
        self.pauses = meter.create_counter(
            "wavespeed.client.limiter.pauses", unit="{pause}", description="Pauses after a 429."
        )
        self.uploads = meter.create_counter(
            "wavespeed.client.uploads", unit="By", description="Images that were uploaded."
        )
        self.files = meter.create_counter(
            "wavespeed.client.saved", unit="{file}", description="Files that were written."
        )
        self._watch(meter)

    def _watch(self, meter: Meter) -> None:
        """Have what goes on told whenever it is asked for."""
        gauges: tuple[tuple[str, str, str, Callable[[AnyLimiter], int]], ...] = (
            ("running", "{prediction}", "Predictions that run.", lambda it: it.running),
            ("running.limit", "{prediction}", "How many may.", lambda it: it.limits.concurrency),
            ("waiting", "{call}", "Callers that wait for a turn.", lambda it: it.waiting),
            ("window.used", "{request}", "Requests in the window.", lambda it: it.requests_used),
            ("window.limit", "{request}", "How many may be.", lambda it: it.limits.requests),
        )
        for name, unit, description, look in gauges:
            meter.create_observable_up_down_counter(
                f"wavespeed.client.limiter.{name}",
                callbacks=[self._looking(look)],
                unit=unit,
                description=description,
            )

    def _looking(
        self, look: Callable[[AnyLimiter], int]
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            limiters = [limiter for known in self._limiters if (limiter := known()) is not None]
            return [Observation(sum(map(look, limiters)))]

        return observe

    def know(self, limiter: AnyLimiter) -> None:
        """Know one more limiter, for as long as somebody else does."""
        alive = [known for known in self._limiters if known() not in {None, limiter}]
        self._limiters = (*alive, ref(limiter))  # in one step: another thread may be looking


@define(eq=False)
class _Course:
    """Hold what is known of a call that goes on."""

    model: str
    prediction_id: str | None
    polls: int = 0


class Metrics:
    """Measure one client's events.

    Args:
        instruments: Take the measurements.
        server: Where the API is.
    """

    def __init__(self, instruments: Instruments, server: str) -> None:
        self._to = instruments
        self._where = of_server(server)
        self._courses: dict[int | None, _Course] = {}
        self._measured: dict[type[Event], Callable[[Any], None]] = {
            CallBegan: self._begin,
            CallEnded: self._end,
            TurnGranted: self._waited,
            RequestAnswered: self._exchanged,
            RequestLost: self._exchanged,
            RequestFailed: self._failed,
            LimiterPaused: self._paused,
            PredictionSubmitted: self._submitted,
            PredictionEnded: self._ended,
            ImageUploaded: self._uploaded,
            PictureSaved: self._saved,
        }

    def __call__(self, event: Event) -> None:
        """Measure an event."""
        measure = self._measured.get(type(event))
        if measure is not None:
            measure(event)

    # --- calls -----------------------------------------------------------------------------------

    def _begin(self, event: CallBegan) -> None:
        known = event.asked or event.about
        identity = event.about.id if event.about else None
        self._courses[event.call] = _Course(known.model if known else "", identity)

    def _end(self, event: CallEnded) -> None:
        course = self._courses.pop(event.call, None) or _Course("", None)
        seen = event.about
        known = of_operation(course.model or (seen.model if seen else ""))
        if seen is not None and seen.status.ended:
            self._to.polls.record(course.polls, known)
        told = known | self._where | {"wavespeed.call": event.kind}
        if event.error is not None:
            self._to.failures.add(1, known | {"error.type": error_type(event.error)})
        if event.error is not None or event.cancelled:
            told["error.type"] = error_type(event.error)
        self._to.operations.record(event.seconds, told)

    def _submitted(self, event: PredictionSubmitted) -> None:
        if event.call in self._courses:
            self._courses[event.call].prediction_id = event.prediction.id

    # --- requests --------------------------------------------------------------------------------

    def _waited(self, event: TurnGranted) -> None:
        course = self._courses.get(event.call)
        if course and event.prediction_id and event.prediction_id == course.prediction_id:
            course.polls += 1
        self._to.waits.record(event.seconds, {"wavespeed.request.kind": event.kind})

    def _exchanged(self, event: RequestAnswered | RequestLost) -> None:
        told: Attributes = {"http.request.method": event.method, "url.template": template_of(event)}
        self._to.requests.record(event.seconds, told | of_answer(event) | self._where)

    def _failed(self, event: RequestFailed) -> None:
        if event.retry_in is not None:
            self._to.retries.add(1, {"error.type": error_type(event.error)})

    def _paused(self, _: LimiterPaused) -> None:
        self._to.pauses.add(1)

    # --- what came of it -------------------------------------------------------------------------

    def _ended(self, event: PredictionEnded) -> None:
        prediction = event.prediction
        known, status = of_operation(prediction.model), str(prediction.status)
        if prediction.outputs:
            self._to.pictures.add(len(prediction.outputs), known)
        self._to.predictions.add(1, known | {"wavespeed.prediction.status": status})

    def _uploaded(self, event: ImageUploaded) -> None:
        self._to.uploads.add(event.size)

    def _saved(self, event: PictureSaved) -> None:
        self._to.files.add(len(event.paths))
