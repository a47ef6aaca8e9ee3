"""aiohttp's connections for httpx (`transport="aiohttp"`): much less CPU, under asyncio only.

It is `httpx-aiohttp`, with three things made as this package needs them:

What has left. aiohttp does not tell how far a request is, but until its connector has handed over a
connection, provably nothing of it has left: `connected` holds what is to be called at that moment.

Sent once. aiohttp sends a read a second time where a kept connection broke, without a word; the
limiter would count one request and the server two. That is switched off.

No cookies, and idle connections are closed as early as httpx's own are.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import aiohttp
from anyio.lowlevel import checkpoint_if_cancelled
from httpx_aiohttp import AiohttpTransport, HttpxAiohttpClient

from wavespeed_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from aiohttp.connector import Connection

__all__ = ["Client", "connected"]

connected: ContextVar[Callable[[], None] | None] = ContextVar("connected", default=None)
"""What to call once the request of this context has a connection, just before it is sent."""


class Client(HttpxAiohttpClient):
    """Be httpx's client over aiohttp; proxies come from the environment as httpx reads it."""

    def _init_transport(self, *args: Any, **settings: Any) -> httpx.AsyncBaseTransport:
        return _with_our_session(super()._init_transport(*args, **settings))

    def _init_proxy_transport(
        self, proxy: httpx.Proxy, *args: Any, **settings: Any
    ) -> httpx.AsyncBaseTransport:
        if proxy.url.scheme not in {"http", "https"}:
            message = f'transport="aiohttp" knows http proxies, not {proxy.url.scheme}'
            raise ConfigurationError(message)
        return _with_our_session(super()._init_proxy_transport(proxy, *args, **settings))


class _Connector(aiohttp.TCPConnector):
    """Tell when a request has its connection."""

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        try:
            await checkpoint_if_cancelled()  # the last moment to be cancelled for nothing
        except BaseException:
            connection.close()
            raise
        tell = connected.get()
        if tell is not None:
            tell()
        return connection


def _with_our_session(transport: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
    """Have a transport open its session, at its first request, as this package needs it."""
    assert isinstance(transport, AiohttpTransport)  # noqa: S101 (it was made a line above)

    def session() -> aiohttp.ClientSession:
        opened = aiohttp.ClientSession(
            connector=_Connector(
                ssl=transport.ssl_context,
                limit=0,  # the queue is before the pool
                keepalive_timeout=transport.limits.keepalive_expiry,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        opened._retry_connection = False  # noqa: SLF001 (there is no other way; a test watches it)
        return opened

    transport.client = session
    return transport
