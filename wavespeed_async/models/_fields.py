"""The documented ranges as validators and converters, each said once.

A validator refuses with `InvalidRequestError`, which names the field, its value and what is
allowed. It keeps its bounds readable (`allowed`, `low`, `high`, `most`), so that help texts and
the emulator read them off the request class: there is no second list.
"""

from __future__ import annotations

import math
import re
from base64 import b64decode
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import urlsplit

from attrs import frozen

from wavespeed_async.errors import InvalidRequestError
from wavespeed_async.models._images import FORMATS, Inline, is_local

if TYPE_CHECKING:
    from attrs import Attribute

T = TypeVar("T")

__all__ = [
    "Between",
    "Choice",
    "Flag",
    "Items",
    "Media",
    "Number",
    "Opt",
    "Rule",
    "Size",
    "Text",
    "joined_size",
    "texts_of",
    "tuple_of",
]


class Rule(Protocol):
    """Say whether a value is allowed, and in words what is."""

    @property
    def allowed(self) -> str:
        """Say what is allowed."""
        ...

    def accepts(self, value: object, /) -> bool:
        """Tell whether `value` is allowed."""
        ...


class _Validator:
    """Turn a rule into a validator of attrs."""

    def __call__(self: Any, instance: Any, attribute: Attribute[Any], value: object) -> None:
        if not self.accepts(value):
            owner = getattr(instance, "model", type(instance).__name__)
            raise InvalidRequestError.of(owner, attribute.name, value, self.allowed)


@frozen(eq=False, repr=False)
class Between(_Validator):
    """Allow a number from `low` to `high`, both included; whole ones only where asked."""

    low: float
    high: float
    whole: bool = False

    @property
    def allowed(self) -> str:
        """Say what is allowed."""
        return f"a {'whole ' if self.whole else ''}number from {self.low} to {self.high}"

    def accepts(self, value: object) -> bool:
        """Tell whether `value` is allowed: a bool is no number, NaN is in no range."""
        kinds = int if self.whole else (int, float)
        return (
            isinstance(value, kinds)
            and not isinstance(value, bool)
            and self.low <= value <= self.high
        )


@frozen(eq=False, repr=False)
class Number(_Validator):
    """Allow a number, from `low` or up to `high` where those are known; be it a whole one."""

    low: float | None = None
    high: float | None = None
    whole: bool = False

    @property
    def allowed(self) -> str:
        """Say what is allowed."""
        told = f"a {'whole ' if self.whole else ''}number"
        told += "" if self.low is None else f" of at least {self.low}"
        return told + ("" if self.high is None else f" of at most {self.high}")

    def accepts(self, value: object) -> bool:
        """Tell whether `value` is allowed: what JSON has as a number, so no bool and no NaN."""
        kinds = int if self.whole else (int, float)
        return (
            isinstance(value, kinds)
            and not isinstance(value, bool)
            and -math.inf < value < math.inf
            and (self.low is None or self.low <= value)
            and (self.high is None or value <= self.high)
        )


@frozen(eq=False, repr=False)
class Text(_Validator):
    """Allow a string that UTF-8 can carry; a blank one only where it is not `required`."""

    required: bool = False
    least: int = 0
    most: int | None = None

    @property
    def allowed(self) -> str:
        """Say what is allowed."""
        told = "a text that is not empty" if self.required else "a text"
        told += f", of at least {self.least} characters" if self.least else ""
        return told + ("" if self.most is None else f", of at most {self.most} characters")

    def accepts(self, value: object) -> bool:
        """Tell whether `value` is allowed."""
        return (
            isinstance(value, str)
            and not _SURROGATE.search(value)
            and bool(value.strip() or not self.required)
            and self.least <= len(value)
            and (self.most is None or len(value) <= self.most)
        )


@frozen(eq=False, repr=False)
class Media(_Validator):
    """Allow the address of a picture, or the picture itself: a `data:` URI, or a local one."""

    required: bool = False
    base64: bool = False

    @property
    def allowed(self) -> str:
        """Say what is allowed."""
        bare = ", base64" if self.base64 else ""
        local = f"a pathlib.Path, or {FORMATS} as bytes or as a Pillow image (8 bits)"
        rest = "" if self.required else ", or empty"
        return f"an http(s) URL{bare}, a data: URI, {local}{rest}"

    def accepts(self, value: object) -> bool:
        """Tell whether `value` is allowed."""
        if not isinstance(value, str):
            return is_local(value) and (self.base64 or not isinstance(value, Inline))
        if not value:
            return not self.required
        return _is_address(value) or (self.base64 and _is_base64(value))


