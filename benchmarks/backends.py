"""Two hundred visitors of the FastAPI example at once, half of whom leave before their picture.

    python benchmarks/backends.py [--runs N] [--json FILE]

The example (examples/fastapi_app.py) is served by uvicorn in a process of its own; the visitors
come over real sockets from this one, where the emulator runs, too. The account's limits leave room,
so that the limiter is idle. Beside it stands the least that could be in its place: the same routes
of the same FastAPI, which send bare requests through one httpx client and know no limiter, retry,
deadline or event. Both are run over httpx's own transport and over aiohttp's, in turns, and each
visitor comes and leaves at the same moments; told are medians of the runs:

- the longest stall of the server's event loop, looked for every 5 ms, and how long it worked in the
  longest itself: in the rest of a stall the machine ran something else;
- the time from a visitor's first byte to the news that the API has the order (which includes the
  emulator's answer), and from the answer that has the picture to the news of that; what the package
  adds is what it takes beyond the bare one in the same run;
- the CPU that the server takes for a visitor, in milliseconds;
- what is still there of the visitors a moment after the last has gone.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib.util
import json
import random
import statistics
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import uvicorn
from fastapi import FastAPI
from httpx_aiohttp import HttpxAiohttpClient
from sse_starlette import EventSourceResponse

from wavespeed_async import AsyncWaveSpeed, Limits, PredictionLeft, RequestAnswered
from wavespeed_async.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence

EXAMPLE = Path(__file__).parents[1] / "examples" / "fastapi_app.py"
LIMITS = {"requests": 12_000, "per": 60.0, "concurrency": 500}
KINDS = ["httpx", "bare httpx", "aiohttp", "bare aiohttp"]
"""What is served: the example, or what is bare, over a transport."""
LOOK = 0.005
SETTLE = 3.0


# --- the server's process ------------------------------------------------------------------------


class Watch:
    """Note what the server's event loop and client do."""

    def __init__(self) -> None:
        self.stalls: list[tuple[float, float]] = []
        self.began = False
        self.seen: dict[str, float] = {}
        self.left = 0
        self.client: AsyncWaveSpeed | None = None

    def hear(self, event: object) -> None:
        """Note when each prediction was answered last, and how many were left."""
        if isinstance(event, RequestAnswered) and event.method == "GET":
            self.seen[event.path.split("/")[-2]] = event.at
        self.left += isinstance(event, PredictionLeft)

    def make(self, url: str, transport: str | None) -> AsyncWaveSpeed:
        """Make the client that the example shares."""
        self.client = AsyncWaveSpeed(
            "key",
            base_url=url,
            limits=Limits(**LIMITS),  # type: ignore[arg-type]  # numbers all
            transport=transport,
            observe=self.hear,
        )
        return self.client

    async def look(self) -> None:
        """Look every 5 ms by how much the event loop is late."""
        while True:
            before, worked = time.perf_counter(), time.thread_time()
            await asyncio.sleep(LOOK)
            late = time.perf_counter() - before - LOOK
            if self.began:  # what was before took part in this look
                self.began = False
                continue
            self.stalls.append((late, min(late, time.thread_time() - worked)))

    def begin(self) -> None:
        """Forget what was before the visitors."""
        gc.collect()
        self.began = True
        self.stalls.clear()
        self.seen.clear()
        self.left = 0

    def figures(self, server: uvicorn.Server) -> dict[str, Any]:
        """Tell what was noted, and what is there now."""
        limiter = self.client.limiter if self.client else None
        return {
            "stall": max((late for late, _ in self.stalls), default=0.0),
            "own_stall": max((own for _, own in self.stalls), default=0.0),
            "seen": self.seen,
            "left": self.left,
            "tasks": len(asyncio.all_tasks()),
            "connections": len(server.server_state.connections),
            "cpu": time.process_time(),
            "waiting": limiter.waiting if limiter else 0,
            "unknown": limiter.running - len(limiter.running_ids) if limiter else 0,
        }


