"""What a client has done and what goes on."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import pytest

from tests.limits.redis.server import require_redis
from tests.servers import redis_server
from wavespeed_async import (
    AsyncWaveSpeed,
    FluxDev,
    FluxReduxDev,
    Limiter,
    Limits,
    PredictionTimeoutError,
    RequestAnswered,
    Statistics,
)
from wavespeed_async._statistics import Counts
from wavespeed_async.emulator import Emulator
from wavespeed_async.limits.redis import RedisLimiter

if TYPE_CHECKING:
    from pathlib import Path

REQUEST = FluxDev(prompt="a silk scarf")
LIMITS = Limits(per=2.0, min_poll_interval=0.02, grace=0.1, abandon_after=0.3)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
NOTHING = {"submitted", "succeeded", "failed", "left", "unconfirmed", "found", "pictures", "polls"}


def emulator_of(limits: Limits = LIMITS, **settings: Any) -> Emulator:
    settings = {"latency": 0.1, "latency_cv": 0.0, **settings}
    return Emulator(
        per=limits.per, concurrency=limits.concurrency, pictures=False, balance=1e9, **settings
    )


def client_of(emulator: Emulator, limits: Limits = LIMITS, **settings: Any) -> AsyncWaveSpeed:
    settings.setdefault("limiter", Limiter(limits))
    return AsyncWaveSpeed("a-key", base_url=emulator.url, **settings)


async def test_a_batch_with_faults_is_counted() -> None:
    """Everything is what the emulator has seen, though nobody observes."""
    with emulator_of() as emulator:
        async with client_of(emulator) as client:
            emulator.next(kind="submit", status_code=429)
            emulator.next(kind="submit", lose=True)
            emulator.next(kind="submit", outcome="failed")
            emulator.next(kind="result", status_code=503)
            await client.run_all([REQUEST] * 6)
            told = client.statistics()
    assert (told.submitted, told.succeeded, told.failed, told.pictures) == (5, 4, 1, 4)
    assert (told.unconfirmed, told.found, told.left) == (1, 0, 0)
    sent = [request.kind for request in emulator.requests]
    assert told.polls == sent.count("result")
    assert told.polls_per_picture == told.polls / 4
    assert told.requests.total == len(sent)
    assert told.requests.lost == told.requests.failed == 1
    assert told.requests.limited >= 1
    assert told.requests.refused == 0
    assert told.retries >= 2
    assert told.pauses >= 1
    assert set(told.latencies) == {"wavespeed-ai/flux-dev"}
    assert 0.0 < told.latencies["wavespeed-ai/flux-dev"] < 5.0


async def test_nothing_was_done_yet() -> None:
    """A new client has done nothing, and its limits are all free."""
    before = time.time()
    async with AsyncWaveSpeed("a-key", limiter=Limiter(Limits(requests=7, concurrency=3))) as new:
        told = new.statistics()
    assert {getattr(told, name) for name in NOTHING} == {0}
    assert before <= told.since <= time.time()
    assert (told.limiter.requests_used, told.limiter.requests_free) == (0, 7)
    assert (told.limiter.running, told.limiter.slots_free, told.limiter.waiting) == (0, 3, 0)
    assert (told.polls_per_picture, told.requests.total, told.latencies) == (0.0, 0, {})
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        told.polls = 1  # type: ignore[misc]  # that is the point


async def test_what_goes_on_can_be_asked_from_a_thread() -> None:
    """Predictions that run and callers that wait are those of the limiter, whoever asks."""
    limits = Limits(concurrency=2)
    told: list[Statistics] = []
    with emulator_of(limits, latency=30.0) as emulator:
        async with client_of(emulator, limits) as client:
            async with client.batch([REQUEST] * 4):
                await anyio.sleep(0.4)
                thread = threading.Thread(target=lambda: told.append(client.statistics()))
                thread.start()
                thread.join()
                now = client.statistics().limiter
            after = client.statistics()
    assert told[0].limiter == now
    assert (now.running, now.slots_free) == (2, 0)
    assert now.waiting >= 2
    assert now.requests_used + now.requests_free == 120
    assert after.left == 2


async def test_clients_of_an_account_count_together() -> None:
    """Those of `with_options` and those that share a limiter do, another account's do not."""
    limiter = Limiter(LIMITS)
    with emulator_of() as emulator:
        first, second = (client_of(emulator, limiter=limiter) for _ in range(2))
        other = client_of(emulator)
        async with first, second, other:
            await first.with_options(priority=-1).run(REQUEST)
            await second.run(REQUEST)
            assert first.statistics().succeeded == second.statistics().succeeded == 2
            assert other.statistics().succeeded == 0


async def test_files_are_counted(tmp_path: Path) -> None:
    """Uploads by number and size, and the files that were written; all of it is JSON."""
    with emulator_of() as emulator:
        async with client_of(emulator) as client:
            picture = await client.run(FluxReduxDev(image=PNG))
            await client.save(picture, tmp_path)
            told = client.statistics()
    assert (told.uploads, told.uploaded_bytes, told.saved) == (1, len(PNG), 1)
    again = json.loads(json.dumps(told.as_dict()))
    assert again["polls_per_picture"] == told.polls_per_picture
    assert again["limiter"]["running"] == 0
    assert again["requests"]["succeeded"] == told.requests.succeeded


async def test_a_prediction_that_is_left_and_a_lost_one_that_is_found(tmp_path: Path) -> None:
    """A timeout leaves its prediction; a journal's search finds what lost its answer."""
    with emulator_of(latency=0.4) as emulator:
        async with client_of(emulator) as client:
            with pytest.raises(PredictionTimeoutError):
                await client.run(REQUEST, timeout=0.2)
            emulator.next(kind="submit", lose=True)
            (outcome,) = await client.run_all([REQUEST], journal=tmp_path / "journal.sqlite")
            told = client.statistics()
    assert outcome.error is None
    assert (told.left, told.unconfirmed, told.found) == (1, 1, 1)


@pytest.mark.parametrize("anyio_backend", [("asyncio", {})], ids=["asyncio"])
async def test_with_limits_in_redis() -> None:
    """The limiter's use is told as Redis told it last, of all processes; nothing is asked for."""
    require_redis()
    with redis_server() as server, emulator_of(latency=0.2) as emulator:
        limits = attrs.evolve(LIMITS, per=0.5)
        limiter = RedisLimiter(server.url, account="studio", limits=limits)
        async with client_of(emulator, limiter=limiter) as client:
            await client.run(REQUEST)
            told = client.statistics()
    assert (told.submitted, told.succeeded, told.pictures) == (1, 1, 1)
    assert told.limiter.requests_used + told.limiter.requests_free == 120
    assert told.limiter.running + told.limiter.slots_free == 20


@pytest.mark.parametrize(
    ("status", "counted"),
    [(200, "succeeded"), (302, "refused"), (404, "refused"), (429, "limited"), (502, "failed")],
)
async def test_answers_are_counted_by_their_status(status: int, counted: str) -> None:
    """Each status belongs to one count."""
    counts, limiter = Counts(), Limiter()
    counts(RequestAnswered(method="GET", path="/", status_code=status, seconds=0.1))
    async with AsyncWaveSpeed("a-key", limiter=limiter) as client:
        told = counts.statistics(limiter, client.poll_rule).requests
    assert {name for name, many in attrs.asdict(told).items() if many} == {counted}
    assert told.total == 1
