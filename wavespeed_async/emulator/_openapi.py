"""What the emulator serves, as an OpenAPI document made from what it serves it by. Pure.

Models and fields come from the request classes, their bounds from the validators, the endpoints
from the routing. It tells what is accepted more exactly than the catalogue does, which has the
API's own form: patterns, null for a field left out, unknown fields dropped in silence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from starlette.responses import JSONResponse
from starlette.routing import Route

from wavespeed_async._prediction import Status
from wavespeed_async.emulator._answers import MESSAGES
from wavespeed_async.emulator._catalogue import catalogue, request_schema
from wavespeed_async.emulator._requests import LOOSE_MODELS
from wavespeed_async.emulator._store import MOST_A_PAGE
from wavespeed_async.emulator._uploads import MEDIA_TYPES
from wavespeed_async.models import Lora, request_classes
from wavespeed_async.models._fields import Items, Media, Opt, Size, Text
from wavespeed_async.models._request import sent_name

if TYPE_CHECKING:
    from starlette.requests import Request

    from wavespeed_async.emulator._settings import Settings

__all__ = ["document", "openapi_route"]

Schema = dict[str, Any]

_BLANK = r"\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
FILLED = f"[^{_BLANK}]"
"""A text that is not blank, by what Python takes for blank."""
_HOST = (
    rf"[^{_BLANK}\x00-\x08\x0e-\x1b\x7f/?#@:\[\]\u2047-\u2049\u2100\u2101\u2105\u2106"
    r"\u2a74\ufe13\ufe16\ufe55\ufe56\ufe5f\ufe6b\uff03\uff0f\uff1a\uff1f\uff20]"
)
"""What may stand in a host: nothing that is, or becomes by normalisation, a delimiter."""
_REST = rf"[^{_BLANK}\x00-\x08\x0e-\x1b\x7f]"
WEB = rf"[Hh][Tt][Tt][Pp][Ss]?://{_HOST}+(?:[/?#]{_REST}*)?"
"""The addresses that are generated; others, with users and ports, are accepted, too."""
DATA = r"data:[^,]*,[\s\S]+"
BASE64 = "(?=.)(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
PICTURE_NAME = r"^[\s\S]*\.(?:[Pp][Nn][Gg]|[Jj][Pp][Ee]?[Gg]|[Ww][Ee][Bb][Pp]|[Gg][Ii][Ff]|[Bb][Mm][Pp]|[Tt][Ii][Ff]{1,2})$"  # noqa: E501 (one pattern)
_DAY = (
    "(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])"
    "|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
)
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?"
_ZONE = "(?:Z|[+-](?:0[0-9]|1[0-3]):[0-5][0-9])?"
MOMENT = f"^(?!0000)[0-9]{{4}}-{_DAY}(?:[T ]{_CLOCK}{_ZONE})?$"
"""A time as ISO 8601 has it; the rarer of its forms are accepted, too."""
TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
WHOLE: Schema = {"type": "integer"}


def openapi_route(settings: Settings) -> Route:
    """Answer the route of the document."""

    async def tell(request: Request) -> JSONResponse:
        return JSONResponse(document(settings, str(request.base_url).rstrip("/")))

    return Route("/openapi.json", tell)


def document(settings: Settings, origin: str) -> Schema:
    """Describe every endpoint of the API."""
    ids = [_path("prediction_id")]
    submissions = {
        f"/api/{version}/{model}": {"post": _submission(model, schema)}
        for model, schema in _models().items()
        for version in ("v2", "v3")
    }
    result = _operation("Ask how a prediction stands", _ref("Prediction"), 404, parameters=ids)
    results = {
        f"/api/{path}": {"get": result}
        for path in (
            "v2/predictions/{prediction_id}/result",
            "v3/predictions/{prediction_id}/result",
            "v3/predictions/{prediction_id}",
        )
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "WaveSpeedAI emulator", "version": "3"},
        "servers": [{"url": origin}],
        "security": [{"key": []}],
        "paths": {**submissions, **results, **_small(settings)},
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Prediction": _prediction(), "Error": _error(), "Upload": _upload()},
        },
    }


# --- what is asked -------------------------------------------------------------------------------


def _models() -> dict[str, Schema]:
    """Say what each model takes."""
    known = {cls.model: _accepted(cls) for cls in request_classes()}
    # The other models take anything: what is unusable becomes a default.
    loose: dict[str, Schema] = {model: {"type": "object"} for model in LOOSE_MODELS}
    return {**loose, **known}


def _accepted(cls: type[Any]) -> Schema:
    """Say exactly what is accepted: null leaves a field out, an unknown one is dropped."""
    told = request_schema(cls)
    properties = {
        sent_name(a): _exact(
            a.validator, told["properties"][sent_name(a)], optional=a.default is not attrs.NOTHING
        )
        for a in attrs.fields(cls)
    }
    return {"type": "object", "properties": properties, "required": told["required"]}


def _exact(rule: Any, told: Schema, *, optional: bool) -> Schema:
    """Add to a field's schema what JSON Schema can say of its rule."""
    rule = rule.rule if isinstance(rule, Opt) else rule
    schema = {**told, **_pattern(rule)}
    if isinstance(rule, Size):
        del schema["minimum"], schema["maximum"]  # of its sides: to JSON Schema a text has none
    if isinstance(rule, Items):
        schema["items"] = (
            _accepted(Lora)
            if rule.kind is Lora
            else _exact(rule.rule, told["items"], optional=False)
        )
    if optional:
        schema["type"] = [told["type"], "null"]
        if "enum" in told:
            schema["enum"] = [*told["enum"], None]
    return schema


