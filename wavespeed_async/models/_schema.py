"""What a model's `request_schema` allows: values checked against the API's JSON Schema. Pure.

Known are the words that the API's schemas use: type, nullable, enum, const, minimum, maximum and
their exclusive forms, minLength, maxLength, minItems, maxItems, items, properties, required,
additionalProperties, allOf, anyOf and oneOf. Any other word, and a word whose value makes no sense,
allows everything: nothing that the API would take is refused for what this file does not know.

Beyond JSON Schema, as the API and its official clients have it:

- An undeclared field is refused where fields are declared at all: the API drops it in silence and
  bills the defaults. `enable_sync_mode` alone passes everywhere: official clients add it to any
  model, and to drop it changes no picture.
- What is required must not be empty either, but a field with `x-hidden` is never required.
- A text with a minimum or maximum that is named or written as a size is one: `width*height`, each
  side in that range.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from attrs import frozen

from wavespeed_async.errors import InvalidRequestError, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = [
    "Schema",
    "check_fields",
    "flaw_of",
    "is_size",
    "limit",
    "ordered_names",
    "refuse_undeclared",
    "words_for",
]

Schema: TypeAlias = Mapping[str, Any]

EVERYWHERE = frozenset({"enable_sync_mode"})
"""Fields that pass undeclared."""
MOST_NAMED = 20
"""So many words or names are told of what is allowed."""
LONGEST_NAMED = 40
"""Characters of each of them."""


@frozen
class Flaw:
    """Say what is wrong with a value.

    Attributes:
        path: Where it stands, such as `loras[0].scale`; empty for the whole.
        value: What stands there.
        allowed: What may stand there, in words.
        declared: The declared names, where the name itself is none of them.
    """

    path: str
    value: object
    allowed: str
    declared: tuple[str, ...] | None = None


def check_fields(model: str, fields: Mapping[str, Any], schema: Schema) -> None:
    """Check the fields of a request; those that are None are left out, and so not there.

    Raises:
        InvalidRequestError: For the first field that the model would refuse or does not declare.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    flaw = flaw_of(given, schema, "")
    if flaw is None:
        return
    if flaw.declared is not None:
        refuse_undeclared(model, flaw.path, flaw.value, flaw.declared)
    raise InvalidRequestError.of(model, flaw.path or "fields", flaw.value, flaw.allowed)


def refuse_undeclared(model: str, path: str, value: object, declared: Sequence[str]) -> NoReturn:
    """Raise InvalidRequestError for a field that a model does not declare, naming the nearest."""
    import difflib  # noqa: PLC0415 (wanted for an error alone)

    near = difflib.get_close_matches(path.rpartition(".")[2][:LONGEST_NAMED], declared, 1)
    meant = f" (did you mean {near[0]}?)" if near else ""
    allowed = "one of " + _listed(declared)
    message = (
        f"{model}: {shown(path)}, given as {shown(value)}, is no field of this "
        f"model{meant}; a field must be {allowed}"
    )
    raise InvalidRequestError(message, field=path, value=value, allowed=allowed)


def flaw_of(value: object, schema: object, path: str) -> Flaw | None:
    """Find the first thing that a schema does not allow; None where it allows all."""
    return _flaw(value, schema, path, closed=True)


def _flaw(value: object, schema: object, path: str, *, closed: bool) -> Flaw | None:
    if not isinstance(schema, Mapping) or (value is None and schema.get("nullable") is True):
        return None
    if not all(allows(value, schema, path) for allows in _TESTS):
        return Flaw(path, value, words_for(schema, path))
    found: Flaw | None = None
    if isinstance(value, Mapping):
        found = _flaw_of_object(value, schema, path, closed=closed)
    elif _is_list(value):
        items = schema.get("items")
        found = _first(
            _flaw(item, items, f"{path}[{number}]", closed=True)
            for number, item in enumerate(_list(value))
        )
    return found or _flaw_of_parts(value, schema, path)


def _flaw_of_object(
    value: Mapping[str, Any], schema: Schema, path: str, *, closed: bool
) -> Flaw | None:
    declared = _declared(schema)
    properties = _mapping(schema.get("properties"))
    start = f"{path}." if path else ""
    extra = schema.get("additionalProperties")
    if closed and declared and extra is not True and not isinstance(extra, Mapping):
        for name, item in value.items():
            is_everywhere = not path and name in EVERYWHERE and isinstance(item, bool)
            if name not in declared and not is_everywhere:
                return Flaw(f"{start}{name}", item, "", declared)
    for name in _required(schema):
        if _is_empty(value.get(name)):
            given = "given, and not empty: it is required"
            return Flaw(f"{start}{name}", value.get(name), given)
    return _first(
        _flaw(item, properties.get(name), f"{start}{name}", closed=True)
        for name, item in value.items()
    )


