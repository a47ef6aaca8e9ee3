"""How an answer reaches the client, or does not: what the state decided is carried out here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import anyio
import httpx
from starlette.responses import JSONResponse, Response

from wavespeed_async.emulator._faults import mangled

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

    from wavespeed_async.emulator._records import Reply

__all__ = [
    "HANG_UP",
    "REFUSE",
    "NoResponse",
    "Watched",
    "carried",
    "extension",
    "paused",
    "plain",
    "reached",
    "until_gone",
]

HANG_UP = "wavespeed_async.hang_up"
"""The ASGI extension by which a server lets the app close a connection without an answer."""

REFUSE = "wavespeed_async.refuse"
"""The ASGI extension by which a server lets the app have nobody connect for some seconds."""

PIECES = 8


class NoResponse(Response):
    """Close the connection instead of answering; in process, raise what a client would."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 (ASGI)
        """Close the connection."""
        await _hang_up(scope, receive)


class _Faulty(Response):
    """Send an answer late, in pieces, or half of it."""

    def __init__(self, whole: Response, fault: str, slowness: float) -> None:
        super().__init__(whole.body, whole.status_code, background=whole.background)
        self.raw_headers = whole.raw_headers
        self._fault = fault
        self._slowness = slowness

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        body = bytes(self.body)
        if self._fault == "slow" and not await paused(self._slowness, receive):
            return
        headers = self.raw_headers
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        if self._fault == "slow":
            await send({"type": "http.response.body", "body": body})
        elif self._fault == "reset":
            half = body[: len(body) // 2]
            await send({"type": "http.response.body", "body": half, "more_body": True})
            await _hang_up(scope, receive)
        else:
            await self._trickle(body, receive, send)

    async def _trickle(self, body: bytes, receive: Receive, send: Send) -> None:
        size = len(body) // PIECES + 1
        for start in range(0, len(body), size):
            piece = body[start : start + size]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            if not await paused(self._slowness / PIECES, receive):
                return
        await send({"type": "http.response.body", "body": b""})


class Watched(Response):
    """Send an answer, and say when that is over, one way or the other."""

    def __init__(self, response: Response, over: Callable[[], None]) -> None:
        super().__init__()
        self._response = response
        self._over = over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await self._response(scope, receive, send)
        finally:
            self._over()


def carried(response: Response, fault: str | None, slowness: float) -> Response:
    """Answer the response as its fault leaves it."""
    if fault == "lost":
        return NoResponse()
    if fault in {"slow", "trickle", "reset"}:
        return _Faulty(response, fault, slowness)
    if (body := mangled(fault, bytes(response.body))) != response.body:
        return Response(body, response.status_code, media_type="application/json")
    return response


def plain(reply: Reply) -> Response:
    """Answer what needs nothing more than its body."""
    if isinstance(reply.body, Mapping):
        return JSONResponse(reply.body, reply.status, reply.headers)
    return Response(reply.body, reply.status, {"content-type": "text/html", **reply.headers})


async def until_gone(receive: Receive, left: Callable[[], float]) -> bool:
    """Wait while there is time left and the client stays; tell whether it did."""
    stays = True
    watching, waiting = anyio.CancelScope(), anyio.CancelScope()

    async def watch() -> None:
        nonlocal stays
        with watching:
            await receive()  # the disconnection: all of the request's body has been read
            stays = False
            waiting.cancel()

    async def wait() -> None:
        with waiting:
            while (seconds := left()) > 0:  # noqa: ASYNC110 (timers ring early)
                await anyio.sleep(seconds)
        watching.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        tasks.start_soon(wait)
    return stays


async def paused(seconds: float, receive: Receive) -> bool:
    """Wait for some time, or until the client leaves; tell whether it stays."""
    until = anyio.current_time() + seconds
    return await until_gone(receive, lambda: until - anyio.current_time())


def extension(scope: Scope, name: str) -> Callable[..., None] | None:
    """Answer what the server lets the app do, or None where there is no server."""
    found: Callable[..., None] | None = scope.get("extensions", {}).get(name)
    return found


def reached(scope: Scope, *, refused: bool) -> None:
    """Raise what a client would whom nobody lets connect, if it calls in process.

    Over sockets what has arrived was not refused.
    """
    if refused and extension(scope, REFUSE) is None:
        message = "the emulator refuses connections on purpose"
        raise httpx.ConnectError(message)


async def _hang_up(scope: Scope, receive: Receive) -> None:
    hang_up = extension(scope, HANG_UP)
    if hang_up is None:  # called in process: there is no connection to close
        message = "the emulator closed the connection on purpose"
        raise httpx.ReadError(message)
    hang_up()
    await receive()  # the disconnection, as in until_gone
