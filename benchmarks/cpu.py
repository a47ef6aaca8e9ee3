"""CPU of the client for each request and each picture, beside its peers.

Requests: 20 callers at once send one request after the other over loopback, to a server in another
process that answers at once; half submit, half ask for a result. Each contender posts JSON with
the key and decodes the answer; this package does so through its public calls, with its limiter (of
limits that do not bind), its checks and its records. What counts is the CPU time of the client's
process, imports and a warm-up left out.

Pictures: the documented limits (120 requests a minute, 20 running), predictions of 5 s, all times
divided by SCALE, against the emulator in another process. The official SDK (package `wavespeed`) is
fanned out on 20 threads and on 2, as its users do it, with its own pace of polling (1 s, scaled
too). The CPU is shared out among the pictures that were made: on 20 threads it loses prompts, on 2
it loses few, which is the kindest measure of it.

Rounds are interleaved, so that noise meets all; a ratio is the median of each round's ratio. Run it
where `sniffio` is not installed (trio brings it): then httpcore looks for it ten times with each
request, as it does for most users; the table says which it was.

    python benchmarks/cpu.py [ROUNDS] [REQUESTS] [PICTURES] [SCALE]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import io
import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from _apart import alone, serving

from wavespeed_async import AsyncWaveSpeed, FluxDev, Limiter, Limits
from wavespeed_async.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from multiprocessing.connection import Connection

    import aiohttp
    import httpx

CALLERS, WARM_UP = 20, 200
LATENCY, PER, POLL = 5.0, 60.0, 1.0
MANY = 10**6
KEY = {"Authorization": "Bearer key"}
SUBMIT = "/api/v2/wavespeed-ai/flux-dev"
FIELDS = {
    "prompt": "a lighthouse at dusk",
    "strength": 0.6,
    "size": "1024*1024",
    "num_inference_steps": 28,
    "guidance_scale": 5.0,
    "num_images": 1,
    "seed": 7,
    "enable_safety_checker": True,
}

# --- the servers ----------------------------------------------------------------------------------


class Instant(asyncio.Protocol):
    """Answer each request at once: a POST with a new prediction, a GET with a finished one."""

    served = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        """Answer what is whole."""
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        line, *headers = head.lower().split(b"\r\n")
        lengths = [int(h.partition(b":")[2]) for h in headers if h.startswith(b"content-length:")]
        if lengths and len(body) < lengths[0]:
            return
        self._received = b""
        Instant.served += 1
        self._transport.write(_answer(line))  # type: ignore[attr-defined]  # of TCP it can write


def _answer(line: bytes) -> bytes:
    if line.startswith(b"get /served"):
        content = json.dumps(Instant.served)
    elif line.startswith(b"post"):
        content = _envelope(f"{Instant.served:032x}", "created")
    else:
        content = _envelope(line.split(b"/")[4].decode(), "completed")
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(content)}"
    return f"{head}\r\n\r\n{content}".encode()


def _envelope(identity: str, status: str) -> str:
    data = {
        "id": identity,
        "model": "wavespeed-ai/flux-dev",
        "outputs": ["https://cdn.test/1.png"] if status == "completed" else [],
        "urls": {"get": f"https://api.test/api/v3/predictions/{identity}/result"},
        "has_nsfw_contents": [],
        "status": status,
        "created_at": "2025-09-29T23:09:43.027Z",
        "error": "",
        "executionTime": 1,
        "timings": {"inference": 1},
    }
    return json.dumps({"code": 200, "message": "success", "data": data})


def serve_at_once(control: Connection) -> None:
    """Serve `Instant` until told to stop."""

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Instant, "127.0.0.1", 0)
        control.send(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await asyncio.to_thread(control.recv)

    asyncio.run(run())


def serve_pictures(control: Connection, scale: float) -> None:
    """Serve an emulator until told to stop, as strict as the API is documented to be."""
    with Emulator(per=PER / scale, latency=LATENCY / scale, pictures=False) as emulator:
        control.send(emulator.url)
        control.recv()


# --- requests -------------------------------------------------------------------------------------


async def at_20_running(rounds: int, pair: Callable[[], Awaitable[object]]) -> None:
    """Have 20 callers submit and ask by turns, `rounds` times each."""

    async def call() -> None:
        for _ in range(rounds):
            await pair()

    async with asyncio.TaskGroup() as callers:
        for _ in range(CALLERS):
            callers.create_task(call())


async def timed(
    requests: int, pair: Callable[[], Awaitable[object]], served: Callable[[], Awaitable[int]]
) -> float:
    """Answer the milliseconds of CPU for each request that the server has seen."""
    await at_20_running(WARM_UP // CALLERS, pair)
    before, began = await served(), time.process_time()
    await at_20_running(requests // (2 * CALLERS), pair)
    spent = time.process_time() - began
    return spent * 1000 / (await served() - before - 1)


async def bare_httpx(url: str, requests: int, client: httpx.AsyncClient) -> float:
    """Use httpx as one does."""

    async def pair() -> None:
        answer = await client.post(url + SUBMIT, json=FIELDS, headers=KEY)
        data = answer.json()["data"]
        path = f"/api/v3/predictions/{data['id']}/result"
        data = (await client.get(url + path, headers=KEY)).json()["data"]

    async def served() -> int:
        return int((await client.get(f"{url}/served")).text)

    async with client:
        return await timed(requests, pair, served)


async def httpx_alone(url: str, requests: int) -> float:
    """Use httpx with its own transport."""
    import httpx  # noqa: PLC0415 (each contender in its own process)

    return await bare_httpx(url, requests, httpx.AsyncClient())


async def httpx_over_aiohttp(url: str, requests: int) -> float:
    """Use httpx with aiohttp's connections."""
    from httpx_aiohttp import HttpxAiohttpClient  # noqa: PLC0415 (as above)

    return await bare_httpx(url, requests, HttpxAiohttpClient())


async def aiohttp_alone(url: str, requests: int) -> float:
    """Use aiohttp as one does."""
    import aiohttp  # noqa: PLC0415 (as above)

    session: aiohttp.ClientSession
    async with aiohttp.ClientSession() as session:

        async def ask(method: str, path: str, **more: Any) -> Any:
            async with session.request(method, url + path, **more) as answer:
                return await answer.json()

        async def pair() -> None:
            data = (await ask("POST", SUBMIT, json=FIELDS, headers=KEY))["data"]
            await ask("GET", f"/api/v3/predictions/{data['id']}/result", headers=KEY)

        async def served() -> int:
            return int(await ask("GET", "/served"))

        return await timed(requests, pair, served)


async def ours(url: str, requests: int, *, transport: str | None, whole: bool) -> float:
    """Use this package: `submit` and `result`, or `run`."""
    limits = Limits(requests=MANY, per=1.0, concurrency=MANY, min_poll_interval=0.0)
    client = AsyncWaveSpeed("key", base_url=url, limiter=Limiter(limits), transport=transport)

    async def pair() -> None:
        request = FluxDev(prompt="a lighthouse at dusk", seed=7)
        if whole:
            await client.run(request)
        else:
            await client.result(await client.submit(request))

    async def served() -> int:
        import httpx  # noqa: PLC0415 (as above)

        async with httpx.AsyncClient() as other:
            return int((await other.get(f"{url}/served")).text)

    async with client:
        return await timed(requests, pair, served)


REQUESTS: dict[str, Callable[[str, int], Awaitable[float]]] = {
    "httpx": httpx_alone,
    "httpx-aiohttp": httpx_over_aiohttp,
    "aiohttp": aiohttp_alone,
    "ours, httpx, submit and result": partial(ours, transport=None, whole=False),
    "ours, httpx, run": partial(ours, transport=None, whole=True),
    "ours, aiohttp, submit and result": partial(ours, transport="aiohttp", whole=False),
    "ours, aiohttp, run": partial(ours, transport="aiohttp", whole=True),
}
RATIOS: dict[str, dict[str, float]] = {
    "ours, httpx, submit and result": {"httpx": 1.25},
    "ours, httpx, run": {"httpx": 1.25},
    "ours, aiohttp, submit and result": {"httpx-aiohttp": 1.6},
    "ours, aiohttp, run": {"httpx-aiohttp": 1.6},
    "ours, httpx": {"official, 20 threads": 0.35, "official, 2 threads": 0.35},
    "ours, aiohttp": {"official, 20 threads": 0.1, "official, 2 threads": 0.1},
}
"""Beside whom, and how many times as much is the most that it should be."""


