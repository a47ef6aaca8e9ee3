"""The parts of the limiter, each alone and by plain numbers for the time."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.limits.servers import emptiest_bucket, fullest_minute, fullest_window, most_at_once
from wavespeed_async.errors import ConfigurationError
from wavespeed_async.limits import Limits
from wavespeed_async.limits._agenda import Agenda
from wavespeed_async.limits._gate import Gate
from wavespeed_async.limits._queue import Queue
from wavespeed_async.limits._slots import Slots
from wavespeed_async.limits._window import Window

# --- limits ---------------------------------------------------------------------------------------

WHOLE = ["requests", "concurrency", "burst"]
TIMES = ["per", "min_poll_interval", "grace", "uplink", "abandon_after"]


@pytest.mark.parametrize("name", [*WHOLE, *TIMES])
@pytest.mark.parametrize("value", [True, math.nan, math.inf, -1, "5", 10**400])
def test_limits_refuse_what_is_no_limit(name: str, value: Any) -> None:
    """A flag, NaN, infinity, a negative number or a text is refused, and the field is named."""
    with pytest.raises(ConfigurationError, match=rf"Limits: {name} must be"):
        Limits(**{name: value})


@pytest.mark.parametrize("name", [*WHOLE, "per"])
def test_limits_refuse_zero_where_nothing_could_be_sent(name: str) -> None:
    """No requests, no slots or no time are refused; the other times may be 0."""
    zero: dict[str, Any] = {name: 0}
    with pytest.raises(ConfigurationError, match=name):
        Limits(**zero)
    Limits(min_poll_interval=0, grace=0, uplink=0, abandon_after=0)


@pytest.mark.parametrize("name", WHOLE)
def test_limits_refuse_parts_of_requests(name: str) -> None:
    """What is counted is a whole number."""
    half: dict[str, Any] = {name: 1.5}
    with pytest.raises(ConfigurationError, match=f"{name} must be a whole number"):
        Limits(**half)


def test_polls_count_is_a_flag() -> None:
    """Text that looks like a flag is not taken for one."""
    with pytest.raises(ConfigurationError, match="polls_count"):
        Limits(polls_count="no")  # type: ignore[arg-type]  # that is the point


def test_limits_are_the_documented_ones() -> None:
    """The defaults are 120 requests a minute and 20 predictions at once."""
    limits = Limits()
    assert (limits.requests, limits.per, limits.concurrency) == (120, 60.0, 20)


@given(
    st.builds(
        Limits,
        requests=st.integers(1, 500),
        concurrency=st.integers(1, 100),
        burst=st.none() | st.integers(1, 500),
    ),
    st.integers(1, 100),
)
def test_parts_stay_within_the_whole(limits: Limits, processes: int) -> None:
    """The parts of all processes are together no more than the whole, and each can send."""
    shared = [limits.requests, limits.concurrency, limits.burst or limits.requests]
    if processes > min(shared):
        with pytest.raises(ConfigurationError, match=rf"processes.*1 to {min(shared)}, not"):
            limits.part(processes)
        return
    part = limits.part(processes)
    parts = [part.requests, part.concurrency, part.burst or part.requests]
    for one, whole in zip(parts, shared, strict=True):
        assert 1 <= one <= whole / processes
        assert one * processes > whole - processes
    assert part.per == limits.per


@pytest.mark.parametrize("processes", [0, -1, True, 2.0, "2"])
def test_parts_of_no_number(processes: Any) -> None:
    """What is no number of processes is refused."""
    with pytest.raises(ConfigurationError, match="processes must be a whole number"):
        Limits().part(processes)


# --- window ---------------------------------------------------------------------------------------

LENGTH = 10.0 * 1.001 + 0.02
"""10 s and the margin for clocks that differ."""


def test_a_request_in_flight_keeps_its_room() -> None:
    """As long as no answer came, a request counts, and no time can be told when it will not."""
    window = Window(Limits(requests=1, per=10.0))
    window.take()
    assert (window.in_flight, window.free(1e6), window.next_free(1e6)) == (1, 0, math.inf)


def test_an_answered_request_counts_for_one_window_more() -> None:
    """The room comes back `per` and the margin after the answer, not sooner, and to the float."""
    window = Window(Limits(requests=1, per=10.0))
    window.count(window.take(), 3.0)
    free = window.next_free(3.0)
    assert free == 3.0 + LENGTH
    assert (window.free(math.nextafter(free, 0)), window.used(math.nextafter(free, 0))) == (0, 1)
    assert (window.free(free), window.used(free), window.times) == (1, 0, ())


@given(
    st.lists(st.floats(0, 1e9), min_size=1, max_size=20),
    st.integers(1, 5),
    st.floats(1e-3, 1e5),
    st.integers(1, 5),
)
def test_the_next_free_moment_is_exact(
    times: list[float], requests: int, per: float, burst: int
) -> None:
    """At the moment that `next_free` tells there is room, and just before it there is none."""
    window = Window(Limits(requests=requests, per=per, burst=burst))
    window.add(times)
    now = min(times)
    free = window.next_free(now)
    if free > now:
        assert window.free(math.nextafter(free, 0)) <= 0
    assert window.free(free) > 0


def test_the_earliest_report_on_a_request_holds() -> None:
    """A request that is counted already can only be counted sooner, even if it was forgotten."""
    window = Window(Limits(requests=2, per=10.0))
    token = window.take()
    window.count(token, 8.0)
    window.count(token, 9.0)
    assert window.times == (8.0,)
    window.count(token, 5.0)
    assert window.times == (5.0,)
    assert window.used(1000.0) == 0
    window.count(token, 4.0)
    assert window.used(1000.0) == 0


def test_a_withdrawn_request_leaves_nothing() -> None:
    """A request that never left gives its room back, in flight or counted, and only once."""
    window = Window(Limits(requests=2, per=10.0))
    flying, counted, other = window.take(), window.take(), window.take()
    window.count(counted, 5.0)
    window.count(other, 6.0)
    for token in (flying, counted, counted):
        window.withdraw(token)
    window.count(counted, 1.0)
    assert (window.in_flight, window.times) == (0, (6.0,))


def test_withdrawing_what_was_forgotten_takes_no_others_room() -> None:
    """A report on a request that has left the window touches no other request."""
    window = Window(Limits(requests=2, per=10.0))
    old, new = window.take(), window.take()
    window.count(old, 0.0)
    window.count(new, 50.0)
    assert window.used(50.0) == 1
    window.withdraw(old)
    assert window.used(50.0) == 1


def test_a_burst_is_a_window_of_its_own() -> None:
    """With `burst`, at most so many pass in burst * per / requests seconds."""
    window = Window(Limits(requests=10, per=10.0, burst=2))
    for _ in range(2):
        window.count(window.take(), 0.0)
    assert window.free(0.0) == 0
    assert window.next_free(0.0) == 2.0 * 1.001 + 0.02
    assert window.free(2.03) == 2
    window.take()
    window.take()
    assert window.next_free(2.03) == math.inf


def test_a_burst_as_large_as_the_window_changes_nothing() -> None:
    """`burst` beyond `requests` allows no more than `requests`."""
    window = Window(Limits(requests=2, per=10.0, burst=5))
    window.take()
    window.take()
    assert window.free(0.0) == 0


def test_the_window_follows_other_limits() -> None:
    """Lower limits hold at once for what was sent before; room is below 0 then, not wrong."""
    window = Window(Limits(requests=3, per=10.0))
    for time in (1.0, 2.0, 3.0):
        window.count(window.take(), time)
    window.set_limits(Limits(requests=1, per=10.0))
    assert window.free(4.0) == -2
    assert window.next_free(4.0) == 3.0 + LENGTH


def test_giving_up_all_leaves_nothing_in_flight() -> None:
    """What nobody can read an answer to counts by the given time."""
    window = Window(Limits(requests=3, per=10.0))
    window.take()
    window.take()
    window.give_up_all(7.0)
    assert (window.in_flight, window.times) == (0, (7.0, 7.0))


# --- gate -----------------------------------------------------------------------------------------


def test_a_refusal_closes_the_gate_once() -> None:
    """All requests that were on their way with the first refused one bring one pause together."""
    gate = Gate(60.0)
    passed = [gate.enter() for _ in range(3)]
    assert gate.refused(passed[0], 0.0, None) == 1.0
    assert gate.refused(passed[1], 0.5, None) is None
    gate.passed(passed[2])
    assert (gate.is_open, gate.admits(0.9)) == (False, False)
    assert gate.opens_in(0.9) == pytest.approx(0.1)
    assert (gate.next_change(0.9), gate.next_change(1.0)) == (1.0, math.inf)


def test_one_probe_opens_the_gate() -> None:
    """After the pause one request passes, others only after its success."""
    gate = Gate(60.0)
    gate.refused(gate.enter(), 0.0, None)
    assert gate.admits(1.0)
    probe = gate.enter()
    assert (gate.admits(1.0), gate.opens_in(1.0)) == (False, 0.0)
    gate.passed(probe)
    assert (gate.is_open, gate.admits(1.0), gate.next_change(0.0)) == (True, True, math.inf)


def test_pauses_double_up_to_the_window() -> None:
    """Each refused probe doubles the pause, up to `per`; a success begins anew."""
    gate = Gate(60.0)
    now, pauses = 0.0, []
    for _ in range(8):
        pause = gate.refused(gate.enter(), now, None)
        assert pause is not None
        pauses.append(pause)
        now += pause
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    gate.passed(gate.enter())
    assert gate.refused(gate.enter(), now, None) == 1


def test_retry_after_is_the_pause() -> None:
    """The pause is what the API asked for; 0 is no pause and not taken for one."""
    gate = Gate(60.0)
    assert gate.refused(gate.enter(), 0.0, 100.0) == 100.0
    assert (gate.admits(99.9), gate.admits(100.0)) == (False, True)
    assert gate.refused(gate.enter(), 100.0, 0.0) == 2.0


def test_no_pause_is_longer_than_an_hour() -> None:
    """However long the API asks for, after an hour (of a minute) a probe asks again."""
    gate = Gate(60.0)
    assert gate.refused(gate.enter(), 0.0, 1e300) == 3600.0
    assert gate.admits(3600.0)


def test_only_the_apis_own_words_are_an_asked_pause() -> None:
    """A pause that the gate chose is none that the API asked for."""
    gate = Gate(60.0)
    assert gate.asked_pause(0.0) == 0.0
    gate.refused(gate.enter(), 0.0, 30.0)
    assert gate.asked_pause(10.0) == 20.0
    gate.refused(gate.enter(), 30.0, None)
    assert (gate.opens_in(30.0), gate.asked_pause(30.0)) == (2.0, 0.0)


def test_a_lost_probe_lets_another_one_pass() -> None:
    """A probe without an answer opens nothing, but does not keep the gate closed either."""
    gate = Gate(60.0)
    old = gate.enter()
    gate.refused(old, 0.0, None)
    probe = gate.enter()
    gate.lost(old)
    assert not gate.admits(1.0)
    gate.lost(probe)
    assert (gate.admits(1.0), gate.is_open) == (True, False)
    gate.enter()
    gate.lost_all()
    assert gate.admits(1.0)


# --- slots ----------------------------------------------------------------------------------------


def _slots(concurrency: int = 2) -> Slots:
    return Slots(Limits(concurrency=concurrency, abandon_after=100.0))


def test_a_slot_is_held_until_it_is_released() -> None:
    """A slot counts from taking to releasing, and releasing it twice frees one place only."""
    slots = _slots()
    first = slots.take(0.0)
    slots.take(0.0)
    slots.name(first, "a")
    assert (slots.free, slots.running, slots.named, slots.find("a")) == (0, 2, ("a",), first)
    slots.release(first)
    slots.release(first)
    assert (slots.free, slots.named, slots.find("a")) == (1, (), None)


def test_an_adopted_prediction_may_go_beyond_the_limit() -> None:
    """What runs already has its slot, once, whatever the limit says."""
    slots = _slots(1)
    slots.take(0.0)
    adopted = slots.adopt("a", 0.0)
    assert slots.adopt("a", 1.0) is adopted
    assert slots.free == -1


def test_a_slot_is_asked_for_when_the_last_caller_has_left() -> None:
    """With two callers waiting for one prediction, the first to leave changes nothing."""
    slots = _slots()
    slot = slots.take(0.0)
    slots.name(slot, "a")
    slots.attend(slot)
    slots.leave(slot, 1.0)
    assert slots.next_asked() == math.inf
    slots.leave(slot, 2.0, 5.0)
    assert (slots.next_asked(), slots.take_due(6.9), slots.take_due(7.0)) == (7.0, None, slot)
    assert slots.take_due(1e9) is None
    slots.postpone(slot, 9.0)
    slots.attend(slot)
    slots.postpone(slot, 9.0)
    assert slots.next_asked() == math.inf


def test_leaving_a_released_slot_changes_nothing() -> None:
    """A caller who leaves after the end brings no slot back into the line."""
    slots = _slots()
    slot = slots.take(0.0)
    slots.release(slot)
    slots.leave(slot, 0.0)
    slots.leave(slot, 0.0)
    slots.name(slot, "a")
    assert (slot.waiters, slots.next_abandoned(), slots.running, slots.named) == (
        0,
        math.inf,
        0,
        (),
    )


def test_an_unnamed_slot_is_given_up_after_a_while() -> None:
    """A slot whose prediction has no id comes back after `abandon_after`, others do not."""
    slots = _slots()
    unnamed, named = slots.take(0.0), slots.take(0.0)
    slots.name(named, "a")
    for slot in (named, unnamed):
        slots.leave(slot, 5.0)
    slots.sweep(104.9)
    assert slots.running == 2
    slots.sweep(105.0)
    assert slots.named == ("a",)
    assert slots.running == 1


def test_an_abandoned_slot_that_gets_its_name_is_asked_for() -> None:
    """A late id makes a slot one to ask for, at once, and no longer one to give up."""
    slots = _slots()
    slot = slots.take(0.0)
    slots.leave(slot, 0.0)
    slots.name(slot, "a")
    assert (slots.next_abandoned(), slots.take_due(0.0)) == (math.inf, slot)


def test_two_slots_of_one_prediction_become_one() -> None:
    """If two submissions are answered with one id, one slot comes back and two callers wait."""
    slots = _slots()
    first, second = slots.take(0.0), slots.take(0.0)
    slots.name(first, "a")
    slots.name(first, "a")
    slots.name(second, "a")
    assert (slots.running, slots.find("a"), first.waiters) == (1, first, 2)


def test_when_a_loop_ends_nobody_waits() -> None:
    """All slots without a caller are asked for at once or given up later, each as it was before."""
    slots = _slots(4)
    waited, left, unnamed, abandoned = (slots.take(0.0) for _ in range(4))
    slots.name(waited, "waited")
    slots.name(left, "left")
    slots.leave(left, 0.0, 50.0)
    slots.leave(abandoned, 0.0)
    slots.leave_all(10.0)
    assert sorted(slots.unnamed_until(10.0)) == [100.0, 110.0]
    assert {slots.take_due(10.0), slots.take_due(10.0)} == {waited, left}
    assert unnamed.waiters == 0


def test_unnamed_slots_tell_until_when_they_would_last() -> None:
    """A slot of a submission on its way is told as one that is abandoned now."""
    slots = _slots()
    slots.take(0.0)
    slots.restore(until=30.0, now=0.0)
    assert sorted(slots.unnamed_until(7.0)) == [30.0, 107.0]


# --- queue and agenda -----------------------------------------------------------------------------


def test_the_queue_serves_in_turn_within_a_priority() -> None:
    """Lower numbers go first, then who came first, except another try, which goes to the front."""
    queue: Queue[str] = Queue()
    assert (queue.first(), queue.last(), len(queue)) == (None, None, 0)
    for name, priority in (("b", 0), ("c", 0), ("d", 1)):
        queue.join(name, priority)
    queue.join("a", 0, front=True)
    assert (queue.first(), queue.last(), queue.everyone()) == ("a", "d", ["a", "b", "c", "d"])
    queue.leave("d", 1)
    queue.leave("a", 0)
    assert (queue.first(), queue.last(), len(queue)) == ("b", "c", 2)


def test_the_agenda_gives_items_in_the_order_of_their_times() -> None:
    """The first time comes first, the last one set for an item holds, dropped items are gone."""
    agenda: Agenda[str] = Agenda()
    for item, at in (("a", 3.0), ("b", 1.0), ("c", 2.0), ("a", 0.5)):
        agenda.set(item, at)
    agenda.drop("c")
    agenda.drop("nobody")
    assert (agenda.time_of("a"), agenda.time_of("c"), len(agenda)) == (0.5, None, 2)
    assert [agenda.take(), agenda.take()] == ["a", "b"]
    assert agenda.next_time() == math.inf


def test_the_agenda_does_not_grow_with_what_has_gone() -> None:
    """A first item that stays long does not make the agenda remember all who came and went."""
    agenda: Agenda[int] = Agenda()
    agenda.set(-1, 0.0)
    for item in range(10_000):
        agenda.set(item, 1.0)
        agenda.drop(item)
    assert len(agenda._heap) < 200
    assert agenda.take() == -1


# --- the servers that judge the limiter -----------------------------------------------------------


def test_the_strict_servers_count_right() -> None:
    """Each server that judges the limiter tells what was worked out by hand for small cases."""
    assert fullest_window([0.0, 5.0, 9.9, 10.0], per=10.0) == 3
    assert fullest_minute([0.0, 5.0, 9.9, 10.0, 11.0, 12.0, 13.0], per=10.0, offset=0.0) == 4
    assert emptiest_bucket([0.0, 0.0, 1.0], capacity=2.0, rate=0.5) == -0.5
    assert most_at_once([(0.0, 1.0), (1.0, 2.0), (1.5, 3.0)]) == 2
