"""One clock over all event loops, and a clear error where two loops share what they cannot.

asyncio's loops read the machine's monotonic clock, trio's start anywhere, a test's jumps. What
outlives a loop (the limiter's window does) needs times that mean the same in the next one.

A process that is forked off gets a copy of all this: connections that both would write to, and a
window that neither counts for the other. So nothing is used in another process than its own.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import anyio
from anyio.lowlevel import current_token

from wavespeed_async.errors import ConfigurationError

__all__ = ["LoopClock", "has_ended"]


def has_ended(token: Any) -> bool:
    """Tell whether an event loop, by anyio's token for it, no longer runs."""
    native = token.native_token
    if hasattr(native, "is_running"):
        return not native.is_running()
    try:
        native.run_sync_soon(lambda: None)
    except RuntimeError:  # trio.RunFinishedError
        return True
    return False


class LoopClock:
    """Tell the time in seconds: it goes on from one event loop to the next, and between them."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._token: Any = None
        self._offset = 0.0
        self._last = (0.0, time.monotonic())

    def enter(self, what: str) -> bool:
        """Attach to the running event loop; answer whether it is another one than before.

        Raises:
            ConfigurationError: The loop before still runs, so that `what` would be shared by two;
                or this process was forked off after `what` was made.
        """
        if self._process != os.getpid():
            message = (
                f"{what} was made before this process was forked off, and cannot be shared with "
                f"it: make the client in each process (where the server starts its workers, in the "
                f"application's lifespan), with RedisLimiter or a part of the limits for each"
            )
            raise ConfigurationError(message)
        token = current_token()
        if self._token is not None and self._token == token:
            return False
        if self._token is not None and not has_ended(self._token):
            message = (
                f"{what} is in use by another event loop that still runs; use it from one loop, "
                f"or make one for each loop with a part of the limits"
            )
            raise ConfigurationError(message)
        now = self._between()
        self._token, self._offset = token, now - anyio.current_time()
        self._last = (now, time.monotonic())
        return True

    def elsewhere(self) -> bool:
        """Tell whether another event loop runs now than the one that was entered last."""
        return self._token is not None and self._token != current_token()

    def now(self) -> float:
        """Tell the time: by the loop that was entered, anywhere else by the machine's clock."""
        at = self._inside()
        if at is None:
            return self._between()
        now = at + self._offset
        self._last = (now, time.monotonic())
        return now

    def _inside(self) -> float | None:
        """Tell the time of the loop that was entered last; None outside of it."""
        try:  # asyncio is asked first: anyio finds out twice what runs, and takes ten times as long
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if loop is not None and self._token is not None and self._token.native_token is loop:
            return loop.time()
        try:
            return anyio.current_time() if current_token() == self._token else None
        except anyio.NoEventLoopError:
            return None

    def _between(self) -> float:
        now, then = self._last
        return now + max(0.0, time.monotonic() - then)
