"""What a model's schema allows: the API's words of JSON Schema, and its ways beyond them."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.models.samples import refusal, searched
from wavespeed_async.errors import InvalidRequestError
from wavespeed_async.models import Fits
from wavespeed_async.models._schema import check_fields, flaw_of, ordered_names, words_for

MODEL = "a/b"


def refused(fields: dict[str, Any], **properties: Any) -> InvalidRequestError:
    """Answer the refusal of fields by a schema of some properties."""
    with pytest.raises(InvalidRequestError) as caught:
        check_fields(MODEL, fields, {"type": "object", "properties": properties})
    return refusal(caught)


# --- names ---------------------------------------------------------------------------------------


def test_an_undeclared_field_is_refused_with_the_nearest() -> None:
    """A misspelt field is named, with its value and the declared name that is nearest."""
    error = refused({"promt": "a cat"}, prompt={"type": "string"}, seed={})
    assert (error.field, error.value) == ("promt", "a cat")
    assert "did you mean prompt?" in str(error)
    assert error.allowed == "one of prompt, seed"
    assert "did you mean" not in str(refused({"zzz": 1}, prompt={}))


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"properties": {}},
        {"properties": []},
        {"properties": {"a": {}}, "additionalProperties": True},
        {"properties": {"a": {}}, "additionalProperties": {"type": "string"}},
        {"properties": {"a": {}}, "$ref": "#/b"},
        {"properties": {"a": {}}, "allOf": [{"$ref": "#/b"}]},
        {"properties": {"a": {}}, "allOf": [{"properties": {"b": {}}}]},
        {"properties": {"a": {}}, "anyOf": [{"required": ["a"]}, {"properties": {"b": {}}}]},
    ],
    ids=str,
)
def test_undeclared_fields_pass_where_more_may_be_declared(schema: dict[str, Any]) -> None:
    """Without declared fields, with further ones allowed, or declared elsewhere, a name passes."""
    check_fields(MODEL, {"b": "x"}, schema)


def test_the_field_that_official_clients_add_passes_everywhere() -> None:
    """`enable_sync_mode` passes undeclared, as a flag, and only at the top."""
    schema: dict[str, Any] = {"properties": {"a": {"properties": {"b": {}}}}}
    check_fields(MODEL, {"enable_sync_mode": True}, schema)
    for wrong in ({"enable_sync_mode": 1}, {"a": {"enable_sync_mode": True}}):
        with pytest.raises(InvalidRequestError, match="is no field of this model"):
            check_fields(MODEL, wrong, schema)


def test_names_inside_are_told_with_their_place() -> None:
    """What is wrong deep inside is named by its path."""
    lora = {"properties": {"path": {"type": "string"}, "scale": {"type": "number", "maximum": 4}}}
    loras = {"type": "array", "items": lora}
    assert refused({"loras": [{"path": "a"}, {"scale": 5}]}, loras=loras).field == "loras[1].scale"
    assert refused({"loras": [{"scal": 1}]}, loras=loras).field == "loras[0].scal"


def test_required_fields_must_be_there_and_not_empty() -> None:
    """A required field that is missing, None or empty is refused, unless it is hidden."""
    schema = {"properties": {"a": {}, "b": {"x-hidden": True}}, "required": ["a", "b", 5]}
    check_fields(MODEL, {"a": 0}, schema)
    empties: list[dict[str, Any]] = [{}, {"a": None}, {"a": " "}, {"a": []}]
    for empty in empties:
        with pytest.raises(InvalidRequestError, match="a must be given") as caught:
            check_fields(MODEL, empty, schema)
        assert caught.value.field == "a"


def test_fields_that_are_none_are_left_out() -> None:
    """None at the top is a field left out; inside it is null, where that is allowed."""
    check_fields(MODEL, {"a": None}, {"properties": {"a": {"type": "string"}}})
    inside = {"items": {"type": "string"}}
    assert flaw_of([None], inside, "a") is not None
    assert flaw_of([None], {"items": {"type": "string", "nullable": True}}, "a") is None
    assert flaw_of([None], {"items": {"type": ["string", "null"]}}, "a") is None


def test_names_are_ordered_as_the_api_orders_them() -> None:
    """`x-order-properties` comes first; what it leaves out follows, what it invents does not."""
    schema = {"properties": {"a": {}, "b": {}, "c": {}}, "x-order-properties": ["c", "x", 5, "a"]}
    assert ordered_names(schema) == ("c", "a", "b")


# --- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "right", "wrong", "allowed"),
    [
        ({"type": "string"}, ["", "a"], [1, True, [], {}], "a text"),
        ({"type": "string", "maxLength": 2}, ["ab"], ["abc"], "a text of at most 2 characters"),
        ({"type": "string", "minLength": 2}, ["ab"], ["a"], "a text of at least 2 characters"),
        ({"type": "number"}, [1, 1.5], ["1", True], "a number"),
        ({"type": "integer"}, [1, 3.0], [1.5, True, "1"], "a whole number"),
        (
            {"type": "integer", "minimum": 1, "maximum": 50},
            [1, 50],
            [0, 51],
            "a whole number from 1 to 50",
        ),
        ({"type": "number", "minimum": 0}, [0], [-0.1], "a number of at least 0"),
        (
            {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            [0.5],
            [0, 1, 2, -1],
            "a number above 0 below 1",
        ),
        ({"type": "boolean"}, [True, False], [0, 1, "true"], "true or false"),
        ({"enum": ["jpeg", "png"]}, ["png"], ["gif", 1], "one of jpeg, png"),
        ({"type": "integer", "enum": [5, 10]}, [5, 10.0], [7, True], "one of 5, 10"),
        ({"enum": [1]}, [1.0], [True], "1"),
        ({"enum": [[1, {"a": 2}], ""]}, [(1, {"a": 2}), ""], [[1], [1, 2]], "one of [1, {'a': 2}]"),
        ({"const": "x"}, ["x"], ["y"], "x"),
        ({"type": ["string", "integer"]}, ["a", 1], [1.5], "a text or a whole number"),
        ({"type": "array", "minItems": 1, "maxItems": 2}, [[1]], [[], [1, 2, 3]], "a list from 1"),
        ({"type": "object", "required": ["a"]}, [{"a": 1}], ["a"], "an object with a"),
        ({"type": "null"}, [None], [0], "null"),
        ({"type": "array", "items": {"type": "string"}}, [["a"], ()], [[1]], "a text"),
        (
            {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
            ["a", ["a"]],
            [1, [1]],
            "a text, or a list",
        ),
        ({"anyOf": [{"required": ["a"]}, {"type": "null"}]}, [{"a": 1}], [{}], "an object with a"),
        ({"allOf": [{"type": "integer"}, {"minimum": 2}]}, [2], [1, "a"], ""),
        (
            {"type": "string", "minimum": 256, "maximum": 1536, "default": "512*512"},
            ["256*1536"],
            ["255*512", "512*1537", "512x512", "512"],
            '"width*height" with sides from 256 to 1536 pixels',
        ),
    ],
    ids=str,
)
def test_values_are_checked(
    schema: dict[str, Any], right: list[Any], wrong: list[Any], allowed: str
) -> None:
    """Each word of a schema allows what it should, refuses the rest, and says what is allowed."""
    for value in right:
        assert flaw_of(value, schema, "a") is None
        assert Fits(schema).accepts(value)
    for value in wrong:
        flaw = flaw_of(value, schema, "a")
        assert flaw is not None
        assert flaw.allowed.startswith(allowed)
        assert not Fits(schema).accepts(value)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "colour"},
        {"type": ["string", "colour"]},
        {"type": 5},
        {"enum": "abc"},
        {"enum": []},
        {"type": "integer", "enum": ["5", "10"]},
        {"minimum": "9"},
        {"minimum": True},
        {"maximum": float("nan")},
        {"items": "string"},
        {"required": "prompt"},
        {"oneOf": {}},
        {"multipleOf": 3, "pattern": "^x$", "format": "uri", "not": {}},
        "a schema",
        None,
    ],
    ids=str,
)
def test_words_that_make_no_sense_allow_everything(schema: Any) -> None:
    """What a schema says unclearly, or in words that are not known, refuses nothing."""
    value = [1] if isinstance(schema, dict) and "items" in schema else 7
    assert flaw_of(value, schema, "a") is None


def test_sizes_are_known_by_their_name_too() -> None:
    """A text with bounds is a size where it is called so; elsewhere its bounds mean nothing."""
    schema = {"type": "string", "minimum": 256}
    assert flaw_of("100*300", schema, "size") is not None
    assert words_for(schema, "size") == '"width*height" with sides of at least 256 pixels'
    assert flaw_of("100*300", schema, "code") is None
    assert flaw_of("big", {**schema, "enum": ["big"]}, "size") is None
    assert flaw_of("big", {"type": "string"}, "size") is None


def test_the_words_of_items_may_stand_at_their_list() -> None:
    """An enum of texts beside a list does not refuse the list."""
    assert flaw_of(["a"], {"type": "array", "enum": ["a", "b"]}, "a") is None


def test_what_is_long_is_told_in_short() -> None:
    """A huge enum, and very many names, make a message that can be read."""
    error = refused({"a": "x"}, a={"enum": [f"{'word' * 50}{n}" for n in range(1000)]})
    assert "and 980 more" in str(error.allowed)


def test_what_json_has_not_does_not_fit() -> None:
    """A value that cannot be sent is refused by every schema."""
    assert not Fits({}).accepts(object())
    assert not Fits({}).accepts([float("nan")])
    assert Fits({}).accepts([None, {"a": 1}])
    assert Fits({}).allowed == "what the model takes"


# --- against a library ---------------------------------------------------------------------------

numbers = st.integers(-3, 3)
words = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["string", "integer", "number", "boolean", "array", "object"]),
        "enum": st.lists(st.integers(0, 3) | st.sampled_from(["", "a"]), min_size=1, max_size=3),
        "minimum": numbers,
        "maximum": numbers,
        "exclusiveMinimum": numbers,
        "minLength": st.integers(0, 2),
        "maxLength": st.integers(0, 2),
        "minItems": st.integers(0, 2),
        "maxItems": st.integers(0, 2),
    },
)
schemas = st.recursive(
    words,
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["array", "object", "integer"]),
            "items": inner,
            "properties": st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "allOf": st.lists(inner, min_size=1, max_size=2),
        },
    ),
    max_leaves=5,
)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.floats(-3, 3) | st.sampled_from(["", "a", "abc"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=5,
)


@searched
@given(schemas, values)
def test_nothing_that_json_schema_allows_is_refused(schema: dict[str, Any], value: Any) -> None:
    """Whatever a library of JSON Schema lets pass, passes; where every name is declared."""
    open_schema = {**schema, "additionalProperties": True}
    if jsonschema_rs.Draft202012Validator(open_schema).is_valid(value):
        flaw = flaw_of(value, open_schema, "a")
        assert flaw is None or flaw.declared is not None


@searched
@given(words, values)
def test_what_json_schema_refuses_is_refused(schema: dict[str, Any], value: Any) -> None:
    """Of the words for single values, none lets pass what a library refuses."""
    if flaw_of(value, schema, "a") is None:
        errors = [*jsonschema_rs.Draft202012Validator(schema).iter_errors(value)]
        assert all("enum" in error.schema_path for error in errors)
