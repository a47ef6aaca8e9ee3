"""Events through `logging`, where the environment asks for it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from wavespeed_async._logs import logged

from tests.wire import ID
from wavespeed_async import AsyncWaveSpeed, ConfigurationError, Limiter, Limits, Prediction
from wavespeed_async._events import Event, PredictionLeft, RequestFailed, RequestSent
from wavespeed_async.emulator import Emulator
from wavespeed_async.errors import APIConnectionError

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "a-key-that-nobody-may-see"


@pytest.fixture(autouse=True)
def log() -> Iterator[logging.Logger]:
    """Leave the logger as it was found."""
    found = logging.getLogger("wavespeed_async")
    level, handlers = found.level, [*found.handlers]
    yield found
    found.setLevel(level)
    found.handlers[:] = handlers


EVENTS = [
    (RequestSent(method="GET", path="/a"), logging.DEBUG),
    (PredictionLeft(prediction=Prediction(id=ID)), logging.INFO),
    (
        RequestFailed(method="GET", path="/a", error=APIConnectionError("gone"), retry_in=None),
        logging.WARNING,
    ),
]


@pytest.mark.parametrize(("event", "level"), EVENTS, ids=["request", "course", "trouble"])
def test_each_event_has_its_level(
    event: Event, level: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Requests are for debugging, predictions information, trouble a warning."""
    monkeypatch.setenv("WAVESPEED_LOG", " DEBUG ")
    heard: list[Event] = []
    observer = logged(heard.append)
    assert observer is not None
    observer(event)
    assert heard == [event]
    assert [(line.levelno, line.getMessage()) for line in caplog.records] == [(level, repr(event))]


def test_without_a_wish_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset or empty, the observer stays what it is."""
    heard: list[Any] = []
    for value in (None, "", " "):
        monkeypatch.delenv("WAVESPEED_LOG", raising=False)
        if value is not None:
            monkeypatch.setenv("WAVESPEED_LOG", value)
        assert logged(None) is None
        assert logged(heard.append) == heard.append


def test_another_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the variable, its value and what is allowed."""
    monkeypatch.setenv("WAVESPEED_LOG", "loud")
    with pytest.raises(ConfigurationError, match=r"WAVESPEED_LOG must be debug, .* or error.*loud"):
        AsyncWaveSpeed(KEY)


async def test_a_run_is_told_without_the_key(
    monkeypatch: pytest.MonkeyPatch, log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nobody has set up logging the lines go to stderr, once for several clients."""
    monkeypatch.setenv("WAVESPEED_LOG", "debug")
    monkeypatch.setattr(log, "hasHandlers", lambda: bool(log.handlers))
    async with Emulator(latency=0.05, pictures=False) as emulator:
        for _ in range(2):
            limiter = Limiter(Limits(min_poll_interval=0.01))
            async with AsyncWaveSpeed(KEY, base_url=emulator.url, limiter=limiter) as client:
                await client.flux_dev(prompt="a lighthouse")
    told = capsys.readouterr().err
    assert told.count("PredictionSubmitted(") == told.count("PredictionEnded(") == 2
    assert "INFO wavespeed_async: " in told
    assert KEY not in told
