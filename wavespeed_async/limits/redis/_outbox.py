"""What Redis is to be told: collected here, sealed into numbered letters, sent until answered.

A letter that was sealed stays as it is, so that sending it once more is harmless; only its ages
are told anew each time, since they are seconds ago and seconds from now. Pure: `now` is given.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wavespeed_async.limits.redis._leases import Lease, LeasedSlot

__all__ = ["Letter", "Outbox", "Want"]

AT_ONCE = 500
"""How many callers are put into the queue by one letter."""
BEFORE_ALL = 1e9
"""By how many seconds those come earlier who go before others of their lane."""


@frozen(eq=False)
class Want:
    """Stand for one place in the queue of the account.

    Attributes:
        entry: Its number.
        kind: `s` for a submission, `p` for a poll or another request.
        priority: Lower numbers go first.
        since: When the caller came.
        overdue: When it lets submissions pass no longer.
        counts: Whether the API counts the request.
    """

    entry: int
    kind: str
    priority: int
    since: float
    overdue: float
    counts: bool

    def told(self, now: float) -> list[Any]:
        """Tell it with its ages."""
        counts = 1 if self.counts else 0
        ages = [now - self.since, counts, self.overdue - now]
        return [self.entry, self.kind, self.priority, *ages]


@frozen(eq=False)
class _Report:
    verb: str
    lease: Lease
    at: float
    retry_after: float


@frozen(eq=False)
class _Change:
    verb: str
    slot: LeasedSlot
    prediction_id: str
    argument: Any
    at: float | None


@frozen(eq=False)
class Letter:
    """Hold what one exchange tells."""

    number: int
    reports: tuple[_Report, ...]
    changes: tuple[_Change, ...]
    joins: tuple[Want, ...]
    leaves: tuple[Want, ...]
    news: tuple[Sequence[Any], ...]

    def told(self, now: float) -> dict[str, Any]:
        """Tell it with its ages."""
        return {
            "number": self.number,
            "reports": [
                [r.verb, r.lease.name, r.lease.passed, now - r.at, r.retry_after]
                for r in self.reports
            ],
            "changes": [
                [c.verb, c.slot.name, c.prediction_id, _argument(c, now)] for c in self.changes
            ],
            "joins": [want.told(now) for want in self.joins],
            "news": [[*news] for news in self.news],
            "leaves": [[want.entry, want.kind, want.priority] for want in self.leaves],
        }


def _arrival(want: Want) -> tuple[float, int]:
    return want.since, want.entry


def _argument(change: _Change, now: float) -> Any:
    return change.argument if change.at is None else max(0.0, change.at - now)


@define(eq=False)
class Outbox:
    """Collect what is to be told.

    Attributes:
        due: When it is to be sent at the latest; infinity where there is nothing.
        news: What others may learn; nothing is sent for its sake alone.
    """

    due: float = math.inf
    news: list[Sequence[Any]] = field(factory=list)
    _number: int = 0
    _reports: list[_Report] = field(factory=list)
    _changes: list[_Change] = field(factory=list)
    _joins: dict[int, Want] = field(factory=dict)
    _leaves: list[Want] = field(factory=list)

    def report(
        self, verb: str, lease: Lease, at: float, *, due: float, retry_after: float = 0.0
    ) -> None:
        """Tell what became of a request, `at` a time."""
        self._reports.append(_Report(verb, lease, at, retry_after))
        self.due = min(self.due, due)

    def change(
        self, verb: str, slot: LeasedSlot, argument: Any = None, *, at: float | None = None
    ) -> None:
        """Tell what became of a slot, or `at` what time it is to be asked for; at once."""
        self._changes.append(_Change(verb, slot, slot.id or "", argument, at))
        self.due = -math.inf

    def join(self, want: Want) -> None:
        """Put a caller into the queue."""
        self._joins[want.entry] = want
        self.due = -math.inf

    def leave(self, want: Want, *, due: float) -> None:
        """Take a caller out of the queue."""
        if self._joins.pop(want.entry, None) is None:
            self._leaves.append(want)
            self.due = min(self.due, due)

    def seal(self) -> Letter:
        """Make a letter of what is to be told; what is too much is left for the next."""
        self._number += 1
        joins = [self._joins.pop(entry) for entry in [*self._joins][:AT_ONCE]]
        reports, changes, leaves = self._reports, self._changes, self._leaves
        self._reports, self._changes, self._leaves = [], [], []
        news, self.news = self.news, []
        self.due = -math.inf if self._joins else math.inf
        told = tuple(reports), tuple(changes), tuple(joins), tuple(leaves), tuple(news)
        return Letter(self._number, *told)

    def begin_anew(self, wants: list[Want]) -> None:
        """Forget all but who waits: the rest is told as what this process knows."""
        self._reports, self._changes, self._leaves = [], [], []
        self._joins = {want.entry: want for want in sorted(wants, key=_arrival)}
        self.due = -math.inf
