"""Where calls begin and end, and what their events are known by."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from tests.virtual import running
from wavespeed_async import (
    CallBegan,
    CallEnded,
    Event,
    FluxDev,
    Limiter,
    Limits,
    PredictionLeft,
    PredictionPolled,
    PredictionSubmitted,
    PredictionTimeoutError,
    RequestAnswered,
    RequestLost,
    RequestSent,
    TurnGranted,
)
from wavespeed_async._events import current_call
from wavespeed_async._stream import Stream, hears_details
from wavespeed_async.testing import virtual_backend

if TYPE_CHECKING:
    from collections.abc import Iterable

REQUEST = FluxDev(prompt="a silk scarf")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run on clocks that jump."""
    return virtual_backend(request.param)


def of(events: Iterable[Event], *kinds: type[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kinds)]


def check_pairs(events: list[Event]) -> None:
    """See that what has begun has ended, once."""
    began, ended = of(events, CallBegan), of(events, CallEnded)
    assert sorted(event.call for event in began) == sorted(event.call for event in ended)
    assert len({event.call for event in began}) == len(began)
    sent, over = of(events, RequestSent), of(events, RequestAnswered, RequestLost)
    assert len(sent) == len(over)
    assert sorted((e.path, e.kind) for e in sent) == sorted((e.path, e.kind) for e in over)


async def test_a_calls_events_have_its_number() -> None:
    """In a batch, each submission has the number of the call that its prediction has."""
    events: list[Event] = []
    async with running(client={"observe": events.append}) as (client, _):
        outcomes = await client.run_all([REQUEST] * 5)
    check_pairs(events)
    numbers: dict[str, set[int | None]] = defaultdict(set)
    for event in of(events, PredictionSubmitted, PredictionPolled):
        numbers[event.prediction.id].add(event.call)
    assert {len(calls) for calls in numbers.values()} == {1}
    assert len(numbers) == len(outcomes) == 5
    for event in of(events, CallEnded):
        assert (event.kind, event.error, event.cancelled) == ("run", None, False)
        assert numbers[event.about.id] == {event.call}
        assert event.seconds > 1.0
    assert current_call.get() is None


async def test_requests_are_known_by_kind_and_prediction() -> None:
    """Turns, requests and answers say what they are for, and what a poll asks for."""
    events: list[Event] = []
    async with running(client={"observe": events.append}) as (client, _):
        picture = await client.run(REQUEST)
        await client.balance()
    told = of(events, TurnGranted, RequestSent, RequestAnswered)
    assert {(event.kind, event.prediction_id) for event in told} == {
        ("submit", None),
        ("poll", picture.id),
        ("balance", None),
    }
    assert {event.call is None for event in told if event.kind == "balance"} == {True}


async def test_a_turn_tells_how_long_it_was_waited_for() -> None:
    """With one slot the second submission waits as long as the first prediction runs."""
    events: list[Event] = []
    limiter = Limiter(Limits(concurrency=1))
    async with running(limiter, {"observe": events.append}, latency=5.0, latency_cv=0.0) as (
        client,
        _,
    ):
        await client.run_all([REQUEST] * 2)
    first, second = [event.seconds for event in of(events, TurnGranted) if event.kind == "submit"]
    assert first == pytest.approx(0.0, abs=1e-3)
    assert second >= 5.0


async def test_a_cancelled_call_ends_once() -> None:
    """Its prediction is left within the call, and it ends as cancelled, without an error."""
    events: list[Event] = []
    async with running(client={"observe": events.append}, latency=50.0) as (client, _):
        with anyio.move_on_after(10.0):
            await client.run(REQUEST)
    check_pairs(events)
    (ended,) = of(events, CallEnded)
    assert (ended.error, ended.cancelled) == (None, True)
    assert ended.seconds == pytest.approx(10.0, abs=0.1)
    assert [event.call for event in of(events, PredictionLeft)] == [ended.call]


async def test_a_call_that_fails_tells_its_error_and_what_it_was_about() -> None:
    """The error is the very one that is raised, and the prediction the one that it carries."""
    events: list[Event] = []
    async with running(client={"observe": events.append}, latency=50.0) as (client, _):
        created = await client.submit(REQUEST)
        with pytest.raises(PredictionTimeoutError) as raised:
            await client.wait(created.id, timeout=8.0)
    submitted, waited = of(events, CallEnded)
    assert (submitted.kind, submitted.about.id) == ("submit", created.id)
    assert waited.error is raised.value
    assert waited.about.id == created.id
    began = of(events, CallBegan)
    assert (began[0].kind, began[0].asked, began[0].about) == ("submit", REQUEST, None)
    assert (began[1].asked, began[1].about.id) == (None, created.id)
    check_pairs(events)


async def test_calls_of_a_batch_that_is_left_all_end() -> None:
    """Those that waited for a slot, too, and no request stays without its end."""
    events: list[Event] = []
    slow = running(client={"observe": events.append}, latency=50.0)
    async with slow as (client, _), client.batch([REQUEST] * 30):
        await anyio.sleep(3.0)
    check_pairs(events)
    assert {event.cancelled for event in of(events, CallEnded)} == {True}


def test_who_hears_details() -> None:
    """An observer does, and a stream that has one; the counts alone do not."""
    heard: list[Event] = []
    assert not hears_details(None)
    assert hears_details(heard.append)
    assert not hears_details(Stream(heard.append, []))
    assert hears_details(Stream(heard.append, [print]))
