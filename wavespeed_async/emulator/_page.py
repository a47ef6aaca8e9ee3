"""The emulator's page for people: `GET /`, and the figures that it asks for once a second.

Neither is a request of the API: they need no key and count nowhere.
"""

from __future__ import annotations

import secrets
from bisect import bisect_left, bisect_right
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
from jinja2 import Environment, Template
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from wavespeed_async._prediction import Status
from wavespeed_async.emulator._answers import output_path
from wavespeed_async.emulator._pictures import SAMPLES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from starlette.requests import Request

    from wavespeed_async.emulator._faults import Faults
    from wavespeed_async.emulator._state import (
        PredictionRecord,
        RequestRecord,
        Settings,
        State,
    )

__all__ = ["figures", "page_routes"]

WINDOWS = 2
"""How many windows the plots reach back."""
STEPS = 120
LATEST, PICTURES = 14, 12
SHOWN = 300
NOT_COUNTED = {401, 429}

Lender: TypeAlias = "Callable[[], AbstractContextManager[tuple[State, float]]]"


def page_routes(settings: Settings, lend: Lender) -> list[Route]:
    """Answer the routes of the page, over a state that is lent for a moment each time."""

    async def show(_: Request) -> Response:
        nonce = secrets.token_urlsafe()
        text = _template().render(
            nonce=nonce, settings=_shown(settings), samples=[*SAMPLES], pictures=PICTURES
        )
        policy = (
            "default-src 'none'; connect-src 'self'; img-src 'self'; base-uri 'none'; "
            f"form-action 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'"
        )
        return HTMLResponse(text, headers={"Content-Security-Policy": policy})

    async def tell(_: Request) -> Response:
        with lend() as (state, now):
            since = bisect_left(state.requests, now - (WINDOWS + 1) * settings.per, key=_at)
            requests = state.requests[min(since, max(len(state.requests) - LATEST, 0)) :]
            predictions = state.predictions(now)
            totals = {
                "requests": len(state.requests),
                "refused": state.refused,
                "most_requests": state.most_requests_in_window,
                "most_running": state.most_running,
            }
        told = {**totals, **figures(now, settings, requests, predictions)}
        return JSONResponse(told, headers={"Cache-Control": "no-store"})

    return [Route("/", show), Route("/_state", tell)]


def figures(
    now: float,
    settings: Settings,
    requests: Sequence[RequestRecord],
    predictions: Sequence[PredictionRecord],
) -> dict[str, Any]:
    """Say how things stand, and how they did over the last windows. Pure."""
    length = settings.per
    moments = [now - WINDOWS * length * (STEPS - step) / STEPS for step in range(STEPS + 1)]
    counted = [record.at for record in requests if _is_counted(record, settings)]
    in_window = [
        bisect_right(counted, moment) - bisect_right(counted, moment - length) for moment in moments
    ]
    there = [prediction for prediction in predictions if not prediction.deleted]
    started = sorted(prediction.started for prediction in there)
    ready = sorted(prediction.ready for prediction in there)
    running = [bisect_right(started, moment) - bisect_right(ready, moment) for moment in moments]
    completed = [p for p in predictions if p.status is Status.COMPLETED]
    completed.sort(key=lambda prediction: prediction.ready, reverse=True)
    known = {prediction.id: prediction for prediction in predictions}
    return {
        "in_window": in_window,
        "running": running,
        "refusals": [
            round((now - record.at) / (WINDOWS * length), 4)
            for record in requests
            if record.status_code == 429 and now - record.at <= WINDOWS * length  # noqa: PLR2004 (429 is its name)
        ],
        "completed": len(completed),
        "failed": sum(p.status.ended for p in there) - len(completed),
        "latest": [_request(now, record, known) for record in reversed(requests[-LATEST:])],
        "pictures": [
            picture for prediction in completed[:PICTURES] for picture in _pictures(prediction)
        ][:PICTURES],
    }


def _at(record: RequestRecord) -> float:
    return record.at


def _is_counted(record: RequestRecord, settings: Settings) -> bool:
    return record.status_code not in NOT_COUNTED and (
        record.kind != "result" or settings.polls_count
    )


def _request(
    now: float, record: RequestRecord, known: dict[str, PredictionRecord]
) -> dict[str, Any]:
    prediction = known.get(record.prediction_id or "")
    return {
        "age": round(now - record.at, 1),
        "method": record.method,
        "path": record.path[:SHOWN],
        "kind": record.kind,
        "status": record.status_code,
        "about": _about(prediction) if prediction else "",
    }


def _pictures(prediction: PredictionRecord) -> list[dict[str, Any]]:
    about = {
        "about": _about(prediction),
        "model": prediction.model.rpartition("wavespeed-ai/")[2],
        "seed": prediction.seed,
    }
    return [{"src": output_path(prediction, n), **about} for n in range(prediction.count)]


def _about(prediction: PredictionRecord) -> str:
    prompt = getattr(prediction.request, "prompt", "")
    return prompt[:SHOWN] or "without a prompt"


def _shown(settings: Settings) -> dict[str, Any]:
    """List the settings for people; what has no place in a `repr` has none here."""
    shown = {}
    for attribute in attrs.fields(type(settings)):
        value = getattr(settings, attribute.name)
        if not attribute.repr:
            value = "not set" if value is None else "set"
        shown[attribute.name] = value
    return {**shown, "faults": _changed(settings.faults)}


def _changed(faults: Faults) -> str:
    """List what goes wrong on purpose."""
    changed = {a.name: getattr(faults, a.name) for a in attrs.fields(type(faults))}
    usual = {a.name: a.default for a in attrs.fields(type(faults))}
    told = [f"{name} {value}" for name, value in changed.items() if value != usual[name]]
    return ", ".join(told) or "none"


@cache
def _template() -> Template:
    text = files("wavespeed_async.emulator").joinpath("page.html.j2").read_text("utf-8")
    return Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(text)