def bare_app(watch: Watch, url: str, transport: str | None) -> FastAPI:
    """Make an application with a route like the example's and nothing of this package behind it."""
    example = load_example()
    kind = HttpxAiohttpClient if transport else httpx.AsyncClient
    most = httpx.Limits(max_connections=32, max_keepalive_connections=32)
    headers = {"Authorization": "Bearer key"}
    http = kind(base_url=url, headers=headers, limits=most, timeout=60.0)

    async def steps(prompt: str, size: str) -> AsyncGenerator[dict[str, str]]:
        yield {"event": "queued", "data": "{}"}
        fields = {"prompt": prompt, "size": size, "num_images": 1, "seed": 1}
        made = (await http.post("/api/v2/wavespeed-ai/flux-dev", json=fields)).json()["data"]
        yield {"event": "submitted", "data": json.dumps({"id": made["id"]})}
        while made["status"] not in {"completed", "failed"}:
            await asyncio.sleep(1.0)
            path = f"/api/v2/predictions/{made['id']}/result"
            made = (await http.get(path)).json()["data"]
            watch.seen[made["id"]] = time.time()
        told = {"id": made["id"], "outputs": made["outputs"]}
        yield {"event": "finished", "data": json.dumps(told)}

    async def make_pictures(order: Any) -> EventSourceResponse:
        return EventSourceResponse(steps(order.prompts[0], order.size))

    @asynccontextmanager
    async def opened(_: FastAPI) -> AsyncGenerator[None]:
        async with http:
            yield

    app = FastAPI(lifespan=opened)
    make_pictures.__annotations__ = {"order": example.Order}
    app.post("/pictures", response_model=None)(make_pictures)
    return app


def serve(url: str, transport: str | None, *, bare: bool) -> None:
    """Serve the example, or what stands beside it, and print its port."""
    watch = Watch()
    if bare:
        app = bare_app(watch, url, transport)
    else:
        app = load_example().create_app(partial(watch.make, url, transport))
    opened = app.router.lifespan_context

    @asynccontextmanager
    async def watched(app: FastAPI) -> AsyncGenerator[None]:
        looking = asyncio.ensure_future(watch.look())
        async with opened(app):
            yield
        looking.cancel()

    app.router.lifespan_context = watched
    app.post("/begin")(_asynchronous(watch.begin))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    app.get("/figures")(_asynchronous(partial(watch.figures, server)))
    asyncio.run(_serve(server))


def _asynchronous(answer: Any) -> Any:
    async def route() -> Any:
        return answer()

    return route


async def _serve(server: uvicorn.Server) -> None:
    serving = asyncio.ensure_future(server.serve())
    while not server.started:  # noqa: ASYNC110 (uvicorn has no event for it)
        await asyncio.sleep(0.01)
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    await serving


def load_example() -> Any:
    """Load the example from its file."""
    spec = importlib.util.spec_from_file_location("fastapi_app", EXAMPLE)
    assert spec is not None  # noqa: S101 (the file is there)
    assert spec.loader is not None  # noqa: S101 (as above)
    module = importlib.util.module_from_spec(spec)
    sys.modules["fastapi_app"] = module  # pydantic looks there for what annotations name
    spec.loader.exec_module(module)
    return module


# --- the visitors --------------------------------------------------------------------------------


