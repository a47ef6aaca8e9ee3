"""Memory, CPU and stalls of large batches, beside what bare httpx does of the same.

First 100,000 requests through `batch`, each submitted and polled once, to a transport that answers
at once in the same process: by how much resident memory grows at most, and the CPU of each request,
the transport's own included (it is told apart). Then 5,000 predictions that run at once, under
`Limits(requests=5000, per=60, concurrency=10000)`, against the emulator in another process: the
longest time for which the event loop stood still. A heartbeat of 5 ms tells; each figure is the
median over the runs of the longest gap in a run, with and without the time that Python's garbage
collector took in it: a full collection looks at every object there is. What this package makes
ends without the collector (`tests/test_batch.py`), so that an application with thousands running
may have full collections rarely, by two lines at its start: the rows "rare full gc" have them.

Bare httpx does the same from `asyncio.gather`: 20 at a time in the first part; in the second all at
once, each prediction polled every second, and a prompt that is refused is lost.

    python benchmarks/large_batches.py [--requests 100000] [--running 5000] [--runs 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from _apart import SPAWN, alone

from wavespeed_async import AsyncWaveSpeed, FluxDev, Limiter, Limits, NotFoundError
from wavespeed_async.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from multiprocessing.connection import Connection

AT_ONCE, WARM_UP, LOOKED_AFTER = 20, 200, 500
REQUESTS, CONCURRENCY = 5000, 10000
MEMORY, CPU, STALL = 50.0, 0.5, 50.0
"""The most that is asked for: megabytes, milliseconds each, milliseconds."""
LATENCY, BEAT = 40.0, 0.005
RARELY = 1000
"""How many collections of the middle generation pass before one of all; Python's own is 10."""
KEY = {"Authorization": "Bearer key"}
ROOT = "https://api.test"
SUBMIT = "/api/v2/wavespeed-ai/flux-dev"


# --- many requests, answered at once --------------------------------------------------------------


class Instant(httpx.AsyncBaseTransport):
    """Answer at once: a POST with a new prediction, a GET with a finished one."""

    submitted = polled = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        if request.method == "POST":
            self.submitted += 1
            return _answer(f"{self.submitted:032x}", "created")
        self.polled += 1
        return _answer(request.url.path.split("/")[-2], "completed")


def _answer(name: str, status: str) -> httpx.Response:
    data = {
        "id": name,
        "model": "wavespeed-ai/flux-dev",
        "outputs": ["https://cdn.test/1.png"] if status == "completed" else [],
        "urls": {"get": f"{ROOT}/api/v3/predictions/{name}/result"},
        "has_nsfw_contents": [],
        "status": status,
        "created_at": "2025-09-29T23:09:43.027Z",
        "error": "",
        "timings": {"inference": 1},
    }
    return httpx.Response(200, json={"code": 200, "message": "success", "data": data})


