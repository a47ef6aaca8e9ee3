"""Many requests: outcomes as they end, whatever happens around them."""

from __future__ import annotations

import gc
import math
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import anyio
import httpx
import pytest

from tests.virtual import real_clock, running
from wavespeed_async import (
    AsyncWaveSpeed,
    ConfigurationError,
    FluxDev,
    InvalidRequestError,
    Limiter,
    LimiterPaused,
    Limits,
    Outcome,
    Prediction,
    PredictionFailedError,
    PredictionTimeoutError,
    RateLimitError,
    Status,
)
from wavespeed_async._loops import LoopClock
from wavespeed_async.emulator import Emulator
from wavespeed_async.testing import virtual_backend

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_backend(request.param)


def quick() -> Limiter:
    return Limiter(Limits(per=1, min_poll_interval=0.01))


def prompts(count: int) -> Iterator[FluxDev]:
    return (FluxDev(prompt=f"number {number}") for number in range(count))


def at_once(request: httpx.Request) -> httpx.Response:
    """Answer a submission, and a poll with the end."""
    prediction_id = str(uuid4()) if request.method == "POST" else request.url.path.split("/")[-2]
    status = "created" if request.method == "POST" else "completed"
    data = {"id": prediction_id, "status": status, "outputs": ["https://cdn.test/1.png"]}
    return httpx.Response(200, json={"code": 200, "message": "success", "data": data})


def failed(prediction_id: str) -> dict[str, Any]:
    data = {"id": prediction_id, "status": "failed", "outputs": [], "error": "no luck"}
    return {"code": 200, "message": "success", "data": data}


# --- all of them, within the limits --------------------------------------------------------------


async def test_six_hundred_prompts_at_the_documented_limits() -> None:
    """Each of 600 prompts is made exactly once, and a strict server refuses nothing."""
    async with running(latency=5.0) as (client, emulator):
        seen: list[str] = []
        async with client.batch(prompts(600)) as outcomes:
            async for outcome in outcomes:
                assert outcome.unwrap().outputs
                assert isinstance(outcome.request, FluxDev)
                seen.append(outcome.request.prompt)
        minutes = anyio.current_time() / 60
    assert sorted(seen) == sorted(request.prompt for request in prompts(600))
    assert len(emulator.predictions) == 600
    assert emulator.refused == 0
    assert emulator.most_running == 20
    assert emulator.most_requests_in_window <= 120
    assert minutes < 600 / 40  # the official SDK makes 13 to 20 pictures a minute


