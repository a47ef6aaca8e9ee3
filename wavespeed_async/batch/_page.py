"""The page of a batch: `index.html` beside its journal, one file that needs no network.

It is made of what the journal tells, so any process can write it, during a run and after it. While
a run goes on it is written again now and then, whole each time, by a thread that takes at most a
fiftieth of one processor for it; an open page loads itself anew and stays where it was.
"""

from __future__ import annotations

import math
import os
import secrets
import time
from functools import cache, partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anyio
from anyio import from_thread, to_thread

from wavespeed_async._extras import need
from wavespeed_async.batch._order import write_whole
from wavespeed_async.batch._place import folder_of
from wavespeed_async.batch._plots import plots
from wavespeed_async.batch._records import State, text_of
from wavespeed_async.batch._report import read_report, reason
from wavespeed_async.batch._thumbnails import FOLDER, make_thumbnails, name_of
from wavespeed_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from jinja2 import Template

    from wavespeed_async.batch._records import EntryRecord
    from wavespeed_async.batch._report import Report

__all__ = ["NAME", "Page", "render", "write_page"]

NAME = "index.html"
MARK = '<meta name="generator" content="wavespeed-async batch">'
"""Stands in each page: a file without it is somebody else's, and stays."""

EVERY = 3.0
"""Seconds between two writings, at least."""
SHARE = 50
"""The page takes one part of so many of a processor: so the more there is, the rarer it is."""
BRIEFLY, LAST = 0.5, 5.0
"""Seconds for small copies of pictures, in each writing and in the last one."""

MOST = 20_000
"""The page shows so many requests, the first ones."""
LONGEST = 4_000
"""Characters of a prompt or a reason that are shown."""


