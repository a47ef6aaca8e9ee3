"""The ASGI app around the state machine: HTTP in and out, waiting, and the drawing of pictures."""

from __future__ import annotations

import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import httpx
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from wavespeed_async._prediction import Status
from wavespeed_async.emulator._answers import envelope, output_path, prediction_data, timed_out
from wavespeed_async.emulator._page import page_routes
from wavespeed_async.emulator._pictures import SAMPLES, TINY_PNG, Studio
from wavespeed_async.emulator._state import Call, PredictionRecord, Reply, Settings, State

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

__all__ = ["HANG_UP", "Service"]

HANG_UP = "wavespeed_async.hang_up"
"""The ASGI extension by which a server lets the app close a connection without an answer."""

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


class Service:
    """Join the state, the studio and a clock into an ASGI app; safe to use from many threads."""

    def __init__(self, settings: Settings, time_source: Callable[[], float]) -> None:
        self.settings = settings
        self.studio = Studio(self._completed)
        self.app = Starlette(
            routes=[
                *page_routes(settings, self.state),
                Route("/api/{path:path}", self._api, methods=_METHODS),
                Route("/outputs/{id}/{number:int}.{kind}", self._output),
                Route("/samples/{name}", self._sample),
            ]
        )
        self._state = State(settings)
        self._time_source = time_source
        self._lock = threading.Lock()

    @contextmanager
    def state(self) -> Iterator[tuple[State, float]]:
        """Lend the state, for a moment, together with the time."""
        with self._lock:
            yield self._state, self._time_source()

    @cached_property
    def _epoch(self) -> float:
        """The wall-clock time at which the clock stood at 0."""
        return time.time() - self._time_source()

    def _found(self, prediction_id: str) -> PredictionRecord | None:
        with self.state() as (state, now):
            return state.find(now, prediction_id)

    def _completed(self, prediction_id: str) -> PredictionRecord | None:
        found = self._found(prediction_id)
        return found if found is not None and found.status is Status.COMPLETED else None

    # --- the API ---------------------------------------------------------------------------------

    async def _api(self, request: Request) -> Response:
        try:
            body = await request.body()
        except ClientDisconnect:
            return Response()  # for nobody: half a request is none
        call = Call(
            method=request.method,
            path=request.url.path,
            headers=dict(request.headers),
            body=body,
            origin=_origin(request),
        )
        with self.state() as (state, now):
            reply = state.receive(now, call)
        if reply.prediction is not None and reply.submitted:
            await self._check(reply.prediction)
        if reply.lost:
            return _NoResponse()
        if reply.prediction is None:
            return _plain(reply)
        prediction = reply.prediction
        if reply.submitted and prediction.is_held:
            await self._hold(prediction, request.receive)
            prediction = self._found(prediction.id) or prediction
        return await self._told(reply, prediction, call.origin)

    async def _check(self, prediction: PredictionRecord) -> None:
        """Let a prediction fail whose inputs cannot be read."""
        if not self.settings.pictures or not self.studio.has_own_inputs(prediction):
            return
        failure = await anyio.to_thread.run_sync(self.studio.check, prediction)
        if failure is not None:
            with self.state() as (state, _):
                state.spoil(prediction.id, failure)

    async def _hold(self, prediction: PredictionRecord, receive: Receive) -> None:
        """Wait until a prediction has ended, for as long as sync mode does and the client stays."""
        until = min(prediction.ready, prediction.created + self.settings.sync_timeout)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_when_gone, receive, tasks.cancel_scope)
            while (left := until - self._time_source()) > 0:  # noqa: ASYNC110 (timers ring early)
                await anyio.sleep(left)
            tasks.cancel_scope.cancel()

    async def _told(self, reply: Reply, prediction: PredictionRecord, origin: str) -> Response:
        data = prediction_data(
            prediction,
            version=reply.version,
            origin=origin,
            epoch=self._epoch,
            outputs=await self._outputs(prediction, origin),
            submitted=reply.submitted,
        )
        if reply.submitted and prediction.is_held and not prediction.status.ended:
            data = timed_out(data, self.settings.sync_timeout)
        return JSONResponse(envelope(200, data=data))

    # --- outputs ---------------------------------------------------------------------------------

    async def _outputs(self, prediction: PredictionRecord, origin: str) -> list[str]:
        if prediction.status is not Status.COMPLETED:
            return []
        numbers = range(prediction.count)
        if not prediction.wants_base64:
            return [origin + output_path(prediction, number) for number in numbers]
        media_type = _MEDIA_TYPES[prediction.output_format]
        prefix = f"data:{media_type};base64," if self.settings.base64_prefix else ""
        drawn = [await self._drawn(prediction, number) for number in numbers]
        return [prefix + b64encode(picture).decode() for picture in drawn]

    async def _drawn(self, prediction: PredictionRecord, number: int) -> bytes:
        if not self.settings.pictures:
            return TINY_PNG
        return await anyio.to_thread.run_sync(self.studio.output, prediction, number)

    async def _output(self, request: Request) -> Response:
        prediction = self._completed(request.path_params["id"])
        number: int = request.path_params["number"]
        if (
            prediction is None
            or number >= prediction.count
            or request.url.path != output_path(prediction, number)
        ):
            return Response(status_code=404)
        media_type = _MEDIA_TYPES[prediction.output_format]
        return Response(await self._drawn(prediction, number), media_type=media_type)

    async def _sample(self, request: Request) -> Response:
        if request.url.path not in SAMPLES:
            return Response(status_code=404)
        drawn = await anyio.to_thread.run_sync(self.studio.sample, request.url.path)
        return Response(drawn, media_type="image/png")


class _NoResponse(Response):
    """Close the connection instead of answering."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 (ASGI)
        hang_up = scope.get("extensions", {}).get(HANG_UP)
        if hang_up is None:  # called in process: there is no connection to close
            message = "the emulator lost this answer on purpose"
            raise httpx.ReadError(message)
        hang_up()
        await receive()  # the disconnection: all of the request's body has been read


async def _cancel_when_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    await receive()  # as above
    scope.cancel()


def _plain(reply: Reply) -> Response:
    if isinstance(reply.body, Mapping):
        return JSONResponse(reply.body, reply.status, reply.headers)
    return Response(reply.body, reply.status, {"content-type": "text/html", **reply.headers})


def _origin(request: Request) -> str:
    return str(request.base_url).rstrip("/")
