"""What the package offers to the tests of its users: first, the clock that jumps."""

from __future__ import annotations

import socket
import threading
import time
from typing import Literal

import anyio
import anyio.to_thread
import pytest

from wavespeed_async import testing
from wavespeed_async.testing import virtual_backend

BACKENDS: list[Literal["asyncio", "trio"]] = ["asyncio", "trio"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_hour_takes_no_time(backend: Literal["asyncio", "trio"]) -> None:
    """A sleep of any length ends at just the virtual time it should, and at once."""

    async def sleep() -> float:
        await anyio.sleep(3600.0)
        return anyio.current_time()

    name, options = virtual_backend(backend)
    began = time.monotonic()
    assert anyio.run(sleep, backend=name, backend_options=options) == 3600.0
    assert time.monotonic() - began < 10.0


@pytest.mark.parametrize("backend", BACKENDS)
def test_sleepers_wake_in_the_order_of_their_times(backend: Literal["asyncio", "trio"]) -> None:
    """The clock jumps to the next timer and not beyond it."""
    woken: list[float] = []

    async def sleep(seconds: float) -> None:
        await anyio.sleep(seconds)
        assert anyio.current_time() == pytest.approx(seconds)
        woken.append(seconds)

    async def sleep_all() -> None:
        async with anyio.create_task_group() as group:
            for seconds in (0.3, 86_400.0 * 3, 0.1, 20.0):
                group.start_soon(sleep, seconds)

    name, options = virtual_backend(backend)
    anyio.run(sleep_all, backend=name, backend_options=options)
    assert woken == [0.1, 0.3, 20.0, 86_400.0 * 3]


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_backend_has_a_clock_of_its_own(backend: Literal["asyncio", "trio"]) -> None:
    """Each run begins at the virtual time 0."""

    async def sleep() -> float:
        began = anyio.current_time()
        await anyio.sleep(10.0)
        return began

    for _ in range(2):
        name, options = virtual_backend(backend)
        assert anyio.run(sleep, backend=name, backend_options=options) == 0.0


def test_a_run_that_is_stuck_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no task can ever go on, the run ends with an error and does not hang."""
    monkeypatch.setattr(testing, "DEADLOCK_AFTER", 0.01)

    async def wait() -> None:
        await anyio.Event().wait()

    name, options = virtual_backend("asyncio")
    with pytest.raises(RuntimeError, match="no task can go on"):
        anyio.run(wait, backend=name, backend_options=options)


def test_a_thread_is_waited_for() -> None:
    """With no timer set, what a thread brings later is not taken for being stuck."""

    async def wait() -> str:
        released = threading.Event()
        threading.Timer(0.05, released.set).start()
        await anyio.to_thread.run_sync(released.wait)
        return "released"

    name, options = virtual_backend("asyncio")
    assert anyio.run(wait, backend=name, backend_options=options) == "released"


def test_what_is_ready_goes_before_the_clock() -> None:
    """What lies ready on a socket is read before any time passes."""
    left, right = socket.socketpair()

    async def read() -> float:
        left.sendall(b"ready")
        await anyio.wait_readable(right)
        return anyio.current_time()

    async def read_beside_a_timer() -> float:
        with anyio.move_on_after(60.0):
            return await read()
        return 60.0

    name, options = virtual_backend("asyncio")
    with left, right:
        assert anyio.run(read_beside_a_timer, backend=name, backend_options=options) == 0.0
