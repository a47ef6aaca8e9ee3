"""Generated request classes: of the package's own form, and safe whatever the catalogue says."""

from __future__ import annotations

import ast
import json
import keyword
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.generated import classes_of, fields_told, model_of, unregistered
from tests.models.samples import NO_DEFAULT, PAGES, Page, name_of
from wavespeed_async import Model
from wavespeed_async._catalogue import decode_models
from wavespeed_async._codec import encode_json, encode_request, request_from
from wavespeed_async._codegen import class_names, is_told, source_of
from wavespeed_async.emulator._catalogue import catalogue
from wavespeed_async.emulator._requests import read_submission
from wavespeed_async.errors import InvalidRequestError
from wavespeed_async.models import FluxDev, Lora, Request, request_class, request_classes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODELS = decode_models(catalogue("http://emulator.test"))
OWN = [cls for cls in request_classes() if cls.__module__.startswith("wavespeed_async.")]

VERSIONS = {
    "wavespeed-ai/flux-dev": ("v2", "v3"),
    "wavespeed-ai/flux-dev-lora": ("v2", "v3"),
}
"""The API's versions: of the page that a class was made from, and of the catalogue."""

DIFFERENCES = {
    "flux-dev:seed": "the page has no range: the class takes that of its family",
    "flux-dev-lora:image": "the page does not say whether base64 is taken: the class takes it",
    "flux-dev-lora:mask_image": "the same",
    "flux-kontext-dev/multi:images": "optional on the page, which would bill its own samples",
    "flux-kontext-dev/multi:output_format": "the page lists no words beside its default",
}
"""Where a class of this package is not what the generator makes of the model's page, and why."""


@pytest.fixture(autouse=True)
def _unregistered() -> Iterator[None]:
    with unregistered():
        yield


# --- the package's own classes -------------------------------------------------------------------


@pytest.mark.parametrize("cls", OWN, ids=lambda cls: str(cls.model))
def test_the_catalogue_gives_the_classes_of_this_package(cls: type[Request]) -> None:
    """Of each model the generator makes the same fields, defaults, ranges and types."""
    (model,) = [model for model in MODELS if model.id == cls.model]
    (made,) = classes_of(model).values()
    assert made.__name__ == cls.__name__
    assert fields_told(made) == fields_told(cls)
    assert made.__annotations__ == cls.__annotations__
    assert (cls.version, made.version) == VERSIONS.get(cls.model, ("v3", "v3"))


def _schema_of(page: Page) -> dict[str, Any]:
    """Write what a page documents as the catalogue would."""
    lora = {
        "type": "object",
        "properties": {
            "path": {"type": "string"},
            "scale": {"type": "number", "minimum": 0.0, "maximum": 4.0},
        },
        "required": ["path", "scale"],
    }
    properties: dict[str, Any] = {}
    for row in page.parameters:
        told: dict[str, Any] = {"type": row.kind}
        if row.bounds is not None:
            told["minimum"], told["maximum"] = row.bounds
        if row.kind == "array":
            told["items"] = lora if row.name == "loras" else {"type": "string"}
        if row.most is not None:
            told["maxItems"] = row.most
        if row.default != NO_DEFAULT:
            text = row.default.strip('"”')
            told["default"] = text if row.kind == "string" else _read(text)
        if f"{page.name}:{row.name}" == "flux-dev:image":
            told["description"] = "Base64 encoded image or image URL"
        properties[row.name] = told
    required = [row.name for row in page.parameters if row.required == "Yes"]
    return {"type": "object", "properties": properties, "required": required}


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text  # the sample addresses of one page


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_pages_give_the_classes_of_this_package(page: Page) -> None:
    """What the generator makes of the documented tables differs only where that is listed."""
    (made,) = classes_of(model_of(_schema_of(page), page.model)).values()
    ours, theirs = fields_told(page.request), fields_told(made)
    assert [*ours] == [*theirs]
    differ = {f"{page.name}:{name}" for name in ours if ours[name] != theirs[name]}
    assert differ == {name for name in DIFFERENCES if name.startswith(f"{page.name}:")}


def test_generated_classes_do_not_replace_those_of_this_package() -> None:
    """A class of a user's own is found by its model, but never in the place of ours."""
    made = classes_of(*MODELS)
    assert request_class("flux-dev") is FluxDev
    assert request_class("flux-dev-ultra-fast") is made["wavespeed-ai/flux-dev-ultra-fast"]


# --- source --------------------------------------------------------------------------------------


