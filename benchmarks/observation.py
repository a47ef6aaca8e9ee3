"""What it costs to be observed: CPU of the client for each picture, with observation off and on.

A batch of PICTURES runs over loopback against an emulator in another process, with limits that do
not bind and predictions of 0.2 s, over httpx and over aiohttp, in a fresh process each time:

- off: nobody observes; the client counts for `client.statistics()`, as it always does,
- function: a function that does nothing hears every event: what it takes to make and hand them out,
- logs: `Logs`, with a handler that writes every line (DEBUG) to the null device,
- otel, no SDK: `OpenTelemetry` where the application has none,
- otel, sampled out: its SDK, and a sampler that takes no trace,
- otel: its SDK, every span and metric kept in memory.

Only CPU time of the client's process counts, after a warm-up. Rounds are interleaved, so that noise
meets all; a row has the median over the rounds, and the median of what it took beyond the same
round's `off`. `off` runs twice in each round: the second is the row `off again`, which tells what
of a difference is noise.

What is left when nobody observes, counting, is too little to be seen so. It is timed by itself: the
events of one batch that are told to nobody else are made and counted again, many times.

    python benchmarks/observation.py [--rounds 9] [--pictures 400] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import logging
import os
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _apart import alone, serving
from attrs import evolve

from wavespeed_async import (
    AsyncWaveSpeed,
    CallBegan,
    CallEnded,
    FluxDev,
    Limiter,
    Limits,
    RequestAnswered,
    RequestSent,
    TurnGranted,
)
from wavespeed_async._statistics import Counts
from wavespeed_async._stream import Stream
from wavespeed_async.emulator import Emulator
from wavespeed_async.observe import Logs

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from wavespeed_async import Event

WARM_UP, REPEATED = 40, 200
DETAILS = (CallBegan, CallEnded, TurnGranted, RequestSent)
"""What is made for observers alone."""
UNBOUND = Limits(requests=10**6, per=1.0, concurrency=50, min_poll_interval=0.05)
TRANSPORTS = ("httpx", "aiohttp")


def serve(control: Connection) -> None:
    """Serve an emulator until told to stop."""
    with Emulator(
        latency=0.2, latency_cv=0.1, pictures=False, requests=10**6, concurrency=100, balance=10**6
    ) as emulator:
        control.send(emulator.url)
        control.recv()


def nobody() -> Any:
    """Have nobody observe."""
    return None


def a_function() -> Any:
    """Have a function hear all and do nothing."""
    return lambda _: None


def logs() -> Any:
    """Write every line to the null device."""
    log = logging.getLogger("wavespeed_async")
    log.setLevel(logging.DEBUG)
    log.propagate = False
    log.addHandler(logging.FileHandler(os.devnull))
    return Logs()


def otel_alone() -> Any:
    """Take OpenTelemetry's API, without an SDK."""
    return importlib.import_module("wavespeed_async.observe.otel").OpenTelemetry()


def otel_sampled_out() -> Any:
    """Take its SDK, with a sampler that takes nothing."""
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF  # noqa: PLC0415 (it is a contender)

    return _otel(ALWAYS_OFF)


def otel() -> Any:
    """Take its SDK, and keep all in memory."""
    return _otel(None)


def _otel(sampler: Any) -> Any:
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415 (as above)
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: PLC0415 (as above)
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 (as above)
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: PLC0415 (as above)
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import (  # noqa: PLC0415 (as above)
        InMemorySpanExporter,
    )

    from wavespeed_async.observe.otel import OpenTelemetry  # noqa: PLC0415 (as above)

    tracers = TracerProvider(sampler=sampler)
    tracers.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
    meters = MeterProvider([InMemoryMetricReader()])
    return OpenTelemetry(tracer_provider=tracers, meter_provider=meters)


OBSERVERS: dict[str, Callable[[], Any]] = {
    "off": nobody,
    "function": a_function,
    "logs": logs,
    "otel, no SDK": otel_alone,
    "otel, sampled out": otel_sampled_out,
    "otel": otel,
    "off again": nobody,
}


def counting(url: str, pictures: int) -> float:
    """Answer the microseconds that counting takes for each picture, where nobody observes."""
    told: list[Event] = []

    async def run() -> None:
        async with AsyncWaveSpeed(
            "key", base_url=url, limiter=Limiter(UNBOUND), observe=told.append
        ) as client:
            await client.run_all([FluxDev(prompt="a lighthouse at dusk")] * pictures)

    asyncio.run(run())
    for_counts = [event for event in told if not isinstance(event, DETAILS)]
    stream = Stream(Counts(), ())
    began = time.process_time()
    for _ in range(REPEATED):
        for event in for_counts:
            # The others are made anyway: batches and those who listen hear them.
            again = evolve(event) if isinstance(event, RequestAnswered) else event
            stream(again)
    return (time.process_time() - began) * 1e6 / REPEATED / pictures


def milliseconds(name: str, transport: str, url: str, pictures: int) -> float:
    """Run a batch in this process; answer the CPU for each picture."""

    async def run() -> float:
        async with AsyncWaveSpeed(
            "key",
            base_url=url,
            limiter=Limiter(UNBOUND),
            transport="aiohttp" if transport == "aiohttp" else None,
            observe=OBSERVERS[name](),
        ) as client:
            await client.run_all([FluxDev(prompt="a lighthouse at dusk")] * WARM_UP)
            began = time.process_time()
            outcomes = await client.run_all([FluxDev(prompt="a lighthouse at dusk")] * pictures)
            spent = time.process_time() - began
        made = sum(outcome.error is None for outcome in outcomes)
        return spent * 1000 / made

    return asyncio.run(run())


def row(transport: str, name: str, spent: dict[str, list[float]]) -> dict[str, Any]:
    """Answer a row of the table."""
    beyond = [mine - off for mine, off in zip(spent[name], spent["off"], strict=True)]
    off = statistics.median(spent["off"])
    return {
        "transport": transport,
        "observer": name,
        "ms": round(statistics.median(spent[name]), 4),
        "beyond_off_ms": round(statistics.median(beyond), 4),
        "beyond_off_share": round(statistics.median(beyond) / off, 4),
    }


def main(rounds: int, pictures: int, file: Path | None) -> None:
    """Take the observers in turn; print a table, and write the same as JSON."""
    rows: list[dict[str, Any]] = []
    with serving(serve) as url:
        counted = alone(counting, url, WARM_UP)
        for transport in TRANSPORTS:
            spent: dict[str, list[float]] = {name: [] for name in OBSERVERS}
            for _ in range(rounds):
                for name, each in spent.items():
                    each.append(alone(milliseconds, name, transport, url, pictures))
            rows += [row(transport, name, spent) for name in OBSERVERS]
    print("CPU of the client for each picture, medians")
    for told in rows:
        beyond = f"{told['beyond_off_ms']:+.3f} ms  {100 * told['beyond_off_share']:+5.1f} %"
        print(f"  {told['transport']:8} {told['observer']:18} {told['ms']:7.3f} ms  {beyond}")
    print(f"counting alone: {counted:.1f} µs for each picture")
    if file is not None:
        report = {"benchmark": "observation", "rounds": rounds, "pictures": pictures}
        report |= {"counting_us": round(counted, 2), "rows": rows}
        file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9, help="of all observers")
    parser.add_argument("--pictures", type=int, default=400, help="in each batch")
    parser.add_argument("--json", dest="file", type=Path, help="where to write the figures")
    main(**vars(parser.parse_args()))
