"""Read a journal, from any process, while another one writes it.

It is read without a lock: each question sees the journal as it was at one moment. Everything here
blocks (files, a database), so in an event loop it belongs into a thread.

::

    with JournalReader("pictures/journal.sqlite") as journal:
        for entry in journal.entries():
            print(entry.position, entry.state, entry.prompt, entry.paths)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from wavespeed_async.batch._place import source_of
from wavespeed_async.batch._records import EntryRecord, RequestSentRecord, RunRecord, State

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from types import TracebackType

__all__ = ["JournalReader"]


class JournalReader:
    """Read a journal; nothing is ever written to it.

    Args:
        journal: The journal's file, or its address in PostgreSQL.

    Raises:
        ConfigurationError: There is none, it is of another version, or damaged.
    """

    def __init__(self, journal: str | os.PathLike[str]) -> None:
        self._source = source_of(journal)

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
        """Close the file, or the connection."""
        self._source.close()

    def version(self) -> int:
        """Answer a number that is another one whenever something was written in between."""
        with self._source.told():
            return self._source.version()

    def now(self) -> float:
        """Tell the time by the clock of the journal's times."""
        with self._source.told():
            return self._source.now()

    def is_held(self) -> bool:
        """Tell whether a process has the journal open to write it."""
        with self._source.told():
            return self._source.is_held()

    def told(self) -> AbstractContextManager[None]:
        """Answer the context in which what is damaged or fails is a `ConfigurationError`."""
        return self._source.told()

    def entries(self) -> Iterator[EntryRecord]:
        """Read all entries in the order of the input of the last run, then those of earlier ones.

        An input that was changed leaves entries behind that nobody asks for any more: `asked`.
        """
        last = self._one("SELECT max(run) FROM runs")
        with self._source.told():
            yield from map(
                _entry, self._source.ask(f"{_ENTRIES} ORDER BY run DESC, position", last)
            )

    def sent(self, since: float = 0.0) -> Iterator[RequestSentRecord]:
        """Read the requests of the API that were sent since then, in their order."""
        question = "SELECT at, answered, kind, counts FROM sent WHERE at >= ? ORDER BY at"
        with self._source.told():
            for at, answered, kind, counts in self._source.ask(question, since):
                yield RequestSentRecord(at=at, answered=answered, kind=kind, counts=bool(counts))

    def runs(self) -> list[RunRecord]:
        """List the turns of all processes, the last one last."""
        question = "SELECT started, ended, requests, per, concurrency FROM runs ORDER BY run"
        with self._source.told():
            return [
                RunRecord(started=started, ended=ended, requests=count, per=per, concurrency=most)
                for started, ended, count, per, most in self._source.ask(question)
            ]

    def count(self) -> Mapping[State, int]:
        """Count the entries that the last run has asked for, by where they stand."""
        last = self._one("SELECT max(run) FROM runs")
        with self._source.told():
            rows = self._source.ask(_COUNT, last)
            counted = dict.fromkeys(State, 0)
            return {**counted, **{State(state): number for state, number in rows}}

    def _one(self, question: str) -> Any:
        with self._source.told():
            return next(iter(self._source.ask(question)))[0]


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
