"""What is due when: a heap from which entries can be dropped without a search."""

from __future__ import annotations

import math
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

__all__ = ["Agenda"]

T = TypeVar("T")


class Agenda(Generic[T]):
    """Hold items in the order of their times, each once; to set and to drop cost O(log n)."""

    def __init__(self) -> None:
        self._entries: dict[T, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, T]] = []  # what is no longer in _entries is passed over
        self._set_so_far = 0

    def __len__(self) -> int:
        return len(self._entries)

    def set(self, item: T, at: float) -> None:
        """Set the time of an item, in place of one that it had."""
        self._set_so_far += 1
        self._entries[item] = (at, self._set_so_far)
        heappush(self._heap, (at, self._set_so_far, item))
        if len(self._heap) > 2 * len(self._entries) + 64:
            self._heap = [(*entry, item) for item, entry in self._entries.items()]
            heapify(self._heap)

    def drop(self, item: T) -> None:
        """Forget an item, if it is here."""
        self._entries.pop(item, None)

    def time_of(self, item: T) -> float | None:
        """Tell the time of an item; None where it has none."""
        entry = self._entries.get(item)
        return None if entry is None else entry[0]

    def next_time(self) -> float:
        """Tell the first time; infinity where there is none."""
        while self._heap:
            at, number, item = self._heap[0]
            if self._entries.get(item) == (at, number):
                return at
            heappop(self._heap)
        return math.inf

    def take(self) -> T:
        """Take out the first item; there must be one."""
        self.next_time()
        item = heappop(self._heap)[2]
        del self._entries[item]
        return item