def _pattern(rule: Any) -> Schema:
    if isinstance(rule, Size):
        side = f"(?:{_numerals(rule.low, rule.high)})"
        return {"pattern": rf"^{side}\*{side}$"}
    if isinstance(rule, Media):
        forms = [WEB, DATA, *([BASE64] if rule.base64 else []), *([] if rule.required else [""])]
        return {"pattern": f"^(?:{'|'.join(forms)})$"}
    return {"pattern": FILLED} if isinstance(rule, Text) and rule.required else {}


def _numerals(low: int, high: int) -> str:
    """Write a pattern of the whole numbers from `low` to `high`."""
    first, last = str(low), str(high)
    if len(first) < len(last):
        nines = 10 ** len(first) - 1
        return f"{_numerals(low, nines)}|{_numerals(nines + 1, high)}"
    return _between(first, last)


def _between(first: str, last: str) -> str:
    """The same for numerals of one length."""
    if first == last:
        return first
    if len(first) == 1:
        return f"[{first}-{last}]"
    low, high, rest = first[0], last[0], len(first) - 1
    if low == high:
        return f"{low}(?:{_between(first[1:], last[1:])})"
    parts = [
        f"{low}(?:{_between(first[1:], '9' * rest)})",
        f"{high}(?:{_between('0' * rest, last[1:])})",
    ]
    if int(high) - int(low) > 1:
        parts.append(f"[{int(low) + 1}-{int(high) - 1}][0-9]{{{rest}}}")
    return "|".join(parts)


def _object(required: Schema, **optional: Schema) -> Schema:
    properties = {**required, **{name: _or_null(schema) for name, schema in optional.items()}}
    return {"type": "object", "properties": properties, "required": [*required]}


def _or_null(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]} if "type" in schema else schema


# --- the endpoints -------------------------------------------------------------------------------


def _submission(model: str, schema: Schema) -> Schema:
    webhook = {"name": "webhook", "in": "query", "schema": TEXT}
    return _operation(
        f"Submit to {model}",
        _ref("Prediction"),
        400,
        body=("application/json", schema),
        parameters=[webhook],
    )


