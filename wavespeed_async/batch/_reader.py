"""Read a journal, from any process, while another one writes it.

It is read without a lock: each question sees the journal as it was at one moment. Everything here
blocks (files), so in an event loop it belongs into a thread.

::

    with JournalReader("pictures/journal.sqlite") as journal:
        for entry in journal.entries():
            print(entry.position, entry.state, entry.prompt, entry.paths)
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from attrs import frozen

from wavespeed_async.batch._schema import APPLICATION, VERSION
from wavespeed_async.errors import ConfigurationError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping
    from types import TracebackType

__all__ = [
    "EntryRecord",
    "JournalReader",
    "RequestSentRecord",
    "RunRecord",
    "State",
    "check_journal",
    "told_error",
]


class State(StrEnum):
    """Where an entry stands.

    QUEUED: nothing was sent, or it was refused. UNCONFIRMED: its submission may have arrived (in a
    run that goes on: it is on its way). RUNNING: its prediction is not known to have ended. MADE:
    completed, without files. SAVED: completed, with files. FAILED: ended without pictures.
    """

    QUEUED = "queued"
    UNCONFIRMED = "unconfirmed"
    RUNNING = "running"
    MADE = "made"
    SAVED = "saved"
    FAILED = "failed"


@frozen(kw_only=True)
class EntryRecord:
    """Hold one request of a journal; times are Unix seconds, None for what has not happened.

    Attributes:
        entry: Its number in the journal.
        position: Its number in the input of the run that asked for it last, from 0.
        asked: Whether the last run has asked for it (so far).
        model: The model's id; empty for an item that was a bare id.
        fields: What was sent; a picture as base64 stands there by its length and digest.
        seed: The seed that was sent, drawn or asked for.
        queued: When it was first taken from the input.
        intended: When its submission left.
        absent: When the API's list was found not to have its submission.
        submitted: When its submission was answered: it runs, or waits in the API's queue.
        ended: When it was seen to have ended.
        saved: When its files were whole.
        prediction: The prediction's id.
        status: How it ended, in the API's word.
        inference_ms: How long the model took, by the API.
        outputs: URLs; an output that came as base64 stands there by its length and digest.
        paths: Its files; relative ones start at the journal's folder.
        error: Why there is no picture (yet), in words that begin with the error's type.
    """

    entry: int
    position: int
    asked: bool
    model: str
    fields: Mapping[str, Any]
    seed: int | None
    queued: float
    intended: float | None
    absent: float | None
    submitted: float | None
    ended: float | None
    saved: float | None
    prediction: str | None
    status: str | None
    inference_ms: int | None
    outputs: tuple[str, ...]
    paths: tuple[str, ...]
    error: str | None

    @property
    def state(self) -> State:
        """Where it stands."""
        if self.ended is not None:
            if self.status != "completed":
                return State.FAILED
            return State.MADE if self.saved is None else State.SAVED
        if self.prediction is not None:
            return State.RUNNING
        return State.QUEUED if self.intended is None else State.UNCONFIRMED

    @property
    def prompt(self) -> str:
        """What was asked for in words; empty where the model takes none."""
        prompt = self.fields.get("prompt")
        return prompt if isinstance(prompt, str) else ""

    @property
    def size(self) -> str | None:
        """The size that was asked for, such as `1024*768`."""
        size = self.fields.get("size")
        return size if isinstance(size, str) else None

    @property
    def ready(self) -> float | None:
        """When it was ready at the server: known where the API tells how long the model took."""
        if self.submitted is None or self.ended is None or not self.inference_ms:
            return self.ended
        return min(self.ended, self.submitted + self.inference_ms / 1000)


@frozen(kw_only=True)
class RequestSentRecord:
    """Hold one request of the API.

    Attributes:
        at: When it was sent.
        answered: When it was answered; None where no answer came, or none was written.
        kind: `submit`, `poll` or `list`.
        counts: Whether it counts in the limiter's window.
    """

    at: float
    answered: float | None
    kind: str
    counts: bool


@frozen(kw_only=True)
class RunRecord:
    """Hold one process's turn.

    Attributes:
        started: When it began.
        ended: When it ended; None for one that was killed or still goes on.
        requests: Requests that the account may make within `per` seconds.
        per: Length of that window.
        concurrency: Predictions that may run at once.
    """

    started: float
    ended: float | None
    requests: int
    per: float
    concurrency: int


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
        return (_entry(row) for row in rows)

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
    answer, paths = row[14], row[15]
    return EntryRecord(
        entry=row[0],
        position=row[1],
        asked=bool(row[2]),
        model=row[3],
        fields=json.loads(row[4]),
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
        outputs=tuple(json.loads(answer)["outputs"]) if answer else (),
        paths=tuple(json.loads(paths)) if paths else (),
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
        message = f"the journal {path} cannot be used: {error}"
        raise ConfigurationError(message) from error
    except sqlite3.DatabaseError as error:
        message = (
            f"the journal {path} is damaged ({error}): put a copy of it back. Without one, move it "
            f"away; then all requests are sent, and billed, again. What it had submitted is in the "
            f"API's list for 7 days"
        )
        raise ConfigurationError(message) from error
