"""For tests: a clock that jumps, for asyncio and trio alike.

With pytest and anyio's plugin::

    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(request):
        return virtual_backend(request.param)

and an hour of waiting takes no time. Real sockets need the real clock.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import Any, Literal

__all__ = ["VirtualClockLoop", "virtual_backend"]

DEADLOCK_AFTER = 10.0
"""Real seconds without any timer or answer from a thread until a run is called stuck."""


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """Run asyncio on a clock that jumps to the next timer as soon as nothing is ready."""

    def __init__(self) -> None:
        self.now: float = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Tell the virtual time in seconds; it starts at 0."""
        return self.now


class _JumpingSelector(selectors.SelectSelector):
    """Never wait for a timer: put the loop's clock forward instead."""

    def __init__(self, loop: VirtualClockLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(DEADLOCK_AFTER if timeout is None else 0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            message = "no task can go on: nothing is ready, and no timer is set"
            raise RuntimeError(message)
        self._loop.now += timeout
        return ready


def virtual_backend(name: Literal["asyncio", "trio"]) -> tuple[str, dict[str, Any]]:
    """Answer a backend with a virtual clock, for `anyio.run` or anyio's pytest plugin.

    Each call gives a new clock; trio's needs the package `trio`.
    """
    if name == "asyncio":
        return name, {"loop_factory": VirtualClockLoop}
    from trio.testing import MockClock  # noqa: PLC0415 (trio is not a dependency)

    return name, {"clock": MockClock(autojump_threshold=0)}
