"""The limiter of many processes, each played by a limiter of its own, on a real Redis."""

from __future__ import annotations

import asyncio
import math
import os
import time
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from tests.limits.redis.server import RedisServer, free_port
from tests.virtual import make_client, make_emulator
from wavespeed_async import AsyncWaveSpeed, FluxDev, Limiter, Limits
from wavespeed_async.emulator import Emulator
from wavespeed_async.errors import ConfigurationError, LimiterTimeoutError, RateLimitError
from wavespeed_async.limits.redis import RedisLimiter
from wavespeed_async.limits.redis import _limiter as module
from wavespeed_async.limits.redis._courier import Courier

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from wavespeed_async.limits import Permit, Scarcity, Slot

pytestmark = pytest.mark.anyio
PREFIX = "{wavespeed-async:test}:"
SHORT = 0.3


def _limits(**other: Any) -> Limits:
    return Limits(**{"requests": 10, "per": 60.0, "concurrency": 5, "grace": 0.1, **other})


def _make(redis: RedisServer, *, lease: float = 5.0, **limits: Any) -> RedisLimiter:
    return RedisLimiter(
        redis.url, account="test", limits=_limits(**limits), lease=lease, unreachable_after=SHORT
    )


@asynccontextmanager
async def _opened(
    redis: RedisServer, count: int = 1, **settings: Any
) -> AsyncIterator[list[RedisLimiter]]:
    """Hand out limiters of one account whose store has waited long enough."""
    async with AsyncExitStack() as stack:
        limiters = [await stack.enter_async_context(_make(redis, **settings)) for _ in range(count)]
        await _until(lambda: all(not limiter._enrols for limiter in limiters))
        with redis.client() as client:
            client.hset(f"{PREFIX}meta", "closed_until", "0")
        yield limiters


async def _until(condition: Any, seconds: float = 20.0) -> None:
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 (what changes is in another process)
            await anyio.sleep(0.002)


def _held(redis: RedisServer, name: str) -> int:
    with redis.client() as client:
        return int(client.hlen(f"{PREFIX}{name}"))


async def _told(limiter: RedisLimiter) -> None:
    """Wait until Redis knows all that this limiter knows."""
    await _until(lambda: limiter._outbox.due == math.inf and limiter._letter is None)


def _slot(permit: Permit) -> Slot:
    assert permit.slot is not None
    return permit.slot


async def _run_one(limiter: RedisLimiter, name: str) -> None:
    permit = await limiter.acquire(slot=True)
    permit.answered()
    limiter.name(_slot(permit), name)
    await _told(limiter)


class _Bidder:
    """Be worth what it is told to be."""

    line = None

    def __init__(self, worth: float = 1.0) -> None:
        self.worth = worth
        self.seen: list[Scarcity] = []

    def bid(self, now: float, scarcity: Scarcity) -> tuple[float, float]:
        self.seen.append(scarcity)
        return self.worth, now + 0.01

    def delay(self, now: float) -> float:
        return 0.0


# --- turns ----------------------------------------------------------------------------------------


async def test_two_share_one_window(redis: RedisServer) -> None:
    """What one has in flight, the other has not; what never left is there again at once."""
    async with _opened(redis, 2, requests=2) as (first, second):
        held = [await first.acquire(), await second.acquire()]
        with pytest.raises(LimiterTimeoutError):
            await first.acquire(timeout=0.05)
        async with anyio.create_task_group() as group:
            group.start_soon(second.acquire)
            await anyio.sleep(0.05)
            assert second.waiting == 1
            held[0].withdrawn()
        assert second.waiting == 0
        assert held[0].never_left
        held[0].answered()
        await _told(first)
        assert (first.requests_used, _held(redis, "flights")) == (2, 2)


async def test_room_comes_back_after_a_window(redis: RedisServer) -> None:
    """`per` after the answer, and `grace` later after giving up, by Redis's clock."""
    async with _opened(redis, 2, requests=1, per=0.3) as (first, second):
        permit = await first.acquire()
        permit.answered()
        answered = time.monotonic()
        permit = await second.acquire()
        assert time.monotonic() >= answered + 0.3
        permit.given_up()
        given_up = time.monotonic()
        permit = await first.acquire()
        assert time.monotonic() >= given_up + 0.3 + 0.1
        permit.held()
        permit.withdrawn()
        permit.held()
        await second.acquire()