def cpu_of_requests(name: str, url: str, requests: int) -> float:
    """Run one contender in this process."""
    return asyncio.run(_awaited(REQUESTS[name](url, requests)))


async def _awaited(answer: Awaitable[float]) -> float:
    return await answer


# --- pictures -------------------------------------------------------------------------------------


def official(url: str, pictures: int, scale: float, threads: int) -> int:
    """Fan the official SDK out on threads; answer how many pictures came."""
    from wavespeed import Client  # noqa: PLC0415 (as above)

    def run(_: int) -> bool:
        client = Client("key", base_url=url, retry_interval=POLL / scale)
        with contextlib.suppress(Exception):
            client.run("wavespeed-ai/flux-dev", FIELDS, poll_interval=POLL / scale)
            return True
        return False

    silenced = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    with silenced[0], silenced[1], ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(run, range(pictures)))


def batch(url: str, pictures: int, scale: float, transport: str | None = None) -> int:
    """Run a batch; answer how many pictures came."""

    async def run() -> int:
        limits = Limits(per=PER / scale, min_poll_interval=POLL / scale)
        limiter = Limiter(limits)
        async with AsyncWaveSpeed("key", base_url=url, limiter=limiter, transport=transport) as c:
            outcomes = await c.run_all(FluxDev(prompt=f"{n}") for n in range(pictures))
        return sum(outcome.error is None for outcome in outcomes)

    return asyncio.run(run())


PICTURES: dict[str, Callable[[str, int, float], int]] = {
    "official, 20 threads": partial(official, threads=20),
    "official, 2 threads": partial(official, threads=2),
    "ours, httpx": batch,
    "ours, aiohttp": partial(batch, transport="aiohttp"),
}


def cpu_of_pictures(name: str, pictures: int, scale: float) -> float:
    """Run one contender in this process, against a server of its own."""
    # What is imported with the first client is no cost of a picture.
    for package in ("wavespeed", "httpx", "httpcore", "cattrs", "httpx_aiohttp"):
        importlib.import_module(package)
    with serving(serve_pictures, scale) as url:
        began = time.process_time()
        made = PICTURES[name](url, pictures, scale)
        return (time.process_time() - began) * 1000 / made


# --- all together ---------------------------------------------------------------------------------


def table(title: str, spent: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Print medians and ratios, and answer them."""
    rows: list[dict[str, Any]] = []
    print(title)
    for name, each in spent.items():
        row: dict[str, Any] = {"name": name, "ms": round(statistics.median(each), 3), "ratios": {}}
        rows.append(row)
        print(f"  {name:34} {row['ms']:7.3f} ms")
        for beside, most in RATIOS.get(name, {}).items():
            ratio = statistics.median(a / b for a, b in zip(each, spent[beside], strict=True))
            row["ratios"][beside] = {"ratio": round(ratio, 3), "target": most}
            print(f"  {'':34} {ratio:7.3f} x {beside} (target: at most {most})")
    return rows


def main(rounds: int, requests: int, pictures: int, scale: float) -> None:
    """Take the contenders in turn; print two tables, and the same as JSON."""
    sniffio = importlib.util.find_spec("sniffio") is not None
    report: dict[str, Any] = {"benchmark": "cpu", "rounds": rounds, "sniffio": sniffio}
    per_request: dict[str, list[float]] = {name: [] for name in REQUESTS}
    per_picture: dict[str, list[float]] = {name: [] for name in PICTURES}
    with serving(serve_at_once) as url:
        for _ in range(rounds):
            for name, spent in per_request.items():
                spent.append(alone(cpu_of_requests, name, url, requests))
    present = "present" if sniffio else "absent"
    report["requests"] = table(f"CPU for each request (sniffio is {present})", per_request)
    if pictures:
        for _ in range(rounds):
            for name, spent in per_picture.items():
                spent.append(alone(cpu_of_pictures, name, pictures, scale))
        report["pictures"] = table("CPU for each picture", per_picture)
    print(json.dumps(report))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("rounds", type=int, nargs="?", default=5, help="of each contender")
    add("requests", type=int, nargs="?", default=4000, help="of each contender in a round")
    add("pictures", type=int, nargs="?", default=120, help="as above; 0 leaves the pictures out")
    add("scale", type=float, nargs="?", default=10.0, help="what all times are divided by")
    main(**vars(parser.parse_args()))
