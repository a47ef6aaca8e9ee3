"""What `observe=` takes: one observer, several, or what makes one for each client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.virtual import running
from wavespeed_async import (
    AsyncWaveSpeed,
    CallBegan,
    CallEnded,
    ConfigurationError,
    Event,
    PredictionEnded,
)
from wavespeed_async.testing import virtual_backend

if TYPE_CHECKING:
    from wavespeed_async._events import Observer
    from wavespeed_async.limits import AnyLimiter


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run on clocks that jump."""
    return virtual_backend(request.param)


class Maker:
    """Make an observer for each client, and note for whom."""

    def __init__(self) -> None:
        self.clients: list[tuple[str, AnyLimiter]] = []
        self.heard: list[Event] = []

    def observer(self, server: str, limiter: AnyLimiter) -> Observer:
        self.clients.append((server, limiter))
        return self.heard.append


async def test_several_hear_the_same() -> None:
    """Each of several observers hears every event, also one that is made for the client."""
    first: list[Event] = []
    maker = Maker()
    async with running(client={"observe": [first.append, maker]}) as (client, _):
        await client.flux_dev(prompt="x")
    assert first == maker.heard
    assert any(isinstance(event, PredictionEnded) for event in first)
    assert maker.clients == [("http://emulator.test", client.limiter)]


async def test_one_that_fails_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """What one observer raises is logged; those after it, and the run, go on."""
    heard: list[Event] = []

    def fails(_: Event) -> None:
        raise LookupError

    async with running(client={"observe": (fails, heard.append)}) as (client, _):
        picture = await client.flux_dev(prompt="x")
    assert picture.outputs
    assert len(caplog.records) == len(heard) > 5


@pytest.mark.parametrize("observe", [3, "logs", [print, None], object()])
def test_what_is_no_observer_is_refused(observe: Any) -> None:
    """The error says what is allowed, and what there was."""
    with pytest.raises(ConfigurationError, match="observe must be a function that takes events"):
        AsyncWaveSpeed("a-key", observe=observe)


async def test_without_an_observer_calls_are_not_told() -> None:
    """A listener alone hears of predictions, and nothing is made of calls for nobody."""
    from wavespeed_async._events import listening  # noqa: PLC0415 (it is what is tested)

    heard: list[Event] = []
    async with running() as (client, _):
        with listening(heard.append):
            await client.flux_dev(prompt="x")
    assert any(isinstance(event, PredictionEnded) for event in heard)
    assert not [event for event in heard if isinstance(event, CallBegan | CallEnded)]
