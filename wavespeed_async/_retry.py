"""When to try again, and after how long. Pure: `now` and the dice are arguments."""

from __future__ import annotations

import math
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from wavespeed_async.errors import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
    RateLimitError,
    SubmissionUnconfirmedError,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

__all__ = ["is_passing", "pauses", "seconds_to_wait"]

FIRST, LONGEST = 0.5, 8.0
PASSING = frozenset({429, 500, 502, 503, 504})


def pauses(dice: random.Random) -> Iterator[float]:
    """Yield the pauses between tries, in seconds, without an end.

    They are 0.5, 1, 2, 4, 8, 8 …, each times a number drawn from 0.5 to 1, so that callers who
    failed together do not come back together.
    """
    pause = FIRST
    while True:
        yield pause * dice.uniform(0.5, 1.0)
        pause = min(2 * pause, LONGEST)


def is_passing(error: Exception) -> bool:
    """Tell whether a read that failed so may well succeed later."""
    if isinstance(error, APIStatusError):
        return isinstance(error, RateLimitError) or error.code in PASSING
    passing = isinstance(error, APIConnectionError | APIResponseError)
    return passing and not isinstance(error, SubmissionUnconfirmedError)


def seconds_to_wait(retry_after: str | None, now: float) -> float | None:
    """Read a `Retry-After` header, in seconds or as a date; `now` is in Unix seconds."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(retry_after).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
