"""Metrics by OpenTelemetry's own SDK."""

from __future__ import annotations

import gc
import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from tests.observe.exported import Exported
from tests.observe.studio import IMAGE, KEY, PROMPT, REQUEST, studio
from wavespeed_async import AsyncWaveSpeed, Limiter, Limits, PredictionTimeoutError
from wavespeed_async.observe.otel._metrics import POLLS, SECONDS_OF_OPERATIONS, SECONDS_OF_REQUESTS

if TYPE_CHECKING:
    from pathlib import Path

MODEL = {
    "gen_ai.operation.name": "generate_content",
    "gen_ai.provider.name": "wavespeed",
    "gen_ai.request.model": "wavespeed-ai/flux-dev",
}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


async def test_a_batch_with_faults_is_measured() -> None:
    """Pictures, predictions, failures, polls and waits are what the emulator has seen."""
    async with studio(limits=Limits(per=2.0, abandon_after=0.3)) as (client, emulator, exported):
        emulator.next(kind="submit", status_code=429)
        emulator.next(kind="submit", lose=True)
        emulator.next(kind="submit", outcome="failed")
        await client.run_all([REQUEST] * 6)
    total = exported.total
    assert exported.metric("wavespeed.client.pictures") == [(MODEL, 4)]
    assert total("wavespeed.client.predictions", wavespeed__prediction__status="completed") == 4
    assert total("wavespeed.client.predictions", wavespeed__prediction__status="failed") == 1
    assert total("wavespeed.client.failures") == 2
    assert total("wavespeed.client.failures", error__type="PredictionFailedError") == 1
    assert total("wavespeed.client.failures", error__type="SubmissionUnconfirmedError") == 1
    assert total("wavespeed.client.retries", error__type="RateLimitError") >= 1
    assert total("wavespeed.client.limiter.pauses") >= 1
    polls = len([request for request in emulator.requests if request.kind == "result"])
    ((told, (predictions, polled)),) = exported.metric("wavespeed.client.polls")
    assert (told, predictions, polled) == (MODEL, 5, polls)
    sent = len(emulator.requests)
    assert total("http.client.request.duration") == sent
    assert total("http.client.request.duration", http__response__status_code=429) >= 1
    assert total("wavespeed.client.limiter.wait") == sent
    assert total("wavespeed.client.limiter.wait", wavespeed__request__kind="poll") == polls
    durations = exported.metric("gen_ai.client.operation.duration")
    assert sum(count for _, (count, _) in durations) == 6
    assert all(told["server.address"] == "127.0.0.1" for told, _ in durations)
    assert total("gen_ai.client.operation.duration", wavespeed__call="run") == 6
    for secret in (KEY, PROMPT, IMAGE, "outputs/", "predictions/{id}/result?"):
        assert secret not in exported.text


async def test_a_call_that_is_cancelled_is_no_failure() -> None:
    """It took its time, which is told as cancelled; one that ran out of time is a failure."""
    async with studio(latency=30.0) as (client, _, exported):
        with anyio.move_on_after(0.3):
            await client.run(REQUEST)
        with pytest.raises(PredictionTimeoutError):
            await client.run(REQUEST, timeout=0.3)
    total = exported.total
    assert total("gen_ai.client.operation.duration", error__type="cancelled") == 1
    assert total("wavespeed.client.failures") == 1
    assert total("wavespeed.client.failures", error__type="PredictionTimeoutError") == 1
    assert total("wavespeed.client.polls") == 0


async def test_what_goes_on_is_told_when_it_is_asked_for() -> None:
    """Running, waiting and the window are the limiter's own figures, from any thread."""
    async with studio(latency=30.0, limits=Limits(concurrency=2, per=60.0)) as all_of_it:
        client, _, exported = all_of_it
        seen: dict[str, int] = {}

        def look() -> None:
            for name in ("running", "running.limit", "waiting", "window.used", "window.limit"):
                ((_, seen[name]),) = exported.metric(f"wavespeed.client.limiter.{name}")

        async with client.batch([REQUEST] * 3):
            await anyio.sleep(0.4)
            thread = threading.Thread(target=look)
            thread.start()
            thread.join()
            limiter = client.limiter
            now = (limiter.running, limiter.waiting, limiter.requests_used)
    assert (seen["running"], seen["waiting"], seen["window.used"]) == now
    assert (seen["running.limit"], seen["window.limit"]) == (2, 120)
    assert seen["running"] == 2


def test_limiters_add_up_for_as_long_as_they_live() -> None:
    """Two accounts are told as their sum, one that is gone not at all, the same twice only once."""
    exported = Exported()
    telemetry = exported.telemetry()
    first, second = Limiter(Limits(concurrency=2)), Limiter(Limits(concurrency=3))
    for limiter in (first, second, first):
        telemetry.observer("https://api.test", limiter)
    name = "wavespeed.client.limiter.running.limit"
    assert exported.metric(name) == [({}, 5)]
    del limiter, second
    gc.collect()
    assert exported.metric(name) == [({}, 2)]


async def test_files_are_measured(tmp_path: Path) -> None:
    """Uploads by their bytes, files that are written by their number."""
    async with studio() as (client, _, exported):
        await client.upload(PNG)
        picture = await client.run(REQUEST)
        await client.save(picture, tmp_path)
    assert exported.metric("wavespeed.client.uploads") == [({}, len(PNG))]
    assert exported.metric("wavespeed.client.saved") == [({}, 1)]


def test_the_bounds_are_sorted() -> None:
    """Bounds of histograms rise, as the SDK needs them to."""
    for bounds in (SECONDS_OF_OPERATIONS, SECONDS_OF_REQUESTS, POLLS):
        assert [*bounds] == sorted({*bounds})


async def test_nothing_grows_with_what_is_over() -> None:
    """After its calls an observer holds nothing of them, whatever became of their predictions."""
    exported = Exported()
    telemetry = exported.telemetry()
    made: list[Any] = []

    class Kept:
        def observer(self, server: str, limiter: Any) -> Any:
            made.append(telemetry.observer(server, limiter))
            return made[0]

    async with studio(exported=exported, latency=0.3) as (_, emulator, _):
        limiter = Limiter(Limits(per=2.0, min_poll_interval=0.02))
        async with AsyncWaveSpeed(
            KEY, base_url=emulator.url, limiter=limiter, observe=Kept()
        ) as client:
            left = [await client.submit(REQUEST) for _ in range(3)]
            with anyio.move_on_after(0.05):
                await client.wait(left[0])
            await client.run(REQUEST)
    held = {cell.cell_contents for cell in made[0].__closure__}
    assert all(not getattr(each, "_open", {}) for each in held)
    assert all(not getattr(each, "_courses", {}) for each in held)
    assert len(held) == 2
