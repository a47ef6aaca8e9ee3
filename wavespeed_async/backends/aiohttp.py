"""One client for an aiohttp application: opened with it, handed to its handlers, closed with it.

::

    app = web.Application(middlewares=[answer_errors])
    app.cleanup_ctx.append(client_context())

    async def picture(request: web.Request) -> web.Response:
        prediction = await request.config_dict[CLIENT].flux_dev(prompt="a lighthouse")
        return web.json_response(prediction.outputs)

A handler is cancelled when its visitor leaves only where the server is told so:
`web.run_app(app, handler_cancellation=True)`. It needs the extra `aiohttp`:
`pip install 'wavespeed-async[aiohttp]'`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

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
from wavespeed_async.errors import WaveSpeedError

with need("aiohttp", of=__name__):
    from aiohttp import web
    from aiohttp_sse import EventSourceResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiohttp.typedefs import Handler

    from wavespeed_async.backends._progress import Item

__all__ = [
    "CLIENT",
    "Problem",
    "Progress",
    "Step",
    "answer_errors",
    "client_context",
    "send_events",
    "webhook_route",
]

CLIENT: web.AppKey[AsyncWaveSpeed] = web.AppKey("CLIENT", AsyncWaveSpeed)
"""Where the application has its client: `request.config_dict[CLIENT]`, in sub-applications too."""


def client_context(
    make: Callable[[], AsyncWaveSpeed] = AsyncWaveSpeed,
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Open one client with the application, and close it with it: for `app.cleanup_ctx`.

    The client is made when the application starts, so that each worker makes its own.

    Args:
        make: Makes the client, such as `partial(AsyncWaveSpeed, timeout=60.0)`.
    """

    async def open_client(app: web.Application) -> AsyncIterator[None]:
        async with make() as client:
            app[CLIENT] = client
            yield

    return open_client


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer this package's errors as problem details, never as a trace: a middleware."""
    try:
        return await handler(request)
    except WaveSpeedError as error:
        return _answer_problem(request, error)


def _answer_problem(request: web.Request, error: WaveSpeedError) -> web.Response:
    client = request.config_dict.get(CLIENT)
    problem = problem_of(error, client.limiter if client else None)
    tell(error, problem)
    return _response(problem)


def _response(problem: Problem) -> web.Response:
    return web.Response(
        status=problem.status,
        body=problem.body(),
        headers=problem.headers(),
        content_type=MEDIA_TYPE,
    )


async def send_events(
    request: web.Request, client: AsyncWaveSpeed, *items: Item, ping: float = PING
) -> web.StreamResponse:
    """Answer with the progress of predictions as server-sent events, until all have ended.

    Each event is named after its step (`queued`, `submitted`, `running`, `finished`, `failed`) and
    has JSON: the item's `index`, from `submitted` on the `id`, at last the `outputs`, or what a
    problem has. A visitor who leaves ends the waits, at the latest with the next ping; a stream of
    the ids goes on where it was.

    Args:
        request: Whom to answer.
        client: Makes them, with its own timeout and priority.
        items: Requests, and predictions or ids that run already.
        ping: Seconds between the comments that keep an idle stream open.

    Raises:
        ConfigurationError: A request would be submitted by a GET, which browsers repeat by
            themselves.
    """
    check_method(request.method, items)
    response = EventSourceResponse(
        allow_all_methods=True, ping_interval=ping, send_timeout=SEND_TIMEOUT
    )
    await response.prepare(request)
    async with response, Progress(client, *items) as steps:
        await _send(response, steps)
    return response


async def _send(response: EventSourceResponse, steps: Progress) -> None:
    """Send the steps as they come, while the visitor is there."""

    async def watch() -> None:
        await response.wait()  # until a ping finds nobody
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        try:
            async for step in steps:
                await response.send(step.text(), event=step.name)
        except (ConnectionError, TimeoutError):
            pass  # the visitor has left: there is nobody to tell
        group.cancel_scope.cancel()


def webhook_route(secret: str, *, path: str = PATH, largest: int = LARGEST) -> web.RouteDef:
    """Make the route that the API calls when a prediction has ended, for `app.add_routes`.

    It verifies the call and ends the waits for its prediction, as `client.receive` does; it answers
    204 whether somebody waits or not, since the API repeats what is not answered.

    Args:
        secret: The account's webhook secret, `whsec_…`.
        path: Where it is.
        largest: Bytes that a call may have; pictures in base64 are large, URLs are not.

    Raises:
        ConfigurationError: The secret is empty.
    """
    return web.post(path, partial(_take_webhook, check_secret(secret), largest))


async def _take_webhook(secret: str, largest: int, request: web.Request) -> web.StreamResponse:
    client = request.config_dict[CLIENT]
    parts = request.content.iter_any()
    try:
        await arrived(client, request.headers, parts, secret, largest)
    except TooLargeError:
        return _response(TOO_LARGE)
    except WaveSpeedError as error:
        return _answer_problem(request, error)
    return web.Response(status=204)
