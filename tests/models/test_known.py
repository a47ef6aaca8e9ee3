"""The one list of models: all else follows from it, whichever models stand there."""

from __future__ import annotations

import inspect
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wavespeed_async
from tests.models.samples import allowed, minimal, searched
from tests.virtual import running
from wavespeed_async import Status, models
from wavespeed_async._codec import encode_json, encode_request, request_from
from wavespeed_async.emulator._requests import read_submission
from wavespeed_async.models import Request, _known, request_class, request_classes
from wavespeed_async.testing import virtual_backend

if TYPE_CHECKING:
    from collections.abc import Callable

KNOWN: dict[str, type[Request]] = {name: getattr(_known, name) for name in _known.__all__}
METHODS: dict[str, Callable[..., Any]] = {
    name: method
    for name, method in vars(_known.ModelMethods).items()
    if inspect.iscoroutinefunction(method)
}


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_backend(request.param)


def _class_of(method: str) -> type[Request]:
    """Find the class whose fields a method says to take."""
    (name,) = re.findall(r"Takes the fields of `(\w+)`", METHODS[method].__doc__ or "")
    return KNOWN[name]


@pytest.mark.parametrize("name", KNOWN)
def test_a_model_of_the_list_is_known_everywhere(name: str) -> None:
    """It is exported, found by its id, and alone in a file."""
    known = KNOWN[name]
    assert known.__name__ == name
    for package in (wavespeed_async, models):
        assert getattr(package, name) is known
        assert name in package.__all__
    assert request_class(known.model) is known
    assert vars(inspect.getmodule(known))["__all__"] == [name]


def test_no_model_is_left_out() -> None:
    """Every class of the package stands in the list, and the list has a method for each."""
    ours = {cls for cls in request_classes() if cls.__module__.startswith("wavespeed_async.")}
    assert ours == {*KNOWN.values()}
    asked = [_class_of(method) for method in METHODS]
    assert len(asked) == len(ours)
    assert {*asked} == ours


@pytest.mark.parametrize("method", METHODS)
async def test_the_least_that_is_asked_becomes_a_picture(method: str) -> None:
    """A method takes its class's fields; with those that are required it answers a picture."""
    known = _class_of(method)
    async with running() as (client, emulator):
        asked = getattr(client, method)
        assert inspect.signature(asked).parameters == inspect.signature(known).parameters
        prediction = await asked(**minimal(known))
    assert type(prediction.request) is known
    assert (prediction.status, prediction.model) == (Status.COMPLETED, known.model)
    assert len(prediction.outputs) == len(emulator.predictions) == 1


@pytest.mark.parametrize("name", KNOWN)
@searched
@given(data=st.data())
def test_any_request_arrives_as_it_was_made(name: str, data: st.DataObject) -> None:
    """Whatever a model allows reads the same at the emulator, and out of a file of requests."""
    request = data.draw(allowed(KNOWN[name]))
    body = encode_json(encode_request(request))
    assert read_submission(request.model, body)[0] == request
    assert request_from({"model": request.model, **json.loads(body)}) == request
