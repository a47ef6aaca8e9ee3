"""Between the classes of this package and the API's JSON. Pure: no I/O, no clock.

Requests go out through cattrs, which knows the rules of the wire (None leaves a field out), so
that the request classes need not. Answers come in through functions that say what each part may
look like, because the API's answers vary (nulls, two timing fields, objects for URLs): what names
and drives a prediction must be right, what only decorates it may be missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import attrs

from wavespeed_async._prediction import Prediction, Status
from wavespeed_async.errors import (
    APIResponseError,
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    InsufficientCreditsError,
    InternalServerError,
    InvalidRequestError,
    ModerationError,
    NotFoundError,
    PermissionDeniedError,
    PredictionFailedError,
    RateLimitError,
)
from wavespeed_async.models._fields import Items, Opt
from wavespeed_async.models._images import Inline, Snapshot, local_images, replaced
from wavespeed_async.models._request import (
    FieldMap,
    Lora,
    RawRequest,
    Request,
    refuse_unknown,
    request_class,
    sent_name,
)

if TYPE_CHECKING:
    from cattrs import Converter

    from wavespeed_async.models._images import LocalImage

__all__ = [
    "decode_data",
    "decode_id",
    "decode_list",
    "decode_prediction",
    "encode_json",
    "encode_request",
    "failure",
    "prediction_of",
    "request_from",
    "request_of",
    "status_error",
]

# --- requests ------------------------------------------------------------------------------------


@cache
def _converter() -> Converter:
    """Make the converter, at the first request: to import cattrs takes a fifth of httpx's time."""
    from cattrs import Converter  # noqa: PLC0415 (as said above)
    from cattrs.gen import make_dict_unstructure_fn, override  # noqa: PLC0415 (as said above)

    converter = Converter()
    for kind in (Path, Snapshot, Inline):  # what is local stays as it is: it has no JSON
        converter.register_unstructure_hook(kind, lambda image: image)

    @converter.register_unstructure_hook_factory(
        lambda cls: attrs.has(cls) and issubclass(cls, Request)
    )
    def _without_none(cls: type[Request]) -> Callable[[Request], dict[str, Any]]:
        names: dict[str, Any] = {
            a.name: override(rename=sent_name(a))
            for a in attrs.fields(cls)  # type: ignore[arg-type]  # request classes are attrs classes
            if a.name != sent_name(a)
        }
        unstructure = make_dict_unstructure_fn(cls, converter, **names)
        return lambda request: {k: v for k, v in unstructure(request).items() if v is not None}

    @converter.register_unstructure_hook
    def _raw(request: RawRequest) -> dict[str, Any]:
        return {k: _thawed(v) for k, v in request.fields.items() if v is not None}

    @converter.register_unstructure_hook
    def _map(value: FieldMap) -> dict[str, Any]:
        return {k: _thawed(v) for k, v in value.items()}

    return converter


