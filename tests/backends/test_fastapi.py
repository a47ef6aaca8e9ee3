"""A FastAPI application over real sockets: its client, its errors, its visitors, its webhooks."""

from __future__ import annotations

import json
import logging
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint
from fastapi import Depends, FastAPI, Request, WebSocket
from starlette.requests import ClientDisconnect

from tests.backends.serving import SECRET, Watched, maker, read_until, serving, signed, until
from tests.wire import ID
from wavespeed_async import AsyncWaveSpeed, FluxDev, Limiter, Limits
from wavespeed_async.backends.fastapi import (
    Client,
    PredictionEvents,
    at_priority,
    handle_errors,
    lifespan,
    shared_client,
    webhook_router,
    while_connected,
)
from wavespeed_async.emulator import Emulator
from wavespeed_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

ENDED = json.dumps({"id": ID, "status": "completed", "outputs": []}).encode()


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on asyncio: uvicorn does."""
    return "asyncio", {}


def application(make: Any) -> FastAPI:
    app = FastAPI(lifespan=lifespan(make))
    handle_errors(app)
    app.include_router(webhook_router(SECRET, largest=400_000))

    @app.post("/picture")
    async def picture(http: Request, client: Client, guidance: float = 5.0) -> list[str]:
        async with while_connected(http):
            made = await client.flux_dev(prompt="a fox", guidance_scale=guidance)
        return list(made.outputs)

    @app.post("/late")
    async def late(http: Request, client: Client) -> str:
        async with while_connected(http):
            await client.with_options(timeout=0.1).flux_dev(prompt="a fox")
        return "made"

    @app.post("/wrong")
    async def wrong(http: Request) -> None:
        async with while_connected(http):
            raise ZeroDivisionError

    @app.api_route("/events", methods=["GET", "POST"], response_model=None)
    async def events(client: Client, prediction: str | None = None) -> PredictionEvents:
        return PredictionEvents(client, prediction or FluxDev(prompt="a fox"), ping=0.05)

    return app


@asynccontextmanager
async def running(
    **settings: Any,
) -> AsyncGenerator[tuple[httpx.AsyncClient, Emulator, Watched]]:
    """Run the application against an emulator; hand out a visitor, the emulator and the client."""
    async with Emulator(pictures=False, **{"latency": 0.2, **settings}) as emulator:
        make, made = maker(emulator.url)
        async with serving(application(make)) as (visitor, _):
            yield visitor, emulator, made[0]


def type_of(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/problem+json"
    told: str = answer.json()["type"]
    return told.rpartition(":")[2]


# --- one client ----------------------------------------------------------------------------------


async def test_all_requests_share_one_client() -> None:
    """It is made when the application starts, given to each route, and closed at the end."""
    async with Emulator(pictures=False, latency=0.1) as emulator:
        make, made = maker(emulator.url)
        app = application(make)
        assert made == []
        async with serving(app) as (visitor, _):
            answers = [await visitor.post("/picture") for _ in range(2)]
            assert [answer.status_code for answer in answers] == [200, 200]
        assert len(made) == 1
        with pytest.raises(ConfigurationError, match="closed"):
            await made[0].flux_dev(prompt="a fox")


async def test_the_lifespan_goes_into_another() -> None:
    """An application's own lifespan can hold it, beside what else it opens."""
    opened: list[str] = []

    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncGenerator[None]:
        async with lifespan(partial(AsyncWaveSpeed, "a-key"))(app):
            opened.append("database")
            yield

    app = FastAPI(lifespan=own)

    @app.get("/")
    async def show(client: Client) -> str:
        return repr(client)

    async with serving(app) as (visitor, _):
        assert "AsyncWaveSpeed" in (await visitor.get("/")).json()
    assert opened == ["database"]


async def test_an_application_without_the_lifespan_is_told() -> None:
    """A route that wants the client says how the application gets one."""
    scope = {"type": "http", "app": FastAPI()}
    with pytest.raises(ConfigurationError, match="lifespan=lifespan"):
        await shared_client(Request(scope))


async def test_web_sockets_have_the_client_too() -> None:
    """The dependency serves a web socket's route as well."""
    app = FastAPI()
    app.state.wavespeed = client = AsyncWaveSpeed("a-key")
    scope = {"type": "websocket", "app": app}
    assert await shared_client(WebSocket(scope, None, None)) is client  # type: ignore[arg-type]  # nothing is read


