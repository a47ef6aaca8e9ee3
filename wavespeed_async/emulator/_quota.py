"""How fast, and how many at once: the three windows, and the slots. Pure."""

from __future__ import annotations

import heapq
import math
from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wavespeed_async.emulator._settings import Settings

__all__ = ["Bucket", "FixedWindow", "SlidingWindow", "Slots", "Window", "window_of"]


class Window(Protocol):
    """Count requests against a rate."""

    def wait(self, now: float, /) -> float:
        """Answer in how many seconds there is room for one more; 0 if there is."""
        ...

    def take(self, now: float, /) -> None:
        """Count a request."""
        ...


class SlidingWindow:
    """Count a request until it is `per` seconds old."""

    def __init__(self, requests: int, per: float) -> None:
        self._requests = requests
        self._per = per
        self._times: deque[float] = deque()

    def count(self, now: float) -> int:
        """Answer how many requests are counted."""
        while self._times and self._times[0] <= now - self._per:
            self._times.popleft()
        return len(self._times)

    def wait(self, now: float) -> float:
        """Answer in how many seconds there is room for one more; 0 if there is."""
        over = self.count(now) - self._requests
        return self._times[over] + self._per - now if over >= 0 else 0.0

    def take(self, now: float) -> None:
        """Count a request."""
        self._times.append(now)


class FixedWindow:
    """Count from each multiple of `per` on anew."""

    def __init__(self, requests: int, per: float) -> None:
        self._requests = requests
        self._per = per
        self._number = 0
        self._count = 0

    def wait(self, now: float) -> float:
        """Answer in how many seconds there is room for one more; 0 if there is."""
        self._turn(now)
        return (self._number + 1) * self._per - now if self._count >= self._requests else 0.0

    def take(self, now: float) -> None:
        """Count a request."""
        self._turn(now)
        self._count += 1

    def _turn(self, now: float) -> None:
        if (number := math.floor(now / self._per)) != self._number:
            self._number, self._count = number, 0


class Bucket:
    """Hold `requests` tokens at most, which come back evenly, all of them in `per` seconds."""

    def __init__(self, requests: int, per: float) -> None:
        self._most = float(requests)
        self._pace = requests / per
        self._tokens = self._most
        self._at = -math.inf

    def wait(self, now: float) -> float:
        """Answer in how many seconds there is room for one more; 0 if there is."""
        self._fill(now)
        return max((1 - _ROUNDING - self._tokens) / self._pace, 0.0)

    def take(self, now: float) -> None:
        """Count a request."""
        self._fill(now)
        self._tokens -= 1

    def _fill(self, now: float) -> None:
        self._tokens = min(self._most, self._tokens + (now - self._at) * self._pace)
        self._at = now


_ROUNDING = 1e-9

_WINDOWS: Mapping[str, Callable[[int, float], Window]] = {
    "sliding": SlidingWindow,
    "fixed": FixedWindow,
    "bucket": Bucket,
}


def window_of(settings: Settings) -> Window:
    """Make the window that the settings ask for."""
    return _WINDOWS[settings.window](settings.requests, settings.per)


class Slots:
    """Hold the predictions that run, each with its end; a queued one inherits the next slot."""

    def __init__(self) -> None:
        self._ends: list[tuple[float, str]] = []
        self.most = 0

    def running(self, now: float) -> int:
        """Answer how many slots are taken."""
        while self._ends and self._ends[0][0] <= now:
            heapq.heappop(self._ends)
        return len(self._ends)

    def free_at(self, now: float, concurrency: float) -> float:
        """Answer when the next slot is free: `now`, if one is."""
        return now if self.running(now) < concurrency else self._ends[0][0]

    def take(self, now: float, started: float, end: float, prediction_id: str) -> None:
        """Let a prediction run; one that starts later follows that which ends first."""
        if started > now:
            heapq.heappop(self._ends)
        heapq.heappush(self._ends, (end, prediction_id))
        self.most = max(self.most, self.running(now))

    def release(self, prediction_id: str) -> None:
        """Free the slot of a prediction, if it has one."""
        self._ends = [entry for entry in self._ends if entry[1] != prediction_id]
        heapq.heapify(self._ends)
