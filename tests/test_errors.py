"""One tree of exceptions, each of which survives pickling with all that it carries."""

from __future__ import annotations

import copy
import inspect
import multiprocessing
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

from tests.models.samples import RAW, REQUESTS
from wavespeed_async import errors
from wavespeed_async._prediction import Outcome, Prediction, Status
from wavespeed_async.errors import InvalidRequestError, WaveSpeedError, shown

CLASSES: list[type[WaveSpeedError]] = [getattr(errors, name) for name in errors.__all__]

HOUSE = {
    "WaveSpeedError": {"Exception"},
    "ConfigurationError": {"WaveSpeedError"},
    "InvalidRequestError": {"WaveSpeedError", "ValueError"},
    "LimiterTimeoutError": {"WaveSpeedError", "TimeoutError"},
    "APIConnectionError": {"WaveSpeedError"},
    "SubmissionUnconfirmedError": {"APIConnectionError"},
    "APIResponseError": {"WaveSpeedError"},
    "APIStatusError": {"WaveSpeedError"},
    "BadRequestError": {"APIStatusError"},
    "InsufficientCreditsError": {"APIStatusError"},
    "AuthenticationError": {"APIStatusError"},
    "PermissionDeniedError": {"APIStatusError"},
    "NotFoundError": {"APIStatusError"},
    "RateLimitError": {"APIStatusError"},
    "InternalServerError": {"APIStatusError"},
    "PredictionError": {"WaveSpeedError"},
    "PredictionFailedError": {"PredictionError"},
    "ModerationError": {"PredictionFailedError"},
    "PredictionTimeoutError": {"PredictionError", "TimeoutError"},
    "WebhookVerificationError": {"WaveSpeedError"},
    "DeliveryError": {"WaveSpeedError"},
    "JournalError": {"WaveSpeedError"},
    "CostLimitError": {"WaveSpeedError"},
}
"""The tree that applications rely on: each class by its bases."""

PREDICTION = Prediction(
    id="6488c2754f6f4dfea924382fa14d11bd",
    model="wavespeed-ai/flux-dev",
    status=Status.FAILED,
    outputs=("https://example.com/1.png",),
    error="no picture",
    error_code=1403,
    raw={"id": "6488c2754f6f4dfea924382fa14d11bd"},
    request=RAW,
)
ARGUMENTS: dict[str, Any] = {
    "prediction_id": "6488c2754f6f4dfea924382fa14d11bd",
    "field": "seed",
    "value": [1, {"a": b"x"}],
    "allowed": "a number",
    "request": RAW,
    "status_code": 418,
    "body": "<html>",
    "code": 1401,
    "message": "what the API said",
    "retry_after": 2.5,
    "spent": 1.25,
    "unwritten": ("6488c2754f6f4dfea924382fa14d11bd",),
    "absent": True,
    "sent": False,
    "prediction": PREDICTION,
}
"""A value for each keyword of any error; a new keyword without one fails the tests."""


def _filled(kind: type[WaveSpeedError]) -> WaveSpeedError:
    """Build an error with every keyword that it takes."""
    parameters = inspect.signature(kind).parameters.values()
    keywords = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    return kind("what went wrong", **{name: ARGUMENTS[name] for name in keywords})


def _bases(kind: type) -> set[str]:
    return {base.__name__ for base in kind.__bases__}


def _drawn() -> dict[str, set[str]]:
    """Read the tree in the docstring: two spaces a level, a builtin base in brackets."""
    above, tree = ["Exception"], {}
    for line in (errors.__doc__ or "").partition("::\n\n")[2].splitlines():
        if not line.startswith("    "):
            break
        name, *words = line.split()
        level = (len(line) - len(line.lstrip())) // 2 - 1
        above = [*above[:level], name]
        tree[name] = {above[level - 1]} | {word.strip("()") for word in words if word[0] == "("}
    return tree


def _same(one: WaveSpeedError, other: object) -> bool:
    return (
        type(one) is type(other)
        and isinstance(other, WaveSpeedError)
        and one.args == other.args
        and vars(one) == vars(other)
        and str(one) == str(other)
    )


def test_the_tree_is_the_one_in_its_docstring() -> None:
    """The classes are those that the module's docstring draws, under the parents it draws."""
    assert _drawn() == {kind.__name__: _bases(kind) for kind in CLASSES}


def test_the_tree_is_the_one_that_applications_rely_on() -> None:
    """The classes and their bases, builtin ones too, are those that are promised outside."""
    assert {kind.__name__: _bases(kind) for kind in CLASSES} == HOUSE