class Page:
    """Keep the page of a batch up to date; whatever is the matter with it, the batch goes on.

    Args:
        journal: The batch's journal; the page is put beside its file.
        total: How many requests the input has.
        folder: Of a journal in a database: the folder of the pictures, where the page is put.

    Attributes:
        trouble: Why it could not be written, if so.
        cost: What the batch has cost so far, with its currency, where that is known.
    """

    def __init__(
        self,
        journal: str | os.PathLike[str],
        total: int | None = None,
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        self.trouble: Exception | None = None
        self.cost: str | None = None
        self._journal = journal
        self._folder = folder
        self._total = total
        self._every = EVERY

    async def keep(self) -> None:
        """Write it now and then, until this is cancelled; trouble may pass."""
        while True:
            began = time.monotonic()
            await self._write(BRIEFLY)
            self._every = max(EVERY, SHARE * (time.monotonic() - began))
            await anyio.sleep(self._every)

    async def finish(self, *, hurry: bool) -> None:
        """Write it for the last time; in a hurry without further small copies of pictures."""
        with anyio.CancelScope(shield=True):
            await self._write(0.0 if hurry else LAST)

    async def _write(self, seconds: float) -> None:
        try:
            await to_thread.run_sync(self._write_now, seconds)
        except (OSError, ConfigurationError) as error:
            self.trouble = error
        else:
            self.trouble = None

    def _write_now(self, seconds: float) -> None:
        report = read_report(self._journal, self._folder, total=self._total)
        if report.cost is not None:
            self.cost = f"{report.cost:.4f} {report.order.currency}"
        folder = folder_of(self._journal, self._folder)
        _write(report, folder, seconds, self._every, from_thread.check_cancelled)


def write_page(
    journal: str | os.PathLike[str],
    folder: str | os.PathLike[str] | None = None,
    *,
    total: int | None = None,
) -> Path:
    """Write the page of a batch beside its journal, and answer where; this blocks.

    Args:
        journal: The batch's journal.
        folder: Of a journal in a database: the folder of the pictures, where the page is put.
        total: How many requests the input has, where the caller knows.

    Raises:
        ConfigurationError: There is no journal, Jinja2 is missing, or the file is somebody else's.
        OSError: It cannot be written.
    """
    report = read_report(journal, folder, total=total)
    return _write(report, folder_of(journal, folder), math.inf, EVERY, lambda: None)


def _write(
    report: Report, folder: Path, seconds: float, every: float, check: Callable[[], object]
) -> Path:
    """Write the page; `check` is called now and then, and ends it by raising."""
    path = folder / NAME
    _check_owner(path)
    pictures = [folder / name for entry in _shown(report) for name in entry.paths]
    small = make_thumbnails(pictures, folder / FOLDER, seconds=seconds, check=check)
    check()
    write_whole(path, render(report, folder, small, every=every))
    return path


def _check_owner(path: Path) -> None:
    """Leave a file alone that is no page of a batch.

    Raises:
        ConfigurationError: It is none.
    """
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except FileNotFoundError:
        return
    if MARK.encode() not in head:
        message = f"{path} is not the page of a batch, so it stays as it is: move it away"
        raise ConfigurationError(message)


def render(report: Report, folder: Path, small: Iterable[str] = (), *, every: float = EVERY) -> str:
    """Answer the page as HTML. Pure.

    Args:
        report: How the batch stands.
        folder: Where the page will be.
        small: Names of the small copies that there are.
        every: How many seconds after it another is to be expected, while the batch goes on.
    """
    data = _data(report, folder, frozenset(small), every)
    return _template().render(
        mark=MARK,
        nonce=secrets.token_urlsafe(),
        title=folder.absolute().name,
        data=data,
        script=_vendored("uPlot.iife.min.js"),
        style=_vendored("uPlot.min.css"),
        licence=_vendored("LICENSE"),
    )


# --- what it tells -------------------------------------------------------------------------------


def _shown(report: Report) -> list[EntryRecord]:
    """List what is shown: all that is asked for, and what was made for earlier inputs."""
    made = [entry for entry in report.left_behind if entry.prediction is not None]
    return [*report.entries, *made][:MOST]


def _data(report: Report, folder: Path, small: frozenset[str], every: float) -> dict[str, Any]:
    shown = _shown(report)
    models = [*dict.fromkeys(entry.model for entry in shown)]
    file = partial(_file, folder, small)
    zero = min((entry.queued for entry in shown), default=report.now)
    return {
        "made": report.now,
        "goesOn": report.goes_on,
        "interrupted": report.was_interrupted,
        "every": every,
        "lastSign": report.last_sign,
        "total": report.total,
        "hidden": len(report.entries) + len(report.left_behind) - len(shown),
        "counts": {str(state): report.counts[state] for state in State},
        "pictures": report.pictures,
        "pace": report.pictures_per_minute,
        "left": report.seconds_left,
        "cost": report.cost,
        "currency": report.order.currency,
        "failures": report.failures.most_common(20),
        "models": models,
        "zero": zero,
        "turns": plots(report),
        "entries": [_row(report, entry, models, zero, file) for entry in shown],
    }


def _row(
    report: Report,
    entry: EntryRecord,
    models: list[str],
    zero: float,
    file: Callable[[str], list[str]],
) -> dict[str, Any]:
    """Say of an entry what is shown; what is not known is left out."""
    fields = entry.fields
    moments = (entry.queued, entry.intended, entry.submitted, entry.ready, entry.ended)
    row = {
        "n": entry.position,
        "s": str(report.states[entry.entry]),
        "m": models.index(entry.model),
        "p": text_of(fields, "prompt")[:LONGEST],
        "seed": entry.seed,
        "size": text_of(fields, "size") or None,
        "id": entry.prediction,
        "ms": entry.inference_ms,
        "old": None if entry.asked else True,
        "why": None if _is_well(report, entry) else reason(entry)[:LONGEST],
        "t": [None if moment is None else round(moment - zero, 2) for moment in moments],
        "f": [file(name) for name in entry.paths] or None,
    }
    return {name: value for name, value in row.items() if value is not None}


def _is_well(report: Report, entry: EntryRecord) -> bool:
    return entry.error is None and report.states[entry.entry] is not State.FAILED


def _file(folder: Path, small: frozenset[str], name: str) -> list[str]:
    """Answer a file's name, its address from the page, and that of its small copy if there is."""
    path = folder / name
    inside = os.path.relpath(path, folder)
    address = quote(f"./{inside}".replace(os.sep, "/"))
    copy = name_of(path)
    return [inside, address, *([quote(f"./{FOLDER}/{copy}")] if copy in small else [])]


# --- what it is made of --------------------------------------------------------------------------


@cache
def _template() -> Template:
    """Answer the template.

    Raises:
        ConfigurationError: Jinja2 is missing.
    """
    with need("cli", of="the page"):
        from jinja2 import Environment  # noqa: PLC0415 (an extra)
    text = files("wavespeed_async.batch").joinpath("page.html.j2").read_text("utf-8")
    return Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(text)


@cache
def _vendored(name: str) -> str:
    """Read a file of uPlot 1.6.32, which draws the plots, or its licence (MIT)."""
    return files("wavespeed_async.batch").joinpath("uplot", name).read_text("utf-8")
