"""One account of the API, by a clock made of numbers: what the tests of the state share."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from wavespeed_async.emulator._records import Call, PredictionRecord, Reply
from wavespeed_async.emulator._settings import Settings
from wavespeed_async.emulator._state import State

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = {"authorization": "Bearer k"}
FLUX = "/api/v2/wavespeed-ai/flux-dev"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


def until(condition: Callable[[], Any], seconds: float = 5.0) -> None:
    """Wait for something that happens in another thread."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def made(**settings: Any) -> State:
    return State(Settings(**{"latency": 10.0, "latency_cv": 0.0, **settings}))


def call(method: str, path: str, body: object = None, **more: Any) -> Call:
    raw = b"" if body is None else json.dumps(body).encode()
    headers = {**KEY, **more.pop("headers", {})}
    return Call(method=method, path=path, headers=headers, body=raw, **more)


def submission(path: str = FLUX, /, **fields: Any) -> Call:
    return call("POST", path, fields)


def poll(prediction_id: str, **headers: str) -> Call:
    return call("GET", f"/api/v3/predictions/{prediction_id}/result", headers=headers)


def submitted(state: State, now: float, /, **fields: Any) -> PredictionRecord:
    prediction = state.receive(now, submission(**fields)).prediction
    assert prediction is not None
    return prediction


def message(reply: Reply) -> Any:
    assert isinstance(reply.body, dict)
    assert reply.body["code"] == reply.status
    assert "data" not in reply.body
    return reply.body["message"]


def data(reply: Reply) -> Any:
    assert reply.status == 200
    assert isinstance(reply.body, dict)
    return reply.body["data"]
