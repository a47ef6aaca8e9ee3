"""A journal in one SQLite file, written by a thread of its own, off the event loop.

Durable. The write-ahead log is flushed with each durable transaction (`synchronous=FULL`), and not
with the others (`NORMAL`), which reach the operating system all the same. Others can read it
meanwhile.

Alone. A second process is turned away by a lock on a file beside the journal, which the operating
system gives back however a process ends.

Room. That file also takes up some room. When the disk is full, it is given back, so that what was
paid for can still be written; so the log is kept short, since emptying it makes the journal grow.

Gone. A journal whose file was removed is written anew, from what is still open.
"""

from __future__ import annotations

import sqlite3
import stat
import threading
import time
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from anyio import CapacityLimiter, to_thread

from wavespeed_async.batch._lock import Lock
from wavespeed_async.batch._schema import APPLICATION, TABLES, VERSION
from wavespeed_async.batch._sqlite_file import check_journal, told_error
from wavespeed_async.batch._statements import WRITERS, past_of
from wavespeed_async.batch._store import Intended
from wavespeed_async.errors import ConfigurationError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from wavespeed_async.batch._store import Change, Past, Run

__all__ = ["SqliteStore"]

LOG_PAGES = 64
"""Pages of the write-ahead log (256 KB) after which it is emptied: fewer than `ROOM` holds."""
PATIENCE = 5.0
"""Seconds to wait for a reader that is in the way."""
BROKEN = (sqlite3.Error, ValueError, TypeError, OverflowError)
"""What SQLite raises, or what was kept in it: it may be damaged, a column of text say."""
REMOVAL = 0.3
"""Seconds that the removal of a folder is given to end, before anything is written there again."""

AT_ONCE = 500
"""How many ids are asked for in one question."""

T = TypeVar("T")


