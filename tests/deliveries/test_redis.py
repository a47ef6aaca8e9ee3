"""Arrivals through a real Redis: found by every worker, however late it listens."""

from __future__ import annotations

import json
import logging
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from redis.asyncio import Redis

from tests.hooks import hook
from tests.servers import RedisServer, redis_server
from tests.wire import ID, KEY, OTHER, URL, Api, data_of, reply
from wavespeed_async import (
    AsyncWaveSpeed,
    ConfigurationError,
    DeliveryError,
    FluxDev,
    Limiter,
    Limits,
    Prediction,
    Status,
)
from wavespeed_async._codec import decode_prediction
from wavespeed_async.deliveries import Deliveries
from wavespeed_async.deliveries import redis as module
from wavespeed_async.deliveries.redis import LARGEST, OUTBOX, WANTED, RedisDeliveries
from wavespeed_async.emulator import Emulator
from wavespeed_async.testing import virtual_backend

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

REQUEST = FluxDev(prompt="a silk scarf")
HOOK = "https://app.test/hook"
KEY_OF = "wavespeed-async:studio:arrivals:"


@pytest.fixture(params=["asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run on asyncio alone: Redis's client does."""
    return request.param, {}


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server(password="s3cret") as running:
        yield running


def told(status: str = "completed", prediction_id: str = ID, **more: Any) -> Prediction:
    return decode_prediction(data_of(status, prediction_id, **more))


class Waiting:
    """Be a client that awaits some predictions."""

    def __init__(self, *ids: str) -> None:
        self.awaited = ids
        self.heard: list[Prediction] = []
        self.changed = anyio.Event()

    def awaits(self, prediction_id: str) -> bool:
        return prediction_id in self.awaited

    def hear(self, prediction: Prediction) -> bool:
        self.heard.append(prediction)
        self.changed.set()
        return True

    async def until(self, calls: int) -> None:
        with anyio.fail_after(10):
            while len(self.heard) < calls:
                await self.changed.wait()
                self.changed = anyio.Event()


def deliveries(server: RedisServer, **settings: Any) -> RedisDeliveries:
    return RedisDeliveries(server.url, account="studio", **settings)


@asynccontextmanager
async def workers(server: RedisServer) -> AsyncGenerator[tuple[RedisDeliveries, RedisDeliveries]]:
    """Hand out the deliveries of two workers, both listening."""
    async with (
        deliveries(server) as one,
        deliveries(server) as other,
        Redis.from_url(server.url) as redis,
    ):
        with anyio.fail_after(10):
            while (await redis.pubsub_numsub(KEY_OF[:-1]))[0][1] < 2:  # noqa: ASYNC110 (nobody tells)
                await anyio.sleep(0.01)
        yield one, other


# --- from one worker to another -------------------------------------------------------------------


async def test_an_arrival_reaches_the_worker_that_awaits_it(server: RedisServer) -> None:
    """Posted or published by one, it is heard once by the other, as the API told it."""
    waiting, elsewhere = Waiting(ID, OTHER), Waiting()
    async with workers(server) as (one, other):
        other.attach(waiting)
        other.attach(elsewhere)
        one.post(told(timings={"inference": 4800}))
        await waiting.until(1)
        await one.publish(told("failed", OTHER, error="out of memory"))
        await waiting.until(2)
    first, second = waiting.heard
    assert (first.id, first.status, first.inference_ms) == (ID, Status.COMPLETED, 4800)
    assert first.outputs == told().outputs
    assert (second.id, second.status, second.error) == (OTHER, Status.FAILED, "out of memory")
    assert elsewhere.heard == []


async def test_an_arrival_of_before_is_found(server: RedisServer) -> None:
    """Whoever begins to await a prediction finds the end that was published before."""
    async with deliveries(server) as one:
        await one.publish(told())
    waiting = Waiting()
    async with workers(server) as (other, _):
        other.attach(waiting)
        other.look_for(OTHER)
        waiting.awaited = (ID,)
        other.look_for(ID)
        await waiting.until(1)
    assert [prediction.id for prediction in waiting.heard] == [ID]


async def test_a_worker_that_was_disconnected_finds_what_it_missed(server: RedisServer) -> None:
    """As soon as it listens, it looks for all that it awaits."""
    async with deliveries(server) as one:
        await one.publish(told())
    waiting = Waiting(ID)
    late = deliveries(server)
    late.attach(waiting)
    async with late:
        await waiting.until(1)


async def test_an_arrival_is_kept_for_a_bounded_time(server: RedisServer) -> None:
    """Redis forgets it by itself."""
    async with deliveries(server, keep=30) as one, Redis.from_url(server.url) as redis:
        await one.publish(told())
        assert 0 < await redis.pttl(KEY_OF + ID) <= 30_000


async def test_what_is_too_large_is_left_to_the_poll(server: RedisServer) -> None:
    """Base64 pictures would fill Redis: neither way carries them."""
    large = told(outputs=["A" * LARGEST])
    async with workers(server) as (one, _), Redis.from_url(server.url) as redis:
        await one.publish(large)
        one.post(large)
        one.post(told(prediction_id=OTHER))
        with anyio.fail_after(10):
            while not await redis.exists(KEY_OF + OTHER):  # noqa: ASYNC110 (nobody tells)
                await anyio.sleep(0.01)
        assert not await redis.exists(KEY_OF + ID)


async def test_a_prediction_made_by_hand_is_carried_too(server: RedisServer) -> None:
    """Without the API's own words its fields are told."""
    waiting = Waiting(ID)
    made = Prediction(
        id=ID, model="m/m", status=Status.FAILED, outputs=("1",), error="no", error_code=1400
    )
    async with workers(server) as (one, other):
        other.attach(waiting)
        await one.publish(made)
        await waiting.until(1)
    assert waiting.heard == [made]


@pytest.mark.parametrize(
    "body", [b"\xff", b"[]", b"7", b"{}", b"[" * 100_000, json.dumps(data_of("x", OTHER)).encode()]
)
async def test_what_is_no_arrival_is_passed_over(
    server: RedisServer, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """What somebody else wrote under a name of ours ends nothing, and harms nothing."""
    waiting = Waiting(ID, OTHER)
    async with workers(server) as (one, other), Redis.from_url(server.url) as redis:
        other.attach(waiting)
        await redis.set(KEY_OF + ID, body)
        await redis.publish(KEY_OF[:-1], ID)
        await redis.publish(KEY_OF[:-1], b"\xff\xfe")
        await redis.publish(KEY_OF[:-1], "somebody else's")
        other.look_for(ID)
        await one.publish(told(prediction_id=OTHER))
        await waiting.until(1)
    assert [prediction.id for prediction in waiting.heard] == [OTHER]


async def test_who_is_detached_hears_nothing(server: RedisServer) -> None:
    """A client that was closed is handed nothing any more."""
    gone, waiting = Waiting(ID), Waiting(ID)
    async with workers(server) as (one, other):
        for one_of_them in (gone, waiting):
            other.attach(one_of_them)
        other.detach(gone)
        await one.publish(told())
        await waiting.until(1)
    assert gone.heard == []


# --- without Redis --------------------------------------------------------------------------------


async def test_a_redis_that_restarts_is_used_again(
    server: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was posted meanwhile is carried then; a publication says that it was not."""
    monkeypatch.setattr(module, "HEARTBEAT", 0.05)
    waiting = Waiting(ID)
    async with workers(server) as (one, other):
        other.attach(waiting)
        server.stop()
        one.post(told())
        other.look_for(OTHER)
        with pytest.raises(DeliveryError, match="was not handed on") as caught:
            await one.publish(told(prediction_id=OTHER))
        assert caught.value.prediction_id == OTHER
        await anyio.sleep(0.3)
        assert waiting.heard == []
        server.start()
        await waiting.until(1)
    assert "wait to be handed on" in caplog.text
    assert "are not heard" in caplog.text
    assert "s3cret" not in caplog.text + str(caught.value) + repr(one)


async def test_a_quiet_channel_is_tried_now_and_then(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that tells nothing is asked whether it lives; then it goes on listening."""
    monkeypatch.setattr(module, "HEARTBEAT", 0.02)
    waiting = Waiting(ID)
    async with workers(server) as (one, other):
        other.attach(waiting)
        await anyio.sleep(0.2)
        await one.publish(told())
        await waiting.until(1)


async def test_a_bounded_number_waits_to_be_carried(server: RedisServer) -> None:
    """Of too many the oldest are left to the polls, also while they are being carried."""
    one = deliveries(server)
    for number in range(OUTBOX + 5):
        one.post(told(prediction_id=str(number)))
    async with one, Redis.from_url(server.url) as redis:
        with anyio.fail_after(10):
            while not await redis.exists(KEY_OF + "0") and one._outbox:
                one.post(told(prediction_id="more"))
                await anyio.sleep(0.001)
        kept = [await redis.exists(KEY_OF + str(number)) for number in (0, OUTBOX + 4)]
    assert kept == [0, 1]


async def test_a_bounded_number_is_looked_for(server: RedisServer) -> None:
    """Of too many the oldest are left to the polls."""
    waiting = Waiting()
    async with deliveries(server) as one:
        await one.publish(told(prediction_id="0"))
        await one.publish(told(prediction_id="1"))
    other = deliveries(server)
    for number in range(WANTED + 1):
        other.look_for(str(number))
    assert len(other._wanted) == WANTED
    other.attach(waiting)
    async with other:
        waiting.awaits = lambda prediction_id: prediction_id in {"0", "1"}  # type: ignore[method-assign]  # it awaits them, unlisted
        await waiting.until(1)
    assert [prediction.id for prediction in waiting.heard] == ["1"]


async def test_what_the_body_raises_goes_on_as_it_is(server: RedisServer) -> None:
    """No group of exceptions is put around it, and no second use is let in."""
    one = deliveries(server)
    with pytest.raises(KeyError):
        async with one:
            raise KeyError
    with pytest.raises(ConfigurationError, match="in use"):
        async with one:
            pass


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "http://me:s3cret@host"}, "url must be one of Redis"),
        ({"url": "redis://me:s3cret@host:port"}, "url must be one of Redis"),
        ({"url": None}, "url must be one of Redis"),
        ({"account": ""}, "account must be a name"),
        ({"account": 7}, "account must be a name"),
        ({"keep": 0}, "keep must be"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], message: str) -> None:
    """By a clear error, which does not show the URL."""
    usual: dict[str, Any] = {"url": "redis://me:s3cret@host", "account": "studio"}
    given = {**usual, **settings}
    with pytest.raises(ConfigurationError, match=message) as caught:
        RedisDeliveries(given.pop("url"), **given)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "s3cret" not in repr(RedisDeliveries(**usual))


def test_under_trio_it_says_so() -> None:
    """Its client works under asyncio alone."""

    async def enter() -> None:
        async with RedisDeliveries("redis://127.0.0.1:1", account="studio"):
            pass

    name, options = virtual_backend("trio")
    with pytest.raises(ConfigurationError, match="asyncio only"):
        anyio.run(enter, backend=name, backend_options=options)


# --- with clients ---------------------------------------------------------------------------------


async def test_a_webhook_that_reaches_another_worker_ends_the_wait(server: RedisServer) -> None:
    """Pictures made by one worker and called at the other need one request each, and no poll."""
    limits = Limits(per=60.0, min_poll_interval=30.0)  # so that no busy machine is late

    async with (
        Emulator(latency=0.2, pictures=False) as emulator,
        workers(server) as (here, there),
        AsyncWaveSpeed(
            KEY, base_url=emulator.url, limiter=Limiter(limits), deliveries=here
        ) as client,
        AsyncWaveSpeed(
            KEY, base_url=emulator.url, limiter=Limiter(limits), deliveries=there
        ) as called,
        hook(called, emulator.settings.webhook_secret) as hooked,
    ):
        requests = [FluxDev(prompt=str(number)) for number in range(30)]
        outcomes = await client.run_all(requests, webhook=hooked.url)
        assert all(outcome.unwrap().outputs for outcome in outcomes)
        assert [request.kind for request in emulator.requests] == ["submit"] * 30
        assert client.limiter.running == 0


async def test_a_call_that_reached_another_worker_first_ends_the_wait(server: RedisServer) -> None:
    """It came before this worker knew the id: it is looked for at once."""
    api = Api(reply("created"))
    async with workers(server) as (here, there):
        typed: Deliveries = there
        await typed.publish(told())
        client = AsyncWaveSpeed(
            KEY,
            base_url=URL,
            transport=httpx.MockTransport(api),
            limiter=Limiter(Limits()),
            deliveries=here,
        )
        async with client:
            with anyio.fail_after(10):
                ended = await client.run(REQUEST, webhook=HOOK)
    assert ended.status is Status.COMPLETED
    assert api.methods == ["POST"]


def test_nothing_is_logged_when_all_is_well(caplog: pytest.LogCaptureFixture) -> None:
    """A worker that starts, carries and stops has nothing to say."""

    async def run(url: str) -> None:
        async with RedisDeliveries(url, account="studio") as one:
            await one.publish(told())

    with redis_server() as server, caplog.at_level(logging.DEBUG, logger="wavespeed_async"):
        anyio.run(partial(run, server.url))
    assert caplog.text == ""
