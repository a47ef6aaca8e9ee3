"""The SQL of a journal: what it holds, and each change. `_schema.py` has its tables.

It is SQLite's, and where PostgreSQL has another word, that stands in `postgres/`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from wavespeed_async.batch._entries import Known
from wavespeed_async.batch._store import (
    Answered,
    Claim,
    Ended,
    Failed,
    Intended,
    Learned,
    Missed,
    Past,
    PastRun,
    Saved,
    Seen,
    Sent,
    Submitted,
    Unsent,
    Withdrawn,
)

if TYPE_CHECKING:
    from wavespeed_async.batch._store import Run

__all__ = ["WRITERS", "past_of"]

REMEMBERED = 10_000
"""How many of the last requests are looked at, at least, when a journal is taken up."""


# --- what it holds -------------------------------------------------------------------------------


class Answer(Protocol):
    """Hold the rows that a question found."""

    def fetchone(self) -> Any:
        """Answer the next row; None after the last."""
        ...

    def __iter__(self) -> Any: ...


class Connection(Protocol):
    """Ask a database."""

    def execute(self, question: str, values: Any = ..., /) -> Answer:
        """Answer the rows; the question has a question mark for each value."""
        ...


def past_of(connection: Connection, run: Run) -> Past:
    """Answer what a journal tells when it is taken up."""
    ask = connection.execute
    running = ask("SELECT prediction FROM requests WHERE prediction IS NOT NULL AND ended IS NULL")
    unconfirmed = ask(
        "SELECT intended FROM requests"
        " WHERE intended IS NOT NULL AND absent IS NULL AND prediction IS NULL"
    )
    learned = ask(
        "SELECT owner, learned FROM runs WHERE learned IS NOT NULL ORDER BY run DESC LIMIT 1"
    ).fetchone()
    return Past(
        runs=tuple(_past_runs(ask, max(REMEMBERED, 2 * run.limits.requests))),
        sent=ask("SELECT coalesce(max(number), 0) FROM sent").fetchone()[0],
        running=tuple(dict.fromkeys(row[0] for row in running)),
        unconfirmed=tuple(row[0] for row in unconfirmed),
        is_new=ask("SELECT 1 FROM requests LIMIT 1").fetchone() is None,
        learned=None if learned is None or learned[0] == run.owner else learned[1],
    )


def _past_runs(ask: Callable[..., Answer], most: int) -> list[PastRun]:
    lately: dict[int, list[tuple[float, float | None]]] = {}
    question = "SELECT run, at, answered FROM sent WHERE counts ORDER BY number DESC LIMIT ?"
    for run, at, answered in ask(question, (most,)):
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

Execute = Callable[..., Any]


def _claim(execute: Execute, claim: Claim, run: int) -> None:
    wanted = claim.wanted
    row = execute(
        "SELECT entry, seed, intended, submitted, prediction, answer, paths,"
        " (SELECT identity FROM runs WHERE runs.run = requests.payer) FROM requests"
        " WHERE digest = ? AND run < ? ORDER BY run DESC, number LIMIT 1",
        (wanted.digest, run),
    ).fetchone()
    if row is not None:
        entry, seed, intended, submitted, prediction, answer, paths, payer = row
        execute(
            "UPDATE requests SET run = ?, position = ? WHERE entry = ?",
            (run, claim.position, entry),
        )
        files = None if paths is None else tuple(json.loads(paths))
        claim.known = Known(entry, seed, intended, submitted, prediction, answer, files, payer)
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
        "UPDATE requests SET intended = ?, payer = ?, absent = NULL, error = NULL WHERE entry = ?",
        (intended.sent.at, run, intended.entry),
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


def _seen(execute: Execute, seen: Seen, _: int) -> None:
    execute(
        "UPDATE requests SET ended = ?, status = ?, inference_ms = ?, answer = ?"
        " WHERE prediction = ? AND ended IS NULL",
        (seen.at, seen.status, seen.inference_ms, seen.answer, seen.prediction),
    )


def _saved(execute: Execute, saved: Saved, _: int) -> None:
    execute(
        "UPDATE requests SET saved = ?, paths = ?, error = NULL WHERE entry = ?",
        (saved.at, json.dumps(saved.paths), saved.entry),
    )


def _failed(execute: Execute, failed: Failed, _: int) -> None:
    execute("UPDATE requests SET error = ? WHERE entry = ?", (failed.error, failed.entry))


def _learned(execute: Execute, learned: Learned, run: int) -> None:
    execute("UPDATE runs SET learned = ? WHERE run = ?", (learned.learned, run))


WRITERS: Mapping[type, Callable[..., None]] = {
    Claim: _claim,
    Sent: _sent,
    Intended: _intended,
    Answered: _answered,
    Unsent: _unsent,
    Withdrawn: _withdrawn,
    Missed: _missed,
    Submitted: _submitted,
    Ended: _ended,
    Seen: _seen,
    Saved: _saved,
    Failed: _failed,
    Learned: _learned,
}
