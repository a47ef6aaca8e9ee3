"""One account and several processes: how many pictures come, and how often the limit is passed.

The emulator stands for the API, over real sockets and in a process of its own: 120 requests in any
minute and 20 running, both strict. Each worker is a process of its own, whose clocks are a second
apart from the next one's; every request takes up to JITTER each way. All times are divided by
SCALE; figures are told in minutes of the account. One worker with a limiter of its own is beside
four that share a `RedisLimiter`, in turns, so that both meet the same machine.

Requests are those of a picture, commands what Redis was sent for each request that was granted.
Over counts the requests that the fullest window at the API had beyond the limit. The rival is
`pyrate-limiter` on the same Redis, with the documented limit, in front of requests that bring
nothing but the count: what libraries do that count a request when it is sent, by the clock of its
sender.

    python benchmarks/processes.py --runs 5
    python benchmarks/processes.py --json figures.json

It needs `redis-server`, and `pyrate-limiter` for the rival.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import random
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx
from redis import Redis
from redis.exceptions import RedisError

from wavespeed_async import AsyncWaveSpeed, FluxDev, Limiter, Limits
from wavespeed_async.emulator import Emulator
from wavespeed_async.limits.redis import RedisLimiter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

SCALE, PER, POLL, LATENCY = 10.0, 60.0, 1.0, 12.0
JITTER = 0.4
"""Seconds that a request takes each way at most, before scaling."""
PROCESSES = 4
SPAWN = multiprocessing.get_context("spawn")


def limits() -> Limits:
    """Answer the documented limits at this scale."""
    return Limits(
        per=PER / SCALE,
        min_poll_interval=POLL / SCALE,
        grace=5 / SCALE,
        uplink=2 / SCALE,
        abandon_after=600 / SCALE,
    )


# --- servers -------------------------------------------------------------------------------------


@contextlib.contextmanager
def redis_server() -> Iterator[str]:
    """Run a Redis of our own for as long as the block lasts."""
    command = shutil.which("redis-server")
    if command is None:
        message = "there is no redis-server: apt-get install redis-server"
        raise SystemExit(message)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        options = ["--port", str(port), "--save", "", "--dir", folder]
        server = subprocess.Popen([command, *options], stdout=subprocess.DEVNULL)  # noqa: S603 (our own command)
        try:
            url = f"redis://127.0.0.1:{port}"
            _await_redis(url)
            yield url
        finally:
            server.kill()
            server.wait()


def _await_redis(url: str) -> None:
    with Redis.from_url(url) as client:
        while True:
            with contextlib.suppress(RedisError):
                client.ping()
                return
            time.sleep(0.01)


def serve(control: Connection) -> None:
    """Serve until told to stop; then tell what was seen."""
    most = 1_000_000  # it counts, and refuses nobody: so that nobody is slowed down by a refusal
    with Emulator(
        requests=most, per=PER / SCALE, latency=LATENCY / SCALE, concurrency=most, pictures=False
    ) as emulator:
        control.send(emulator.url)
        control.recv()
        seen = (emulator.most_requests_in_window, emulator.most_running, len(emulator.requests))
    control.send(seen)


@contextlib.contextmanager
def api() -> Iterator[tuple[str, list[int]]]:
    """Run the emulator; what it saw is there when the block has ended."""
    control, other = SPAWN.Pipe()
    process = SPAWN.Process(target=serve, args=(other,))
    process.start()
    seen: list[int] = []
    try:
        yield control.recv(), seen
    finally:
        control.send(None)
        seen.extend(control.recv())
        process.join()


# --- workers -------------------------------------------------------------------------------------


class Jittery(httpx.AsyncHTTPTransport):
    """Let each request take a while each way."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it."""
        await anyio.sleep(random.uniform(0, JITTER / SCALE))
        response = await super().handle_async_request(request)
        await anyio.sleep(random.uniform(0, JITTER / SCALE))
        return response


def set_clocks(ahead: float) -> None:
    """Have this process's clocks go ahead."""
    wall, steady = time.time, time.monotonic
    time.time = lambda: wall() + ahead
    time.monotonic = lambda: steady() + ahead


def ours(control: Connection, number: int, api_url: str, redis_url: str, prompts: int) -> None:
    """Make pictures, with the account's limiter, or without Redis with one of its own."""
    set_clocks(float(number))

    async def work() -> int:
        limiter: Any = Limiter(limits())
        if redis_url:
            limiter = RedisLimiter(redis_url, account="bench", limits=limits())
        client = AsyncWaveSpeed("key", base_url=api_url, limiter=limiter, transport=Jittery())
        requests = [FluxDev(prompt=f"{number} {index}") for index in range(prompts)]
        async with client:
            if redis_url:  # an empty store waits at first
                (await limiter.acquire()).withdrawn()
            control.send("ready")
            control.recv()
            async with client.batch(requests) as outcomes:
                return len([outcome async for outcome in outcomes if outcome.error is None])

    control.send(anyio.run(work))


