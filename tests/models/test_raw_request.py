"""RawRequest: any model, by fields that are copied deeply and cannot change."""

from __future__ import annotations

import json
import math
from types import MappingProxyType
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.models.samples import RAW, any_json, made, refusal, searched
from wavespeed_async._codec import encode_json, encode_request
from wavespeed_async.errors import InvalidRequestError
from wavespeed_async.models import FieldMap, RawRequest
from wavespeed_async.models._request import DEEPEST

MODEL = "wavespeed-ai/flux-dev-ultra-fast"


def _nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_fields_are_copied_deeply() -> None:
    """What happens to the original afterwards does not reach the request."""
    inner: dict[str, Any] = {"path": "a/b"}
    original = {"loras": [inner], "prompt": "a cat"}
    request = RawRequest(MODEL, original)
    inner["path"] = "changed"
    original["loras"].append(5)  # type: ignore[attr-defined]  # one dict of mixed values
    original["prompt"] = "changed"
    assert encode_request(request) == {"loras": [{"path": "a/b"}], "prompt": "a cat"}


def test_what_is_encoded_is_a_copy_too() -> None:
    """What happens to an encoded body does not reach the request."""
    encode_request(RAW)["loras"].clear()
    assert encode_request(RAW)["loras"]


def test_a_raw_request_cannot_be_changed() -> None:
    """Neither the request nor its fields nor what is in them takes a new value."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        RAW.model = "a/b"  # type: ignore[misc]  # that is the point
    fields: Any = RAW.fields
    with pytest.raises(TypeError):
        fields["prompt"] = "changed"
    with pytest.raises(TypeError):
        fields["extra"]["deep"] = 1
    assert isinstance(fields["extra"]["deep"], tuple)


def test_equal_fields_make_equal_requests() -> None:
    """Requests are equal, and hash alike, by what they ask, in whatever order it was written."""
    one = RawRequest(MODEL, {"a": [1, {"b": None}], "c": "d"})
    same = RawRequest(MODEL, MappingProxyType({"c": "d", "a": (1, FieldMap({"b": None}))}))
    assert one == same
    assert hash(one) == hash(same)
    assert len({one, same}) == 1
    assert (len(one.fields), [*one.fields]) == (2, ["a", "c"])


@pytest.mark.parametrize(
    "other",
    [
        RawRequest(MODEL, {"a": 2}),
        RawRequest(MODEL, {"a": 1, "b": 1}),
        RawRequest(MODEL, {}),
        RawRequest("other/model", {"a": 1}),
        RawRequest(MODEL, {"a": 1}, version="v2"),
    ],
)
def test_other_fields_make_other_requests(other: RawRequest) -> None:
    """Requests that ask something else are not equal."""
    assert RawRequest(MODEL, {"a": 1}) != other


def test_nested_fields_become_plain_json_again() -> None:
    """What is sent is dicts and lists, null where it stood inside, and no field that is None."""
    fields: dict[str, Any] = {"a": [{"b": [None, 1.5, "ü"]}, []], "c": {}, "d": None, "e": False}
    sent = encode_request(RawRequest(MODEL, fields))
    assert sent == {"a": [{"b": [None, 1.5, "ü"]}, []], "c": {}, "e": False}
    assert json.loads(encode_json(sent)) == sent
    assert type(sent["a"]) is list
    assert type(sent["c"]) is dict


@pytest.mark.parametrize(
    "value",
    [
        {1, 2},
        math.nan,
        -math.inf,
        b"bytes",
        object(),
        1j,
        "\ud800",
        10**5000,
        iter([1]),
        bytearray(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_has_not_is_refused_with_its_place(value: object) -> None:
    """A value that JSON cannot carry is refused wherever it is, and the message says where."""
    places: dict[str, dict[str, Any]] = {
        "fields.a": {"a": value},
        "fields.a[1].b": {"a": [0, {"b": value}]},
        "fields.a[0].b[0]": {"a": ({"b": (value,)},)},
    }
    for place, fields in places.items():
        with pytest.raises(InvalidRequestError) as caught:
            RawRequest(MODEL, fields)
        error = refusal(caught)
        assert error.field == place
        assert error.value is value


@pytest.mark.parametrize("key", [1, None, True, ("a",), b"a", "\ud800"], ids=ascii)
def test_names_that_are_no_texts_are_refused(key: Any) -> None:
    """Fields are named by texts, at every depth."""
    wrong: list[dict[Any, Any]] = [{key: 1}, {"a": [{key: 1}]}]
    for fields in wrong:
        with pytest.raises(InvalidRequestError) as caught:
            RawRequest(MODEL, fields)
        assert refusal(caught).value == key


@pytest.mark.parametrize("fields", [None, [], "prompt", 5, [("prompt", "a")]], ids=str)
def test_fields_that_are_no_mapping_are_refused(fields: Any) -> None:
    """The fields of a raw request are a mapping."""
    with pytest.raises(InvalidRequestError) as caught:
        RawRequest(MODEL, fields)
    assert refusal(caught).field == "fields"


def test_cycles_are_refused() -> None:
    """A structure that contains itself is refused at once, however often it does so."""
    loop: list[Any] = []
    loop.extend([loop] * 20)
    ring: dict[str, Any] = {"a": {"b": []}}
    ring["a"]["b"].append(ring)
    for fields in ({"a": loop}, ring):
        with pytest.raises(InvalidRequestError) as caught:
            RawRequest(MODEL, fields)
        assert "no part of itself" in str(refusal(caught))


def test_a_structure_may_occur_twice() -> None:
    """The same list in two places is no cycle."""
    shared = [1]
    assert encode_request(RawRequest(MODEL, {"a": shared, "b": [shared, shared]})) == {
        "a": [1],
        "b": [[1], [1]],
    }


def test_what_is_too_deep_is_refused() -> None:
    """The deepest structure that is taken can be hashed, shown and sent; no deeper one is."""
    request = RawRequest(MODEL, {"a": _nested(DEEPEST - 1)})
    assert hash(request)
    assert repr(request)
    assert json.loads(encode_json(encode_request(request))) == {"a": _nested(DEEPEST - 1)}
    for levels in (DEEPEST, 100_000):
        with pytest.raises(InvalidRequestError) as caught:
            RawRequest(MODEL, {"a": _nested(levels)})
        assert str(DEEPEST) in (refusal(caught).allowed or "")


@pytest.mark.parametrize(
    "model",
    [
        "",
        "flux-dev",
        "/a",
        "a/",
        "a//b",
        "../a",
        "a/..",
        "a/./b",
        "a/b?c",
        "a b/c",
        "ä/b",
        "a/b\n",
        5,
        None,
    ],
)
def test_bad_models_are_refused(model: Any) -> None:
    """A model's id goes into a path: only plain words with slashes between them pass."""
    with pytest.raises(InvalidRequestError) as caught:
        RawRequest(model, {})
    error = refusal(caught)
    assert (error.field, error.value) == ("model", model)


