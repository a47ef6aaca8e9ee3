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

import json
import os
import sqlite3
import stat
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread

from wavespeed_async.batch._entries import Known
from wavespeed_async.batch._journal import (
    Answered,
    Change,
    Claim,
    Ended,
    Failed,
    Intended,
    Missed,
    Past,
    PastRun,
    Run,
    Saved,
    Sent,
    Submitted,
    Unsent,
    Withdrawn,
)
from wavespeed_async.batch._reader import check_journal, told_error
from wavespeed_async.batch._schema import APPLICATION, TABLES, VERSION
from wavespeed_async.errors import ConfigurationError

__all__ = ["SqliteStore"]

ROOM = 512 * 1024
"""Bytes that are kept free for the time when the disk is full."""
LOG_PAGES = 64
"""Pages of the write-ahead log (256 KB) after which it is emptied: fewer than `ROOM` holds."""
PATIENCE = 5.0
"""Seconds to wait for a reader that is in the way."""
REMOVAL = 0.3
"""Seconds that the removal of a folder is given to end, before anything is written there again."""
REMEMBERED = 10_000
"""How many of the last requests are looked at when a journal is taken up: more than a window."""

T = TypeVar("T")


class SqliteStore:
    """Keep a journal in a SQLite file (see `Store`).

    Args:
        path: The file; it is made if need be, with its folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._lock = _Lock(self._path.with_name(self._path.name + "-lock"))
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
        _check_place(self._path)
        self._lock.take(self._path)
        with told_error(self._path):
            self._connect()
            past = _past(self._connection)
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
            "INSERT INTO runs (started, steady, owner, requests, per, concurrency)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                *(run.started, run.steady, run.owner),
                *(limits.requests, limits.per, limits.concurrency),
            ),
        )
        self._run = cursor.lastrowid or 0

    def _knows(self, digests: Sequence[bytes]) -> bool:
        question = "SELECT 1 FROM requests WHERE digest = ? LIMIT 1"
        ask = self._connection.execute
        return any(ask(question, (digest,)).fetchone() for digest in digests)

    def _known(self, predictions: Sequence[str]) -> set[str]:
        question = "SELECT 1 FROM requests WHERE prediction = ? LIMIT 1"
        ask = self._connection.execute
        return {one for one in predictions if ask(question, (one,)).fetchone()}

    # --- writing ---------------------------------------------------------------------------------

    def _write(self, changes: Sequence[Change], *, durable: bool) -> OSError | None:
        trouble = self._check_file()
        if trouble is not None and any(isinstance(change, Intended) for change in changes):
            raise trouble
        try:
            self._transact(changes, durable=durable)
        except sqlite3.Error:
            self._empty_log()
            try:
                self._transact(changes, durable=durable)
            except sqlite3.Error as error:
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
                _WRITERS[type(change)](execute, change, self._run)
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
        with sqlite3.connect(self._path) as copy:
            lost.backup(copy)
        copy.close()
        lost.close()
        self._lock.release()
        self._lock.take(self._path)
        self._connect()

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


class _Lock:
    """Hold a journal for this process, and some room on its disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def take(self, journal: Path) -> None:
        """Take the lock at once.

        Raises:
            ConfigurationError: Another run has it, or the file cannot be made.
        """
        try:
            while self._file is None:
                file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
                try:
                    _lock_file(file)
                    with suppress(FileNotFoundError):  # its last owner has just removed it
                        if os.fstat(file).st_ino == self._path.stat().st_ino:
                            self._file = file
                finally:
                    if self._file is None:
                        os.close(file)
        except BlockingIOError as error:
            message = (
                f"the journal {journal} is in use by another run: wait for its end, or stop it"
            )
            raise ConfigurationError(message) from error
        except OSError as error:
            message = f"the journal {journal} cannot be written: {error.strerror}"
            raise ConfigurationError(message) from error

    def fill(self) -> None:
        """Take up the room, or as much of it as there is."""
        assert self._file is not None  # noqa: S101 (it was taken)
        with suppress(OSError):
            os.write(self._file, bytes(ROOM))

    def empty(self) -> None:
        """Give the room back."""
        assert self._file is not None  # noqa: S101 (it was taken)
        with suppress(OSError):
            os.ftruncate(self._file, 0)

    def release(self) -> None:
        """Let others have it."""
        if self._file is not None:
            with suppress(OSError):
                self._path.unlink()
            os.close(self._file)
            self._file = None


