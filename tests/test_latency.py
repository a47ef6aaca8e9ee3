"""How long a model takes: the numbers of it, and how they are learned."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.models.samples import searched
from wavespeed_async._latency import Latency, LatencyRecord, Part
from wavespeed_async._poll_rule import next_poll

means = st.floats(0.05, 300.0)
sigmas = st.floats(0.05, 1.5)
shares = st.floats(0.0, 4.0)
TWO = Latency((Part(0.5, math.log(3.0), 0.3), Part(0.5, math.log(30.0), 0.3)))


def latency_of(mean: float, sigma: float) -> Latency:
    return Latency((Part(1.0, math.log(mean) - sigma**2 / 2, sigma),))


def mean_of(latency: Latency | None) -> float:
    assert latency is not None
    return sum(part.weight * math.exp(part.mu + part.sigma**2 / 2) for part in latency.parts)


def by_definition(latency: Latency, age: float, missed: float, parts: int = 4000) -> float:
    """Integrate P(T <= x | T > missed) from `missed` to `age` by Simpson's rule."""

    def ready(x: float) -> float:
        return 1 - latency.beyond(x) / latency.beyond(missed)

    step = (age - missed) / parts
    inner = sum((4 if i % 2 else 2) * ready(missed + i * step) for i in range(1, parts))
    return (ready(missed) + inner + ready(age)) * step / 3


# --- its numbers ----------------------------------------------------------------------------------


@given(st.one_of(st.builds(latency_of, means, sigmas), st.just(TWO)), shares, st.floats(0.01, 5.0))
@searched
def test_how_long_an_answer_lies_is_the_integral(
    latency: Latency, share: float, more: float
) -> None:
    """The closed form equals numerical integration of the definition, in the tail too."""
    mean = mean_of(latency)
    missed, age = share * mean, (share + more) * mean
    if latency.beyond(missed) < 1e-9:
        return
    expected = by_definition(latency, age, missed)
    assert latency.lying(age, missed) == pytest.approx(expected, rel=2e-3, abs=1e-6 * mean)


def test_beyond_all_that_was_seen_an_answer_has_lain_ready_since_the_last_poll() -> None:
    """Where nothing of the distribution is left, the whole time since counts; before it, none."""
    latency = latency_of(5.0, 0.1)
    assert latency.lying(1010.0, 1000.0) == 10.0
    assert latency.lying(3.0, 4.0) == 0.0


@given(means, sigmas, st.floats(0.05, 4.0))
@searched
def test_the_density_is_the_slope_of_what_has_ended(mean: float, sigma: float, at: float) -> None:
    """P(T > x) falls as the density says."""
    latency = latency_of(mean, sigma)
    x, step = at * mean, 1e-4 * at * mean
    slope = (latency.beyond(x - step) - latency.beyond(x + step)) / (2 * step)
    density = sum(part.weight * part.density(x) for part in latency.parts)
    assert density == pytest.approx(slope, rel=1e-2, abs=1e-8 / mean)


@given(
    st.floats(-7.0, 12.0),
    st.floats(0.01, 3.0),
    st.floats(0.0, 1e15),
    st.floats(0.0, 1e15),
    st.floats(1e-6, 1e4),
)
@example(math.log(5), 0.01, 1e15, 1.0, 1.0)
@searched
def test_a_worth_is_never_nan(
    mu: float, sigma: float, age: float, missed: float, cost: float
) -> None:
    """Whatever is asked has an answer that compares."""
    latency = Latency((Part(1.0, mu, sigma),))
    assert not math.isnan(latency.worth(age, missed, cost))
    assert 0 <= latency.lying(age, missed) <= max(0.0, age - missed)


def test_a_poll_is_worth_the_more_the_longer_ago_the_answers_usual_time_is() -> None:
    """The worth rises with the age; at once after a miss, and before any answer, there is none."""
    latency = latency_of(5.0, 0.3)
    worths = [latency.worth(age, 0.0, 1.0) for age in (4.0, 5.0, 6.0, 8.0, 12.0, 30.0, 1e4)]
    assert worths == sorted(worths)
    assert worths[0] < 0
    assert worths[-1] == math.inf
    assert latency.worth(5.0, 5.0, 1.0) == latency.worth(0.5, 0.0, 1.0) == -math.inf


def test_between_two_peaks_one_poll_is_worth_it_and_no_second() -> None:
    """After the first peak a poll tells which one it is; then none is worth it for a while."""
    assert TWO.worth(6.5, 0.0, 10.0) > 10.0
    assert TWO.worth(10.0, 6.5, 10.0) < 10.0
    sharp = Latency((Part(0.5, 0.0, 0.05), Part(0.5, 5.0, 0.05)))
    assert sharp.worth(10.0, 0.0, 1.0) == math.inf
    assert sharp.worth(12.0, 10.0, 1.0) == -math.inf


# --- what is learned ------------------------------------------------------------------------------


def simulated(*, count: int, seed: int, told: bool, mean: float = 5.0, cv: float = 0.3) -> float:
    """Poll predictions of a known latency one after the other; answer the mean that was learned."""
    dice, spread = random.Random(seed), math.log(1 + cv**2)
    record = LatencyRecord()
    for _ in range(count):
        takes = dice.lognormvariate(math.log(mean) - spread / 2, math.sqrt(spread))
        missed, at = 0.0, 1.0
        if record.latency is not None:
            at = next_poll(record.latency, 0.0, 1.0, 1.0)
        while at < takes:
            latency, missed = record.latency, at
            at = at * 1.25 if latency is None else next_poll(latency, at, 1.0, 1.0)
        record.learn(missed, at + 0.1, takes if told else None)
    return mean_of(record.latency)


