"""What each process owns of an account's limits, so that it goes on while Redis is away.

Rule. Each of at most so many processes keeps a window and slots of its own, as small as `Share`
says, by `_window.py`; Redis hands out what is left to all. Both are in use all the time.

Proof. In any `per` at the server each window lets through what it allows and no more, Redis's too;
their sum is the account's limit, and with slots it is the same. Neither asks what the other does,
so that nothing has to be agreed on or timed when Redis is cut off, killed, emptied or lags, or when
a process comes back. (With a `burst` each is a bucket of its own, and buckets add up as well.)

What this needs: no more processes at a time than were said; and a process cannot know what an
earlier one in its place had in hand. So its share begins as used up: its requests as if given up at
that moment (they count for `grace` and `per`), its slots as if without ids (for `abandon_after`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import Attribute, evolve, field, frozen

from wavespeed_async.errors import ConfigurationError

if TYPE_CHECKING:
    from wavespeed_async.limits._limits import Limits

__all__ = ["Share"]


def _count(_: object, attribute: Attribute[Any], value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        message = f"Share: {attribute.name} must be a whole number of at least 1, not {value!r}"
        raise ConfigurationError(message)


@frozen(kw_only=True)
class Share:
    """Say what each process owns of the account's limits, whether Redis can be reached or not.

    Attributes:
        processes: How many there are at most at a time, those among them that are being replaced.
        requests: How many requests in any `per` seconds each owns.
        concurrency: How many running predictions each owns.
    """

    processes: int = field(validator=_count)
    requests: int = field(validator=_count)
    concurrency: int = field(default=1, validator=_count)

    def own(self, limits: Limits) -> Limits:
        """Answer the limits that each process keeps by itself."""
        burst = limits.burst
        return evolve(
            limits,
            requests=self.requests,
            concurrency=self.concurrency,
            burst=None if burst is None else max(1, burst * self.requests // limits.requests),
        )

    def rest(self, limits: Limits) -> Limits:
        """Answer the limits that Redis keeps for all.

        Raises:
            ConfigurationError: The shares leave nothing.
        """
        own = self.own(limits)
        return evolve(
            limits,
            requests=self._left("requests", limits.requests, own.requests),
            concurrency=self._left("concurrency", limits.concurrency, own.concurrency),
            burst=None
            if limits.burst is None or own.burst is None
            else self._left("burst", limits.burst, own.burst),
        )

    def _left(self, name: str, most: int, each: int) -> int:
        left = most - self.processes * each
        if left < 1:
            message = (
                f"Share: {self.processes} processes that own {each} each leave nothing of the "
                f"account's {name}, {most}; Redis needs at least 1"
            )
            raise ConfigurationError(message)
        return left
