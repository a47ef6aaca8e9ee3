"""Request classes as source code, from what the catalogue tells of models. Pure, deterministic.

The classes have the form of those in `wavespeed_async.models`, and are made of what that package
offers to everyone. What the catalogue says is never trusted: a text gets into the source as a
literal that `repr` has written, or as a docstring in which nothing can end it; a name only as far
as its letters are Python's, with `sent_as` where that is not the API's own.

Rules: a free text or an address that the catalogue has as a default is a sample, and no default
here: left out, the API takes it all the same. What is not required and has no other default is
left out, too. A default that the model itself would refuse is none.
"""

from __future__ import annotations

import keyword
import math
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import evolve, field, frozen

from wavespeed_async.errors import InvalidRequestError
from wavespeed_async.models import (
    Between,
    Choice,
    Fits,
    Flag,
    Items,
    Lora,
    Media,
    Number,
    Opt,
    Size,
    Text,
    frozen_image,
    frozen_images,
    frozen_json,
    joined_size,
    loras_of,
    optional_image,
    texts_of,
)
from wavespeed_async.models._request import refuse_path
from wavespeed_async.models._schema import is_size, limit, ordered_names

if TYPE_CHECKING:
    from wavespeed_async._catalogue import Model

__all__ = ["class_names", "is_told", "source_of"]

Schema: TypeAlias = Mapping[str, Any]

WIDTH = 100
"""Columns of a line."""
HEAD = (
    '"""Request classes for models of the WaveSpeedAI API, written by wavespeed-async codegen."""'
)


def is_told(model: Model) -> bool:
    """Tell whether the catalogue says what a model takes, so that it can have a class."""
    return bool(ordered_names(model.request_schema))


def source_of(models: Iterable[Model]) -> str:
    """Write a module with a request class for each model, sorted by their ids.

    Raises:
        InvalidRequestError: A model has no id that is safe in a path, or nothing it takes.
    """
    chosen = {model.id: model for model in models}
    for model in chosen.values():
        refuse_path(model.id)
        if not is_told(model):
            allowed = "a model of which the catalogue says what it takes"
            raise InvalidRequestError.of(
                owner="codegen", field="model", value=model.id, allowed=allowed
            )
    names = class_names(chosen)
    used = {"Request"}
    classes = [
        line for model_id in names for line in _class(chosen[model_id], names[model_id], used)
    ]
    return "\n".join([*_head(names.values(), used), *classes]) + "\n"


def class_names(model_ids: Iterable[str]) -> dict[str, str]:
    """Name a class for each id, in the order of the ids: `flux-kontext-dev/multi` in CamelCase."""
    names: dict[str, str] = {}
    taken = {*_EXPORTED, *keyword.kwlist}
    for model_id in sorted(set(model_ids)):
        parts = re.findall(r"[A-Za-z0-9]+", model_id.removeprefix("wavespeed-ai/"))
        name = "".join(part[0].upper() + part[1:] for part in parts)
        name = name if name[:1].isalpha() else f"Model{name}"
        names[model_id] = _free(name, taken, "Request")
    return names


def _free(name: str, taken: set[str], suffix: str) -> str:
    """Find a name that is not taken, and take it."""
    found, number = name, 1
    if found in taken:
        found = f"{name}{suffix}"
    while found in taken:
        number += 1
        found = f"{name}{suffix}{number}"
    taken.add(found)
    return found


def _head(names: Iterable[str], used: set[str]) -> list[str]:
    typing = ["Any", "ClassVar"] if "Any" in used else ["ClassVar"]
    ours = sorted(used - {"Any"}, key=lambda name: (name.islower(), name))
    exported = _List([_literal(name) for name in sorted(names, key=_natural)])
    return [
        HEAD,
        "",
        "from __future__ import annotations",
        "",
        f"from typing import {', '.join(typing)}",
        "",
        "from attrs import field, frozen",
        *_import("wavespeed_async.models", ours),
        "",
        *_written("__all__ = ", exported, 0),
    ]