async def test_a_route_may_have_another_priority() -> None:
    """The dependency's client asks at its priority, on the same limiter."""
    found: list[AsyncWaveSpeed] = []
    app = FastAPI(lifespan=lifespan(partial(AsyncWaveSpeed, "a-key")))

    @app.get("/")
    async def show(
        client: Client, urgent: Annotated[AsyncWaveSpeed, Depends(at_priority(-1))]
    ) -> None:
        found.extend((client, urgent))

    async with serving(app) as (visitor, _):
        assert (await visitor.get("/")).status_code == 200
    assert [client._defaults.priority for client in found] == [0, -1]
    assert found[0].limiter is found[1].limiter


# --- errors --------------------------------------------------------------------------------------


async def test_errors_are_answered_as_problems(caplog: pytest.LogCaptureFixture) -> None:
    """A bad field, a timeout, and trouble with the account each have their status; no trace."""
    async with running() as (visitor, emulator, _):
        answer = await visitor.post("/picture", params={"guidance": 50})
        assert (answer.status_code, type_of(answer)) == (422, "invalid-request")
        assert answer.json()["field"] == "guidance_scale"
        assert len(emulator.requests) == 0

        late = await visitor.post("/late")
        assert (late.status_code, type_of(late)) == (504, "timeout")
        assert late.json()["prediction_id"] == emulator.predictions[0].id

        emulator.next(kind="submit", status_code=401, body={"code": 401, "message": "bad key"})
        with caplog.at_level(logging.ERROR, "wavespeed_async"):
            down = await visitor.post("/picture")
        assert (down.status_code, type_of(down)) == (503, "unavailable")
        assert "key" not in down.text
    assert "bad key" in caplog.text
    assert "a-key" not in caplog.text


async def test_a_full_limiter_says_when_to_come_back() -> None:
    """Without room for a request in time it is 503 with Retry-After."""
    async with Emulator(pictures=False, latency=30.0, concurrency=1) as emulator:
        limits = Limits(per=6.0, concurrency=1)
        make, made = maker(emulator.url, limits=None, limiter=Limiter(limits))
        async with serving(application(make)) as (visitor, _):
            await made[0].submit(FluxDev(prompt="a fox"))
            answer = await visitor.post("/late")
    assert (answer.status_code, type_of(answer)) == (503, "busy")
    assert int(answer.headers["retry-after"]) >= 1


async def test_another_error_is_the_applications_own() -> None:
    """What the block raises passes as it is, outside of any group."""
    async with running() as (visitor, _, __):
        assert (await visitor.post("/wrong")).status_code == 500
        messages = [{"type": "http.request"}, {"type": "http.disconnect"}]
        http = Request({"type": "http"}, receive=partial(_next_of, messages))
        with pytest.raises(ZeroDivisionError):
            async with while_connected(http):
                raise ZeroDivisionError


# --- visitors who leave --------------------------------------------------------------------------


async def _next_of(messages: list[dict[str, Any]]) -> dict[str, Any]:
    await checkpoint()
    return messages.pop(0)


async def test_who_leaves_ends_the_block() -> None:
    """The block is cancelled by the disconnect, which is then what the route raises."""
    messages = [{"type": "http.request"}, {"type": "http.disconnect"}]
    http = Request({"type": "http"}, receive=partial(_next_of, messages))
    with pytest.raises(ClientDisconnect):
        async with while_connected(http):
            await anyio.sleep_forever()


async def test_who_stays_is_not_in_the_way() -> None:
    """A block whose visitor stays ends as it would without."""

    async def receive() -> dict[str, Any]:
        await anyio.sleep_forever()
        raise AssertionError

    async with while_connected(Request({"type": "http"}, receive=receive)):
        await checkpoint()


async def test_a_visitor_who_leaves_ends_the_wait_and_keeps_the_id() -> None:
    """The prediction is told as left, holds its slot while it runs, and its id finds it again."""
    async with running(latency=1.0, latency_cv=0.0) as (visitor, emulator, client):
        with pytest.raises(httpx.ReadTimeout):
            await visitor.post("/picture", timeout=0.5)
        await until(lambda: bool(client.left))
        assert client.left == [made.id for made in emulator.predictions]
        assert client.limiter.running == 1
        async with visitor.stream(
            "GET", "/events", params={"prediction": client.left[0]}
        ) as answer:
            assert (await read_until(answer, "finished"))[-1] == "finished"
        assert client.limiter.running == 0
        assert len(emulator.predictions) == 1


