"""With `otel` alone: OpenTelemetry observes, though without its SDK it exports nothing."""

import anyio
from opentelemetry import trace

from wavespeed_async import AsyncWaveSpeed
from wavespeed_async.observe.otel import OpenTelemetry


async def main() -> None:
    """Make a picture within a span."""
    async with AsyncWaveSpeed(observe=OpenTelemetry()) as client:
        with trace.get_tracer("studio").start_as_current_span("an order"):
            picture = await client.flux_dev(prompt="a lighthouse", size=(512, 512))
        assert picture.outputs


anyio.run(main)
