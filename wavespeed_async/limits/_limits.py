"""What the API allows an account, and what the limiter may assume."""

from __future__ import annotations

import sys
from typing import Any

from attrs import Attribute, evolve, field, frozen
from attrs.validators import optional

from wavespeed_async.errors import ConfigurationError

__all__ = ["Limits"]

LARGEST = sys.float_info.max


def _flag(_: object, attribute: Attribute[Any], value: Any) -> None:
    if not isinstance(value, bool):
        message = f"Limits: {attribute.name} must be True or False, not {value!r}"
        raise ConfigurationError(message)


def _number(least: float, *, whole: bool = False, above: bool = False) -> Any:
    def check(_: object, attribute: Attribute[Any], value: Any) -> None:
        kinds = int if whole else (int, float)
        good = isinstance(value, kinds) and not isinstance(value, bool)
        if not good or not least <= value <= LARGEST or (above and value == least):
            what = "a whole number" if whole else "a number"
            bound = f"above {least}" if above else f"of at least {least}"
            message = f"Limits: {attribute.name} must be {what} {bound}, not {value!r}"
            raise ConfigurationError(message)

    return check


@frozen(kw_only=True)
class Limits:
    """Say how fast and how many; times are in seconds, and all of them scale down for tests.

    Attributes:
        requests: Requests in any `per` seconds (flux-dev page: 120 a minute).
        per: Length of the sliding window (flux-dev page: a minute).
        concurrency: Predictions that run at once (flux-dev page: 20 concurrent requests).
        polls_count: Whether asking for a result counts as a request; the API does not say.
        min_poll_interval: Least time between two polls of one prediction (the vendor's own pace).
        burst: Requests that the server takes at once, where that is fewer than `requests`.
        grace: Assumed longest time on its way of a request that was given up.
        uplink: Assumed longest time until the server has a request that it holds (sync mode).
        abandon_after: How long a running prediction whose id is unknown keeps its slot.
    """

    requests: int = field(default=120, validator=_number(1, whole=True))
    per: float = field(default=60.0, validator=_number(0, above=True))
    concurrency: int = field(default=20, validator=_number(1, whole=True))
    polls_count: bool = field(default=True, validator=_flag)
    min_poll_interval: float = field(default=1.0, validator=_number(0))
    burst: int | None = field(default=None, validator=optional(_number(1, whole=True)))
    grace: float = field(default=5.0, validator=_number(0))
    uplink: float = field(default=2.0, validator=_number(0))
    abandon_after: float = field(default=600.0, validator=_number(0))

    def part(self, processes: int) -> Limits:
        """Answer the limits that each of so many processes keeps, where they share no limiter.

        What does not divide is left over; together they stay inside the whole.

        Raises:
            ConfigurationError: There are fewer requests, slots or bursts than processes.
        """
        shared = [self.requests, self.concurrency, *([] if self.burst is None else [self.burst])]
        good = isinstance(processes, int) and not isinstance(processes, bool)
        if not good or not 1 <= processes <= min(shared):
            allowed = f"a whole number of 1 to {min(shared)}"
            message = f"Limits: processes must be {allowed}, not {processes!r}"
            raise ConfigurationError(message)
        return evolve(
            self,
            requests=self.requests // processes,
            concurrency=self.concurrency // processes,
            burst=None if self.burst is None else self.burst // processes,
        )
