"""Who waits for a turn: first come first served within a priority, the lower number first."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

__all__ = ["Queue"]

T = TypeVar("T")


class Queue(Generic[T]):
    """Hold waiters in lanes, one for each priority; to join, to leave and to look cost the same."""

    def __init__(self) -> None:
        self._lanes: dict[int, OrderedDict[T, None]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def join(self, waiter: T, priority: int, *, front: bool = False) -> None:
        """Add a waiter at the end of its lane, or at the front: it had its turn already."""
        lane = self._lanes.setdefault(priority, OrderedDict())
        lane[waiter] = None
        if front:
            lane.move_to_end(waiter, last=False)
        self._count += 1

    def leave(self, waiter: T, priority: int) -> None:
        """Take a waiter out."""
        lane = self._lanes[priority]
        del lane[waiter]
        self._count -= 1
        if not lane:
            del self._lanes[priority]

    def first(self) -> T | None:
        """Show whose turn it is."""
        return next(iter(self._lanes[min(self._lanes)])) if self._lanes else None

    def count(self, priority: int) -> int:
        """Count those of a priority, and those that go before them."""
        return sum(len(lane) for lane_of, lane in self._lanes.items() if lane_of <= priority)

    def last(self) -> T | None:
        """Show who waits longest from here on."""
        return next(reversed(self._lanes[max(self._lanes)])) if self._lanes else None

    def everyone(self) -> list[T]:
        """List all waiters, in turn."""
        return [waiter for _, lane in sorted(self._lanes.items()) for waiter in lane]
