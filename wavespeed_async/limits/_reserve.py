"""What is kept free of the window for urgent callers beside a batch.

A batch uses up the window, so that whoever comes then, however urgent, waits for it to move on.
Therefore, once there are urgent callers, the others leave as many requests free as those have had
within the last two `per`, up to a twentieth of the window. Where all are alike, nothing is kept.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wavespeed_async.limits._limits import Limits

__all__ = ["Reserve"]

KEPT, REMEMBERED = 1 / 20, 2
"""What share of the window is kept free at most, and for how many `per`."""
MOST_KEPT = 64


class Reserve:
    """Know who was urgent lately. Every method that needs the time takes `now`, in seconds."""

    def __init__(self) -> None:
        self._granted: dict[int, deque[float]] = {}  # for each priority, when, the last few

    def note(self, priority: int, now: float) -> None:
        """Note that a request of a priority was granted."""
        self._granted.setdefault(priority, deque(maxlen=MOST_KEPT)).append(now)

    def kept(self, priority: int, now: float, limits: Limits) -> int:
        """Tell how many requests are kept free for those who are more urgent than a priority."""
        recent = now - REMEMBERED * limits.per
        kept = sum(
            sum(at > recent for at in granted)
            for other, granted in self._granted.items()
            if other < priority
        )
        return min(kept, int(limits.requests * KEPT))
