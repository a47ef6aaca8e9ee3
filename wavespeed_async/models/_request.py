"""What a request class owes the rest, and the request for any model without a class."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import attrs
from attrs import field, frozen

from wavespeed_async.errors import LONG_NUMBER, InvalidRequestError
from wavespeed_async.models._fields import Between, Choice, Number, Opt, Text, tuple_of
from wavespeed_async.models._images import frozen_image, is_local
from wavespeed_async.models._schema import refuse_undeclared

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

__all__ = ["FieldMap", "Lora", "RawRequest", "Request", "request_class", "sent_as", "sent_name"]

_classes: dict[str, type[Request]] = {}


class Request:
    """Be what every model is asked with: frozen, checked at construction, known by its fields."""

    __slots__ = ()

    model: ClassVar[str]
    """The model's id, as the API's path has it."""
    version: ClassVar[str]
    """The API version whose page documents the model: `v2` or `v3`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make the class findable by its model; attrs makes a class twice, the last one counts.

        A class from elsewhere, one that was generated say, does not take the place of one of this
        package: files, the command line and journals go on meaning the same.
        """
        super().__init_subclass__(**kwargs)
        if "model" in cls.__dict__ and isinstance(cls.__dict__["model"], str):
            known = _classes.get(cls.model)
            if known is None or known.__module__ == cls.__module__ or not _is_ours(known):
                _classes[cls.model] = cls

    def with_seed(self, dice: random.Random) -> Self:
        """Answer the same request with an open seed (unset or -1) drawn, or the request itself."""
        seeds = _seeds_of(type(self))
        if seeds is None or getattr(self, "seed", 0) not in {None, OPEN_SEED}:
            return self
        drawn: Self = attrs.evolve(self, seed=dice.randint(*seeds))  # type: ignore[misc]  # subclasses are attrs classes
        return drawn

    def __repr__(self) -> str:
        return show(self)


OPEN_SEED = -1
"""The seed that stands for a random one (all five pages)."""

DRAWN_SEEDS = (0, 2147483647)
"""Where a client draws a seed that was left open: the range that every model's page allows."""


def _is_ours(known: type[Request]) -> bool:
    return known.__module__.startswith(f"{__package__}.")


def _seeds_of(known: type[Request]) -> tuple[int, int] | None:
    """Say where seeds of a class are drawn; None where it has none that is a whole number."""
    found = getattr(attrs.fields(known), "seed", None) if attrs.has(known) else None
    rule: Any = found.validator if found is not None else None
    rule = rule.rule if isinstance(rule, Opt) else rule
    if not isinstance(rule, Between | Number) or not rule.whole:
        return None
    low, high = DRAWN_SEEDS
    low = low if rule.low is None else max(low, math.ceil(rule.low))
    high = high if rule.high is None else min(high, math.floor(rule.high))
    return (low, high) if low <= high else None


def sent_as(name: str) -> dict[str, str]:
    """Answer the metadata of a field that the API knows by another name than Python can have."""
    return {SENT_AS: name}


def sent_name(attribute: attrs.Attribute[Any]) -> str:
    """Answer the name by which the API knows a field."""
    name: str = attribute.metadata.get(SENT_AS, attribute.name)
    return name


SENT_AS = "wavespeed_async.sent_as"


def show(record: Any) -> str:
    """Write the repr of an attrs instance, with long values shortened."""
    values = ", ".join(
        f"{a.name}={short(getattr(record, a.name))}" for a in attrs.fields(type(record))
    )
    return f"{type(record).__name__}({values})"


def short(value: object) -> str:
    """Show a value in a repr: what is long, a base64 picture say, by its ends."""
    if isinstance(value, bytes) and len(value) > SHOWN:
        return f"{value[:HEAD]!r}… ({len(value)} bytes)"
    text = repr(value) if not isinstance(value, tuple) else _listed(value)
    if len(text) <= SHOWN:
        return text
    return f"{text[: SHOWN - 20]}…{text[-10:]} ({len(text)} characters)"


def _listed(values: tuple[object, ...]) -> str:
    """Show several values, an image among them in short."""
    if not any(isinstance(value, bytes) for value in values):
        return repr(values)
    return f"({', '.join(map(short, values))},)"


SHOWN, HEAD = 120, 8


@frozen
class Lora:
    """Name a LoRA and how strongly it is applied."""

    path: str = field(validator=Text(required=True), repr=short)
    """Path to the LoRA model, such as `linoyts/yarn_art_Flux_LoRA`; required (all pages)."""
    scale: float = field(validator=Between(0.0, 4.0))
    """Scale, 0.0 to 4.0; required (flux-dev-lora and flux-fill-dev pages: 0.0 ~ 4.0)."""


def loras_of(value: Iterable[Lora]) -> tuple[Lora, ...]:
    """Be `tuple_of` for LoRAs; type checkers lose the T of a converter that is generic."""
    return tuple_of(value)


