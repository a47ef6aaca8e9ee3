"""The ASGI app around the state machine: HTTP in and out, waiting, and the drawing of pictures."""

from __future__ import annotations

import threading
import time
from base64 import b64encode
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from python_multipart.exceptions import MultipartParseError
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from wavespeed_async._prediction import Status
from wavespeed_async.emulator._answers import (
    envelope,
    misled,
    output_path,
    prediction_data,
    shaped,
    timed_out,
    webhook_data,
)
from wavespeed_async.emulator._carrying import (
    REFUSE,
    Watched,
    carried,
    extension,
    paused,
    plain,
    reached,
    until_gone,
)
from wavespeed_async.emulator._openapi import openapi_route
from wavespeed_async.emulator._page import page_routes
from wavespeed_async.emulator._pictures import SAMPLES, TINY_PNG, Studio
from wavespeed_async.emulator._records import Call, File, Listing, PredictionRecord, Reply
from wavespeed_async.emulator._requests import Refusal
from wavespeed_async.emulator._state import Settings, State
from wavespeed_async.emulator._uploads import MEDIA_TYPES
from wavespeed_async.emulator._webhooks import Courier

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from starlette.types import Receive, Scope, Send

__all__ = ["Service"]

_UPLOAD = "/api/v3/media/upload/binary"
_QUEUE_PAUSE = 0.005
_MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


class Service:
    """Join the state, the studio and a clock into an ASGI app; safe to use from many threads."""

    def __init__(self, settings: Settings, time_source: Callable[[], float]) -> None:
        self.settings = settings
        self.studio = Studio(self._completed, self._uploaded)
        self.courier = Courier(self.state, self._webhook_body, time.time, settings.webhook_secret)
        self._routes = Starlette(
            routes=[
                *page_routes(settings, self.state),
                openapi_route(settings),
                _of_every_method("/api/{path:path}", self._api),
                Route("/outputs/{id}/{number:int}.{kind}", self._output),
                Route("/samples/{name}", self._sample),
                Route("/uploads/{name}", self._upload),
                Route("/storage/{id}", self._storage, methods=["PUT"]),
            ],
            exception_handlers={404: _nowhere},
        )
        self._state = State(settings)
        self._time_source = time_source
        self._lock = threading.Lock()

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as an ASGI app."""
        with self.state() as (state, now):
            refused = state.refuses(now)
        reached(scope, refused=refused)
        await self._routes(scope, receive, send)

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

    def _uploaded(self, path: str) -> bytes | None:
        with self.state() as (state, now):
            found = state.uploads.find(now, path)
        return found.content if found else None

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
            webhook=request.query_params.get("webhook") or None,
            file=await _file(request) if request.url.path == _UPLOAD else None,
            epoch=self._epoch,
        )
        with self.state() as (state, now):
            reply = state.receive(now, call)
        while reply.waits:
            if not await paused(_QUEUE_PAUSE, request.receive):
                return Response()  # for nobody
            with self.state() as (state, now):
                reply = state.receive(now, call)
        if reply.fault == "refused" and (refuse := extension(request.scope, REFUSE)):
            refuse(self.settings.faults.outage)
        try:
            response = await self._response(request, call, reply)
        except BaseException:
            self._answered()
            raise
        slowness = self.settings.faults.slowness
        return Watched(carried(response, reply.fault, slowness), self._answered)

    def _answered(self) -> None:
        with self.state() as (state, _):
            state.answered()

    async def _response(self, request: Request, call: Call, reply: Reply) -> Response:
        prediction = reply.prediction
        if prediction is not None and reply.submitted:
            await self._check(prediction)
            self.courier.wake()
        if reply.listing is not None and reply.body is None:
            return await self._listed(reply, reply.listing, call.origin)
        if prediction is None or reply.body is not None or reply.lost:
            return plain(reply)
        if reply.submitted and prediction.is_held:
            await self._hold(prediction, request.receive)
            prediction = self._found(prediction.id) or prediction
        data = await self._told(reply, prediction, call.origin)
        return JSONResponse(envelope(200, data=data))

    async def _listed(self, reply: Reply, listing: Listing, origin: str) -> Response:
        items = []
        for prediction in listing.items:
            item = await self._told(reply, prediction, origin)
            inputs = {listing.inputs_as: prediction.fields} if listing.inputs_as else {}
            items.append({**item, **inputs})
        data = {"page": listing.page, "total": listing.total, "items": items}
        return JSONResponse(envelope(200, data=data))

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
        await until_gone(receive, lambda: until - self._time_source())

    async def _told(
        self, reply: Reply, prediction: PredictionRecord, origin: str
    ) -> dict[str, Any]:
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
        if reply.fault == "wrong-origin":
            data = misled(data)
        return shaped(data, reply.shape or prediction.shape)

    async def _webhook_body(self, prediction_id: str) -> dict[str, Any] | None:
        found = self._found(prediction_id)
        if found is None:
            return None
        fields = found.fields if self.settings.webhook_input else None
        return webhook_data(await self._told(Reply(), found, found.origin), fields)

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

    async def _upload(self, request: Request) -> Response:
        content = self._uploaded(request.url.path)
        if content is None:
            return Response(status_code=404)
        media_type = MEDIA_TYPES[request.url.path.rpartition(".")[2]]
        return Response(content, media_type=media_type)

    async def _storage(self, request: Request) -> Response:
        """Take the file of a ticket, where it is kept: this is no endpoint of the API."""
        try:
            body = await request.body()
            with self.state() as (state, now):
                state.uploads.put(now, request.path_params["id"], request.headers, body)
        except ClientDisconnect:
            return Response()  # for nobody
        except Refusal as refusal:
            text = f"<Error><Message>{refusal.message}</Message></Error>"
            return Response(text, refusal.status, media_type="application/xml")
        return Response()

    async def _sample(self, request: Request) -> Response:
        if request.url.path not in SAMPLES:
            return Response(status_code=404)
        drawn = await anyio.to_thread.run_sync(self.studio.sample, request.url.path)
        return Response(drawn, media_type="image/png")


def _of_every_method(path: str, endpoint: Callable[[Request], Awaitable[Response]]) -> Route:
    """Answer a route that leaves it to its endpoint which methods there are."""
    route = Route(path, endpoint)
    route.methods = None
    return route


async def _nowhere(_: Request, __: Exception) -> Response:
    return JSONResponse(envelope(404), 404)


def _origin(request: Request) -> str:
    return str(request.base_url).rstrip("/")


async def _file(request: Request) -> File | None:
    """Read the multipart field `file`; None where there is none."""
    try:
        async with request.form() as form:
            sent = form.get("file")
            if not isinstance(sent, UploadFile):
                return None
            return File(sent.filename or "", await sent.read())
    except (HTTPException, MultipartParseError):  # older versions of starlette let the latter out
        return None