@frozen(eq=False, repr=False)
class Flag(_Validator):
    """Allow True and False."""

    @property
    def allowed(self) -> str:
        """Say what is allowed."""
        return "true or false"

    def accepts(self, value: object) -> bool:
        """Tell whether `value` is allowed."""
        return isinstance(value, bool)


@frozen(eq=False, repr=False)
class Choice(_Validator):
    """Allow one of some words."""

    words: tuple[str, ...]

    @property
    def allowed(self) -> str:
        """Say what is allowed."""
        return "one of " + ", ".join(self.words)

    def accepts(self, value: object) -> bool:
        """Tell whether `value` is allowed."""
        return isinstance(value, str) and value in self.words


@frozen(eq=False, repr=False)
class Size(_Validator):
    """Allow `width*height` with both sides from `low` to `high` pixels."""

    low: int
    high: int

    @property
    def allowed(self) -> str:
        """Say what is allowed."""
        return f'"width*height" with sides from {self.low} to {self.high} pixels'

    def accepts(self, value: object) -> bool:
        """Tell whether `value` is allowed."""
        found = _SIZE.fullmatch(value) if isinstance(value, str) else None
        return found is not None and all(self.low <= int(s) <= self.high for s in found.groups())


@frozen(eq=False, repr=False)
class Items(_Validator):
    """Allow `least` to `most` items in a sequence, each of `kind`, or each as `rule` says."""

    least: int = 0
    most: int | None = None
    kind: type | None = None
    rule: Rule | None = None

    @property
    def allowed(self) -> str:
        """Say what is allowed."""
        if self.rule is not None:
            noun = f"items, each {self.rule.allowed}"
        else:
            noun = f"{self.kind.__name__} items" if self.kind else "items"
        if self.most is None:
            return f"at least {self.least} {noun}"
        if self.least:
            return f"{self.least} to {self.most} {noun}"
        return f"at most {self.most} {noun}"

    def accepts(self, value: object) -> bool:
        """Tell whether `value` is allowed."""
        return (
            isinstance(value, tuple)
            and self.least <= len(value)
            and (self.most is None or len(value) <= self.most)
            and all(self._accepts_item(item) for item in value)
        )

    def _accepts_item(self, item: object) -> bool:
        return (self.kind is None or isinstance(item, self.kind)) and (
            self.rule is None or self.rule.accepts(item)
        )


@frozen(eq=False, repr=False)
class Opt(_Validator):
    """Allow None, which leaves the field out, and what `rule` allows."""

    rule: Rule

    @property
    def allowed(self) -> str:
        """Say what is allowed."""
        return self.rule.allowed

    def accepts(self, value: object) -> bool:
        """Tell whether `value` is allowed."""
        return value is None or self.rule.accepts(value)


def joined_size(value: str | tuple[int, int]) -> str:
    """Write (1024, 768) as "1024*768"; leave anything else to the validator."""
    if (
        isinstance(value, tuple | list)
        and len(value) == 2  # noqa: PLR2004 (a size has two sides)
        and all(_SIDE.accepts(side) for side in value)
    ):
        return f"{value[0]}*{value[1]}"
    return value  # type: ignore[return-value]  # the validator names what is wrong with it


def tuple_of(value: Iterable[T]) -> tuple[T, ...]:
    """Freeze an iterable; leave anything else, strings among them, to the validator."""
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        return tuple(value)
    return value  # type: ignore[return-value]  # as in joined_size


def texts_of(value: Iterable[str]) -> tuple[str, ...]:
    """Be `tuple_of` for texts; type checkers lose the T of a converter that is generic."""
    return tuple_of(value)


def _is_address(value: str) -> bool:
    if value.startswith("data:"):
        return bool(value.partition(",")[2]) and not _SURROGATE.search(value)
    if not _WEB.match(value):  # before urlsplit, which would keep a base64 picture in its cache
        return False
    try:
        parts = urlsplit(value)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port or an IPv6 address that is none
        return False


def _is_base64(value: str) -> bool:
    try:
        return bool(b64decode(value, validate=True))
    except ValueError:
        return False


_SIDE = Between(1, 99999, whole=True)
_SIZE = re.compile(r"([1-9]\d{0,4})\*([1-9]\d{0,4})", re.ASCII)
_WEB = re.compile(r"https?://[^\s\x00-\x1f\x7f\ud800-\udfff]+\Z", re.IGNORECASE)
_SURROGATE = re.compile("[\ud800-\udfff]")
