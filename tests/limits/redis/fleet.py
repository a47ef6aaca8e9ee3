"""Workers of one account, each a process of its own that can be killed.

As a program it is one worker: it reads what to do as JSON from its first argument, makes pictures,
and writes a line of JSON for each that it has made; the last line is `{"done": true}`.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx
from attrs import define, evolve, field

from wavespeed_async import AsyncWaveSpeed, FluxDev, Limits
from wavespeed_async.limits.redis import RedisLimiter, Share

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMITS = Limits(
    requests=60, per=2.0, concurrency=10, min_poll_interval=0.03, grace=0.3, abandon_after=8.0
)
"""Half the documented minute in two seconds."""
LEASE = 0.5
JITTER = 0.03


@define
class Worker:
    """Hold a worker, and what it has written so far."""

    process: subprocess.Popen[str]
    lines: list[dict[str, Any]] = field(factory=list)
    reader: threading.Thread | None = None

    @property
    def made(self) -> list[str]:
        return [line["id"] for line in self.lines if line.get("id")]

    @property
    def errors(self) -> list[str]:
        return [line["error"] for line in self.lines if line.get("error")]

    @property
    def done(self) -> bool:
        return any(line.get("done") for line in self.lines)

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(json.loads(line))


@contextmanager
def fleet(count: int, **task: Any) -> Iterator[list[Worker]]:
    """Start workers whose clocks differ by a second from one to the next."""
    workers = []
    for number in range(count):
        told = json.dumps({**task, "number": number})
        command = [sys.executable, str(Path(__file__)), told]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 (our own)
        worker = Worker(process)
        worker.reader = threading.Thread(target=worker.read)
        worker.reader.start()
        workers.append(worker)
    try:
        yield workers
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.wait()
            assert worker.reader is not None
            worker.reader.join()
            assert worker.process.stdout is not None
            worker.process.stdout.close()


def await_all(workers: list[Worker], seconds: float) -> None:
    """Wait until all have ended by themselves."""
    deadline = time.monotonic() + seconds
    for worker in workers:
        worker.process.wait(max(0.1, deadline - time.monotonic()))
        assert worker.reader is not None
        worker.reader.join()


def await_made(workers: list[Worker], pictures: int, seconds: float = 30.0) -> None:
    """Wait until so many pictures were made."""
    deadline = time.monotonic() + seconds
    while sum(len(worker.made) for worker in workers) < pictures:
        assert time.monotonic() < deadline
        time.sleep(0.01)


class _Jittery(httpx.AsyncHTTPTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await anyio.sleep(random.uniform(0, JITTER))
        response = await super().handle_async_request(request)
        await anyio.sleep(random.uniform(0, JITTER))
        return response


def _tell(**line: Any) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def _work(
    number: int, api: str, redis: str, prompts: int, share: dict[str, int] | None = None
) -> None:
    limiter = RedisLimiter(
        redis,
        account="fleet",
        limits=LIMITS if share is None else evolve(LIMITS, abandon_after=1.0),
        lease=LEASE,
        unreachable_after=60.0,
        share=None if share is None else Share(**share),
    )
    async with AsyncWaveSpeed(
        "key", base_url=api, limiter=limiter, transport=_Jittery(), max_retries=10
    ) as client:
        requests = (FluxDev(prompt=f"{number} {index}") for index in range(prompts))
        async with client.batch(requests) as outcomes:
            async for outcome in outcomes:
                made = outcome.prediction.id if outcome.prediction else None
                _tell(id=made, error=repr(outcome.error) if outcome.error else None)


def main() -> None:
    task = json.loads(sys.argv[1])
    wall, steady = time.time, time.monotonic
    time.time = lambda: wall() + task["number"]
    time.monotonic = lambda: steady() + task["number"]
    anyio.run(partial(_work, **task))
    _tell(done=True)


if __name__ == "__main__":
    main()
