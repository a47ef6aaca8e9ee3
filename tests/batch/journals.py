"""Journals for tests, written by the store itself, by a clock made of numbers."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from wavespeed_async.batch._schema import APPLICATION, TABLES, VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

START = 1_800_000_000.0
"""When the first turn of each journal begins."""


@frozen(kw_only=True)
class Row:
    """Hold one entry; times are seconds after START."""

    model: str = "wavespeed-ai/flux-dev"
    fields: dict[str, Any] = field(factory=dict)
    run: int = 1
    seed: int | None = 7
    queued: float = 0.0
    intended: float | None = None
    absent: float | None = None
    submitted: float | None = None
    prediction: str | None = None
    ended: float | None = None
    status: str | None = None
    inference_ms: int | None = None
    outputs: tuple[str, ...] = ()
    saved: float | None = None
    paths: tuple[str, ...] | None = None
    error: str | None = None


def made(number: int, *paths: str, at: float = 1.0, **more: Any) -> Row:
    """Answer an entry that went well: submitted, ready two seconds later, seen after three."""
    values: dict[str, Any] = {
        "fields": {"prompt": f"prompt {number}", "size": "1024*768", "num_images": 1},
        "intended": at,
        "submitted": at,
        "prediction": f"{number:032x}",
        "ended": at + 3,
        "status": "completed",
        "inference_ms": 2000,
        "outputs": ("https://x/1.png",) * max(1, len(paths)),
        "saved": at + 4 if paths else None,
        "paths": paths or None,
    }
    return Row(**{**values, **more})


def write_journal(
    path: Path,
    rows: Iterable[Row],
    *,
    runs: Iterable[tuple[float, float | None]] = ((0.0, 60.0),),
    sent: Iterable[tuple[float, str]] = (),
    limits: tuple[int, float, int] = (120, 60.0, 20),
    start: float = START,
) -> Path:
    """Write a journal of these entries; `runs` have a beginning and an end, `sent` a kind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(TABLES)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        for begin, end in runs:
            times = (start + begin, 0.0, "", *limits, None if end is None else start + end)
            connection.execute(
                "INSERT INTO runs (started, steady, owner, requests, per, concurrency, ended)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                times,
            )
        for at, kind in sent:
            connection.execute(
                "INSERT INTO sent (run, at, kind, counts, answered) VALUES (1, ?, ?, ?, ?)",
                (start + at, kind, kind != "free", start + at + 0.1),
            )
        for position, row in enumerate(rows):
            _write_row(connection, position, row, start)
    return path


def _write_row(connection: sqlite3.Connection, position: int, row: Row, start: float) -> None:
    moments = (row.queued, row.intended, row.absent, row.submitted, row.ended, row.saved)
    answer = json.dumps({"outputs": row.outputs}) if row.ended is not None else None
    connection.execute(
        "INSERT INTO requests (digest, number, run, position, model, fields, seed, prediction,"
        " status, inference_ms, answer, paths, error, queued, intended, absent, submitted, ended,"
        " saved) VALUES (?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(position.to_bytes(8), row.run, position, row.model, json.dumps(row.fields)),
            *(row.seed, row.prediction, row.status, row.inference_ms, answer),
            *(None if row.paths is None else json.dumps(row.paths), row.error),
            *(None if moment is None else start + moment for moment in moments),
        ),
    )