@pytest.mark.parametrize("version", ["v1", "", "V3", "../v3", None, 3])
def test_bad_versions_are_refused(version: Any) -> None:
    """The API has the versions v2 and v3."""
    with pytest.raises(InvalidRequestError) as caught:
        RawRequest(MODEL, {}, version=version)
    error = refusal(caught)
    assert (error.field, error.value) == ("version", version)


def test_unknown_fields_of_a_known_model_are_refused() -> None:
    """Where the model has a class, a field that its page lacks is refused with the nearest."""
    with pytest.raises(InvalidRequestError, match=r"did you mean prompt\?") as caught:
        RawRequest("wavespeed-ai/flux-dev", {"promt": "a cat"}, version="v2")
    error = refusal(caught)
    assert (error.field, error.value) == ("promt", "a cat")


def test_fields_of_another_version_are_not_judged() -> None:
    """The page of one version says nothing of another: its fields pass."""
    request = RawRequest("wavespeed-ai/flux-dev", {"promt": "a cat"}, version="v3")
    assert encode_request(request) == {"promt": "a cat"}


@searched
@given(st.dictionaries(st.text(max_size=5), any_json, max_size=4))
def test_any_json_is_kept_or_refused(fields: dict[str, Any]) -> None:
    """Whatever JSON the fields hold: it comes out as it went in, or is refused."""
    request = made(lambda: RawRequest(MODEL, fields))
    if isinstance(request, InvalidRequestError):
        assert request.field is not None
    else:
        expected = {name: value for name, value in fields.items() if value is not None}
        assert json.loads(encode_json(encode_request(request))) == expected
        assert hash(request) == hash(RawRequest(MODEL, fields))
