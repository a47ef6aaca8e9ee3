"""What the page plots, at so many points however long a run was. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wavespeed_async.batch._records import EntryRecord, RunRecord
    from wavespeed_async.batch._report import Report

__all__ = ["peaks", "plots"]

POINTS = 600
TURNS = 12
"""The last so many turns are plotted."""


def plots(report: Report) -> list[dict[str, Any]]:
    """Say for each turn that sent something how requests and predictions went, oldest first."""
    entries = [*report.entries, *report.left_behind]
    told = [_plot(report, run, entries) for run in report.runs if _has_sent(report, run)]
    return told[-TURNS:]


def peaks(intervals: Iterable[tuple[float, float]], start: float, until: float) -> list[int]:
    """Count how many intervals are open at once: the most in each of `POINTS` equal steps."""
    changes = sorted(change for begin, end in intervals for change in ((begin, 1), (end, -1)))
    step = (until - start) / POINTS
    found, now, number = [], 0, 0
    for point in range(POINTS):
        edge = start + (point + 1) * step
        while number < len(changes) and changes[number][0] <= edge - step:
            now += changes[number][1]
            number += 1
        most = now
        while number < len(changes) and changes[number][0] < edge:
            now += changes[number][1]
            most = max(most, now)
            number += 1
        found.append(most)
    return found


def _has_sent(report: Report, run: RunRecord) -> bool:
    end = report.end_of(run)
    return any(run.started <= request.at <= end for request in report.sent)


def _plot(report: Report, run: RunRecord, entries: list[EntryRecord]) -> dict[str, Any]:
    start, until = run.started, max(report.end_of(run), run.started + 1e-3)
    window = ((request.at, request.at + run.per) for request in report.sent if request.counts)
    return {
        "started": start,
        "until": until,
        "requests": run.requests,
        "per": run.per,
        "concurrency": run.concurrency,
        "window": peaks(window, start, until),
        "running": peaks(_times(entries, report.now, seen=False), start, until),
        "held": peaks(_times(entries, report.now, seen=True), start, until),
    }


def _times(
    entries: Iterable[EntryRecord], now: float, *, seen: bool
) -> Iterator[tuple[float, float]]:
    """Answer from when to when predictions ran: until they were ready, or seen to be."""
    for entry in entries:
        begin = entry.submitted if entry.submitted is not None else entry.intended
        if begin is None or entry.absent is not None:
            continue
        end = entry.ended if seen else entry.ready
        yield begin, now if end is None else max(begin, end)
