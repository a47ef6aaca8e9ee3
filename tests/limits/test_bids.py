"""Polls that are granted by what they are worth: the queue, and the limiter's order with it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from attrs import define

from wavespeed_async.limits import Limiter, Limits, Permit, Scarcity
from wavespeed_async.limits._bids import ASKED_AT_ONCE, Bids
from wavespeed_async.testing import virtual_backend

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run by a clock that jumps."""
    return virtual_backend(request.param)


@define(eq=False)
class Worth:
    """Bid a constant, or from a time on."""

    worth: float = 1.0
    line: object = None
    since: float = 0.0
    lain: float = 0.0
    asked: int = 0
    seen: Scarcity | None = None

    def bid(self, now: float, scarcity: Scarcity) -> tuple[float, float]:
        self.asked += 1
        self.seen = scarcity
        if now < self.since:
            return 0.0, self.since
        return self.worth, math.inf

    def delay(self, now: float) -> float:
        return self.lain + now * 0


def scarcity(_: int) -> Scarcity:
    return Scarcity(limits=Limits(), free=1, running=1, waiting=0, behind=0)


# --- the queue ------------------------------------------------------------------------------------


def best_of(bids: Bids[str], now: float = 0.0) -> str | None:
    found = bids.best(now, scarcity)
    return None if found is None else found[0]


def test_the_one_that_is_worth_most_goes_first() -> None:
    """Below 1 nobody goes, and the earliest time to ask again is told."""
    bids: Bids[str] = Bids()
    assert best_of(bids) is None
    assert bids.again == math.inf
    for name, bidder in {"a": Worth(1.5), "b": Worth(2.5), "c": Worth(0.5)}.items():
        bids.join(name, bidder, 0)
    assert best_of(bids) == "b"
    bids.leave("b")
    assert best_of(bids) == "a"
    bids.leave("a")
    assert best_of(bids) is None
    bids.join("d", Worth(since=9.0), 0)
    bids.join("e", Worth(since=7.0), 0)
    bids.leave("c")
    assert best_of(bids) is None
    assert bids.again == 7.0
    assert (len(bids), bids.last(), bids.everyone()) == (2, "e", ["d", "e"])
    assert "d" in bids
    assert "a" not in bids


def test_a_more_urgent_lane_goes_first_if_it_has_one_that_is_worth_it() -> None:
    """Worth decides within a priority."""
    bids: Bids[str] = Bids()
    bids.join("batch", Worth(9.0), 1)
    bids.join("lone", Worth(1.0, since=5.0), 0)
    assert best_of(bids, 4.0) == "batch"
    assert best_of(bids, 5.0) == "lone"
    bids.leave("lone")
    assert best_of(bids, 5.0) == "batch"


def test_the_first_speaks_for_its_line() -> None:
    """Of a thousand in one line one is asked; when it leaves, the next one is."""
    bids: Bids[int] = Bids()
    worths = [Worth(since=float(number), line="m") for number in range(1000)]
    for number, bidder in enumerate(worths):
        bids.join(number, bidder, 0)
    found = bids.best(0.5, scarcity)
    assert found is not None
    assert found[0] == 0
    assert sum(worth.asked for worth in worths) == 1
    bids.leave(0)
    assert bids.best(0.5, scarcity) is None
    assert bids.again == 1.0
    for number in range(1, 1000):
        bids.leave(number)
    assert len(bids) == 0
    assert bids.last() is None


def test_of_many_without_a_line_some_are_asked_in_turn() -> None:
    """No step asks more than so many, and each is asked in its turn."""
    bids: Bids[int] = Bids()
    worths = [Worth(0.0) for _ in range(10 * ASKED_AT_ONCE)]
    for number, bidder in enumerate(worths):
        bids.join(number, bidder, 0)
    for turn in range(1, 11):
        assert bids.best(0.0, scarcity) is None
        assert sum(worth.asked for worth in worths) == turn * ASKED_AT_ONCE
    assert {worth.asked for worth in worths} == {1}


# --- the limiter's order --------------------------------------------------------------------------


