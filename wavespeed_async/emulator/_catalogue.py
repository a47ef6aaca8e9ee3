"""Which models there are, what they take as JSON Schema, and what they cost. Pure.

The schemas of models with a request class are made from that: there is no second list of fields.
They stand under v3, as all in the API's catalogue; the emulator takes the same fields under either
version. The prices are this emulator's own; the API's change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from wavespeed_async.emulator._requests import Refusal, read_json, read_request
from wavespeed_async.emulator._schemas import OTHER_MODELS
from wavespeed_async.models import Fits, Lora, request_classes
from wavespeed_async.models._fields import Between, Choice, Flag, Items, Number, Opt, Size
from wavespeed_async.models._request import sent_name

if TYPE_CHECKING:
    from wavespeed_async.emulator._requests import Submission
    from wavespeed_async.models import Request

__all__ = ["MILLION", "catalogue", "price_data", "price_of", "request_schema"]

MILLION = 1_000_000
PRICES: Mapping[str, int] = {
    "wavespeed-ai/flux-dev": 12_000,
    "wavespeed-ai/flux-dev-lora": 15_000,
    "wavespeed-ai/flux-redux-dev": 25_000,
    "wavespeed-ai/flux-fill-dev": 35_000,
    "wavespeed-ai/flux-kontext-dev/multi": 25_000,
}
USUAL_PRICE = 5_000
"""Millionths of a USD for one picture."""


def price_of(model: str, request: Submission) -> int:
    """Answer what a request costs, in millionths of a USD: so much for each picture."""
    return PRICES.get(model, USUAL_PRICE) * getattr(request, "num_images", 1)


def price_data(body: bytes) -> dict[str, Any]:
    """Tell what is asked in `{model_id, inputs}` would cost.

    Raises:
        Refusal: The model is not known, or it would refuse the inputs (400).
    """
    asked = read_json(body)
    model = asked.get("model_id")
    inputs = asked.get("inputs")
    if not isinstance(inputs, dict | None):
        raise Refusal(400, 'field "inputs" must be an object')
    request = read_request(str(model), inputs or {})
    price = price_of(str(model), request) / MILLION
    return {
        "model_id": model,
        "price": price,
        "discounted_price": price,
        "discount_rate": 0,
        "currency": "USD",
    }


def catalogue(origin: str) -> list[dict[str, Any]]:
    """List every model, as `GET /api/v3/models` does."""
    entries = {cls.model: _entry_of_class(cls, origin) for cls in request_classes()}
    for model, other in OTHER_MODELS.items():
        entries[model] = _entry(model, other.type, other.description, other.schema, origin)
    return [*entries.values()]


def request_schema(cls: type[Request]) -> dict[str, Any]:
    """Tell what a model takes, as JSON Schema."""
    return _object_schema(cls)


def _entry_of_class(cls: type[Request], origin: str) -> dict[str, Any]:
    schema = request_schema(cls)
    kind = "image-to-image" if "image" in schema["required"] else "text-to-image"
    about = (cls.__doc__ or "").partition("\n")[0]
    return _entry(cls.model, kind, about, schema, origin)


def _entry(
    model: str, kind: str, about: str, schema: Mapping[str, Any], origin: str
) -> dict[str, Any]:
    api = {
        "type": "model_run",
        "method": "POST",
        "server": origin,
        "api_path": f"/api/v3/{model}",
        "request_schema": schema,
    }
    return {
        "model_id": model,
        "name": model,
        "description": about,
        "type": kind,
        "base_price": PRICES.get(model, USUAL_PRICE) / MILLION,
        "api_schema": {"api_schemas": [api]},
    }


def _object_schema(cls: type[Any]) -> dict[str, Any]:
    declared = attrs.fields(cls)
    return {
        "type": "object",
        "properties": {sent_name(a): _field_schema(a) for a in declared},
        "required": [sent_name(a) for a in declared if a.default is attrs.NOTHING],
        "additionalProperties": False,
        "x-order-properties": [sent_name(a) for a in declared],
    }


def _field_schema(attribute: attrs.Attribute[Any]) -> dict[str, Any]:
    schema = {
        "title": attribute.name.replace("_", " ").capitalize(),
        **_rule_schema(attribute.validator),
    }
    default = attribute.default
    if default is not attrs.NOTHING and default is not None:
        schema["default"] = _plain(default)
    return schema


def _rule_schema(rule: Any) -> dict[str, Any]:
    rule = rule.rule if isinstance(rule, Opt) else rule
    about = {"description": rule.allowed}
    if isinstance(rule, Between | Number):
        bounds = {"minimum": rule.low, "maximum": rule.high}
        told = {word: bound for word, bound in bounds.items() if bound is not None}
        return {**about, "type": "integer" if rule.whole else "number", **told}
    if isinstance(rule, Flag):
        return {**about, "type": "boolean"}
    if isinstance(rule, Choice):
        return {**about, "type": "string", "enum": [*rule.words]}
    if isinstance(rule, Items):
        items = _object_schema(Lora) if rule.kind is Lora else _rule_schema(rule.rule)
        most = {} if rule.most is None else {"maxItems": rule.most}
        return {**about, "type": "array", "items": items, "minItems": rule.least, **most}
    return {**about, **_text_schema(rule)}


def _text_schema(rule: Any) -> dict[str, Any]:
    """Say what a rule allows that is of texts, or is a schema itself."""
    if isinstance(rule, Fits):
        told: dict[str, Any] = _plain(rule.schema)
        return told
    if isinstance(rule, Size):  # the range of a side, as the API has it
        return {"type": "string", "minimum": rule.low, "maximum": rule.high}
    return {"type": "string"}


def _plain(value: Any) -> Any:
    """Make what JSON can write of what is frozen."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