def resident() -> float:
    """Tell this process's memory in megabytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Spent:
    """Watch what a run needs, from now on."""

    def __init__(self) -> None:
        gc.collect()
        self._before, self._began = resident(), time.process_time()
        self.megabytes = 0.0
        self.ended = 0

    def count(self) -> None:
        """Count one more that has ended; look at the memory from time to time."""
        self.ended += 1
        if self.ended % LOOKED_AFTER == 0:
            self.megabytes = max(self.megabytes, resident() - self._before)

    @property
    def milliseconds(self) -> float:
        """The CPU of each so far."""
        return 1000 * (time.process_time() - self._began) / self.ended


async def ours(transport: Instant, count: int) -> Spent:
    """Run a batch."""
    limits = Limits(requests=10**6, concurrency=AT_ONCE, min_poll_interval=0.0)
    client = AsyncWaveSpeed("key", base_url=ROOT, limiter=Limiter(limits), transport=transport)
    spent = Spent()
    requests = (FluxDev(prompt=f"prompt {number}") for number in range(count))
    async with client, client.batch(requests) as outcomes:
        async for outcome in outcomes:
            outcome.unwrap()
            spent.count()
    return spent


async def bare(transport: Instant, count: int) -> Spent:
    """Gather what bare httpx does for each."""
    spent, room = Spent(), asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with room:
            fields = {"prompt": f"prompt {number}", "size": "1024*1024", "seed": number}
            answer = await client.post(ROOT + SUBMIT, json=fields, headers=KEY)
            path = f"/api/v3/predictions/{answer.json()['data']['id']}/result"
            answer = await client.get(ROOT + path, headers=KEY)
            answer.json()["data"]["outputs"][0]
        spent.count()

    async with httpx.AsyncClient(transport=transport) as client:
        await asyncio.gather(*(one(number) for number in range(count)))
    return spent


async def the_transport(transport: Instant, count: int) -> Spent:
    """Ask the transport alone, which is a part of either."""
    spent = Spent()
    request = (
        httpx.Request("POST", ROOT + SUBMIT),
        httpx.Request("GET", f"{ROOT}/api/v3/p/1/result"),
    )
    for _ in range(count):
        for one in request:
            await transport.handle_async_request(one)
        spent.count()
    return spent


INSTANT = {"ours": ours, "httpx, gathered": bare, "the transport alone": the_transport}


def instant(name: str, count: int) -> dict[str, Any]:
    """Make one run in this process, after one to warm up."""

    async def run() -> dict[str, Any]:
        await INSTANT[name](Instant(), WARM_UP)
        transport = Instant()
        spent = await INSTANT[name](transport, count)
        polls = transport.polled / count
        found = {"megabytes": spent.megabytes, "cpu_ms": spent.milliseconds, "polls": polls}
        return {"name": name, "requests": spent.ended, **found}

    return asyncio.run(run())


# --- many predictions that run at once ------------------------------------------------------------


def serve(control: Connection, latency: float) -> None:
    """Serve an emulator until told to stop; then tell what was seen."""
    with Emulator(
        requests=REQUESTS, concurrency=CONCURRENCY, latency=latency, pictures=False
    ) as emulator:
        control.send(emulator.url)
        control.recv()
        seen = {"most_running": emulator.most_running, "refused": emulator.refused}
    control.send(seen)


class Heart:
    """Beat, and tell for how long the event loop stood still."""

    def __init__(self) -> None:
        self.longest = self.longest_without_gc = 0.0
        self._collecting = self._collected = 0.0

    def _collector(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._collecting = time.perf_counter()
        else:
            self._collected += time.perf_counter() - self._collecting

    async def _beat(self) -> None:
        while True:
            self._collected, slept = 0.0, time.perf_counter()
            await asyncio.sleep(BEAT)
            gap = time.perf_counter() - slept - BEAT
            self.longest = max(self.longest, gap)
            self.longest_without_gc = max(self.longest_without_gc, gap - self._collected)

    @contextlib.asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Beat for as long as the block lasts."""
        gc.callbacks.append(self._collector)
        task = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            task.cancel()
            gc.callbacks.remove(self._collector)


async def batch(url: str, count: int, heart: Heart, transport: str | None) -> int:
    """Run a batch; answer how many pictures came."""
    limiter = Limiter(Limits(requests=REQUESTS, concurrency=CONCURRENCY))
    made = 0
    async with AsyncWaveSpeed("key", base_url=url, limiter=limiter, transport=transport) as client:
        with contextlib.suppress(NotFoundError):
            await client.result("0" * 32)  # opens the pool: what is imported then is no stall
        requests = (FluxDev(prompt=f"prompt {number}") for number in range(count))
        async with heart.beating(), client.batch(requests) as outcomes:
            async for outcome in outcomes:
                made += outcome.error is None
    return made


async def gathered(url: str, count: int, heart: Heart) -> int:
    """Gather what bare httpx does; answer how many pictures came."""
    async with httpx.AsyncClient(base_url=url, headers=KEY, timeout=60.0) as client:

        async def one(number: int) -> bool:
            answer = await client.post(SUBMIT, json={"prompt": f"prompt {number}"})
            while answer.is_success:
                data = answer.json()["data"]
                if data["status"] == "completed":
                    return True
                await asyncio.sleep(1.0)
                answer = await client.get(f"/api/v3/predictions/{data['id']}/result")
            return False

        await client.get("/api/v3/balance")
        async with heart.beating():
            ended = await asyncio.gather(*map(one, range(count)), return_exceptions=True)
    return sum(one is True for one in ended)


