"""The lock of a journal: a file beside it, which one process holds.

The operating system gives it back however that process ends.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from wavespeed_async.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ROOM", "Lock", "is_held"]

ROOM = 512 * 1024
"""Bytes that are kept free for the time when the disk is full."""

PATIENCE = 0.2
"""Seconds for which a lock that is held is tried again."""


def is_held(journal: Path) -> bool:
    """Tell whether a process has a journal open."""
    try:
        file = os.open(_beside(journal.resolve()), os.O_RDWR)
    except OSError:
        return False
    try:
        _lock_file(file)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(file)
    return False


def _beside(journal: Path) -> Path:
    return journal.with_name(f"{journal.name}-lock")


class Lock:
    """Hold a journal for this process, and some room on its disk.

    Args:
        journal: The journal's file.
    """

    def __init__(self, journal: Path) -> None:
        self._path = _beside(journal)
        self._file: int | None = None

    def take(self, journal: Path) -> None:
        """Take the lock at once.

        Raises:
            ConfigurationError: Another run has it, or the file cannot be made.
        """
        until = time.monotonic() + PATIENCE
        try:
            while self._file is None:
                file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
                try:
                    _lock_soon(file, until)
                    if self._is_at(file):  # else its last owner has just removed it
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

    def keep(self, journal: Path) -> None:
        """Take the lock anew if its file was removed."""
        if not self.is_kept():
            self.release()
            self.take(journal)

    def is_kept(self) -> bool:
        """Tell whether this process has it: its file may have been removed."""
        return self._file is not None and self._is_at(self._file)

    def _is_at(self, file: int) -> bool:
        """Tell whether an open file is still the one of that name."""
        with suppress(OSError):
            return os.path.samestat(os.fstat(file), self._path.stat())
        return False

    def fill(self) -> None:
        """Take up the room, or as much of it as there is."""
        if self._file is not None:
            with suppress(OSError):
                os.write(self._file, bytes(ROOM))

    def empty(self) -> None:
        """Give the room back."""
        if self._file is not None:
            with suppress(OSError):
                os.ftruncate(self._file, 0)

    def release(self) -> None:
        """Let others have it."""
        if self._file is not None:
            with suppress(OSError):
                if self.is_kept():  # else it is another one's by now
                    self._path.unlink()
            os.close(self._file)
            self._file = None


def _lock_soon(file: int, until: float) -> None:
    """Lock a file; whoever only looks whether it is locked has it for a moment."""
    while True:
        try:
            return _lock_file(file)
        except BlockingIOError:
            if time.monotonic() > until:
                raise
        time.sleep(PATIENCE / 10)


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
