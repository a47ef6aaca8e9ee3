"""The names under which OpenTelemetry knows what happened. Pure.

Semantic conventions 1.41.1 (https://opentelemetry.io/schemas/1.41.1). Those for HTTP clients are
stable. Those for generative AI are in development; this is the last release that has them, before
they moved to a repository of their own. What neither has a name for begins with `wavespeed.`.

An image is `generate_content`, which is the conventions' operation for content of any kind. Where
none of the providers they list fits, they leave the name open.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

from wavespeed_async.models._request import OPEN_SEED, RawRequest, short

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wavespeed_async._events import RequestAnswered, RequestLost
    from wavespeed_async._prediction import Prediction
    from wavespeed_async.models._request import Request

__all__ = [
    "SCHEMA",
    "Attributes",
    "asked_in_words",
    "error_type",
    "made_in_words",
    "nanoseconds",
    "of_answer",
    "of_exchange",
    "of_operation",
    "of_prediction",
    "of_request",
    "of_server",
    "span_name",
    "template_of",
]

Attributes: TypeAlias = "dict[str, str | int | float | bool]"

SCHEMA = "https://opentelemetry.io/schemas/1.41.1"
OPERATION, PROVIDER = "generate_content", "wavespeed"
FIRST_ERROR = 400
IMAGES = ("image", "mask_image", "images")
PORTS = {"https": 443, "http": 80}


def of_server(server: str) -> Attributes:
    """Say where the API is."""
    url = urlsplit(server)
    return {"server.address": url.hostname or "", "server.port": url.port or PORTS[url.scheme]}


def of_operation(model: str) -> Attributes:
    """Say what is done, and by which model, where that is known."""
    told: Attributes = {"gen_ai.operation.name": OPERATION, "gen_ai.provider.name": PROVIDER}
    if model:
        told["gen_ai.request.model"] = model
    return told


def span_name(model: str) -> str:
    """Name the span of a prediction."""
    return f"{OPERATION} {model}" if model else OPERATION


def of_request(request: Request) -> Attributes:
    """Say what is asked for, without its content."""
    told: Attributes = {"gen_ai.output.type": "image"}
    seed, count = _asked(request, "seed"), _asked(request, "num_images")
    if _is_whole(seed) and seed != OPEN_SEED:
        told["gen_ai.request.seed"] = seed
    if _is_whole(count) and count != 1:
        told["gen_ai.request.choice.count"] = count
    return told


def of_prediction(prediction: Prediction) -> Attributes:
    """Say how a prediction stands."""
    told: Attributes = {
        "gen_ai.response.id": prediction.id,
        "wavespeed.prediction.status": str(prediction.status),
    }
    if prediction.model:
        told["gen_ai.response.model"] = prediction.model
    if prediction.status.ended:
        told["wavespeed.pictures"] = len(prediction.outputs)
    if prediction.error_code is not None:
        told["wavespeed.prediction.error_code"] = prediction.error_code
    return told


def of_exchange(event: RequestAnswered | RequestLost, server: str) -> Attributes:
    """Say what was sent to where, as one HTTP request, and what came back."""
    told: Attributes = {
        "http.request.method": event.method,
        "url.full": f"{server}{event.path}",
        "url.template": template_of(event),
        "wavespeed.request.kind": event.kind,
    }
    if event.prediction_id is not None:
        told["gen_ai.response.id"] = event.prediction_id
    return told | of_answer(event)


def of_answer(event: RequestAnswered | RequestLost) -> Attributes:
    """Say what came back: a status, or what the network did instead."""
    status = getattr(event, "status_code", None)
    if status is None:
        error = getattr(event, "error", None)
        return {"error.type": error_type(getattr(error, "__cause__", None) or error)}
    told: Attributes = {"http.response.status_code": status}
    if status >= FIRST_ERROR:
        told["error.type"] = str(status)
    return told


def template_of(event: RequestAnswered | RequestLost) -> str:
    """Answer a path without the prediction's id, so that there are few of them."""
    known = event.prediction_id
    return event.path if known is None else event.path.replace(known, "{id}")


def error_type(error: BaseException | None) -> str:
    """Name what went wrong; nothing did where a call was cancelled."""
    return "cancelled" if error is None else type(error).__qualname__


# --- content, where it is asked for ---------------------------------------------------------------


def asked_in_words(request: Request) -> Attributes:
    """Tell the prompt and the addresses of images, as the conventions have messages."""
    prompt = _asked(request, "prompt")
    parts: list[dict[str, str]] = []
    if isinstance(prompt, str):
        parts.append({"type": "text", "content": prompt})
    for name in IMAGES:
        value = _asked(request, name)
        images = value if isinstance(value, tuple) else (value,)
        parts += _images(image for image in images if image is not None)
    return {"gen_ai.input.messages": json.dumps([{"role": "user", "parts": parts}])}


def made_in_words(prediction: Prediction) -> Attributes:
    """Tell the addresses of the outputs, as the conventions have messages."""
    message = {
        "role": "assistant",
        "parts": _images(prediction.outputs),
        "finish_reason": str(prediction.status),
    }
    return {"gen_ai.output.messages": json.dumps([message])}


def _images(images: Iterable[object]) -> list[dict[str, str]]:
    """Tell images by their addresses; what is none, base64 say, is shortened."""
    shown = (
        image if isinstance(image, str) and image.startswith("http") else short(image)
        for image in images
    )
    return [{"type": "uri", "modality": "image", "uri": uri} for uri in shown]


def _asked(request: Request, name: str) -> Any:
    fields = request.fields if isinstance(request, RawRequest) else {}
    return fields.get(name, getattr(request, name, None))


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def nanoseconds(seconds: float) -> int:
    """Answer a time as OpenTelemetry counts it."""
    return int(seconds * 1e9)