async def test_the_answer_to_nobody_is_499() -> None:
    """What the server's log has of a visitor who left is neither a success nor a failure."""
    app = application(None)
    handler: Any = app.exception_handlers[ClientDisconnect]
    assert (await handler(None, ClientDisconnect())).status_code == 499


# --- events --------------------------------------------------------------------------------------


async def test_progress_is_told_as_events() -> None:
    """Each step is an event with JSON, with comments between, and the stream ends by itself."""
    async with running(latency=0.5) as (visitor, _, __):
        answer = await visitor.post("/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    parts = answer.text.replace("\r\n", "\n").split("\n\n")
    events = [part.split("\n") for part in parts if part.startswith("event")]
    names = [event[0].removeprefix("event: ") for event in events]
    assert names[:2] == ["queued", "submitted"]
    assert names[-1] == "finished"
    assert json.loads(events[-1][1].removeprefix("data: "))["outputs"]
    assert any(part.startswith(": ping") for part in parts)


async def test_a_stream_that_would_pay_again_is_refused() -> None:
    """A GET that would submit is a fault of the application, before anything is sent."""
    async with running() as (visitor, emulator, _):
        answer = await visitor.get("/events")
        assert (answer.status_code, type_of(answer)) == (500, "internal")
        assert len(emulator.requests) == 0


@pytest.mark.parametrize("moment", ["queued", "submitted"])
async def test_who_stops_listening_ends_the_wait(moment: str) -> None:
    """A visitor who closes the stream leaves nothing behind but the prediction and its id."""
    async with running(latency=1.0) as (visitor, emulator, client):
        async with visitor.stream("POST", "/events") as answer:
            await read_until(answer, moment)
        await until(lambda: client.left == [made.id for made in emulator.predictions])
        assert client.limiter.waiting == 0


# --- webhooks ------------------------------------------------------------------------------------


async def test_a_webhook_is_handed_to_who_waits() -> None:
    """A signed call is answered 204 and given to the client."""
    async with running() as (visitor, _, client):
        answer = await visitor.post("/webhooks/wavespeed", content=ENDED, headers=signed(ENDED))
        assert (answer.status_code, answer.content) == (204, b"")
        assert [prediction.id for prediction in client.arrived] == [ID]
        large = ENDED[:-1] + b" " * 300_000 + b"}"
        answer = await visitor.post("/webhooks/wavespeed", content=large, headers=signed(large))
        assert answer.status_code == 204
        assert len(client.arrived) == 2


async def test_a_picture_ends_by_its_webhook() -> None:
    """A stream whose client has a webhook at this route ends by the call, without a poll."""
    async with Emulator(pictures=False, latency=0.5, webhook_secret=SECRET) as emulator:
        make, made = maker(emulator.url)
        app = application(make)
        url = ""

        @app.post("/called", response_model=None)
        async def called(client: Client) -> PredictionEvents:
            return PredictionEvents(client.with_options(webhook=url), FluxDev(prompt="a fox"))

        async with serving(app) as (visitor, _):
            url = str(visitor.base_url.join("/webhooks/wavespeed"))
            answer = await visitor.post("/called")
    assert "event: finished" in answer.text
    assert [request.kind for request in emulator.requests] == ["submit"]
    assert len(made[0].arrived) == 1


async def test_a_call_that_is_not_from_the_api_is_refused() -> None:
    """Forged, bare and oversized calls are refused, and nobody is given anything."""
    async with running() as (visitor, _, client):
        post = partial(visitor.post, "/webhooks/wavespeed")
        forged = await post(content=ENDED, headers=signed(ENDED, "whsec_other"))
        assert (forged.status_code, type_of(forged)) == (401, "not-verified")
        assert (await post(content=ENDED)).status_code == 401
        large = b" " * 400_001
        announced = await post(content=large, headers=signed(large))
        assert (announced.status_code, type_of(announced)) == (413, "too-large")

        async def parts() -> AsyncGenerator[bytes]:
            yield large

        assert (await post(content=parts(), headers=signed(large))).status_code == 413
        assert client.arrived == []


def test_an_empty_secret_is_refused_at_once() -> None:
    """The application does not start with a route that could verify nothing."""
    for secret in ("", "whsec_"):
        with pytest.raises(ConfigurationError, match="secret is empty"):
            webhook_router(secret)
