"""When a poll is worth its request: the rule, its cost, and what it keeps."""

from __future__ import annotations

import json
import math

import pytest
from attrs import evolve
from hypothesis import example, given
from hypothesis import strategies as st

from tests.models.samples import searched
from tests.test_latency import latency_of, mean_of, means, shares, sigmas
from wavespeed_async._latency import Latency, Part
from wavespeed_async._poll_rule import Look, PollRule, next_poll
from wavespeed_async.errors import ConfigurationError
from wavespeed_async.limits import Limiter, Limits, Scarcity
from wavespeed_async.models import FluxDev, RawRequest

LIMITS = Limits()
SCARCE = Scarcity(limits=LIMITS, free=0, running=20, waiting=10, behind=0)
ALONE = Scarcity(limits=LIMITS, free=119, running=1, waiting=0, behind=0)


def rule_of(seconds: float, count: int = 60) -> PollRule:
    rule = PollRule()
    rule.record("m").seconds = [seconds] * count
    return rule


def look_of(rule: PollRule, **settings: float) -> Look:
    look = Look(rule, rule.record("m"), born=0.0, not_before=settings.pop("not_before", 1.0))
    rule.record("m").begin(look)
    for name, value in settings.items():
        setattr(look, name, value)
    return look


def first_worth(look: Look, scarcity: Scarcity, since: float = 0.0) -> float:
    """Ask again whenever the rule says so; answer when a poll is worth it first."""
    now = since
    for _ in range(100_000):
        worth, again = look.bid(now, scarcity)
        if worth >= 1:
            return now
        assert again > now, "to ask again at the same time would never end"
        now = again
    message = "it is never worth it"
    raise AssertionError(message)


# --- a poll at a fixed cost -----------------------------------------------------------------------


@given(means, sigmas, shares, st.floats(0.01, 60.0), st.floats(0.0, 5.0))
@example(5.0, 0.3, 0.0, 1.0, 0.0)
@searched
def test_the_next_poll_is_worth_its_cost(
    mean: float, sigma: float, share: float, cost: float, interval: float
) -> None:
    """The next poll comes when it is worth what it costs, and not before its interval."""
    latency, missed = latency_of(mean, sigma), share * mean
    at = next_poll(latency, missed, cost, interval)
    assert at - missed >= interval * (1 - 1e-9)
    assert latency.worth(at, missed, cost) >= cost
    if at - missed > max(interval * 1.01, 1e-9 * missed):
        sooner = missed + (at - missed) * 0.99
        assert latency.worth(sooner, missed, cost) < cost or latency.beyond(missed) < 1e-12


@given(
    st.floats(-7.0, 12.0),
    st.floats(0.01, 3.0),
    st.floats(0.0, 1e9),
    st.floats(1e-6, 1e4),
    st.floats(0.0, 1e3),
)
@example(math.log(5), 0.01, 5.4, 1.0, 0.0)
@example(math.log(5), 0.3, 0.0, 1e-6, 0.0)
@searched
def test_there_is_a_next_poll_for_whatever_is_asked(
    mu: float, sigma: float, missed: float, cost: float, interval: float
) -> None:
    """The search ends with a finite time not before the interval, however odd the numbers."""
    at = next_poll(Latency((Part(1.0, mu, sigma),)), missed, cost, interval)
    assert math.isfinite(at)
    assert at >= missed + interval


# --- what a poll costs ----------------------------------------------------------------------------


def test_the_cost_falls_with_what_lies_free() -> None:
    """While something waits, a poll is the cheaper the more requests are free."""
    rule = PollRule()
    costs = [rule.cost(evolve(SCARCE, free=free)) for free in (0, 5, 50, 119)]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] == pytest.approx(10.0)  # a slot's share of the requests, at first
    assert costs[-1] < 5.0


def test_a_lone_poll_is_cheap_and_one_of_many_is_not() -> None:
    """With nothing left to submit, what is free beyond one poll for each that runs is cheap."""
    rule = PollRule()
    assert rule.cost(ALONE) < 0.2
    assert rule.cost(evolve(ALONE, running=20, free=25)) > 20.0
    assert rule.cost(evolve(ALONE, running=20, free=119)) < 4.0


