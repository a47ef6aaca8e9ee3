"""Events through `logging`: levels, fields, and what is never told."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from tests.test_events import CLASSES, _filled
from tests.wire import ID
from wavespeed_async import (
    APIConnectionError,
    AsyncWaveSpeed,
    BadRequestError,
    CallEnded,
    ConfigurationError,
    Event,
    FluxDev,
    ImageUploaded,
    Limiter,
    Limits,
    PictureSaved,
    Prediction,
    PredictionEnded,
    PredictionLeft,
    PredictionSubmitted,
    RequestFailed,
    RequestSent,
    Status,
    SubmissionUnconfirmed,
)
from wavespeed_async.emulator import Emulator
from wavespeed_async.observe import Logs
from wavespeed_async.observe._fields import fields_of
from wavespeed_async.observe._logs import level_of

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "a-key-that-nobody-may-see"
PROMPT = "a lighthouse that nobody may see"
REQUEST = FluxDev(prompt=PROMPT, image="https://secret.test/room.png")
OUTPUT = "https://secret.test/out.png"
RESERVED = set(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


@pytest.fixture(autouse=True)
def log() -> Iterator[logging.Logger]:
    """Leave the logger as it was found."""
    found = logging.getLogger("wavespeed_async")
    level, handlers = found.level, [*found.handlers]
    found.setLevel("DEBUG")
    yield found
    found.setLevel(level)
    found.handlers[:] = handlers


def ended(status: Status = Status.COMPLETED, **more: Any) -> Prediction:
    outputs = (OUTPUT,) if status is Status.COMPLETED else ()
    return Prediction(
        id=ID, model=REQUEST.model, status=status, outputs=outputs, request=REQUEST, **more
    )


LEVELS = [
    (RequestSent(method="GET", path="/a"), logging.DEBUG),
    (PredictionLeft(prediction=Prediction(id=ID)), logging.INFO),
    (
        RequestFailed(method="GET", path="/a", error=APIConnectionError("gone"), retry_in=None),
        logging.WARNING,
    ),
    (CallEnded(kind="run", about=None, error=None, cancelled=True, seconds=1.0), logging.DEBUG),
    (
        CallEnded(
            kind="run", about=None, error=APIConnectionError("gone"), cancelled=False, seconds=1.0
        ),
        logging.WARNING,
    ),
]


@pytest.mark.parametrize(
    ("event", "level"), LEVELS, ids=["request", "course", "trouble", "call", "failed call"]
)
def test_each_event_has_its_level(
    event: Event, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Requests and calls are for debugging, predictions information, trouble a warning."""
    Logs()(event)
    assert [line.levelno for line in caplog.records] == [level]


def test_an_event_is_a_line_and_fields(caplog: pytest.LogCaptureFixture) -> None:
    """The message names the event and its values, and the record has each of them by its name."""
    Logs()(PredictionEnded(prediction=ended(), call=7))
    Logs()(
        RequestFailed(
            method="GET", path="/a", error=APIConnectionError("it is gone"), retry_in=0.5, call=7
        )
    )
    first, second = caplog.records
    assert first.getMessage() == (
        f"PredictionEnded call=7 prediction_id={ID} model=wavespeed-ai/flux-dev "
        f"status=completed pictures=1"
    )
    assert second.getMessage() == (
        "RequestFailed call=7 method=GET path=/a error=APIConnectionError "
        "error_message='it is gone' retry_in=0.500"
    )
    told = vars(first)
    assert (told["event"], told["call"], told["prediction_id"]) == ("PredictionEnded", 7, ID)
    assert (told["model"], told["status"], told["pictures"]) == (REQUEST.model, "completed", 1)
    assert (vars(second)["error"], vars(second)["retry_in"]) == ("APIConnectionError", 0.5)


def test_an_error_of_the_api_is_told_by_its_numbers(caplog: pytest.LogCaptureFixture) -> None:
    """Its words may repeat what was asked; its status, its code and its prediction cannot."""
    error = BadRequestError(PROMPT, status_code=400, code=1401, message=PROMPT, prediction_id=ID)
    Logs()(RequestFailed(method="POST", path="/a", error=error, retry_in=None))
    told = vars(caplog.records[0])
    assert (told["error"], told["status_code"], told["error_code"]) == (
        "BadRequestError",
        400,
        1401,
    )
    assert told["prediction_id"] == ID
    assert PROMPT not in caplog.text


