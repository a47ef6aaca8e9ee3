"""The limiter's traps, one test each, in virtual time."""

from __future__ import annotations

import asyncio
import gc
import math
import sys
import time
import tracemalloc
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from tests.limits.test_bids import Worth
from wavespeed_async.errors import LimiterTimeoutError, RateLimitError
from wavespeed_async.limits import Limiter, Limits
from wavespeed_async.limits._limiter import AT_ONCE
from wavespeed_async.limits._permit import Waiter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wavespeed_async.limits import Permit, Slot

PER = 10.0
WINDOW = PER * 1.001 + 0.02
"""`PER` and the margin for clocks that differ."""


def _limiter_of(requests: int = 100, concurrency: int = 100, **other: Any) -> Limiter:
    return Limiter(Limits(requests=requests, per=PER, concurrency=concurrency, **other))


def _now() -> float:
    return anyio.current_time()


def _at(seconds: float) -> Any:
    return pytest.approx(seconds, abs=1e-4)


async def _blocked() -> None:
    """Let all tasks go on until they wait for something; no time passes."""
    for _ in range(10):
        await checkpoint()


def _slot(permit: Permit) -> Slot:
    assert permit.slot is not None
    return permit.slot


async def _run_one(limiter: Limiter, name: str) -> None:
    """Submit a prediction that runs from here on, attended."""
    permit = await limiter.acquire(slot=True)
    permit.answered()
    limiter.name(_slot(permit), name)


async def _time_of_turn(limiter: Limiter, **wish: Any) -> float:
    permit = await limiter.acquire(**wish)
    permit.withdrawn()
    if permit.slot is not None:
        limiter.release(permit.slot)
    return _now()


# --- the window -----------------------------------------------------------------------------------


async def test_a_request_that_timed_out_keeps_its_token_for_grace_and_a_window() -> None:
    """A request that was given up may still arrive: its room comes back `grace` + `per` later."""
    limiter = _limiter_of(1, grace=2.0)
    (await limiter.acquire()).given_up()
    assert await _time_of_turn(limiter) == _at(2.0 + WINDOW)


async def test_a_withdrawn_request_gives_its_token_back_at_once() -> None:
    """A request that provably never left leaves no trace, and says so."""
    limiter = _limiter_of(1)
    permit = await limiter.acquire()
    assert not permit.never_left
    permit.withdrawn()
    assert permit.never_left
    assert limiter.requests_used == 0
    assert await _time_of_turn(limiter) == 0.0


async def test_only_the_first_report_counts() -> None:
    """What is reported on a permit after its end changes nothing."""
    limiter = _limiter_of(1)
    permit = await limiter.acquire()
    permit.answered()
    permit.withdrawn()
    permit.given_up()
    permit.held()
    assert permit.answered(limited=True) is None
    assert (limiter.requests_used, permit.never_left) == (1, False)
    assert await _time_of_turn(limiter) == _at(WINDOW)


async def test_a_held_request_counts_from_uplink() -> None:
    """The token of a request that the server holds comes back `uplink` + `per` after it left."""
    limiter = _limiter_of(2, uplink=2.0)
    held, short = await limiter.acquire(), await limiter.acquire()
    held.held()
    short.held()
    await anyio.sleep(1.0)
    short.answered()
    assert await _time_of_turn(limiter) == _at(1.0 + WINDOW)
    short = await limiter.acquire()
    assert await _time_of_turn(limiter) == _at(2.0 + WINDOW)
    held.answered()
    assert limiter.requests_used == 1


async def test_a_held_poll_that_does_not_count_needs_no_token() -> None:
    """Where polls do not count, holding one changes nothing."""
    limiter = _limiter_of(1, polls_count=False)
    (await limiter.acquire(poll=True)).held()
    assert limiter.requests_used == 0


