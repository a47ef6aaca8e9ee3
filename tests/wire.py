"""What the tests of the wire share: an API by script, raw sockets, and the parts of a client."""

from __future__ import annotations

import json
import random
import socket
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
import httpx
import pytest
from anyio.abc import SocketAttribute
from attrs import define, field

from wavespeed_async._calls import Calls
from wavespeed_async._media import Storage
from wavespeed_async._polling import Poller
from wavespeed_async._transport import Transport
from wavespeed_async._uploads import Uploads
from wavespeed_async.limits import Limiter, Limits, Permit

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping

    from anyio.abc import SocketStream

    from wavespeed_async._events import Event

KEY = "wsk_0123456789abcdef"
URL = "https://api.test"
ID = "6488c2754f6f4dfea924382fa14d11bd"
OTHER = "0" * 32
OUTPUT = "https://cdn.test/1.png"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))

real_loops = pytest.mark.parametrize(
    "anyio_backend", [("asyncio", {}), ("trio", {})], ids=["asyncio", "trio"]
)
"""For a test that needs real sockets, in a module that lives by virtual time."""

real_wires = pytest.mark.parametrize(
    ("anyio_backend", "transport"),
    [(("asyncio", {}), None), (("trio", {}), None), (("asyncio", {}), "aiohttp")],
    ids=["asyncio", "trio", "aiohttp"],
)
"""The same for a test that holds whatever carries the requests: it takes a `transport`."""


def data_of(status: str = "completed", prediction_id: str = ID, **more: Any) -> dict[str, Any]:
    """Make the `data` of an answer."""
    outputs = [OUTPUT] if status == "completed" else []
    return {"id": prediction_id, "model": "m/m", "status": status, "outputs": outputs, **more}


@define
class Reply:
    """Say what to answer, after how many seconds; a mapping or None is sent as JSON."""

    body: Mapping[str, Any] | str | bytes | None = None
    status: int = 200
    headers: Mapping[str, str] = field(factory=dict)
    after: float = 0.0

    def response(self) -> httpx.Response:
        """Make the answer; a response serves once."""
        body = self.body
        text = body if isinstance(body, str | bytes) else json.dumps(body)
        stream = httpx.ByteStream(text.encode() if isinstance(text, str) else text)
        return httpx.Response(self.status, stream=stream, headers=dict(self.headers))


def reply(status: str = "completed", *, after: float = 0.0, **more: Any) -> Reply:
    """Answer with a prediction."""
    return Reply({"code": 200, "message": "success", "data": data_of(status, **more)}, after=after)


def refusal(code: int, *, status: int | None = None, **headers: str) -> Reply:
    """Answer with an error's envelope, under its own HTTP status or another one."""
    body = {"code": code, "message": f"refused with {code}"}
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(body, status=code if status is None else status, headers=names)


def page(status: int) -> Reply:
    """Answer as a gateway does."""
    return Reply("<html><body>Bad gateway</body></html>", status=status)


def named(step: Any) -> str:
    """Name a test's case by what is answered."""
    if isinstance(step, Reply):
        return f"{step.status} {str(step.body)[:40]}"
    return repr(step) if isinstance(step, Exception) else str(getattr(step, "__name__", step))


Step: TypeAlias = "Reply | Exception | Callable[[httpx.Request], Awaitable[httpx.Response]]"


class Api:
    """Answer requests by a script, whose last step stands for all that follow.

    Attributes:
        requests: What came.
        headers: The headers as they came: the client takes the key off its requests again.
        times: When it came.
    """

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.requests: list[httpx.Request] = []
        self.headers: list[httpx.Headers] = []
        self.times: list[float] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.headers.append(request.headers.copy())
        self.times.append(anyio.current_time())
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, Exception):
            raise step
        if isinstance(step, Reply):
            await anyio.sleep(step.after)
            return step.response()
        return await step(request)

    @property
    def methods(self) -> list[str]:
        """Name the methods of what came."""
        return [request.method for request in self.requests]

    @property
    def paths(self) -> list[str]:
        """Name the paths of what came."""
        return [request.url.path for request in self.requests]


