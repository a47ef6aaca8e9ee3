"""The app on a loopback socket, in a thread with an event loop of its own.

So it serves clients on asyncio, on trio and without any loop alike, and never blocks theirs.
"""

from __future__ import annotations

import asyncio
import math
import socket
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from wavespeed_async.emulator._carrying import HANG_UP, REFUSE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Server"]

_KEEP_ALIVE = 75
_BACKLOG = 1024
_PATIENCE = 5.0


class Server:
    """Serve an app, and do something beside it, from the moment of its making until `stop`."""

    def __init__(
        self, app: ASGIApp, host: str, port: int, beside: Callable[[], Awaitable[None]]
    ) -> None:
        self._beside = beside
        self._socket = _bound(host, port, listens=True)
        name = f"[{host}]" if ":" in host else host
        self.url = f"http://{name}:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(
            partial(self._serve, app),
            http="h11",  # speed is no matter here, sameness on every machine is
            ws="none",
            interface="asgi3",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE,
        )
        port = self._socket.getsockname()[1]
        self._server = _Uvicorn(config, partial(_bound, host, port, listens=False))
        self._thread = threading.Thread(target=self._run, name="wavespeed emulator", daemon=True)
        self._thread.start()
        self._server.is_up.wait()

    def stop(self) -> None:
        """Close every connection and end the thread."""
        # anyio ends its worker threads with their loop, but waits for none of them.
        loop = self._server.loop
        workers = [t for t in threading.enumerate() if getattr(t, "loop", None) is loop]
        self._server.stop()
        self._thread.join()
        for worker in workers:
            worker.join(_PATIENCE)

    def refuse(self, seconds: float) -> None:
        """Let nobody connect for so long, and return when that holds."""
        left = self._server.left(seconds)
        asyncio.run_coroutine_threadsafe(left, self._server.loop).result()

    def _run(self) -> None:
        asyncio.run(self._serve_all())

    async def _serve_all(self) -> None:
        beside = asyncio.ensure_future(self._beside())
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            beside.cancel()
            await asyncio.wait([beside])
            self._server.hang_up()  # on whoever connected while all this ended
            await asyncio.sleep(0)

    async def _serve(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_perhaps_last(message: Message) -> None:
            if self._server.is_away and message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            await send(message)

        hang_up = partial(self._server.hang_up, scope["client"])
        extensions = {HANG_UP: hang_up, REFUSE: self._server.leave}
        await app({**scope, "extensions": extensions}, receive, send_perhaps_last)
        if self._server.is_away:
            self._server.close_idle()


class _Uvicorn(uvicorn.Server):
    """Stop at once when told to, where uvicorn looks ten times a second; go away for a while.

    While it is away its port is bound, so that nobody else takes it, but nothing listens: the
    operating system refuses who wants to connect, before anything is sent.
    """

    def __init__(self, config: uvicorn.Config, bind: Callable[[], socket.socket]) -> None:
        super().__init__(config)
        self._bind = bind
        self._away_until = -math.inf
        self._absence: asyncio.Task[None] | None = None
        self.is_up = threading.Event()
        self._stopping = asyncio.Event()
        self.loop: asyncio.AbstractEventLoop

    async def main_loop(self) -> None:
        """Serve until `stop`; what is unanswered by then loses its connection."""
        self.loop = asyncio.get_running_loop()
        self.is_up.set()
        await self._stopping.wait()
        self._accept_no_more()
        await asyncio.sleep(0)
        self.hang_up()
        await asyncio.sleep(0)  # lets the connections learn that they are closed
        if self._absence is not None:
            self._absence.cancel()
            await asyncio.wait([self._absence])

    def stop(self) -> None:
        """End `main_loop`, from any thread."""
        self.loop.call_soon_threadsafe(self._stopping.set)

    @property
    def is_away(self) -> bool:
        """Whether nobody can connect."""
        return self._absence is not None

    async def left(self, seconds: float) -> None:
        """Leave, and wait until what was idle is closed."""
        self.leave(seconds)
        for _ in range(3):
            await asyncio.sleep(0)

    def leave(self, seconds: float) -> None:
        """Let nobody connect for so long; connections that are idle are closed at once."""
        self._away_until = max(self._away_until, self.loop.time() + seconds)
        if self._absence is None:
            self._accept_no_more()
            self._absence = asyncio.ensure_future(self._stay_away())
        self.close_idle()

    def _accept_no_more(self) -> None:
        """Stop listening at once, a turn of the loop before the server is closed.

        Whoever was just accepted has a connection by then: asyncio loses it otherwise, unclosed.
        """
        for server in self.servers:
            for listening in server.sockets:
                self.loop.remove_reader(listening)
                with suppress(OSError):  # where a system knows no such thing it listens until then
                    listening.shutdown(socket.SHUT_RDWR)

    async def _stay_away(self) -> None:
        await asyncio.sleep(0)
        for server in self.servers:
            server.close()
        bound = self._bind()
        self.close_idle()
        connection = partial(
            H11Protocol,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        server = await self.loop.create_server(
            connection, sock=bound, backlog=_BACKLOG, start_serving=False
        )
        self.servers = [server]
        while (seconds := self._away_until - self.loop.time()) > 0:  # noqa: ASYNC110 (it may grow)
            await asyncio.sleep(seconds)
        self._absence = None
        await server.start_serving()

    def close_idle(self) -> None:
        """Close the connections on which nothing is asked."""
        for connection in tuple(self.server_state.connections):
            cycle = getattr(connection, "cycle", None)
            if cycle is None or cycle.response_complete:
                connection.transport.close()

    def hang_up(self, client: tuple[str, int] | None = None) -> None:
        """Close the connection of a client at once, or without one those of all."""
        for connection in tuple(self.server_state.connections):
            if client is None or getattr(connection, "client", None) == client:
                connection.transport.abort()


def _bound(host: str, port: int, *, listens: bool) -> socket.socket:
    """Bind a socket, in the caller's thread: a port in use is the caller's own OSError.

    It is told to be TCP by name: without that asyncio leaves Nagle's algorithm on, and each answer
    waits 40 ms for the client's acknowledgement of its first half.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        if listens:
            bound.listen(_BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound
