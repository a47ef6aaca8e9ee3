"""The course of an item without a journal."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from wavespeed_async.batch._course import Taken, each, existing
from wavespeed_async.models._request import Request

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from pathlib import Path

    from wavespeed_async._folder import Folder
    from wavespeed_async._prediction import Prediction
    from wavespeed_async.batch._course import Items
    from wavespeed_async.batch._runner import Runner
    from wavespeed_async.errors import JournalError

__all__ = ["Plain"]


class Plain:
    """Take items through a batch without a journal."""

    failure: JournalError | None = None

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Do nothing about it."""
        yield

    def admitted(self, items: Items) -> AsyncGenerator[Any, None]:
        """Answer all items."""
        return each(items)

    async def take(self, index: int, item: Any) -> Taken:
        """Take an item."""
        return Taken(item, index, request=item if isinstance(item, Request) else None)

    async def finish(self, taken: Taken, note: Callable[[Prediction], object]) -> Prediction:
        """Submit a request, or resume a prediction, and wait for its end."""
        if taken.request is not None:
            return await self._runner.submit_and_wait(taken.request, note)
        known = existing(taken.item)
        note(known)
        return await self._runner.resume(known)

    async def save(
        self,
        taken: Taken,
        prediction: Prediction,
        folder: Folder,
    ) -> tuple[Path, ...]:
        """Write its outputs."""
        return tuple(await self._runner.save(prediction, folder, taken.index))

    def failed(self, taken: Taken, error: Exception) -> None:
        """Do nothing about it."""
