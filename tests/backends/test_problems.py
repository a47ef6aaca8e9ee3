"""What a visitor is told of each error, and what they are not."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from tests.wire import ID, KEY
from wavespeed_async import errors
from wavespeed_async._prediction import Prediction, Status
from wavespeed_async.backends._problems import NAMES, TABLE, Problem, problem_of, tell
from wavespeed_async.errors import (
    APIConnectionError,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    InsufficientCreditsError,
    InvalidRequestError,
    LimiterTimeoutError,
    ModerationError,
    NotFoundError,
    PermissionDeniedError,
    PredictionError,
    PredictionFailedError,
    PredictionTimeoutError,
    RateLimitError,
    SubmissionUnconfirmedError,
    WaveSpeedError,
)
from wavespeed_async.limits import Limiter, Limits
from wavespeed_async.models import FluxDev, RawRequest

CLASSES: list[type[WaveSpeedError]] = [getattr(errors, name) for name in errors.__all__]


def content(error: Exception, limiter: Limiter | None = None) -> dict[str, Any]:
    """Read a problem as a visitor does."""
    told: dict[str, Any] = json.loads(problem_of(error, limiter).body())
    return told


def ended(code: int | None, error: str = "the API's words") -> Prediction:
    return Prediction(id=ID, status=Status.FAILED, error=error, error_code=code)


@pytest.mark.parametrize("kind", CLASSES)
def test_each_class_of_the_tree_stands_in_the_table(kind: type[WaveSpeedError]) -> None:
    """Every error has a row of its own, whose status is one of an error, and names itself."""
    assert kind in TABLE
    told = content(kind("text"))
    assert 400 <= told["status"] <= 599
    assert told["type"].startswith(NAMES)
    assert told["title"].endswith(".")


@pytest.mark.parametrize("kind", CLASSES)
def test_nothing_of_the_account_is_told(kind: type[WaveSpeedError]) -> None:
    """An error's own words are for the visitor only where they are about what they asked for."""
    told = problem_of(kind(f"secret {KEY}"))
    if kind is not InvalidRequestError:
        assert "secret" not in told.body().decode()
    if told.is_fault:
        assert told.status >= 500


def test_a_subclass_is_told_as_its_base() -> None:
    """An error that the table does not know is told as the class that it comes from."""

    class MineError(ModerationError):
        pass

    assert problem_of(MineError("no")).kind == "moderated"


def test_another_error_is_told_as_nothing_but_that() -> None:
    """What is not of this package is a 500 without a word of it."""
    assert content(ValueError(KEY)) == {
        "type": f"{NAMES}internal",
        "title": "Something is wrong at this server.",
        "status": 500,
    }


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (50, 50),
        (0.5, 0.5),
        (None, None),
        (True, True),
        ("x", "'x'"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        ([1], "[1]"),
        (10**400, "<a whole number of 1329 bits>"),
        ("\ud800", "'\\ud800'"),
    ],
)
def test_a_bad_field_is_named_with_its_value_and_what_is_allowed(value: object, told: Any) -> None:
    """It is 422 with field, value and allowed, in JSON that any reader takes."""
    error = InvalidRequestError.of("a model", "seed", value, "a number")
    found = content(error)
    assert (found["status"], found["field"], found["allowed"]) == (422, "seed", "a number")
    assert (found["value"], type(found["value"])) == (told, type(told))
    assert found["detail"] == str(error)


def test_a_huge_value_is_shortened() -> None:
    """A picture in a field does not come back whole."""
    error = InvalidRequestError.of("a model", "image", "x" * 10**6, "an address")
    assert len(problem_of(error).body()) < 1000


@pytest.mark.parametrize("error", [LimiterTimeoutError("no"), RateLimitError("no")])
def test_a_full_limiter_is_503_and_says_when_to_come_back(error: WaveSpeedError) -> None:
    """Retry-After is how long those who wait need for their requests, at least a second."""
    limiter = Limiter(Limits(requests=2, per=60.0))
    assert problem_of(error).headers() == {"Retry-After": "1"}
    problem = problem_of(error, limiter)
    assert (problem.status, problem.headers()) == (503, {"Retry-After": "30"})


