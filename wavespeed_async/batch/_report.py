"""What a journal tells of a batch, in figures. All but `read_report` is pure."""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from wavespeed_async.batch._order import Order, read_order
from wavespeed_async.batch._place import folder_of
from wavespeed_async.batch._reader import JournalReader
from wavespeed_async.batch._records import State

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from wavespeed_async.batch._records import EntryRecord, RequestSentRecord, RunRecord

__all__ = ["Report", "read_report", "report_of"]

MINUTE = 60.0
ENDED = (State.SAVED, State.MADE, State.FAILED)


@frozen(kw_only=True)
class Report:
    """Say how a batch stands; times are Unix seconds.

    Attributes:
        now: When it was asked.
        entries: Those that the last run has asked for (so far).
        left_behind: Those of earlier inputs that nobody asks for any more.
        runs: The turns of all processes; one that was killed ends with its last sign of life.
        sent: The requests of the API.
        order: What the batch is in all.
        goes_on: Whether a process is at it: it holds the journal.
        last_sign: When the last thing happened; None where nothing has.
        states: Where each entry stands, as a reader would say it.
        was_interrupted: Whether the last turn was killed: it has no end, and nobody is at it.
    """

    now: float
    entries: tuple[EntryRecord, ...]
    left_behind: tuple[EntryRecord, ...]
    runs: tuple[RunRecord, ...]
    sent: tuple[RequestSentRecord, ...]
    order: Order
    goes_on: bool
    last_sign: float | None
    states: Mapping[int, State] = field(repr=False)
    was_interrupted: bool = False

    @property
    def total(self) -> int:
        """How many requests there are, as far as is known."""
        return max(len(self.entries), self.order.total or 0)

    @property
    def counts(self) -> Counter[State]:
        """How many entries stand where; what was not taken from the input yet is queued."""
        counted = Counter(self.states[entry.entry] for entry in self.entries)
        counted[State.QUEUED] += self.total - len(self.entries)
        return counted

    @property
    def pictures(self) -> int:
        """How many pictures there are."""
        return sum(len(entry.paths or entry.outputs) for entry in self.entries if _is_made(entry))

    @property
    def failures(self) -> Counter[str]:
        """How often each reason was met, in its words."""
        return Counter(
            reason(entry)
            for entry in self.entries
            if self.states[entry.entry] is State.FAILED or entry.error is not None
        )

    @property
    def pictures_per_minute(self) -> float:
        """The pace, over the turns in which pictures were made."""
        made = {run.started: 0 for run in self.runs}
        for entry in (*self.entries, *self.left_behind):
            if _is_made(entry):
                run = self._run_of(entry.ended or 0.0)
                made[run.started] += len(entry.paths or entry.outputs)
        seconds = sum(self._seconds(run) for run in self.runs if made[run.started])
        return MINUTE * sum(made.values()) / max(seconds, 1e-3) if seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """How long it will take at the pace of the last turn; None where that is not known."""
        if not self.goes_on:
            return None
        run = self.runs[-1]
        ended = [entry for entry in self.entries if self.states[entry.entry] in ENDED]
        lately = sum((entry.ended or entry.queued) >= run.started for entry in ended)
        missing = self.total - len(ended)
        return None if not lately else missing * self._seconds(run) / lately

    @property
    def cost(self) -> float | None:
        """What the predictions that did not fail cost; None where a price is not known."""
        return self.order.cost(
            (entry.model, entry.fields)
            for entry in (*self.entries, *self.left_behind)
            if entry.prediction is not None and entry.state is not State.FAILED
        )

    def of(self, *states: State) -> list[EntryRecord]:
        """List the entries that stand there, those of earlier inputs among them."""
        everything = (*self.entries, *self.left_behind)
        return [entry for entry in everything if self.states[entry.entry] in states]

    def end_of(self, run: RunRecord) -> float:
        """Tell when a turn ended, or how far it has come."""
        return self.now if run.ended is None else run.ended

    def _seconds(self, run: RunRecord) -> float:
        return max(0.0, self.end_of(run) - run.started)

    def _run_of(self, moment: float) -> RunRecord:
        begun = [run for run in self.runs if run.started <= moment]
        return begun[-1] if begun else self.runs[0]