if sys.platform == "win32":  # pragma: no cover  # no such system among those that run the tests
    import msvcrt

    def _lock_file(file: int) -> None:
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError from error
else:
    import fcntl

    def _lock_file(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


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


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables of a new journal; check an old one."""
    if path.stat().st_size == 0:
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


# --- what it holds -------------------------------------------------------------------------------


def _past(connection: sqlite3.Connection) -> Past:
    ask = connection.execute
    running = ask("SELECT prediction FROM requests WHERE prediction IS NOT NULL AND ended IS NULL")
    unconfirmed = ask(
        "SELECT intended FROM requests"
        " WHERE intended IS NOT NULL AND absent IS NULL AND prediction IS NULL"
    )
    return Past(
        runs=tuple(_past_runs(ask)),
        sent=ask("SELECT coalesce(max(number), 0) FROM sent").fetchone()[0],
        running=tuple(dict.fromkeys(row[0] for row in running)),
        unconfirmed=tuple(row[0] for row in unconfirmed),
        is_new=ask("SELECT 1 FROM requests LIMIT 1").fetchone() is None,
    )


def _past_runs(ask: Callable[..., sqlite3.Cursor]) -> list[PastRun]:
    lately: dict[int, list[tuple[float, float | None]]] = {}
    question = "SELECT run, at, answered FROM sent WHERE counts ORDER BY number DESC LIMIT ?"
    for run, at, answered in ask(question, (REMEMBERED,)):
        lately.setdefault(run, []).append((at, answered))
    found = []
    for run, requests in lately.items():
        started, steady, owner = ask(
            "SELECT started, steady, owner FROM runs WHERE run = ?", (run,)
        ).fetchone()
        after = "SELECT started, steady FROM runs WHERE run > ? ORDER BY run LIMIT 1"
        last = max(at for at, _ in requests)
        following = ask(after, (run,)).fetchone()
        found.append(PastRun(started, steady, owner, following, last, tuple(requests)))
    return found


# --- one change ----------------------------------------------------------------------------------

Execute = Callable[..., sqlite3.Cursor]


def _claim(execute: Execute, claim: Claim, run: int) -> None:
    wanted = claim.wanted
    row = execute(
        "SELECT entry, seed, intended, submitted, prediction, answer, paths FROM requests"
        " WHERE digest = ? AND run < ? ORDER BY run DESC, number LIMIT 1",
        (wanted.digest, run),
    ).fetchone()
    if row is not None:
        entry, seed, intended, submitted, prediction, answer, paths = row
        execute(
            "UPDATE requests SET run = ?, position = ? WHERE entry = ?",
            (run, claim.position, entry),
        )
        files = None if paths is None else tuple(json.loads(paths))
        claim.known = Known(entry, seed, intended, submitted, prediction, answer, files)
        return
    (last,) = execute(
        "SELECT max(number) FROM requests WHERE digest = ? AND run = ?", (wanted.digest, run)
    ).fetchone()
    exists = None if wanted.prediction is None else claim.at
    cursor = execute(
        "INSERT INTO requests (digest, number, run, position, model, fields, seed, queued,"
        " intended, submitted, prediction) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(wanted.digest, 0 if last is None else last + 1, run, claim.position),
            *(wanted.model, wanted.fields, wanted.seed, claim.at),
            *(exists, exists, wanted.prediction),
        ),
    )
    claim.known = Known(cursor.lastrowid or 0, wanted.seed, exists, exists, wanted.prediction)


def _sent(execute: Execute, sent: Sent, run: int) -> None:
    execute(
        "INSERT INTO sent (number, run, at, kind, counts) VALUES (?, ?, ?, ?, ?)",
        (sent.number, run, sent.at, sent.kind, sent.counts),
    )


def _intended(execute: Execute, intended: Intended, run: int) -> None:
    execute(
        "UPDATE requests SET intended = ?, absent = NULL, error = NULL WHERE entry = ?",
        (intended.sent.at, intended.entry),
    )
    _sent(execute, intended.sent, run)


def _answered(execute: Execute, answered: Answered, _: int) -> None:
    execute("UPDATE sent SET answered = ? WHERE number = ?", (answered.at, answered.number))


def _unsent(execute: Execute, unsent: Unsent, _: int) -> None:
    execute("DELETE FROM sent WHERE number = ?", (unsent.number,))


def _withdrawn(execute: Execute, withdrawn: Withdrawn, _: int) -> None:
    execute(
        "UPDATE requests SET intended = NULL, absent = NULL WHERE entry = ?", (withdrawn.entry,)
    )


def _missed(execute: Execute, missed: Missed, _: int) -> None:
    execute("UPDATE requests SET absent = ? WHERE entry = ?", (missed.at, missed.entry))


def _submitted(execute: Execute, submitted: Submitted, _: int) -> None:
    execute(
        "UPDATE requests SET prediction = ?, submitted = ?, error = NULL WHERE entry = ?",
        (submitted.prediction, submitted.at, submitted.entry),
    )


def _ended(execute: Execute, ended: Ended, _: int) -> None:
    execute(
        "UPDATE requests SET ended = coalesce(ended, ?), status = ?, inference_ms = ?, answer = ?,"
        " error = ? WHERE entry = ?",
        (ended.at, ended.status, ended.inference_ms, ended.answer, ended.error, ended.entry),
    )


def _saved(execute: Execute, saved: Saved, _: int) -> None:
    execute(
        "UPDATE requests SET saved = ?, paths = ?, error = NULL WHERE entry = ?",
        (saved.at, json.dumps(saved.paths), saved.entry),
    )


def _failed(execute: Execute, failed: Failed, _: int) -> None:
    execute("UPDATE requests SET error = ? WHERE entry = ?", (failed.error, failed.entry))


_WRITERS: Mapping[type, Callable[..., None]] = {
    Claim: _claim,
    Sent: _sent,
    Intended: _intended,
    Answered: _answered,
    Unsent: _unsent,
    Withdrawn: _withdrawn,
    Missed: _missed,
    Submitted: _submitted,
    Ended: _ended,
    Saved: _saved,
    Failed: _failed,
}
