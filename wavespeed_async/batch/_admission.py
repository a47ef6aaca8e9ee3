"""Which items a journal takes: those of an input of which it knows one; a new journal takes any."""

from __future__ import annotations

from collections.abc import AsyncIterable
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import anyio

from wavespeed_async.batch._course import can_be, each
from wavespeed_async.batch._entries import wanted
from wavespeed_async.errors import ConfigurationError, InvalidRequestError
from wavespeed_async.models._request import Request

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from wavespeed_async.batch._course import Items
    from wavespeed_async.batch._journal import Journal
    from wavespeed_async.batch._runner import Runner

__all__ = ["admitted"]

LOOK_AHEAD = 10_000
LOOK_AHEAD_SECONDS = 2.0
"""How far an input is read for a request that the journal knows, before anything is sent: so many
items, or of an async iterable, which may come slowly, for so long."""
CHUNK = 100
"""How many of them are looked up at once."""


async def admitted(
    items: Items, journal: Journal, runner: Runner, *, is_new: bool
) -> AsyncGenerator[Any, None]:
    """Answer the items, once one of them is known; a new journal takes any.

    Raises:
        ConfigurationError: The journal knows none of them.
    """
    until = anyio.current_time() + LOOK_AHEAD_SECONDS
    is_slow = isinstance(items, AsyncIterable)
    is_open = is_new
    ahead: list[Any] = []
    async with aclosing(each(items)) as given:
        while not is_open:
            chunk = [item async for item in _first(given, 1 if is_slow else CHUNK)]
            if not chunk or len(ahead) >= LOOK_AHEAD:
                break
            ahead += chunk
            is_open = await _know_any(journal, runner, chunk)
            is_open |= is_slow and anyio.current_time() > until
        if ahead and not is_open:
            raise _strange()
        for item in ahead:
            yield item
        del ahead
        async for item in given:
            yield item


async def _know_any(journal: Journal, runner: Runner, items: list[Any]) -> bool:
    digests = []
    for item in filter(can_be, items):
        with suppress(InvalidRequestError):  # a file that cannot be read: known by nobody
            contents = await runner.contents(item) if isinstance(item, Request) else None
            digests.append(wanted(item, contents=contents).digest)
    return await journal.knows(digests)


async def _first(items: AsyncGenerator[Any, None], count: int) -> AsyncIterator[Any]:
    """Take some of what is left, without closing it."""
    for _ in range(count):
        item = await anext(items, _END)
        if item is _END:
            return
        yield item


_END = object()


_END = object()


def _strange() -> ConfigurationError:
    message = (
        "the journal is of other requests: none of these is in it. Name another file (in the "
        "command line: another folder) for them, or ask for the earlier ones as well"
    )
    return ConfigurationError(message)
