"""A journal's file: is it one, and what a reader asks of it."""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wavespeed_async.batch._lock import is_held
from wavespeed_async.batch._schema import APPLICATION, VERSION
from wavespeed_async.errors import ConfigurationError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

__all__ = ["SqliteSource", "check_journal", "told_error"]


class SqliteSource:
    """Answer questions from a journal in a file (see `Source`); it is never written to.

    Args:
        path: The file.

    Raises:
        ConfigurationError: There is none, it is of another version, or damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        if not self._path.is_file():
            message = f"there is no journal at {path}"
            raise ConfigurationError(message)
        with self.told():
            uri = f"{self._path.absolute().as_uri()}?mode=ro"
            self._connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
        try:
            with self.told():
                check_journal(self._connection, self._path)
        except BaseException:
            self._connection.close()
            raise

    def ask(self, question: str, *values: Any) -> Iterator[Sequence[Any]]:
        """Answer the rows."""
        return self._connection.execute(question, values)

    def told(self) -> AbstractContextManager[None]:
        """Answer the context in which what goes wrong is told."""
        return told_error(self._path)

    def version(self) -> int:
        """Answer a number that is another one whenever something was written in between."""
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def now(self) -> float:
        """Tell the time by the clock of the journal: this machine's."""
        return time.time()

    def is_held(self) -> bool:
        """Tell whether a process has the journal open to write it."""
        return is_held(self._path)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


# --- is it one -----------------------------------------------------------------------------------


def check_journal(connection: sqlite3.Connection, path: Path) -> None:
    """Make sure that a file is a journal of this version, and whole.

    Raises:
        ConfigurationError: It is not; the message says what to do.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION:
        message = f"{path} is no journal of this package: name another file"
        raise ConfigurationError(message)
    if version != VERSION:
        message = (
            f"the journal {path} is of version {version}, this package reads version {VERSION}: "
            f"go on with the package that wrote it, or name another file for other requests"
        )
        raise ConfigurationError(message)
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)


@contextmanager
def told_error(path: Path) -> Iterator[None]:
    """Say in this package's terms what SQLite cannot do with a file.

    Raises:
        ConfigurationError: It is damaged, or cannot be read.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        if str(error).startswith("Could not decode"):
            raise _damaged(path, error) from error
        message = f"the journal {path} cannot be used: {error}"
        raise ConfigurationError(message) from error
    except (sqlite3.DatabaseError, ValueError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ConfigurationError:
    message = (
        f"the journal {path} is damaged ({error}): put a copy of it back. Without one, move it "
        f"away; then all requests are sent, and billed, again. What it had submitted is in the "
        f"API's list for 7 days"
    )
    return ConfigurationError(message)