def test_a_poll_for_somebody_urgent_costs_what_it_delays_others_by() -> None:
    """Beside a batch that uses up the window, an urgent poll costs two requests' time at most."""
    rule = PollRule()
    beside = evolve(ALONE, running=20, free=1, behind=20)
    assert rule.cost(beside) == pytest.approx(1.0)
    assert rule.cost(evolve(beside, running=1, free=119)) < 0.2


def test_polls_that_do_not_count_are_cheap() -> None:
    """Where polls are no requests, they cost half a second, however scarce requests are."""
    free = evolve(SCARCE, limits=Limits(polls_count=False))
    assert PollRule().cost(free) == pytest.approx(0.5)


@pytest.mark.parametrize(("polls", "ready", "rises"), [(4, 20.0, True), (1, 60.0, False)])
def test_the_cost_goes_where_requests_and_slots_are_used_up_alike(
    polls: int, ready: float, rises: bool
) -> None:
    """More polls than the slot time pays for make polls dearer, fewer make them cheaper."""
    rule = rule_of(5.0)
    before = rule.cost(SCARCE)
    for _ in range(3):
        look = look_of(rule, polls=polls)
        rule.learn(look, ready, 5.0, LIMITS)
    assert (rule.cost(SCARCE) > before) is rises
    for _ in range(1000):
        rule.learn(look, ready, 5.0, LIMITS)
    assert rule.cost(SCARCE) == pytest.approx(1200.0 if rises else 0.5)


def test_before_anything_waited_nothing_is_learned_of_the_cost() -> None:
    """Lone predictions teach their latency alone."""
    rule = PollRule()
    rule.learn(look_of(rule, polls=9), 5.0, None, LIMITS)
    assert rule.cost(SCARCE) == PollRule().cost(SCARCE)
    assert len(rule.record("m").seconds) == 1


# --- when to poll ---------------------------------------------------------------------------------


def test_a_lone_prediction_is_polled_when_an_answer_is_likely() -> None:
    """Of a model that takes 5 s, the first poll is near 5 s, and each next one an interval on."""
    rule = rule_of(5.0)
    look = look_of(rule)
    at = first_worth(look, ALONE)
    assert 4.0 < at < 5.5
    look.polls, look.not_before = 1, at + 1.0
    look.miss(at)
    assert first_worth(look, ALONE, at) == pytest.approx(at + 1.0, abs=0.2)


def test_a_scarce_request_is_spent_on_what_is_surely_ready() -> None:
    """At the limit a prediction is polled much later, and the one that is older is worth more."""
    rule = rule_of(5.0, 10)
    assert first_worth(look_of(rule), SCARCE) > first_worth(look_of(rule), ALONE) + 2.0
    older, younger = look_of(rule), look_of(rule)
    younger.born = 2.0
    assert older.bid(20.0, SCARCE)[0] > younger.bid(20.0, SCARCE)[0] >= 1
    assert older.line is younger.line is rule.record("m")
    older.polls = 1
    assert older.line is None


def test_a_prediction_of_unknown_age_is_polled_as_soon_as_it_may_be() -> None:
    """An id from elsewhere may be ready already."""
    rule = rule_of(5.0)
    look = look_of(rule, at_once=True, not_before=3.0)
    assert look.line is None
    assert look.bid(2.0, SCARCE) == (0.0, 3.0)
    assert look.bid(3.0, SCARCE)[0] == math.inf


def test_a_look_that_follows_another_waits_for_it() -> None:
    """Of several waits for one prediction the first polls for all."""
    look = look_of(rule_of(5.0))
    look.follows = True
    assert look.bid(100.0, SCARCE) == (0.0, 101.0)
    look.follows = False
    assert look.bid(100.0, SCARCE)[0] > 1.0


