"""The only file that speaks HTTP: one pool of connections, and what may go wrong on the wire.

The key. It is put on a request as that request goes to the API's own origin, and taken off again
when it is over: no output URL, redirect, response or exception ever holds it. Where a server says
it back, it is blotted out.

What has left. httpx's own transport tells when it connects and when it begins to send, aiohttp's
when it has a connection; of another one a request counts as sent from its start, unless the error
is one of connecting.

The short way. A request of the API needs neither cookies nor redirects, so it goes to the transport
at once and not through httpx's client, which would take a fifth of the CPU of all (over aiohttp);
its headers are made once, and its body is read as it comes where nothing is to be unpacked.

Files. A body that comes in parts (`Body`) is made anew for each try and closed after it. What a
ticket names gets such a body without the key, and no redirect is followed with it.

The pool. The queue is before it (`room`), so that no caller waits inside it and it has no time
limit of its own. Idle connections are closed after 4 s, sooner than servers do (5 s is the shortest
default met: Node's and uvicorn's): a submission on a connection that the server was just closing
could not be told from one that was lost.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import httpx
from anyio.lowlevel import checkpoint_if_cancelled
from attrs import define, field, frozen

from wavespeed_async._events import (
    LimiterPaused,
    RequestAnswered,
    RequestLost,
    RequestSent,
    notify,
    tell,
)
from wavespeed_async._extras import need
from wavespeed_async._loops import LoopClock
from wavespeed_async._retry import seconds_to_wait
from wavespeed_async._stream import hears_details
from wavespeed_async._version import __version__
from wavespeed_async.errors import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
    ConfigurationError,
    WaveSpeedError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextvars import ContextVar

    from wavespeed_async._events import Event, Observer
    from wavespeed_async.limits import Permit

__all__ = ["Answer", "Body", "Download", "Transport", "Wire", "base_url_root"]

CONNECT_TIMEOUT = 10.0
RESPONSE_TIMEOUT = 30.0
"""Seconds until an answer has to be there (flux-dev page: response timeout 30 seconds)."""
HELD_TIMEOUT = 100.0
"""The same where the server holds the request: sync mode gives up after 90 s at the server."""
DOWNLOAD_TIMEOUT = 1800.0
"""Seconds to wait for the parts of one output, however steadily it trickles."""
BODY_TIMEOUT = 300.0
"""Seconds for the whole of an answer's body once it has begun: base64 pictures are large."""
CONNECTIONS, CONNECTIONS_HELD = 32, 200
"""Requests under way at once, those that the server answers at once and those that it holds.

32 are 6,400 a minute at a round trip of 0.3 s. More would only have more answers handled in one
step of the event loop, and the pool searches all of its idle connections with each request.
"""
CONNECTIONS_SENDING = 6
"""Files under way at once."""
SLOWEST = 32 * 1024
"""Bytes a second at which a file has to leave at the least."""
KEEPALIVE = 4.0
LARGEST_ANSWER = 256 * 1024 * 1024
"""Bytes of one answer: four base64 PNGs of 1536x1536 pixels are about 40 million."""
REDIRECTS = 5
LAST_PORT = 65535
JSON = "application/json"
SHORTEST_KEY = 8
"""Characters from which on a key is blotted out of good answers too, not of refusals alone."""


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
            self.leaves()
            self._sending = True
        elif name.startswith("connection.connect_") and not self._sending:
            self.may_have_left = False
        elif name.endswith("send_request_body.complete") and self.when_sent is not None:
            self.when_sent()