def _flaw_of_parts(value: object, schema: Schema, path: str) -> Flaw | None:
    for part in _schemas(schema.get("allOf")):
        if found := _flaw(value, part, path, closed=False):
            return found
    for word in ("anyOf", "oneOf"):
        parts = _schemas(schema.get(word))
        if parts and all(_flaw(value, part, path, closed=False) for part in parts):
            return Flaw(path, value, words_for({word: parts}, path))
    return None


def _first(flaws: Iterator[Flaw | None]) -> Flaw | None:
    return next((flaw for flaw in flaws if flaw is not None), None)


# --- what a schema declares ----------------------------------------------------------------------


def ordered_names(schema: Schema) -> tuple[str, ...]:
    """Name the declared fields: those of `x-order-properties` first, in its order."""
    properties = _mapping(schema.get("properties"))
    wanted = [name for name in _list(schema.get("x-order-properties")) if isinstance(name, str)]
    return tuple(name for name in dict.fromkeys([*wanted, *properties]) if name in properties)


def _declared(schema: Schema) -> tuple[str, ...] | None:
    """Name what a schema and its parts declare; None where a part cannot be looked into."""
    if "$ref" in schema:
        return None
    names = [*ordered_names(schema)]
    for word in ("allOf", "anyOf", "oneOf"):
        for part in _schemas(schema.get(word)):
            more = _declared(part)
            if more is None:
                return None
            names.extend(more)
    return tuple(dict.fromkeys(names))


def _required(schema: Schema) -> list[str]:
    properties = _mapping(schema.get("properties"))
    return [
        name
        for name in _list(schema.get("required"))
        if isinstance(name, str) and not _mapping(properties.get(name)).get("x-hidden")
    ]


def limit(schema: Schema, word: str) -> float | None:
    """Read a bound, such as `minimum`; None where there is none that makes sense."""
    found = schema.get(word)
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    return found if math.isfinite(found) else None


def is_size(schema: Schema, path: str) -> bool:
    """Tell whether a text is a size: it has bounds, and is named or written like one."""
    if schema.get("type") != "string" or _list(schema.get("enum")):
        return False
    default = schema.get("default")
    looks = isinstance(default, str) and _SIZE.fullmatch(default) is not None
    named = path.rpartition(".")[2] == "size"
    return (looks or named) and not (
        limit(schema, "minimum") is None and limit(schema, "maximum") is None
    )


_SIZE = re.compile(r"([1-9]\d{0,4})\*([1-9]\d{0,4})", re.ASCII)


def _schemas(found: object) -> list[Schema]:
    return [part for part in _list(found) if isinstance(part, Mapping)]


def _mapping(found: object) -> Mapping[str, Any]:
    return found if isinstance(found, Mapping) else {}


def _list(found: object) -> Sequence[Any]:
    return found if isinstance(found, list | tuple) else ()


# --- what a value is -----------------------------------------------------------------------------


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: object) -> bool:
    """3.0 is a whole number in JSON."""
    return _is_number(value) and (isinstance(value, int) or value.is_integer())  # type: ignore[attr-defined]  # a float


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, str | list | tuple) and not _stripped(value))


def _stripped(value: str | Sequence[Any]) -> str | Sequence[Any]:
    return value.strip() if isinstance(value, str) else value


_KINDS: Mapping[str, Callable[[object], bool]] = {
    "string": lambda value: isinstance(value, str),
    "number": _is_number,
    "integer": _is_whole,
    "boolean": lambda value: isinstance(value, bool),
    "array": _is_list,
    "object": lambda value: isinstance(value, Mapping),
    "null": lambda value: value is None,
}


def _kinds(schema: Schema) -> list[str]:
    """Name the types that a schema allows; none where it allows all, or one that is not known."""
    found = schema.get("type")
    names = [found] if isinstance(found, str) else [*_list(found)]
    return names if all(isinstance(name, str) and name in _KINDS for name in names) else []


def _allows_kind(value: object, schema: Schema, _: str) -> bool:
    kinds = _kinds(schema)
    return not kinds or any(_KINDS[kind](value) for kind in kinds)


def _options(schema: Schema) -> list[object]:
    """List the words of an enum that are of its own type: others could never be sent."""
    options = [*_list(schema.get("enum"))]
    if "const" in schema:
        options = [schema["const"]]
    return [option for option in options if _allows_kind(option, schema, "")]


