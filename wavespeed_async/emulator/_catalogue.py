"""Which models there are, what they take as JSON Schema, and what they cost. Pure.

The schemas of models with a request class are made from that: there is no second list of fields.
They stand under v3, as all in the API's catalogue; the emulator takes the same fields under either
version. The prices are this emulator's own; the API's change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from wavespeed_async.emulator._requests import Refusal, read_json, read_request
from wavespeed_async.emulator._schemas import OTHER_MODELS
from wavespeed_async.models import Lora, request_classes
from wavespeed_async.models._fields import Between, Choice, Flag, Items, Opt, Size

if TYPE_CHECKING:
    from collections.abc import Mapping

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
        "properties": {a.name: _field_schema(a) for a in declared},
        "required": [a.name for a in declared if a.default is attrs.NOTHING],
        "additionalProperties": False,
        "x-order-properties": [a.name for a in declared],
    }


def _field_schema(attribute: attrs.Attribute[Any]) -> dict[str, Any]:
    schema = {
        "title": attribute.name.replace("_", " ").capitalize(),
        **_rule_schema(attribute.validator),
    }
    if attribute.default not in {attrs.NOTHING, None}:
        default = attribute.default
        schema["default"] = [*default] if isinstance(default, tuple) else default
    return schema


def _rule_schema(rule: Any) -> dict[str, Any]:
    rule = rule.rule if isinstance(rule, Opt) else rule
    about = {"description": rule.allowed}
    if isinstance(rule, Between):
        kind = "integer" if rule.whole else "number"
        return {**about, "type": kind, "minimum": rule.low, "maximum": rule.high}
    if isinstance(rule, Flag):
        return {**about, "type": "boolean"}
    if isinstance(rule, Choice):
        return {**about, "type": "string", "enum": [*rule.words]}
    if isinstance(rule, Items):
        items = _object_schema(Lora) if rule.kind is Lora else _rule_schema(rule.rule)
        most = {} if rule.most is None else {"maxItems": rule.most}
        return {**about, "type": "array", "items": items, "minItems": rule.least, **most}
    if isinstance(rule, Size):  # the range of a side, as the API has it
        return {**about, "type": "string", "minimum": rule.low, "maximum": rule.high}
    return {**about, "type": "string"}
