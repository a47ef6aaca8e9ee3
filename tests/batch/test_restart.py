"""What a limiter is told after a restart: too much rather than too little, by whatever clocks."""

from __future__ import annotations

import pytest

from wavespeed_async.batch._entries import from_answer, in_short, wanted, with_seed
from wavespeed_async.batch._restart import LONGEST_CALL, snapshot_of
from wavespeed_async.batch._store import Past, PastRun
from wavespeed_async.limits import Limits
from wavespeed_async.models import FluxDev, RawRequest

LIMITS = Limits(grace=5.0)
WALL, STEADY = 1_700_000_000.0, 5000.0
BEGAN = 100.0
"""Seconds before now at which the earlier run began; its last request went 10 s before now."""


def told(
    *requests: tuple[float, float | None],
    wall: float = WALL,
    steady: float = STEADY,
    following: tuple[float, float] | None = None,
    owner: str = "other",
) -> list[float]:
    """Answer by when requests had counted, in seconds from now; times are from now as well."""
    made = tuple((WALL + at, None if done is None else WALL + done) for at, done in requests)
    run = PastRun(WALL - BEGAN, STEADY - BEGAN, owner, following, WALL - 10.0, made)
    snapshot = snapshot_of(
        Past(runs=(run,), running=("a",), unconfirmed=(1.0, 2.0)),
        LIMITS,
        "me",
        wall=wall,
        steady=steady,
        settled=9.0,
    )
    assert snapshot["running"] == ["a"]
    assert snapshot["unnamed_until"] == [9.0, 9.0]
    assert (snapshot["taken"], snapshot["monotonic"]) == (wall, steady)
    return [round(at - wall, 3) for at in snapshot["requests"]]


def test_answered_requests_count_by_their_answer() -> None:
    """What was answered counted by then."""
    assert told((-30.0, -29.0), (-10.0, -9.5)) == [-29.0, -9.5]


def test_requests_without_an_answer_count_from_the_end_of_their_run() -> None:
    """What was not may have been on its way until its process ended: as the next began, or now."""
    assert told((-10.0, None)) == [5.0]
    assert told((-10.0, None), following=(WALL - 8.0, STEADY - 8.0)) == [-3.0]


def test_no_request_is_on_its_way_for_ever() -> None:
    """What was sent long ago is given up, whenever its process ended."""
    old = -2 * LONGEST_CALL
    assert told((old, None)) == [old + LONGEST_CALL + 5.0]


@pytest.mark.parametrize(
    ("wall", "steady", "last"),
    [
        (WALL + 3600.0, STEADY, -10.0),  # set forward: the monotonic clock knows better
        (WALL - 3600.0, STEADY, 0.0),  # set back: as if it were now
        (WALL, 10.0, -10.0),  # booted: the wall clock is believed
        (WALL, STEADY + 7.0, -10.0),
    ],
)
def test_clocks_that_were_set_make_no_room(wall: float, steady: float, last: float) -> None:
    """By two clocks, the one that tells of less time is believed."""
    assert told((-10.0, -10.0), wall=wall, steady=steady) == [last]


def test_what_the_limiter_itself_sent_is_not_told_again() -> None:
    """A limiter that lives on knows what it has sent."""
    assert told((-10.0, None), owner="me") == []


# --- what a request is known by ------------------------------------------------------------------


def test_a_seed_that_is_open_is_no_content() -> None:
    """A request with an open seed is the same whichever was drawn; one with a given seed is not."""
    request = FluxDev(prompt="a")
    assert wanted(request).digest == wanted(request, FluxDev(prompt="a", seed=5)).digest
    assert wanted(request, FluxDev(prompt="a", seed=5)).seed == 5
    assert wanted(FluxDev(prompt="a", seed=5)).digest != wanted(request).digest
    assert wanted(FluxDev(prompt="b")).digest != wanted(request).digest
    assert wanted(RawRequest("a/b", {"seed": True})).seed is None


def test_a_drawn_seed_is_found_again() -> None:
    """A request is made again with the seed that was drawn for it; a seed that is given stays."""
    assert with_seed(FluxDev(prompt="a"), 77) == FluxDev(prompt="a", seed=77)
    assert with_seed(FluxDev(prompt="a", seed=5), 77).seed == 5  # type: ignore[attr-defined]  # it has one
    assert with_seed(FluxDev(prompt="a"), None) == FluxDev(prompt="a")


def test_long_inputs_are_kept_by_their_digest() -> None:
    """A picture as base64 is not in the journal; prose and addresses are, however long."""
    picture = wanted(RawRequest("a/b", {"image": "a" * 500, "images": ["b" * 500]})).fields
    assert "<500 characters, sha256 " in picture
    assert len(picture) < 400
    assert in_short("word " * 100) == "word " * 100
    assert in_short("https://x/" + "a" * 300).startswith("https://")


def test_an_answer_that_runs_is_whole() -> None:
    """Only a completed prediction has outputs that can be in short."""
    assert from_answer('{"id": "a", "status": "failed", "outputs": ["<1"]}', None)[1]