async def test_an_answer_sets_the_alarm_of_a_waiter_who_had_none() -> None:
    """While all tokens are in flight the clock changes nothing; an answer sets the next moment."""
    limiter = _limiter_of(1)
    permit = await limiter.acquire()
    turns: list[float] = []
    async with anyio.create_task_group() as group:
        group.start_soon(_note, turns, limiter)
        await _blocked()
        assert limiter._alarm == math.inf
        await anyio.sleep(1000.0)
        assert turns == []
        permit.answered()
    assert turns == [_at(1000.0 + WINDOW)]


async def _note(turns: list[float], limiter: Limiter, **wish: Any) -> None:
    turns.append(await _time_of_turn(limiter, **wish))


async def test_polls_that_do_not_count_pass_a_full_window() -> None:
    """With polls_count=False a poll needs no token, a submission still does."""
    limiter = _limiter_of(1, polls_count=False)
    (await limiter.acquire()).answered()
    assert await _time_of_turn(limiter, poll=True) == 0.0
    assert await _time_of_turn(limiter, slot=True) == _at(WINDOW)


# --- who waits, and who is woken ------------------------------------------------------------------


@contextmanager
def _counting_wakes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    woken: list[Any] = []
    wake = Waiter.wake

    def count(waiter: Waiter) -> None:
        woken.append(waiter)
        wake(waiter)

    with monkeypatch.context() as patch:
        patch.setattr(Waiter, "wake", count)
        yield woken


