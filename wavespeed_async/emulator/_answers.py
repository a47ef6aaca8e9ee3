"""How the API words its answers: envelopes, predictions, errors. Pure.

This is written from the API's description alone and shares nothing with the client's codec.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from wavespeed_async._prediction import Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wavespeed_async.emulator._records import PredictionRecord

__all__ = [
    "ERROR_PAGE",
    "MESSAGES",
    "envelope",
    "misled",
    "output_path",
    "prediction_data",
    "shaped",
    "timed_out",
    "webhook_data",
]

MESSAGES: Mapping[int, str] = {
    200: "success",
    400: "invalid request",
    401: "Invalid API key",
    403: "permission denied",
    404: "not found",
    405: "method not allowed",
    413: "file too large",
    429: "You have reached your concurrency limit",
    500: "internal server error",
    502: "bad gateway",
    503: "service unavailable",
    504: "gateway timeout",
}
"""A message for each status; those of 401 and 429 are the API's own, others are not known."""

ERROR_PAGE = """<html>
<head><title>Bad gateway</title></head>
<body><center><h1>Bad gateway</h1></center><hr><center>nginx</center></body>
</html>
"""
"""What a gateway answers by itself."""

ELSEWHERE = "https://elsewhere.example"
"""The origin of `urls.get` where it is wrong."""

_ENDINGS = {
    Status.CANCELLED: "the prediction was cancelled",
    Status.TIMEOUT: "the prediction timed out",
}
_EXECUTION_TIME_ONLY = ("v2", "wavespeed-ai/flux-dev")
_SYNC_TIMEOUT_CODE = 5004


def envelope(code: int, message: str = "", data: Any = None) -> dict[str, Any]:
    """Wrap an answer; an error has no `data`."""
    body: dict[str, Any] = {"code": code, "message": message or MESSAGES.get(code, "error")}
    return body if data is None else {**body, "data": data}


def output_path(prediction: PredictionRecord, number: int) -> str:
    """Name the path of one output, counted from 0; no key is needed to read it."""
    return f"/outputs/{prediction.id}/{number}.{prediction.output_format}"


def prediction_data(
    prediction: PredictionRecord,
    *,
    version: str,
    origin: str,
    epoch: float,
    outputs: Sequence[str] = (),
    submitted: bool = False,
) -> dict[str, Any]:
    """Tell a prediction as it stands.

    Both timing fields are told, but only `executionTime` where flux-dev's page describes the
    answer; they tell all of the time from creation to completion. A submission's answer has
    milliseconds in `created_at`, a result nanoseconds.
    """
    ended = prediction.status.ended
    ended = ended and prediction.status is not Status.DELETED
    created = epoch + prediction.created + prediction.skew
    inference = round((prediction.ready - prediction.started) * 1000) if ended else 0
    failure = prediction.failure if prediction.status is Status.FAILED else None
    data: dict[str, Any] = {
        "id": prediction.id,
        "model": prediction.model,
        "outputs": [*outputs],
        "urls": {"get": f"{origin}/api/{version}/predictions/{prediction.id}/result"},
        "has_nsfw_contents": [False] * len(outputs),
        "status": prediction.shown_status,
        "created_at": _timestamp(created, 3 if submitted else 9),
        "error": failure.message if failure else _ENDINGS.get(prediction.status, ""),
        "executionTime": inference,
        "timings": {"inference": inference},
    }
    if (version, prediction.model) == _EXECUTION_TIME_ONLY:
        del data["timings"]
    if failure:
        data["code"] = failure.code
    return data


def shaped(data: Mapping[str, Any], shape: str | None) -> dict[str, Any]:
    """Tell a prediction in another shape: with null lists, object outputs, or fields missing."""
    if shape == "null-lists":
        return {**data, "outputs": data["outputs"] or None, "has_nsfw_contents": None}
    if shape == "object-outputs":
        return {**data, "outputs": [{"url": output} for output in data["outputs"]]}
    if shape == "missing-fields":
        return {name: data[name] for name in ("id", "model", "status", "outputs")}
    return dict(data)


def misled(data: Mapping[str, Any]) -> dict[str, Any]:
    """Let `urls.get` lead to another server."""
    path = f"/api/v3/predictions/{data['id']}/result"
    return {**data, "urls": {"get": ELSEWHERE + path}}


def webhook_data(data: Mapping[str, Any], fields: Mapping[str, Any] | None) -> dict[str, Any]:
    """Tell a prediction as webhooks do: without `executionTime`, perhaps with what was asked."""
    told = {name: value for name, value in data.items() if name != "executionTime"}
    return told if fields is None else {**told, "input": fields}


def timed_out(data: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Say that sync mode gave up waiting; the prediction goes on."""
    error = (
        f"Sync mode timed out after {seconds:g} seconds. "
        "The prediction is still processing asynchronously."
    )
    status = str(Status.PROCESSING)
    return {**data, "status": status, "code": _SYNC_TIMEOUT_CODE, "error": error}


def _timestamp(seconds: float, digits: int) -> str:
    whole, nanoseconds = divmod(int(seconds * 1e9), 10**9)
    moment = datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{moment}.{f'{nanoseconds:09d}'[:digits]}Z"