async def test_first_come_first_served_over_both(redis: RedisServer) -> None:
    """Turns come in the order of arrival, whichever limiter it is; another try goes first."""
    served = []

    async def take(limiter: RedisLimiter, name: str, **wish: Any) -> None:
        permit = await limiter.acquire(**wish)
        served.append(name)
        await anyio.sleep(0.01)
        permit.withdrawn()

    async with _opened(redis, 2, requests=1) as (first, second):
        held = await first.acquire()
        async with anyio.create_task_group() as group:
            for number, limiter in enumerate([second, first, first, second]):
                group.start_soon(take, limiter, f"{number}")
                await anyio.sleep(0.02)
            group.start_soon(partial(take, first, "again", front=True))
            group.start_soon(partial(take, second, "urgent", priority=-1))
            await anyio.sleep(0.05)
            held.withdrawn()
    assert served == ["urgent", "again", "0", "1", "2", "3"]


async def test_a_cancelled_caller_leaves_the_account_s_queue(redis: RedisServer) -> None:
    """Before its letter has left or after: nobody waits for it, and nothing is granted to it."""
    async with _opened(redis, 2, requests=1) as (first, second):
        held = await first.acquire()
        with pytest.raises(LimiterTimeoutError):
            await second.acquire(timeout=-1.0)
        for pause in (0.0, 0.05):
            with anyio.move_on_after(pause):
                await second.acquire()
        held.withdrawn()
        (await first.acquire(timeout=5.0)).withdrawn()
        await _told(second)
        await _until(lambda: _held(redis, "flights") == 0)
        assert _held(redis, "waits") == 0


async def test_a_turn_that_comes_to_nobody_goes_back(redis: RedisServer) -> None:
    """Its caller was cancelled while the grant was on its way: token and slot come back."""
    async with _opened(redis, 1) as (limiter,):
        scope = anyio.CancelScope()

        async def wait() -> None:
            with scope:
                await limiter.acquire(slot=True)

        read = limiter.read

        def cancel_first(answer: Any, sent: float) -> None:
            if answer["letters"]:
                limiter.read = read  # type: ignore[method-assign]  # once only
                waiter = limiter._submissions.first()
                assert waiter is not None
                limiter._dequeue(waiter)
                scope.cancel()
            read(answer, sent)

        limiter.read = cancel_first  # type: ignore[method-assign]  # to come between
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await _until(lambda: scope.cancel_called)
            waiter_left = limiter.waiting
        assert waiter_left == 0
        await _until(lambda: _held(redis, "flights") + _held(redis, "slots") == 0)


async def test_a_caller_cancelled_between_its_grant_and_its_waking_leaves_nothing(
    redis: RedisServer,
) -> None:
    """It had its turn, and never heard of it: token and slot come back."""
    async with _opened(redis, 1) as (limiter,):
        scope = anyio.CancelScope()

        async def wait() -> None:
            with scope:
                await limiter.acquire(slot=True)
                raise AssertionError

        take_turn = limiter._take_turn

        def cancel_then(letter: Any, now: float) -> None:
            scope.cancel()
            take_turn(letter, now)

        limiter._take_turn = cancel_then  # type: ignore[method-assign]  # to come between
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
        await _until(lambda: _held(redis, "flights") + _held(redis, "slots") == 0)
        assert (limiter.waiting, len(limiter._flights.flying)) == (0, 0)


async def test_polls_are_granted_by_their_worth(redis: RedisServer) -> None:
    """The best of them stands in the account's queue; one that is worth less waits for more."""
    async with _opened(redis, 2, requests=1) as (first, second):
        held = await first.acquire()
        served = []

        async def poll(name: str, bidder: _Bidder) -> None:
            permit = await second.acquire(poll=True, bidder=bidder)
            served.append(name)
            permit.withdrawn()

        idle = _Bidder(0.5)
        async with anyio.create_task_group() as group:
            group.start_soon(poll, "idle", idle)
            await anyio.sleep(0.03)
            assert _held(redis, "waits") == 0
            group.start_soon(poll, "good", _Bidder(2.0))
            group.start_soon(poll, "better", _Bidder(3.0))
            await anyio.sleep(0.03)
            assert _held(redis, "waits") == 1
            held.withdrawn()
            await _until(lambda: len(served) == 2)
            idle.worth = 1.0
        assert served == ["better", "good", "idle"]
        assert idle.seen[-1].free >= 1