def read_report(
    journal: str | os.PathLike[str],
    folder: str | os.PathLike[str] | None = None,
    *,
    total: int | None = None,
) -> Report:
    """Read a journal, and what stands beside it; this blocks.

    Args:
        journal: Its file, or its address.
        folder: Of an address: the folder of the pictures, where it stands what the batch is in all.
        total: How many requests the input has, where that is known better than by `order.json`.

    Raises:
        ConfigurationError: There is none, it is of another version, damaged, or busy.
    """
    order = read_order(folder_of(journal, folder))
    if total is not None:
        order = evolve(order, total=total)
    with JournalReader(journal) as reader, reader.told():
        # Asked first: a run that ends meanwhile has its end in what is read afterwards.
        is_held = reader.is_held()
        return report_of(
            reader.entries(),
            reader.runs(),
            reader.sent(),
            order=order,
            now=reader.now(),
            is_held=is_held,
        )


def report_of(
    entries: Iterable[EntryRecord],
    runs: Sequence[RunRecord],
    sent: Iterable[RequestSentRecord],
    *,
    order: Order,
    now: float,
    is_held: bool,
) -> Report:
    """Say how a batch stands that a journal tells of."""
    everything, requests = tuple(entries), tuple(sent)
    # A turn without an end was killed, unless it is the last and its process holds the journal.
    last = runs[-1] if runs else None
    goes_on = is_held and last is not None and last.ended is None
    closed = [
        run
        if run.ended is not None or (goes_on and run is last)
        else evolve(
            run,
            ended=max(
                _signs(everything, requests, runs, run.started, _next_start(runs, run)),
                default=run.started,
            ),
        )
        for run in runs
    ]
    since = last.started if last is not None and goes_on else None
    return Report(
        now=now,
        entries=tuple(entry for entry in everything if entry.asked),
        left_behind=tuple(entry for entry in everything if not entry.asked),
        runs=tuple(closed),
        sent=requests,
        order=order,
        goes_on=goes_on,
        was_interrupted=last is not None and last.ended is None and not goes_on,
        last_sign=max(_signs(everything, requests, runs), default=None),
        states={entry.entry: _state(entry, since) for entry in everything},
    )


def reason(entry: EntryRecord) -> str:
    """Say why an entry has no picture, so that the same reason reads the same for each."""
    text = entry.error or f"the API says: {entry.status}"
    return re.sub(rf"\b{re.escape(entry.prediction)}\s?", "", text) if entry.prediction else text


def _state(entry: EntryRecord, since: float | None) -> State:
    """Say where an entry stands: in a turn that goes on since then, a submission is on its way."""
    if entry.state is State.QUEUED and entry.error is not None:
        return State.FAILED
    on_its_way = since is not None and entry.intended is not None and entry.intended >= since
    if entry.state is State.UNCONFIRMED and on_its_way and entry.error is None:
        return State.RUNNING
    return entry.state


def _is_made(entry: EntryRecord) -> bool:
    return entry.state in {State.SAVED, State.MADE}


def _signs(
    entries: Iterable[EntryRecord],
    sent: Iterable[RequestSentRecord],
    runs: Iterable[RunRecord],
    start: float = -math.inf,
    end: float = math.inf,
) -> Iterator[float]:
    """Answer the moments, from the start on and before the end, at which something happened."""
    moments = chain(
        chain.from_iterable((run.started, run.ended) for run in runs),
        chain.from_iterable((entry.queued, entry.saved, entry.ended) for entry in entries),
        (request.at for request in sent),
    )
    return (moment for moment in moments if moment is not None and start <= moment < end)


def _next_start(runs: Sequence[RunRecord], run: RunRecord) -> float:
    return min(
        (other.started for other in runs if other.started > run.started), default=float("inf")
    )