def _small(settings: Settings) -> Schema:
    size, ref = {"minimum": 1, "maximum": settings.upload_limit, **WHOLE}, _ref("Upload")
    file = {"type": "string", "format": "binary", "description": ", ".join(MEDIA_TYPES)}
    wanted = {"filename": {"pattern": FILLED, **TEXT}, "size": size}
    ticket = {
        "anyOf": [
            _object({**wanted, "filename": {"pattern": PICTURE_NAME, **TEXT}}),
            _object({**wanted, "content_type": {"enum": [*MEDIA_TYPES.values()]}}),
        ]
    }
    page_size = {"minimum": 1, "maximum": MOST_A_PAGE, **WHOLE}
    text, moment = {"minLength": 1, **TEXT}, {"pattern": MOMENT, **TEXT}
    query = _object(
        {},
        page={"minimum": 1, **WHOLE},
        page_size=page_size,
        model=text,
        status=text,
        created_after=moment,
        created_before=moment,
        include_inputs={"description": "true adds what was asked; anything else does not"},
    )
    items = {"type": "array", "items": _ref("Prediction")}
    listing = _object({"page": WHOLE, "total": WHOLE, "items": items})
    price = _object(
        {"model_id": TEXT, "price": NUMBER, "discounted_price": NUMBER, "discount_rate": NUMBER}
    )
    models = {"type": "array", "items": _model(), "minItems": len(catalogue(""))}
    ids = {"type": "array", "items": TEXT}
    return {
        "/api/v3/predictions": _post("List predictions", listing, 400, body=query),
        "/api/v3/predictions/delete": _post(
            "Delete predictions", _object({"deleted_count": WHOLE}), 400, body=_object({"ids": ids})
        ),
        "/api/v3/media/upload/binary": _post(
            "Upload a file", ref, 400, 413, body=_object({"file": file}), kind="multipart/form-data"
        ),
        "/api/v3/media/uploads": _post("Ask to upload a file", ref, 400, 413, body=ticket),
        "/api/v3/model/price": _post("Ask for a price", price, 400, body=_priced()),
        "/api/v3/balance": {"get": _operation("Ask for the balance", _object({"balance": NUMBER}))},
        "/api/v3/models": {"get": _operation("List models", models)},
        "/api/v3/webhook/secret": {
            "get": _operation("Ask for the webhook secret", _object({"secret": TEXT}))
        },
    }


def _priced() -> Schema:
    """Say of which models and inputs a price can be asked; inputs may be left out if all may."""
    forms = []
    for model, schema in _models().items():
        named = {"model_id": {"const": model}}
        is_required = bool(schema.get("required"))
        forms.append(
            _object({**named, "inputs": schema}) if is_required else _object(named, inputs=schema)
        )
    return {"anyOf": forms}


def _post(summary: str, data: Schema, *errors: int, body: Schema, kind: str = "") -> Schema:
    sent = (kind or "application/json", body)
    return {"post": _operation(summary, data, *errors, body=sent)}


def _operation(
    summary: str,
    data: Schema,
    *errors: int,
    body: tuple[str, Schema] | None = None,
    parameters: list[Schema] | None = None,
) -> Schema:
    success = _object({"code": {"const": 200}, "message": TEXT, "data": data})
    operation: Schema = {
        "summary": summary,
        "responses": {
            "200": _answer(MESSAGES[200], success),
            **{
                str(code): _answer(MESSAGES[code], _ref("Error"))
                for code in sorted({401, 429, *errors})
            },
        },
    }
    if body is not None:
        kind, schema = body
        content: Schema = {"schema": schema}
        if kind != "application/json":
            content["encoding"] = {"file": {"contentType": ", ".join(MEDIA_TYPES.values())}}
        operation["requestBody"] = {"required": True, "content": {kind: content}}
    return {**operation, "parameters": parameters} if parameters else operation


def _path(name: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": {**TEXT, "minLength": 1}}


def _answer(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


# --- what is answered ----------------------------------------------------------------------------


def _prediction() -> Schema:
    texts = {"type": "array", "items": TEXT}
    time = {"format": "date-time", **TEXT}
    flags = {"type": "array", "items": {"type": "boolean"}}
    statuses = [str(status) for status in Status if status is not Status.UNKNOWN]
    required = {
        "id": {"pattern": "^[0-9a-f]{32}$", **TEXT},
        "model": TEXT,
        "outputs": texts,
        "urls": _object({"get": TEXT}),
        "has_nsfw_contents": flags,
        "status": {"enum": statuses},
        "created_at": time,
        "error": TEXT,
        "executionTime": WHOLE,
    }
    return _object(required, timings=_object({"inference": WHOLE}), code=WHOLE)


def _error() -> Schema:
    codes = [code for code in MESSAGES if code != 200]  # noqa: PLR2004 (what is no error)
    return {
        **_object({"code": {"enum": codes}, "message": TEXT}),
        "not": {"required": ["data"]},
    }


def _upload() -> Schema:
    headers = {"type": "object", "additionalProperties": TEXT}
    instruction = _object({"method": {"const": "PUT"}, "url": TEXT, "headers": headers})
    told = {"type": TEXT, "download_url": TEXT, "filename": TEXT, "size": WHOLE}
    return _object(told, upload=instruction)


def _model() -> Schema:
    return _object({"model_id": TEXT, "base_price": NUMBER, "api_schema": {"type": "object"}})