async def test_a_submission_goes_before_polls_that_stand_in_the_queue(redis: RedisServer) -> None:
    """The turn of one is not taken for the other's, although one process waits for both."""
    async with _opened(redis, 2, requests=1) as (first, second):
        held = await first.acquire()
        served = []

        async def take(name: str, **wish: Any) -> None:
            permit = await second.acquire(**wish)
            served.append(name)
            permit.withdrawn()

        async with anyio.create_task_group() as group:
            group.start_soon(partial(take, "poll", poll=True, bidder=_Bidder(2.0)))
            await _until(lambda: _held(redis, "waits") == 1)
            group.start_soon(partial(take, "submission", slot=True))
            await _told(second)
            await anyio.sleep(0.03)
            held.withdrawn()
        assert served == ["submission", "poll"]


async def test_a_poll_that_is_wanted_no_longer_gives_its_turn_back(redis: RedisServer) -> None:
    """Its worth has fallen, or it has left: the place is left, or the turn returned."""
    async with _opened(redis, 2, requests=1) as (first, second):
        held = await first.acquire()
        bidder = _Bidder(2.0)
        with anyio.move_on_after(0.05):
            await second.acquire(poll=True, bidder=bidder)
        await _until(lambda: _held(redis, "waits") == 0)
        with anyio.move_on_after(0.2):
            async with anyio.create_task_group() as group:
                group.start_soon(partial(second.acquire, poll=True, bidder=bidder))
                await anyio.sleep(0.05)
                bidder.worth = 0.0
                held.withdrawn()
                await anyio.sleep_forever()
        await _until(lambda: _held(redis, "flights") == 0)


async def test_polls_that_do_not_count_take_no_room(redis: RedisServer) -> None:
    """With polls_count=False they pass the gate and nothing else, and leave nothing behind."""
    async with _opened(redis, 1, requests=1, polls_count=False) as (limiter,):
        await limiter.acquire()
        for _ in range(3):
            (await limiter.acquire(poll=True)).answered()
        await _told(limiter)
        assert (_held(redis, "flights"), _held(redis, "passing")) == (1, 0)


async def test_a_large_crowd_joins_by_and_by(redis: RedisServer) -> None:
    """So many callers as no letter should hold are told in several."""
    async with _opened(redis, 1, requests=1200) as (limiter,):
        async with anyio.create_task_group() as group:
            for _ in range(1100):
                group.start_soon(limiter.acquire)
        assert len(limiter._flights.flying) == 1100


# --- pauses ---------------------------------------------------------------------------------------


async def test_a_429_of_one_pauses_all(redis: RedisServer) -> None:
    """The others wait for as long, those who cannot are turned away; then one probe passes."""
    async with _opened(redis, 2) as (first, second):
        permit, other = await first.acquire(), await first.acquire()
        assert permit.answered(limited=True, retry_after=0.3) == 0.3
        assert other.answered(limited=True, retry_after=0.3) is None
        began = time.monotonic()
        await _told(first)
        async with anyio.create_task_group() as group:
            group.start_soon(_is_turned_away, second)
            permit = await second.acquire()
        assert time.monotonic() >= began + 0.25
        with pytest.raises(LimiterTimeoutError):
            await first.acquire(timeout=0.05)
        permit.answered()
        (await first.acquire(timeout=5.0)).answered()


async def _is_turned_away(limiter: RedisLimiter) -> None:
    with pytest.raises(RateLimitError):
        await limiter.acquire(patience=0.01)
    with pytest.raises(RateLimitError):
        await limiter.acquire(patience=0.01)


async def test_a_pause_of_its_own_turns_the_impatient_away(redis: RedisServer) -> None:
    """Whoever waits here and has not the time hears of it without Redis."""
    async with _opened(redis, 1, requests=1) as (limiter,):
        permit = await limiter.acquire()
        async with anyio.create_task_group() as group:
            group.start_soon(_is_turned_away, limiter)
            await anyio.sleep(0.02)
            permit.answered(limited=True, retry_after=100.0)


# --- slots ----------------------------------------------------------------------------------------


async def test_a_slot_goes_to_the_other_process_when_its_prediction_ends(
    redis: RedisServer,
) -> None:
    """Not more run than one process may, and the end of one begins the next, over there."""
    async with _opened(redis, 2, concurrency=1) as (first, second):
        await _run_one(first, "x")
        assert (first.running, first.running_ids) == (1, ("x",))
        async with anyio.create_task_group() as group:
            group.start_soon(partial(second.acquire, slot=True))
            await anyio.sleep(0.05)
            assert second.waiting == 1
            first.ended("x")
        assert first.age("x") is None


