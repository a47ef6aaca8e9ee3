"""What a batch's folder tells, in words, and what a batch would cost. Pure."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from wavespeed_async.batch import State
from wavespeed_async.cli._tally import duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wavespeed_async.batch import EntryRecord, Estimate, Report

__all__ = ["estimate_lines", "status_lines"]

FAILURES = 20
"""So many different reasons are told."""


def status_lines(report: Report) -> Iterator[str]:
    """Say how a batch stands."""
    counts = report.counts
    done = counts[State.SAVED] + counts[State.MADE]
    yield _course(report)
    yield (
        f"{done} of {report.total} done: {report.pictures} pictures, "
        f"{report.pictures_per_minute:.0f} pictures/min"
    )
    states = (State.RUNNING, State.QUEUED, State.FAILED, State.UNCONFIRMED)
    yield ", ".join(f"{counts[state]} {state}" for state in states)
    if report.cost is not None:
        yield f"{report.cost:.4f} {report.order.currency} for what did not fail"
    elif report.last_sign is not None:
        yield "the cost is not known: --dry-run asks for prices"
    if report.seconds_left is not None:
        yield f"{duration(report.seconds_left)} left"
    for reason, count in report.failures.most_common(FAILURES):
        yield f"failed {count} times: {reason}" if count > 1 else f"failed: {reason}"
    for entry in report.of(State.RUNNING):
        if entry.asked:
            yield f"running: {entry.prediction or 'on its way'}  {entry.model}"
    for entry in report.of(State.RUNNING, State.MADE):
        if not entry.asked:
            yield f"not fetched, and not in the input any more: {entry.prediction}  {entry.model}"
    for entry in report.of(State.UNCONFIRMED):
        yield f"unconfirmed: {_lost(entry)}"


def _course(report: Report) -> str:
    """Say whether it goes on, as far as a journal tells."""
    if report.last_sign is None:
        return "nothing has happened yet"
    ago = duration(max(0.0, report.now - report.last_sign))
    if report.goes_on:
        return f"goes on; last sign of life {ago} ago"
    if report.was_interrupted:
        return f"was interrupted {ago} ago: the same command goes on"
    return f"has ended {ago} ago"


def _lost(entry: EntryRecord) -> str:
    sent = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.intended))
    absent = "" if entry.absent is None else ", not in the API's list"
    return f"request {entry.position + 1}, {entry.model}, sent {sent}{absent}"


def estimate_lines(found: Estimate) -> Iterator[str]:
    """Say what requests would cost."""
    models = ", ".join(f"{count} {model}" for model, count in found.models.items())
    yield f"{found.count} requests: {models}"
    if found.cost is not None:
        yield f"{found.cost:.4f} {found.currency}"
    if found.unpriced:
        why = f": {found.trouble}" if found.trouble else ""
        yield f"the price of {found.unpriced} requests is not known{why}"
    yield f"at best {duration(found.seconds)} within the limits"
