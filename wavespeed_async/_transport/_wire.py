"""What goes over the wire: bodies, answers, and whether any of a request has left."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import httpx
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping


__all__ = [
    "CONNECT_TIMEOUT",
    "HELD_TIMEOUT",
    "RESPONSE_TIMEOUT",
    "SLOWEST",
    "Answer",
    "Body",
    "Parts",
    "ToldStream",
    "Wire",
    "opened",
]

CONNECT_TIMEOUT = 10.0
RESPONSE_TIMEOUT = 30.0
"""Seconds until an answer has to be there (flux-dev page: response timeout 30 seconds)."""
HELD_TIMEOUT = 100.0
"""The same where the server holds the request: sync mode gives up after 90 s at the server."""
SLOWEST = 32 * 1024
"""Bytes a second at which a file has to leave at the least."""


@frozen
class Answer:
    """Hold what came back: status, body and the pause that a 429 asked for."""

    status_code: int
    body: bytes
    retry_after: float | None


@frozen(eq=False)
class Body:
    """Describe a body that is sent in parts.

    Attributes:
        size: Its bytes.
        media_type: What it is.
        parts: Makes it, anew for each try.
    """

    size: int
    media_type: str
    parts: Callable[[], AsyncGenerator[bytes]]

    @property
    def seconds(self) -> float:
        """How long it may take to leave."""
        return self.size / SLOWEST


class Wire:
    """Know whether any byte of one request may have left.

    Attributes:
        may_have_left: False as long as it provably has not.
        when_sent: Is called once all of it has left.
    """

    def __init__(self) -> None:
        self.may_have_left = False
        self.when_sent: Callable[[], object] | None = None
        self._sending = False

    def leaves(self) -> None:
        """Hear that from here on any part of it may leave."""
        self.may_have_left = True

    async def trace(self, name: str, _: Mapping[str, Any]) -> None:
        """Hear from httpcore how far it is."""
        if name.endswith("send_request_headers.started"):
            # Who was cancelled while it connected may have its connection, and is cancelled here
            # for nothing; one step later it would not be known whether the server has it.
            await anyio.lowlevel.checkpoint_if_cancelled()
            self.leaves()
            self._sending = True
        elif name.startswith("connection.connect_") and not self._sending:
            self.may_have_left = False
        elif name.endswith("send_request_body.complete") and self.when_sent is not None:
            self.when_sent()


class ToldStream(httpx.AsyncByteStream):
    """Be the body of a request, and tell when all of it has been handed over.

    For aiohttp, which asks for more only after it has written what it got.
    """

    def __init__(self, content: bytes, when_sent: Callable[[], object]) -> None:
        self._content, self._when_sent = content, when_sent

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content
        self._when_sent()


class Parts(httpx.AsyncByteStream):
    """Be a body that comes in parts."""

    def __init__(self, body: Body, parts: AsyncGenerator[bytes]) -> None:
        self.body = body
        self._parts = parts

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._parts


@asynccontextmanager
async def opened(content: bytes | Body | None) -> AsyncGenerator[Any]:
    """Have a body that comes in parts closed after its try; answer any other as it is."""
    if not isinstance(content, Body):
        yield content
        return
    parts = content.parts()
    try:
        yield Parts(content, parts)
    finally:
        with anyio.CancelScope(shield=True):
            await parts.aclose()