async def test_room_is_handed_over_and_wakes_no_crowd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 1,000 waiters only those are woken who get their turn, and who is to keep the time."""
    limiter = _limiter_of(10)
    with _counting_wakes(monkeypatch) as woken:
        async with anyio.create_task_group() as group:
            for _ in range(10):
                (await limiter.acquire()).answered()
            for _ in range(1000):
                group.start_soon(limiter.acquire)
            await _blocked()
            woken.clear()
            await anyio.sleep(WINDOW + 1.0)
            assert limiter.waiting == 990
            assert len(woken) <= 10 + 1  # and the next timekeeper
            group.cancel_scope.cancel()


@pytest.mark.parametrize("timeout", [math.inf, 100.0])
async def test_one_timer_serves_all_waiters(
    monkeypatch: pytest.MonkeyPatch, timeout: float
) -> None:
    """1,000 waiters set one timer among them, with deadlines of their own or without."""
    limiter = _limiter_of(10)
    opened: list[float] = []
    move_on_after = anyio.move_on_after

    def count(delay: float) -> Any:
        opened.append(delay)
        return move_on_after(delay)

    async with anyio.create_task_group() as group:
        for _ in range(10):
            (await limiter.acquire()).answered()
        with monkeypatch.context() as patch:
            patch.setattr(anyio, "move_on_after", count)
            for number in range(1000):
                group.start_soon(_try, limiter, timeout + number)
            await _blocked()
            assert len(opened) == 1
            if _runs_on_asyncio():
                loop: Any = asyncio.get_running_loop()
                assert len(loop._scheduled) <= 1
        group.cancel_scope.cancel()


def _runs_on_asyncio() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _try(limiter: Limiter, timeout: float) -> None:
    await limiter.acquire(timeout=timeout)


async def test_everybody_is_served_in_turn() -> None:
    """Within a priority the first come is the first served, lower numbers go first."""
    limiter = _limiter_of(1)
    (await limiter.acquire()).answered()
    served: list[str] = []

    async def wait(name: str, **wish: Any) -> None:
        permit = await limiter.acquire(**wish)
        served.append(name)
        permit.withdrawn()

    async with anyio.create_task_group() as group:
        wishes: dict[str, dict[str, Any]] = {
            "third": {},
            "fourth": {},
            "fifth": {"priority": 1},
            "first": {"priority": -1},
            "second": {"front": True},
        }
        for name, wish in wishes.items():
            group.start_soon(partial(wait, name, **wish))
            await _blocked()
    assert served == ["first", "second", "third", "fourth", "fifth"]


async def test_100000_waiters_are_served() -> None:
    """A crowd of 100,000 (1,000 on trio) takes little time, and leaves nothing behind."""
    count = 100_000 if _runs_on_asyncio() else 1_000
    limiter = Limiter(Limits(requests=count // 4, per=PER))
    began = time.process_time()

    async def use() -> None:
        (await limiter.acquire(timeout=1e6)).answered()

    gc.freeze()
    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(use)
    gc.unfreeze()
    assert _now() == _at(3 * WINDOW)
    assert time.process_time() - began < 60
    assert (limiter.waiting, len(limiter._deadlines), len(limiter._deadlines._heap)) == (0, 0, 0)


async def test_a_waiter_takes_little_memory() -> None:
    """A waiter costs less than 4 kB beside its task, whatever it waits for."""
    limiter = _limiter_of(1)
    (await limiter.acquire()).answered()
    mine = tracemalloc.Filter(inclusive=True, filename_pattern="*/wavespeed_async/*")
    async with anyio.create_task_group() as group:
        tracemalloc.start(1)
        for _ in range(1000):
            group.start_soon(_try, limiter, 1e6)
        await _blocked()
        used = tracemalloc.take_snapshot().filter_traces([mine])
        tracemalloc.stop()
        assert 0 < sum(trace.size for trace in used.traces) < 4000 * 1000
        group.cancel_scope.cancel()


async def test_a_long_life_does_not_make_it_grow() -> None:
    """Callers who come and go while one waits long leave nothing behind."""
    limiter = _limiter_of(10**6, 2)
    await _run_one(limiter, "a")
    await _run_one(limiter, "b")
    limiter.leave("b", ask_in=1e9)
    async with anyio.create_task_group() as group:
        group.start_soon(_hold_on, limiter)
        await _blocked()
        for _ in range(5000):
            with anyio.move_on_after(0):
                await limiter.acquire(slot=True, timeout=1e6)
            limiter.attend("a")
            limiter.leave("a", ask_in=1e9)
        assert len(limiter._deadlines._heap) < 200
        assert len(limiter._slots._asking._heap) < 200
        group.cancel_scope.cancel()
    assert limiter.waiting == 0


async def _hold_on(limiter: Limiter) -> None:
    await limiter.acquire(slot=True, timeout=1e5)


@pytest.mark.parametrize("concurrency", [100, 10_000])
async def test_a_step_costs_the_same_at_any_size(concurrency: int) -> None:
    """With 10,000 running and as many waiting, a turn takes as few calls as with 100."""
    limiter = Limiter(Limits(requests=concurrency // 2, per=0.001, concurrency=concurrency))
    slots = []
    for _ in range(concurrency):
        permit = await limiter.acquire(slot=True)
        permit.answered()
        slots.append(_slot(permit))
    for number, slot in enumerate(slots):
        limiter.name(slot, str(number))
    async with anyio.create_task_group() as group:
        for _ in range(concurrency):
            group.start_soon(_hold_on, limiter)
        await _blocked()
        await anyio.sleep(1.0)
        calls = 0

        def count(*_: Any) -> None:
            nonlocal calls
            calls += 1

        sys.setprofile(count)
        for number in range(10):
            limiter.ended(str(number))
        sys.setprofile(None)
        assert limiter.waiting == concurrency - 10
        assert calls / 10 < 600
        group.cancel_scope.cancel()


# --- cancellation ---------------------------------------------------------------------------------


async def test_a_turn_that_came_with_the_cancellation_is_given_back() -> None:
    """A waiter that is cancelled just after its turn came returns token and slot to the next."""
    limiter = _limiter_of(1, 1)
    held = await limiter.acquire(slot=True)
    turns: list[float] = []
    async with anyio.create_task_group() as group:
        scope = anyio.CancelScope()
        group.start_soon(_cancellable, scope, limiter)
        await _blocked()
        group.start_soon(partial(_note, turns, limiter, slot=True))
        await _blocked()
        scope.cancel()
        limiter.release(_slot(held))
        held.withdrawn()
        assert limiter.running == 1
    assert turns == [0.0]
    assert (limiter.running, limiter.requests_used) == (0, 0)


async def _cancellable(scope: anyio.CancelScope, limiter: Limiter) -> None:
    with scope:
        await limiter.acquire(slot=True)
        pytest.fail("it was cancelled")


async def test_a_cancelled_request_without_a_slot_gives_its_token_back() -> None:
    """A poll that is cancelled just after its turn came returns its token."""
    limiter = _limiter_of(1)
    held = await limiter.acquire()
    async with anyio.create_task_group() as group:
        group.start_soon(partial(limiter.acquire, poll=True))
        await _blocked()
        group.cancel_scope.cancel()
        held.withdrawn()
        assert limiter.requests_used == 1
    assert limiter.requests_used == 0


@pytest.mark.parametrize("what", ["room", "room for a bid", "the gate"])
async def test_what_the_clock_changes_between_two_looks_is_not_missed(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes after the scheduler has looked, and before the timekeeper sleeps, is granted."""
    limiter = _limiter_of(100 if what == "the gate" else 1)
    (await limiter.acquire()).answered(limited=what == "the gate", retry_after=WINDOW)
    back, true = limiter.now() + WINDOW, limiter._clock.now
    await anyio.sleep(WINDOW - 1.0)
    looks = iter([back - 1e-6, back + 1e-6])  # a real clock goes on between any two looks
    monkeypatch.setattr(limiter._clock, "now", lambda: max(true(), next(looks, back + 2e-6)))
    bidder = Worth(1.0) if what == "room for a bid" else None
    with anyio.fail_after(1.0):
        await limiter.acquire(poll=bidder is not None, bidder=bidder)


