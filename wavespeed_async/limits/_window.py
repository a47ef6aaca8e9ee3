"""The sliding window: never more than so many requests in any `per` seconds, at the server.

Rule. Send only if fewer than `requests` earlier requests are unanswered or were answered within
the last `per` seconds.

Proof. The server counts a request somewhere between its sending and its answer. Suppose that more
than `requests` fell into one interval of `per` at the server, and take the one that was sent last.
Each other one that did not count against it had been answered, so counted, at least `per` before
it was sent, and so is not in its interval. Hence all of them counted against it, and it was not
sent. No bound on delays is used, only clocks that go equally fast (the margin covers the rest).

What this needs: giving up is no answer. A request that was given up may still be on its way, so it
counts from `grace` later; one that provably never left counts not at all. A request that the
server holds (sync mode) counts from `uplink` after its sending, or from its answer if that is
sooner: this alone assumes a bound, that the server has it within `uplink`.

A server whose bucket holds only `burst` < `requests` gets a second window: at most `burst` in any
burst·per/requests seconds. In any interval L these are at most burst·(L·requests/(burst·per) + 1)
= burst + L·requests/per, which is what such a bucket lets through.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wavespeed_async.limits._limits import Limits

__all__ = ["Token", "Window", "rules_of"]

MARGIN_SHARE, MARGIN = 0.001, 0.02
"""What is added to `per` for clocks that differ: 0.1 % and 20 ms."""


class Token:
    """Stand for one request in the window; `counted_by` is when the server has it at the latest."""

    __slots__ = ("counted_by",)

    def __init__(self) -> None:
        self.counted_by: float | None = None


class Window:
    """Count requests as the server may count them. Every method takes `now`, in seconds.

    A request without a time by which it is counted is in flight: it stays in the window.
    """

    def __init__(self, limits: Limits) -> None:
        self._in_flight: set[Token] = set()
        self._times: list[float] = []  # sorted: by when each request counted at the latest
        self._rules: list[tuple[int, float]]
        self.set_limits(limits)

    def set_limits(self, limits: Limits) -> None:
        """Follow other limits from here on; what was sent stays counted."""
        self._rules = rules_of(limits)

    @property
    def in_flight(self) -> int:
        """How many requests have no answer yet."""
        return len(self._in_flight)

    @property
    def times(self) -> tuple[float, ...]:
        """By when each request that is still in the window counted at the latest, sorted."""
        return tuple(self._times)

    def used(self, now: float) -> int:
        """Count the requests in the window; nothing is changed, so that any thread may look."""
        times, longest = self._times.copy(), self._rules[0][1]
        counted = len(times) - bisect_right(times, now, key=lambda time: time + longest)
        return len(self._in_flight) + counted

    def free(self, now: float) -> int:
        """Tell how many requests may be sent now."""
        self._forget(now)
        flying, counted = len(self._in_flight), len(self._times)
        return min(
            most - flying - (counted - self._left_by(now, length)) for most, length in self._rules
        )

    def next_free(self, now: float, spare: int = 0) -> float:
        """Tell when a request may be sent if nothing is answered; infinity: an answer must come.

        Args:
            now: Time in seconds.
            spare: How many requests are to be left free beside it.
        """
        self._forget(now)
        latest = now
        for most, length in self._rules:
            room = most - len(self._in_flight) - spare
            if room <= 0:
                return math.inf
            if len(self._times) >= room:
                latest = max(latest, self._times[-room] + length)
        return latest

    def take(self) -> Token:
        """Put a request into the window, before it is sent."""
        token = Token()
        self._in_flight.add(token)
        return token

    def count(self, token: Token, by: float) -> None:
        """Note that the server has counted a request `by` then; the earliest such time holds."""
        if token in self._in_flight:
            self._in_flight.remove(token)
        elif token.counted_by is None or token.counted_by <= by:
            return
        else:
            self._remove(token.counted_by)
        token.counted_by = by
        insort(self._times, by)

    def withdraw(self, token: Token) -> None:
        """Take a request out of the window that provably never left."""
        if token in self._in_flight:
            self._in_flight.remove(token)
        elif token.counted_by is not None:
            self._remove(token.counted_by)
            token.counted_by = None

    def give_up_all(self, by: float) -> None:
        """Count everything in flight `by` then: nobody is left who could read its answer."""
        for token in tuple(self._in_flight):
            self.count(token, by)

    def add(self, times: Iterable[float]) -> None:
        """Put requests back that an earlier process sent."""
        self._times = sorted([*self._times, *times])

    def _remove(self, time: float) -> None:
        """Take out one of these times, unless it has been forgotten."""
        index = bisect_left(self._times, time)
        if self._times[index : index + 1] == [time]:
            del self._times[index]

    def _forget(self, now: float) -> None:
        longest = self._rules[0][1]
        if self._times and self._times[0] + longest <= now:
            del self._times[: self._left_by(now, longest)]

    def _left_by(self, now: float, length: float) -> int:
        """Count the times of `length` ago or more; adds as `next_free` does, so that both agree."""
        return bisect_right(self._times, now, key=lambda time: time + length)


def rules_of(limits: Limits) -> list[tuple[int, float]]:
    """Answer what holds: so many requests in so many seconds, the margin included."""
    rules = [(limits.requests, _padded(limits.per))]
    if limits.burst is not None and limits.burst < limits.requests:
        short = limits.per * limits.burst / limits.requests
        rules.append((limits.burst, _padded(short)))
    return rules


def _padded(length: float) -> float:
    return length * (1 + MARGIN_SHARE) + MARGIN
