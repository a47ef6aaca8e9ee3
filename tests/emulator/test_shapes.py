"""Outcomes, statuses and shapes on demand, as clients see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.emulator.account import FLUX, KEY
from wavespeed_async.emulator import OUTCOMES, Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(latency=0.0, pictures=False) as emulator:
        yield emulator


def told(emulator: Emulator, prompt: str = "", **headers: str) -> dict[str, Any]:
    """Submit, and answer the result."""
    with httpx.Client(base_url=emulator.url, headers={**KEY, **headers}) as client:
        identity = client.post(FLUX, json={"prompt": prompt}).json()["data"]["id"]
        answer = client.get(f"/api/v3/predictions/{identity}/result").json()
    data: dict[str, Any] = answer["data"]
    return data


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_prediction_ends_as_is_wished(emulator: Emulator, outcome: str) -> None:
    """Each final status can be had by marker, by header and by script."""
    emulator.next(outcome=outcome, kind="submit")
    for data in (
        told(emulator),
        told(emulator, f"[outcome: {outcome}]"),
        told(emulator, **{"x-emulator-outcome": outcome}),
    ):
        word, _, code = outcome.partition("-")
        assert data["status"] == word
        assert len(data["outputs"]) == (word == "completed")
        if code:
            assert data["code"] == int(code)
        assert bool(data["error"]) == (word in {"failed", "cancelled", "timeout"})


@pytest.mark.parametrize("word", ["pending", "queued", "starting", "never-heard-of"])
def test_a_running_prediction_is_told_as_is_wished(word: str) -> None:
    """While it runs a prediction can have any status, known or not."""
    with Emulator(pictures=False) as emulator:
        emulator.next(status=word)
        assert told(emulator)["status"] == word
        assert told(emulator, f"[status: {word}]")["status"] == word


def test_a_wished_status_ends_with_the_run(emulator: Emulator) -> None:
    """A status that was wished for is told only while the prediction runs."""
    assert told(emulator, "[status: queued]")["status"] == "completed"


def test_lists_can_be_null() -> None:
    """In shape null-lists `has_nsfw_contents` is null, and `outputs` until there are some."""
    with Emulator(pictures=False) as emulator:
        data = told(emulator, "[shape: null-lists]")
        assert (data["outputs"], data["has_nsfw_contents"]) == (None, None)
    with Emulator(latency=0.0, pictures=False) as emulator:
        assert len(told(emulator, "[shape: null-lists]")["outputs"]) == 1


def test_outputs_can_be_objects(emulator: Emulator) -> None:
    """In shape object-outputs each output is an object with a `url`."""
    [output] = told(emulator, "[shape: object-outputs]")["outputs"]
    assert [*output] == ["url"]
    assert httpx.get(output["url"]).status_code == 200


def test_fields_can_be_missing(emulator: Emulator) -> None:
    """In shape missing-fields only four fields are left."""
    data = told(emulator, "[shape: missing-fields]")
    assert [*data] == ["id", "model", "status", "outputs"]


def test_a_misspelt_script_is_a_value_error(emulator: Emulator) -> None:
    """A script of a fault, outcome or shape that does not exist is refused at once."""
    wrongs: list[dict[str, Any]] = [{"fault": "x"}, {"outcome": "x"}, {"shape": "x"}]
    for wrong in wrongs:
        with pytest.raises(ValueError, match="take one of"):
            emulator.next(**wrong)