async def test_a_cancelled_timekeeper_hands_the_watch_over() -> None:
    """Whoever watched the clock may leave at any time: the next turn comes when it is due."""
    limiter = _limiter_of(1)
    (await limiter.acquire()).answered()
    turns: list[float] = []
    scopes = [anyio.CancelScope() for _ in range(3)]
    async with anyio.create_task_group() as group:
        for scope in scopes:
            group.start_soon(_cancellable, scope, limiter)
        group.start_soon(_note, turns, limiter)
        await _blocked()
        for scope in scopes:
            await anyio.sleep(1.0)
            scope.cancel()
    assert turns == [_at(WINDOW)]


async def test_a_timekeeper_cancelled_before_it_began_hands_the_watch_over() -> None:
    """If the one who takes over the watch is leaving too, it goes to the next."""
    limiter = _limiter_of(1)
    (await limiter.acquire()).answered()
    turns: list[float] = []
    first, last = anyio.CancelScope(), anyio.CancelScope()
    async with anyio.create_task_group() as group:
        for task in (
            partial(_cancellable, first, limiter),
            partial(_note, turns, limiter, slot=True),
            partial(_cancellable, last, limiter),
        ):
            group.start_soon(task)
            await _blocked()
        first.cancel()
        last.cancel()
    assert turns == [_at(WINDOW)]


# --- deadlines and patience -----------------------------------------------------------------------


async def test_a_deadline_is_kept_to_the_moment() -> None:
    """A turn that does not come in time raises LimiterTimeoutError at just that time."""
    limiter = _limiter_of(1)
    (await limiter.acquire()).answered()
    with pytest.raises(LimiterTimeoutError):
        await limiter.acquire(timeout=3.0)
    assert _now() == _at(3.0)
    assert limiter.waiting == 0


async def test_a_deadline_is_kept_beside_a_timekeeper_without_one() -> None:
    """A deadline sooner than all that is watched for sets the alarm, whoever watches."""
    limiter = _limiter_of(1)
    permit = await limiter.acquire()
    async with anyio.create_task_group() as group:
        group.start_soon(limiter.acquire)
        await _blocked()
        for timeout in (7.0, 3.0):
            began = _now()
            with pytest.raises(LimiterTimeoutError):
                await limiter.acquire(timeout=timeout)
            assert _now() - began == _at(timeout)
        permit.withdrawn()


