"""The only file that speaks HTTP: one pool of connections, and what may go wrong on the wire.

The key. It is put on a request as that request goes to the API's own origin, and taken off again
when it is over: no output URL, redirect, response or exception ever holds it.

The pool. The queue is before it (`_room`), so that no caller waits inside it and it has no time
limit of its own. Idle connections are closed after 4 s, sooner than servers do (5 s is the shortest
default met: Node's and uvicorn's): a submission on a connection that the server was just closing
could not be told from one that was lost.
"""

from __future__ import annotations

import re
import sys
import time
from contextlib import asynccontextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel
import httpx
from attrs import frozen

from wavespeed_async._events import LimiterPaused, RequestAnswered, RequestSent, notify
from wavespeed_async._loops import LoopClock
from wavespeed_async._retry import seconds_to_wait
from wavespeed_async._version import __version__
from wavespeed_async.errors import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
    ConfigurationError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from wavespeed_async._events import Observer
    from wavespeed_async.limits import Permit

__all__ = ["Answer", "Download", "Transport", "base_url_root"]

CONNECT_TIMEOUT = 10.0
RESPONSE_TIMEOUT = 30.0
"""Seconds until an answer has to be there (flux-dev page: response timeout 30 seconds)."""
HELD_TIMEOUT = 100.0
"""The same where the server holds the request: sync mode gives up after 90 s at the server."""
CONNECTIONS = 200
KEEPALIVE = 4.0
LARGEST_ANSWER = 256 * 1024 * 1024
"""Bytes of one answer: four base64 PNGs of 1536x1536 pixels are about 40 million."""
REDIRECTS = 5

_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)
"""What httpx raises before the first byte of a request has left."""


@frozen
class Answer:
    """Hold what came back: status, body and the pause that a 429 asked for."""

    status_code: int
    body: bytes
    retry_after: float | None


class Download:
    """Stream one output."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the output's bytes as they come.

        Raises:
            APIConnectionError: The connection broke before the end.
        """
        try:
            async for chunk in self._response.aiter_bytes():
                yield chunk
        except httpx.TransportError as error:
            text = f"the output broke off: {_reason(error)}"
            raise APIConnectionError(text) from error
        except httpx.DecodingError as error:
            text = f"the output is not encoded as it says: {error}"
            raise APIResponseError(text) from error


class Transport:
    """Send requests to one account of the API, and fetch outputs from anywhere.

    Args:
        api_key: The account's key.
        base_url: Where the API is, in any of its three forms.
        transport: An httpx transport, `"aiohttp"`, or None for httpx's own.
        observe: Is told each request and answer.
    """

    def __init__(
        self,
        *,
        api_key: str,
        base_url: str,
        transport: httpx.AsyncBaseTransport | str | None,
        observe: Observer | None,
    ) -> None:
        self.root = base_url_root(base_url)
        self._auth = _KeyAuth(api_key, httpx.URL(self.root))
        self._key = api_key
        self._transport = transport
        self._observe = observe
        self._clock = LoopClock()
        self._pool: httpx.AsyncClient | None = None
        self._closed = False

    async def send(
        self,
        method: str,
        path: str,
        *,
        permit: Permit,
        content: bytes | None = None,
        held: bool = False,
    ) -> Answer:
        """Send one request to the API and report to its permit.

        Raises:
            APIConnectionError: No answer came; `.sent` tells whether the request may have arrived.
        """
        timeout = HELD_TIMEOUT if held else RESPONSE_TIMEOUT
        try:
            pool = self._current_pool()
            await self._room.acquire()
        except BaseException:
            permit.withdrawn()
            raise
        try:
            notify(self._observe, RequestSent(method=method, path=path))
            started = anyio.current_time()
            request = pool.build_request(
                method,
                self.root + path,
                content=content,
                headers=_API_HEADERS if content is None else _JSON_HEADERS,
                timeout=httpx.Timeout(timeout, connect=CONNECT_TIMEOUT, pool=None),
            )
            answer = await self._exchange(pool, request, permit, CONNECT_TIMEOUT + timeout)
            seconds = anyio.current_time() - started
        finally:
            self._room.release()
        notify(
            self._observe,
            RequestAnswered(
                method=method, path=path, status_code=answer.status_code, seconds=seconds
            ),
        )
        return answer

    async def _exchange(
        self, pool: httpx.AsyncClient, request: httpx.Request, permit: Permit, timeout: float
    ) -> Answer:
        try:
            with anyio.fail_after(timeout):
                response = await pool.send(request, auth=self._auth, stream=True)
                try:
                    return await self._read(response, permit)
                finally:
                    await response.aclose()
        except _NEVER_SENT as error:
            permit.withdrawn()
            text = f"no connection to {request.url.host}: {_reason(error)}"
            raise APIConnectionError(text, sent=False) from error
        except (httpx.HTTPError, TimeoutError) as error:
            text = f"no answer from {request.url.host}: {_reason(error)}"
            raise APIConnectionError(text) from error
        finally:
            permit.given_up()

    async def _read(self, response: httpx.Response, permit: Permit) -> Answer:
        """Read an answer whole; its status counts even where its body breaks off."""
        status = response.status_code
        retry_after = seconds_to_wait(response.headers.get("retry-after"), time.time())
        limited = status == httpx.codes.TOO_MANY_REQUESTS
        pause = permit.answered(limited=limited, retry_after=retry_after)
        if pause is not None:
            notify(self._observe, LimiterPaused(seconds=pause))
        try:
            body = await _bounded(response)
        except (httpx.HTTPError, APIResponseError):
            if response.is_success:
                raise
            body = b""
        if not response.is_success:
            body = body.replace(self._key.encode(), b"***")
        return Answer(status, body, retry_after)

    @asynccontextmanager
    async def download(self, url: str) -> AsyncIterator[Download]:
        """Open an output for streaming, without the key; redirects are followed without it too.

        Raises:
            APIConnectionError: No answer came.
            APIStatusError: The server of the output refused.
        """
        pool = self._current_pool()
        timeout = httpx.Timeout(RESPONSE_TIMEOUT, connect=CONNECT_TIMEOUT, pool=None)
        request = pool.build_request("GET", url, timeout=timeout)
        host = request.url.host
        try:
            response = await pool.send(request, stream=True, follow_redirects=True)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            text = f"the output could not be fetched from {host}: {_reason(error)}"
            raise APIConnectionError(text) from error
        try:
            if not response.is_success:
                status = response.status_code
                text = f"the output could not be fetched from {host}: HTTP {status}"
                raise APIStatusError(text, status_code=status, code=status)
            yield Download(response)
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()

    async def aclose(self) -> None:
        """Close the pool; the transport is of no use after."""
        self._closed = True
        pool, self._pool = self._pool, None
        if pool is not None and not self._clock.elsewhere():
            await pool.aclose()

    def _current_pool(self) -> httpx.AsyncClient:
        """Answer the pool of the running event loop: a new one, if the last loop has ended."""
        if self._closed:
            message = "the client is closed; make a new one"
            raise ConfigurationError(message)
        if self._clock.enter("the client") and self._pool is not None:
            self._pool = None
            _refuse_bound(self._transport)
        if self._pool is None:
            self._room = anyio.CapacityLimiter(CONNECTIONS)
            self._pool = _open_pool(self._transport)
        return self._pool


