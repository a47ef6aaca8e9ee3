"""The documented account, with all times divided by a scale, at an emulator in its own process."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from _apart import SPAWN
from attrs import frozen

from wavespeed_async import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wavespeed_async.emulator import Emulator

__all__ = ["PER", "POLL", "Job", "seen_by", "server"]

CV, PER, POLL = 0.3, 60.0, 1.0


@frozen
class Job:
    """Describe one run.

    Attributes:
        mean: How long predictions take on average, in seconds.
        seed: Where the emulator draws their latencies from, and its faults.
        prompts: How many there are.
        scale: What all times are divided by.
    """

    mean: float
    seed: int
    prompts: int
    scale: float

    @property
    def limits(self) -> Limits:
        """The documented limits at this scale."""
        return Limits(per=PER / self.scale, min_poll_interval=POLL / self.scale)

    @property
    def settings(self) -> dict[str, Any]:
        """The emulator's settings at this scale."""
        return {
            "per": PER / self.scale,
            "latency": self.mean / self.scale,
            "latency_cv": CV,
            "seed": self.seed,
            "pictures": False,
        }

    def a_minute(self, pictures: int, seconds: float) -> float:
        """Tell the pictures a minute of the account."""
        return PER * pictures / (seconds * self.scale)


def seen_by(emulator: Emulator) -> dict[str, Any]:
    """Tell what an emulator saw of a run."""
    return {
        "latencies": [made.ready - made.created for made in emulator.predictions],
        "requests": len(emulator.requests),
        "refused": emulator.refused,
        "most_in_window": emulator.most_requests_in_window,
        "most_running": emulator.most_running,
    }


@contextmanager
def server(serve: Callable[..., None], job: Job) -> Iterator[tuple[str, dict[str, Any]]]:
    """Run a server in its own process; what it saw is there when the block has ended.

    `serve` is given a connection and the job: it sends its address, waits for a word, and sends
    what it saw.
    """
    control, other = SPAWN.Pipe()
    process = SPAWN.Process(target=serve, args=(other, job))
    process.start()
    seen: dict[str, Any] = {}
    try:
        yield control.recv(), seen
    finally:
        control.send(None)
        seen.update(control.recv())
        process.join()