class Bench:
    """Put the parts of a client together over a scripted API."""

    def __init__(
        self,
        *steps: Step,
        limits: Limits | None = None,
        max_retries: int = 3,
        transport: httpx.AsyncBaseTransport | str | None = None,
        base_url: str = URL,
        key: str = KEY,
    ) -> None:
        self.api = Api(*steps)
        self.limits = limits or Limits()
        self.limiter = Limiter(self.limits)
        self.events: list[Event] = []
        self.transport = Transport(
            api_key=key,
            base_url=base_url,
            transport=httpx.MockTransport(self.api) if steps else transport,
            observe=self.events.append,
        )
        dice = random.Random(7)
        self.calls = Calls(
            self.transport,
            self.limiter,
            max_retries=max_retries,
            observe=self.events.append,
            dice=dice,
        )
        self.poller = Poller(self.calls, max_retries=max_retries, dice=dice)
        self.storage = Storage(
            self.transport, max_retries=max_retries, observe=self.events.append, dice=dice
        )
        self.uploads = Uploads(self.calls, self.transport, max_retries=max_retries, dice=dice)

    async def permit(self) -> Permit:
        """Get a turn at the limiter."""
        return await self.limiter.acquire()

    def told(self, kind: type[Event]) -> list[Any]:
        """Answer the events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def told_names(self) -> list[str]:
        """Name the kinds of all events."""
        return [type(event).__name__ for event in self.events]

    @property
    def in_flight(self) -> int:
        """Count the requests whose fate is open at the limiter."""
        return self.limiter._window.in_flight

    @property
    def counted(self) -> int:
        """Count the requests in the limiter's window."""
        return self.limiter.requests_used


@define
class Flood:
    """Answer with zeros without end, some at a time, and count what was taken.

    Attributes:
        part: Bytes of each part.
        sent: Bytes of all parts so far.
    """

    part: int
    sent: int = 0

    async def __call__(self, _: httpx.Request) -> httpx.Response:
        """Begin an answer."""
        return httpx.Response(200, content=self._parts())

    async def _parts(self) -> AsyncGenerator[bytes]:
        while True:
            await anyio.lowlevel.checkpoint()
            self.sent += self.part
            yield bytes(self.part)


Handler: TypeAlias = "Callable[[SocketStream, bytes], Awaitable[None]]"


@asynccontextmanager
async def raw_server(handle: Handler) -> AsyncGenerator[str]:
    """Serve HTTP by hand: `handle` gets each request's head (and its body), and the stream."""

    async def serve(stream: SocketStream) -> None:
        async with stream:
            try:
                while request := await _one_request(stream):
                    await handle(stream, request)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(SocketAttribute.local_port)  # noqa: S610 (anyio's, not Django's)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, serve)
            yield f"http://127.0.0.1:{port}"
            tasks.cancel_scope.cancel()


async def _one_request(stream: SocketStream) -> bytes:
    received = b""
    try:
        while b"\r\n\r\n" not in received:
            received += await stream.receive()
        head, _, body = received.partition(b"\r\n\r\n")
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                missing = int(line.split(b":")[1]) - len(body)
                while missing > 0:
                    part = await stream.receive()
                    received, missing = received + part, missing - len(part)
    except anyio.EndOfStream:
        return b""
    return received


def raw_answer(body: Mapping[str, Any], status: str = "200 OK") -> bytes:
    """Make an answer's bytes."""
    content = json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\ncontent-length: {len(content)}\r\n\r\n"
    return head.encode() + content


async def cancel_after(
    steps: int, call: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any
) -> None:
    """Run a call, and cancel it after so many steps of the event loop."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call, *arguments)
        for _ in range(steps):
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()


def reset(stream: SocketStream) -> None:
    """Have the closing of a connection reset it."""
    raw: socket.socket = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 (anyio's, not Django's)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