class _KeyAuth(httpx.Auth):
    """Put the key on a request to the API's own origin, for just as long as it is under way."""

    def __init__(self, api_key: str, root: httpx.URL) -> None:
        self._header = f"Bearer {api_key}"
        self._origin = (root.scheme, root.host, root.port)

    def __repr__(self) -> str:
        return "<the key>"

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        url = request.url
        if (url.scheme, url.host, url.port) == self._origin:
            request.headers["Authorization"] = self._header
        try:
            yield request
        finally:
            request.headers.pop("Authorization", None)


def base_url_root(base_url: str) -> str:
    """Take `https://host`, `https://host/api/v2/` or `https://host/api/v3` down to `https://host`.

    Raises:
        ConfigurationError: It is no http(s) URL.
    """
    parts = urlsplit(base_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        message = (
            f"base_url must be an http(s) URL such as https://api.wavespeed.ai, not {base_url!r}"
        )
        raise ConfigurationError(message)
    return _API_PATH.sub("", base_url)


_API_PATH = re.compile(r"(/api(/v\d+)?)?/*$")
_API_HEADERS = {
    "X-Client-Name": "wavespeed-async",
    "X-Client-Version": __version__,
    "X-Client-OS": sys.platform,
}
_JSON_HEADERS = {**_API_HEADERS, "Content-Type": "application/json"}


def _open_pool(transport: httpx.AsyncBaseTransport | str | None) -> httpx.AsyncClient:
    limits = httpx.Limits(
        max_connections=None, max_keepalive_connections=CONNECTIONS, keepalive_expiry=KEEPALIVE
    )
    return httpx.AsyncClient(
        transport=_aiohttp_transport() if isinstance(transport, str) else transport,
        limits=limits,
        headers={"User-Agent": f"wavespeed-async/{__version__}"},
        max_redirects=REDIRECTS,
        # No cookies: nothing that a server sets is to follow later requests.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )


def _aiohttp_transport() -> httpx.AsyncBaseTransport:
    if not hasattr(anyio.lowlevel.current_token().native_token, "call_soon"):
        message = 'transport="aiohttp" works under asyncio only; under trio leave it out'
        raise ConfigurationError(message)
    try:
        from httpx_aiohttp import AiohttpTransport  # noqa: PLC0415 (an extra)
    except ImportError as error:
        message = "transport=\"aiohttp\" needs: pip install 'wavespeed-async[aiohttp]'"
        raise ConfigurationError(message) from error
    transport: httpx.AsyncBaseTransport = AiohttpTransport()
    return transport


def _refuse_bound(transport: Any) -> None:
    """Refuse a transport of the caller's whose connections belong to an event loop that ended."""
    loopless = (httpx.MockTransport, httpx.ASGITransport)
    if isinstance(transport, httpx.AsyncBaseTransport) and not isinstance(transport, loopless):
        message = "the transport given to this client belongs to an event loop that has ended"
        raise ConfigurationError(message)


async def _bounded(response: httpx.Response) -> bytes:
    """Read a body up to the bound."""
    parts: list[bytes] = []
    room = LARGEST_ANSWER
    async for part in response.aiter_bytes():
        room -= len(part)
        if room < 0:
            text = f"the answer is larger than {LARGEST_ANSWER} bytes"
            raise APIResponseError(text, status_code=response.status_code)
        parts.append(part)
    return b"".join(parts)


def _reason(error: Exception) -> str:
    """Say in words what happened; timeouts of httpx often have none."""
    return str(error) or _WORDS.get(type(error), type(error).__name__)


_WORDS: Mapping[type[Exception], str] = {
    httpx.ConnectTimeout: f"not connected within {CONNECT_TIMEOUT:.0f} s",
    httpx.ReadTimeout: f"nothing came for {RESPONSE_TIMEOUT:.0f} s",
    httpx.WriteTimeout: f"nothing could be sent for {RESPONSE_TIMEOUT:.0f} s",
    TimeoutError: "the time for an answer ran out",
}
