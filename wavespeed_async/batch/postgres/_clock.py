"""The database's clock, by which all times in a journal are kept: hosts' own clocks may differ.

A run times what it does by its own clock, which is steady. How far the database's clock is ahead of
it is learned from each transaction: the database tells its time at some moment between the question
and the answer. So the lead is known within one round trip. What is written is taken to have been by
so much later, what is read likewise: a request that is taken to be younger than it is only costs
time.

A host's clock that was set, or that stood still while the machine slept, is noticed with the next
transaction, before anything is written in it. The database's own clock is believed. Pure.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, TypeVar

from attrs import define, evolve

from wavespeed_async.batch._store import Intended, Learned, Unsent, Withdrawn

if TYPE_CHECKING:
    from wavespeed_async.batch._store import Change, Past, PastRun, Run

__all__ = ["DatabaseClock"]

MaybeTime = TypeVar("MaybeTime", float, float | None)


@define
class DatabaseClock:
    """Convert between the clock of a run and the database's.

    Attributes:
        least: By how much the database's clock is ahead at least, in seconds.
        most: By how much at most.
    """

    least: float = -inf
    most: float = inf

    def learn(self, asked: float, told: float, answered: float) -> None:
        """Hear the database's time, asked for and answered at these times of the run."""
        least, most = told - answered, told - asked
        if max(least, self.least) <= min(most, self.most):
            least, most = max(least, self.least), min(most, self.most)
        self.least, self.most = least, most

    def there(self, at: float) -> float:
        """Answer a time of the run by the database's clock."""
        return at + self.most

    def here(self, at: MaybeTime) -> MaybeTime:
        """Answer a time of the database by the run's clock."""
        return None if at is None else at - self.least

    def change(self, change: Change) -> Change:
        """Answer a change with its time by the database's clock."""
        if isinstance(change, Intended):
            return evolve(change, sent=evolve(change.sent, at=self.there(change.sent.at)))
        if isinstance(change, Unsent | Withdrawn | Learned):
            return change
        return evolve(change, at=self.there(change.at))

    def past(self, past: Past, run: Run) -> Past:
        """Answer what a journal tells with its times by the run's clock.

        The monotonic clocks of other hosts tell nothing, so they are given as this host's would
        have told those times.
        """
        return evolve(
            past,
            runs=tuple(self._past_run(one, run) for one in past.runs),
            unconfirmed=tuple(map(self.here, past.unconfirmed)),
        )

    def _past_run(self, past: PastRun, run: Run) -> PastRun:
        started = self.here(past.started)
        following = None if past.next is None else self.here(past.next[0])
        return evolve(
            past,
            started=started,
            steady=_steady(started, run),
            next=None if following is None else (following, _steady(following, run)),
            last=self.here(past.last),
            requests=tuple((self.here(at), self.here(answered)) for at, answered in past.requests),
        )


def _steady(at: float, run: Run) -> float:
    return run.steady + at - run.started