@pytest.mark.parametrize("told", [True, False])
def test_latencies_are_learned(told: bool) -> None:
    """After 60 predictions the mean is known within 15 %."""
    learned = [simulated(count=60, seed=seed, told=told) for seed in range(15)]
    assert statistics.median(learned) == pytest.approx(5.0, rel=0.15)


def test_what_is_learned_does_not_drift() -> None:
    """Without the server's timings, what is learned does not rise from one poll to the next."""
    learned = [simulated(count=600, seed=seed, told=False, mean=12.6) for seed in range(3)]
    assert all(10.5 < mean < 14.0 for mean in learned)


@pytest.mark.parametrize(
    ("missed", "ready", "inference", "learned"),
    [
        (2.0, 4.0, None, 3.0),
        (2.0, 4.0, 0.0, 3.0),
        (2.0, 4.0, -1.0, 3.0),
        (2.0, 4.0, 3.5, 3.5),
        (2.0, 4.0, 1.0, 2.0),
        (2.0, 4.0, 9.0, 4.0),
        (0.0, 4.0, None, 2.0),
        (0.0, 0.0, None, 1e-3),
    ],
)
def test_a_timing_is_kept_within_what_was_seen(
    missed: float, ready: float, inference: float | None, learned: float
) -> None:
    """The server's time counts within the polled interval, else the interval's middle."""
    record = LatencyRecord()
    record.learn(missed, ready, inference)
    assert record.seconds == [pytest.approx(learned)]


def test_nothing_is_known_before_the_first_prediction_has_ended() -> None:
    """There is no latency to go by, however many were found running; constant times narrow it."""
    record = LatencyRecord()
    assert record.latency is None
    record.miss("a", 9.0)
    assert record.latency is None
    for _ in range(100):
        record.learn(0.0, 100.0, 7.0)
    record.end("a")
    assert record.latency is not None
    (part,) = record.latency.parts
    assert math.exp(part.mu) == pytest.approx(7.0)
    assert 0.01 <= part.sigma < 0.2


def test_only_the_last_predictions_count() -> None:
    """A model that became faster is known as such after 60 predictions."""
    record = LatencyRecord()
    for seconds in [*[50.0] * 100, *[2.0] * 60]:
        record.learn(0.0, 100.0, seconds)
    assert record.seconds == [pytest.approx(2.0)] * 60
    assert mean_of(record.latency) == pytest.approx(2.0, rel=0.05)


def test_what_runs_still_counts_as_longer() -> None:
    """Misses beyond what is usual make a model slower before the first slow answer is there."""
    record = LatencyRecord()
    for _ in range(20):
        record.learn(0.0, 100.0, 2.0)
    before = mean_of(record.latency)
    for look in range(10):
        record.miss(look, 10.0)
    slower = mean_of(record.latency)
    assert slower > 1.5 * before
    for look in range(3):
        record.miss(look, 15.0)
    assert mean_of(record.latency) > slower
    for look in range(10):
        record.end(look)
    assert mean_of(record.latency) < slower


def test_who_runs_longest_is_known() -> None:
    """The oldest is the first that began and has not ended; the longest miss is of those too."""
    record = LatencyRecord()
    assert (record.oldest, record.longest_miss) == (None, 0.0)
    record.begin("a")
    record.begin("b")
    assert record.oldest == "a"
    record.miss("a", 3.0)
    record.miss("b", 2.0)
    assert record.longest_miss == 3.0
    record.end("a")
    record.end("a")
    assert (record.oldest, record.longest_miss) == ("b", 2.0)


@pytest.mark.parametrize("seed", range(5))
def test_two_peaks_are_found(seed: int) -> None:
    """Of times around 3 and 30 s, both peaks are known, and what runs still is the second's."""
    dice, record = random.Random(seed), LatencyRecord()
    for _ in range(60):
        record.learn(0.0, 1e9, dice.choice((3.0, 30.0)) * math.exp(dice.gauss(0, 0.3)))
    assert record.latency is not None
    first, second = record.latency.parts
    assert math.exp(first.mu) == pytest.approx(3.0, rel=0.3)
    assert math.exp(second.mu) == pytest.approx(30.0, rel=0.3)
    for look in range(30):
        record.miss(look, 10.0)
    assert record.latency.parts[1].weight > second.weight + 0.1
    record.miss(0, 1e9)  # beyond both
    assert sum(part.weight for part in record.latency.parts) == pytest.approx(1.0)
    record.seconds = [3.0] * 60
    assert record.latency is not None
    assert len(record.latency.parts) == 1


@pytest.mark.parametrize("spread", [0.05, 0.3, 1.0])
def test_one_peak_is_not_taken_for_two(spread: float) -> None:
    """Times around one value are one peak, however few or many, and however wide."""
    for seed in range(20):
        dice, record = random.Random(seed), LatencyRecord()
        for _ in range(60):
            record.learn(0.0, 1e9, 5.0 * math.exp(dice.gauss(0, spread)))
        assert record.latency is not None
        assert len(record.latency.parts) == 1
