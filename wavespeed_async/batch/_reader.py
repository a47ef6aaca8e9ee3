"""Read a journal, from any process, while another one writes it.

It is read without a lock: each question sees the journal as it was at one moment. Everything here
blocks (files), so in an event loop it belongs into a thread.

::

    with JournalReader("pictures/journal.sqlite") as journal:
        for entry in journal.entries():
            print(entry.position, entry.state, entry.prompt, entry.paths)
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from wavespeed_async.batch._records import EntryRecord, RequestSentRecord, RunRecord, State
from wavespeed_async.batch._schema import APPLICATION, VERSION
from wavespeed_async.errors import ConfigurationError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping
    from types import TracebackType

__all__ = ["JournalReader", "check_journal", "told_error"]


class JournalReader:
    """Read a journal; nothing is ever written to it.

    Args:
        path: The journal's file.

    Raises:
        ConfigurationError: There is none, it is of another version, or damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path: Path = Path(path)
        if not self.path.is_file():
            message = f"there is no journal at {path}"
            raise ConfigurationError(message)
        with told_error(self.path):
            uri = f"{self.path.absolute().as_uri()}?mode=ro"
            self._connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
        try:
            with told_error(self.path):
                check_journal(self._connection, self.path)
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def version(self) -> int:
        """Answer a number that is another one whenever something was written in between."""
        return int(self._one("PRAGMA data_version"))

    def entries(self) -> Iterator[EntryRecord]:
        """Read all entries in the order of the input of the last run, then those of earlier ones.

        An input that was changed leaves entries behind that nobody asks for any more: `asked`.
        """
        last = self._one("SELECT max(run) FROM runs")
        rows = self._connection.execute(f"{_ENTRIES} ORDER BY run DESC, position", (last,))
        with told_error(self.path):
            yield from map(_entry, rows)

    def sent(self, since: float = 0.0) -> Iterator[RequestSentRecord]:
        """Read the requests of the API that were sent since then, in their order."""
        rows = self._connection.execute(
            "SELECT at, answered, kind, counts FROM sent WHERE at >= ? ORDER BY at", (since,)
        )
        return (
            RequestSentRecord(at=at, answered=answered, kind=kind, counts=bool(counts))
            for at, answered, kind, counts in rows
        )

    def runs(self) -> list[RunRecord]:
        """List the turns of all processes, the last one last."""
        rows = self._connection.execute(
            "SELECT started, ended, requests, per, concurrency FROM runs ORDER BY run"
        )
        return [
            RunRecord(started=started, ended=ended, requests=count, per=per, concurrency=most)
            for started, ended, count, per, most in rows
        ]

    def count(self) -> Mapping[State, int]:
        """Count the entries that the last run has asked for, by where they stand."""
        last = self._one("SELECT max(run) FROM runs")
        rows = self._connection.execute(_COUNT, (last,))
        counted = dict.fromkeys(State, 0)
        return {**counted, **{State(state): number for state, number in rows}}

    def _one(self, question: str) -> Any:
        return self._connection.execute(question).fetchone()[0]


_ENTRIES = """
SELECT entry, position, run = ?, model, fields, seed, queued, intended, submitted, ended, saved,
  prediction, status, inference_ms, answer, paths, error, absent
FROM requests"""

_COUNT = """
SELECT CASE
    WHEN ended IS NOT NULL AND status <> 'completed' THEN 'failed'
    WHEN ended IS NOT NULL AND saved IS NULL THEN 'made'
    WHEN ended IS NOT NULL THEN 'saved'
    WHEN prediction IS NOT NULL THEN 'running'
    WHEN intended IS NOT NULL THEN 'unconfirmed'
    ELSE 'queued'
  END AS state, count(*)
FROM requests WHERE run = ? GROUP BY state"""


def _entry(row: Any) -> EntryRecord:
    return EntryRecord(
        entry=row[0],
        position=row[1],
        asked=bool(row[2]),
        model=row[3],
        kept_fields=row[4],
        seed=row[5],
        queued=row[6],
        intended=row[7],
        absent=row[17],
        submitted=row[8],
        ended=row[9],
        saved=row[10],
        prediction=row[11],
        status=row[12],
        inference_ms=row[13],
        kept_answer=row[14],
        kept_paths=row[15],
        error=row[16],
    )


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