def test_of_an_unknown_model_one_at_a_time_is_polled() -> None:
    """Each next one at a greater age; those that were polled again as their age has doubled."""
    rule = PollRule()
    first, second, third = look_of(rule), look_of(rule), look_of(rule)
    assert first.bid(0.5, SCARCE) == (0.0, 1.0)
    assert second.bid(1.0, SCARCE) == (0.0, 2.0)
    assert first.bid(1.0, SCARCE)[0] == 1.0
    first.poll()
    first.miss(1.0)
    assert second.bid(1.2, SCARCE) == (0.0, 1.25)
    assert second.bid(1.25, SCARCE)[0] == 1.0
    assert first.bid(1.9, SCARCE) == (0.0, 2.0)
    for look in (second, third):
        look.poll()
        look.miss(1.5)
    assert first.bid(1.3, SCARCE)[0] == 1.0  # nobody is left who was not polled
    assert second.bid(2.9, SCARCE) == (0.0, 3.0)


def test_while_a_model_is_unknown_what_was_not_seen_for_long_is_overdue() -> None:
    """So submissions do not use up the window for minutes before the first poll."""
    look = look_of(PollRule())
    assert look.delay(50.0) == 50.0
    look.poll()
    look.miss(30.0)
    assert look.delay(50.0) == 20.0


def test_another_event_loop_has_nobody_who_waits() -> None:
    """Who waited in a loop that has ended is forgotten, once; what was learned stays."""
    rule = rule_of(5.0)
    request = FluxDev(prompt="a")
    rule.record("m", request).begin("gone")
    assert rule.enter(1)
    assert not rule.enter(1)
    assert rule.record("m").scout is None
    assert len(rule.record("m").seconds) == 60


def test_a_look_goes_by_the_model_that_becomes_known() -> None:
    """An id from elsewhere belongs to its model as soon as an answer tells it."""
    rule = rule_of(5.0)
    look = Look(rule, rule.record(""), born=0.0, not_before=0.0, new=False)
    rule.record("").begin(look)
    look.belong(rule.record("m"))
    assert rule.record("").scout is None
    assert rule.record("m").scout is look
    assert look.line is None


def test_the_delay_of_an_answer_is_what_it_is_expected_to_have_lain() -> None:
    """By it the limiter tells when a poll goes before submissions."""
    rule = rule_of(5.0)
    look = look_of(rule)
    assert look.delay(2.0) == pytest.approx(0.0, abs=1e-3)
    assert look.delay(15.0) == pytest.approx(10.0, abs=0.3)


@pytest.mark.parametrize("per", [60.0, 0.6])
@pytest.mark.parametrize("scarcity", [SCARCE, ALONE], ids=["scarce", "alone"])
@pytest.mark.parametrize("share", [0.01, 0.1, 1.0, 10.0])
def test_the_rule_asks_seldom_and_in_time(per: float, scarcity: Scarcity, share: float) -> None:
    """However times are scaled, asking again as the rule says ends near the exact moment."""
    limits = Limits(per=per, min_poll_interval=0.0)
    scaled = evolve(scarcity, limits=limits)
    seconds = share * per
    rule = rule_of(seconds)
    look = look_of(rule, not_before=0.0)
    exact = next_poll(rule.record("m").latency, 0.0, rule.cost(scaled), 0.0)  # type: ignore[arg-type]  # it is known
    asked = 0
    original = rule.bid

    def counting(look: Look, now: float, scarcity: Scarcity) -> tuple[float, float]:
        nonlocal asked
        asked += 1
        return original(look, now, scarcity)

    rule.bid = counting  # type: ignore[method-assign]  # counts
    at = first_worth(look, scaled)
    assert at == pytest.approx(exact, rel=0.01, abs=per / 400)
    assert asked < 60 + 2 * exact / (per / 600) * (scarcity is SCARCE)


# --- what is kept ---------------------------------------------------------------------------------


