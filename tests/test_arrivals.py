"""What webhooks have told: kept for a while, and no more than a bounded number."""

from __future__ import annotations

from wavespeed_async import Prediction, Status
from wavespeed_async._arrivals import ENDED, EXPECTED, KEPT, KEPT_CHARACTERS, KEPT_FOR, Arrivals
from wavespeed_async._poll_rule import Look, PollRule


def ended(name: str = "a", output: str = "https://o.test/1.png") -> Prediction:
    return Prediction(id=name, status=Status.COMPLETED, outputs=(output,))


def look() -> Look:
    rule = PollRule()
    return Look(rule, rule.arrivals("m"), 0.0, 0.0, model=rule.record("m"))


def test_an_end_is_kept_until_it_is_taken() -> None:
    """It is shown as often as asked, handed out once, and the later of two is kept."""
    arrivals = Arrivals()
    arrivals.keep(ended(output="1"), 0.0)
    arrivals.keep(ended(output="2"), 1.0)
    for _ in range(2):
        found = arrivals.find("a", 2.0)
        assert found is not None
        assert (found.prediction.outputs, found.at) == (("2",), 1.0)
    assert arrivals.take("a", 2.0) == found
    assert arrivals.take("a", 2.0) is None


def test_it_is_kept_for_a_bounded_time() -> None:
    """After ten minutes it is forgotten."""
    arrivals = Arrivals()
    arrivals.keep(ended(), 0.0)
    arrivals.keep(ended("b"), 10.0)
    assert arrivals.find("a", KEPT_FOR) is not None
    assert arrivals.find("a", KEPT_FOR + 1) is None
    assert arrivals.find("b", KEPT_FOR + 1) is not None


def test_a_bounded_number_is_kept() -> None:
    """Of too many the oldest are forgotten."""
    arrivals = Arrivals()
    for number in range(KEPT + 2):
        arrivals.keep(ended(str(number)), 0.0)
    assert [arrivals.find(str(number), 0.0) is not None for number in (0, 1, 2)] == [0, 0, 1]


def test_a_bounded_size_is_kept() -> None:
    """Base64 pictures do not add up without end, and what is too large by itself is not kept."""
    arrivals = Arrivals()
    half = "A" * (KEPT_CHARACTERS // 2)
    for name in "abc":
        arrivals.keep(ended(name, half), 0.0)
    assert [arrivals.find(name, 0.0) is not None for name in "abc"] == [False, True, True]
    arrivals.keep(ended("d", 3 * half), 0.0)
    assert [arrivals.find(name, 0.0) is not None for name in "abcd"] == [False] * 4
    arrivals.keep(ended("e", half), 0.0)
    assert arrivals.find("e", 0.0) is not None


def test_what_has_ended_is_not_kept_again() -> None:
    """A second call about an end that was expected, and is known, is kept for nobody."""
    arrivals = Arrivals()
    arrivals.expect("a")
    assert arrivals.expects("a")
    arrivals.end("a")
    assert not arrivals.expects("a")
    arrivals.keep(ended(), 0.0)
    assert arrivals.find("a", 0.0) is None
    arrivals.end("b")  # it was never expected: somebody may wait for it later
    arrivals.keep(ended("b"), 0.0)
    assert arrivals.find("b", 0.0) is not None


def test_a_bounded_number_is_expected_and_remembered() -> None:
    """Of too many the oldest are forgotten."""
    arrivals = Arrivals()
    for number in range(EXPECTED + 1):
        arrivals.expect(str(number))
    assert [arrivals.expects(str(number)) for number in (0, 1)] == [False, True]
    for number in range(1, ENDED + 2):
        arrivals.end(str(number))
        arrivals.keep(ended(str(number)), 0.0)
    for name in ("1", "2"):
        arrivals.keep(ended(name), 0.0)
    assert arrivals.find("1", 0.0) is not None
    assert arrivals.find("2", 0.0) is None


def test_an_end_that_was_overtaken_is_told_once() -> None:
    """The first call after a poll tells that the webhook was late, the second nothing."""
    arrivals, polled = Arrivals(), look()
    arrivals.expect("a")
    arrivals.overtake("a", polled)
    arrivals.end("a")
    assert arrivals.overtaken("a") is polled
    assert arrivals.overtaken("a") is None
    assert arrivals.overtaken("b") is None
