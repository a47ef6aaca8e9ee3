"""What a request class owes the rest, and the request for any model without a class."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import attrs
from attrs import field, frozen

from wavespeed_async.errors import LONG_NUMBER, InvalidRequestError, shown
from wavespeed_async.models._fields import Between, Choice, Text, tuple_of

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

__all__ = ["FieldMap", "Lora", "RawRequest", "Request", "request_class"]

_classes: dict[str, type[Request]] = {}


class Request:
    """Be what every model is asked with: frozen, checked at construction, known by its fields."""

    __slots__ = ()

    model: ClassVar[str]
    """The model's id, as the API's path has it."""
    version: ClassVar[str]
    """The API version whose page documents the model: `v2` or `v3`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make the class findable by its model; attrs makes a class twice, the last one counts."""
        super().__init_subclass__(**kwargs)
        if "model" in cls.__dict__ and isinstance(cls.__dict__["model"], str):
            _classes[cls.model] = cls

    def with_seed(self, dice: random.Random) -> Self:
        """Answer the same request with an open seed (unset or -1) drawn, or the request itself."""
        if getattr(self, "seed", 0) not in {None, OPEN_SEED}:
            return self
        drawn: Self = attrs.evolve(self, seed=dice.randint(*DRAWN_SEEDS))  # type: ignore[misc]  # subclasses are attrs classes
        return drawn

    def __repr__(self) -> str:
        return show(self)


OPEN_SEED = -1
"""The seed that stands for a random one (all five pages)."""

DRAWN_SEEDS = (0, 2147483647)
"""Where a client draws a seed that was left open: the range that every model's page allows."""


def show(record: Any) -> str:
    """Write the repr of an attrs instance, with long values shortened."""
    values = ", ".join(
        f"{a.name}={short(getattr(record, a.name))}" for a in attrs.fields(type(record))
    )
    return f"{type(record).__name__}({values})"


def short(value: object) -> str:
    """Show a value in a repr: what is long, a base64 picture say, by its ends."""
    text = repr(value)
    if len(text) <= SHOWN:
        return text
    return f"{text[: SHOWN - 20]}…{text[-10:]} ({len(text)} characters)"


SHOWN = 120


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
        return repr(self._items)


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return FieldMap(value)
    if isinstance(value, list | tuple):
        return tuple(_frozen(item) for item in value)
    return value


def _checked_map(value: Mapping[str, Any]) -> FieldMap:
    """Copy the fields of a raw request, or refuse what JSON has not."""
    if not isinstance(value, Mapping):
        raise _refusal(value, "fields", "a mapping")
    _check_json(value, "fields", DEEPEST)
    return FieldMap(value)


def _check_json(value: object, path: str, levels: int) -> None:
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
    elif not _is_json(value):
        raise _refusal(value, path, "a value that JSON has")


DEEPEST = 50
"""Levels of the deepest raw request: far more than any model asks for, and safe to walk."""


def _is_json(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return value.bit_length() <= LONG_NUMBER
    return value is None or Text().accepts(value)


def _check_path(_: Any, __: Any, value: Any) -> None:
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
        model: The model's id, such as `wavespeed-ai/flux-schnell`.
        fields: What is asked: values that JSON has; copied deeply, and immutable from then on.
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
    import difflib  # noqa: PLC0415 (wanted for an error alone)

    declared = [a.name for a in attrs.fields(known)]  # type: ignore[arg-type]  # as in __repr__
    for name in names:
        if name not in declared:
            near = difflib.get_close_matches(str(name)[:SHOWN], declared, 1)
            meant = f" (did you mean {near[0]}?)" if near else ""
            allowed = "one of " + ", ".join(declared)
            message = (
                f"{known.model}: {shown(name)}, given as {shown(names[name])}, is no field of this "
                f"model{meant}; a field must be {allowed}"
            )
            raise InvalidRequestError(message, field=name, value=names[name], allowed=allowed)


def request_class(model: str) -> type[Request] | None:
    """Find the request class of a model by its id, with or without the leading `wavespeed-ai/`."""
    return _classes.get(model) or _classes.get(f"wavespeed-ai/{model}")


def request_classes() -> Sequence[type[Request]]:
    """List the request classes, in the order in which they were imported."""
    return tuple(_classes.values())


_PATH = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)+")
