"""The pytest plugin: pytest finds it by its entry point, and nothing else imports it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wavespeed_async.emulator import Emulator


@pytest.fixture
def wavespeed_emulator() -> Iterator[Emulator]:
    """Run an emulator whose predictions take about 50 ms; needs the extra `emulator`."""
    from wavespeed_async.emulator import Emulator  # noqa: PLC0415 (keeps the plugin light)

    with Emulator(latency=0.05) as emulator:
        yield emulator