async def test_without_time_only_a_free_turn_is_taken() -> None:
    """A timeout of 0 takes a turn that is free now or fails; one below 0 fails in any case."""
    limiter = _limiter_of(1)
    with pytest.raises(LimiterTimeoutError):
        await limiter.acquire(timeout=-1.0)
    await limiter.acquire(timeout=0.0)
    with pytest.raises(LimiterTimeoutError):
        await limiter.acquire(timeout=0.0)
    assert _now() == _at(0.0)


async def test_a_pause_beyond_patience_ends_all_that_cannot_bear_it() -> None:
    """Who waits and who comes is told at once of a pause that is too long, others wait it out."""
    limiter = _limiter_of(2)
    first, second = await limiter.acquire(), await limiter.acquire()
    turns: list[float] = []
    errors: list[RateLimitError] = []

    async def wait(**wish: Any) -> None:
        with pytest.raises(RateLimitError) as caught:
            await limiter.acquire(**wish)
        errors.append(caught.value)

    async with anyio.create_task_group() as group:
        group.start_soon(partial(wait, patience=29.0))
        group.start_soon(partial(wait, timeout=29.0, slot=True))
        group.start_soon(partial(_note, turns, limiter, patience=30.0, timeout=1000.0))
        await _blocked()
        assert first.answered(limited=True, retry_after=30.0) == 30.0
        assert second.answered(limited=True, retry_after=90.0) is None
        await _blocked()
        assert [error.retry_after for error in errors] == [30.0, 30.0]
        await anyio.sleep(10.0)
        await wait(patience=19.0)
        assert errors[2].retry_after == _at(20.0)
    assert turns == [_at(30.0)]


async def test_a_pause_that_nobody_asked_for_turns_nobody_away() -> None:
    """The limiter's own pause may be longer than a waiter's patience: only its deadline counts."""
    limiter = _limiter_of(2)
    (await limiter.acquire()).answered(limited=True)
    with pytest.raises(LimiterTimeoutError):
        await limiter.acquire(timeout=0.1, patience=0.05)
    assert _now() == _at(0.1)


# --- after a 429 ----------------------------------------------------------------------------------


async def test_after_a_429_one_probe_opens_the_gate_for_all() -> None:
    """All wait for the pause, one goes first, and its success lets the others go."""
    limiter = _limiter_of()
    assert (await limiter.acquire()).answered(limited=True) == pytest.approx(PER / 60)
    turns: list[float] = []

    async def use() -> None:
        permit = await limiter.acquire()
        turns.append(_now())
        await anyio.sleep(1.0)
        permit.answered()

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(use)
    assert turns == [_at(PER / 60), _at(PER / 60 + 1), _at(PER / 60 + 1)]


async def test_a_refused_probe_doubles_the_pause() -> None:
    """Each probe that brings a 429 closes the gate for twice as long."""
    limiter = _limiter_of()
    times = []
    for _ in range(4):
        permit = await limiter.acquire()
        times.append(_now())
        permit.answered(limited=True)
    assert times == [0.0, _at(PER / 60), _at(3 * PER / 60), _at(7 * PER / 60)]


@pytest.mark.parametrize("report", ["given_up", "withdrawn"])
async def test_a_lost_probe_lets_another_one_pass(report: str) -> None:
    """A probe that brings no answer does not keep the gate closed."""
    limiter = _limiter_of()
    (await limiter.acquire()).answered(limited=True, retry_after=5.0)
    probe = await limiter.acquire()
    assert _now() == _at(5.0)
    turns: list[float] = []
    async with anyio.create_task_group() as group:
        group.start_soon(_note, turns, limiter)
        await anyio.sleep(1.0)
        assert turns == []
        getattr(probe, report)()
    assert turns == [_at(6.0)]


