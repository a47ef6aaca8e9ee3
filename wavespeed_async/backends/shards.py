"""Run requests in shards, for workers that are handed the same work again after they died.

Whoever hands out work (Ray, a job queue) hands it out again when the process that had it was
killed, and cannot know what that had paid for. So a shard, a name and its requests, has a journal
and its pictures in a folder of its own, as the command line's `batch` makes them. It is known again
by its name, which the caller chooses and has to keep: whoever is handed it goes on with it.

::

    async with AsyncWaveSpeed() as client, Shards("pictures", client) as shards:
        outcomes = await shards.run_shard("part-0001", requests)

Alone. The folder belongs to one account, and one process at a time uses it. A second one is turned
away by a lock that the operating system gives back however a process ends.

After a death. A shard has a mark beside its journal for as long as it may hold slots. Before
anything is sent the journals of the marked shards are taken up, and of those that ended within the
window: so the limiter knows what left lately and what runs, however many of them are asked for
again, and whenever. A journal has all requests that its client sent while it was open, so that one
request is told by several of them: counted too often rather than not at all, for one `per` at most.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self
from weakref import WeakValueDictionary

import anyio
from anyio import to_thread

from wavespeed_async.errors import ConfigurationError, shown

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable
    from types import TracebackType

    from wavespeed_async._client import AsyncWaveSpeed
    from wavespeed_async._prediction import Outcome, Prediction
    from wavespeed_async.models import Request

__all__ = ["Shards"]

AT_ONCE = 32
"""Shards that are under way at once: each has some files open, and writes down every request."""
JOURNAL, MARK, LOCK = "journal.sqlite", "open", ".lock"
PATIENCE = 10.0
"""Seconds to wait for the process before this one to be gone."""
CLOCKS = 60.0
"""Seconds by which the clock of the disk may differ from this machine's."""


class Shards:
    """Run requests in shards through one account; use it as an async context manager.

    Args:
        folder: Where the shards are: a folder each. It is made if need be.
        client: The account's client; it stays open.
        resubmit_unconfirmed: Submit again what may have been submitted when a process was killed
            and is not in the API's list (see `AsyncWaveSpeed.batch`).
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        client: AsyncWaveSpeed,
        *,
        resubmit_unconfirmed: bool = False,
    ) -> None:
        self._folder = Path(folder)
        self._client = client
        self._resubmit = resubmit_unconfirmed
        self._lock: sqlite3.Connection | None = None
        self._turns: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()
        self._places = anyio.CapacityLimiter(AT_ONCE)

    def __repr__(self) -> str:
        return f"<Shards in {self._folder}, {self._client!r}>"

    async def __aenter__(self) -> Self:
        if self._lock is not None:
            message = f"these shards in {self._folder} are open already: enter them once"
            raise ConfigurationError(message)
        try:
            with anyio.CancelScope(shield=True):
                self._lock = await to_thread.run_sync(_lock, self._folder)
            await self._take_up()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(lock.close)

    async def _take_up(self) -> None:
        """Have the limiter know what the processes before this one have left behind."""
        limits = self._client.limiter.limits
        recent = time.time() - limits.per - limits.grace - CLOCKS
        for journal in await to_thread.run_sync(_left_behind, self._folder, recent):
            async with self._client.batch((), journal=journal):  # of nothing: it takes up the past
                pass

    async def run_shard(
        self, name: str, requests: Iterable[Request | Prediction | str]
    ) -> list[Outcome]:
        """Run a shard, or go on with it, and answer its outcomes in the order of its requests.

        Outputs are saved into the shard's folder. A shard that is under way already is waited for,
        and then answered from its journal.

        Raises:
            ConfigurationError: Its journal cannot be used, or is of other requests.
            JournalError: Its journal cannot be written any more.
        """
        if self._lock is None:
            message = "enter the shards first: async with Shards(…) as shards"
            raise ConfigurationError(message)
        folder = self._folder / _folder_name(name)
        turn = self._turns.setdefault(folder.name, anyio.Lock())
        async with turn, self._places:
            await to_thread.run_sync(_mark, folder)
            batch = self._client.batch(
                requests,
                journal=folder / JOURNAL,
                save_to=folder,
                resubmit_unconfirmed=self._resubmit,
            )
            async with batch as outcomes:
                ended = [outcome async for outcome in outcomes]
            if not outcomes.running:
                await to_thread.run_sync((folder / MARK).unlink)
        return sorted(ended, key=lambda outcome: outcome.index)

    async def run(self, name: str, request: Request | Prediction | str) -> Outcome:
        """Run one request as a shard of its own, known again by its name, and answer its outcome.

        Raises:
            ConfigurationError, JournalError: As `run_shard` does.
        """
        (outcome,) = await self.run_shard(name, [request])
        return outcome

    async def has(self, name: str) -> bool:
        """Tell whether a shard was begun here."""
        return await to_thread.run_sync((self._folder / _folder_name(name) / JOURNAL).exists)


# --- on the disk ---------------------------------------------------------------------------------


def _lock(folder: Path) -> sqlite3.Connection:
    """Lock a folder for this process, for as long as the answer is open.

    Raises:
        ConfigurationError: Another process has it, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"the folder of shards {folder} cannot be made: {error.strerror}"
        raise ConfigurationError(message) from error
    lock = None
    try:
        lock = sqlite3.connect(
            folder / LOCK, timeout=PATIENCE, isolation_level=None, check_same_thread=False
        )
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        if lock is not None:
            lock.close()
        message = (
            f"the folder of shards {folder} is in use by another process, or cannot be written "
            f"({error}): an account has one folder, and one process at a time"
        )
        raise ConfigurationError(message) from error
    return lock


def _left_behind(folder: Path, recent: float) -> list[Path]:
    """Find the journals that the limiter has to know of: marked ones, and those written lately."""
    journals = sorted(folder.glob(f"*/{JOURNAL}"))
    return [
        journal
        for journal in journals
        if journal.with_name(MARK).exists() or journal.stat().st_mtime > recent
    ]


def _mark(folder: Path) -> None:
    """Mark a shard as open, before its journal is.

    Raises:
        ConfigurationError: Its folder cannot be written.
    """
    try:
        folder.mkdir(exist_ok=True)
        (folder / MARK).touch()
    except OSError as error:
        message = f"the shard's folder {folder} cannot be written: {error.strerror}"
        raise ConfigurationError(message) from error


def _folder_name(name: str) -> str:
    """Name a shard's folder: like the shard where any system takes that, else by its digest too.

    Raises:
        ConfigurationError: It is no name.
    """
    if not isinstance(name, str) or not name:
        message = f"a shard's name must be a text that is not empty, not {shown(name)}"
        raise ConfigurationError(message)
    if _PLAIN.fullmatch(name):
        return name
    digest = hashlib.blake2b(name.encode(errors="backslashreplace"), digest_size=8).hexdigest()
    return f"{_OTHERS.sub('-', name).strip('-')[-60:]}-{digest}".strip("-")


_PLAIN = re.compile(r"[a-z0-9_][a-z0-9_-]{0,79}")
_OTHERS = re.compile(r"[^A-Za-z0-9_-]+")