async def test_a_call_beside_a_batch_is_not_stuck_behind_it() -> None:
    """Somebody who waits has pictures in seconds while a batch uses up the limits."""
    async with running(latency=5.0) as (client, _):
        took: list[float] = []

        async def visit() -> None:
            for _ in range(12):
                await anyio.sleep(10)
                began = anyio.current_time()
                await client.flux_dev(prompt="for me")
                took.append(anyio.current_time() - began)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(visit)
            outcomes = await client.run_all(prompts(300))
        assert all(outcome.error is None for outcome in outcomes)
        assert sorted(took)[len(took) // 2] < 10.0  # the first one or two find no room kept


@pytest.mark.parametrize(
    ("backend", "count", "transport"),
    [("asyncio", 600, None), ("trio", 200, None), ("asyncio", 600, "aiohttp")],
)
def test_many_prompts_over_real_sockets(backend: str, count: int, transport: str | None) -> None:
    """Over real sockets too every prompt is made once, without a single 429, 20 at once at most."""

    async def run() -> None:
        limits = Limits(requests=120, per=1.5, min_poll_interval=0.02)
        async with (
            Emulator(requests=120, per=1.5, latency=0.12, pictures=False) as emulator,
            AsyncWaveSpeed(
                "k", base_url=emulator.url, limiter=Limiter(limits), transport=transport
            ) as client,
        ):
            outcomes = await client.run_all(prompts(count))
            assert [outcome.error for outcome in outcomes] == [None] * count
            asked = sorted(prediction.fields["prompt"] for prediction in emulator.predictions)
            assert asked == sorted(request.prompt for request in prompts(count))
            assert emulator.refused == 0
            assert emulator.most_running <= 20
            assert emulator.most_requests_in_window <= 120

    anyio.run(run, backend=backend)


async def test_run_all_answers_in_the_order_of_the_requests() -> None:
    """Outcomes come back in the order asked, whichever ended first."""
    async with running(latency=5.0, latency_cv=0.8) as (client, _):
        outcomes = await client.run_all(prompts(30))
    assert [outcome.index for outcome in outcomes] == list(range(30))
    asked = [outcome.request.prompt for outcome in outcomes if isinstance(outcome.request, FluxDev)]
    assert asked == [request.prompt for request in prompts(30)]


async def test_nothing_to_do_ends_at_once() -> None:
    """A batch of no requests has no outcomes."""
    async with running() as (client, _):
        assert await client.run_all([]) == []


async def test_async_iterables_are_read_as_they_come() -> None:
    """Requests may come from an async iterable, one now and then."""

    class Slow:
        def __init__(self) -> None:
            self.left = 3

        def __aiter__(self) -> Slow:
            return self

        async def __anext__(self) -> FluxDev:
            await anyio.sleep(20)
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return FluxDev(prompt=f"{self.left}")

    async with running(latency=1.0) as (client, _), client.batch(Slow()) as outcomes:
        ended = [(outcome.index, anyio.current_time()) async for outcome in outcomes]
    assert [index for index, _ in ended] == [0, 1, 2]
    assert ended[0][1] < 40 < ended[1][1]  # each came before the next was asked


async def test_endless_input_is_read_no_further_than_the_limits_allow() -> None:
    """An input without an end is read only as far as the run and a slow reader have got."""
    taken = 0

    def endless() -> Iterator[FluxDev]:
        nonlocal taken
        while True:
            taken += 1
            yield FluxDev(prompt=f"{taken}")

    limiter = Limiter(Limits(concurrency=5))
    async with running(limiter, latency=1.0) as (client, _), client.batch(endless()) as outcomes:
        await anyio.sleep(300)
        assert taken <= 11
        for _ in range(10):
            await anext(outcomes)
        await anyio.sleep(300)
        assert taken <= 21


# --- failures are values -------------------------------------------------------------------------


async def test_one_failure_never_touches_another() -> None:
    """A failed prediction, a bad item and a stranger's id are outcomes beside nine good ones."""
    async with running(latency=2.0) as (client, emulator):
        items: list[Any] = [*prompts(9), "f" * 32, 7]
        emulator.next(body=failed("a" * 32), kind="submit")
        outcomes = await client.run_all(items)
    errors = [outcome.error for outcome in outcomes]
    assert sum(error is None for error in errors) == 8
    assert sum(isinstance(error, PredictionFailedError) for error in errors) == 1
    assert isinstance(errors[10], InvalidRequestError)
    assert getattr(errors[9], "prediction_id", None) == "f" * 32


async def test_failed_outcome_tells_its_prediction() -> None:
    """The outcome of a failed prediction holds it, and raises its error when unwrapped."""
    async with running() as (client, emulator):
        emulator.next(body=failed("a" * 32), kind="submit")
        (outcome,) = await client.run_all(prompts(1))
    assert outcome.prediction is not None
    assert outcome.prediction.status is Status.FAILED
    with pytest.raises(PredictionFailedError, match="no luck"):
        outcome.unwrap()


async def test_timeout_counts_from_each_submission() -> None:
    """A request may wait long for its turn; its own time begins with its submission."""
    limiter = Limiter(Limits(concurrency=1))
    async with running(limiter, {"timeout": 20}, latency=10.0, latency_cv=0.0) as (client, _):
        outcomes = await client.run_all(prompts(6))
    assert [outcome.error for outcome in outcomes] == [None] * 6


async def test_timed_out_predictions_are_named_as_running() -> None:
    """A prediction that outlasts its time is a PredictionTimeoutError, and is named as running."""
    async with (
        running(client={"timeout": 5}, latency=60.0, latency_cv=0.0) as (client, _),
        client.batch(prompts(3)) as outcomes,
    ):
        ended = [outcome async for outcome in outcomes]
    assert all(isinstance(outcome.error, PredictionTimeoutError) for outcome in ended)
    assert sorted(outcomes.running) == sorted(o.prediction.id for o in ended if o.prediction)
    assert len(outcomes.running) == 3


async def test_refused_submissions_are_not_lost() -> None:
    """429s close one gate for the whole batch; every prompt is made in the end."""
    pauses: list[float] = []

    def observe(event: object) -> None:
        if isinstance(event, LimiterPaused):
            pauses.append(event.seconds)

    async with running(client={"observe": observe}, latency=3.0) as (client, emulator):
        for _ in range(6):  # those that are under way with the first, then probes
            emulator.next(status_code=429)
        outcomes = await client.run_all(prompts(60))
    assert [outcome.error for outcome in outcomes] == [None] * 60
    assert len(emulator.predictions) == 60
    assert len(pauses) >= 2
    assert pauses == [2.0**n for n in range(len(pauses))]


async def test_a_pause_beyond_the_timeout_fails_at_once() -> None:
    """A Retry-After of more than a day ends a batch with RateLimitError instead of sleeping."""
    async with running(latency=3.0) as (client, emulator):
        emulator.next(status_code=429, headers={"Retry-After": "100000"}, kind="submit")
        outcomes = await client.run_all(prompts(5))
        assert anyio.current_time() < 60
    refused = [o.error for o in outcomes if isinstance(o.error, RateLimitError)]
    assert refused
    assert all(error.retry_after and error.retry_after > 3000 for error in refused)


# --- leaving -------------------------------------------------------------------------------------


async def test_leaving_early_submits_no_more_and_names_what_runs() -> None:
    """Leaving the block cancels what is not submitted, and names what still runs."""
    async with running(latency=30.0, latency_cv=0.9) as (client, emulator):
        async with client.batch(prompts(100)) as outcomes:
            first = (await anext(outcomes)).unwrap()
        made = len(emulator.predictions)
        left = outcomes.running
        assert first.id not in left
        assert 5 < len(left) <= 20
        assert set(left) == set(client.limiter.running_ids)
        await anyio.sleep(10)
        assert len(emulator.predictions) == made
        resumed = await client.run_all(left)
    assert [outcome.error for outcome in resumed] == [None] * len(left)
    assert len(emulator.predictions) == made


async def test_a_batch_is_entered_once_and_before_it_is_read() -> None:
    """Reading a batch outside of its block, or running it twice, is an error that says how."""
    async with running() as (client, _):
        batch = client.batch(prompts(1))
        with pytest.raises(ConfigurationError, match="async with"):
            await anext(batch)
        async with batch:
            pass
        with pytest.raises(ConfigurationError, match="again"):
            async with batch:
                pass


async def test_reading_after_the_block_ends() -> None:
    """After the block the outcomes that had come are still there, and then the iteration ends."""
    async with running(latency=1.0, latency_cv=0.0) as (client, _):
        async with client.batch(prompts(3)) as outcomes:
            await anyio.sleep(60)
        assert len([outcome async for outcome in outcomes]) == 3


async def test_leaving_while_pictures_are_saved_tells_the_prediction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A prediction whose picture was not saved when the block was left is an outcome."""

    async def slow(*_: object) -> list[Path]:
        await anyio.sleep(100)
        return []

    monkeypatch.setattr("wavespeed_async._media.Storage.save", slow)
    async with running(latency=1.0) as (client, _):
        async with client.batch(prompts(2), save_to="never") as outcomes:
            await anyio.sleep(20)
        left = [outcome async for outcome in outcomes]
    assert all(outcome.prediction and outcome.prediction.outputs for outcome in left)
    assert all("saved" in str(outcome.error) for outcome in left)
    assert (len(left), outcomes.running) == (2, ())


@pytest.mark.parametrize("odd", ["../balance?x=", Prediction(id="../balance?x=")])
async def test_odd_ids_among_items_are_refused(odd: Any) -> None:
    """What cannot be an id is an outcome with an error, and nothing is sent for it."""
    async with running() as (client, emulator):
        (outcome,) = await client.run_all([odd])
    assert isinstance(outcome.error, InvalidRequestError)
    assert not emulator.requests


async def test_exceptions_of_the_body_pass_as_they_are() -> None:
    """What the block's body raises comes out as itself, with no group around it."""
    error = KeyError("mine")
    async with running(latency=30.0) as (client, _):
        with pytest.raises(KeyError) as caught:
            async with client.batch(prompts(5)) as outcomes:
                await anyio.sleep(3)
                raise error
    assert caught.value is error
    assert len(outcomes.running) == 5


async def test_being_cancelled_ends_a_batch() -> None:
    """A batch inside of a scope that is cancelled ends with it, and names what still runs."""
    async with running(latency=30.0) as (client, _):
        with anyio.move_on_after(4) as scope:
            async with client.batch(prompts(5)) as outcomes:
                await anext(outcomes)
        assert scope.cancelled_caught
        assert anyio.current_time() < 7
    assert len(outcomes.running) == 5


async def test_input_that_raises_ends_the_run_after_what_is_under_way() -> None:
    """When the input raises, what was taken from it still ends, then the reader gets the error."""

    def broken() -> Iterator[FluxDev]:
        yield from prompts(3)
        message = "row 4"
        raise LookupError(message)

    ended: list[Outcome] = []
    async with running(latency=2.0) as (client, _), client.batch(broken()) as outcomes:
        with pytest.raises(LookupError, match="row 4"):
            async for outcome in outcomes:
                ended.append(outcome)  # noqa: PERF401 (a comprehension would lose them)
        with pytest.raises(StopAsyncIteration):
            await anext(outcomes)
    assert [outcome.error for outcome in ended] == [None] * 3


async def test_async_generators_are_closed_on_leaving() -> None:
    """An async generator of requests is closed when the block is left before its end."""
    closed = False

    async def endless() -> AsyncIterator[FluxDev]:
        nonlocal closed
        try:
            while True:
                yield FluxDev(prompt="again")
        finally:
            closed = True

    async with running() as (client, _), client.batch(endless()) as outcomes:
        await anext(outcomes)
    assert closed


async def test_a_clock_that_goes_on_between_two_looks_stops_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A real clock is later at each look, however little was done between: no wait outlasts it."""
    true, at, looks = LoopClock.now, -math.inf, 0

    def later(clock: LoopClock) -> float:
        nonlocal at, looks
        at, looks = max(at, true(clock)), looks + 1 if true(clock) <= at else 0
        return at + looks * 50e-6

    monkeypatch.setattr(LoopClock, "now", later)
    async with running(latency=2.0, latency_cv=0.3, seed=7) as (client, _):
        outcomes = await client.run_all(prompts(150))
        assert [outcome.error for outcome in outcomes] == [None] * 150
        assert anyio.current_time() < 180.0


@real_clock
async def test_nothing_is_left_to_the_garbage_collector() -> None:
    """No prediction is in a reference cycle, so that the collector may come rarely."""
    limiter = Limiter(Limits(requests=10_000, min_poll_interval=0.0))

    async def run(client: AsyncWaveSpeed, count: int) -> None:
        async with client.batch(prompts(count)) as outcomes:
            async for outcome in outcomes:
                outcome.unwrap()

    transport = httpx.MockTransport(at_once)
    async with AsyncWaveSpeed("key", limiter=limiter, transport=transport) as client:
        await run(client, 3)  # what is made once is no concern here
        gc.collect()
        gc.disable()
        try:
            await run(client, 300)
            assert gc.collect() < 300  # pytest's own threads leave some
        finally:
            gc.enable()


# --- what else goes in and comes out -------------------------------------------------------------


async def test_running_predictions_and_ids_can_be_items() -> None:
    """Predictions and ids that already run are waited for beside new requests."""
    async with running(latency=5.0) as (client, emulator):
        one = await client.submit(FluxDev(prompt="one"))
        two = await client.submit(FluxDev(prompt="two"))
        outcomes = await client.run_all([one, two.id, FluxDev(prompt="three")])
    assert [outcome.unwrap().id for outcome in outcomes[:2]] == [one.id, two.id]
    assert outcomes[0].request == one.request
    assert outcomes[1].request is None
    assert len(emulator.predictions) == 3


@real_clock
async def test_pictures_are_saved_beside_the_run(tmp_path: Path) -> None:
    """With a folder given, each outcome tells the files that hold its pictures."""
    async with (
        running(quick(), latency=0.05) as (client, _),
        client.batch(prompts(5), save_to=tmp_path) as outcomes,
    ):
        paths = [path async for outcome in outcomes for path in outcome.paths]
    assert sorted(paths) == sorted(tmp_path.iterdir())
    assert len(paths) == 5


@real_clock
async def test_unwritable_folder_loses_no_prediction(tmp_path: Path) -> None:
    """Where a picture cannot be written, the outcome has the error and the finished prediction."""
    file = tmp_path / "a file"
    file.touch()
    async with (
        running(quick(), latency=0.05) as (client, _),
        client.batch(prompts(2), save_to=file) as outcomes,
    ):
        ended = [outcome async for outcome in outcomes]
    assert all(isinstance(outcome.error, OSError) for outcome in ended)
    assert all(outcome.prediction and outcome.prediction.outputs for outcome in ended)
    assert outcomes.running == ()


def test_outcome_unwraps_to_its_prediction() -> None:
    """An outcome without an error unwraps to its prediction; an empty one is no outcome."""
    prediction = Prediction(id="a", status=Status.COMPLETED)
    assert Outcome(index=0, prediction=prediction).unwrap() is prediction
    with pytest.raises(ValueError, match="prediction"):
        Outcome(index=0).unwrap()