async def poll(limiter: Limiter, bidder: Worth, order: list[Any], **more: Any) -> None:
    permit = await limiter.acquire(poll=True, bidder=bidder, **more)
    order.append((bidder, anyio.current_time()))
    permit.answered()


async def submit(limiter: Limiter, name: str, order: list[Any], **more: Any) -> None:
    permit = await limiter.acquire(slot=True, **more)
    order.append((name, anyio.current_time()))
    permit.answered()


async def full(limiter: Limiter) -> list[Permit]:
    """Use up the window."""
    return [await limiter.acquire() for _ in range(limiter.limits.requests)]


async def answer(permits: list[Permit]) -> None:
    """Answer them one after the other, so that room for each comes at its own time."""
    for permit in permits:
        permit.answered()
        await anyio.sleep(1)


async def told(order: list[Any]) -> list[Any]:
    return [who for who, _ in order]


async def test_a_poll_is_granted_when_it_becomes_worth_it() -> None:
    """Time alone makes it so: nothing else has to happen."""
    limiter = Limiter(Limits())
    order: list[Any] = []
    started = anyio.current_time()
    await poll(limiter, Worth(since=limiter.now() + 30.0), order)
    assert order[0][1] - started == pytest.approx(30.0, abs=0.01)
    assert limiter.waiting == 0


async def test_polls_are_granted_by_worth() -> None:
    """When room comes, the one that is worth most has it, not the one that came first."""
    limiter = Limiter(Limits(requests=3))
    order: list[Any] = []
    permits = await full(limiter)
    bidders = [Worth(1.0), Worth(3.0), Worth(2.0), Worth(0.0)]
    async with anyio.create_task_group() as tasks:
        for bidder in bidders:
            tasks.start_soon(poll, limiter, bidder, order)
        await anyio.wait_all_tasks_blocked()
        assert limiter.waiting == 4
        await answer(permits)
        await anyio.sleep(100)
        assert await told(order) == [bidders[1], bidders[2], bidders[0]]
        assert bidders[0].seen is not None
        assert bidders[0].seen.limits is limiter.limits
        tasks.cancel_scope.cancel()
    assert limiter.waiting == 0


@pytest.mark.parametrize(
    ("lain", "expected"),
    [(0.0, ["a", "a", "poll", "poll"]), (9.0, ["a", "poll", "a", "poll"])],
)
async def test_submissions_go_first_until_an_answer_has_lain_for_long(
    lain: float, expected: list[str]
) -> None:
    """Beyond 5 s of a minute polls and submissions take turns."""
    limiter = Limiter(Limits(requests=4))
    order: list[Any] = []
    permits = await full(limiter)
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(poll, limiter, Worth(lain=lain), order)
        for _ in range(2):
            tasks.start_soon(submit, limiter, "a", order)
        await anyio.wait_all_tasks_blocked()
        await answer(permits)
    names = [who if isinstance(who, str) else "poll" for who in await told(order)]
    assert names == expected