def _allows_option(value: object, schema: Schema, _: str) -> bool:
    options = _options(schema)
    if _is_list(value) and not any(_is_list(option) for option in options):
        return True  # the words are those of its items
    return not options or any(_same(value, option) for option in options)


def _same(one: object, other: object) -> bool:
    """Compare as JSON does: 1 is 1.0, but true is not 1, and a tuple is a list."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return one == other


def _allows_range(value: object, schema: Schema, _: str) -> bool:
    return not _is_number(value) or (
        _within(value, limit(schema, "minimum"), limit(schema, "maximum"))  # type: ignore[arg-type]  # a number
        and value != limit(schema, "exclusiveMinimum")
        and value != limit(schema, "exclusiveMaximum")
        and _within(value, limit(schema, "exclusiveMinimum"), limit(schema, "exclusiveMaximum"))  # type: ignore[arg-type]  # a number
    )


def _allows_size(value: object, schema: Schema, path: str) -> bool:
    if not isinstance(value, str) or not is_size(schema, path):
        return True
    found = _SIZE.fullmatch(value)
    low, high = limit(schema, "minimum"), limit(schema, "maximum")
    return found is not None and all(_within(int(side), low, high) for side in found.groups())


def _allows_length(value: object, schema: Schema, _: str) -> bool:
    """Count characters of a text, or items of a list."""
    if isinstance(value, str):
        return _within(len(value), limit(schema, "minLength"), limit(schema, "maxLength"))
    if isinstance(value, list | tuple):
        return _within(len(value), limit(schema, "minItems"), limit(schema, "maxItems"))
    return True


def _within(value: float, low: float | None, high: float | None) -> bool:
    return (low is None or low <= value) and (high is None or value <= high)


_TESTS = (_allows_kind, _allows_option, _allows_range, _allows_size, _allows_length)


# --- in words ------------------------------------------------------------------------------------


def words_for(schema: Schema, path: str = "") -> str:
    """Say what a schema allows."""
    if options := _options(schema):
        return ("one of " if len(options) > 1 else "") + _listed(map(_written, options))
    if is_size(schema, path):
        return f'"width*height" with sides{_from_to(schema, "minimum", "maximum", " pixels")}'
    for word in ("anyOf", "oneOf"):
        if parts := _schemas(schema.get(word)):
            told = dict.fromkeys(words_for(part, path) for part in parts[:MOST_NAMED])
            return ", or ".join(told)[:LONGEST_WORDS]
    kinds = _kinds(schema)
    if not kinds and _required(schema):
        kinds = ["object"]
    return " or ".join(_WORDS[kind](schema) for kind in kinds) or "what the model takes"


LONGEST_WORDS = 400
"""Characters of what several parts allow."""


def _from_to(schema: Schema, low: str, high: str, unit: str = "") -> str:
    """Say a range, be it open at an end."""
    least, most = limit(schema, low), limit(schema, high)
    if least is not None and most is not None:
        return f" from {least} to {most}{unit}"
    if least is not None:
        return f" of at least {least}{unit}"
    return "" if most is None else f" of at most {most}{unit}"


def _number_in_words(noun: str, schema: Schema) -> str:
    told = noun + _from_to(schema, "minimum", "maximum")
    above, below = limit(schema, "exclusiveMinimum"), limit(schema, "exclusiveMaximum")
    told += "" if above is None else f" above {above}"
    return told + ("" if below is None else f" below {below}")


def _object_in_words(schema: Schema) -> str:
    required = _required(schema)
    return "an object" + (f" with {_listed(required)}" if required else "")


_WORDS: Mapping[str, Callable[[Schema], str]] = {
    "string": lambda schema: "a text" + _from_to(schema, "minLength", "maxLength", " characters"),
    "number": lambda schema: _number_in_words("a number", schema),
    "integer": lambda schema: _number_in_words("a whole number", schema),
    "boolean": lambda _: "true or false",
    "array": lambda schema: "a list" + _from_to(schema, "minItems", "maxItems", " items"),
    "object": _object_in_words,
    "null": lambda _: "null",
}


def _written(option: object) -> str:
    return option if isinstance(option, str) and option else shown(option)


def _listed(names: Iterable[str]) -> str:
    """List names, a few of many, each shortened."""
    every = [*names]
    told = [
        name if len(name) <= LONGEST_NAMED else f"{name[: LONGEST_NAMED - 1]}…"
        for name in every[:MOST_NAMED]
    ]
    more = f" and {len(every) - MOST_NAMED} more" if len(every) > MOST_NAMED else ""
    return ", ".join(told) + more