def test_what_the_api_asked_for_is_handed_on() -> None:
    """A pause that a 429 asked for is the visitor's, in whole seconds."""
    assert problem_of(RateLimitError("no", retry_after=7.2)).retry_after == 8


@pytest.mark.parametrize(
    "error",
    [
        InsufficientCreditsError("no credits", message="Insufficient credits."),
        AuthenticationError("bad key", message="Invalid API key"),
        PermissionDeniedError("suspended", message="suspended"),
    ],
)
def test_the_accounts_troubles_all_look_alike(error: WaveSpeedError) -> None:
    """No credits, a bad key and a suspended account are one and the same 503."""
    assert content(error) == {
        "type": f"{NAMES}unavailable",
        "title": "No pictures can be made at the moment.",
        "status": 503,
    }


def test_what_the_api_refuses_is_told_in_its_words() -> None:
    """A 400 is about what was asked for: 422 with the API's message, if there is one."""
    assert content(BadRequestError("x", message="field is bad"))["detail"] == "field is bad"
    assert "detail" not in content(BadRequestError("x"))


@pytest.mark.parametrize("code", [1400, 1401, 1402])
def test_a_failure_that_can_be_mended_is_422(code: int) -> None:
    """A parameter that failed later is the visitor's to mend, in the API's words."""
    told = content(PredictionFailedError("x", prediction=ended(code)))
    assert (told["status"], told["code"], told["detail"]) == (422, code, "the API's words")
    assert told["prediction_id"] == ID


@pytest.mark.parametrize("code", [None, 1403, 1407, 5000])
def test_a_failure_that_cannot_is_502(code: int | None) -> None:
    """What failed at the API tells its id and its code, and no words."""
    told = content(PredictionFailedError("x", prediction=ended(code)))
    assert (told["status"], told.get("code")) == (502, code)
    assert (told["prediction_id"], told["prediction_status"]) == (ID, "failed")
    assert "detail" not in told
    assert content(PredictionFailedError("x"))["status"] == 502
    assert "prediction_status" not in content(PredictionError("x"))


def test_moderation_is_422() -> None:
    """A prompt that moderation refuses is the visitor's to mend."""
    assert content(ModerationError("x", prediction=ended(1200)))["status"] == 422


def test_a_timeout_hands_over_the_id() -> None:
    """A prediction that still runs is 504 with its id and where it stands."""
    running = Prediction(id=ID, status=Status.PROCESSING)
    told = content(PredictionTimeoutError("x", prediction=running))
    assert (told["status"], told["prediction_id"]) == (504, ID)
    assert told["prediction_status"] == "processing"


def test_an_unconfirmed_submission_tells_what_is_known() -> None:
    """It is 502, warns of asking again, and tells the model and the seed."""
    error = SubmissionUnconfirmedError("x", request=FluxDev(prompt="p", seed=5))
    told = content(error)
    assert (told["status"], told["model"], told["seed"]) == (502, "wavespeed-ai/flux-dev", 5)
    assert "bill" in told["detail"]
    raw = content(SubmissionUnconfirmedError("x", request=RawRequest("a/b", {})))
    assert raw["model"] == "a/b"
    assert "model" not in content(SubmissionUnconfirmedError("x"))


def test_an_id_is_told_wherever_it_is_known() -> None:
    """No answer about a prediction leaves the visitor its id."""
    assert content(APIConnectionError("x", prediction_id=ID))["prediction_id"] == ID
    assert content(NotFoundError("x", prediction_id=ID))["status"] == 404


def test_the_operator_hears_of_faults_alone(caplog: pytest.LogCaptureFixture) -> None:
    """What visitors do wrong is not in the log; what they are not told is, with its trace."""
    with caplog.at_level(logging.INFO, "wavespeed_async"):
        for error in (LimiterTimeoutError("busy"), InvalidRequestError("bad")):
            tell(error, problem_of(error))
        assert caplog.records == []
        fault = ConfigurationError("no API key")
        tell(fault, problem_of(fault))
    assert "no API key" in caplog.text
    assert caplog.records[0].exc_info


def test_members_cannot_replace_the_standards_own() -> None:
    """What a problem is called and which status it has is the table's word."""
    problem = Problem(status=400, kind="k", title="t", members={"status": 200, "type": "x"})
    assert problem.content() == {"type": f"{NAMES}k", "title": "t", "status": 400}