def _import(module: str, names: list[str]) -> list[str]:
    line = f"from {module} import {', '.join(names)}"
    if len(line) <= WIDTH:
        return [line]
    return [f"from {module} import (", *(f"    {name}," for name in names), ")"]


def _natural(name: str) -> tuple[bool, list[tuple[bool, int, str]]]:
    """Sort as linters sort `__all__`: CONSTANTS first, numbers by their worth."""
    parts = re.findall(r"\d+|\D+", name)
    return not name.isupper(), [
        (not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts
    ]


# --- a class -------------------------------------------------------------------------------------


@frozen
class _Field:
    """Say how a field is written."""

    name: str
    sent: str
    annotation: str
    rule: _Rule
    default: _Node | None
    about: str
    converter: str = ""


def _class(model: Model, name: str, used: set[str]) -> list[str]:
    schema = model.request_schema
    required = schema.get("required")
    names = {*required} if isinstance(required, tuple) else set()
    version = "v2" if model.api_path.startswith("/api/v2/") else "v3"
    about = _sentence(model.description) or f"Ask {model.id}."
    lines = [
        "",
        "",
        "@frozen(kw_only=True, repr=False)",
        f"class {name}(Request):",
        *_docstring(about, 4),
        "",
        f"    model: ClassVar[str] = {_literal(model.id)}",
        f'    version: ClassVar[str] = "{version}"',
        "",
    ]
    taken = {*_RESERVED}
    for sent in ordered_names(schema):
        told = schema["properties"][sent]
        told = told if isinstance(told, Mapping) else {}
        is_required = sent in names and not told.get("x-hidden")
        written = _field(_free(_identifier(sent), taken, "_"), sent, told, is_required=is_required)
        lines += _lines(written, used)
    return lines


def _lines(written: _Field, used: set[str]) -> list[str]:
    arguments: list[tuple[str, _Node]] = []
    if written.default is not None:
        arguments.append(("default", written.default))
    if written.converter:
        arguments.append(("converter", written.converter))
    arguments.append(("validator", written.rule.written()))
    if written.sent != written.name:
        arguments.append(("metadata", _Call("sent_as", [("", _literal(written.sent))])))
        used.add("sent_as")
    used |= {*written.rule.names(), *filter(None, [written.converter])}
    used |= {name for name in ("Any", "ImageValue", "Lora") if name in written.annotation}
    start = f"{written.name}: {written.annotation} = "
    return [
        *_written(start, _Call("field", arguments), 4),
        *_docstring(written.about, 4),
    ]


def _identifier(sent: str) -> str:
    """Make a name that Python takes as it is, and attrs as an argument."""
    name = re.sub(r"[^A-Za-z0-9_]+", "_", sent).strip("_") or "field"
    return f"field_{name}" if name[0].isdigit() else name


_EXPORTED = frozenset(
    {
        *("Any", "Between", "Choice", "ClassVar", "FieldMap", "Fits", "Flag", "Items", "Lora"),
        *("Media", "Number", "Opt", "RawRequest", "Request", "Size", "Text", "field", "frozen"),
        *("ImageValue", "frozen_image", "frozen_images", "frozen_json", "joined_size"),
        *("loras_of", "optional_image", "sent_as", "texts_of"),
    }
)
_RESERVED = frozenset(
    {
        *_EXPORTED,
        *keyword.kwlist,
        *("model", "version", "with_seed", "self"),  # of a request class
        *("bool", "float", "int", "str", "tuple"),  # which annotations name
        *("NOTHING", "attr_dict"),  # which what attrs writes uses
    }
)


# --- a field -------------------------------------------------------------------------------------


@frozen
class _Rule:
    """Say which validator a field has, as an object and as source."""

    kind: type[Any]
    positional: tuple[Any, ...] = ()
    named: Mapping[str, Any] = field(factory=dict)

    def made(self) -> Any:
        """Make the validator itself."""
        return self.kind(
            *map(_made, self.positional), **{k: _made(v) for k, v in self.named.items()}
        )

    def written(self) -> _Call:
        """Write the call that makes it."""
        arguments = [("", _argument(value)) for value in self.positional]
        named = [(name, _argument(value)) for name, value in self.named.items()]
        return _Call(self.kind.__name__, [*arguments, *named])

    def names(self) -> set[str]:
        """Name what has to be imported for it."""
        inner = (*self.positional, *self.named.values())
        rules = [value.names() for value in inner if isinstance(value, _Rule)]
        classes = {value.__name__ for value in inner if isinstance(value, type)}
        return {self.kind.__name__, *classes}.union(*rules)


def _made(value: Any) -> Any:
    return value.made() if isinstance(value, _Rule) else value


def _argument(value: Any) -> _Node:
    if isinstance(value, _Rule):
        return value.written()
    return value.__name__ if isinstance(value, type) else _literal(value)


@frozen
class _Shape:
    """Say what a field holds: its annotation, rule and converter, and whether samples abound."""

    annotation: str
    rule: _Rule
    converter: Callable[[Any], Any] | None = None
    is_free: bool = False


def _field(name: str, sent: str, schema: Schema, *, is_required: bool) -> _Field:
    shape = _shape(sent, schema, is_required=is_required)
    allowed = shape.rule.made().allowed
    default, told = None, "required"
    if not is_required:
        value = _default(shape, schema)
        told = "no default" if value is None else f"default {_flat(_literal(value))}"
        default = _literal(value)
        if value is None:
            rule = _Rule(Opt, (shape.rule,))
            shape = evolve(shape, annotation=_or_none(shape.annotation), rule=rule)
            if shape.converter is frozen_image:
                shape = evolve(shape, converter=optional_image)
    about = _sentence(schema.get("description"))
    if about in {"", _sentence(allowed)}:
        about = _sentence(sent.replace("_", " ").capitalize()) or _sentence(name)
    note = "" if sent == name else f" Sent as {_flat(_literal(sent))}."
    return _Field(
        name=name,
        sent=sent,
        annotation=shape.annotation,
        rule=shape.rule,
        default=default,
        about=f"{about[:-1]}; {_clean(allowed)}, {_clean(told)}.{_clean(note, start=' ')}",
        converter="" if shape.converter is None else shape.converter.__name__,
    )


def _or_none(annotation: str) -> str:
    return annotation if annotation == "Any" else f"{annotation} | None"


def _default(shape: _Shape, schema: Schema) -> Any:
    """Answer the default that is sent; None where the field is left out."""
    if shape.converter is loras_of and not limit(schema, "minItems"):
        return ()  # no LoRA is what it means to leave them out
    value = schema.get("default")
    if value is None or (shape.is_free and value != ""):
        return None
    if shape.annotation == "int" and isinstance(value, float) and value.is_integer():
        value = int(value)
    converted = value if shape.converter is None else shape.converter(value)
    return value if shape.rule.made().accepts(converted) else None


_PARTS = {"allOf", "anyOf", "oneOf", "const", "exclusiveMinimum", "exclusiveMaximum", "$ref"}
"""Words of a schema that no simple rule can say."""


def _shape(sent: str, schema: Schema, *, is_required: bool) -> _Shape:
    """Choose the rule for what a schema says; the schema itself where no other says it all."""
    kind = _only_kind(schema)
    options = schema.get("enum")
    if _PARTS & {*schema}:
        found = None
    elif options:
        found = _choice(kind, options)
    elif kind == "string":
        found = _text_shape(sent, schema, is_required=is_required)
    elif kind == "boolean":
        found = _Shape("bool", _Rule(Flag))
    elif kind in {"integer", "number"}:
        found = _number_shape(schema, whole=kind == "integer")
    elif kind == "array":
        found = _list_shape(sent, schema)
    else:
        found = None
    return found or _any_shape(kind, schema)


def _only_kind(schema: Schema) -> str:
    """Name the one type of a schema beside null; empty where there are several."""
    kinds = schema.get("type")
    names = [kind for kind in kinds if kind != "null"] if isinstance(kinds, tuple) else [kinds]
    return names[0] if len(names) == 1 and isinstance(names[0], str) else ""


def _any_shape(kind: str, schema: Schema) -> _Shape:
    rule = _Rule(Fits, (_bare(schema),))
    annotation = {"string": "str", "integer": "int", "number": "float", "boolean": "bool"}.get(kind)
    if annotation is None:
        return _Shape("Any", rule, frozen_json)
    return _Shape(annotation, rule)


def _choice(kind: str, options: Any) -> _Shape | None:
    words = [*options] if isinstance(options, tuple) else []
    if kind != "string" or not words or not all(isinstance(word, str) for word in words):
        return None
    return _Shape("str", _Rule(Choice, (tuple(dict.fromkeys(words)),)))


def _text_shape(sent: str, schema: Schema, *, is_required: bool) -> _Shape:
    if is_size(schema, sent):
        low, high = limit(schema, "minimum"), limit(schema, "maximum")
        sides = (
            1 if low is None else math.ceil(low),
            LONGEST_SIDE if high is None else math.floor(high),
        )
        return _Shape("str", _Rule(Size, sides), joined_size)
    filled = {"required": True} if is_required else {}
    if _PICTURE.search(sent):
        rule = _Rule(Media, (), {**filled, **_base64(schema)})
        return _Shape("ImageValue", rule, frozen_image, is_free=True)
    lengths = {"least": limit(schema, "minLength"), "most": limit(schema, "maxLength")}
    whole = {name: int(bound) for name, bound in lengths.items() if bound}
    return _Shape("str", _Rule(Text, (), {**filled, **whole}), is_free=True)


LONGEST_SIDE = 99999
"""Pixels of a side without a bound: five digits are all that `Size` reads."""
_PICTURE = re.compile(r"(^|_)images?(_urls?)?$", re.IGNORECASE)
"""Names of fields that hold pictures, as the API's own clients know them."""


def _base64(schema: Schema) -> dict[str, bool]:
    """Take base64 without a `data:` prefix where the description speaks of it."""
    return {"base64": True} if "base64" in str(schema.get("description")).lower() else {}


def _number_shape(schema: Schema, *, whole: bool) -> _Shape:
    annotation, named = ("int", {"whole": True}) if whole else ("float", {})
    low, high = limit(schema, "minimum"), limit(schema, "maximum")
    if low is not None and high is not None:
        return _Shape(annotation, _Rule(Between, (low, high), named))
    bounds = {name: bound for name, bound in (("low", low), ("high", high)) if bound is not None}
    return _Shape(annotation, _Rule(Number, (), {**bounds, **named}))


def _list_shape(sent: str, schema: Schema) -> _Shape | None:
    items = schema.get("items")
    items = items if isinstance(items, Mapping) else {}
    bounds = {"least": limit(schema, "minItems"), "most": limit(schema, "maxItems")}
    named: dict[str, Any] = {name: int(bound) for name, bound in bounds.items() if bound}
    if _is_lora(items):
        return _Shape("tuple[Lora, ...]", _Rule(Items, (), {**named, "kind": Lora}), loras_of)
    if _only_kind(items) != "string" or {*items} - {"type", "description", "title"}:
        return None
    if not _PICTURE.search(sent):
        return _Shape("tuple[str, ...]", _Rule(Items, (), {**named, "rule": _Rule(Text)}), texts_of)
    media = _Rule(Media, (), {"required": True, **_base64(items)})
    rule = _Rule(Items, (), {**named, "rule": media})
    return _Shape("tuple[ImageValue, ...]", rule, frozen_images, is_free=True)


def _is_lora(items: Schema) -> bool:
    """Tell whether items are LoRAs as `Lora` is one, with its own range of the scale at most."""
    properties = items.get("properties")
    if not isinstance(properties, Mapping) or {*properties} != {"path", "scale"}:
        return False
    scale = properties["scale"]
    if not isinstance(scale, Mapping) or _only_kind(scale) != "number":
        return False
    return (limit(scale, "minimum"), limit(scale, "maximum")) == (0, 4)


_WORDS = {
    *("type", "nullable", "enum", "minimum", "maximum", "minLength", "maxLength", "minItems"),
    *("maxItems", "items", "properties", "required", "additionalProperties", "x-hidden", "$ref"),
    *_PARTS,
}


def _bare(schema: Any) -> Any:
    """Keep of a schema what a check reads."""
    if isinstance(schema, tuple):
        return tuple(_bare(part) for part in schema)
    if not isinstance(schema, Mapping):
        return schema
    kept = {}
    for word, value in schema.items():
        if word == "properties" and isinstance(value, Mapping):
            kept[word] = {name: _bare(part) for name, part in value.items()}
        elif word in {"enum", "const"}:
            kept[word] = value
        elif word in _WORDS:
            kept[word] = _bare(value)
    return kept


# --- texts ---------------------------------------------------------------------------------------


def _clean(text: str, start: str = "") -> str:
    """Keep what can be seen of a text, on one line."""
    seen = "".join(char if char.isprintable() else " " for char in text)
    words = " ".join(seen.split())
    return start + words if words else ""


LONGEST = 2000
"""Characters of a description that are kept."""


def _sentence(text: object) -> str:
    """Make a sentence with a full stop of a text; an empty one stays empty."""
    words = _clean(text[:LONGEST]).rstrip(" .;,:") if isinstance(text, str) else ""
    return f"{words}." if words else ""


def _docstring(text: str, indent: int) -> list[str]:
    """Write a docstring that nothing in the text can end: it ends in a full stop."""
    escaped = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    room = WIDTH - indent
    marks = '"""'
    lines = _wrapped(marks + escaped, room)
    if len(lines[-1]) + len(marks) > room:
        lines = [*lines[:-1], *_wrapped(lines[-1], room - len(marks))]
    lines[-1] += marks
    return [" " * indent + line for line in lines]


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


# --- expressions, written as formatters write them -----------------------------------------------


@frozen
class _Call:
    name: str
    arguments: list[tuple[str, _Node]]


@frozen
class _List:
    """Hold what stands between brackets; of a dict with the keys in front."""

    items: list[_Node]
    marks: str = "[]"
    keys: list[str] = field(factory=list)


_Node: TypeAlias = "str | _Call | _List"


def _literal(value: Any) -> _Node:
    """Write a value that JSON has: objects as dicts, and lists as tuples."""
    if isinstance(value, Mapping):
        return _List([_literal(item) for item in value.values()], "{}", [_quoted(k) for k in value])
    if isinstance(value, list | tuple):
        return _List([_literal(item) for item in value], "()")
    return _quoted(value) if isinstance(value, str) else repr(value)


def _quoted(text: str) -> str:
    """Write a text as `repr` does, but between double quotes where it has none."""
    return repr(text) if '"' in text else '"' + repr("'" + text)[2:]


def _parts(node: _Call | _List) -> tuple[str, str, list[tuple[str, _Node]]]:
    """Take an expression apart: how it opens, how it closes, and what is inside, with its name."""
    if isinstance(node, _Call):
        named = [(f"{name}=" if name else "", value) for name, value in node.arguments]
        return f"{node.name}(", ")", named
    keys = node.keys or [""] * len(node.items)
    named = [(f"{key}: " if key else "", item) for key, item in zip(keys, node.items, strict=True)]
    return node.marks[0], node.marks[1], named


def _flat(node: _Node) -> str:
    if isinstance(node, str):
        return node
    opening, closing, inside = _parts(node)
    comma = "," if opening == "(" and len(inside) == 1 else ""  # of a tuple of one
    return opening + ", ".join(start + _flat(value) for start, value in inside) + comma + closing


def _written(start: str, node: _Node, indent: int, end: str = "") -> list[str]:
    """Write an expression in one line if it fits, else with what is inside on lines of its own."""
    room, margin = WIDTH - indent, " " * indent
    line = start + _flat(node) + end
    if len(line) <= room or isinstance(node, str):
        return [margin + line]
    opening, closing, inside = _parts(node)
    joined = ", ".join(name + _flat(value) for name, value in inside)
    if isinstance(node, _Call) and len(joined) <= room - 4:
        body = [f"{margin}    {joined}"]
    else:
        body = [
            line for name, value in inside for line in _written(name, value, indent + 4, end=",")
        ]
    return [margin + start + opening, *body, margin + closing + end]