async def test_a_slot_is_given_back_once(redis: RedisServer) -> None:
    """To release it again changes nothing."""
    async with _opened(redis, 1) as (limiter,):
        permit = await limiter.acquire(slot=True)
        for _ in range(2):
            limiter.release(_slot(permit))
        permit.withdrawn()
        await _told(limiter)
        assert (_held(redis, "slots"), _held(redis, "flights")) == (0, 0)


async def test_a_left_prediction_is_asked_for_by_who_needs_its_slot(redis: RedisServer) -> None:
    """Another process gets its id as an errand; it runs on at first, then it has ended."""
    async with _opened(redis, 2, concurrency=1) as (first, second):
        await _run_one(first, "x")
        first.leave("x")
        asked: list[str] = []

        async def ask(prediction_id: str) -> float | None:
            asked.append(prediction_id)
            assert second.age(prediction_id) is not None
            return 0.01 if len(asked) == 1 else None

        await second.acquire(slot=True, ask=ask)
        assert asked == ["x", "x"]
        await _until(lambda: _held(redis, "slots") == 1)


async def test_who_cannot_ask_waits(redis: RedisServer) -> None:
    """An errand that nobody here can run goes back, and is sent again later."""
    async with _opened(redis, 2, concurrency=1, per=3.0) as (first, second):
        await _run_one(first, "x")
        first.leave("x")
        with pytest.raises(LimiterTimeoutError):
            await second.acquire(slot=True, timeout=0.2)

        async def ask(_: str) -> float | None:
            return None

        await second.acquire(slot=True, ask=ask)


async def test_an_errand_of_one_who_has_left_goes_back(redis: RedisServer) -> None:
    """It is given at the moment at which its waiter is cancelled: the next one asks at once."""
    async with _opened(redis, 1, concurrency=1) as (limiter,):
        await _run_one(limiter, "x")
        limiter.leave("x")
        await _told(limiter)
        limiter._take_errand({"slot": "s", "id": "x", "age": 1.0, "errand": 99}, limiter.now())
        await _told(limiter)

        async def ask(_: str) -> float | None:
            return None

        await limiter.acquire(slot=True, ask=ask)


async def test_who_waits_again_stops_the_questions(redis: RedisServer) -> None:
    """A prediction that is attended again is no errand, whoever attends it."""
    async with _opened(redis, 2, concurrency=1) as (first, second):
        await _run_one(first, "x")
        first.leave("x")
        assert first.attend("x")
        second.adopt("x")
        await _told(first)
        await _told(second)
        assert (second.running, second.attend("y")) == (1, False)
        with pytest.raises(LimiterTimeoutError):
            await second.acquire(slot=True, timeout=0.1, ask=None)
        first.ended("x")
        await second.acquire(slot=True)


async def test_two_submissions_of_one_prediction_hold_one_slot(redis: RedisServer) -> None:
    """A server that answers two submissions with one id frees a slot."""
    async with _opened(redis, 1, concurrency=2) as (limiter,):
        await _run_one(limiter, "x")
        await _run_one(limiter, "x")
        assert _held(redis, "slots") == 1
        limiter.leave("x")
        limiter.leave("x")
        limiter.ended("x")
        await _told(limiter)
        assert _held(redis, "slots") == 0


async def test_an_unconfirmed_submission_is_given_up_after_a_while(redis: RedisServer) -> None:
    """Its slot comes back after `abandon_after`; what is long left is forgotten here too."""
    async with _opened(redis, 1, concurrency=1, abandon_after=0.2) as (limiter,):
        permit = await limiter.acquire(slot=True)
        permit.given_up()
        limiter.abandon(_slot(permit))
        assert limiter._slots.running == 1
        await limiter.acquire(slot=True, timeout=10.0)
        assert limiter._slots.running == 1


async def test_what_an_earlier_process_left_is_asked_for(redis: RedisServer) -> None:
    """`restore` takes its ids; its requests Redis has counted."""
    async with _opened(redis, 1, concurrency=1) as (limiter,):
        other = Limiter(_limits())
        other.adopt("x")
        snapshot = other.snapshot()
        limiter.restore({**snapshot, "requests": [time.time()] * 10})
        await _told(limiter)
        assert (limiter.running, limiter.requests_used) == (1, 0)
        assert limiter.snapshot()["running"] == ["x"]