class Download(AsyncIterator[bytes]):
    """Iterate over the bytes of one output as they come.

    Raises:
        APIConnectionError: The connection broke before the end.
        APIResponseError: The output is not encoded as it says.
    """

    def __init__(self, response: httpx.Response) -> None:
        self.status_code: int = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._parts = response.aiter_bytes()
        self._waited = 0.0

    async def __anext__(self) -> bytes:
        started = anyio.current_time()
        try:
            part = await anext(self._parts)
            self._waited += anyio.current_time() - started
            if self._waited <= DOWNLOAD_TIMEOUT:
                return part
            failure: WaveSpeedError = APIConnectionError("the output trickled for too long")
        except StopAsyncIteration:
            raise
        except Exception as error:  # noqa: BLE001 (a transport may raise anything)
            failure = _told(error, "the output broke off")
        raise failure

    async def aclose(self) -> None:
        """Close its connection, wherever the reader stopped."""
        await _unwind(self._parts)
        await self._response.aclose()


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
        self._key = _Key(api_key, httpx.URL(self.root))
        self._transport = transport
        self._observe, self._details = observe, hears_details(observe)
        self._clock = LoopClock()
        self._pool: _Pool | None = None
        self._stranded = False
        self._closed = False

    def wire(self) -> Wire:
        """Answer what can tell, of one request to be sent, whether any of it may have left."""
        return Wire()

    async def send(
        self,
        method: str,
        path: str,
        *,
        permit: Permit,
        query: str = "",
        content: bytes | Body | None = None,
        held: bool = False,
        wire: Wire | None = None,
        largest: int | None = None,
        kind: str = "",
        prediction_id: str | None = None,
    ) -> Answer:
        """Send one request to the API and report to its permit; `wire` is told how far it came.

        No event tells the `query`, which begins with its question mark; they do tell the `kind`,
        and the prediction that it is about.

        Raises:
            APIConnectionError: No answer came; `.sent` tells whether the request may have arrived.
            APIResponseError: The answer is larger than `largest` bytes.
        """
        wire = wire or self.wire()
        wire.when_sent = permit.held if held else None
        about: dict[str, Any] = {
            "method": method,
            "path": path,
            "kind": kind,
            "prediction_id": prediction_id,
        }
        try:
            pool = self._current_pool()
            async with pool.room_for(content, held=held), _opened(content) as body:
                self._check_open()  # again: it may have been closed meanwhile
                request = pool.request(method, self.root + path + query, body, wire, held=held)
                if self._details:
                    self._tell(RequestSent(**about))
                started = anyio.current_time()
                try:
                    answer = await self._exchange(
                        pool,
                        request,
                        permit,
                        wire,
                        timeout=_bound(content, held=held),
                        largest=largest or LARGEST_ANSWER,
                    )
                except BaseException as error:
                    self._lose(error, anyio.current_time() - started, about)
                    raise
                seconds = anyio.current_time() - started
        finally:
            permit.withdrawn()  # of no effect once it was answered or given up
        status = answer.status_code
        self._tell(RequestAnswered(**about, status_code=status, seconds=seconds))
        return answer

    def _lose(self, error: BaseException, seconds: float, about: Mapping[str, Any]) -> None:
        failure = error if isinstance(error, Exception) else None
        self._tell(RequestLost(**about, error=failure, seconds=seconds))

    def _tell(self, event: Event) -> None:
        """Tell of a single request: nobody but observers hears of those, and the counts."""
        if self._details:
            notify(self._observe, event)
        elif self._observe is not None:
            tell(self._observe, event)

    async def _exchange(
        self,
        pool: _Pool,
        request: httpx.Request,
        permit: Permit,
        wire: Wire,
        *,
        timeout: float,
        largest: int,
    ) -> Answer:
        try:
            with self._key.on(request), anyio.fail_after(timeout) as bound:
                await checkpoint_if_cancelled()  # the last moment to be cancelled for nothing
                response = await pool.send(request, wire)
                bound.deadline = anyio.current_time() + BODY_TIMEOUT
                try:
                    return await self._read(response, permit, largest)
                finally:
                    await response.aclose()
        except Exception as error:  # noqa: BLE001 (a transport may raise anything)
            failure = _told(error, f"no answer from {request.url.host}", wire)
        finally:
            if wire.may_have_left:
                permit.given_up()
        raise failure

    async def _read(self, response: httpx.Response, permit: Permit, largest: int) -> Answer:
        """Read an answer whole; its status counts even where its body breaks off."""
        status = response.status_code
        retry_after = seconds_to_wait(response.headers.get("retry-after"), time.time())
        limited = status == httpx.codes.TOO_MANY_REQUESTS
        pause = permit.answered(limited=limited, retry_after=retry_after)
        if pause is not None:
            notify(self._observe, LimiterPaused(seconds=pause))
        try:
            body = await _bounded(response, largest)
        except (httpx.HTTPError, APIResponseError):
            if response.is_success:
                raise
            body = b""
        return Answer(status, self._key.blotted(body, good=response.is_success), retry_after)

    async def put(self, url: str, headers: Mapping[str, str], body: Body) -> None:
        """Send a file to where a ticket says, without the key; no redirect is followed.

        Raises:
            APIConnectionError: No answer came.
            APIStatusError: It was refused.
        """
        pool = self._current_pool()
        failure: WaveSpeedError | None = None
        try:
            async with pool.room_sending, _opened(body) as stream:
                with anyio.fail_after(_bound(body, held=False)):
                    request = pool.client.build_request(
                        "PUT",
                        url,
                        content=stream,
                        headers={**headers, "Content-Length": str(body.size)},
                        extensions={"timeout": pool.timeouts(RESPONSE_TIMEOUT)},
                    )
                    response = await pool.client.send(request, stream=True, follow_redirects=False)
                    with anyio.CancelScope(shield=True):
                        await response.aclose()
        except Exception as error:  # noqa: BLE001 (a transport may raise anything)
            failure = _told(error, "the file could not be uploaded")
        if failure is not None:
            raise failure
        if not response.is_success:
            status, host = response.status_code, response.url.host
            text = f"the file was refused by {host}: HTTP {status}"
            raise APIStatusError(text, status_code=status, code=status)

    @asynccontextmanager
    async def download(
        self, url: str, headers: Mapping[str, str] | None = None
    ) -> AsyncGenerator[Download]:
        """Open an output for streaming, without the key; redirects are followed without it too.

        Args:
            url: Where it is.
            headers: What else to ask for, the rest of it say.

        Raises:
            APIConnectionError: No answer came.
            APIStatusError: The server of the output refused.
        """
        pool = self._current_pool()
        extensions = {"timeout": pool.timeouts(RESPONSE_TIMEOUT)}
        failure: WaveSpeedError | None = None
        try:
            asked = {"Accept-Encoding": "identity", **(headers or {})}
            request = pool.client.build_request("GET", url, headers=asked, extensions=extensions)
            response = await pool.client.send(request, stream=True, follow_redirects=True)
        except Exception as error:  # noqa: BLE001 (a transport may raise anything)
            failure = _told(error, "the output could not be fetched")
        if failure is not None:
            raise failure
        download = Download(response)
        try:
            if not response.is_success:
                status, host = response.status_code, response.url.host
                text = f"the output could not be fetched from {host}: HTTP {status}"
                raise APIStatusError(text, status_code=status, code=status)
            yield download
        finally:
            with anyio.CancelScope(shield=True):
                await download.aclose()

    async def aclose(self) -> None:
        """Close the pool; the transport is of no use after."""
        self._closed = True
        pool, self._pool = self._pool, None
        if pool is not None and not self._clock.elsewhere():
            await pool.client.aclose()

    def _check_open(self) -> None:
        if self._closed:
            message = "the client is closed; make a new one"
            raise ConfigurationError(message)

    def _current_pool(self) -> _Pool:
        """Answer the pool of the running event loop: a new one, if the last loop has ended."""
        self._check_open()
        if self._clock.enter("the client") and self._pool is not None:
            self._pool = None
            self._stranded = _is_bound(self._transport)
        if self._stranded:
            message = "the transport given to this client belongs to an event loop that has ended"
            raise ConfigurationError(message)
        if self._pool is None:
            self._pool = _open_pool(self._transport, httpx.URL(self.root))
        return self._pool


