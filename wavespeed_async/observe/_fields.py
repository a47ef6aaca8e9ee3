"""An event as plain fields under stable names, without what is nobody's business. Pure.

Left out, unless asked for: what was asked (prompts, addresses of images), what came of it, names
and addresses of files, and what the API says in words, since that may repeat any of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from wavespeed_async._prediction import Status
from wavespeed_async.errors import (
    APIConnectionError,
    APIStatusError,
    LimiterTimeoutError,
    WaveSpeedError,
)
from wavespeed_async.models._request import short

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wavespeed_async._events import Event
    from wavespeed_async._prediction import Prediction
    from wavespeed_async.models._request import Request

__all__ = ["fields_of", "own_words"]

_OWN_WORDS = (APIConnectionError, LimiterTimeoutError)
"""Errors whose words are this package's and the network's; those of their subclasses may not be."""

_CONTENT = {"image", "url", "reason"}
"""Fields of events that are told only where content is asked for."""


def fields_of(event: Event, *, content: bool = False) -> dict[str, Any]:
    """Answer the fields of an event that have a value, its name and its call first.

    Args:
        event: What happened.
        content: Whether to tell what was asked, what came of it, and what the API said.
    """
    told: dict[str, Any] = {"event": type(event).__name__, "call": event.call}
    for attribute in attrs.fields(type(event)):
        name = attribute.name
        value = getattr(event, name)
        if value is None or name in {"at", "call"} or (name in _CONTENT and not content):
            continue
        split = _SPLIT.get(name)
        told.update({name: value} if split is None else split(value, content))
    return {name: value for name, value in told.items() if value is not None}


def own_words(error: Exception) -> str | None:
    """Answer an error's words, if they cannot repeat what was asked."""
    return str(error) if type(error) in _OWN_WORDS else None


def _of_prediction(prediction: Prediction, content: bool) -> dict[str, Any]:
    completed = prediction.status is Status.COMPLETED
    told: dict[str, Any] = {
        "prediction_id": prediction.id,
        "model": prediction.model or None,
        "status": str(prediction.status),
        "error_code": prediction.error_code,
        "pictures": len(prediction.outputs) if completed else None,
    }
    if content:
        told["outputs"] = [short(output) for output in prediction.outputs]
        told["error_message"] = prediction.error
    return told


def _of_request(request: Request, content: bool) -> dict[str, Any]:
    return {"model": request.model, "request": repr(request) if content else None}


def _of_error(error: Exception, content: bool) -> dict[str, Any]:
    told: dict[str, Any] = {
        "error": type(error).__name__,
        "error_message": str(error) if content else own_words(error),
    }
    if isinstance(error, WaveSpeedError) and error.prediction_id is not None:
        told["prediction_id"] = error.prediction_id
    if isinstance(error, APIStatusError):
        told |= {"status_code": error.status_code, "error_code": error.code}
    return told


def _of_paths(paths: tuple[object, ...], content: bool) -> dict[str, Any]:
    return {"files": len(paths), "paths": [str(path) for path in paths] if content else None}


_SPLIT: Mapping[str, Callable[[Any, bool], dict[str, Any]]] = {
    "prediction": _of_prediction,
    "about": _of_prediction,
    "request": _of_request,
    "asked": _of_request,
    "error": _of_error,
    "paths": _of_paths,
}
"""How fields are told that are more than a value."""