# --- processes that die, and stand still ----------------------------------------------------------


async def test_the_dead_are_swept_by_whoever_comes_next(redis: RedisServer) -> None:
    """Its token comes back after lease, grace and window; its prediction is asked for."""
    async with _opened(redis, 2, lease=0.4, requests=2, per=0.5, concurrency=1) as (dead, other):
        await _run_one(dead, "x")
        await dead.acquire()
        died = time.monotonic()
        assert dead._task is not None
        dead._task.cancel()
        asked: list[float] = []

        async def ask(_: str) -> float | None:
            asked.append(time.monotonic())
            return None

        await other.acquire(slot=True, ask=ask)
        assert asked[0] >= died + 0.2
        await other.acquire()
        assert time.monotonic() >= died + 0.4 / 2 + 0.1 + 0.5


async def test_who_stood_still_tells_all_anew(redis: RedisServer) -> None:
    """Taken for dead while its loop was blocked, it has its requests and slots counted again."""
    async with _opened(redis, 2, lease=0.5, requests=2, concurrency=2) as (slow, other):
        await _run_one(slow, "x")
        held = await slow.acquire(poll=True)
        with redis.client() as client:
            client.zadd(f"{PREFIX}holders", {slow._holder: time.time() - 0.001})
        with pytest.raises(LimiterTimeoutError):
            await other.acquire(timeout=0.05)
        assert _held(redis, "flights") == 0
        await _until(lambda: _held(redis, "flights") == 1)
        assert slow.running == 1
        held.answered()
        await _told(slow)
        assert _held(redis, "flights") == 0


async def test_a_grant_that_comes_too_late_is_not_used(redis: RedisServer) -> None:
    """The loop stood still for a lease since the letter left: all is told anew, then granted."""
    async with _opened(redis, 1) as (limiter,):
        read = limiter.read

        def late(answer: Any, sent: float) -> None:
            if answer["letters"]:
                limiter.read = read  # type: ignore[method-assign]  # once only
                sent -= 100.0
            read(answer, sent)

        limiter.read = late  # type: ignore[method-assign]  # to come between
        (await limiter.acquire(slot=True, timeout=10.0)).withdrawn()
        await _told(limiter)
        assert (_held(redis, "flights"), _held(redis, "slots")) == (0, 1)


async def test_closing_leaves_nothing_but_what_runs(redis: RedisServer) -> None:
    """Its requests count as given up, its predictions are asked for, its callers get an error."""
    async with _opened(redis, 2, concurrency=1) as (first, second):
        await _run_one(first, "x")
        await first.acquire()
        async with anyio.create_task_group() as group:
            group.start_soon(_is_closed_meanwhile, first)
            await anyio.sleep(0.05)
            await first.aclose()
        await first.aclose()
        assert (_held(redis, "flights"), first._task) == (0, None)
        asked: list[str] = []

        async def ask(prediction_id: str) -> float | None:
            asked.append(prediction_id)
            return None

        await second.acquire(slot=True, ask=ask)
        assert asked == ["x"]
        await first.acquire()  # it begins anew


async def _is_closed_meanwhile(limiter: RedisLimiter) -> None:
    with pytest.raises(ConfigurationError, match="closed"):
        await limiter.acquire(slot=True)


def test_another_event_loop_begins_anew(redis: RedisServer) -> None:
    """What a loop that has ended left behind is swept; the same limiter goes on in the next."""
    limiter = _make(redis, lease=0.3, concurrency=1)

    async def begin() -> None:
        limiter._enter()
        await _until(lambda: not limiter._enrols)
        with redis.client() as client:
            client.hset(f"{PREFIX}meta", "closed_until", "0")
        await _run_one(limiter, "x")

    async def go_on() -> None:
        async def ask(_: str) -> float | None:
            return None

        async with limiter:
            assert limiter.age("x") is None
            await limiter.acquire(slot=True, ask=ask)
        assert limiter.loops == 2

    anyio.run(begin)
    anyio.run(go_on)


