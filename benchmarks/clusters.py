"""Count what is paid twice when the worker of a Ray actor or of a job queue (arq) is killed.

Forty pictures are handed to one worker, a call or job each; when twenty run it is killed by
SIGKILL. Ray starts it anew by itself, arq's is started again; then all that was not answered is
handed out again. With a journal (`Shards`) and without. It needs the extras `ray` and `emulator`,
arq and redis-server.

    python benchmarks/clusters.py
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from arq import create_pool, run_worker
from arq.connections import RedisSettings
from arq.constants import in_progress_key_prefix, job_key_prefix

from wavespeed_async import AsyncWaveSpeed, FluxDev, Limits
from wavespeed_async.backends.ray import Account, connect
from wavespeed_async.backends.shards import Shards
from wavespeed_async.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wavespeed_async import Prediction

PICTURES, RUNNING = 40, 20
LIMITS = Limits(per=1.0, min_poll_interval=0.05, grace=0.1)
KEY, URL = "WAVESPEED_API_KEY", "WAVESPEED_BASE_URL"
QUEUE = "pictures"


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another process does."""
    while not condition():
        time.sleep(0.01)


def request_of(number: int) -> FluxDev:
    """Ask for one of the pictures; each has a prompt of its own."""
    return FluxDev(prompt=f"picture {number}")


# --- Ray -----------------------------------------------------------------------------------------


class Bare:
    """Be a client in a Ray actor, without a journal."""

    def __init__(self, url: str) -> None:
        self._client = AsyncWaveSpeed(base_url=url, limits=LIMITS)

    async def run(self, name: str, request: FluxDev) -> Prediction:
        """Make a picture; the name is of no use."""
        del name
        return await self._client.run(request)


def ray_without(emulator: Emulator, folder: Path) -> None:
    """Have an actor killed that knows nothing when it starts again."""
    del folder
    options = {"max_restarts": -1, "max_task_retries": -1, "max_concurrency": 100, "num_cpus": 0}
    _kill_actor(ray.remote(Bare).options(**options).remote(emulator.url), emulator)


def ray_with(emulator: Emulator, folder: Path) -> None:
    """Have the actor of an account killed."""
    account = Account(
        "bench", folder=folder, base_url=emulator.url, limits=LIMITS, resubmit_unconfirmed=True
    )
    _kill_actor(connect(account), emulator)


def _kill_actor(actor: Any, emulator: Emulator) -> None:
    calls = [actor.run.remote(f"picture-{n}", request_of(n)) for n in range(PICTURES)]
    until(lambda: len(emulator.predictions) >= RUNNING)
    os.kill(ray.get(actor.__ray_call__.remote(lambda _: os.getpid())), signal.SIGKILL)
    ray.get(calls)
    ray.kill(actor)


# --- arq -----------------------------------------------------------------------------------------


async def bare(ctx: dict[str, Any], number: int) -> None:
    """Make a picture (a job)."""
    await ctx["client"].run(request_of(number))


async def sharded(ctx: dict[str, Any], number: int) -> None:
    """Make a picture with a journal (a job)."""
    outcome = await ctx["shards"].run(f"picture-{number}", request_of(number))
    outcome.unwrap()


async def start_up(ctx: dict[str, Any]) -> None:
    """Open the account; hand out again what the worker had that was killed."""
    ctx["client"] = client = AsyncWaveSpeed(limits=LIMITS)
    ctx["shards"] = shards = Shards(ctx["folder"], client, resubmit_unconfirmed=True)
    await shards.__aenter__()
    for job in await ctx["redis"].zrange(QUEUE, 0, -1):
        await ctx["redis"].delete(in_progress_key_prefix + job.decode())


