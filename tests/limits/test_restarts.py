"""The limiter over event loops that end, processes that restart, and clocks that are set."""

from __future__ import annotations

import json
import threading
from functools import partial
from typing import Any, Literal

import anyio
import pytest
from anyio.lowlevel import checkpoint
from attrs import define

from wavespeed_async import _loops
from wavespeed_async.errors import ConfigurationError, LimiterTimeoutError
from wavespeed_async.limits import Limiter, Limits, Permit, _limiter
from wavespeed_async.testing import virtual_backend

BACKENDS: list[Literal["asyncio", "trio"]] = ["asyncio", "trio"]
PER = 10.0
WINDOW = PER * 1.001 + 0.02


def _at(seconds: float) -> Any:
    return pytest.approx(seconds, abs=0.05)


def _virtually(backend: Literal["asyncio", "trio"], function: Any, *args: Any) -> Any:
    name, options = virtual_backend(backend)
    return anyio.run(function, *args, backend=name, backend_options=options)


def _really(backend: Literal["asyncio", "trio"], function: Any, *args: Any) -> Any:
    return anyio.run(function, *args, backend=backend)


async def _name(limiter: Limiter, name: str | None) -> Permit:
    """Submit a prediction; its answer comes, if it has a name, and it runs."""
    permit = await limiter.acquire(slot=True)
    assert permit.slot is not None
    if name is not None:
        permit.answered()
        limiter.name(permit.slot, name)
    return permit


async def _turn(limiter: Limiter, **wish: Any) -> float:
    """Tell how long a turn took to come; nothing is sent with it, but a slot stays taken."""
    began = anyio.current_time()
    (await limiter.acquire(**wish)).withdrawn()
    return anyio.current_time() - began


async def _ended(_: str) -> float | None:
    await checkpoint()
    return None


# --- from loop to loop ----------------------------------------------------------------------------


@pytest.mark.parametrize("first", BACKENDS)
@pytest.mark.parametrize("second", BACKENDS)
def test_the_window_goes_on_in_the_next_loop(
    first: Literal["asyncio", "trio"], second: Literal["asyncio", "trio"]
) -> None:
    """In the next event loop, whose clock begins anew, answers count for their time and no more."""
    limiter = Limiter(Limits(requests=2, per=PER, grace=3.0))

    async def answer() -> None:
        await anyio.sleep(500.0)
        for _ in range(2):
            (await limiter.acquire()).answered()
        await anyio.sleep(4.0)
        assert limiter.requests_used == 2

    _virtually(first, answer)
    assert _virtually(second, partial(_turn, limiter)) == _at(WINDOW - 4.0)


@pytest.mark.parametrize("first", BACKENDS)
@pytest.mark.parametrize("second", BACKENDS)
def test_clocks_with_other_zero_points_do_not_matter(
    first: Literal["asyncio", "trio"], second: Literal["asyncio", "trio"]
) -> None:
    """By real clocks too (trio's begins anywhere) a request counts for `per` in the next loop."""
    limiter = Limiter(Limits(requests=1, per=0.2))

    async def answer() -> None:
        (await limiter.acquire()).answered()

    async def look_and_wait() -> float:
        assert (limiter.requests_used, limiter.age("a")) == (1, None)  # before it is entered
        return await _turn(limiter)

    _really(first, answer)
    assert 0.1 < _really(second, look_and_wait) < 0.5


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_look_from_another_loop_changes_nothing(backend: Literal["asyncio", "trio"]) -> None:
    """Reading the limiter in a loop that it was not used in yet leaves its time as it is."""
    limiter = Limiter(Limits(requests=1, per=PER))

    async def begin() -> None:
        await anyio.sleep(80_000)
        (await _name(limiter, "a")).answered()

    async def look() -> None:
        await anyio.sleep(80_000)
        assert limiter.requests_used == 1
        assert limiter.age("a") == _at(0.0)
        limiter.ended("b")
        limiter.snapshot()

    _virtually(backend, begin)
    _virtually(backend, look)
    assert _virtually(backend, partial(_turn, limiter)) == _at(WINDOW)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_loop_left_behind_is_given_up(backend: Literal["asyncio", "trio"]) -> None:
    """A loop that died with requests in flight and predictions running: all that still counts."""
    limits = Limits(requests=3, per=PER, concurrency=2, grace=3.0, abandon_after=50.0)
    limiter = Limiter(limits)

    async def die() -> None:
        await _name(limiter, "a")
        await _name(limiter, None)
        await limiter.acquire()

    async def go_on() -> None:
        assert not limiter.attend("b")
        assert (limiter.requests_used, limiter.running) == (3, 2)
        assert await _turn(limiter) == _at(WINDOW)
        with pytest.raises(LimiterTimeoutError):
            await limiter.acquire(slot=True, timeout=2.5)
        await limiter.acquire()
        assert await _turn(limiter) == _at(0.5)
        assert await _turn(limiter, slot=True, ask=_ended) < 0.3
        assert limiter.running == 2

    _virtually(backend, die)
    _virtually(backend, go_on)


@pytest.mark.parametrize("backend", BACKENDS)
def test_who_attends_in_the_next_loop_is_counted(backend: Literal["asyncio", "trio"]) -> None:
    """A caller who attends before the first request of the new loop keeps others from asking."""
    limiter = Limiter(Limits(per=PER, concurrency=1))

    async def attend() -> None:
        assert limiter.attend("a")
        with pytest.raises(LimiterTimeoutError):
            await limiter.acquire(slot=True, ask=_ended, timeout=5.0)
        limiter.leave("a")
        await limiter.acquire(slot=True, ask=_ended, timeout=5.0)

    _virtually(backend, partial(_name, limiter, "a"))
    _virtually(backend, attend)


def test_waiters_of_a_loop_that_stopped_are_forgotten() -> None:
    """Callers whose loop was stopped under them wait for nothing, hold nothing, break nothing."""
    limiter = Limiter(Limits(requests=1, per=PER, concurrency=2))
    loop = virtual_backend("asyncio")[1]["loop_factory"]()
    asks = []

    async def ask(name: str) -> float | None:
        asks.append(name)
        await anyio.sleep_forever()
        return None

    async def begin() -> None:
        (await _name(limiter, "a")).answered()
        limiter.adopt("b")
        limiter.leave("a")

    loop.run_until_complete(begin())
    waits = [
        loop.create_task(limiter.acquire(slot=True, timeout=1e6, ask=ask)),
        loop.create_task(limiter.acquire(poll=True)),
    ]
    loop.run_until_complete(_blocked())
    assert (limiter.waiting, asks) == (2, ["a"])

    _virtually("asyncio", partial(_turn, limiter, timeout=1e3))
    assert (limiter.waiting, limiter.running) == (0, 2)
    for wait in waits:
        wait.cancel()
    loop.run_until_complete(_blocked())
    loop.close()
    assert (limiter.waiting, limiter.running, limiter._errand) == (0, 2, None)
    _virtually("asyncio", partial(_turn, limiter, slot=True, ask=_ended, timeout=1e3))
    assert len(limiter.running_ids) == 1  # the other has been asked for


async def _blocked() -> None:
    for _ in range(10):
        await checkpoint()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_probe_that_died_with_its_loop_is_not_waited_for(
    backend: Literal["asyncio", "trio"],
) -> None:
    """After a pause whose probe was lost with its loop, the next loop sends another one."""
    limiter = Limiter(Limits(per=PER))

    async def die() -> None:
        (await limiter.acquire()).answered(limited=True)
        await limiter.acquire()

    _virtually(backend, die)
    assert _virtually(backend, partial(_turn, limiter)) == _at(0.0)


def test_two_running_loops_cannot_share_it() -> None:
    """Used from a second thread while the first loop runs, it says so; the first goes on."""
    limiter = Limiter(Limits(requests=5, per=PER))
    caught: list[BaseException] = []

    def use_in_thread() -> None:
        for call in (limiter.acquire, _adopt):
            try:
                anyio.run(call)
            except ConfigurationError as error:
                caught.append(error)

    async def _adopt() -> None:
        limiter.adopt("a")

    async def use() -> None:
        await limiter.acquire()
        thread = threading.Thread(target=use_in_thread)
        thread.start()
        await anyio.to_thread.run_sync(thread.join)
        await limiter.acquire()

    for backend in BACKENDS:
        anyio.run(use, backend=backend)
    assert len(caught) == 4
    assert "the limiter is in use by another event loop" in str(caught[0])
    assert limiter.running == 0


