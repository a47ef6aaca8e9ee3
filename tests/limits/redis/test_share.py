"""What a process owns goes on while Redis is away, and in sum no limit is passed.

By a clock that jumps, the real script, and limiters whose letters get lost.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from attrs import define, evolve, field

from tests.limits.redis.account import Account
from wavespeed_async import Limits
from wavespeed_async.errors import ConfigurationError, LimiterTimeoutError
from wavespeed_async.limits._window import Window
from wavespeed_async.limits.redis import RedisLimiter, Share
from wavespeed_async.limits.redis import _limiter as module
from wavespeed_async.limits.redis._leases import LeasedSlots
from wavespeed_async.limits.redis._outbox import Outbox
from wavespeed_async.testing import virtual_backend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from tests.limits.redis.server import RedisServer
    from wavespeed_async.limits import Permit

LIMITS = Limits(
    requests=16, per=5.0, concurrency=8, min_poll_interval=0.1, grace=0.5, abandon_after=4.0
)
LEASE = 2.0
LONGEST = 3.0
"""How long a prediction runs at most; as `abandon_after` assumes, and sooner than an empty store
grants anything."""
SHARE = Share(processes=3, requests=3, concurrency=2)
BEAT = 0.25


# --- what it says --------------------------------------------------------------------------------


def test_the_shares_and_what_redis_keeps_are_the_whole() -> None:
    """Nothing is handed out twice, and nothing is left over."""
    limits = evolve(LIMITS, burst=8)
    own, rest = SHARE.own(limits), SHARE.rest(limits)
    for name in ("requests", "concurrency", "burst"):
        assert 3 * getattr(own, name) + getattr(rest, name) == getattr(limits, name)
    assert (own.burst, own.per, rest.grace) == (1, 5.0, 0.5)
    assert SHARE.own(LIMITS).burst is None
    assert SHARE.rest(LIMITS).burst is None


@pytest.mark.parametrize("name", ["processes", "requests", "concurrency"])
@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "3"], ids=repr)
def test_a_share_is_of_whole_numbers(name: str, wrong: Any) -> None:
    """What cannot be is refused, with its name and value."""
    with pytest.raises(ConfigurationError, match=f"Share: {name} must be .* not {wrong!r}"):
        Share(**{"processes": 2, "requests": 1, "concurrency": 1, name: wrong})


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("requests", Share(processes=4, requests=4)), ("concurrency", Share(processes=8, requests=1))],
)
def test_something_has_to_be_left_for_redis(name: str, wrong: Share) -> None:
    """Shares that are the whole or more are refused before anything is sent."""
    with pytest.raises(ConfigurationError, match=f"leave nothing of the account's {name}, "):
        RedisLimiter("redis://nowhere", account="test", limits=LIMITS, share=wrong)


# --- a world in which letters get lost -----------------------------------------------------------


class Post:
    """Carry letters through a world's network, in place of the courier."""

    world: World

    def __init__(self, _: Any, __: str, holder: str, ___: float, desk: Any) -> None:
        self._holder, self._desk = holder, desk
        self._wake, self.closes = anyio.Event(), False

    def call_by(self, at: float) -> None:
        if at < self._desk.now() + BEAT:
            self._wake.set()

    def close(self, _: float) -> None:
        self.closes = True
        self._wake.set()

    async def run(self) -> None:
        cut_since: float | None = None
        while True:
            self._wake = anyio.Event()
            is_last, sent = self.closes, self._desk.now()
            answer = await self.world.carry(self._desk)
            if answer is None:
                cut_since = sent if cut_since is None else cut_since
                self._desk.unreachable(self._desk.now() - cut_since, "cut off")
                await anyio.sleep(BEAT)
            else:
                cut_since = None
                self._desk.read(answer, sent)
            if is_last:
                return
            due = self._desk.due() - self._desk.now()
            with anyio.move_on_after(max(0.001, min(BEAT, due))):
                await self._wake.wait()


