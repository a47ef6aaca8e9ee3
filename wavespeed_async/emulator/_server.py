"""The app on a loopback socket, in a thread with an event loop of its own.

So it serves clients on asyncio, on trio and without any loop alike, and never blocks theirs.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from functools import partial
from typing import TYPE_CHECKING

import uvicorn

from wavespeed_async.emulator._carrying import HANG_UP

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

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
        self._socket = _listening(host, port)
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
        self._server = _Uvicorn(config)
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

    def _run(self) -> None:
        asyncio.run(self._serve_all())

    async def _serve_all(self) -> None:
        beside = asyncio.ensure_future(self._beside())
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            beside.cancel()
            await asyncio.wait([beside])

    async def _serve(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        hang_up = partial(self._server.hang_up, scope["client"])
        await app({**scope, "extensions": {HANG_UP: hang_up}}, receive, send)


class _Uvicorn(uvicorn.Server):
    """Stop at once when told to, where uvicorn itself looks ten times a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = threading.Event()
        self._stopping = asyncio.Event()
        self.loop: asyncio.AbstractEventLoop

    async def main_loop(self) -> None:
        """Serve until `stop`; what is unanswered by then loses its connection."""
        self.loop = asyncio.get_running_loop()
        self.is_up.set()
        await self._stopping.wait()
        self.hang_up()
        await asyncio.sleep(0)  # lets the connections learn that they are closed

    def stop(self) -> None:
        """End `main_loop`, from any thread."""
        self.loop.call_soon_threadsafe(self._stopping.set)

    def hang_up(self, client: tuple[str, int] | None = None) -> None:
        """Close the connection of a client at once, or without one those of all."""
        for connection in tuple(self.server_state.connections):
            if client is None or getattr(connection, "client", None) == client:
                connection.transport.abort()


def _listening(host: str, port: int) -> socket.socket:
    """Bind a socket, in the caller's thread: a port in use is the caller's own OSError.

    It is told to be TCP by name: without that asyncio leaves Nagle's algorithm on, and each answer
    waits 40 ms for the client's acknowledgement of its first half.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening
