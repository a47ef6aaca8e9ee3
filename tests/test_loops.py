"""One clock over all event loops."""

from __future__ import annotations

import asyncio
from typing import Literal

import anyio
import anyio.lowlevel
import pytest

from wavespeed_async import _loops
from wavespeed_async._loops import LoopClock, has_ended
from wavespeed_async.errors import ConfigurationError
from wavespeed_async.testing import virtual_backend

BACKENDS: list[Literal["asyncio", "trio"]] = ["asyncio", "trio"]


class _Time:
    """Stand in for the module `time`."""

    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> _Time:
    machine = _Time()
    monkeypatch.setattr(_loops, "time", machine)
    return machine


async def _enter_and_sleep(clock: LoopClock, seconds: float) -> float:
    clock.enter("it")
    await anyio.sleep(seconds)
    return clock.now()


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_tells_whether_a_loop_has_ended(backend: Literal["asyncio", "trio"]) -> None:
    """A token's loop has not ended while it runs, and has ended after."""

    async def look() -> object:
        token = anyio.lowlevel.current_token()
        assert not has_ended(token)
        return token

    assert has_ended(anyio.run(look, backend=backend))


@pytest.mark.parametrize("first", BACKENDS)
@pytest.mark.parametrize("second", BACKENDS)
def test_time_goes_on_over_loops_and_between(
    first: Literal["asyncio", "trio"], second: Literal["asyncio", "trio"], machine: _Time
) -> None:
    """It adds up the times of loops that each begin at 0, and of the machine between them."""
    clock = LoopClock()
    name, options = virtual_backend(first)
    assert anyio.run(_enter_and_sleep, clock, 100.0, backend=name, backend_options=options) == 100.0
    assert clock.now() == 100.0
    machine.seconds += 5.0
    assert clock.now() == 105.0
    name, options = virtual_backend(second)
    assert anyio.run(_enter_and_sleep, clock, 10.0, backend=name, backend_options=options) == 115.0


def test_time_never_goes_back(machine: _Time) -> None:
    """If the machine's clock does, this one stands still."""
    clock = LoopClock()
    name, options = virtual_backend("asyncio")
    anyio.run(_enter_and_sleep, clock, 100.0, backend=name, backend_options=options)
    machine.seconds -= 50.0
    assert clock.now() == 100.0


def test_entering_tells_whether_the_loop_is_new() -> None:
    """It answers True for the first time in each loop, False after that."""
    clock = LoopClock()

    async def enter() -> list[bool]:
        return [clock.enter("it"), clock.enter("it"), clock.elsewhere()]

    async def look() -> bool:
        return clock.elsewhere()

    assert not anyio.run(look)
    for backend in BACKENDS:
        assert anyio.run(enter, backend=backend) == [True, False, False]
        assert anyio.run(look, backend=backend)


def test_two_running_loops_are_refused() -> None:
    """While the first loop runs, entering another one raises an error that says what to do."""
    clock = LoopClock()

    async def enter() -> bool:
        return clock.enter("the limiter")

    async def outer() -> None:
        clock.enter("the limiter")
        with pytest.raises(ConfigurationError, match="the limiter is in use by another event loop"):
            await anyio.to_thread.run_sync(asyncio.run, enter())
        assert not clock.enter("the limiter")

    anyio.run(outer)
    assert asyncio.run(enter())


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_loop_that_was_not_entered_does_not_tell_the_time(
    backend: Literal["asyncio", "trio"], machine: _Time
) -> None:
    """Read in another loop, before that is entered, it goes by the machine's clock."""
    clock = LoopClock()
    name, options = virtual_backend("asyncio")
    anyio.run(_enter_and_sleep, clock, 7.0, backend=name, backend_options=options)

    async def look() -> float:
        await anyio.sleep(1000.0)
        machine.seconds += 3.0
        return clock.now()

    name, options = virtual_backend(backend)
    assert anyio.run(look, backend=name, backend_options=options) == 10.0