@define
class World:
    """Hold the account, its processes, the network and the server, which counts for itself."""

    account: Account
    dice: random.Random
    limits: Limits = LIMITS
    share: Share | None = SHARE
    cut: set[Any] = field(factory=set)
    counted: list[float] = field(factory=list)
    changes: list[tuple[float, int]] = field(factory=list)
    ends: dict[str, float] = field(factory=dict)
    kept: dict[str, Any] = field(factory=dict)
    born: int = 0

    async def carry(self, desk: Any) -> dict[str, Any] | None:
        """Carry a letter to Redis and its answer back; None where either got lost."""
        letter = desk.letter()
        await anyio.sleep(self.dice.uniform(0, 0.05))
        if desk in self.cut or "redis" in self.cut:
            return None
        self.account.now = 1000.0 + anyio.current_time()
        answer = self.account.exchange(letter)
        await anyio.sleep(self.dice.uniform(0, 0.05))
        return None if desk in self.cut or self.dice.random() < 0.02 else answer

    def limiter(self) -> RedisLimiter:
        """Make the limiter of one process."""
        return RedisLimiter(
            "redis://nowhere",
            account="hand",
            limits=self.limits,
            lease=LEASE,
            unreachable_after=1000.0,
            share=self.share,
        )

    async def request(self, prediction: str | None = None) -> bool:
        """Send a request to the server, whoever lives on; tell whether its answer came."""
        up, down = (self.dice.uniform(0, self.limits.grace) for _ in range(2))
        now = anyio.current_time()
        self.counted.append(now + up)
        if prediction is not None:
            ends = now + up + self.dice.uniform(0.1, LONGEST)
            self.ends[prediction] = ends
            self.changes += [(now + up, 1), (ends, -1)]
        await anyio.sleep(up + down)
        return self.dice.random() > 0.05

    async def make(self, limiter: RedisLimiter) -> None:
        """Make pictures, one after the other."""
        while True:
            permit = await limiter.acquire(slot=True, ask=partial(self.ask, limiter))
            slot = permit.slot
            assert slot is not None
            self.born += 1
            name = f"p{self.born}"
            if not await self._send(permit, name):
                limiter.abandon(slot)
                continue
            limiter.name(slot, name)
            if self.dice.random() < 0.1:
                limiter.leave(name)  # nobody waits for it: whoever needs its slot asks
                continue
            while await self.ask(limiter, name) is not None:  # noqa: ASYNC110 (as a poller does)
                await anyio.sleep(0.5)
            limiter.ended(name)

    async def ask(self, limiter: RedisLimiter, name: str) -> float | None:
        """Ask for a prediction; None where it has ended."""
        permit = await limiter.acquire(poll=True)
        came = await self._send(permit)
        return None if came and self.ends[name] <= anyio.current_time() else 0.3

    async def _send(self, permit: Permit, name: str | None = None) -> bool:
        came = await self.request(name)
        if came:
            permit.answered()
        else:
            permit.given_up()
        return came

    async def live(self, limiter: RedisLimiter, end: anyio.Event) -> None:
        """Be a process until it is killed."""
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(self.make, limiter)
            await end.wait()
            self.cut.add(limiter)  # nothing of it is told to anybody any more
            group.cancel_scope.cancel()
        task = limiter._task
        assert task is not None
        task.cancel()

    def most_in_window(self) -> int:
        """Count the requests in the fullest `per` at the server."""
        times = sorted(self.counted)
        ends = (bisect_right(times, at + self.limits.per - 1e-9) for at in times)
        return max((end - index for index, end in enumerate(ends)), default=0)

    def most_running(self) -> int:
        """Count the predictions that ran at the fullest moment."""
        most = running = 0
        for _, change in sorted(self.changes):
            running += change
            most = max(most, running)
        return most


@pytest.fixture
def client(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Redis]:
    """Hand out an empty Redis, and have limiters send their letters through the world."""
    monkeypatch.setattr(module, "Courier", Post)
    with redis.client() as client:
        yield client


def play(client: Redis, seed: int, **other: Any) -> World:
    """Let three processes live for a minute, in which all sorts of things go wrong."""
    dice = random.Random(seed)
    world = World(Account(client, LIMITS, LEASE), dice, **other)
    Post.world = world
    backend, options = virtual_backend("asyncio")
    anyio.run(_course, world, backend=backend, backend_options=options)
    return world


