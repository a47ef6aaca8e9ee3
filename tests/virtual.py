"""The emulator in process and a client of it, on a clock that jumps."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from wavespeed_async import AsyncWaveSpeed, Limiter, Limits
from wavespeed_async.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

URL = "http://emulator.test"

real_clock = pytest.mark.parametrize(
    "anyio_backend", [("asyncio", {}), ("trio", {})], ids=["asyncio", "trio"]
)
"""For what uses threads (files do): a clock that jumps does not wait for them."""


def make_emulator(**settings: Any) -> Emulator:
    """Make an emulator that draws no pictures and lives by the event loop's clock."""
    return Emulator(pictures=False, time_source=anyio.current_time, **settings)


def make_client(emulator: Emulator, **settings: Any) -> AsyncWaveSpeed:
    """Make a client of it with a limiter of its own."""
    settings.setdefault("limiter", Limiter(Limits()))
    transport = httpx.ASGITransport(emulator.app)
    return AsyncWaveSpeed("a-key", base_url=URL, transport=transport, **settings)


@asynccontextmanager
async def running(
    limiter: Limiter | None = None, client: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[tuple[AsyncWaveSpeed, Emulator]]:
    """Hand out a client and its emulator."""
    emulator = make_emulator(**settings)
    made = make_client(emulator, limiter=limiter or Limiter(Limits()), **(client or {}))
    async with made:
        yield made, emulator
