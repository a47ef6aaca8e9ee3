"""After a 429: one pause for the whole account, then one request as a probe.

A 429 says that the account is over its limits, not that one request was wrong. So it closes the
gate once: the requests that were on their way with it bring 429s too, and are not counted again.
After the pause one request passes; its answer opens the gate, or closes it for twice as long.
"""

from __future__ import annotations

import math

__all__ = ["Gate"]

FIRST_PAUSE = 1 / 60
"""The first pause as a share of `per`: 1 s of a minute. Each further one is twice as long."""
LONGEST_PAUSE = 60
"""The longest pause that is obeyed, in `per`: an hour of a minute. Then a probe asks again."""


class Gate:
    """Let requests pass, or not. Every method that needs the time takes `now`, in seconds."""

    def __init__(self, per: float) -> None:
        self.per = per
        self._opens_at: float | None = None  # None: open
        self._asked = False
        self._probing = False
        self._strikes = 0
        self._pass = 0  # what a request passed with; those before a 429 have another one

    @property
    def is_open(self) -> bool:
        """Whether requests pass freely."""
        return self._opens_at is None

    def admits(self, now: float) -> bool:
        """Tell whether a request may pass now: any if open, one at a time after a pause."""
        return self._opens_at is None or (not self._probing and now >= self._opens_at)

    def opens_in(self, now: float) -> float:
        """Tell for how many seconds nothing can pass; 0 if only a probe's answer is missing."""
        return 0.0 if self._opens_at is None else max(0.0, self._opens_at - now)

    def asked_pause(self, now: float) -> float:
        """Tell how many seconds are left of a pause that the API asked for, in so many words."""
        return self.opens_in(now) if self._asked else 0.0

    def next_change(self, now: float) -> float:
        """Tell when the pause ends; infinity if the clock alone changes nothing any more."""
        return self._opens_at if self._opens_at is not None and self._opens_at > now else math.inf

    def enter(self) -> int:
        """Let a request pass that was admitted; answer the number to report on it with."""
        self._probing = self._opens_at is not None
        return self._pass

    def refused(self, passed: int, now: float, retry_after: float | None) -> float | None:
        """Close after a 429; answer the pause, or None where an earlier 429 stands for this one.

        `retry_after` is what the API asked for, else pauses of 1, 2, 4 … 60 s (of a minute).
        """
        if passed != self._pass:
            return None
        own = min(self.per, self.per * FIRST_PAUSE * 2**self._strikes)
        pause = min(retry_after or own, self.per * LONGEST_PAUSE)
        self._asked = bool(retry_after)
        self._strikes = min(self._strikes + 1, 30)
        self._pass += 1
        self._probing = False
        self._opens_at = now + pause
        return pause

    def passed(self, passed: int) -> None:
        """Open after an answer that is no 429; one to an earlier request says nothing."""
        if passed == self._pass:
            self._opens_at = None
            self._probing = False
            self._strikes = 0

    def lost_all(self) -> None:
        """Let another probe pass: nobody is left who could read an answer."""
        self._probing = False

    def lost(self, passed: int) -> None:
        """Let another probe pass: this request brought no answer."""
        if passed == self._pass:
            self._probing = False