@pytest.mark.parametrize(("priority", "expected"), [(-1, ["poll", "a"]), (1, ["a", "poll"])])
async def test_priority_goes_before_kind(priority: int, expected: list[str]) -> None:
    """An urgent poll goes before submissions of a batch, a batch's poll after urgent ones."""
    limiter = Limiter(Limits(requests=2))
    order: list[Any] = []
    permits = await full(limiter)
    bidder = Worth(lain=100.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(submit, limiter, "a", order)
        tasks.start_soon(lambda: poll(limiter, bidder, order, priority=priority))
        await anyio.wait_all_tasks_blocked()
        await answer(permits)
    assert [who if isinstance(who, str) else "poll" for who in await told(order)] == expected
    assert bidder.seen is not None


async def test_a_bidder_is_told_how_scarce_requests_are() -> None:
    """What waits is told by who is as urgent as the poll, and who is less."""
    limiter = Limiter(Limits(requests=9, concurrency=1))
    order: list[Any] = []
    holder = await limiter.acquire(slot=True)
    bidder = Worth(0.0)
    async with anyio.create_task_group() as tasks:
        for priority in (-1, 0, 1, 1):
            tasks.start_soon(lambda p: submit(limiter, "a", order, priority=p), priority)
        tasks.start_soon(poll, limiter, bidder, order)
        await anyio.wait_all_tasks_blocked()
        seen = bidder.seen
        tasks.cancel_scope.cancel()
    assert seen is not None
    assert (seen.free, seen.running, seen.waiting, seen.behind) == (8, 1, 2, 2)
    holder.answered()


async def test_polls_that_do_not_count_need_no_room() -> None:
    """Where polls are no requests, a full window does not hold them up."""
    limiter = Limiter(Limits(requests=1, polls_count=False))
    order: list[Any] = []
    permits = await full(limiter)
    await poll(limiter, Worth(), order)
    assert len(order) == 1
    permits[0].answered()


@pytest.mark.parametrize("how", ["answer", "time"])
async def test_a_full_window_holds_up_what_is_worth_it(how: str) -> None:
    """It goes as soon as there is room, by an answer's age, and by nothing sooner."""
    limiter = Limiter(Limits(requests=1))
    order: list[Any] = []
    (permit,) = await full(limiter)
    started = anyio.current_time()
    if how == "time":
        permit.answered()

    async def answer_late() -> None:
        await anyio.sleep(10)
        permit.answered()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(poll, limiter, Worth(), order)
        tasks.start_soon(answer_late)
    waited = 70.08 if how == "answer" else 60.08
    assert order[0][1] - started == pytest.approx(waited, abs=0.01)


async def test_a_wait_that_ends_leaves_nothing() -> None:
    """A deadline, a cancellation and a pause that is too long take a bidder out of the queue."""
    limiter: Limiter = Limiter(Limits())
    cases: list[Callable[[], Any]] = [
        lambda: limiter.acquire(poll=True, bidder=Worth(0.0), timeout=5.0),
        lambda: limiter.acquire(poll=True, bidder=Worth(0.0), patience=5.0),
    ]
    for index, case in enumerate(cases):
        errors: list[Exception] = []

        async def waits(case: Callable[[], Any] = case, errors: list[Exception] = errors) -> None:
            try:
                await case()
            except Exception as error:  # noqa: BLE001 (what it is, is asked below)
                errors.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(waits)
            await anyio.sleep(1)
            if index == 1:
                permit = await limiter.acquire()
                permit.answered(limited=True, retry_after=100.0)
        assert len(errors) == 1
        assert limiter.waiting == 0
    limiter = Limiter(Limits())
    with anyio.move_on_after(3.0):
        await limiter.acquire(poll=True, bidder=Worth(0.0))
    assert limiter.waiting == 0


# --- urgent callers beside a batch ----------------------------------------------------------------


async def test_what_urgent_callers_used_is_kept_free_for_them() -> None:
    """Once there were urgent requests, others leave as many free, up to a twentieth, for `per`."""
    limiter = Limiter(Limits(requests=60))
    for _ in range(5):
        (await limiter.acquire(priority=-1)).answered()
    order: list[Any] = []

    async def crowd() -> None:
        (await limiter.acquire()).answered()
        order.append(anyio.current_time())

    async with anyio.create_task_group() as tasks:
        for _ in range(60):
            tasks.start_soon(crowd)
        await anyio.sleep(1)
        assert len(order) == 52  # of 60, less 5 that are counted, less 3 that are kept
        with anyio.fail_after(0.01):
            for _ in range(3):
                (await limiter.acquire(priority=-1)).answered()
        await anyio.sleep(58)
        assert len(order) == 52
        await anyio.sleep(2)
        assert len(order) == 60
    assert limiter.waiting == 0


async def test_what_is_kept_is_given_up_when_nobody_urgent_comes() -> None:
    """A poll that lacks nothing but what is kept has it as soon as that is no longer needed."""
    limiter = Limiter(Limits(requests=20, polls_count=True))
    order: list[Any] = []
    (await limiter.acquire(priority=-1)).answered()
    await anyio.sleep(30)
    permits = [await limiter.acquire() for _ in range(18)]
    started = anyio.current_time()
    await poll(limiter, Worth(), order)
    assert order[0][1] - started == pytest.approx(30.0, abs=1.0)
    for permit in permits:
        permit.answered()
