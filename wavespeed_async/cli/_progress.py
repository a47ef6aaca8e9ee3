"""How far a run is, on stderr: a bar on a terminal, else a plain line now and then."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from wavespeed_async.cli._output import tell

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from wavespeed_async.cli._tally import Tally
    from wavespeed_async.limits import AnyLimiter

__all__ = ["progress"]

BAR_EVERY = 0.25
LINE_EVERY = 5.0
"""Seconds between two looks at it."""


@asynccontextmanager
async def progress(tally: Tally, limiter: AnyLimiter) -> AsyncIterator[None]:
    """Show how far a run is while the block lasts, which is to raise nothing."""

    def line() -> str:
        return tally.line(
            anyio.current_time(),
            running=limiter.running,
            used=limiter.requests_used,
            requests=limiter.limits.requests,
        )

    console = Console(stderr=True)
    async with anyio.create_task_group() as group:
        if sys.stderr.isatty() and not console.is_dumb_terminal:
            group.start_soon(_show_bar, console, tally, line)
        else:
            group.start_soon(_show_lines, line)
        yield
        group.cancel_scope.cancel()


async def _show_lines(line: Callable[[], str]) -> None:
    while True:
        await anyio.sleep(LINE_EVERY)
        tell(line())


async def _show_bar(console: Console, tally: Tally, line: Callable[[], str]) -> None:
    bar = Progress(
        BarColumn(24),
        TextColumn("{task.description}", markup=False),
        console=console,
        auto_refresh=False,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # else data would go where the bar is
        redirect_stderr=False,
    )
    with bar:
        task = bar.add_task(line(), total=tally.total)
        while True:
            ended = tally.done + tally.failed
            bar.update(task, description=line(), completed=ended, refresh=True)
            await anyio.sleep(BAR_EVERY)