def rival(control: Connection, number: int, api_url: str, redis_url: str, requests: int) -> None:
    """Send requests as a rival allows them."""
    from pyrate_limiter import Limiter as Rival  # noqa: PLC0415 (it is measured, and not needed)
    from pyrate_limiter import Rate, RedisBucket  # noqa: PLC0415 (as above)

    set_clocks(float(number))
    control.send("ready")
    control.recv()
    client = Redis.from_url(redis_url)
    rates = [Rate(limits().requests, int(limits().per * 1000))]
    limiter = Rival(RedisBucket.init(rates, client, "rival"))

    async def ask(http: httpx.AsyncClient) -> None:
        await http.get("/api/v3/balance", headers={"Authorization": "Bearer key"})

    async def work() -> None:
        async with (
            httpx.AsyncClient(transport=Jittery(), base_url=api_url) as http,
            anyio.create_task_group() as group,
        ):
            for _ in range(requests):
                while not limiter.try_acquire("account", blocking=False):  # noqa: ASYNC110 (its way)
                    await anyio.sleep(0.005)
                group.start_soon(ask, http)

    anyio.run(work)
    client.close()
    control.send(requests)


def run(worker: Any, processes: int, redis_url: str, each: int) -> dict[str, float]:
    """Run workers side by side, and tell what came of it."""
    with api() as (url, seen):
        started = []
        for number in range(processes):
            control, other = SPAWN.Pipe()
            process = SPAWN.Process(target=worker, args=(other, number, url, redis_url, each))
            process.start()
            started.append((process, control))
        for _, control in started:
            control.recv()
        before, began = commands(redis_url), time.monotonic()
        for _, control in started:
            control.send(None)
        made = sum(control.recv() for _, control in started)
        seconds = time.monotonic() - began
        sent = commands(redis_url) - before
        for process, _ in started:
            process.join()
    most, running, requests = seen
    return {
        "a_minute": PER * made / (seconds * SCALE),
        "over": max(0, most - limits().requests),
        "running": running,
        "requests": requests / made,
        "commands": sent / max(1, requests),
    }


def commands(redis_url: str) -> int:
    """Count the commands that clients have sent to Redis; what a script does inside is none."""
    if not redis_url:
        return 0
    with Redis.from_url(redis_url) as client:
        stats: Any = client.info("commandstats")
    told = ("evalsha", "eval", "script|load", "subscribe", "zadd", "zcard", "zrange", "time")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in told[:4])


# --- the table -----------------------------------------------------------------------------------


def main() -> None:
    """Run all, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5, help="how often; medians are told")
    parser.add_argument("--prompts", type=int, default=400, help="how many pictures a run makes")
    parser.add_argument("--json", type=Path, help="where to write the figures to")
    parser.add_argument("--no-rival", action="store_true", help="leave the rival out")
    options = parser.parse_args()
    rows: dict[str, list[dict[str, float]]] = {}
    for _ in range(options.runs):
        with redis_server() as redis_url:
            alone = run(ours, 1, "", options.prompts)
            rows.setdefault("one process, no Redis", []).append(alone)
            each = options.prompts // PROCESSES
            together = run(ours, PROCESSES, redis_url, each)
            rows.setdefault(f"{PROCESSES} processes, Redis", []).append(together)
            if not options.no_rival:
                sent = run(rival, PROCESSES, redis_url, each)
                rows.setdefault(f"{PROCESSES} processes, pyrate-limiter", []).append(sent)
    tell(rows)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def tell(rows: dict[str, list[dict[str, float]]]) -> None:
    """Print medians, and of what must not be the most."""
    print(f"{'':32}{'a minute':>10}{'over':>7}{'running':>9}{'requests':>10}{'commands':>10}")
    for name, found in rows.items():
        keys = ("a_minute", "requests", "commands")
        rate, asked, sent = (statistics.median(row[key] for row in found) for key in keys)
        over, running = (max(row[key] for row in found) for key in ("over", "running"))
        print(f"{name:32}{rate:10.1f}{over:7.0f}{running:9.0f}{asked:10.2f}{sent:10.2f}")
    one, many = (rows[name] for name in [*rows][:2])
    shares = [b["a_minute"] / a["a_minute"] for a, b in zip(one, many, strict=True)]
    print(f"share of one process: median {statistics.median(shares):.3f}, least {min(shares):.3f}")


if __name__ == "__main__":
    main()
