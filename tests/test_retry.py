"""When something is tried again, and after how long."""

from __future__ import annotations

import itertools
import math
import random
import time
from datetime import UTC, datetime
from email.utils import format_datetime, formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.models.samples import searched
from wavespeed_async import errors
from wavespeed_async._retry import is_passing, pause_after, pauses, seconds_to_wait
from wavespeed_async.errors import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
    BadRequestError,
    InternalServerError,
    NotFoundError,
    RateLimitError,
    SubmissionUnconfirmedError,
)

NOW = 1_800_000_000.0


def first(count: int, dice: random.Random) -> list[float]:
    """Take the first pauses."""
    return list(itertools.islice(pauses(dice), count))


class LoadedDice(random.Random):
    """Draw the most each time."""

    def uniform(self, a: float, b: float) -> float:
        """Answer the end of the range."""
        return b


def test_pauses_double_up_to_eight_seconds() -> None:
    """The longest pauses are 0.5, 1, 2, 4 and then 8 seconds for ever."""
    assert first(7, LoadedDice()) == [0.5, 1, 2, 4, 8, 8, 8]


@given(st.integers())
@searched
def test_pauses_are_scattered_downward_by_half_at_most(seed: int) -> None:
    """Each pause is between half of its longest and its longest."""
    for pause, longest in zip(first(6, random.Random(seed)), [0.5, 1, 2, 4, 8, 8], strict=True):
        assert longest / 2 <= pause <= longest


def test_pauses_of_two_callers_differ() -> None:
    """Callers who failed together do not come back together."""
    assert first(3, random.Random(1)) != first(3, random.Random(2))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("-3", 0.0),
        ("100000", 100000.0),
        ("1" * 30, float("1" * 30)),
        ("9" * 5000, None),
        ("1e999", None),
        ("nan", None),
        ("-nan", None),
        ("inf", None),
        ("-inf", None),
        ("Infinity", None),
        ("", None),
        ("soon", None),
        ("5 seconds", None),
        ("Wed, 99 Foo 2026 99:99:99 GMT", None),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
        (formatdate(NOW + 90, usegmt=True), 90.0),
        (formatdate(NOW - 90, usegmt=True), 0.0),
        (formatdate(NOW + 90), 90.0),
        ("Fri, 15 Jan 2027 10:01:30 +0200", 90.0),
        ("Friday, 15-Jan-27 08:01:30 GMT", 90.0),
        ("Fri Jan 15 08:01:30 2027", 90.0),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 0.0),
    ],
)
def test_retry_after_is_read_in_all_its_forms(header: str | None, seconds: float | None) -> None:
    """Seconds and all three forms of a date are read; what is over is 0, nonsense is nothing."""
    assert seconds_to_wait(header, NOW) == pytest.approx(seconds)


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
def test_a_date_without_a_zone_is_in_gmt(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """C's form of a date, which has no zone, means GMT wherever the machine stands."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        date = datetime.fromtimestamp(NOW + 30, UTC).strftime("%a %b %d %H:%M:%S %Y")
        assert seconds_to_wait(date, NOW) == 30.0
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.one_of(st.text(max_size=60), st.floats().map(repr), st.datetimes().map(format_datetime)))
@searched
def test_no_header_breaks_the_reader(header: str) -> None:
    """Whatever a server sends, the result is nothing or a finite number of at least 0."""
    seconds = seconds_to_wait(header, NOW)
    assert seconds is None or 0 <= seconds < math.inf


PASSING_CODES = {408, 429, *range(500, 600), *range(5000, 6000)} - {501, 505}


@pytest.mark.parametrize("name", errors.__all__)
def test_which_errors_pass(name: str) -> None:
    """Of all errors only no answer, a garbled one and a 429 may pass by their kind alone."""
    kind: Any = getattr(errors, name)
    passing = {"APIConnectionError", "APIResponseError", "RateLimitError"}
    assert is_passing(kind("text")) is (name in passing)


def test_which_codes_pass() -> None:
    """A refusal passes if its code says "later": 408, 429, 5xx but for 501 and 505, 5xxx."""
    passing = {code for code in range(100, 7000) if is_passing(APIStatusError("", code=code))}
    assert passing == PASSING_CODES
    assert is_passing(InternalServerError("", status_code=503, code=503))
    assert not is_passing(NotFoundError("", status_code=404, code=404))
    assert not is_passing(BadRequestError("", status_code=200, code=400))


def test_an_unconfirmed_submission_never_passes() -> None:
    """What may exist and be billed is never tried again."""
    assert is_passing(APIConnectionError("", sent=True))
    assert not is_passing(SubmissionUnconfirmedError(""))
    assert not is_passing(ValueError())


@pytest.mark.parametrize(
    ("error", "pause"),
    [
        (APIConnectionError(""), 2.0),
        (APIResponseError(""), 2.0),
        (RateLimitError(""), 0.0),
        (RateLimitError("", retry_after=9.0), 0.0),
        (RateLimitError("", status_code=200, code=429), 2.0),
        (RateLimitError("", status_code=200, code=429, retry_after=1.0), 2.0),
        (RateLimitError("", status_code=200, code=429, retry_after=9.0), 9.0),
    ],
)
def test_the_pause_after_an_error(error: Exception, pause: float) -> None:
    """After an HTTP 429 the limiter makes the pause; after any other failure it is the usual."""
    assert pause_after(error, 2.0) == pause
