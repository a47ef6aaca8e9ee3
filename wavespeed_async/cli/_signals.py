"""Ctrl-C: a run that is told to stop stops cleanly, within the time a submission may need."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import TaskStatus

__all__ = ["run_until_signal"]


def run_until_signal(work: Callable[[], Awaitable[int]]) -> int:
    """Run `work` and answer its exit code.

    Raises:
        KeyboardInterrupt: SIGINT or SIGTERM came; `work` was cancelled, and has ended.
    """
    return _told(anyio.run(_guarded, work))


def _told(code: int | None) -> int:
    if code is None:
        raise KeyboardInterrupt
    return code


async def _guarded(work: Callable[[], Awaitable[int]]) -> int | None:
    """Cancel `work` at a signal; what it raises comes out without a group around it."""
    code: int | None = None
    failure: Exception | None = None
    working = anyio.CancelScope()
    async with anyio.create_task_group() as group:
        watching = await group.start(_cancel_at_signal, working)
        with working:
            try:
                code = await work()
            except Exception as error:  # noqa: BLE001 (raised below)
                failure = error
        watching.cancel()
    if failure is not None:
        raise failure
    return code


async def _cancel_at_signal(
    working: anyio.CancelScope,
    *,
    task_status: TaskStatus[anyio.CancelScope] = anyio.TASK_STATUS_IGNORED,
) -> None:
    with anyio.CancelScope() as watching:
        try:
            # Left at the first signal, so that a second one ends the program at once.
            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                task_status.started(watching)
                async for _ in signals:
                    break
        except NotImplementedError:  # Windows: there asyncio itself cancels the run at Ctrl-C
            task_status.started(watching)
            return
        working.cancel()