def test_the_source_is_typed_and_formatted(tmp_path: Path) -> None:
    """The classes of all models of the emulator pass mypy strictly, and a formatter's eye."""
    file = tmp_path / "generated.py"
    file.write_text(source_of(MODELS), encoding="utf-8")
    user = tmp_path / "user.py"
    user.write_text(
        "from generated import FluxDevUltraFast, OddFields\n\n"
        'one = FluxDevUltraFast(prompt="a", size=(512, 512), seed=None)\n'
        'two = OddFields(prompt="a", class_="b")\n',
        encoding="utf-8",
    )
    checks = (
        ["mypy", "--strict", "--no-incremental", "--config-file=", "generated.py"],
        ["ruff", "format", "--check", "--isolated", "--line-length=100", "generated.py"],
        ["ruff", "check", "--isolated", "--line-length=100", "--select=E,F,W,UP,B", "generated.py"],
    )
    for check in checks:
        ran = subprocess.run(  # noqa: S603 (our own tools)
            [sys.executable, "-m", *check],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_order_of_models_changes_nothing() -> None:
    """The same models give the same source, in whatever order and however often they come."""
    shuffled = [*MODELS, *MODELS[:3]]
    random.Random(7).shuffle(shuffled)
    assert source_of(shuffled) == source_of(MODELS)


def test_classes_are_named_after_their_models() -> None:
    """Names are in CamelCase; two that would be the same, or mean something else, are not."""
    ids = ["wavespeed-ai/flux-kontext-dev/multi", "google/nano-banana", "wavespeed-ai/text"]
    ids += ["x/a-b", "x/a_b", "x/A.b", "wavespeed-ai/3d", "wavespeed-ai/none", "-/-"]
    assert class_names(reversed(ids)) == {
        "-/-": "Model",
        "google/nano-banana": "GoogleNanoBanana",
        "wavespeed-ai/3d": "Model3d",
        "wavespeed-ai/flux-kontext-dev/multi": "FluxKontextDevMulti",
        "wavespeed-ai/none": "NoneRequest",
        "wavespeed-ai/text": "TextRequest",
        "x/A.b": "XAB",
        "x/a-b": "XABRequest",
        "x/a_b": "XABRequest2",
    }


@pytest.mark.parametrize("model", [Model(id="a/b"), model_of({"properties": {"a": {}}}, "no id")])
def test_a_model_that_tells_nothing_has_no_class(model: Model) -> None:
    """A model without a schema, or without an id that is safe in a path, is refused by name."""
    with pytest.raises(InvalidRequestError) as caught:
        source_of([model])
    assert caught.value.value == model.id


# --- fields --------------------------------------------------------------------------------------


def _made(schema: dict[str, Any], *, required: bool = False) -> Any:
    names = ["a"] if required else []
    (cls,) = classes_of(model_of({"properties": {"a": schema}, "required": names})).values()
    return cls


@pytest.mark.parametrize(
    ("schema", "annotation", "default", "right", "wrong"),
    [
        ({"type": "string"}, "str | None", None, ["x"], [1]),
        ({"type": "string", "default": "a sample"}, "str | None", None, [], []),
        ({"type": "string", "minLength": 2, "maxLength": 3}, "str | None", None, ["ab"], ["abcd"]),
        ({"type": "string", "enum": ["p", "q", "p"], "default": "q"}, "str", "q", ["p"], ["r"]),
        ({"type": "string", "enum": ["p"], "default": "z"}, "str | None", None, ["p"], ["z"]),
        ({"type": "integer", "default": 3.0}, "int", 3, [4], [4.5, True]),
        ({"type": "integer", "enum": [5, 10], "default": 5}, "int", 5, [10], [7]),
        ({"type": "integer", "maximum": 5}, "int | None", None, [-9], [6]),
        ({"type": "number", "minimum": 1, "default": 0}, "float | None", None, [1.5], [0, 1j]),
        ({"type": "number", "const": 2}, "float | None", None, [2], [3]),
        ({"type": "boolean", "default": True}, "bool", True, [False], [1]),
        ({"type": "boolean", "enum": [True], "default": True}, "bool", True, [], [False]),
        ({"type": ["integer", "null"], "default": 1}, "int", 1, [2], ["x"]),
        ({"type": "object", "default": {"x": 1}}, "Any", {"x": 1}, [{"y": [1]}], [5]),
        ({"type": ["string", "integer"]}, "Any", None, ["x", 1, None], [1.5]),
        (
            {"type": "array", "items": {"type": "number"}, "default": [1]},
            "Any",
            (1,),
            [[]],
            [["x"]],
        ),
        (
            {"type": "array", "items": {"type": "string"}, "default": ["x"], "maxItems": 1},
            "tuple[str, ...]",
            ("x",),
            [["y"], ()],
            [["x", "y"], [1], "x"],
        ),
        ({"type": "array", "items": "x"}, "Any", None, [[1]], [1]),
        ({"type": "string", "minimum": 1, "default": "9*9"}, "str", "9*9", ["1*2"], ["0*1"]),
        (
            {"type": "string", "minimum": 256, "maximum": 512, "default": "512*512"},
            "str",
            "512*512",
            [(256, 512)],
            ["512*513"],
        ),
        ("no schema", "Any", None, [1, "x", [None]], [{1}]),
        ({"enum": "x", "type": "string"}, "str | None", None, ["y"], [1]),
    ],
    ids=str,
)
def test_fields_take_what_their_schemas_say(
    schema: Any, annotation: str, default: object, right: list[Any], wrong: list[Any]
) -> None:
    """Each kind of schema becomes a field of that type, default and range."""
    cls = _made(schema)
    (attribute,) = attrs.fields(cls)
    assert (cls.__annotations__["a"], attribute.default) == (annotation, default)
    assert cls().model == "a/b"
    for value in right:
        sent = encode_request(cls(a=value))
        assert json.loads(encode_json(sent)) == sent or isinstance(value, tuple)
    for value in wrong:
        with pytest.raises(InvalidRequestError):
            cls(a=value)


@pytest.mark.parametrize(
    ("name", "schema", "wrong"),
    [
        ("image", {"type": "string"}, "no address"),
        ("last_image_url", {"type": "string", "default": "https://x.test/sample.png"}, "x"),
        ("images", {"type": "array", "items": {"type": "string"}}, ["no address"]),
    ],
)
def test_pictures_are_known_by_their_names(name: str, schema: dict[str, Any], wrong: Any) -> None:
    """A field that is named as pictures are takes addresses, and never a sample as its default."""
    (cls,) = classes_of(model_of({"properties": {name: schema}})).values()
    assert getattr(cls(), name) is None
    with pytest.raises(InvalidRequestError, match="URL"):
        cls(**{name: wrong})


def test_loras_are_those_of_this_package() -> None:
    """Items of path and scale from 0 to 4 are `Lora`s; others are what their schema says."""

    def of(**scale: Any) -> Any:
        parts = {"path": {"type": "string"}, "scale": scale}
        return _made({"type": "array", "items": {"type": "object", "properties": parts}})

    ours, other = of(type="number", minimum=0, maximum=4), of(type="number", maximum=2)
    assert (ours().a, other().a) == ((), None)
    assert encode_request(ours(a=[Lora("x", 1.0)])) == {"a": [{"path": "x", "scale": 1.0}]}
    assert other(a=[{"path": "x", "scale": 2}]).a[0]["scale"] == 2
    with pytest.raises(InvalidRequestError):
        other(a=[{"path": "x", "scale": 3}])
    assert of(type="text").__annotations__["a"] == "Any"
    assert (
        attrs.fields(
            _made({"type": "array", "items": {"properties": {"path": {}, "scale": 5}}})
        ).a.type
        == "Any"
    )


def test_required_fields_are_required() -> None:
    """A required field has no default, whatever the catalogue shows as one; hidden ones have."""
    cls = _made({"type": "string", "default": "sample"}, required=True)
    with pytest.raises(TypeError, match="a"):
        cls()
    with pytest.raises(InvalidRequestError, match="not empty"):
        cls(a=" ")
    assert _made({"type": "string", "x-hidden": True}, required=True)().a is None


def test_odd_names_reach_the_api_as_they_are() -> None:
    """What no Python name can be is sent, read from files, and taken by the emulator as it is."""
    model = "wavespeed-ai/odd-fields"
    cls = classes_of(*MODELS)[model]
    request = cls(prompt="a", class_="b", num_frames=3, field_3d_mode=True, camera={"zoom": 0.5})
    sent = json.loads(encode_json(encode_request(request)))
    expected = {"prompt": "a", "class": "b", "num-frames": 3, "3d_mode": True}
    assert sent == {**expected, "camera": {"zoom": 0.5}}
    assert request_from({"model": model, **sent}) == request
    assert read_submission(model, json.dumps(sent).encode())[0] == request
    with pytest.raises(InvalidRequestError, match=r"did you mean class\?"):
        request_from({"model": model, **sent, "clas": 1})
    with pytest.raises(InvalidRequestError, match="class must be given"):
        request_from({"model": model, "prompt": "a"})
    told = {one["model_id"]: one for one in catalogue("")}[model]
    assert told["description"] == "A model of no other use than its fields."


def test_the_emulator_knows_generated_classes() -> None:
    """A model that has a generated class can be tried with the emulator, bounds and all."""
    schema = {
        "properties": {
            "num-frames": {"type": "integer", "minimum": 1, "default": 2},
            "camera": {"type": "object", "default": {"x": [1]}},
            "high_loras": MODELS[0].request_schema["properties"]["loras"],
        }
    }
    (cls,) = classes_of(model_of(schema, "new/model")).values()
    told = {one["model_id"]: one for one in catalogue("")}["new/model"]
    (api,) = told["api_schema"]["api_schemas"]
    properties = json.loads(json.dumps(api["request_schema"]))["properties"]
    assert properties["num-frames"]["minimum"] == 1
    assert properties["camera"]["default"] == {"x": [1]}
    lora: Any = {"path": "x", "scale": 1}
    body = json.dumps({"num-frames": 3, "high_loras": [lora]}).encode()
    request = request_from({"model": "new/model", "num-frames": 3, "high_loras": [lora]})
    assert isinstance(request, cls)
    assert read_submission("new/model", body)[0] == cls(num_frames=3, high_loras=[Lora(**lora)])


def test_seeds_are_drawn_from_what_the_model_takes() -> None:
    """An open seed is drawn within the model's own range; what is no whole number is none."""

    def of(**schema: Any) -> Any:
        (cls,) = classes_of(model_of({"properties": {"seed": schema}})).values()
        return cls()

    small = of(type="integer", minimum=-1, maximum=9, default=-1)
    assert all(0 <= small.with_seed(random.Random(n)).seed <= 9 for n in range(50))
    assert of(type="integer", minimum=5).with_seed(random.Random(1)).seed >= 5
    for other in (of(type="string"), of(type="number"), of(type="integer", maximum=-1)):
        assert other.with_seed(random.Random(1)) is other


# --- hostile catalogues --------------------------------------------------------------------------

hostile = st.sampled_from(
    [
        '"""\nimport os\nos.abort()\n"""',
        "'); import os; os.abort() #",
        '\\"""',
        '"' * 7,
        "\\",
        "{x}",
        "a\r\nb\u2028c\x00d",
        "\u202eevil",
        "\ud800",
        "größe",
        "ﬁeld",
        "__class__",
        "_x",
        "1a",
        "",
        " ",
        "self",
        "NOTHING",
        "attr_dict",
        "field",
        "Text",
        "str",
        "tuple",
        "model",
        "with_seed",
        "mro",
        "size",
        "images",
        "x" * 300,
        *keyword.kwlist,
        *keyword.softkwlist,
    ]
) | st.text(st.characters(exclude_categories=()), max_size=12)
literals = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | hostile,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hostile, inner, max_size=3),
    max_leaves=6,
)
kinds = st.sampled_from(["string", "integer", "number", "boolean", "array", "object", "null", "x"])
schemas = st.fixed_dictionaries(
    {},
    optional={
        "type": kinds | st.lists(kinds, max_size=2) | literals,
        "description": hostile | literals,
        "default": literals,
        "enum": st.lists(literals, max_size=4) | st.lists(hostile, max_size=90) | literals,
        "minimum": literals,
        "maximum": literals,
        "maxLength": literals,
        "minItems": literals,
        "items": st.just({"type": "string"}) | literals,
        "properties": literals,
        "oneOf": st.lists(st.just({"type": "string"}) | literals, max_size=2),
        "x-hidden": literals,
    },
)
catalogues = st.lists(
    st.builds(
        model_of,
        st.fixed_dictionaries(
            {"properties": st.dictionaries(hostile, schemas | literals, min_size=1, max_size=5)},
            optional={"required": st.lists(hostile, max_size=4) | literals},
        ),
        st.sampled_from(["a/b", "a/B", "a/-b", "wavespeed-ai/text", "class/1", "a/b/c.d"]),
        description=hostile,
    ),
    min_size=1,
    max_size=3,
)


@settings(deadline=None, print_blob=True, max_examples=150)
@given(catalogues)
def test_whatever_the_catalogue_says_is_only_said(models: list[Model]) -> None:
    """Any catalogue gives source that compiles, and holds nothing but classes and literals."""
    told = {model.id: model for model in models if is_told(model)}
    source = source_of(told.values())
    source.encode()
    tree = ast.parse(source)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    assert [type(node).__name__ for node in tree.body] == [
        *("Expr", "ImportFrom", "ImportFrom", "ImportFrom", "ImportFrom", "Assign"),
        *["ClassDef"] * len(told),
    ]
    for node in classes:
        assert {type(part).__name__ for part in node.body} <= {"Expr", "AnnAssign"}
        for part in node.body:
            assert not isinstance(part, ast.Expr) or isinstance(part.value, ast.Constant)
    calls = {
        node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    }
    rules = {"Between", "Choice", "Fits", "Flag", "Items", "Media", "Number", "Opt", "Size", "Text"}
    assert calls <= {"field", "frozen", "sent_as", *rules}
    with unregistered():
        made = classes_of(*told.values())
    for model_id, cls in made.items():
        assert [*fields_told(cls)] == [*told[model_id].request_schema["properties"]]