def test_no_exception_is_left_out_of_the_tree() -> None:
    """Every exception that the module defines is public."""
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, BaseException)
    }
    assert defined == set(errors.__all__)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_each_error_keeps_what_it_is_given(kind: type[WaveSpeedError]) -> None:
    """Every keyword of an error is an attribute of it, and its text is its message."""
    error = _filled(kind)
    given = [
        p.name for p in inspect.signature(kind).parameters.values() if p.kind is p.KEYWORD_ONLY
    ]
    assert {name: getattr(error, name) for name in given} == {
        name: ARGUMENTS[name] for name in given
    }
    assert str(error) == "what went wrong"
    assert error.args == ("what went wrong",)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_each_error_needs_no_more_than_a_message(kind: type[WaveSpeedError]) -> None:
    """Every keyword has a default, and an id that is not known is None."""
    error = kind("what went wrong")
    assert error.prediction_id is None
    assert _same(error, pickle.loads(pickle.dumps(error)))  # noqa: S301 (our own pickle)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("protocol", range(2, 6))
def test_each_error_pickles_with_all_that_it_carries(
    kind: type[WaveSpeedError], protocol: int
) -> None:
    """Type, message, every attribute and notes come back from a pickle of any protocol."""
    error = _filled(kind)
    error.add_note("seen in a batch")
    twin = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 (our own pickle)
    assert _same(error, twin)
    assert twin.__notes__ == ["seen in a batch"]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_each_error_can_be_copied(kind: type[WaveSpeedError]) -> None:
    """Copies, deep ones too, carry the same."""
    error = _filled(kind)
    assert _same(error, copy.copy(error))
    assert _same(error, copy.deepcopy(error))


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_each_error_knows_its_predictions_id(kind: type[WaveSpeedError]) -> None:
    """Whatever is given a prediction or an id answers that id."""
    parameters = inspect.signature(kind).parameters
    if "prediction_id" in parameters or "prediction" in parameters:
        assert _filled(kind).prediction_id == PREDICTION.id
    else:
        without = {"SubmissionUnconfirmedError", "JournalError", "CostLimitError"}
        assert kind.__name__ in without or issubclass(kind, InvalidRequestError)


def test_a_refused_value_that_cannot_be_pickled_is_pickled_as_text() -> None:
    """A lock, a generator or what is too deep, given as a value, does not break the pickle."""
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    for value in (threading.Lock(), (n for n in [1]), lambda: None, deep):
        error = InvalidRequestError.of("flux-dev", "seed", value, "a number")
        assert error.value is value
        twin = pickle.loads(pickle.dumps(error))  # noqa: S301 (our own pickle)
        assert twin.value == shown(value)
        assert (twin.field, twin.allowed, str(twin)) == ("seed", "a number", str(error))


@pytest.mark.parametrize(
    "value",
    [
        "x" * 10**6,
        b"x" * 10**6,
        10**5000,
        [["x" * 99] * 99] * 99,
        {"a": [10**5000] * 99},
        -(10**400),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_refusal_is_short_whatever_the_value(value: object) -> None:
    """A message stays short for values that are long, deep or too large for Python to write."""
    error = InvalidRequestError.of("flux-dev", "seed", value, "a number")
    assert str(error).startswith("flux-dev: seed must be a number, not ")
    assert len(str(error)) < 300
    assert error.value is value


def test_what_is_short_is_shown_whole() -> None:
    """A short value stands in the message as it would in code."""
    error = InvalidRequestError.of("flux-dev", "strength", 1.5, "a number from 0.0 to 1.0")
    assert str(error) == "flux-dev: strength must be a number from 0.0 to 1.0, not 1.5"


def test_all_of_it_goes_through_a_process_pool() -> None:
    """Requests, predictions, outcomes and every error come back from another process."""
    failures = [_filled(kind) for kind in CLASSES]
    values = [*REQUESTS, PREDICTION, Outcome(index=3, request=RAW, prediction=PREDICTION)]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        assert pool.submit(copy.copy, values).result(60) == values
        back = pool.submit(copy.copy, failures).result(60)
        assert all(map(_same, failures, back))
        for error in failures:
            raised = pool.submit(Outcome.unwrap, Outcome(index=0, error=error)).exception(60)
            assert isinstance(raised, WaveSpeedError)
            assert type(raised) is type(error)
            assert vars(raised) == vars(error)