class _Key:
    """Put the key on a request to the API's own origin, for just as long as it is under way."""

    def __init__(self, api_key: str, root: httpx.URL) -> None:
        self._key = api_key.encode()
        self._header = f"Bearer {api_key}"
        self._origin = (root.scheme, root.host, root.port)

    def __repr__(self) -> str:
        return "<the key>"

    @contextmanager
    def on(self, request: httpx.Request) -> Iterator[None]:
        """Put it on, and take it off again."""
        bare, url = request.headers, request.url
        if (url.scheme, url.host, url.port) == self._origin:
            request.headers = httpx.Headers(bare)
            request.headers["Authorization"] = self._header
        try:
            yield
        finally:
            request.headers = bare

    def blotted(self, body: bytes, *, good: bool) -> bytes:
        """Blot it out of an answer that says it back; a short one only of what is not good."""
        return body if good and len(self._key) < SHORTEST_KEY else body.replace(self._key, b"***")


@define(eq=False)
class _Pool:
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
        self, method: str, url: str, content: bytes | _Parts | None, wire: Wire, *, held: bool
    ) -> httpx.Request:
        """Make a request of the API."""
        timeout = HELD_TIMEOUT if held else RESPONSE_TIMEOUT
        stream: httpx.AsyncByteStream
        if isinstance(content, _Parts):
            stream, media_type, size = content, content.body.media_type, content.body.size
        else:
            stream, media_type, size = httpx.ByteStream(content or b""), JSON, len(content or b"")
            if self.connected is not None and wire.when_sent is not None:
                stream = _ToldStream(content or b"", wire.when_sent)
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


