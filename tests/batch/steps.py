"""Steps that tests take at a journal."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from wavespeed_async.batch import JournalReader
from wavespeed_async.batch._entries import Wanted
from wavespeed_async.batch._journal import Journal
from wavespeed_async.batch._store import Claim, Ended
from wavespeed_async.limits import Limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from wavespeed_async.batch import EntryRecord
    from wavespeed_async.batch._store import Past, Store

LIMITS = Limits(grace=3.0)
ID = "6488c2754f6f4dfea924382fa14d11bd"


@asynccontextmanager
async def opened(store: Store, owner: str = "me") -> AsyncIterator[tuple[Journal, Past]]:
    """Open a journal, and have it written."""
    journal = Journal(store, owner=owner, limits=LIMITS)
    past = await journal.open()
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(journal.keep_writing)
            yield journal, past
            journal.finish()
    finally:
        await journal.close()


async def claimed(journal: Journal, digest: bytes = b"a", position: int = 0) -> Claim:
    """Ask for an entry."""
    fields = json.dumps({"prompt": "a", "size": "64*64"})
    claim = Claim(Wanted(digest, "m/m", fields, 7), position, journal.now())
    await journal.until(journal.put(claim))
    return claim


def entry_of(claim: Claim) -> int:
    """Answer the entry's number."""
    assert claim.known is not None
    return claim.known.entry


def read(journal: str | Path) -> list[EntryRecord]:
    """Read all entries."""
    with JournalReader(journal) as reader:
        return [*reader.entries()]


def ended(entry: int, status: str = "completed") -> Ended:
    """Say how it ended."""
    return Ended(entry, 5.0, status, 1500, json.dumps({"outputs": ["https://x/1"]}), None)
