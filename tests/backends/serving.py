"""Applications over real sockets, in the event loop of the test."""

from __future__ import annotations

import hashlib
import hmac
import importlib.util
import sys
import time
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import anyio
import httpx
import uvicorn
from aiohttp import web

from wavespeed_async import AsyncWaveSpeed, Limits, PredictionLeft, WebhookReceived

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from types import ModuleType

    from fastapi import FastAPI

    from wavespeed_async import Event, Prediction

EXAMPLES = Path(__file__).parents[2] / "examples"
SECRET = "whsec_a-secret"
SOON = Limits(per=6.0, min_poll_interval=0.05)
"""The API's limits, ten times as fast."""


class Watched(AsyncWaveSpeed):
    """Keep what was left, and what has arrived by webhook."""

    def __init__(self, **settings: Any) -> None:
        super().__init__("a-key", observe=self.note, **settings)
        self.left: list[str] = []
        self.arrived: list[Prediction] = []

    def note(self, event: Event) -> None:
        if isinstance(event, PredictionLeft):
            self.left.append(event.prediction.id)
        elif isinstance(event, WebhookReceived):
            self.arrived.append(event.prediction)


def example(name: str) -> ModuleType:
    """Load an example from its file."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pydantic looks there for what annotations name
    spec.loader.exec_module(module)
    return module


def maker(url: str, **settings: Any) -> tuple[Callable[[], AsyncWaveSpeed], list[Watched]]:
    """Answer what makes an application's client, and where it is found then."""
    made: list[Watched] = []

    def make() -> AsyncWaveSpeed:
        made.append(Watched(base_url=url, **{"limits": SOON, **settings}))
        return made[-1]

    return make, made


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncGenerator[tuple[httpx.AsyncClient, uvicorn.Server]]:
    """Serve a FastAPI application by uvicorn; hand out a visitor and the server."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
    async with anyio.create_task_group() as group:
        group.start_soon(server.serve)
        while not server.started:  # noqa: ASYNC110 (uvicorn has no event for it)
            await anyio.sleep(0.01)
        url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        try:
            async with httpx.AsyncClient(base_url=url, timeout=20.0) as visitor:
                yield visitor, server
        finally:
            server.should_exit = True


@asynccontextmanager
async def serving_aiohttp(
    app: web.Application, **settings: Any
) -> AsyncGenerator[httpx.AsyncClient]:
    """Serve an aiohttp application; hand out a visitor."""
    runner = web.AppRunner(app, access_log=None, **settings)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=20.0) as visitor:
            yield visitor
    finally:
        await runner.cleanup()


def signed(body: bytes, secret: str = SECRET) -> dict[str, str]:
    """Sign a call as the API does."""
    identity, timestamp = "msg_1", str(int(time.time()))
    text = f"{identity}.{timestamp}.".encode() + body
    key = secret.removeprefix("whsec_").encode()
    return {
        "webhook-id": identity,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v3,{hmac.new(key, text, hashlib.sha256).hexdigest()}",
    }


async def read_until(answer: httpx.Response, name: str) -> list[str]:
    """Read the names of a stream's events up to one, or to its end."""
    names: list[str] = []
    async with aclosing(cast("AsyncGenerator[str]", answer.aiter_lines())) as lines:
        async for line in lines:
            if line.startswith("event: "):
                names.append(line.removeprefix("event: "))
                if names[-1] == name:
                    break
    return names


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds that a server does in its own time."""
    with anyio.fail_after(10.0):
        while not holds():  # noqa: ASYNC110 (there is no event for it)
            await anyio.sleep(0.01)