class _ToldStream(httpx.AsyncByteStream):
    """Be the body of a request, and tell when all of it has been handed over.

    For aiohttp, which asks for more only after it has written what it got.
    """

    def __init__(self, content: bytes, when_sent: Callable[[], object]) -> None:
        self._content, self._when_sent = content, when_sent

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content
        self._when_sent()


class _Parts(httpx.AsyncByteStream):
    """Be a body that comes in parts."""

    def __init__(self, body: Body, parts: AsyncGenerator[bytes]) -> None:
        self.body = body
        self._parts = parts

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._parts


@asynccontextmanager
async def _opened(content: bytes | Body | None) -> AsyncGenerator[Any]:
    """Have a body that comes in parts closed after its try; answer any other as it is."""
    if not isinstance(content, Body):
        yield content
        return
    parts = content.parts()
    try:
        yield _Parts(content, parts)
    finally:
        with anyio.CancelScope(shield=True):
            await parts.aclose()


def _bound(content: object, *, held: bool) -> float:
    """Tell how long an exchange may last until its answer begins."""
    sending = content.seconds if isinstance(content, Body) else 0.0
    return CONNECT_TIMEOUT + (HELD_TIMEOUT if held else RESPONSE_TIMEOUT) + sending


def base_url_root(base_url: str) -> str:
    """Take `https://host`, `https://host/api/v2/` or `https://host/api/v3` down to `https://host`.

    Raises:
        ConfigurationError: It is no http(s) URL.
    """
    try:
        url = httpx.URL(base_url)
        usable = url.scheme in {"http", "https"} and url.host and (url.port or 0) <= LAST_PORT
        usable = usable and not (url.query or url.fragment or url.userinfo)
    except (httpx.InvalidURL, TypeError):
        usable = False
    if not usable or _SPACE.search(base_url):
        message = (
            f"base_url must be an http(s) URL such as https://api.wavespeed.ai, not {base_url!r}"
        )
        raise ConfigurationError(message)
    return str(url.copy_with(path=_API_PATH.sub("", url.path) or "/")).rstrip("/")


