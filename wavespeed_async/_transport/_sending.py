"""Requests to the API, files to where a ticket says, outputs from anywhere."""

from __future__ import annotations

import re
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import httpx
from anyio.lowlevel import checkpoint_if_cancelled

from wavespeed_async._events import (
    LimiterPaused,
    RequestAnswered,
    RequestLost,
    RequestSent,
    notify,
    tell,
)
from wavespeed_async._loops import LoopClock
from wavespeed_async._retry import seconds_to_wait
from wavespeed_async._stream import hears_details
from wavespeed_async._transport._failures import told
from wavespeed_async._transport._key import Key
from wavespeed_async._transport._pool import Pool, is_bound, open_pool
from wavespeed_async._transport._reading import Download, bounded
from wavespeed_async._transport._wire import (
    CONNECT_TIMEOUT,
    HELD_TIMEOUT,
    RESPONSE_TIMEOUT,
    Answer,
    Body,
    Wire,
    opened,
)
from wavespeed_async.errors import (
    APIResponseError,
    APIStatusError,
    ConfigurationError,
    WaveSpeedError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from wavespeed_async._events import Event, Observer
    from wavespeed_async.limits import Permit

__all__ = ["Transport", "base_url_root"]

BODY_TIMEOUT = 300.0
"""Seconds for the whole of an answer's body once it has begun: base64 pictures are large."""
LARGEST_ANSWER = 256 * 1024 * 1024
"""Bytes of one answer: four base64 PNGs of 1536x1536 pixels are about 40 million."""
LAST_PORT = 65535


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
        self._key = Key(api_key, httpx.URL(self.root))
        self._transport = transport
        self._observe, self._details = observe, hears_details(observe)
        self._clock = LoopClock()
        self._pool: Pool | None = None
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
            async with pool.room_for(content, held=held), opened(content) as body:
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
                        timeout=bound_of(content, held=held),
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
        pool: Pool,
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
            failure = told(error, f"no answer from {request.url.host}", wire)
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
            body = await bounded(response, largest)
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
            async with pool.room_sending, opened(body) as stream:
                with anyio.fail_after(bound_of(body, held=False)):
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
            failure = told(error, "the file could not be uploaded")
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
            failure = told(error, "the output could not be fetched")
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

    def _current_pool(self) -> Pool:
        """Answer the pool of the running event loop: a new one, if the last loop has ended."""
        self._check_open()
        if self._clock.enter("the client") and self._pool is not None:
            self._pool = None
            self._stranded = is_bound(self._transport)
        if self._stranded:
            message = "the transport given to this client belongs to an event loop that has ended"
            raise ConfigurationError(message)
        if self._pool is None:
            self._pool = open_pool(self._transport, httpx.URL(self.root))
        return self._pool


def bound_of(content: object, *, held: bool) -> float:
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
        shown = _USERINFO.sub("***@", repr(base_url))  # a password may be in it
        message = f"base_url must be an http(s) URL such as https://api.wavespeed.ai, not {shown}"
        raise ConfigurationError(message)
    return str(url.copy_with(path=_API_PATH.sub("", url.path) or "/")).rstrip("/")


_API_PATH = re.compile(r"(/api(/v\d+)?)?/*$")
_SPACE = re.compile(r"\s")
_USERINFO = re.compile(r"(?<=//).*@")