class FieldMap(Mapping[str, Any]):
    """Hold the fields of a raw request: read like a dict, but immutable, hashable and picklable.

    Lists are kept as tuples and objects as further maps, copied deeply.
    """

    __slots__ = ("_items",)

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._items: Mapping[str, Any] = {key: _frozen(value) for key, value in fields.items()}

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return f"{{{', '.join(f'{key!r}: {short(value)}' for key, value in self._items.items())}}}"


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return FieldMap(value)
    if isinstance(value, list | tuple):
        return tuple(_frozen(item) for item in value)
    return frozen_image(value)


def frozen_json(value: Any) -> Any:
    """Copy JSON deeply into something immutable; leave anything else to the validator."""
    try:
        check_json(value, "it")
    except InvalidRequestError:
        return value
    return _frozen(value)


def _checked_map(value: Mapping[str, Any]) -> FieldMap:
    """Copy the fields of a raw request, or refuse what JSON has not."""
    if not isinstance(value, Mapping):
        raise _refusal(value, "fields", "a mapping")
    check_json(value, "fields")
    return FieldMap(value)


def check_json(value: object, path: str) -> None:
    """Raise InvalidRequestError for what JSON has not, and for what is too deep."""
    _check_json(value, path, DEEPEST)


def _check_json(value: Any, path: str, levels: int) -> None:
    """Refuse what JSON has not; what contains itself is refused as too deep."""
    if isinstance(value, Mapping | list | tuple) and levels == 0:
        raise _refusal(value, path, f"at most {DEEPEST} levels deep, and no part of itself")
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not Text().accepts(key):
                raise _refusal(key, path, "named by texts")
            _check_json(item, f"{path}.{key}", levels - 1)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            _check_json(item, f"{path}[{number}]", levels - 1)
    elif not _is_json(value) and not is_local(frozen_image(value)):
        raise _refusal(value, path, "a value that JSON has, or an image of this machine")


DEEPEST = 50
"""Levels of the deepest raw request: far more than any model asks for, and safe to walk."""


def _is_json(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return value.bit_length() <= LONG_NUMBER
    return value is None or Text().accepts(value)


def _check_path(_: Any, __: Any, value: Any) -> None:
    refuse_path(value)


def refuse_path(value: object) -> None:
    """Raise InvalidRequestError for what is no id of a model that is safe in a path."""
    if not (isinstance(value, str) and _PATH.fullmatch(value)) or {".", ".."} & {*value.split("/")}:
        raise _refusal(value, "model", "an id such as wavespeed-ai/flux-dev")


def _refusal(value: object, name: str, allowed: str) -> InvalidRequestError:
    return InvalidRequestError.of(RawRequest.__name__, name, value, allowed)


@frozen(repr=False)
class RawRequest(Request):
    """Ask any model by its id, with fields that are sent as they are.

    The API drops fields that a model does not declare, in silence, and bills the defaults. So
    where the model has a class in this package, an undeclared field is refused here.

    Attributes:
        model: The model's id, such as `google/nano-banana`.
        fields: What is asked: values that JSON has, and images of this machine, which are uploaded
            (a path, bytes, a Pillow image); copied deeply, and immutable from then on.
        version: The API version in the path.
    """

    model: str = field(validator=_check_path)  # type: ignore[misc]  # of each request, not of the class
    fields: Mapping[str, Any] = field(converter=_checked_map)
    version: str = field(default="v3", validator=Choice(("v2", "v3")))  # type: ignore[misc]  # as above

    def __attrs_post_init__(self) -> None:
        """Refuse fields that the model is known not to declare."""
        known = _classes.get(self.model)
        if known is not None and known.version == self.version:
            refuse_unknown(known, self.fields)

    def with_seed(self, dice: random.Random) -> Self:
        """Draw the seed where it is open by name (-1), or left out of a model that has one."""
        known = _classes.get(self.model)
        declared = known is not None and known.version == self.version and hasattr(known, "seed")
        if self.fields.get("seed", OPEN_SEED if declared else None) != OPEN_SEED:
            return self
        return attrs.evolve(self, fields={**self.fields, "seed": dice.randint(*DRAWN_SEEDS)})


def refuse_unknown(known: type[Request], names: Mapping[str, object]) -> None:
    """Raise InvalidRequestError for the first name that `known` does not declare."""
    declared = [sent_name(a) for a in attrs.fields(known)]  # type: ignore[arg-type]  # as in __repr__
    for name, value in names.items():
        if name not in declared:
            refuse_undeclared(known.model, str(name), value, declared)


def request_class(model: str) -> type[Request] | None:
    """Find the request class of a model by its id, with or without the leading `wavespeed-ai/`."""
    return _classes.get(model) or _classes.get(f"wavespeed-ai/{model}")


def request_classes() -> Sequence[type[Request]]:
    """List the request classes, in the order in which they were imported."""
    return tuple(_classes.values())


_PATH = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)+")