async def test_a_forked_process_has_a_name_of_its_own(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limiter that was made before the fork is one process in each of the forks."""
    limiter = _make(redis)
    before = limiter._holder
    monkeypatch.setattr(os, "getpid", lambda: -1)
    async with limiter:
        assert limiter._holder != before


async def test_closing_from_another_loop_forgets_the_task(redis: RedisServer) -> None:
    """A task of a loop that has ended needs no end."""
    limiter = _make(redis)
    await anyio.to_thread.run_sync(partial(asyncio.run, _entered(limiter)))
    await limiter.aclose()
    assert limiter._task is None


async def _entered(limiter: RedisLimiter) -> None:
    limiter._enter()
    await anyio.sleep(0.01)


# --- Redis that goes and comes --------------------------------------------------------------------


async def test_without_redis_nothing_is_sent(own_redis: RedisServer) -> None:
    """Who waits is turned away with a clear error after a while; it goes on when Redis is back."""
    async with _opened(own_redis, 1, per=0.3, lease=0.2) as (limiter,):
        (await limiter.acquire()).answered()
        own_redis.kill()
        with pytest.raises(LimiterTimeoutError, match=r"redis://127\.0\.0\.1:\d+/0 could not be"):
            await limiter.acquire()
        bidder = _Bidder(2.0)
        async with anyio.create_task_group() as group:
            group.start_soon(partial(limiter.acquire, poll=True, bidder=bidder))
            await anyio.sleep(2 * SHORT)
            assert limiter.waiting == 1
            own_redis.start()
        assert limiter.waiting == 0


async def test_a_restart_between_a_grant_and_its_answer_loses_nothing(
    own_redis: RedisServer,
) -> None:
    """What this process has in flight, running and lately answered, an empty store is told."""
    async with _opened(own_redis, 1, lease=1.0) as (limiter,):
        await _run_one(limiter, "x")
        permit = await limiter.acquire()
        own_redis.kill()
        own_redis.start()
        await _until(lambda: _held(own_redis, "flights") == 1)
        assert (limiter.requests_used, limiter.running) == (2, 1)
        permit.answered()
        await _told(limiter)
        assert (_held(own_redis, "flights"), limiter.requests_used) == (0, 2)


async def test_closing_without_redis_ends_all_the_same(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last letter is tried for a while; then the lease tells."""
    monkeypatch.setattr(module, "CLOSE_WITHIN", 0.1)
    async with _opened(own_redis, 1) as (limiter,):
        own_redis.kill()
        task = limiter._task
        await limiter.aclose()
        assert task is not None
        assert task.done()


async def test_an_error_of_its_own_comes_out_of_the_waits(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug in reading answers leaves nobody waiting for ever; the next call begins anew."""
    async with _opened(redis, 1) as (limiter,):
        read = limiter.read

        def broken(answer: Any, sent: float) -> None:
            limiter.read = read  # type: ignore[method-assign]  # once only
            raise LookupError

        limiter.read = broken  # type: ignore[method-assign]  # to fail
        with pytest.raises(LookupError):
            await limiter.acquire()
        assert "the courier" in caplog.text
        await limiter.acquire(timeout=10.0)


async def test_the_courier_is_no_part_of_the_call_that_has_it_begin(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a call sets for its own context, a trace say, does not live on in the background."""
    trace: ContextVar[str] = ContextVar("trace", default="none")
    seen: list[str] = []
    run = Courier.run

    async def told(courier: Courier) -> None:
        seen.append(trace.get())
        await run(courier)

    monkeypatch.setattr(Courier, "run", told)
    trace.set("of the first call")
    async with _opened(redis, 1) as (limiter,):
        await limiter.acquire(timeout=10.0)
    assert seen == ["none"]


async def test_what_one_learns_the_others_hear(redis: RedisServer) -> None:
    """With the next letter, and for nothing: who does not listen hears nothing."""
    heard: list[Any] = []
    async with _opened(redis, 3) as (first, second, third):
        second.listen(lambda news, limits: heard.append((news, limits.requests)))
        first.pass_on(["flux", None, 0.5, 1, 2.0, None])
        for limiter in 2 * (first, second, third):
            (await limiter.acquire()).answered()
    assert heard == [(["flux", None, 0.5, 1, 2.0, None], 10)]


# --- settings -------------------------------------------------------------------------------------


async def test_an_account_has_one_set_of_limits(redis: RedisServer) -> None:
    """A process with others is told so; it gets its turn once nobody else is there."""
    async with _opened(redis, 1) as (limiter,):
        await limiter.acquire()
        async with _make(redis, requests=99) as other:
            with pytest.raises(ConfigurationError, match="one set of limits"):
                await other.acquire()
            await limiter.aclose()
            await other.acquire(timeout=10.0)


async def test_its_limits_stay(redis: RedisServer) -> None:
    """They are set once, at the beginning."""
    limiter = _make(redis)
    with pytest.raises(ConfigurationError, match="make a new one"):
        limiter.limits = Limits()
    assert limiter.limits == _limits()


@pytest.mark.parametrize("url", ["http://host", "redis://host:port", "", None, 7])
def test_a_url_that_is_none_of_redis_is_refused(url: Any) -> None:
    """At once, and without showing it: it may hold a password."""
    with pytest.raises(ConfigurationError, match="redis://host:6379/0") as caught:
        RedisLimiter(url, account="a")
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("account", ["", "a{b}", "a\nb", "a" * 201, None])
def test_an_account_needs_a_name(account: Any) -> None:
    """It is part of Redis's keys."""
    with pytest.raises(ConfigurationError, match="account must be"):
        RedisLimiter("redis://host", account=account)


@pytest.mark.parametrize("seconds", [0, -1.0, math.inf, math.nan, "1", True])
@pytest.mark.parametrize("name", ["lease", "unreachable_after"])
def test_times_are_above_zero(name: str, seconds: Any) -> None:
    """One clear error names the setting."""
    with pytest.raises(ConfigurationError, match=f"{name} must be"):
        RedisLimiter("redis://host", account="a", **{name: seconds})


async def test_the_password_is_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    """Neither in a repr nor in an error, with Redis there or not."""
    caplog.set_level(0)
    url = f"redis://user:s3cret@127.0.0.1:{free_port()}/0?password=s3cret"
    limiter = RedisLimiter(url, account="a", unreachable_after=0.1)
    async with limiter:
        with pytest.raises(LimiterTimeoutError) as caught:
            await limiter.acquire()
    shown = [repr(limiter), repr(caught.value), repr(limiter._address), caplog.text]
    assert not [text for text in shown if "s3cret" in text]
    assert repr(limiter).startswith("<RedisLimiter 'a' at redis://127.0.0.1:")


async def test_a_wrong_password_is_an_error_without_it(own_redis: RedisServer) -> None:
    """Redis refuses: it counts as unreachable, and says why."""
    with own_redis.client() as client:
        client.config_set("requirepass", "right")
    url = f"redis://:wr0ng@127.0.0.1:{own_redis.port}/0"
    limiter = RedisLimiter(url, account="a", unreachable_after=1.0)
    async with limiter:
        with pytest.raises(LimiterTimeoutError, match="AuthenticationError") as caught:
            await limiter.acquire()
    assert "wr0ng" not in repr(caught.value)


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_under_trio_it_says_so(anyio_backend: str) -> None:
    """Redis's own client works under asyncio alone."""
    limiter = RedisLimiter("redis://host", account="a")
    with pytest.raises(ConfigurationError, match="asyncio only"):
        await limiter.acquire()


# --- with clients ---------------------------------------------------------------------------------


async def test_two_clients_share_one_limiter(redis: RedisServer) -> None:
    """The last one to close ends its task."""
    async with _opened(redis, 1) as (limiter,):
        first, second = (make_client(make_emulator(), limiter=limiter) for _ in range(2))
        await first.aclose()
        assert limiter._task is not None
        await second.with_options(priority=1).aclose()
        assert limiter._task is not None
        await second.aclose()
        assert limiter._task is None


async def test_a_batch_runs_through_two_clients_of_one_account(redis: RedisServer) -> None:
    """Over real sockets and a strict server: all pictures, none refused, a few commands each."""
    limits = {"requests": 30, "per": 1.0, "concurrency": 4, "min_poll_interval": 0.02}
    made = 0

    async def run(limiter: RedisLimiter, url: str) -> None:
        nonlocal made
        async with AsyncWaveSpeed("key", base_url=url, limiter=limiter) as client:
            requests = [FluxDev(prompt=str(number)) for number in range(8)]
            async with client.batch(requests) as outcomes:
                async for outcome in outcomes:
                    made += outcome.error is None

    api: dict[str, Any] = {
        "requests": 30,
        "per": 1.0,
        "concurrency": 4,
        "latency": 0.1,
        "pictures": False,
    }
    with Emulator(**api) as emulator:
        async with _opened(redis, 2, **limits) as limiters, anyio.create_task_group() as group:
            for limiter in limiters:
                group.start_soon(run, limiter, emulator.url)
        assert made == 16
        assert emulator.refused == 0
        assert emulator.most_requests_in_window <= 30
