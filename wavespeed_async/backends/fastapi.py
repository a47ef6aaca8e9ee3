"""One client for a FastAPI application: opened with it, handed to its routes, closed with it.

::

    app = FastAPI(lifespan=lifespan())
    handle_errors(app)

    @app.post("/pictures")
    async def picture(order: Order, http: Request, client: Client) -> list[str]:
        async with while_connected(http):
            prediction = await client.flux_dev(prompt=order.prompt)
        return list(prediction.outputs)

It needs the extra `fastapi`: `pip install 'wavespeed-async[fastapi]'`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated

import anyio

from wavespeed_async._client import AsyncWaveSpeed
from wavespeed_async._extras import need
from wavespeed_async.backends._problems import MEDIA_TYPE, Problem, problem_of, tell
from wavespeed_async.backends._progress import PING, SEND_TIMEOUT, Progress, Step, check_method
from wavespeed_async.backends._webhook import (
    LARGEST,
    PATH,
    TOO_LARGE,
    TooLargeError,
    arrived,
    check_secret,
)
from wavespeed_async.errors import ConfigurationError, WaveSpeedError

with need("fastapi", of=__name__):
    from fastapi import APIRouter, Depends, FastAPI
    from fastapi.requests import HTTPConnection  # noqa: TC002 (FastAPI reads it from annotations)
    from fastapi.responses import Response
    from sse_starlette import EventSourceResponse
    from starlette.requests import ClientDisconnect

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from fastapi.requests import Request
    from starlette.types import Receive, Scope, Send

    from wavespeed_async.backends._progress import Item

__all__ = [
    "Client",
    "PredictionEvents",
    "Problem",
    "Progress",
    "Step",
    "at_priority",
    "handle_errors",
    "lifespan",
    "shared_client",
    "webhook_router",
    "while_connected",
]

VISITOR_LEFT = 499
"""What nginx writes into its log for somebody who did not wait for the answer; nobody reads it."""


# --- one client ----------------------------------------------------------------------------------


def lifespan(
    make: Callable[[], AsyncWaveSpeed] = AsyncWaveSpeed,
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Open one client with the application, and close it with it.

    Give it to `FastAPI(lifespan=…)`, or enter it in a lifespan of your own:
    `async with lifespan(make)(app): yield`. The client is made when the application starts, so
    that each worker makes its own, however the server starts them.

    Args:
        make: Makes the client, such as `partial(AsyncWaveSpeed, timeout=60.0)`.
    """

    @asynccontextmanager
    async def open_client(app: FastAPI) -> AsyncGenerator[None]:
        async with make() as client:
            app.state.wavespeed = client
            try:
                yield
            finally:
                del app.state.wavespeed

    return open_client


async def shared_client(connection: HTTPConnection) -> AsyncWaveSpeed:
    """Answer the application's client: a dependency, for routes of HTTP and of web sockets.

    Raises:
        ConfigurationError: The application runs without the lifespan.
    """
    client = getattr(connection.app.state, "wavespeed", None)
    if not isinstance(client, AsyncWaveSpeed):
        message = "the application has no client: make it with FastAPI(lifespan=lifespan())"
        raise ConfigurationError(message)
    return client


Client = Annotated[AsyncWaveSpeed, Depends(shared_client)]
"""The application's client, as the type of a route's parameter."""


def at_priority(priority: int) -> Callable[..., Awaitable[AsyncWaveSpeed]]:
    """Make a dependency: the application's client at another priority, where lower goes first.

    Visitors at the default of 0 go before batches already, which come one number later.
    """

    async def prior(client: Client) -> AsyncWaveSpeed:
        return client.with_options(priority=priority)

    return prior


# --- errors --------------------------------------------------------------------------------------


def handle_errors(app: FastAPI) -> None:
    """Have the application answer this package's errors as problem details, never as a trace."""
    app.add_exception_handler(WaveSpeedError, _answer_problem)
    app.add_exception_handler(ClientDisconnect, _answer_nobody)