def work(redis: str, folder: str) -> None:
    """Be arq's worker, until the queue is empty."""
    run_worker(
        {"functions": [bare, sharded], "on_startup": start_up, "max_jobs": RUNNING},
        redis_settings=RedisSettings.from_dsn(redis),
        queue_name=QUEUE,
        burst=True,
        ctx={"folder": folder},
    )


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Run a Redis, and answer its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--save", "", "--bind", "127.0.0.1"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as server:  # noqa: S603 (a server of our own)
        until(lambda: _listens(port))
        yield f"redis://127.0.0.1:{port}"
        server.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def enqueue(redis: str, function: str, jobs: int = PICTURES) -> None:
    """Put the jobs into the queue."""
    pool = await create_pool(RedisSettings.from_dsn(redis), default_queue_name=QUEUE)
    for number in range(jobs):
        await pool.enqueue_job(function, number, _job_id=f"picture-{number}")
    await pool.aclose()


def _kill_worker(emulator: Emulator, folder: Path, function: str) -> None:
    with redis_server(folder) as redis:
        asyncio.run(enqueue(redis, function))
        command = [sys.executable, __file__, "--worker", redis, str(folder / "shards")]
        environment = {**os.environ, URL: emulator.url}
        for life in range(2):
            with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as worker:  # noqa: S603 (ourselves)
                if life == 0:
                    until(lambda: len(emulator.predictions) >= RUNNING)
                    worker.kill()


def arq_without(emulator: Emulator, folder: Path) -> None:
    """Have a worker killed whose jobs call the API."""
    _kill_worker(emulator, folder, "bare")


def arq_with(emulator: Emulator, folder: Path) -> None:
    """Have a worker killed whose jobs are shards."""
    _kill_worker(emulator, folder, "sharded")


async def bytes_of_a_job(redis: str, jobs: int = 10_000) -> float:
    """Measure what a job with a prompt of 120 characters takes in Redis."""
    pool = await create_pool(RedisSettings.from_dsn(redis), default_queue_name=QUEUE)
    before = (await pool.info("memory"))["used_memory"]
    for number in range(jobs):
        await pool.enqueue_job("bare", f"{number:06}" + "a prompt in words " * 6 + "123456")
    after = (await pool.info("memory"))["used_memory"]
    assert len(await pool.keys(f"{job_key_prefix}*")) == jobs  # noqa: S101 (or it measures nothing)
    await pool.aclose()
    return float(after - before) / jobs


# --- both ----------------------------------------------------------------------------------------

WAYS = {
    "Ray, without a journal": ray_without,
    "Ray, with journals": ray_with,
    "arq, without a journal": arq_without,
    "arq, with journals": arq_with,
}


def measure(way: Callable[[Emulator, Path], None]) -> dict[str, int]:
    """Run one way to its end."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Emulator(latency=1.0, latency_cv=0.1, per=LIMITS.per, pictures=False) as emulator,
    ):
        way(emulator, Path(folder))
        paid = Counter(prediction.fields["prompt"] for prediction in emulator.predictions)
    return {"pictures": len(paid), "paid": paid.total(), "twice": paid.total() - len(paid)}


@contextmanager
def cluster() -> Iterator[None]:
    """Run Ray on this machine."""
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="disabled")
    ray.init(
        address="local",
        include_dashboard=False,
        num_cpus=2,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    yield
    ray.shutdown()


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--ways", nargs="*", default=[*WAYS], choices=[*WAYS], metavar="WAY")
    parser.add_argument("--jobs", type=int, default=10_000, help="whose bytes are measured")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    os.environ.setdefault(KEY, "any key")
    if given.worker:
        work(*given.worker)
        return
    figures: dict[str, Any] = {}
    print(f"{'':26}{'pictures':>10}{'paid':>6}{'paid twice':>12}")
    for name in given.ways:
        with cluster() if name.startswith("Ray") else nullcontext():
            row = figures[name] = measure(WAYS[name])
        print(f"{name:26}{row['pictures']:10}{row['paid']:6}{row['twice']:12}")
    with tempfile.TemporaryDirectory() as folder, redis_server(Path(folder)) as redis:
        figures["bytes of a job"] = asyncio.run(bytes_of_a_job(redis, given.jobs))
    print(f"a job with a prompt of 120 characters: {figures['bytes of a job']:.0f} bytes in Redis")
    if given.json:
        given.json.write_text(json.dumps(figures), "utf-8")


if __name__ == "__main__":
    main()