_API_PATH = re.compile(r"(/api(/v\d+)?)?/*$")
_SPACE = re.compile(r"\s")
_parsed = lru_cache(maxsize=128)(httpx.URL)  # submissions go to a few URLs again and again
_API_HEADERS = {
    "X-Client-Name": "wavespeed-async",
    "X-Client-Version": __version__,
    "X-Client-OS": sys.platform,
}


def _open_pool(transport: httpx.AsyncBaseTransport | str | None, root: httpx.URL) -> _Pool:
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
    return _Pool(
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
        from wavespeed_async._aiohttp import Client, connected  # noqa: PLC0415 (an extra)
    return Client, connected


def _is_bound(transport: object) -> bool:
    """Tell whether a transport of the caller's has connections that belong to one event loop."""
    loopless = (httpx.MockTransport, httpx.ASGITransport)
    return isinstance(transport, httpx.AsyncBaseTransport) and not isinstance(transport, loopless)


async def _bounded(response: httpx.Response, largest: int) -> bytes:
    """Read a body up to the bound."""
    parts: list[bytes] = []
    room = largest
    packed = "content-encoding" in response.headers
    stream = response.aiter_bytes() if packed else aiter(response.stream)  # type: ignore[arg-type]  # it is async
    async for part in stream:
        room -= len(part)
        if room < 0:
            await _unwind(stream)
            text = f"the answer is larger than {largest} bytes"
            raise APIResponseError(text, status_code=response.status_code)
        parts.append(part)
    return b"".join(parts)


async def _unwind(stream: AsyncIterator[bytes]) -> None:
    """End a stream before its end, from its innermost generator on.

    Closing the outermost would leave the others to the garbage collector, which trio resents.
    """
    with anyio.CancelScope(shield=True) as scope, suppress(httpx.HTTPError, httpx.StreamError):
        scope.cancel()
        async for _ in stream:
            pass


# --- what went wrong -----------------------------------------------------------------------------


def _told(error: Exception, what: str, wire: Wire | None = None) -> WaveSpeedError:
    """Tell in this package's terms what a transport raised; `wire` notes if nothing has left.

    To be raised outside of the `except` block: an error that is not httpx's may hold the request
    with the key (aiohttp's do), and so must be neither the cause nor the context.
    """
    if isinstance(error, WaveSpeedError):
        return error
    if wire is not None and _never_left(error):
        wire.may_have_left = False
    failure: WaveSpeedError
    if isinstance(error, httpx.DecodingError):
        failure = APIResponseError(f"{what}: it is not encoded as it says: {error}")
    else:
        sent = wire is None or wire.may_have_left
        failure = APIConnectionError(f"{what}: {_reason(error)}", sent=sent)
    if isinstance(error, httpx.HTTPError | TimeoutError):
        failure.__cause__ = error
    return failure


_CONNECTING = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)
"""What httpx raises before the first byte of a request has left."""

_AIOHTTP_CONNECTING = {"ClientConnectorError", "ConnectionTimeoutError", "ClientHttpProxyError"}


def _never_left(error: Exception) -> bool:
    """Tell whether an error is one of connecting, so that no byte has left.

    httpx-aiohttp turns each lost connection into a ConnectTimeout, even where the request was
    sent: there it is aiohttp's own error that decides.
    """
    if not isinstance(error, _CONNECTING):
        return False
    cause = error.__cause__
    if cause is None or not type(cause).__module__.startswith("aiohttp"):
        return True
    return any(kind.__name__ in _AIOHTTP_CONNECTING for kind in type(cause).__mro__)


def _reason(error: Exception) -> str:
    """Say in words what happened; timeouts of httpx often have none."""
    return str(error) or _WORDS.get(type(error), type(error).__name__)


_WORDS: Mapping[type[Exception], str] = {
    httpx.ConnectTimeout: f"not connected within {CONNECT_TIMEOUT:.0f} s",
    httpx.ReadTimeout: "nothing came in time",
    httpx.WriteTimeout: "nothing could be sent in time",
    TimeoutError: "the time for an answer ran out",
}