async def _course(world: World) -> None:
    places: list[tuple[RedisLimiter, anyio.Event]] = []
    async with anyio.create_task_group() as group:

        def begin() -> tuple[RedisLimiter, anyio.Event]:
            limiter, end = world.limiter(), anyio.Event()
            group.start_soon(world.live, limiter, end)
            return limiter, end

        places += [begin() for _ in range(3)]
        while anyio.current_time() < 60:
            await anyio.sleep(world.dice.choice([0.0, 0.2, 1.0, 3.0, 8.0]))
            who = world.dice.randrange(3)
            what = world.dice.choice(["cut", "cut", "away", "heal", "heal", "kill", "lag", "empty"])
            if what == "kill":
                places[who][1].set()
                places[who] = begin()
            else:
                trouble(world, what, places[who][0])
        for _, end in places:
            end.set()


def trouble(world: World, what: str, limiter: RedisLimiter) -> None:
    """Have something go wrong, or right."""
    account = world.account
    if what == "cut":
        world.cut.add(limiter)
    elif what == "away":
        world.cut.add("redis")
    elif what == "heal":
        world.cut -= {limiter, "redis"}
        names: Any = account.client.keys("*")
        world.kept = {name: account.client.dump(name) for name in names}
    else:  # another server takes over, with what it had been told by then, or with nothing
        account.server = f"{world.dice.getrandbits(160):040x}"
        account.client.flushall()
        for name, value in world.kept.items() if what == "lag" else ():
            account.client.restore(name, 0, value)


@pytest.mark.parametrize("number", range(6))
def test_no_limit_is_passed_whatever_goes_wrong(client: Redis, number: int) -> None:
    """Some reach Redis and others do not, it is emptied or lags, processes die and are replaced."""
    seed = 6 * random.randrange(10**6) + number
    world = play(client, seed)
    assert world.counted, f"seed {seed}"
    assert world.most_in_window() <= LIMITS.requests, f"seed {seed}"
    assert world.most_running() <= LIMITS.concurrency, f"seed {seed}"


def _begins_unused(limiter: RedisLimiter) -> Any:
    limits, own = limiter._limits, limiter._own
    limiter._window = Window(own or limits)
    now = limiter._clock.now()
    return LeasedSlots(own, now, limiter._outbox, limiter._new_name)


