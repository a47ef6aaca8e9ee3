"""Processes of one account that ask for turns when they are told to, and write down whose came.

As a program it is one of them. It reads lines of JSON: the number of a request, its priority, and
what becomes of its turn, which is `now` (the answer comes at once), a number of seconds, `told`
(it comes with the line `"answer"`) or `never`. Each turn is written into a file that all share,
before it is answered, so that the file has them in the order in which they came.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from attrs import define

from wavespeed_async import Limits
from wavespeed_async.limits.redis import RedisLimiter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

ACCOUNT = "crowd"
PREFIX = f"{{wavespeed-async:{ACCOUNT}}}:"
LEASE = 0.5


@define
class Asker:
    """Hold one of the processes."""

    process: subprocess.Popen[str]

    def tell(self, what: Any) -> None:
        """Write it a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()

    def ask(self, number: int, priority: int = 0, then: str | float = "now") -> None:
        """Have it ask for a turn."""
        self.tell([number, priority, then])

    def kill(self) -> None:
        """Kill it at once; it cleans up nothing."""
        self.process.kill()
        self.process.wait()


@define
class Crowd:
    """Hold the processes, and the file that they write into."""

    askers: list[Asker]
    file: Path

    def turns(self) -> list[int]:
        """Answer whose turns have come, in their order."""
        return [int(line) for line in self.file.read_text(encoding="utf-8").split()]

    def await_turns(self, count: int) -> list[int]:
        """Wait until so many turns have come, and answer whose."""
        await_that(lambda: len(self.turns()) >= count)
        return self.turns()


def await_that(condition: Any, seconds: float = 20.0) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def waiting(client: Redis) -> int:
    """Count who stands in the account's queue."""
    lanes: list[str] = [*client.scan_iter(f"{PREFIX}queue:*")]
    many: list[Any] = [client.zcard(lane) for lane in lanes]
    return sum(many)


@contextmanager
def crowd(count: int, redis: str, file: Path, **limits: Any) -> Iterator[Crowd]:
    """Start processes whose clocks differ by a second from one to the next."""
    file.touch()
    askers = []
    for number in range(count):
        told = json.dumps({"redis": redis, "file": str(file), "ahead": number, "limits": limits})
        command = [sys.executable, str(Path(__file__)), told]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)  # noqa: S603 (our own)
        askers.append(Asker(process))
    try:
        yield Crowd(askers, file)
    finally:
        for asker in askers:
            asker.kill()
            assert asker.process.stdin is not None
            asker.process.stdin.close()


async def _ask(limiter: RedisLimiter, file: int, told: list[Any], answers: anyio.Event) -> None:
    number, priority, then = told
    permit = await limiter.acquire(priority=priority)
    os.write(file, f"{number}\n".encode())
    if then == "told":
        await answers.wait()
    elif then == "never":
        await anyio.sleep_forever()
    elif then != "now":
        await anyio.sleep(then)
    permit.answered()


async def _work(redis: str, file: str, limits: dict[str, Any]) -> None:
    limiter = RedisLimiter(
        redis, account=ACCOUNT, limits=Limits(**limits), lease=LEASE, unreachable_after=60.0
    )
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND)
    answers = anyio.Event()
    async with limiter, anyio.create_task_group() as group:
        async for line in anyio.wrap_file(sys.stdin):
            told = json.loads(line)
            if told == "answer":
                answers.set()
            else:
                group.start_soon(_ask, limiter, descriptor, told, answers)


def main() -> None:
    task = json.loads(sys.argv[1])
    ahead = task.pop("ahead")
    wall, steady = time.time, time.monotonic
    time.time = lambda: wall() + ahead
    time.monotonic = lambda: steady() + ahead
    anyio.run(_work, task["redis"], task["file"], task["limits"])


if __name__ == "__main__":
    main()