@contextlib.contextmanager
def rare_full_collections() -> Iterator[None]:
    """Have the collector leave alone what was imported, and look at all else rarely."""
    young, middle_aged, old = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(young, middle_aged, RARELY)
    try:
        yield
    finally:
        gc.set_threshold(young, middle_aged, old)
        gc.unfreeze()


async def batch_with_rare_gc(url: str, count: int, heart: Heart, transport: str | None) -> int:
    """Run a batch in an application that has chosen its garbage collection."""
    with rare_full_collections():
        return await batch(url, count, heart, transport)


STALLS: dict[str, Callable[[str, int, Heart], Awaitable[int]]] = {
    "ours": partial(batch, transport=None),
    "ours, aiohttp": partial(batch, transport="aiohttp"),
    "ours, rare full gc": partial(batch_with_rare_gc, transport=None),
    "ours, aiohttp, rare full gc": partial(batch_with_rare_gc, transport="aiohttp"),
    "httpx, gathered": gathered,
}


def stall(name: str, count: int, latency: float) -> dict[str, Any]:
    """Make one run in this process."""
    control, other = SPAWN.Pipe()
    server = SPAWN.Process(target=serve, args=(other, latency))
    server.start()
    heart = Heart()

    async def run(url: str) -> int:
        return await STALLS[name](url, count, heart)

    began = time.perf_counter()
    made = asyncio.run(run(control.recv()))
    seconds = time.perf_counter() - began
    control.send(None)
    found = {"stall_ms": 1000 * heart.longest, "without_gc_ms": 1000 * heart.longest_without_gc}
    found |= {"lost": count - made, "seconds": seconds, **control.recv()}
    server.join()
    return {"name": name, "predictions": count, **found}


# --- all together ---------------------------------------------------------------------------------


def told(measure: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Measure in a fresh process; tell on stderr."""
    found = alone(measure, *arguments)
    sys.stderr.write(f"{json.dumps(found)}\n")
    return found


def middle(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Answer medians of several runs."""
    row: dict[str, Any] = {"name": runs[0]["name"], "runs": len(runs)}
    for key in runs[0].keys() - row.keys():
        row[key] = statistics.median(run[key] for run in runs)
    return row


def table(report: dict[str, Any]) -> Iterator[str]:
    """Write both tables, line by line."""
    yield f"each submitted and polled once, at once answered (at most {MEMORY:g} MB, {CPU:g} ms)"
    for row in report["instant"]:
        yield (
            f"{row['name']:20} {row['requests']:7g} requests: {row['megabytes']:6.1f} MB more,"
            f" {row['cpu_ms']:.3f} ms of CPU each, {row['polls']:.2f} polls each"
        )
    yield f"running at once, medians of the longest stall (at most {STALL:g} ms)"
    for row in report["stalls"]:
        yield (
            f"{row['name']:27} {row['most_running']:7g} running: {row['stall_ms']:6.0f} ms,"
            f" {row['without_gc_ms']:.0f} ms without garbage collection,"
            f" {row['lost']:g} of {row['predictions']:g} lost"
        )


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=100_000, help="of the first part")
    parser.add_argument("--running", type=int, default=5000, help="predictions of the second part")
    parser.add_argument("--latency", type=float, default=LATENCY, help="how long each runs")
    parser.add_argument("--runs", type=int, default=3, help="of each, in turn")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    options = parser.parse_args()
    report: dict[str, Any] = {"benchmark": "large_batches", "instant": [], "stalls": []}
    for measure, names, rows, given in (
        (instant, INSTANT, "instant", (options.requests,)),
        (stall, STALLS, "stalls", (options.running, options.latency)),
    ):
        rounds = range(options.runs if given[0] else 0)
        runs = [[told(measure, name, *given) for name in names] for _ in rounds]
        report[rows] = [middle(list(same)) for same in zip(*runs, strict=True)]
    sys.stdout.writelines(f"{line}\n" for line in table(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
