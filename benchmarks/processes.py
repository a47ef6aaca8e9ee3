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

Then four processes ask for turns at random times, a fifth more of them than the limits allow, so
that a queue grows. Each writes down when it asked and when its turn came, by Redis's clock.
Overtaken counts the pairs of which the one who asked later, by a tenth of a second or more, had its
turn sooner by as much. Longest is the longest wait for a turn, and ideal that of a queue in which
nobody is overtaken, every window is full, and each turn is answered at once.

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
    from collections.abc import AsyncGenerator, Callable, Iterator
    from multiprocessing.connection import Connection

SCALE, PER, POLL, LATENCY = 10.0, 60.0, 1.0, 12.0
JITTER = 0.4
"""Seconds that a request takes each way at most, before scaling."""
PROCESSES = 4
DEMAND = 1.2
"""How many turns are asked for, as a share of those that the limits allow."""
NOTICEABLE = 0.1
"""Seconds by which one is sooner than another, before scaling: turns of one moment are heard of in
any order."""
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


def redis_clock(url: str) -> Callable[[], float]:
    """Make a function that tells Redis's time, by this process's own clock."""
    with Redis.from_url(url) as client:
        samples = []
        for _ in range(50):
            before = time.perf_counter()
            seconds, microseconds = client.time()
            after = time.perf_counter()
            samples.append((after - before, seconds + microseconds / 1e6 - (before + after) / 2))
    ahead = min(samples)[1]
    return lambda: time.perf_counter() + ahead


def queuing(control: Connection, number: int, kind: str, redis_url: str, turns: int) -> None:
    """Ask for turns at random times; answer when each was asked for and came."""
    set_clocks(float(number))
    now, dice, seen = redis_clock(redis_url), random.Random(number), []
    apart = limits().per * PROCESSES / (limits().requests * DEMAND)

    async def ask(take: Callable[[], Any]) -> None:
        asked = now()
        permit = await take()
        seen.append((asked, now()))
        await anyio.sleep(dice.uniform(0, 2 * JITTER / SCALE))
        if kind == "ours":
            permit.answered()

    async def work() -> None:
        async with contextlib.AsyncExitStack() as stack:
            take = await stack.enter_async_context(turn_of(kind, redis_url))
            control.send("ready")
            control.recv()
            async with anyio.create_task_group() as group:
                for _ in range(turns):
                    await anyio.sleep(dice.expovariate(1 / apart))
                    group.start_soon(ask, take)

    anyio.run(work)
    control.send(seen)


@contextlib.asynccontextmanager
async def turn_of(kind: str, redis_url: str) -> AsyncGenerator[Callable[[], Any]]:
    """Open a limiter, and answer what waits for a turn."""
    if kind == "ours":
        async with RedisLimiter(redis_url, account="order", limits=limits()) as limiter:
            (await limiter.acquire()).withdrawn()  # an empty store waits at first
            yield limiter.acquire
        return
    from pyrate_limiter import Limiter as Rival  # noqa: PLC0415 (it is measured, and not needed)
    from pyrate_limiter import Rate, RedisBucket  # noqa: PLC0415 (as above)

    with Redis.from_url(redis_url) as client:
        rates = [Rate(limits().requests, int(limits().per * 1000))]
        yield Rival(RedisBucket.init(rates, client, "order")).try_acquire_async


def queue_up(kind: str, redis_url: str, each: int) -> dict[str, float]:
    """Have four processes ask for turns, and tell how their order was kept."""
    with contextlib.ExitStack() as stack:
        controls = []
        for number in range(PROCESSES):
            control, other = SPAWN.Pipe()
            told = (other, number, kind, redis_url, each)
            process = SPAWN.Process(target=queuing, args=told)
            process.start()
            stack.callback(process.join)
            controls.append(control)
        for control in controls:
            control.recv()
        for control in controls:
            control.send(None)
        seen = sorted(turn for control in controls for turn in control.recv())
    return {
        "turns": len(seen),
        "overtaken": overtaken(seen),
        "longest": SCALE * max(came - asked for asked, came in seen),
        "ideal": SCALE * ideal([asked for asked, _ in seen]),
    }


def overtaken(seen: list[tuple[float, float]]) -> int:
    """Count the pairs of which the later one was served noticeably sooner."""
    least = NOTICEABLE / SCALE
    return sum(
        later[0] - one[0] >= least and one[1] - later[1] >= least
        for index, one in enumerate(seen)
        for later in seen[index + 1 :]
    )


def ideal(asked: list[float]) -> float:
    """Tell the longest wait, first come first served, where every window is full."""
    turns: list[float] = []
    for at in asked:
        earlier = (
            turns[-limits().requests] + limits().per if len(turns) >= limits().requests else at
        )
        turns.append(max(at, earlier))
    return max(turn - at for turn, at in zip(turns, asked, strict=True))


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
    parser.add_argument("--turns", type=int, default=480, help="how many are asked for in order")
    options = parser.parse_args()
    kinds = {f"{PROCESSES} processes, Redis": "ours"} | (
        {} if options.no_rival else {f"{PROCESSES} processes, pyrate-limiter": "rival"}
    )
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
    order = {
        name: [queue_once(kind, options.turns) for _ in range(options.runs)]
        for name, kind in kinds.items()
    }
    tell_order(order)
    if options.json:
        options.json.write_text(
            json.dumps({"runs": rows, "order": order}, indent=1), encoding="utf-8"
        )


def queue_once(kind: str, turns: int) -> dict[str, float]:
    """Have four processes ask for turns on a Redis of their own."""
    with redis_server() as redis_url:
        return queue_up(kind, redis_url, turns // PROCESSES)


def tell_order(rows: dict[str, list[dict[str, float]]]) -> None:
    """Print medians of how the order was kept."""
    print(f"\n{'':32}{'turns':>10}{'overtaken':>11}{'longest':>11}{'ideal':>9}")
    for name, found in rows.items():
        keys = ("turns", "overtaken", "longest", "ideal")
        turns, passed, longest, least = (statistics.median(r[key] for r in found) for key in keys)
        print(f"{name:32}{turns:10.0f}{passed:11.0f}{longest:9.1f} s{least:7.1f} s")


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
