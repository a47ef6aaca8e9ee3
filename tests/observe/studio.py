"""An emulator, a client of it that tells OpenTelemetry's SDK, and who asks for pictures."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.observe.exported import Exported
from wavespeed_async import AsyncWaveSpeed, FluxDev, Limiter, Limits
from wavespeed_async.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY = "a-key-that-nobody-may-see"
PROMPT = "a lighthouse that nobody may see"
IMAGE = "https://secret.test/room.png"
REQUEST = FluxDev(prompt=PROMPT, image=IMAGE, seed=7)
LIMITS = Limits(per=2.0, min_poll_interval=0.02, grace=0.1, abandon_after=0.5)


@asynccontextmanager
async def studio(
    *,
    limits: Limits = LIMITS,
    exported: Exported | None = None,
    telemetry: dict[str, Any] | None = None,
    client: dict[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[tuple[AsyncWaveSpeed, Emulator, Exported]]:
    """Hand out a client, the emulator it talks to, and what is exported."""
    exported = exported or Exported()
    settings = {"latency": 0.1, "latency_cv": 0.0, "pictures": False, **settings}
    with Emulator(per=limits.per, concurrency=limits.concurrency, **settings) as emulator:
        exported.url = emulator.url
        made = AsyncWaveSpeed(
            KEY,
            base_url=emulator.url,
            limiter=Limiter(limits),
            observe=exported.telemetry(**(telemetry or {})),
            **(client or {}),
        )
        async with made:
            yield made, emulator, exported