CONTENT: list[Event] = [
    PredictionSubmitted(prediction=ended()),
    PredictionEnded(prediction=ended(Status.FAILED, error=PROMPT)),
    SubmissionUnconfirmed(request=REQUEST),
    ImageUploaded(image=PROMPT, url=OUTPUT, size=3, seconds=0.1),
    PictureSaved(prediction=ended(), paths=(Path(PROMPT),)),
    RequestFailed(method="GET", path="/", error=BadRequestError(PROMPT), retry_in=None),
]


@pytest.mark.parametrize("event", CONTENT, ids=lambda event: type(event).__name__)
def test_content_is_told_only_where_it_is_asked_for(
    event: Event, caplog: pytest.LogCaptureFixture
) -> None:
    """Prompts, addresses, names of files and the API's words are left out, or all there."""
    Logs()(event)
    told = f"{caplog.text} {vars(caplog.records[0])}"
    assert PROMPT not in told
    assert "secret.test" not in told
    Logs(content=True)(event)
    told = f"{caplog.records[1].getMessage()} {vars(caplog.records[1])}"
    assert PROMPT in told or "secret.test" in told


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_no_field_takes_a_name_of_logging(kind: type[Event]) -> None:
    """Each event can be logged: `logging` refuses fields that a record has already."""
    fields = fields_of(_filled(kind), content=True)
    assert fields["event"] == kind.__name__
    assert not fields.keys() & RESERVED
    assert None not in fields.values()
    plain = {field.name for field in attrs.fields(kind)} - {"at", "call"}
    assert len(fields) >= min(len(plain), 1)


def test_what_nobody_hears_is_not_put_into_words(
    log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    """An event below the logger's level costs a look at the level."""
    log.setLevel("INFO")

    class Secret:
        def __repr__(self) -> str:
            raise AssertionError

    event: Any = RequestSent(method="GET", path=Secret())  # type: ignore[arg-type]  # to see it shown
    Logs()(event)
    assert caplog.records == []
    assert level_of(event) == logging.DEBUG


def test_a_logger_of_ones_own(caplog: pytest.LogCaptureFixture) -> None:
    """The logger is the caller's, by its name or itself."""
    for logger in ("studio", logging.getLogger("studio")):
        Logs(logger)(PredictionLeft(prediction=Prediction(id=ID)))
    caplog.set_level("INFO", "studio")
    Logs("studio")(PredictionLeft(prediction=Prediction(id=ID)))
    assert [line.name for line in caplog.records] == ["studio"]


# --- asked for by the environment -----------------------------------------------------------------


@pytest.mark.parametrize("value", ["loud", "0"])
def test_another_word_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the variable, its value and what is allowed."""
    monkeypatch.setenv("WAVESPEED_LOG", value)
    with pytest.raises(
        ConfigurationError, match=rf"WAVESPEED_LOG must be debug, .* or error.*{value}"
    ):
        AsyncWaveSpeed(KEY)


async def run_once(emulator: Emulator, **settings: Any) -> None:
    limiter = Limiter(Limits(min_poll_interval=0.01))
    async with AsyncWaveSpeed(KEY, base_url=emulator.url, limiter=limiter, **settings) as client:
        await client.flux_dev(prompt=PROMPT)


async def test_a_run_is_told_without_the_key(
    monkeypatch: pytest.MonkeyPatch, log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nobody has set up logging the lines go to stderr, once for several clients.

    A client that logs already is not made to do so twice.
    """
    monkeypatch.setenv("WAVESPEED_LOG", " DEBUG ")
    monkeypatch.setattr(log, "hasHandlers", lambda: bool(log.handlers))
    async with Emulator(latency=0.05, pictures=False) as emulator:
        for settings in ({}, {"observe": [Logs()]}):
            await run_once(emulator, **settings)
    told = capsys.readouterr().err
    assert told.count(" PredictionSubmitted ") == told.count(" PredictionEnded ") == 2
    assert "INFO wavespeed_async: " in told
    assert KEY not in told
    assert PROMPT not in told
    assert "/out" not in told


@pytest.mark.parametrize("value", [None, "", " "])
async def test_without_a_wish_nothing_is_logged(
    value: str | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Unset or empty, nothing is logged and no level is set."""
    monkeypatch.delenv("WAVESPEED_LOG", raising=False)
    if value is not None:
        monkeypatch.setenv("WAVESPEED_LOG", value)
    async with Emulator(latency=0.05, pictures=False) as emulator:
        await run_once(emulator)
    assert [line for line in caplog.records if line.name == "wavespeed_async"] == []
