"""Polls that wait until they are worth a request: the one that is worth most goes first.

What a poll is worth, its bidder says, each time the limiter could grant it. So that thousands may
wait, not all are asked each time. Bidders that stand in one line are worth less the later they
came, so its first speaks for it; of the others so many are asked in turn, each time the next ones.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from wavespeed_async.limits._limits import Limits

__all__ = ["Bidder", "Bids", "Scarcity"]

ASKED_AT_ONCE = 64
"""How many bidders without a line are asked each time."""


@frozen
class Scarcity:
    """Tell how scarce requests and slots are.

    Attributes:
        limits: What the account is allowed.
        free: How many requests the window has room for, those kept for urgent ones left out.
        running: How many predictions hold a slot.
        waiting: How many submissions wait that are as urgent as the poll, or more.
        behind: How many wait that are less urgent.
    """

    limits: Limits
    free: int
    running: int
    waiting: int
    behind: int


class Bidder(Protocol):
    """Say what a poll is worth."""

    @property
    def line(self) -> Hashable | None:
        """Those of one line are worth less the later they came; None stands in no line."""
        ...

    def bid(self, now: float, scarcity: Scarcity) -> tuple[float, float]:
        """Answer the worth of a poll (1 and above: a request), and when to ask again if less."""
        ...

    def delay(self, now: float) -> float:
        """Tell for how many seconds its answer is expected to have been ready."""
        ...


T = TypeVar("T")


class _Lane(Generic[T]):
    """Hold those of one priority."""

    __slots__ = ("lines", "loose")

    def __init__(self) -> None:
        self.lines: dict[Hashable, OrderedDict[T, Bidder]] = {}
        self.loose: OrderedDict[T, Bidder] = OrderedDict()

    def asked(self) -> list[tuple[T, Bidder]]:
        """List whom to ask this time."""
        heads = [next(iter(line.items())) for line in self.lines.values()]
        if len(self.loose) <= ASKED_AT_ONCE:
            return heads + list(self.loose.items())
        for _ in range(ASKED_AT_ONCE):
            waiter, bidder = self.loose.popitem(last=False)
            self.loose[waiter] = bidder
            heads.append((waiter, bidder))
        return heads


class Bids(Generic[T]):
    """Hold waiters with their bidders, in lanes: the lower priority number goes first.

    Attributes:
        again: When to ask again, if nothing else happens; infinity where nobody was asked.
    """

    def __init__(self) -> None:
        self.again = math.inf
        self._lanes: dict[int, _Lane[T]] = {}
        self._where: dict[T, tuple[int, Hashable | None]] = {}

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, waiter: T) -> bool:
        return waiter in self._where

    def join(self, waiter: T, bidder: Bidder, priority: int) -> None:
        """Add a waiter."""
        lane, line = self._lanes.setdefault(priority, _Lane()), bidder.line
        members = lane.loose if line is None else lane.lines.setdefault(line, OrderedDict())
        members[waiter] = bidder
        self._where[waiter] = priority, line

    def leave(self, waiter: T) -> None:
        """Take a waiter out."""
        priority, line = self._where.pop(waiter)
        lane = self._lanes[priority]
        if line is None:
            del lane.loose[waiter]
        else:
            del lane.lines[line][waiter]
            if not lane.lines[line]:
                del lane.lines[line]
        if not lane.loose and not lane.lines:
            del self._lanes[priority]

    @property
    def priorities(self) -> list[int]:
        """The priorities of those who wait, the most urgent first."""
        return sorted(self._lanes)

    def last(self) -> T | None:
        """Show who came last."""
        return next(reversed(self._where)) if self._where else None

    def everyone(self) -> list[T]:
        """List all waiters."""
        return list(self._where)

    def best(self, now: float, scarcity: Callable[[int], Scarcity]) -> tuple[T, Bidder] | None:
        """Choose whose poll is worth a request now, and most; the most urgent lane goes first."""
        self.again = math.inf
        for priority in self.priorities:
            best, most, how_scarce = None, 1.0, scarcity(priority)
            if how_scarce.free <= 0 and how_scarce.limits.polls_count:
                continue
            for waiter, bidder in self._lanes[priority].asked():
                worth, again = bidder.bid(now, how_scarce)
                if worth >= most:
                    best, most = (waiter, bidder), worth
                self.again = min(self.again, again)
            if best is not None:
                return best
        return None
