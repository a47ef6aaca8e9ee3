"""Slots of predictions that nobody waits for: who needs one asks for them."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from wavespeed_async.errors import LimiterTimeoutError
from wavespeed_async.limits import Limiter, Limits

if TYPE_CHECKING:
    from wavespeed_async.limits import Permit, Slot

PER = 60.0


class _Asked:
    """Answer what is asked, and note when; each answer takes a second and a request."""

    def __init__(self, limiter: Limiter, *answers: float | None) -> None:
        self.limiter = limiter
        self.answers = list(answers)
        self.begun: list[tuple[str, float]] = []
        self.done: list[str] = []

    async def __call__(self, prediction_id: str) -> float | None:
        self.begun.append((prediction_id, anyio.current_time()))
        permit = await self.limiter.acquire(poll=True)
        try:
            await anyio.sleep(1.0)
            permit.answered()
        finally:
            permit.given_up()
        self.done.append(prediction_id)
        return self.answers.pop(0)


def _at(seconds: float) -> Any:
    return pytest.approx(seconds, abs=1e-4)


def _slot(permit: Permit) -> Slot:
    assert permit.slot is not None
    return permit.slot


async def _blocked() -> None:
    for _ in range(10):
        await checkpoint()


async def _running(*names: str, requests: int = 100, **limits: Any) -> Limiter:
    """Make a limiter whose slots are all taken."""
    limiter = Limiter(Limits(requests=requests, per=PER, concurrency=len(names), **limits))
    for name in names:
        permit = await limiter.acquire(slot=True)
        permit.withdrawn()
        limiter.name(_slot(permit), name)
    return limiter


async def test_who_needs_a_slot_asks_for_a_prediction_that_was_left() -> None:
    """The submission at the front asks, and gets the slot as soon as the answer is: ended."""
    limiter = await _running("a", "b")
    limiter.leave("b", ask_in=5.0)
    asked = _Asked(limiter, None)
    permit = await limiter.acquire(slot=True, ask=asked)
    assert anyio.current_time() == _at(6.0)
    assert (asked.begun, limiter.running_ids) == ([("b", _at(5.0))], ("a",))
    assert permit.slot is not None


async def test_one_that_still_runs_is_asked_for_again_when_it_is_worth_it() -> None:
    """Not ended means: to be asked for again as many seconds later as the answer says."""
    limiter = await _running("a")
    limiter.leave("a")
    asked = _Asked(limiter, 10.0, None)
    await limiter.acquire(slot=True, ask=asked)
    assert [at for _, at in asked.begun] == [_at(0.0), _at(11.0)]


async def test_one_that_may_be_asked_for_at_once_is_asked_for_again() -> None:
    """An answer that allows the next question at once gets it, from the same waiter."""
    limiter = await _running("a")
    limiter.leave("a")
    asked = _Asked(limiter, 0.0, 0.0, None)
    await limiter.acquire(slot=True, ask=asked)
    assert [at for _, at in asked.begun] == [_at(0.0), _at(1.0), _at(2.0)]


async def test_nobody_is_asked_for_while_slots_are_free() -> None:
    """A prediction that was left costs no request as long as nobody needs its slot."""
    limiter = Limiter(Limits(per=PER, concurrency=2))
    limiter.adopt("a")
    limiter.leave("a")
    asked = _Asked(limiter)
    await limiter.acquire(slot=True, ask=asked)
    assert asked.begun == []


async def test_one_asks_at_a_time() -> None:
    """Of many who wait, and many who were left, one asks for one; the slots are handed out."""
    names = [str(number) for number in range(5)]
    limiter = await _running(*names)
    for name in names:
        limiter.leave(name)
    asked = _Asked(limiter, *[None] * 5)
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(partial(limiter.acquire, slot=True, ask=asked))
    assert [at for _, at in asked.begun] == [_at(float(second)) for second in range(5)]
    assert sorted(asked.done) == names


async def test_what_comes_meanwhile_ends_the_errand() -> None:
    """Who gets a slot while it asks goes on at once; the other one is asked for by the next."""
    limiter = await _running("a", "b")
    limiter.leave("b")
    asked = _Asked(limiter, None)
    async with anyio.create_task_group() as group:
        group.start_soon(partial(limiter.acquire, slot=True, ask=asked))
        await anyio.sleep(0.5)
        assert asked.begun == [("b", 0.0)]
        limiter.ended("a")
    assert (anyio.current_time(), asked.done) == (0.5, [])
    await limiter.acquire(slot=True, ask=asked)
    assert asked.begun[1:] == [("b", _at(1.5))]


async def test_an_errand_that_waits_for_a_request_cannot_block_itself() -> None:
    """With one request a minute, who gets slot and request while it asks for them goes on."""
    limiter = await _running("a", "b", requests=1)
    limiter.leave("b")
    held = await limiter.acquire()
    async with anyio.create_task_group() as group:
        group.start_soon(partial(limiter.acquire, slot=True, ask=_Asked(limiter, None)))
        await _blocked()
        assert limiter.waiting == 2
        limiter.ended("a")
        held.withdrawn()
    assert (anyio.current_time(), limiter.waiting, limiter.requests_used) == (0.0, 0, 1)


async def test_the_clock_is_watched_during_an_errand() -> None:
    """While the only timekeeper asks, deadlines are kept: its own and those of others."""
    limiter = await _running("a")
    limiter.leave("a")

    async def ask(_: str) -> float | None:
        await anyio.sleep(100.0)
        return None

    async def wait(timeout: float, **wish: Any) -> None:
        with pytest.raises(LimiterTimeoutError):
            await limiter.acquire(slot=True, timeout=timeout, ask=ask, **wish)
        assert anyio.current_time() == _at(timeout)

    async with anyio.create_task_group() as group:
        group.start_soon(wait, 9.0)
        await _blocked()
        for timeout in (7.0, 5.0):
            group.start_soon(partial(wait, timeout, front=True))


@pytest.mark.parametrize("leaves", ["before it asks", "while it asks"])
async def test_who_leaves_leaves_its_errand_to_the_next(leaves: str) -> None:
    """A cancelled waiter takes no errand with it, whether it had begun or not."""
    limiter = await _running("a", "b")
    asked = _Asked(limiter, None, None)
    scope = anyio.CancelScope()

    async def wait_cancelled() -> None:
        with scope:
            await limiter.acquire(slot=True, ask=asked)

    async with anyio.create_task_group() as group:
        group.start_soon(wait_cancelled)
        await _blocked()
        group.start_soon(partial(limiter.acquire, slot=True, ask=asked))
        await _blocked()
        if leaves == "while it asks":
            limiter.leave("a")
            limiter.leave("b")
            await anyio.sleep(0.5)
            scope.cancel()
        else:
            scope.cancel()
            limiter.leave("a")
            limiter.leave("b")
    assert asked.done
    assert limiter._errand is None
    assert anyio.current_time() < 3.0
    await limiter.acquire(slot=True, ask=asked)
    assert sorted(asked.done) == ["a", "b"]


async def test_a_turn_before_the_errand_began_leaves_it_to_the_next() -> None:
    """Who gets a slot at the moment that it was to ask leaves the errand to the next."""
    limiter = await _running("a", "b")
    asked = _Asked(limiter, None)
    async with anyio.create_task_group() as group:
        group.start_soon(partial(limiter.acquire, slot=True, ask=asked))
        await _blocked()
        limiter.leave("b")
        limiter.ended("a")
    assert asked.begun == []
    await limiter.acquire(slot=True, ask=asked)
    assert asked.done == ["b"]


async def test_a_failed_question_comes_out_of_the_wait() -> None:
    """An error of `ask` is raised as it is to who waits, and another one may ask a second later."""
    limiter = await _running("a")
    limiter.leave("a")

    async def ask(_: str) -> float | None:
        raise LookupError

    with pytest.raises(LookupError):
        await limiter.acquire(slot=True, ask=ask)
    assert (limiter.waiting, limiter.running_ids) == (0, ("a",))
    asked = _Asked(limiter, None)
    await limiter.acquire(slot=True, ask=asked)
    assert asked.begun == [("a", _at(PER / 60))]


async def test_a_question_that_fails_with_the_turn_gives_the_turn_back() -> None:
    """If the slot comes while `ask` fails, the error is raised and the slot goes to the next."""
    limiter = await _running("a", "b")
    limiter.leave("b")

    async def ask(_: str) -> float | None:
        limiter.ended("a")
        raise LookupError

    with pytest.raises(LookupError):
        await limiter.acquire(slot=True, ask=ask)
    assert (limiter.running_ids, limiter.running, limiter.requests_used) == (("b",), 1, 0)


async def test_who_cannot_ask_waits() -> None:
    """A waiter without `ask` passes the errand by; the next who can ask gets it in its turn."""
    limiter = await _running("a")
    limiter.leave("a")
    with pytest.raises(LimiterTimeoutError):
        await limiter.acquire(slot=True, timeout=10.0)
    asked = _Asked(limiter, None)
    await limiter.acquire(slot=True, ask=asked)
    assert asked.begun[0][1] <= 10.0 + PER / 60 + 1e-4


async def test_who_waits_again_stops_the_questions() -> None:
    """A prediction that somebody attends again is asked for by nobody else."""
    limiter = await _running("a")
    limiter.leave("a")
    assert limiter.attend("a")
    asked = _Asked(limiter, None)
    with pytest.raises(LimiterTimeoutError):
        await limiter.acquire(slot=True, timeout=10.0, ask=asked)
    assert asked.begun == []
    limiter.leave("a")
    await limiter.acquire(slot=True, ask=asked)


async def test_an_unconfirmed_submission_is_given_up_after_a_while() -> None:
    """A slot whose prediction has no id comes back after `abandon_after`, with nothing else on."""
    limiter = Limiter(Limits(per=PER, concurrency=1, abandon_after=100.0))
    permit = await limiter.acquire(slot=True)
    permit.given_up()
    async with anyio.create_task_group() as group:
        group.start_soon(partial(limiter.acquire, slot=True))
        await anyio.sleep(1.0)
        limiter.abandon(_slot(permit))
    assert anyio.current_time() == _at(101.0)


async def test_an_unconfirmed_submission_is_given_up_during_a_pause() -> None:
    """While the gate is closed and its probe under way, the clock goes on for slots too."""
    limiter = Limiter(Limits(per=PER, concurrency=1, abandon_after=100.0))
    permit = await limiter.acquire(slot=True)
    permit.answered(limited=True)
    limiter.abandon(_slot(permit))
    probe = await limiter.acquire()
    async with anyio.create_task_group() as group:
        group.start_soon(partial(limiter.acquire, slot=True))
        await anyio.sleep(200.0)
        assert (limiter.running, limiter._alarm) == (0, math.inf)
        probe.answered()
    assert limiter.running == 1