async def test_a_closed_gate_costs_no_time_while_the_window_is_full() -> None:
    """When the pause is over and the window still full, the timekeeper sleeps, it does not spin."""
    limiter = _limiter_of(1)
    (await limiter.acquire()).answered(limited=True, retry_after=1.0)
    turns: list[float] = []
    async with anyio.create_task_group() as group:
        group.start_soon(_note, turns, limiter)
        await anyio.sleep(2.0)
        assert limiter._alarm - limiter.now() == _at(WINDOW - 2.0)
    assert turns == [_at(WINDOW)]


async def test_polls_that_do_not_count_wait_at_a_closed_gate() -> None:
    """With polls_count=False a poll needs no token, but a pause of the account holds for it too."""
    limiter = _limiter_of(1, polls_count=False)
    (await limiter.acquire()).answered(limited=True, retry_after=5.0)
    assert await _time_of_turn(limiter, poll=True) == _at(5.0)


# --- submissions and polls ------------------------------------------------------------------------


async def test_submissions_go_before_polls_until_their_patience_ends() -> None:
    """A poll lets submissions pass for a twelfth of `per`, then they take turns: none starves."""
    limiter = _limiter_of(1)
    (await limiter.acquire()).answered()
    served: list[tuple[str, float]] = []

    async def use(kind: str, **wish: Any) -> None:
        permit = await limiter.acquire(**wish)
        served.append((kind, _now()))
        await anyio.sleep(0.1)
        permit.withdrawn()

    async with anyio.create_task_group() as group:
        await anyio.sleep(WINDOW - PER / 12 / 2)
        for _ in range(10):
            group.start_soon(partial(use, "poll", poll=True))
            group.start_soon(partial(use, "submission", slot=True))
    kinds = [kind[0] for kind, _ in served]
    patient = [kind[0] for kind, at in served if at < WINDOW + PER / 12 / 2]
    assert set(patient) == {"s"}
    assert "".join(kinds[len(patient) :]).startswith("psps")
    assert sorted(kinds) == ["p"] * 10 + ["s"] * 10


async def test_priority_goes_before_the_kind() -> None:
    """An urgent poll goes before a submission that is not, and the other way round."""
    limiter = _limiter_of(1)
    held = await limiter.acquire()
    served: list[str] = []

    async def use(name: str, **wish: Any) -> None:
        (await limiter.acquire(**wish)).withdrawn()
        served.append(name)

    async with anyio.create_task_group() as group:
        group.start_soon(partial(use, "4", poll=True, priority=2))
        group.start_soon(partial(use, "3", slot=True, priority=1))
        group.start_soon(partial(use, "1", poll=True, priority=0))
        await _blocked()
        await anyio.sleep(PER)
        held.withdrawn()
    assert served == ["1", "3", "4"]


async def test_a_submission_without_a_slot_holds_up_no_poll() -> None:
    """While all slots are taken, polls pass the submissions that wait for one."""
    limiter = _limiter_of(10, 1)
    await _run_one(limiter, "a")
    async with anyio.create_task_group() as group:
        group.start_soon(partial(limiter.acquire, slot=True))
        await _blocked()
        assert await _time_of_turn(limiter, poll=True) == 0.0
        limiter.ended("a")


# --- slots ----------------------------------------------------------------------------------------


async def test_a_slot_is_handed_over_when_its_prediction_ends() -> None:
    """Not more than `concurrency` run, and the end of one begins the next."""
    limiter = _limiter_of(10, 1)
    await _run_one(limiter, "a")
    turns: list[float] = []
    async with anyio.create_task_group() as group:
        group.start_soon(partial(_note, turns, limiter, slot=True))
        await anyio.sleep(4.0)
        assert (turns, limiter.running_ids, limiter.age("a")) == ([], ("a",), _at(4.0))
        limiter.ended("a")
        limiter.ended("a")
        limiter.leave("a")
    assert turns == [_at(4.0)]
    assert (limiter.age("a"), limiter.running) == (None, 0)