async def visit(port: int, number: int, comes_in: float, leaves_in: float | None) -> dict[str, Any]:
    """Come after a while, ask for a picture, and leave or wait for it; tell when what was heard."""
    await asyncio.sleep(comes_in)
    body = json.dumps({"prompts": [f"picture {number}"]}).encode()
    head = f"POST /pictures HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    heard: dict[str, Any] = {"leaves": leaves_in is not None}
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    heard["asked"] = time.time()
    writer.write(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
    try:
        async with asyncio.timeout(leaves_in):
            await _listen(reader, heard)
    except TimeoutError:
        pass
    finally:
        writer.close()
    return heard


async def _listen(reader: asyncio.StreamReader, heard: dict[str, Any]) -> None:
    name = ""
    while name != "finished" or "finished" not in heard:
        line = (await reader.readline()).decode().strip()
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            heard[name] = time.time()
            heard["id"] = json.loads(line.removeprefix("data: ")).get("id")
        elif not line and reader.at_eof():
            return


async def crowd(port: int, visitors: int, spread: float, latency: float, seed: int) -> list[Any]:
    """Send all visitors, half of whom leave at some moment before their picture is there."""
    dice = random.Random(seed)
    plans = [(dice.uniform(0, spread), number % 2 == 0) for number in range(visitors)]
    visits = (
        visit(port, number, comes, dice.uniform(0.0, latency) if leaves else None)
        for number, (comes, leaves) in enumerate(plans)
    )
    return [*await asyncio.gather(*visits)]


def added(heard: dict[str, Any], seen: dict[str, float]) -> Iterator[float]:
    """Tell the seconds that a visitor's picture took beyond the API's own."""
    if "finished" in heard:
        yield heard["submitted"] - heard["asked"] + heard["finished"] - seen[heard["id"]]


def quantile(values: Sequence[float], share: float) -> float:
    """Tell below what a share of values lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def measure(port: int, visitors: int, spread: float, latency: float, seed: int) -> dict[str, Any]:
    """Run one crowd; tell its figures."""
    url = f"http://127.0.0.1:{port}"
    asyncio.run(crowd(port, 4, 0.0, latency, seed))  # opens the pool, imports what is lazy
    time.sleep(SETTLE)
    before = httpx.get(f"{url}/figures").json()
    httpx.post(f"{url}/begin")
    heard = asyncio.run(crowd(port, visitors, spread, latency, seed))
    during = httpx.get(f"{url}/figures").json()
    time.sleep(SETTLE)
    after = httpx.get(f"{url}/figures").json()
    times = [seconds for one in heard for seconds in added(one, after["seen"])]
    return {
        "visitors": visitors,
        "spread": spread,
        "left": sum(one["leaves"] and "finished" not in one for one in heard),
        "finished": len(times),
        "stall_ms": during["stall"] * 1000,
        "own_stall_ms": during["own_stall"] * 1000,
        "added_p50_ms": quantile(times, 0.5) * 1000,
        "added_p95_ms": quantile(times, 0.95) * 1000,
        "cpu_ms": (after["cpu"] - before["cpu"]) * 1000 / visitors,
        "tasks_left": after["tasks"] - before["tasks"],
        "connections_left": after["connections"] - before["connections"],
        "waiting_left": after["waiting"],
        "slots_without_an_id": after["unknown"],
    }


def run(kind: str, spread: float, options: argparse.Namespace) -> dict[str, Any]:
    """Serve one of the applications, send it one crowd, tell its figures."""
    limits: dict[str, Any] = {**LIMITS, "window": "sliding"}
    with Emulator(latency=options.latency, pictures=False, **limits) as emulator:
        command = [sys.executable, __file__, "--serve", emulator.url, "--kind", kind]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 (our own command)
        try:
            assert server.stdout is not None  # noqa: S101 (it was asked for)
            port = int(server.stdout.readline())
            told = options.visitors, spread, options.latency, options.seed
            return {"kind": kind, **measure(port, *told)}
        finally:
            server.terminate()
            server.wait()


def main(options: argparse.Namespace) -> None:
    """Measure visitors who come over a while and all at once, print a table, write the figures."""
    rows = []
    head = f"{'come within':>12}  {'application':18}{'left':>6}{'stall':>10}{'own':>10}"
    print(f"{head}{'p50':>10}{'p95':>10}{'CPU':>9}  still there")
    for spread in (options.latency, 0.0):
        found = [run(kind, spread, options) for _ in range(options.runs) for kind in options.kinds]
        for kind in options.kinds:
            tell([row for row in found if row["kind"] == kind])
        rows += found
    if options.json:
        told = {"benchmark": "backends", "seed": options.seed, "latency": options.latency}
        Path(options.json).write_text(json.dumps({**told, "rows": rows}, indent=1) + "\n", "utf-8")


def tell(found: list[dict[str, Any]]) -> None:
    """Print the medians of one application's runs, and all that stayed behind."""
    keys = ("stall_ms", "own_stall_ms", "added_p50_ms", "added_p95_ms", "cpu_ms")
    stall, own, half, most, cpu = (statistics.median(row[key] for row in found) for key in keys)
    there = [name for name in found[0] if name.endswith(("_left", "_id"))]
    counts = {name.split("_")[0]: sum(row[name] for row in found) for name in there}
    rest = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    left = statistics.median(row["left"] for row in found)
    print(
        f"{found[0]['spread']:10g} s  {found[0]['kind']:18}{left:6.0f}{stall:7.1f} ms{own:7.1f} ms"
        f"{half:7.1f} ms{most:7.1f} ms{cpu:6.1f} ms  {rest or 'nothing'}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--visitors", type=int, default=200)
    parser.add_argument("--latency", type=float, default=10.0, help="of a picture, in seconds")
    parser.add_argument("--seed", type=int, default=1, help="of who comes and leaves when")
    parser.add_argument("--runs", type=int, default=3, help="how often; medians are told")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="what is served")
    parser.add_argument("--json", metavar="FILE", help="where to write the figures")
    parser.add_argument("--serve", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--kind", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.serve:
        over = "aiohttp" if "aiohttp" in wanted.kind else None
        serve(wanted.serve, over, bare="bare" in wanted.kind)
    else:
        main(wanted)
