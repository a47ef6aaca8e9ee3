"""What the journal costs: CPU for each request of a long batch, and pictures a minute.

The first rows run a batch of REQUESTS against a server in process that answers at once and whose
predictions are ready at once, without and with each kind of journal: the difference of their CPU
time is what the journal costs. The others run one at the documented limits (predictions of 5 s, all
times divided by SCALE) over real sockets, where only waiting costs: ROUNDS times each, in turns.

    python benchmarks/journal.py [REQUESTS] [PROMPTS] [SCALE] [ROUNDS] [--postgres ADDRESS]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
import httpx
from attrs import frozen

from wavespeed_async import AsyncWaveSpeed, FluxDev, Limiter, Limits
from wavespeed_async.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UNLIMITED = Limits(requests=10**9, per=0.01, concurrency=20, min_poll_interval=0.0)
"""What polls are based on scales with `per`, so that nothing waits."""
LATENCY, PER, POLL = 5.0, 60.0, 1.0

Place: TypeAlias = Path | str | None
"""Where a journal is: a file, an address, or nowhere."""


@frozen
class Cost:
    """Hold what a run took: seconds by the clock and of CPU, and memory at its most, in MB."""

    seconds: float
    cpu: float
    memory: float


def prompts(count: int) -> Iterator[FluxDev]:
    """Make requests as they are taken."""
    return (FluxDev(prompt=f"prompt {number}") for number in range(count))


class Instant(httpx.AsyncBaseTransport):
    """Answer each submission with a prediction that is ready at the first poll."""

    def __init__(self) -> None:
        self.made = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer at once."""
        if request.method == "POST":
            self.made += 1
            data: dict[str, Any] = {"id": f"{self.made:032x}", "status": "created"}
        else:
            outputs = ["https://cdn.example/1.png"]
            name = request.url.path.split("/")[-2]
            data = {"id": name, "status": "completed", "outputs": outputs}
            data["timings"] = {"inference": 1}
        body = {
            "code": 200,
            "message": "success",
            "data": {**data, "model": "wavespeed-ai/flux-dev"},
        }
        return httpx.Response(200, json=body)


def many(count: int, journal: Place) -> Cost:
    """Run a long batch against a server that costs next to nothing."""

    async def run() -> None:
        client = AsyncWaveSpeed("key", transport=Instant(), limiter=Limiter(UNLIMITED))
        async with client, client.batch(prompts(count), journal=journal) as outcomes:
            async for outcome in outcomes:
                outcome.unwrap()

    began, cpu = time.perf_counter(), time.process_time()
    anyio.run(run)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Cost(time.perf_counter() - began, time.process_time() - cpu, peak)


def pace(count: int, scale: float, journal: Place) -> float:
    """Answer the pictures a minute at the documented limits."""

    async def run(url: str) -> None:
        limits = Limits(per=PER / scale, min_poll_interval=POLL / scale)
        client = AsyncWaveSpeed("key", base_url=url, limiter=Limiter(limits))
        async with client, client.batch(prompts(count), journal=journal) as outcomes:
            async for outcome in outcomes:
                outcome.unwrap()

    with Emulator(per=PER / scale, latency=LATENCY / scale, pictures=False) as emulator:
        began = time.perf_counter()
        anyio.run(run, emulator.url)
        return count / ((time.perf_counter() - began) * scale) * 60


def places(folder: Path, address: str | None) -> dict[str, Callable[[object], Place]]:
    """Answer what names a new journal of each kind."""
    kinds: dict[str, Callable[[object], Place]] = {
        "without": lambda _: None,
        "SQLite": lambda name: folder / f"{name}.sqlite",
    }
    if address is not None:
        mark = "&" if "?" in address else "?"
        kinds["PostgreSQL"] = lambda name: f"{address}{mark}journal={time.time_ns()}-{name}"
    return kinds


def main(requests: int, count: int, scale: float, rounds: int, address: str | None) -> None:
    """Print a table, and the same as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        kinds = places(Path(folder), address)
        costs = {kind: many(requests, place("many")) for kind, place in kinds.items()}
        paces: dict[str, list[float]] = {kind: [] for kind in kinds}
        for number in range(rounds):
            for kind, place in kinds.items():
                paces[kind].append(pace(count, scale, place(number)))
    for kind, cost in costs.items():
        each = cost.cpu / requests * 1e3
        print(f"{kind:10}: {each:.3f} ms of CPU a request, {cost.seconds:.1f} s in all")
    without, *others = kinds
    own = {kind: (costs[kind].cpu - costs[without].cpu) / requests * 1e3 for kind in others}
    for kind, milliseconds in own.items():
        print(f"{kind:10}: the journal itself: {milliseconds:.3f} ms of CPU a request")
    medians = {kind: statistics.median(found) for kind, found in paces.items()} if rounds else {}
    for kind, median in medians.items():
        share = 1 - median / medians[without]
        told = f", {share:.2%} less" if kind in others else ""
        print(f"{kind:10}: {median:.2f} pictures a minute at the documented limits{told}")
    report = {"benchmark": "journal", "requests": requests, "prompts": count, "scale": scale}
    print(json.dumps({**report, "cpu_ms": own, "pictures_a_minute": paces}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("requests", type=int, nargs="?", default=100_000, help="of the first part")
    parser.add_argument("prompts", type=int, nargs="?", default=240, help="of the second part")
    parser.add_argument("scale", type=float, nargs="?", default=20.0, help="divides all times")
    parser.add_argument("rounds", type=int, nargs="?", default=5, help="of the second part")
    parser.add_argument("--postgres", help="the address of a database, for a row of its own")
    given = parser.parse_args()
    main(given.requests, given.prompts, given.scale, given.rounds, given.postgres)