async def test_what_runs_elsewhere_is_adopted_beyond_the_limit() -> None:
    """A prediction that is found running takes a slot even where none is free."""
    limiter = _limiter_of(10, 1)
    await _run_one(limiter, "a")
    limiter.adopt("b")
    assert (limiter.running, limiter.attend("b"), limiter.attend("c")) == (2, True, False)
    limiter.ended("a")
    with pytest.raises(LimiterTimeoutError):
        await limiter.acquire(slot=True, timeout=1.0)
    limiter.ended("b")
    await limiter.acquire(slot=True, timeout=1.0)


async def test_two_submissions_of_one_prediction_hold_one_slot() -> None:
    """A server that answers two submissions with one id frees a slot for the next."""
    limiter = _limiter_of(10, 2)
    await _run_one(limiter, "a")
    turns: list[float] = []
    async with anyio.create_task_group() as group:
        permit = await limiter.acquire(slot=True)
        permit.answered()
        group.start_soon(partial(_note, turns, limiter, slot=True))
        await _blocked()
        limiter.name(_slot(permit), "a")
    assert turns == [0.0]
    limiter.ended("a")
    assert limiter.running == 0


async def test_other_limits_hold_while_it_runs() -> None:
    """Higher limits serve at once those who wait, lower ones hold up the next."""
    limiter = _limiter_of(1, 1)
    await _run_one(limiter, "a")
    turns: list[float] = []
    async with anyio.create_task_group() as group:
        group.start_soon(partial(_note, turns, limiter, slot=True))
        await anyio.sleep(2.0)
        limiter.limits = Limits(requests=3, per=PER, concurrency=2)
    assert turns == [_at(2.0)]
    limiter.limits = Limits(requests=1, per=PER, concurrency=1)
    assert limiter.limits.requests == 1
    assert await _time_of_turn(limiter) == _at(WINDOW)


async def test_it_tells_what_it_does() -> None:
    """Its repr says how many run and wait, and under which limits."""
    limiter = _limiter_of(1, 1)
    await _run_one(limiter, "a")
    assert repr(limiter).startswith("<Limiter 1 running, 0 waiting, Limits(requests=1,")


async def test_thousands_of_turns_are_granted_some_at_a_time() -> None:
    """When the window opens for all at once, no step of the event loop grants more than some."""
    limiter = Limiter(Limits(requests=1000))
    for permit in [await limiter.acquire() for _ in range(1000)]:
        permit.answered()
    steps: list[int] = []

    async def tick() -> None:
        while sum(steps) < 1000:
            steps.append(0)
            await checkpoint()

    async def wait() -> None:
        (await limiter.acquire()).answered()
        if not steps:
            steps.append(0)
            tasks.start_soon(tick)
        steps[-1] += 1

    began = _now()
    async with anyio.create_task_group() as tasks:
        for _ in range(1000):
            tasks.start_soon(wait)
    assert max(steps) <= 2 * AT_ONCE
    assert _now() - began == pytest.approx(60.08, abs=0.001)


async def test_who_is_cancelled_hands_on_what_is_still_to_be_granted() -> None:
    """Turns that come one step later come, too, when all who got theirs before are cancelled."""
    limiter = Limiter(Limits(requests=400))
    for permit in [await limiter.acquire() for _ in range(400)]:
        permit.answered()
    scopes: list[anyio.CancelScope] = []
    granted = 0

    async def wait() -> None:
        nonlocal granted
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            await limiter.acquire()
            granted += 1
            for other in scopes:
                other.cancel()

    async def wait_on() -> None:
        await limiter.acquire()

    async with anyio.create_task_group() as tasks:
        for _ in range(150):
            tasks.start_soon(wait)
        await anyio.sleep(1.0)
        for _ in range(100):
            tasks.start_soon(wait_on)
    assert 0 < granted <= 2 * AT_ONCE
    assert limiter.waiting == 0