def _thawed(value: Any) -> Any:
    if isinstance(value, FieldMap):
        return {key: _thawed(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_thawed(item) for item in value]
    return value


def encode_request(
    request: Request, put: Callable[[LocalImage], Any] | None = None
) -> dict[str, Any]:
    """Turn a request into the documented parameters; every field is sent unless it is None.

    Args:
        request: What is asked.
        put: Says what stands for an image of this machine, which JSON cannot hold.

    Raises:
        InvalidRequestError: There is such an image, and nothing to stand for it.
    """
    body: dict[str, Any] = _converter().unstructure(request)
    found = next(local_images(body), None)
    if found is None:
        return body
    if put is None:
        raise InvalidRequestError.of(request.model, *found, "uploaded before it can be sent")
    named: dict[str, Any] = replaced(body, put)
    return named


def encode_json(body: Mapping[str, Any]) -> bytes:
    """Write JSON as UTF-8, compactly."""
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode()


def request_from(fields: Mapping[str, Any]) -> Request:
    """Build a request from one object of a file: its `model`, beside the model's own fields.

    A model without a class in this package becomes a RawRequest (its id needs a slash).

    Raises:
        InvalidRequestError: For an unknown field, a missing one, or a value out of range.
    """
    owner = "a request"
    if not isinstance(fields, Mapping):
        raise InvalidRequestError.of(owner, "it", fields, "an object with a model and its fields")
    values = dict(fields)
    model = values.pop("model", None)
    if not isinstance(model, str) or not model:
        raise InvalidRequestError.of(owner, "model", model, "the name of a model")
    known = request_class(model)
    if known is None:
        return RawRequest(model, values)
    refuse_unknown(known, values)
    given = {}
    for attribute in attrs.fields(known):  # type: ignore[arg-type]  # request classes are attrs classes
        name = sent_name(attribute)
        if name in values:
            given[attribute.name] = _with_loras(known.model, attribute, values[name])
        elif attribute.default is attrs.NOTHING:
            raise InvalidRequestError.of(known.model, name, None, "given: it is required")
    return known(**given)


def request_of(asked: Request | str, fields: Mapping[str, Any]) -> Request:
    """Take a request as it is, or build one from a model's id and its fields.

    Raises:
        InvalidRequestError: For an unknown field, a missing one, or a value out of range.
        TypeError: There are fields beside a request: it has its own.
    """
    if isinstance(asked, str):
        known = request_class(asked)
        if known is None:
            return RawRequest(asked, fields)
        refuse_unknown(known, fields)
        return request_from({**fields, "model": asked})
    if fields:
        message = f"a request has its own fields, so this is one too many: {next(iter(fields))}"
        raise TypeError(message)
    return asked


def _with_loras(model: str, attribute: attrs.Attribute[Any], value: Any) -> Any:
    """Make LoRAs out of the objects of a field that takes them."""
    rule: Any = attribute.validator
    rule = rule.rule if isinstance(rule, Opt) else rule
    if not (isinstance(rule, Items) and rule.kind is Lora and isinstance(value, list | tuple)):
        return value
    return tuple(_lora_from(model, attribute.name, item) for item in value)


def _lora_from(model: str, name: str, item: Any) -> Any:
    if not isinstance(item, Mapping):
        return item
    if item.keys() != {"path", "scale"}:
        raise InvalidRequestError.of(model, name, item, "objects of path and scale, both")
    return Lora(item["path"], item["scale"])


# --- answers -------------------------------------------------------------------------------------

STATUS_ERRORS: Mapping[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: InsufficientCreditsError,
    403: PermissionDeniedError,
    404: NotFoundError,
    429: RateLimitError,
}
"""Which error stands for which status; other 4xx are BadRequestError, 5xx InternalServerError."""

_SUCCESS = 200
_NO_CREDITS = re.compile(r"insufficient credits", re.IGNORECASE)
_SHOWN = 300
_MODERATION = 1200
_LARGEST_CODE = 10**9
_FOREVER = 10**12
_DIGITS = re.compile(r"\d{1,9}", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


def status_error(
    status: int,
    *,
    http_status: int,
    own_code: int | None = None,
    message: str = "",
    prediction_id: str | None = None,
    retry_after: float | None = None,
) -> APIStatusError:
    """Build the error for a status, or for an error code in an envelope under HTTP 200.

    The API tells a lack of credits by its message alone (400), so this one error is told by text.
    """
    fallback = {4: BadRequestError, 5: InternalServerError}.get(status // 100, APIStatusError)
    kind = STATUS_ERRORS.get(status, fallback)
    if kind is BadRequestError and _NO_CREDITS.search(message):
        kind = InsufficientCreditsError
    message = message[:_SHOWN]
    shown_code = "" if own_code in {None, http_status} else f", code {own_code}"
    text = f"{message or 'no message'} (HTTP {http_status}{shown_code})"
    error = kind(
        text,
        status_code=http_status,
        code=status if own_code is None else own_code,
        message=message,
        prediction_id=prediction_id,
    )
    if isinstance(error, RateLimitError):
        error.retry_after = retry_after
    return error


def decode_data(status: int, body: bytes, *, retry_after: float | None = None) -> Mapping[str, Any]:
    """Take the `data` out of an answer's envelope.

    Raises:
        APIStatusError: The API refused, by its HTTP status or by its code under HTTP 200.
        APIResponseError: This is not the API's envelope.
    """
    data = _enveloped(status, body, retry_after)
    if not isinstance(data, dict):
        _refuse("no data", status, body)
    return data


def decode_list(status: int, body: bytes, *, retry_after: float | None = None) -> Sequence[Any]:
    """Take `data` that is a list out of an answer's envelope.

    Raises:
        APIStatusError, APIResponseError: As `decode_data`.
    """
    data = _enveloped(status, body, retry_after)
    if not isinstance(data, list):
        _refuse("no list", status, body)
    return data


def _enveloped(status: int, body: bytes, retry_after: float | None) -> object:
    """Take whatever `data` is out of the envelope of a success."""
    found = _parsed(body)
    envelope: dict[str, Any] = found if isinstance(found, dict) else {}
    code, data = _whole(envelope.get("code")), envelope.get("data")
    told = code if _succeeded(status) else status
    if told is not None and not _succeeded(told):
        raise status_error(
            told,
            http_status=status,
            own_code=_whole(envelope.get("error_code")) if code is None else code,
            message=_text(envelope.get("message")) or _start(body),
            prediction_id=decode_id(data) if isinstance(data, dict) else None,
            retry_after=retry_after,
        )
    if not isinstance(found, dict):
        _refuse("no JSON object", status, body)
    return data


def _succeeded(status: int) -> bool:
    return status // 100 == 2  # noqa: PLR2004 (the class of success: 200 to 299)


def prediction_of(prediction: Prediction | str) -> Prediction:
    """Take a prediction, or an id that is safe in a path.

    Raises:
        InvalidRequestError: It is neither.
    """
    if isinstance(prediction, Prediction):
        return prediction
    if decode_id({"id": prediction}) is None:
        raise InvalidRequestError.of(
            owner="wait", field="prediction", value=prediction, allowed="a prediction or an id"
        )
    return Prediction(id=prediction)


def decode_id(data: Mapping[str, Any]) -> str | None:
    """Find a usable id: one that is safe in a path and in a file's name."""
    found = data.get("id")
    return found if isinstance(found, str) and _ID.fullmatch(found) else None


def decode_prediction(data: Mapping[str, Any], *, request: Request | None = None) -> Prediction:
    """Read a prediction; what only decorates it (times, flags) is left empty where unreadable.

    Raises:
        APIResponseError: Its id or status are missing or not what they must be.
    """
    identity, status = decode_id(data), data.get("status")
    if identity is None or not isinstance(status, str):
        _refuse("no id or no status", _SUCCESS, _json(data).encode(), identity)
    model = data.get("model")
    return Prediction(
        id=identity,
        model=model if isinstance(model, str) else request.model if request else "",
        status=Status(status) if status in _STATUSES else Status.UNKNOWN,
        outputs=_outputs(data.get("outputs")),
        has_nsfw_contents=_flags(data.get("has_nsfw_contents")),
        created_at=_time(data.get("created_at")),
        error=_text(data.get("error")),
        error_code=_whole(data.get("code")),
        inference_ms=_inference(data),
        raw=data,
        request=request,
    )


def failure(prediction: Prediction) -> PredictionFailedError | None:
    """Build the error of a prediction that ended without pictures; None for any other."""
    if not prediction.status.ended or prediction.status is Status.COMPLETED:
        return None
    code = "" if prediction.error_code is None else f" (code {prediction.error_code})"
    text = f"prediction {prediction.id} {_ENDINGS[prediction.status]}{code}"
    if prediction.error:
        text += f": {prediction.error[:_SHOWN]}"
    kind = ModerationError if prediction.error_code == _MODERATION else PredictionFailedError
    return kind(text, prediction=prediction)


_STATUSES = frozenset(Status) - {Status.UNKNOWN}
_ENDINGS = {
    Status.FAILED: "failed",
    Status.CANCELLED: "was cancelled",
    Status.DELETED: "was deleted",
    Status.TIMEOUT: "ran into the API's own time limit",
}


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):  # bad JSON, bad UTF-8, numbers or nesting beyond reason
        return None


def _refuse(what: str, status: int, body: bytes, identity: str | None = None) -> NoReturn:
    text = f"the answer (HTTP {status}) is not in the API's format: {what}"
    raise APIResponseError(text, status_code=status, body=_start(body), prediction_id=identity)


def _start(body: bytes) -> str:
    return body[:_SHOWN].decode("utf-8", "replace")


def _json(value: object) -> str:
    """Show a part of an answer again as text, for an error."""
    try:
        return json.dumps(value, default=repr)
    except RecursionError:  # what was just read may be too deep to be written
        return "nested too deeply"


def _outputs(value: object) -> tuple[str, ...]:
    """Read outputs: texts, or objects with a `url`; null is none yet.

    Whatever else a model puts there was paid for as well: it is handed on as JSON.
    """
    if value is None:
        return ()
    items = value if isinstance(value, list) else [value]
    found = [item.get("url", item) if isinstance(item, dict) else item for item in items]
    return tuple(item if isinstance(item, str) else _json(item) for item in found)


def _flags(value: object) -> tuple[bool, ...]:
    if isinstance(value, list) and all(isinstance(item, bool) for item in value):
        return tuple(value)
    return ()


def _time(value: object) -> datetime | None:
    """Read an ISO time of any precision; nanoseconds are cut to microseconds."""
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _text(value: object) -> str | None:
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else _json(value)


def _whole(value: object) -> int | None:
    """Read a code; 429.0 and "429" mean 429, true and what is beyond reason mean nothing."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if abs(value) < _LARGEST_CODE and value == int(value) else None


def _inference(data: Mapping[str, Any]) -> int | None:
    """Read the model's milliseconds: `timings.inference` (v3), else `executionTime` (v2)."""
    timings = data.get("timings")
    found = timings.get("inference") if isinstance(timings, dict) else None
    for value in (found, data.get("executionTime")):
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if 0 <= value < _FOREVER:  # NaN and Infinity are not: Python's JSON lets them in
            return round(value)
    return None
