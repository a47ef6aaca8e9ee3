"""What the models take: from the body of a submission to a request. Pure.

The request classes say what is allowed. What JSON allows beyond them is refused or dropped here,
as the API does it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import attrs
from attrs import field, frozen

from wavespeed_async.emulator._schemas import OTHER_MODELS
from wavespeed_async.errors import InvalidRequestError
from wavespeed_async.models import Items, Lora, Opt, Request, request_classes
from wavespeed_async.models._request import sent_name

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "LOOSE_MODELS",
    "LooseRequest",
    "Refusal",
    "Submission",
    "missing_field",
    "read_json",
    "read_request",
    "read_submission",
]

LOOSE_MODELS = tuple(OTHER_MODELS)
"""Models without a request class that run all the same, so that raw requests can be tried."""


class Refusal(Exception):  # noqa: N818 (not an error of the emulator: an answer that it gives)
    """Refuse a request with an HTTP status, a message, and perhaps headers."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}


def _loose_text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _loose_size(value: object) -> str:
    try:
        sides = [int(side) for side in str(value).split("*")]
        width, height = (min(max(side, 64), 1536) for side in sides)
    except ValueError:
        return "1024*1024"
    return f"{width}*{height}"


def _loose_seed(value: object) -> int:
    return value if isinstance(value, int) else -1


def _loose_count(value: object) -> int:
    return min(max(value, 1), 4) if isinstance(value, int) else 1


@frozen(kw_only=True)
class LooseRequest:
    """Ask one of the `LOOSE_MODELS`: nothing is refused, what is unusable becomes a default."""

    model: str
    prompt: str = field(default="", converter=_loose_text)
    size: str = field(default="1024*1024", converter=_loose_size)
    seed: int = field(default=-1, converter=_loose_seed)
    num_images: int = field(default=1, converter=_loose_count)


Submission: TypeAlias = Request | LooseRequest


def read_submission(model: str, body: bytes) -> tuple[Submission, Mapping[str, Any]]:
    """Read what is asked of a model, and the fields as they were received.

    Unknown fields are dropped in silence, as the API does; null stands for a field left out.
    `images` of flux-kontext-dev/multi is required here, as its request class has it: the API would
    edit and bill its own sample pictures.

    Raises:
        Refusal: The model is not known, a field is missing, or a value is not allowed (400).
    """
    if model not in LOOSE_MODELS and model not in _known():
        raise Refusal(400, "model not found")
    fields = read_json(body)
    return read_request(model, fields), fields


def read_request(model: str, fields: Mapping[str, Any]) -> Submission:
    """Read what is asked of a model from the fields alone.

    Raises:
        Refusal: As for a submission.
    """
    known = _known().get(model)
    if known is None and model not in LOOSE_MODELS:
        raise Refusal(400, "model not found")
    given = {name: value for name, value in fields.items() if value is not None}
    if known is None:
        names = {a.name for a in attrs.fields(LooseRequest)} - {"model"}
        loose = {name: value for name, value in given.items() if name in names}
        return LooseRequest(model=model, **loose)
    return _build(known, given)


def _known() -> dict[str, type[Request]]:
    return {cls.model: cls for cls in request_classes()}


def read_json(body: bytes) -> dict[str, Any]:
    """Read a body that must be a JSON object.

    Raises:
        Refusal: It is none (400).
    """
    try:
        fields = json.loads(body, parse_constant=_refuse_constant, parse_float=_number)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise Refusal(400, "the request body must be a JSON object")
    return fields


def _number(text: str) -> float:
    """Read 3.0 as 3: to JSON they are one number."""
    number = float(text)
    return int(number) if number.is_integer() else number


def _refuse_constant(name: str) -> NoReturn:
    message = f"JSON has no {name}"
    raise ValueError(message)


def _build(known: type[Request], given: Mapping[str, Any]) -> Request:
    declared = {sent_name(a): a for a in attrs.fields(known)}  # type: ignore[arg-type]  # request classes are attrs classes
    for name, attribute in declared.items():
        if attribute.default is attrs.NOTHING and _is_empty(given.get(name)):
            raise missing_field(name)
    values = {a.name: given[name] for name, a in declared.items() if name in given}
    try:
        # The class also takes what Python writes more handily; JSON has one way.
        if not isinstance(size := values.get("size", ""), str):
            raise InvalidRequestError.of(known.model, "size", size, '"width*height"')
        for name, attribute in declared.items():
            if isinstance(loras := given.get(name), list) and _takes_loras(attribute.validator):
                read = [_lora(name, number, item) for number, item in enumerate(loras)]
                values[attribute.name] = read
        return known(**values)
    except InvalidRequestError as error:
        raise Refusal(400, str(error)) from error


def _takes_loras(rule: Any) -> bool:
    rule = rule.rule if isinstance(rule, Opt) else rule
    return isinstance(rule, Items) and rule.kind is Lora


def _lora(name: str, number: int, item: object) -> object:
    if not isinstance(item, dict):
        return item
    missing = [part for part in ("path", "scale") if _is_empty(item.get(part))]
    if missing:
        place = f"{name}[{number}].{missing[0]}"
        raise missing_field(place)
    return Lora(item["path"], item["scale"])


def missing_field(name: str) -> Refusal:
    """Answer the refusal of a request that lacks a field."""
    return Refusal(400, f'field "{name}" is required and must not be empty')


def _is_empty(value: object) -> bool:
    return value is None or value == [] or (isinstance(value, str) and not value.strip())
