"""The connections of one event loop, and the queues before them."""

from __future__ import annotations

import sys
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import httpx
from attrs import define, field

from wavespeed_async._extras import need
from wavespeed_async._transport._wire import (
    CONNECT_TIMEOUT,
    HELD_TIMEOUT,
    RESPONSE_TIMEOUT,
    Body,
    Parts,
    ToldStream,
    Wire,
)
from wavespeed_async._version import __version__
from wavespeed_async.errors import (
    ConfigurationError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import ContextVar


__all__ = ["Pool", "is_bound", "open_pool"]

CONNECTIONS, CONNECTIONS_HELD = 32, 200
"""Requests under way at once, those that the server answers at once and those that it holds.

32 are 6,400 a minute at a round trip of 0.3 s. More would only have more answers handled in one
step of the event loop, and the pool searches all of its idle connections with each request.
"""
CONNECTIONS_SENDING = 6
"""Files under way at once."""
KEEPALIVE = 4.0
REDIRECTS = 5
JSON = "application/json"


@define(eq=False)
class Pool:
    """Hold the connections of one event loop.

    Attributes:
        client: Sends to anywhere, with redirects.
        transport: Sends to the API: the client's own way there.
        headers: What each request of the API has.
        connected: Where aiohttp's connector looks for whom to tell; None with other transports.
        room: The queue before it.
        room_held: The queue of requests that the server holds.
        room_sending: The queue of files.
    """

    client: httpx.AsyncClient
    transport: httpx.AsyncBaseTransport
    headers: httpx.Headers
    connected: ContextVar[Callable[[], None] | None] | None
    room: anyio.Semaphore = field(
        factory=lambda: anyio.Semaphore(CONNECTIONS, fast_acquire=True), init=False
    )
    room_held: anyio.Semaphore = field(
        factory=lambda: anyio.Semaphore(CONNECTIONS_HELD, fast_acquire=True), init=False
    )
    room_sending: anyio.Semaphore = field(
        factory=lambda: anyio.Semaphore(CONNECTIONS_SENDING, fast_acquire=True), init=False
    )

    def room_for(self, content: bytes | Body | None, *, held: bool) -> anyio.Semaphore:
        """Answer the queue that a request belongs to."""
        if isinstance(content, Body):
            return self.room_sending
        return self.room_held if held else self.room

    def timeouts(self, answer: float) -> dict[str, float | None]:
        """Make httpx's time limits; aiohttp takes that of the pool for all of connecting."""
        pool = None if self.connected is None else CONNECT_TIMEOUT
        return {"connect": CONNECT_TIMEOUT, "read": answer, "write": answer, "pool": pool}

    def request(
        self, method: str, url: str, content: bytes | Parts | None, wire: Wire, *, held: bool
    ) -> httpx.Request:
        """Make a request of the API."""
        timeout = HELD_TIMEOUT if held else RESPONSE_TIMEOUT
        stream: httpx.AsyncByteStream
        if isinstance(content, Parts):
            stream, media_type, size = content, content.body.media_type, content.body.size
        else:
            stream, media_type, size = httpx.ByteStream(content or b""), JSON, len(content or b"")
            if self.connected is not None and wire.when_sent is not None:
                stream = ToldStream(content or b"", wire.when_sent)
        request = httpx.Request(
            method,
            _parsed(url),
            headers=self.headers,
            stream=stream,
            extensions={"timeout": self.timeouts(timeout), "trace": wire.trace},
        )
        if isinstance(stream, httpx.ByteStream):
            request.read()  # so that transports find it read, as httpx's client would have it
        if content is not None:
            request.headers["Content-Type"] = media_type
            request.headers["Content-Length"] = str(size)
        return request

    async def send(self, request: httpx.Request, wire: Wire) -> httpx.Response:
        """Send a request of the API, and answer once the head of its answer is there."""
        if self.connected is None:
            wire.leaves()
            return await self.transport.handle_async_request(request)
        token = self.connected.set(wire.leaves)
        try:
            return await self.transport.handle_async_request(request)
        finally:
            self.connected.reset(token)


_parsed = lru_cache(maxsize=128)(httpx.URL)  # submissions go to a few URLs again and again
_API_HEADERS = {
    "X-Client-Name": "wavespeed-async",
    "X-Client-Version": __version__,
    "X-Client-OS": sys.platform,
}


def open_pool(transport: httpx.AsyncBaseTransport | str | None, root: httpx.URL) -> Pool:
    """Open the pool of the running event loop, with the environment's proxies.

    Raises:
        ConfigurationError: The environment asks for what is not there, or an extra is missing.
    """
    kind, connected = httpx.AsyncClient, None
    if isinstance(transport, str):
        kind, connected = _aiohttp_client()
        transport = None
    try:
        client = kind(
            transport=transport,
            limits=httpx.Limits(
                max_connections=None,
                max_keepalive_connections=CONNECTIONS_HELD,
                keepalive_expiry=KEEPALIVE,
            ),
            headers={"User-Agent": f"wavespeed-async/{__version__}"},
            max_redirects=REDIRECTS,
            # No cookies: nothing that a server sets is to follow later requests.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )
    except (ImportError, ValueError) as error:  # the environment asks for what is not there
        message = f"the proxy that the environment names cannot be used: {error}"
        raise ConfigurationError(message) from error
    return Pool(
        client=client,
        transport=client._transport_for_url(root),  # noqa: SLF001 (proxies and all; the public way to it costs a fifth of the CPU)
        headers=httpx.Headers({"Host": root.netloc.decode(), **client.headers, **_API_HEADERS}),
        connected=connected,
    )


def _aiohttp_client() -> tuple[type[httpx.AsyncClient], ContextVar[Callable[[], None] | None]]:
    if not hasattr(anyio.lowlevel.current_token().native_token, "call_soon"):
        message = 'transport="aiohttp" works under asyncio only; under trio leave it out'
        raise ConfigurationError(message)
    with need("aiohttp", of='transport="aiohttp"'):
        from wavespeed_async._transport._aiohttp import Client, connected  # noqa: PLC0415 (an extra)
    return Client, connected


def is_bound(transport: object) -> bool:
    """Tell whether a transport of the caller's has connections that belong to one event loop."""
    loopless = (httpx.MockTransport, httpx.ASGITransport)
    return isinstance(transport, httpx.AsyncBaseTransport) and not isinstance(transport, loopless)
