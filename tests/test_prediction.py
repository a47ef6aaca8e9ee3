"""Predictions and outcomes: what has ended, what is equal, and what a repr shows."""

from __future__ import annotations

import copy
import pickle
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest

from tests.models.samples import RAW
from wavespeed_async._prediction import Outcome, Prediction, Status
from wavespeed_async.errors import PredictionFailedError

DONE = Prediction(
    id="6488c2754f6f4dfea924382fa14d11bd",
    model="wavespeed-ai/flux-dev",
    status=Status.COMPLETED,
    outputs=("https://example.com/1.png", "data:image/png;base64,AAAA"),
    has_nsfw_contents=(False, True),
    created_at=datetime(2025, 9, 29, 23, 9, 43, 27123, tzinfo=UTC),
    error="none",
    error_code=0,
    inference_ms=1234,
    raw={"id": "6488c2754f6f4dfea924382fa14d11bd", "timings": {"inference": 1234}},
    request=RAW,
)
ENDED = {"completed", "failed", "cancelled", "timeout", "deleted"}


@pytest.mark.parametrize("status", Status)
def test_what_has_ended(status: Status) -> None:
    """Five statuses are ends; any other, an unknown one too, means that it may still run."""
    assert status.ended is (status.value in ENDED)


def test_statuses_are_the_known_words() -> None:
    """The statuses are the API's words, and one for a word that nobody knows."""
    running = {"created", "pending", "queued", "starting", "processing"}
    assert {str(status) for status in Status} == ENDED | running | {"unknown"}


def test_an_id_is_all_that_a_prediction_needs() -> None:
    """A prediction that only its id is known of is unknown, empty and not ended."""
    bare = Prediction(id="a")
    assert (bare.model, bare.status, bare.outputs, bare.raw) == ("", Status.UNKNOWN, (), {})
    assert bare.request is None
    assert {bare.created_at, bare.error, bare.error_code, bare.inference_ms} == {None}


def test_predictions_are_equal_by_what_they_say() -> None:
    """The answer as it came and what was asked do not count for equality, all else does."""
    assert attrs.evolve(DONE, raw={}, request=None) == DONE
    assert hash(attrs.evolve(DONE, raw={}, request=None)) == hash(DONE)
    for change in ({"id": "b"}, {"status": Status.FAILED}, {"outputs": ()}, {"inference_ms": 1}):
        assert attrs.evolve(DONE, **change) != DONE


@pytest.mark.parametrize("value", [DONE, Outcome(index=1, request=RAW, prediction=DONE)], ids=type)
def test_they_cannot_be_changed(value: Prediction | Outcome) -> None:
    """Predictions and outcomes are frozen."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        value.error = None  # type: ignore[misc]  # that is the point


@pytest.mark.parametrize(
    "value",
    [
        DONE,
        Prediction(id="a"),
        Outcome(index=0),
        Outcome(index=7, request=RAW, prediction=DONE, paths=(Path("pictures/1.png"),)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_copies_and_pickles_are_equal(value: Prediction | Outcome) -> None:
    """Copies, deep ones too, and pickles of every protocol carry every attribute."""
    copies = [copy.copy(value), copy.deepcopy(value)]
    copies += [pickle.loads(pickle.dumps(value, protocol)) for protocol in range(2, 6)]  # noqa: S301 (our own pickle)
    for twin in copies:
        assert twin == value
        assert hash(twin) == hash(value)
        for field in attrs.fields(type(value)):
            assert getattr(twin, field.name) == getattr(value, field.name)


def test_a_repr_shortens_outputs_and_errors() -> None:
    """A picture as base64 is never shown whole, nor a long error; the rest is."""
    picture = b64encode(bytes(range(256)) * 99).decode()
    text = repr(attrs.evolve(DONE, outputs=(picture, picture), error="no " * 1000))
    assert picture not in text
    assert len(text) < 600
    assert text.count("characters)") == 2
    assert "6488c2754f6f4dfea924382fa14d11bd" in text
    assert "raw=" not in text


def test_an_outcome_answers_its_prediction() -> None:
    """An outcome without an error unwraps to the finished prediction."""
    assert Outcome(index=0, prediction=DONE).unwrap() is DONE


def test_an_outcome_raises_its_error() -> None:
    """An outcome with an error raises that very error, even where a prediction is known."""
    error = PredictionFailedError("failed", prediction=DONE)
    with pytest.raises(PredictionFailedError) as caught:
        Outcome(index=0, prediction=DONE, error=error).unwrap()
    assert caught.value is error


def test_an_empty_outcome_is_a_mistake() -> None:
    """An outcome with neither prediction nor error cannot be unwrapped."""
    with pytest.raises(ValueError, match="has a prediction"):
        Outcome(index=0).unwrap()
