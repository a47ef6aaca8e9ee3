"""The tally: what it says of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wavespeed_async import (
    APIConnectionError,
    LimiterPaused,
    Outcome,
    PictureSaved,
    Prediction,
    RequestAnswered,
    RequestFailed,
    Status,
    WaveSpeedError,
)
from wavespeed_async._events import PredictionEnded, PredictionSubmitted
from wavespeed_async.cli._tally import Tally


def _line(tally: Tally, now: float) -> str:
    return tally.line(now, running=20, used=57, requests=120)


def test_a_line_of_progress() -> None:
    """A line says what is done, running and failed, the pace, the requests, and the time left."""
    tally = Tally(30, now=100.0)
    assert _line(tally, 100.0) == "0/30 done, 20 running, 0 failed, 0 pictures/min, 57/120 requests"
    made = Prediction(id="a", status=Status.COMPLETED)
    for _ in range(9):
        tally.observe(PictureSaved(prediction=made, paths=(Path("a"), Path("b"))))
        tally.count(Outcome(index=0, prediction=made))
    tally.count(Outcome(index=1, error=WaveSpeedError("no")))
    assert _line(tally, 130.0) == (
        "9/30 done, 20 running, 1 failed, 36 pictures/min, 57/120 requests, 1 min 0 s left"
    )


@pytest.mark.parametrize(
    ("seconds", "left"), [(10, "10 s left"), (100, "1 min 40 s left"), (8000, "2 h 13 min left")]
)
def test_the_time_left(seconds: float, left: str) -> None:
    """The time left is in seconds, minutes or hours."""
    tally = Tally(2, now=0.0)
    tally.count(Outcome(index=0, error=WaveSpeedError("no")))
    assert _line(tally, seconds).endswith(f", {left}")


def test_loose_ends() -> None:
    """Whatever was paid for and is not wholly here is listed by what is the matter with it."""
    tally = Tally(9, now=0.0)

    def submit(name: str, status: Status) -> Prediction:
        tally.observe(PredictionSubmitted(prediction=Prediction(id=name, model="m")))
        ended = Prediction(id=name, model="m", status=status)
        if status.ended:
            tally.observe(PredictionEnded(prediction=ended))
        return ended

    submit("running", Status.PROCESSING)
    submit("failed", Status.FAILED)
    submit("unsaved", Status.COMPLETED)
    for name in ("unrecorded", "whole"):
        made = submit(name, Status.COMPLETED)
        tally.observe(PictureSaved(prediction=made, paths=()))
    tally.recorded(Outcome(index=0, prediction=made))
    assert list(tally.loose_ends.values()) == [
        ["running  m"],
        ["unsaved  m"],
        ["unrecorded  m"],
    ]
    assert tally.pending


def test_a_pause_and_an_outage_are_named() -> None:
    """A line names a pause after a 429 and a time without answers, as long as they last."""
    tally = Tally(30, now=100.0, wall=5000.0)

    def hindrances(now: float) -> str:
        return _line(tally, now).partition("/120 requests")[2]

    tally.observe(LimiterPaused(seconds=8.0, at=5010.0))
    assert hindrances(111.0) == ", paused for 7 s after a 429"
    assert hindrances(118.0) == ""
    way: dict[str, Any] = {"method": "GET", "path": "/"}
    for at in (5020.0, 5024.0):
        tally.observe(RequestFailed(**way, error=APIConnectionError("no"), retry_in=1.0, at=at))
    tally.observe(RequestFailed(**way, error=WaveSpeedError("no"), retry_in=1.0, at=5025.0))
    assert hindrances(121.0) == ""
    assert hindrances(125.0) == ", no answer for 5 s"
    tally.observe(RequestAnswered(**way, status_code=200, seconds=1.0, at=5026.0))
    assert hindrances(126.0) == ""