# --- from process to process ----------------------------------------------------------------------


@define
class _Clocks:
    """Stand in for the module `time`: the wall clock and the monotonic one, both set by hand."""

    wall: float = 1.7e9
    steady: float = 5000.0

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.steady

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> _Clocks:
    clocks = _Clocks()
    monkeypatch.setattr(_limiter, "time", clocks)
    monkeypatch.setattr(_loops, "time", clocks)
    return clocks


LIMITS = Limits(requests=3, per=PER, concurrency=3, grace=3.0, abandon_after=50.0)


def _crash(clocks: _Clocks) -> Any:
    """Use a limiter for a while; answer what it leaves on the disk."""
    limiter = Limiter(LIMITS)

    async def use() -> dict[str, Any]:
        await _name(limiter, "a")
        await anyio.sleep(4.0)
        await _name(limiter, None)
        (await limiter.acquire()).given_up()
        return limiter.snapshot()

    return json.loads(json.dumps(_virtually("asyncio", use)))


def _restored(snapshot: Any) -> Limiter:
    limiter = Limiter(LIMITS)
    limiter.restore(snapshot)
    return limiter


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_restart_keeps_window_and_slots(
    backend: Literal["asyncio", "trio"], clocks: _Clocks
) -> None:
    """What a crashed process sent, had on its way and had running counts in the next process."""
    snapshot = _crash(clocks)
    clocks.pass_by(1.0)
    limiter = _restored(snapshot)
    assert (limiter.requests_used, limiter.running, limiter.running_ids) == (3, 2, ("a",))

    async def go_on() -> None:
        assert await _turn(limiter) == _at(WINDOW - 4.0 - 1.0)
        await limiter.acquire()
        assert await _turn(limiter) == _at(4.0 + 3.0)
        assert await _turn(limiter, slot=True) == _at(0.0)
        assert await _turn(limiter, slot=True, ask=_ended) == _at(0.0)
        await limiter.acquire(slot=True)
        assert anyio.current_time() == _at(50.0 - 1.0)

    _virtually(backend, go_on)


@pytest.mark.parametrize("wrong", [-86400.0, 86400.0])
def test_a_wall_clock_that_was_set_makes_no_room(clocks: _Clocks, wrong: float) -> None:
    """Set back or forth between two processes, it takes nothing out of the window or the slots."""
    snapshot = _crash(clocks)
    clocks.pass_by(1.0)
    clocks.wall += wrong
    limiter = _restored(snapshot)
    assert (limiter.requests_used, limiter.running) == (3, 2)
    assert WINDOW - 4.0 - 1.1 < _virtually("asyncio", partial(_turn, limiter)) < WINDOW


def test_after_a_reboot_the_wall_clock_counts(clocks: _Clocks) -> None:
    """A monotonic clock that has begun anew tells nothing: then the wall clock is believed."""
    snapshot = _crash(clocks)
    clocks.pass_by(8.0)
    clocks.steady = 10.0
    assert _restored(snapshot).requests_used == 2
    clocks.pass_by(3600.0)
    assert _restored(snapshot).requests_used == 0


def test_a_restored_limiter_tells_what_it_was_told(clocks: _Clocks) -> None:
    """A process that dies before its first request hands on what it took over."""
    snapshot = _crash(clocks)
    again = _restored(snapshot).snapshot()
    assert again["requests"] == pytest.approx(snapshot["requests"])
    assert again["unnamed_until"] == pytest.approx(snapshot["unnamed_until"])
    assert again["running"] == ["a"]


def test_a_prediction_that_is_attended_stays_so(clocks: _Clocks) -> None:
    """Restoring what a limiter knows already takes no second slot, and nobody's attendance."""
    limiter = Limiter(LIMITS)

    async def use() -> None:
        await _name(limiter, "a")
        limiter.restore(limiter.snapshot())
        assert limiter.running_ids == ("a",)
        assert limiter._slots.next_asked() > 1e9

    _virtually("asyncio", use)


def test_a_snapshot_of_another_version_is_refused() -> None:
    """What cannot be understood is not guessed at."""
    with pytest.raises(ConfigurationError, match="version 2, not 1"):
        Limiter().restore({"version": 2})
    with pytest.raises(ConfigurationError, match="version None"):
        Limiter().restore({})
