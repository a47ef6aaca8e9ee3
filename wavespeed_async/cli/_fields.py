"""From the request classes to options and back: their attrs fields are the only list there is.

Every value is read from text by the kind of its field. What cannot be read stays text, so that the
request class refuses it in its own words, on the command line as in a file.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from functools import reduce
from itertools import pairwise
from operator import or_
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import attrs
from attrs import frozen

from wavespeed_async.errors import InvalidRequestError
from wavespeed_async.models import ImageValue, Lora, Request

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Field", "fields_of", "json_value", "short_name"]

LORAS, IMAGES = tuple[Lora, ...], tuple[ImageValue, ...]
PATH = "a file's path, an http(s) URL or a data: URI"


@frozen
class Field:
    """Describe one field of a model.

    Attributes:
        name: Its name.
        kind: Its type, such as `int`.
        required: Whether it must be given.
        default: What it is when left out; None where it is not sent then.
        allowed: What it takes, in words.
        about: What it is for, in words.
    """

    name: str
    kind: Any
    required: bool
    default: Any
    allowed: str
    about: str

    @property
    def is_list(self) -> bool:
        """Whether it takes several values."""
        return self.kind in {LORAS, IMAGES}

    @property
    def is_image(self) -> bool:
        """Whether it takes an image, or several."""
        return self.kind in {ImageValue, IMAGES}

    @property
    def takes(self) -> str:
        """What it takes, in the words of the command line."""
        return PATH if self.is_image else self.allowed

    @property
    def is_flag(self) -> bool:
        """Whether it is true or false."""
        return self.kind is bool

    def value(self, text: str) -> object:
        """Read one value; what is no value of this kind stays text."""
        if self.kind is bool:
            return {"true": True, "false": False}.get(text.strip().lower(), text)
        if self.kind in {int, float}:
            return _number(text, self.kind)
        if self.kind == LORAS:
            return self._lora(text)
        return text

    def values(self, text: str) -> object:
        """Read a cell of a table: LoRAs stand between `;`, images between spaces or `|`.

        Where there is a `|`, spaces are of a path, unless all are addresses.
        """
        if not self.is_list:
            return self.value(text)
        parts = text.split(";") if self.kind == LORAS else re.split(r"[\s|]+", text)
        if (
            self.is_image
            and "|" in text
            and not all(_ADDRESS.match(part) for part in filter(None, parts))
        ):
            parts = text.split("|")
        return [self.value(part.strip()) for part in parts if part.strip()]

    def _lora(self, text: str) -> dict[str, object]:
        path, colon, scale = text.rpartition(":")
        number = _number(scale, float)
        if not colon or isinstance(number, str):
            allowed = "path:scale, such as linoyts/yarn_art_Flux_LoRA:1.0"
            raise InvalidRequestError.of(
                owner="a request", field=self.name, value=text, allowed=allowed
            )
        return {"path": path, "scale": number}


def fields_of(request_class: type[Request]) -> Mapping[str, Field]:
    """List the fields of a model by their names."""
    if request_class not in _fields:
        _fields[request_class] = _found(request_class)
    return _fields[request_class]


_fields: dict[type[Request], Mapping[str, Field]] = {}


def _found(request_class: type[Request]) -> Mapping[str, Field]:
    kinds = get_type_hints(request_class)
    about = _docstrings(request_class)
    return {
        a.name: Field(
            name=a.name,
            kind=_without_none(kinds[a.name]),
            required=a.default is attrs.NOTHING,
            default=None if a.default is attrs.NOTHING else a.default,
            allowed=a.validator.allowed,
            about=about.get(a.name, ""),
        )
        for a in attrs.fields(request_class)  # type: ignore[arg-type]  # request classes are attrs classes
    }


def json_value(text: str) -> object:
    """Read a field of a model without a class: as JSON, else as text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def short_name(model: str) -> str:
    """Name a model as it is named on the command line."""
    return model.removeprefix("wavespeed-ai/")


def _number(text: str, kind: type) -> object:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text) if kind is float else text
    except ValueError:
        return text


def _without_none(kind: Any) -> Any:
    kinds = [part for part in get_args(kind) if part is not NoneType]
    return reduce(or_, kinds) if NoneType in get_args(kind) else kind


def _docstrings(request_class: type[Request]) -> dict[str, str]:
    """Read the docstrings under a class's fields, up to the first comma or the like."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(request_class)))
    except (OSError, TypeError):  # installed without its source
        return {}
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef)).body
    found = {}
    for node, below in pairwise(body):
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            text = " ".join(str(below.value.value).split())
            found[node.target.id] = _END.split(text)[0].rstrip(".")
    return found


_ADDRESS = re.compile(r"https?://|data:", re.IGNORECASE)
_END = re.compile(r"[,;:]| \(\S+ page")
