"""An aiohttp application over real sockets, by the example that comes with the package."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from aiohttp import web

from tests.backends.serving import (
    SECRET,
    example,
    maker,
    read_until,
    serving_aiohttp,
    signed,
    until,
)
from tests.wire import ID
from wavespeed_async import FluxDev
from wavespeed_async.backends.aiohttp import (
    CLIENT,
    answer_errors,
    client_context,
    send_events,
    webhook_route,
)
from wavespeed_async.emulator import Emulator
from wavespeed_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

ENDED = json.dumps({"id": ID, "status": "completed", "outputs": []}).encode()
HOOK = "/webhooks/wavespeed"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on asyncio: aiohttp does."""
    return "asyncio", {}


async def picture(request: web.Request) -> web.Response:
    guidance = float(request.query.get("guidance", "5"))
    client = request.config_dict[CLIENT]
    made = await client.flux_dev(prompt="a fox", guidance_scale=guidance)
    return web.json_response(made.outputs)


async def events(request: web.Request) -> web.StreamResponse:
    item = request.query.get("prediction") or FluxDev(prompt="a fox")
    return await send_events(request, request.config_dict[CLIENT], item, ping=0.05)


def application(make: Any) -> web.Application:
    app = web.Application(middlewares=[answer_errors])
    app.cleanup_ctx.append(client_context(make))
    app.add_routes([web.post("/picture", picture), web.route("*", "/events", events)])
    app.add_routes([webhook_route(SECRET, largest=2000)])
    return app


async def test_a_picture_is_made_and_errors_are_problems() -> None:
    """The client is the application's, closed with it; a bad field is 422, and nothing is sent."""
    async with Emulator(pictures=False, latency=0.1) as emulator:
        make, made = maker(emulator.url)
        async with serving_aiohttp(application(make)) as visitor:
            assert len((await visitor.post("/picture")).json()) == 1
            sent = len(emulator.requests)
            answer = await visitor.post("/picture", params={"guidance": 50})
            assert (answer.status_code, answer.json()["field"]) == (422, "guidance_scale")
            assert answer.headers["content-type"] == "application/problem+json"
            assert len(emulator.requests) == sent
        with pytest.raises(ConfigurationError, match="closed"):
            await made[0].flux_dev(prompt="a fox")


async def test_progress_is_told_as_events() -> None:
    """Each step is an event, with comments between; a GET may only go on watching."""
    async with Emulator(pictures=False, latency=0.5) as emulator:
        make, _ = maker(emulator.url)
        async with serving_aiohttp(application(make)) as visitor:
            text = (await visitor.post("/events")).text
            assert (await visitor.get("/events")).status_code == 500
            again = await visitor.get("/events", params={"prediction": emulator.predictions[0].id})
    names = [line.removeprefix("event: ") for line in text.splitlines() if "event: " in line]
    assert names[:2] == ["queued", "submitted"]
    assert names[-1] == "finished"
    assert ": ping" in text
    assert "event: finished" in again.text
    assert len(emulator.predictions) == 1


@pytest.mark.parametrize("told", [True, False])
async def test_who_leaves_ends_the_wait(told: bool) -> None:
    """A visitor who leaves a stream is noticed at once where aiohttp tells, else by a ping."""
    async with Emulator(pictures=False, latency=5.0, latency_cv=0.0) as emulator:
        make, made = maker(emulator.url)
        async with serving_aiohttp(application(make), handler_cancellation=told) as visitor:
            async with visitor.stream("POST", "/events") as answer:
                await read_until(answer, "running")  # from here on nothing but pings is sent
            await until(lambda: made[0].left == [emulator.predictions[0].id])


async def test_who_leaves_a_plain_handler_ends_the_wait() -> None:
    """With aiohttp's `handler_cancellation` a handler that waits is cancelled."""
    async with Emulator(pictures=False, latency=2.0) as emulator:
        make, made = maker(emulator.url)
        async with serving_aiohttp(application(make), handler_cancellation=True) as visitor:
            with pytest.raises(httpx.ReadTimeout):
                await visitor.post("/picture", timeout=0.5)
            await until(lambda: made[0].left == [emulator.predictions[0].id])


async def test_somebody_who_is_gone_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that cannot be sent any more ends the stream, and the waits."""
    async with Emulator(pictures=False, latency=0.5) as emulator:
        make, _ = maker(emulator.url)
        app = application(make)

        async def broken(request: web.Request) -> web.StreamResponse:
            monkeypatch.setattr("aiohttp_sse.EventSourceResponse.send", refuse)
            return await send_events(request, request.config_dict[CLIENT], FluxDev(prompt="x"))

        async def refuse(*_: object, **__: object) -> None:
            raise ConnectionResetError

        app.router.add_post("/broken", broken)
        async with serving_aiohttp(app) as visitor:
            assert (await visitor.post("/broken")).text == ""


async def test_webhooks_are_verified() -> None:
    """A signed call is handed to the client; forged and oversized ones are not."""
    async with Emulator(pictures=False) as emulator:
        make, made = maker(emulator.url)
        async with serving_aiohttp(application(make)) as visitor:
            answer = await visitor.post(HOOK, content=ENDED, headers=signed(ENDED))
            assert answer.status_code == 204
            forged = await visitor.post(HOOK, content=ENDED, headers=signed(ENDED, "whsec_no"))
            assert forged.status_code == 401

            async def parts() -> AsyncGenerator[bytes]:
                for _ in range(3):
                    yield b" " * 1000

            large = await visitor.post(HOOK, content=parts(), headers=signed(b" " * 3000))
            assert (large.status_code, large.headers["content-type"]) == (
                413,
                "application/problem+json",
            )
        assert [prediction.id for prediction in made[0].arrived] == [ID]


async def test_the_example_makes_a_picture() -> None:
    """A prompt that is posted is told of until it is there, and found again by its id."""
    async with Emulator(pictures=False, latency=0.2) as emulator:
        make, _ = maker(emulator.url, transport="aiohttp")
        async with serving_aiohttp(example("aiohttp_app").create_app(make)) as visitor:
            told = (await visitor.post("/pictures", content="a lighthouse")).text
            [made] = emulator.predictions
            shown = (await visitor.get(f"/pictures/{made.id}")).json()
            again = (await visitor.get(f"/pictures/{made.id}/events")).text
    assert "event: finished" in told
    assert made.fields["prompt"] == "a lighthouse"
    assert shown["status"] == "completed"
    assert shown["outputs"]
    assert "event: finished" in again
