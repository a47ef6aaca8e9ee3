"""What a limiter has to know after a restart, from what a journal tells. Pure.

A request that was answered counted by then. One without an answer may have been on its way when its
process ended: at the latest when the next one took the journal up. So it counts by `grace` after
that, unless it was sent so long before that its process must have given it up.

Clocks. Each run's times are steady. How long ago its last one was is told by the wall clock, which
may have been set, and by the monotonic one, which begins anew with each boot: the smaller is
believed, since a request that is taken to be younger than it is only costs time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wavespeed_async.batch._store import Past, PastRun
    from wavespeed_async.limits import Limits

__all__ = ["snapshot_of"]

LONGEST_CALL = 420.0
"""Seconds after which no request is still on its way: connecting, waiting, reading its answer."""


def snapshot_of(
    past: Past, limits: Limits, owner: str, *, wall: float, steady: float, settled: float
) -> dict[str, Any]:
    """Tell a limiter what earlier runs left behind, as its `restore` takes it.

    Args:
        past: What the journal tells.
        limits: What the account is allowed.
        owner: Names the limiter: what it sent itself, in an earlier run, it knows.
        wall: The wall clock, in Unix seconds.
        steady: The monotonic clock, in seconds.
        settled: When it will be known what became of the unconfirmed submissions (Unix seconds).
    """
    runs = [run for run in past.runs if run.owner != owner]
    return {
        "version": 1,
        "taken": wall,
        "monotonic": steady,
        "requests": [at for run in runs for at in _counted(run, limits, wall, steady)],
        "running": [*past.running],
        "unnamed_until": [settled] * len(past.unconfirmed),
    }


def _counted(run: PastRun, limits: Limits, wall: float, steady: float) -> list[float]:
    """Tell by when each request of a run had counted, by the wall clock of now."""
    steady_then = run.steady + run.last - run.started
    shift = wall - _elapsed(run.last, steady_then, wall, steady) - run.last
    died = wall if run.next is None else wall - _elapsed(*run.next, wall, steady)
    counted = []
    for at, answered in run.requests:
        given_up = min(died, at + shift + LONGEST_CALL)
        counted.append(given_up + limits.grace if answered is None else answered + shift)
    return counted


def _elapsed(then: float, steady_then: float, wall: float, steady: float) -> float:
    """Tell how long ago a moment was, by two clocks; too little rather than too much."""
    by_wall, by_steady = wall - then, steady - steady_then
    return max(0.0, by_wall if by_steady < 0 else min(by_wall, by_steady))
