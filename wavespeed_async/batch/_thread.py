"""A thread for what blocks, one call at a time and in their order."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar

from anyio import CapacityLimiter, to_thread

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["OneThread"]

T = TypeVar("T")


class OneThread:
    """Call what blocks, off the event loop."""

    def __init__(self) -> None:
        self._guard = threading.Lock()  # a call that asyncio itself has left may still be at it
        self._limiter: CapacityLimiter | None = None

    async def call(self, work: Callable[..., T], *args: Any) -> T:
        """Answer what `work` answers, once all calls before it have ended."""
        if self._limiter is None:
            self._limiter = CapacityLimiter(1)
        return await to_thread.run_sync(self._alone, work, args, limiter=self._limiter)

    def _alone(self, work: Callable[..., T], args: tuple[Any, ...]) -> T:
        with self._guard:
            return work(*args)
