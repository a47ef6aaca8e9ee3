"""Servers that count requests strictly: each tells how far a list of arrivals passes its limit."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def fullest_window(arrivals: Iterable[float], per: float) -> int:
    """Count the requests in the fullest half-open interval of `per` seconds, wherever it begins."""
    times = sorted(arrivals)
    first = fullest = 0
    for last, time in enumerate(times):
        while times[first] <= time - per:
            first += 1
        fullest = max(fullest, last - first + 1)
    return fullest


def fullest_minute(arrivals: Iterable[float], per: float, offset: float) -> int:
    """Count the requests in the fullest of the intervals that begin at `offset` + n * `per`."""
    return max(Counter((time - offset) // per for time in arrivals).values())


def emptiest_bucket(arrivals: Iterable[float], capacity: float, rate: float) -> float:
    """Tell the lowest level of a token bucket that starts full; below 0 it would have refused."""
    level = lowest = capacity
    before = 0.0
    for time in sorted(arrivals):
        level = min(capacity, level + (time - before) * rate) - 1
        lowest, before = min(lowest, level), time
    return lowest


def most_at_once(runs: Iterable[tuple[float, float]]) -> int:
    """Count the predictions that ran at once, of (begin, end) each."""
    changes = sorted(change for begin, end in runs for change in ((begin, 1), (end, -1)))
    running = most = 0
    for _, change in changes:
        running += change
        most = max(most, running)
    return most
