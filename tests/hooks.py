"""Whom the API calls: a server in the event loop of the test, which hands on to a client."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
from attrs import define, field

from tests.wire import raw_server
from wavespeed_async.errors import WaveSpeedError, WebhookVerificationError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from anyio.abc import SocketStream

    from wavespeed_async import AsyncWaveSpeed, Prediction

__all__ = ["Hook", "hook"]


@define
class Hook:
    """Hold where to call, and what was told.

    Attributes:
        url: Where to call.
        told: What was verified.
        refused: Why the others were refused.
        answers: What to answer next, without taking the call.
    """

    url: str = ""
    told: list[Prediction] = field(factory=list)
    refused: list[WaveSpeedError] = field(factory=list)
    answers: list[str] = field(factory=list)
    changed: anyio.Event = field(factory=anyio.Event)

    async def until(self, calls: int) -> None:
        """Wait until there were so many calls."""
        with anyio.fail_after(10):
            while len(self.told) + len(self.refused) < calls:
                await self.changed.wait()
                self.changed = anyio.Event()


@asynccontextmanager
async def hook(client: AsyncWaveSpeed, secret: str) -> AsyncGenerator[Hook]:
    """Be called on behalf of a client."""
    called = Hook()

    async def handle(stream: SocketStream, request: bytes) -> None:
        answer = called.answers.pop(0) if called.answers else await _take(request)
        called.changed.set()
        await stream.send(f"HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n".encode())

    async def _take(request: bytes) -> str:
        head, _, body = request.partition(b"\r\n\r\n")
        lines = [line.partition(b": ") for line in head.split(b"\r\n")[1:]]
        try:
            found = await client.receive(body, [(name, value) for name, _, value in lines], secret)
        except WaveSpeedError as error:
            called.refused.append(error)
            is_forged = isinstance(error, WebhookVerificationError)
            return "401 Unauthorized" if is_forged else "503 Service Unavailable"
        called.told.append(found)
        return "200 OK"

    async with raw_server(handle) as url:
        called.url = f"{url}/hook?token=s3cret"
        yield called
