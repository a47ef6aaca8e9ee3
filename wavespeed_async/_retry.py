"""When to try again, and after how long. Pure: `now` and the dice are arguments."""

from __future__ import annotations

import math
from datetime import UTC
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

__all__ = ["is_passing", "pause_after", "pauses", "seconds_to_wait"]

FIRST, LONGEST = 0.5, 8.0
LIMITED = 429
PASSING = frozenset({408, 429, *range(500, 600), *range(5000, 6000)}) - {501, 505}
"""Codes that mean "try again later": HTTP's, gateways' own (52x), and the API's (5xxx)."""


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


def pause_after(error: Exception, pause: float) -> float:
    """Tell how long to wait after a failed try, where `pause` is usual.

    After a 429 it is 0, since the limiter makes the pause, for the whole account; except where the
    429 stood under HTTP 200, which the limiter does not see.
    """
    if not isinstance(error, RateLimitError):
        return pause
    return 0.0 if error.status_code == LIMITED else max(pause, error.retry_after or 0.0)


def seconds_to_wait(retry_after: str | None, now: float) -> float | None:
    """Read a `Retry-After` header, in seconds or as a date; `now` is in Unix seconds."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            date = parsedate_to_datetime(retry_after)
        except ValueError:
            return None
        # The one form of an HTTP date without a zone is in GMT like the others.
        seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
    return max(0.0, seconds) if math.isfinite(seconds) else None
