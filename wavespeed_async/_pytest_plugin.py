"""The pytest plugin: pytest finds it by its entry point, and nothing else imports it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wavespeed_async.emulator import Emulator

PLENTY = 1_000_000
"""The limits of the emulator that many tests share: none of them is to wait for another."""


@pytest.fixture
def wavespeed_emulator() -> Iterator[Emulator]:
    """Run an emulator whose predictions take about 50 ms; needs the extra `emulator`."""
    from wavespeed_async.emulator import Emulator  # noqa: PLC0415 (keeps the plugin light)

    with Emulator(latency=0.05) as emulator:
        yield emulator


@pytest.fixture
def wavespeed_emulator_in_process() -> Emulator:
    """Make an emulator for `httpx.ASGITransport`, by the clock of the event loop that asks it.

    It draws no pictures, and listens nowhere: on a virtual clock its 5 seconds take no time.
    """
    from wavespeed_async.emulator import Emulator  # noqa: PLC0415 (as above)

    return Emulator(pictures=False, time_source=anyio.current_time)


@pytest.fixture(scope="session")
def wavespeed_emulator_session() -> Iterator[Emulator]:
    """Run one emulator for all tests of a process, without limits that they could meet."""
    from wavespeed_async.emulator import Emulator  # noqa: PLC0415 (as above)

    with Emulator(latency=0.05, requests=PLENTY, concurrency=PLENTY, balance=PLENTY) as emulator:
        yield emulator