async def _answer_problem(http: Request, error: Exception) -> Response:
    client = getattr(http.app.state, "wavespeed", None)
    problem = problem_of(error, client.limiter if client else None)
    tell(error, problem)
    return _response(problem)


async def _answer_nobody(_: Request, __: Exception) -> Response:
    return Response(status_code=VISITOR_LEFT)


def _response(problem: Problem) -> Response:
    return Response(problem.body(), problem.status, problem.headers(), MEDIA_TYPE)


# --- visitors who leave --------------------------------------------------------------------------


@asynccontextmanager
async def while_connected(http: Request) -> AsyncGenerator[None]:
    """Cancel the block when the visitor leaves; without this a route works on for nobody.

    What was not submitted never is; what runs goes on, keeps its slot until it is known to have
    ended, and is told to the client's observer as `PredictionLeft` with its id. Read the request's
    body before the block: it is over for this.

    Raises:
        ClientDisconnect: After the block, where it was cancelled.
    """
    block = anyio.CancelScope()

    async def listen() -> None:
        while (await http.receive())["type"] != "http.disconnect":
            pass
        block.cancel()

    # What the block raises stays out of the group, which would put another group around it.
    group = await anyio.create_task_group().__aenter__()
    group.start_soon(listen)
    try:
        with block:
            yield
    finally:
        group.cancel_scope.cancel()
        await group.__aexit__(None, None, None)
    _check_stayed(block)


def _check_stayed(block: anyio.CancelScope) -> None:
    if block.cancelled_caught:
        raise ClientDisconnect


class PredictionEvents(EventSourceResponse):
    """Answer with the progress of predictions as server-sent events, until all have ended.

    Each event is named after its step (`queued`, `submitted`, `running`, `finished`, `failed`) and
    has JSON: the item's `index`, from `submitted` on the `id`, at last the `outputs`, or what a
    problem has. A visitor who leaves ends the waits; a stream of the ids goes on where it was.

    Args:
        client: Makes them, with its own timeout and priority.
        items: Requests, and predictions or ids that run already.
        ping: Seconds between the comments that keep an idle stream open.

    Raises:
        ConfigurationError: When it is sent: a request would be submitted by a GET, which browsers
            repeat by themselves.
    """

    def __init__(self, client: AsyncWaveSpeed, *items: Item, ping: float = PING) -> None:
        self._items = items
        super().__init__(_events(client, items), ping=ping, send_timeout=SEND_TIMEOUT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, as ASGI has it."""
        check_method(scope["method"], self._items)
        await super().__call__(scope, receive, send)


async def _events(client: AsyncWaveSpeed, items: tuple[Item, ...]) -> AsyncIterator[dict[str, str]]:
    async with Progress(client, *items) as steps:
        async for step in steps:
            yield {"event": step.name, "data": step.text()}


# --- webhooks ------------------------------------------------------------------------------------


def webhook_router(secret: str, *, path: str = PATH, largest: int = LARGEST) -> APIRouter:
    """Make the route that the API calls when a prediction has ended, to be included.

    It verifies the call and ends the waits for its prediction, as `client.receive` does; it answers
    204 whether somebody waits or not, since the API repeats what is not answered.

    Args:
        secret: The account's webhook secret, `whsec_…`.
        path: Where it is.
        largest: Bytes that a call may have; pictures in base64 are large, URLs are not.

    Raises:
        ConfigurationError: The secret is empty.
    """
    router = APIRouter()
    answer = partial(_take_webhook, check_secret(secret), largest)
    router.add_route(path, answer, methods=["POST"], include_in_schema=False)
    return router


async def _take_webhook(secret: str, largest: int, http: Request) -> Response:
    client = await shared_client(http)
    try:
        await arrived(client, http.headers, http.stream(), secret, largest)
    except TooLargeError:
        return _response(TOO_LARGE)
    except WaveSpeedError as error:
        return await _answer_problem(http, error)
    return Response(status_code=204)