class SqliteStore:
    """Keep a journal in a SQLite file (see `Store`).

    Args:
        path: The file; it is made if need be, with its folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._lock = Lock(self._path)
        self._guard = threading.Lock()  # a call that asyncio itself has left may still be at it
        self._thread: CapacityLimiter | None = None
        self._opened: sqlite3.Connection | None = None
        self._inode = 0
        self._run = 0
        self._is_durable: bool | None = None

    # --- in the event loop -----------------------------------------------------------------------

    async def open(self, run: Run) -> Past:
        """Make it or take it up, and tell what it holds."""
        return await self._call(self._open, run)

    async def knows(self, digests: Sequence[bytes]) -> bool:
        """Tell whether there is an entry of any of these."""
        return await self._call(self._knows, digests)

    async def known(self, predictions: Sequence[str]) -> set[str]:
        """Tell which of these ids belong to an entry."""
        return await self._call(self._known, predictions)

    async def write(self, changes: Sequence[Change], *, durable: bool) -> OSError | None:
        """Write changes in one transaction; answer why to begin nothing more, if so."""
        return await self._call(partial(self._write, durable=durable), changes)

    async def close(self, at: float) -> None:
        """Note the end of this run, and let others use the journal."""
        await self._call(self._close, at)

    async def _call(self, work: Callable[..., T], *args: Any) -> T:
        if self._thread is None:
            self._thread = CapacityLimiter(1)
        return await to_thread.run_sync(self._alone, work, args, limiter=self._thread)

    def _alone(self, work: Callable[..., T], args: tuple[Any, ...]) -> T:
        with self._guard:
            return work(*args)

    # --- taking it up ----------------------------------------------------------------------------

    def _open(self, run: Run) -> Past:
        given = self._path
        _check_place(given)
        # By its real name: whatever links lead to it, it has one lock.
        self._path = given.resolve()
        self._lock = Lock(self._path)
        self._lock.take(given)
        with told_error(given):
            self._connect()
            past = past_of(self._connection, run)
            self._begin(run)
        self._lock.fill()
        return past

    @property
    def _connection(self) -> sqlite3.Connection:
        assert self._opened is not None  # noqa: S101 (a journal is opened first)
        return self._opened

    def _connect(self) -> None:
        self._opened = sqlite3.connect(
            self._path, timeout=PATIENCE, isolation_level=None, check_same_thread=False
        )
        _prepare(self._opened, self._path)
        self._inode = self._path.stat().st_ino
        self._is_durable = None

    def _begin(self, run: Run) -> None:
        limits = run.limits
        cursor = self._connection.execute(
            "INSERT INTO runs (started, steady, owner, requests, per, concurrency, identity)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                *(run.started, run.steady, run.owner),
                *(limits.requests, limits.per, limits.concurrency, run.identity),
            ),
        )
        self._run = cursor.lastrowid or 0

    def _knows(self, digests: Sequence[bytes]) -> bool:
        question = "SELECT 1 FROM requests WHERE digest = ? LIMIT 1"
        ask = self._connection.execute
        return any(ask(question, (digest,)).fetchone() for digest in digests)

    def _known(self, predictions: Sequence[str]) -> set[str]:
        found: set[str] = set()
        for start in range(0, len(predictions), AT_ONCE):  # each question reads the whole table
            some = predictions[start : start + AT_ONCE]
            question = f"SELECT prediction FROM requests WHERE prediction IN ({_marks(some)})"  # noqa: S608 (question marks)
            found.update(row[0] for row in self._connection.execute(question, some))
        return found

    # --- writing ---------------------------------------------------------------------------------

    def _write(self, changes: Sequence[Change], *, durable: bool) -> OSError | None:
        trouble = self._check_file()
        if trouble is not None and any(isinstance(change, Intended) for change in changes):
            raise trouble
        try:
            self._transact(changes, durable=durable)
        except BROKEN:
            self._empty_log()
            try:
                self._transact(changes, durable=durable)
            except BROKEN as error:
                self._lock.empty()
                self._empty_log()
                message = f"{self._path}: {error}"
                raise OSError(message) from error
        return trouble

    def _transact(self, changes: Sequence[Change], *, durable: bool) -> None:
        execute = self._connection.execute
        if durable is not self._is_durable:
            execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._is_durable = durable
        execute("BEGIN IMMEDIATE")
        try:
            for change in changes:
                WRITERS[type(change)](execute, change, self._run)
            execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # SQLite may have rolled back by itself
                execute("ROLLBACK")
            raise

    def _check_file(self) -> OSError | None:
        """See that the journal is still where it was: why to begin nothing more, if not.

        Raises:
            OSError: Another file is in its place, or it cannot be written anew.
        """
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._write_anew()
            return OSError(f"the journal {self._path} was removed; it was written there again")
        if found.st_ino != self._inode:
            message = f"the journal {self._path} was replaced by another file"
            raise OSError(message)
        if not _may_be_written(found):
            return OSError(f"the journal {self._path} was made read-only")
        return None

    def _write_anew(self) -> None:
        """Bring back a journal whose file was removed, from what is still open."""
        time.sleep(REMOVAL)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lost = self._connection
        try:
            self._lock.keep(self._path)
            with closing(sqlite3.connect(self._path)) as copy:
                lost.backup(copy)
            self._connect()
        except (sqlite3.Error, ConfigurationError) as error:
            if self._opened is not lost:
                self._connection.close()
            self._opened = lost  # all that there is: it is tried again
            if self._lock.is_kept():
                self._path.unlink(missing_ok=True)
            message = f"the journal {self._path} was removed: {error}"
            raise OSError(message) from error
        lost.close()

    def _empty_log(self) -> None:
        """Bring all of the log into the journal itself, so that it can begin anew."""
        with suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _close(self, at: float) -> None:
        try:
            if self._run:
                self._end(at)
        finally:
            if self._opened is not None:
                self._opened.close()
                self._opened = None
            self._lock.release()

    def _end(self, at: float) -> None:
        with suppress(sqlite3.Error, OSError):  # what could not be written was told
            self._check_file()
            self._connection.execute("UPDATE runs SET ended = ? WHERE run = ?", (at, self._run))
        with suppress(sqlite3.Error):  # somebody reads it, or the disk is full: it stays as it is
            self._connection.execute("PRAGMA busy_timeout = 0")
            self._connection.execute("PRAGMA journal_mode = DELETE")  # one file, for all readers


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def _check_place(path: Path) -> None:
    """Make the folder; refuse what cannot be a journal, before anything is changed.

    Raises:
        ConfigurationError: It is a folder, or read-only, or its folder cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            message = f"the journal {path} is a folder: name a file in it"
            raise ConfigurationError(message)
        if path.exists() and not _may_be_written(path.stat()):
            message = f"the journal {path} is read-only: make it writable, or name another file"
            raise ConfigurationError(message)
    except OSError as error:
        message = f"the journal {path} cannot be written: {error.strerror}"
        raise ConfigurationError(message) from error


def _may_be_written(found: os.stat_result) -> bool:
    """Tell by the file's mode, which root may pass over: somebody wants it left alone."""
    return bool(found.st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))


def _is_new(connection: sqlite3.Connection, path: Path) -> bool:
    """Tell whether a file holds nothing: one that was being made when its process was killed."""
    if path.stat().st_size == 0:
        return True
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return bool(pages == 1 and application == 0 and tables == 0)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables of a new journal; check an old one."""
    if _is_new(connection, path):
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        for statement in TABLES.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    check_journal(connection, path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
