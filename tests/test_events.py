"""Events: frozen records of what happened, handed to an observer that can do no harm."""

from __future__ import annotations

import pickle
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

import wavespeed_async
from tests.models.samples import RAW
from wavespeed_async import _events
from wavespeed_async._events import Event, LimiterPaused, notify
from wavespeed_async._prediction import Prediction
from wavespeed_async.errors import APIConnectionError

if TYPE_CHECKING:
    from collections.abc import Callable

CLASSES: list[type[Event]] = [
    value
    for value in vars(_events).values()
    if isinstance(value, type) and issubclass(value, Event)
]
ERROR = APIConnectionError("no answer")
VALUES: dict[str, Any] = {
    "kind": "run",
    "about": Prediction(id="a"),
    "cancelled": False,
    "method": "POST",
    "path": "/api/v3/wavespeed-ai/flux-dev",
    "status_code": 200,
    "seconds": 0.25,
    "error": ERROR,
    "retry_in": 1.5,
    "prediction": Prediction(id="a"),
    "age": 12.5,
    "awaited": True,
    "request": RAW,
    "reason": "the API has no such model",
    "paths": (Path("pictures/1.png"),),
    "image": "room.png",
    "url": "https://media.test/room.png",
    "size": 1000,
}
"""A value for each field of any event; a new field without one fails the tests."""


def _filled(kind: type[Event]) -> Any:
    names = [field.name for field in attrs.fields(kind) if field.default is attrs.NOTHING]
    return kind(**{name: VALUES[name] for name in names})


def test_all_events_are_public() -> None:
    """Every event and what goes with them can be imported by name, each event from the package."""
    beside = {"CallKind", "Observer", "current_call", "listening", "notify", "tell"}
    assert {kind.__name__ for kind in CLASSES} <= {*wavespeed_async.__all__}
    assert {*_events.__all__} == {kind.__name__ for kind in CLASSES} | beside


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_each_event_knows_when_it_happened(kind: type[Event]) -> None:
    """An event carries the wall-clock time at which it was made."""
    before = time.time()
    event = _filled(kind)
    assert before <= event.at <= time.time()


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_each_event_is_frozen(kind: type[Event]) -> None:
    """An observer cannot change an event under the next one."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        _filled(kind).at = 0.0


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_each_event_takes_keywords_only(kind: type[Event]) -> None:
    """The fields of an event are named where it is made."""
    with pytest.raises(TypeError):
        kind(1.0)  # type: ignore[call-arg]  # that is the point


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_each_event_pickles(kind: type[Event]) -> None:
    """An event can be sent to another process with all that it carries."""
    event = _filled(kind)
    for protocol in range(2, 6):
        twin = pickle.loads(pickle.dumps(event, protocol))  # noqa: S301 (our own pickle)
        assert isinstance(twin, kind)
        for field in attrs.fields(kind):
            value, copied = getattr(event, field.name), getattr(twin, field.name)
            if value is ERROR:
                assert vars(copied) == vars(ERROR)
                assert str(copied) == str(ERROR)
            else:
                assert copied == value


def test_a_repr_is_short() -> None:
    """An event shows what it carries, and of what is long its ends."""
    shown = repr(LimiterPaused(seconds=1.0, at=0.0, call=3))
    assert shown == "LimiterPaused(at=0.0, call=3, seconds=1.0)"
    assert len(repr(_filled(_events.SubmissionUnconfirmed))) < 400


def test_the_observer_is_called_with_the_event() -> None:
    """The observer gets the very event, once; its answer is ignored."""
    seen: list[Event] = []
    event = LimiterPaused(seconds=1.0)
    notify(seen.append, event)
    assert seen == [event]
    assert seen[0] is event


def test_without_an_observer_nothing_happens(caplog: pytest.LogCaptureFixture) -> None:
    """None is an observer that costs nothing and logs nothing."""
    notify(None, LimiterPaused(seconds=1.0))
    assert caplog.records == []


def test_an_observers_error_is_logged_and_not_raised(caplog: pytest.LogCaptureFixture) -> None:
    """What an observer raises is logged with its traceback under the package's name."""

    def observe(_: Event) -> None:
        message = "a bug in the application"
        raise LookupError(message)

    notify(observe, LimiterPaused(seconds=1.0))
    [record] = caplog.records
    assert (record.name, record.levelname) == ("wavespeed_async", "ERROR")
    assert "LimiterPaused" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[0] is LookupError


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_passes_through(kind: type[BaseException]) -> None:
    """What is no Exception, an interrupt or a cancellation, is not held back."""

    def observe(_: Event) -> None:
        raise kind

    observer: Callable[[Event], object] = observe
    with pytest.raises(kind):
        notify(observer, LimiterPaused(seconds=1.0))
