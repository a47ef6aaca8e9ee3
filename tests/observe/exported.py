"""OpenTelemetry's own SDK, with exporters that keep what they get."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from wavespeed_async.observe.otel import OpenTelemetry

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.sampling import Sampler

PREDICTION = "generate_content wavespeed-ai/flux-dev"


class _Count(SpanProcessor):
    """Count the spans that are open."""

    open = 0

    def on_start(self, *_: Any, **__: Any) -> None:
        self.open += 1

    def on_end(self, _: Any) -> None:
        self.open -= 1


class Exported:
    """Set an SDK up, and hand out what it exports."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self.url = ""  # of the API that it is about
        self.tracers = TracerProvider(sampler=sampler)
        self._exporter, self._count = InMemorySpanExporter(), _Count()
        self.tracers.add_span_processor(self._count)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._reader = InMemoryMetricReader()
        self.meters = MeterProvider([self._reader])
        self.tracer = self.tracers.get_tracer("an application")

    def telemetry(self, **settings: Any) -> OpenTelemetry:
        """Make what a client is given."""
        return OpenTelemetry(tracer_provider=self.tracers, meter_provider=self.meters, **settings)

    @property
    def open(self) -> int:
        """How many spans have begun and not ended."""
        return self._count.open

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """All that were exported."""
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[Any]:
        """Those of a name."""
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> Any:
        """The only one of a name."""
        (span,) = self.named(name)
        return span

    def below(self, span: Any) -> list[str]:
        """Name the children of a span, in the order of their ends."""
        parents = ((each, each.parent) for each in self.spans)
        return [
            each.name
            for each, parent in parents
            if parent is not None and parent.span_id == span.context.span_id
        ]

    def metric(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        """List the points of a metric: attributes, and value or (count, sum)."""
        data = self._reader.get_metrics_data()
        found: list[tuple[dict[str, Any], Any]] = []
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    points: Any = metric.data.data_points if metric.name == name else ()
                    found += [(dict(point.attributes), _value(point)) for point in points]
        return found

    def total(self, name: str, **attributes: Any) -> Any:
        """Add up the points of a counter that have such attributes; dots stand as underlines."""
        wanted = {key.replace("__", "."): value for key, value in attributes.items()}
        return sum(
            value if isinstance(value, int) else value[0]
            for told, value in self.metric(name)
            if wanted.items() <= told.items()
        )

    @property
    def text(self) -> str:
        """All that is exported, as JSON."""
        data = self._reader.get_metrics_data()
        told = [span.to_json() for span in self.spans]
        return "\n".join([*told, data.to_json() if data is not None else ""])


def _value(point: Any) -> Any:
    return point.value if hasattr(point, "value") else (point.count, point.sum)