def test_what_another_process_has_seen_is_learned_as_if_seen_here() -> None:
    """News of a finished prediction move latencies and cost as the prediction itself does."""
    request = FluxDev(prompt="x", num_images=2)
    told, hears = PollRule(), PollRule()
    for known in (request, None):
        record = told.record("flux", known)
        look = Look(told, record, born=0.0, not_before=0.0, polls=3)
        for rule in (told, hears):
            rule.cost(SCARCE)
        news = json.loads(json.dumps(told.news(look, "flux", known, 9.0, 5.0)))
        told.learn(look, 9.0, 5.0, LIMITS)
        hears.take_news(news, LIMITS)
    assert hears.snapshot() == told.snapshot()
    assert hears.cost(SCARCE) == told.cost(SCARCE) != PollRule().cost(SCARCE)


def test_what_was_learned_can_be_kept() -> None:
    """A snapshot goes through JSON, and the rule that is restored decides the same."""
    rule = rule_of(7.0, 5)
    rule.cost(SCARCE)
    rule.learn(look_of(rule, polls=3), 9.0, 8.0, LIMITS)
    kept = json.loads(json.dumps(rule.snapshot()))
    other = PollRule()
    other.restore(kept)
    assert other.cost(SCARCE) == pytest.approx(rule.cost(SCARCE))
    assert other.record("m").seconds == pytest.approx(rule.record("m").seconds)
    assert first_worth(look_of(other), SCARCE) == pytest.approx(
        first_worth(look_of(rule), SCARCE), rel=1e-6
    )


def test_a_snapshot_of_another_version_is_refused() -> None:
    """It is named, not misread."""
    with pytest.raises(ConfigurationError, match="of version 7, not 1"):
        PollRule().restore({"version": 7})


def test_all_users_of_a_limiter_share_a_rule() -> None:
    """What one client learns, another one of the same account knows."""
    limiter = Limiter()
    assert PollRule.of(limiter) is PollRule.of(limiter)
    assert PollRule.of(limiter) is not PollRule.of(Limiter())


def test_a_prediction_that_nobody_waits_for_is_asked_for_when_it_is_worth_it() -> None:
    """By the latency where it is known, at growing ages where it is not."""
    rule = rule_of(30.0)
    known, other = rule.record("m"), rule.record("other")
    assert rule.ask_in(known, 5.0, LIMITS) > 15.0
    assert rule.ask_in(other, 0.0, LIMITS) == 1.0
    assert rule.ask_in(other, 40.0, LIMITS) == pytest.approx(10.0)
    rule.cost(SCARCE)
    assert rule.ask_in(known, 5.0, LIMITS) > 25.0


# --- kinds of requests ----------------------------------------------------------------------------


def test_requests_that_take_their_own_time_are_known_by_it() -> None:
    """Steps, size and count tell requests apart, typed or raw, once four of a kind are known."""
    rule = PollRule()
    quick = FluxDev(prompt="a", num_inference_steps=4)
    slow = RawRequest("wavespeed-ai/flux-dev", {"num_inference_steps": 50, "size": [1]})
    for _ in range(4):
        for request, seconds in ((quick, 3.0), (slow, 30.0)):
            record = rule.record("m", request)
            record.begin(request)
            record.learn(0.0, 100.0, seconds)
    alike = evolve(quick, prompt="b")
    assert rule.record("m", alike) is rule.record("m", quick)
    assert mean_of(rule.record("m", quick).latency) == pytest.approx(3.0, rel=0.2)
    assert mean_of(rule.record("m", slow).latency) == pytest.approx(30.0, rel=0.2)
    assert len(rule.record("m").seconds) == 8
    other = rule.record("m", evolve(quick, num_images=2))
    assert other.latency == rule.record("m").latency
    assert other.scout == rule.record("m").scout == quick
    other.ask(quick)
    assert other.asked == rule.record("m").asked == 1
    other.end(quick)
    assert other.scout is not None
    assert other.scout != quick
    kept = json.loads(json.dumps(rule.snapshot()))
    again = PollRule()
    again.restore(kept)
    assert again.record("m", quick).latency == rule.record("m", quick).latency


def test_kinds_without_end_are_one() -> None:
    """Where each request is of its own kind, the model's record is the one that counts."""
    rule = PollRule()
    records = {
        id(rule.record("m", RawRequest("m/m", {"num_inference_steps": steps})))
        for steps in range(100)
    }
    assert len(records) == 33
