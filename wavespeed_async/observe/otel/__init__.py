"""A client's events as OpenTelemetry's spans and metrics; it needs the extra `otel`.

::

    telemetry = OpenTelemetry()  # one for all clients of an application
    client = AsyncWaveSpeed(observe=telemetry)

Only OpenTelemetry's API is needed: which SDK there is, and where it exports to, is up to the
application. Without one nothing is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wavespeed_async._extras import need
from wavespeed_async._version import __version__

with need("otel", of="OpenTelemetry"):
    from opentelemetry import metrics, trace

from wavespeed_async.observe.otel._conventions import SCHEMA
from wavespeed_async.observe.otel._metrics import Instruments, Metrics
from wavespeed_async.observe.otel._spans import Spans

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from wavespeed_async._events import Event, Observer
    from wavespeed_async.limits import AnyLimiter

__all__ = ["OpenTelemetry"]

NAME = "wavespeed_async"


class OpenTelemetry:
    """Make spans and metrics of what clients do: give it to them as `observe=`.

    Args:
        tracer_provider: Makes tracers; by default the application's.
        meter_provider: Makes meters; by default the application's.
        requests: Make a span for each HTTP request. Leave them out where httpx itself is
            instrumented: its spans come below those of predictions by themselves.
        content: Tell prompts, addresses, outputs and the words of errors, too.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        requests: bool = True,
        content: bool = False,
    ) -> None:
        self._tracer = trace.get_tracer(NAME, __version__, tracer_provider, SCHEMA)
        meter = metrics.get_meter(NAME, __version__, meter_provider, SCHEMA)
        self._instruments = Instruments(meter)
        self._requests, self._content = requests, content

    def observer(self, server: str, limiter: AnyLimiter) -> Observer:
        """Answer what hears one client's events; clients ask for it themselves."""
        self._instruments.know(limiter)
        spans = Spans(self._tracer, server, requests=self._requests, content=self._content)
        measure = Metrics(self._instruments, server)

        def observe(event: Event) -> None:
            try:
                spans(event)
            finally:
                measure(event)

        return observe
