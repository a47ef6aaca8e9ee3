"""The steps of predictions, on both event loops, by a clock that jumps."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from tests.virtual import make_client, make_emulator, running
from wavespeed_async._events import (
    PredictionEnded,
    PredictionLeft,
    PredictionPolled,
    PredictionSubmitted,
    listening,
)
from wavespeed_async._prediction import Prediction
from wavespeed_async.backends._progress import Item, Progress, Step, check_method
from wavespeed_async.errors import ConfigurationError
from wavespeed_async.limits import Limiter, Limits
from wavespeed_async.models import FluxDev
from wavespeed_async.testing import virtual_backend

if TYPE_CHECKING:
    from wavespeed_async._client import AsyncWaveSpeed
    from wavespeed_async._events import Event

FOX, LAKE = FluxDev(prompt="a fox"), FluxDev(prompt="a lake")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_backend(request.param)


async def watch(client: AsyncWaveSpeed, *items: Item) -> list[Step]:
    async with Progress(client, *items) as steps:
        return [step async for step in steps]


def names(steps: list[Step]) -> list[str]:
    return [step.name for step in steps]


async def test_a_request_is_told_from_the_queue_to_its_end() -> None:
    """It is queued, submitted with its id, running, and finished with its outputs and seed."""
    async with running(latency=10.0, latency_cv=0.0) as (client, emulator):
        steps = await watch(client, FOX)
    assert names(steps) == ["queued", "submitted", "running", "finished"]
    [made] = emulator.predictions
    assert steps[0].content() == {"index": 0}
    assert steps[1].content() == {"index": 0, "id": made.id, "status": "created"}
    assert steps[2].content() == {"index": 0, "id": made.id, "status": "processing"}
    last = json.loads(steps[3].text())
    assert (last["id"], last["status"], last["seed"]) == (made.id, "completed", made.fields["seed"])
    assert last["outputs"]
    assert steps[3].prediction is not None


async def test_an_id_goes_on_where_it_was() -> None:
    """A prediction that runs already, as such or as an id, is told as submitted at once."""
    async with running(latency=10.0, latency_cv=0.0) as (client, emulator):
        prediction = await client.submit(FOX)
        assert names(await watch(client, prediction.id)) == ["submitted", "running", "finished"]
        assert names(await watch(client, prediction)) == ["submitted", "finished"]
    assert len(emulator.predictions) == 1


async def test_each_item_tells_of_itself_alone() -> None:
    """Of several, each has its own steps, and its own id in them."""
    async with running(latency=10.0) as (client, _):
        steps = await watch(client, FOX, LAKE)
    for index, request in enumerate((FOX, LAKE)):
        own = [step for step in steps if step.index == index]
        assert names(own)[:2] == ["queued", "submitted"]
        assert names(own)[-1] == "finished"
        assert len({step.prediction.id for step in own if step.prediction}) == 1
        assert own[-1].prediction
        assert own[-1].prediction.request
        assert own[-1].prediction.request.prompt == request.prompt  # type: ignore[attr-defined]  # a FluxDev


async def test_a_failure_is_a_step() -> None:
    """One that fails says why, as a problem, and does not touch another."""
    async with running(latency=1.0) as (client, emulator):
        emulator.next(kind="submit", outcome="failed-1200")
        steps = await watch(client, FOX)
        steps += await watch(client, LAKE)
    assert names(steps)[-1] == "finished"
    [failed] = [step for step in steps if step.name == "failed"]
    told = failed.content()
    assert (told["status"], told["type"].rpartition(":")[2]) == (422, "moderated")
    assert told["id"] == told["prediction_id"] == emulator.predictions[0].id


async def test_another_packages_error_is_a_step_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug ends its item as a 500 without words."""
    async with running() as (client, _):

        async def broken(*_: object) -> Prediction:
            message = "the disk"
            raise OSError(message)

        monkeypatch.setattr(client, "run", broken)
        steps = await watch(client, FOX)
    assert names(steps) == ["queued", "failed"]
    assert "disk" not in steps[1].text()
    assert steps[1].content()["status"] == 500


async def test_who_stops_watching_leaves_what_runs_and_sends_nothing_more() -> None:
    """What was submitted is told as left and can be resumed; what was queued never is sent."""
    left: list[Event] = []

    def observe(event: Event) -> None:
        if isinstance(event, PredictionLeft):
            left.append(event)

    limiter = Limiter(Limits(concurrency=1))
    async with running(limiter, {"observe": observe}, latency=10.0) as (client, emulator):
        async with Progress(client, FOX, LAKE) as steps:
            async for step in steps:
                if step.name == "submitted":
                    break
        assert limiter.waiting == 0
        [made] = emulator.predictions
        assert [event.prediction.id for event in left] == [made.id]  # type: ignore[attr-defined]  # all of one kind
        assert names(await watch(client, made.id))[-1] == "finished"
        assert limiter.running == 0
    assert len(emulator.predictions) == 1


async def test_what_the_body_raises_passes_as_it_is() -> None:
    """The block's own error is not put into a group."""
    async with running() as (client, _):
        with pytest.raises(ZeroDivisionError):
            async with Progress(client, FOX):
                raise ZeroDivisionError


async def test_nothing_to_watch_ends_at_once() -> None:
    """Without items there are no steps."""
    async with running() as (client, _):
        assert await watch(client) == []


async def test_a_visitor_goes_before_a_batch() -> None:
    """A visitor who comes when a batch has filled the limiter's queue is served next."""
    limits = Limits(requests=4, per=60.0, concurrency=4)
    emulator = make_emulator(latency=1.0, requests=4, per=60.0, window="sliding")
    async with make_client(emulator, limiter=Limiter(limits)) as client:
        batch = [FluxDev(prompt=f"{number}") for number in range(20)]
        async with client.batch(batch) as outcomes, anyio.create_task_group() as group:
            group.start_soon(partial(anext, outcomes))
            await anyio.sleep(10.0)
            assert client.limiter.waiting > 0
            assert names(await watch(client, LAKE))[-1] == "finished"
            prompts = [made.fields["prompt"] for made in emulator.predictions]
            assert "a lake" in prompts
            assert len(prompts) < 10
            group.cancel_scope.cancel()


@pytest.mark.parametrize("method", ["GET", "HEAD", "options"])
def test_a_method_that_is_repeated_submits_nothing(method: str) -> None:
    """A GET may watch ids but not bring requests: browsers send it again by themselves."""
    check_method(method, ("an-id", Prediction(id="an-id")))
    with pytest.raises(ConfigurationError, match="paid for again"):
        check_method(method, ("an-id", FOX))
    check_method("POST", (FOX,))


async def test_who_listens_hears_what_its_own_calls_tell() -> None:
    """Inside the block a listener hears a call's events, with or without an observer; not after."""
    async with running(latency=10.0) as (client, _):
        heard: list[Event] = []
        with listening(heard.append):
            prediction = await client.flux_dev(prompt="a fox")
        await client.flux_dev(prompt="a lake")
    kinds = [type(event) for event in heard]
    assert kinds[0] is PredictionSubmitted
    assert kinds[-1] is PredictionEnded or kinds[-1] is PredictionPolled
    assert {event.prediction.id for event in heard} == {prediction.id}  # type: ignore[attr-defined]  # as above
