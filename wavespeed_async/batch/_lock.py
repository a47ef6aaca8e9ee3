"""The lock of a journal: a file beside it, which one process holds.

The operating system gives it back however that process ends.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from wavespeed_async.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ROOM", "Lock"]

ROOM = 512 * 1024
"""Bytes that are kept free for the time when the disk is full."""


class Lock:
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