BROKEN: dict[str, tuple[Any, str, Any]] = {
    "Redis hands out all": (Share, "rest", lambda _, limits: limits),
    "a new process begins with all of its share": (RedisLimiter, "_used_up", _begins_unused),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_share_is_caught(
    client: Redis, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The worlds can tell: where one of the two rules is broken, a limit is passed in some."""
    monkeypatch.setattr(*BROKEN[name])
    for seed in range(60):
        world = play(client, seed)
        most = world.most_in_window(), world.most_running()
        if most > (LIMITS.requests, LIMITS.concurrency) or most[1] > LIMITS.concurrency:
            return
    pytest.fail("nothing was passed in 60 worlds")


# --- one process ---------------------------------------------------------------------------------

OPENS = LIMITS.grace + LIMITS.per * 1.001 + 0.02
"""When the share of a new process is its own for requests."""


def alone(client: Redis, course: Any, **other: Any) -> None:
    """Run a course in a world in which nothing else goes on."""
    world = World(Account(client, LIMITS, LEASE), random.Random(1), **other)
    Post.world = world
    backend, options = virtual_backend("asyncio")
    anyio.run(course, world, backend=backend, backend_options=options)


def test_without_redis_a_process_has_what_it_owns(client: Redis) -> None:
    """No more and no less: its requests in each `per`, from `grace` and `per` after it began."""
    took: list[float] = []

    async def take(limiter: RedisLimiter) -> None:
        permit = await limiter.acquire()
        took.append(anyio.current_time())
        permit.answered()

    async def course(world: World) -> None:
        async with world.limiter() as limiter, anyio.create_task_group() as group:
            for _ in range(7):
                group.start_soon(take, limiter)
        first = LIMITS.grace + LIMITS.per
        expected = [first] * 3 + [first + LIMITS.per] * 3 + [first + 2 * LIMITS.per]
        assert took == pytest.approx(expected, abs=0.1)

    alone(client, course, cut={"redis"})


def test_its_slots_are_its_own_once_what_ran_before_has_ended(client: Redis) -> None:
    """They open `abandon_after` after it began, and come back when their predictions end."""

    async def course(world: World) -> None:
        world.limits = evolve(LIMITS, abandon_after=9.0)
        async with world.limiter() as limiter:
            for name in ("a", "b"):
                permit = await limiter.acquire(slot=True)
                assert anyio.current_time() == pytest.approx(9.0, abs=0.1)
                permit.answered()
                assert permit.slot is not None
                limiter.name(permit.slot, name)
            assert limiter.running == 2
            with pytest.raises(LimiterTimeoutError):
                await limiter.acquire(slot=True, timeout=1.0)
            limiter.ended("a")
            (await limiter.acquire(slot=True)).withdrawn()
            assert limiter.running_ids == ("b",)

    alone(client, course, cut={"redis"})


def test_what_is_left_in_its_slots_is_asked_for(client: Redis) -> None:
    """Who lacks a slot asks for a prediction that nobody waits for until it ends, without Redis."""
    asked: list[str] = []

    async def ask(name: str) -> float | None:
        asked.append(name)
        return None if len(asked) > 2 else 0.2

    async def course(world: World) -> None:
        async with world.limiter() as limiter:
            for name in ("a", "b"):
                permit = await limiter.acquire(slot=True)
                permit.answered()
                assert permit.slot is not None
                limiter.name(permit.slot, name)
            limiter.leave("b")
            (await limiter.acquire(slot=True, ask=ask)).withdrawn()
        assert asked == ["b"] * 3

    alone(client, course, cut={"redis"})


def test_a_429_to_what_one_owns_pauses_all(client: Redis) -> None:
    """Redis hears of it and closes the gate of the account."""

    async def course(world: World) -> None:
        async with world.limiter() as limiter, world.limiter() as other:
            await anyio.sleep(OPENS)
            permit = await limiter.acquire()
            assert limiter._window.in_flight == 1
            assert permit.answered(limited=True, retry_after=100.0) == 100.0
            await anyio.sleep(2 * BEAT)
            assert other._gate.asked_pause(other.now()) > 90
            with pytest.raises(LimiterTimeoutError):  # its own share waits, too
                await other.acquire(timeout=50.0, patience=math.inf)

    alone(client, course)


def test_a_request_that_the_server_holds_comes_back_to_the_share(client: Redis) -> None:
    """Its token returns `uplink` and `per` after it was sent, although no answer has come."""

    async def course(world: World) -> None:
        async with world.limiter() as limiter:
            await anyio.sleep(OPENS)
            held = [await limiter.acquire() for _ in range(SHARE.requests)]
            for permit in held:
                permit.held()
            (await limiter.acquire()).withdrawn()
            waited = anyio.current_time() - OPENS
            assert waited == pytest.approx(LIMITS.uplink + LIMITS.per, abs=0.1)

    alone(client, course, cut={"redis"})


def test_a_prediction_in_a_slot_of_each_kind_keeps_both() -> None:
    """Redis has a process ask for one that it runs itself: each slot comes back by itself."""
    outbox, names = Outbox(), iter("nm")
    slots = LeasedSlots(SHARE.own(LIMITS), 0.0, outbox, lambda: next(names))
    slots.sweep(0.0)
    own = slots.take(0.0)
    slots.name(own, "x")
    shown = slots.show("of Redis", "x", 0.0)
    assert (slots.owned, slots.running, slots.find("x")) == (1, 2, own)
    slots.release(shown)
    assert (slots.owned, slots.running, slots.find("x")) == (1, 1, own)
    assert outbox.seal().told(0.0)["changes"] == [["release", "of Redis", "x", None]]
    assert slots.adopt("x", 0.0) is own
    slots.release(own)
    assert outbox.seal().told(0.0)["changes"] == []
