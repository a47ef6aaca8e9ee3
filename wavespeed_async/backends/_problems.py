"""What a visitor is told of an error: problem details (RFC 9457), by a table over the whole tree.

The visitor learns what they can do: mend a field, come back later, ask again by an id. What went
wrong with the account or the API is no business of theirs: such an error gives its status and a
general sentence, no word of its own, and goes to the log instead.

`type` is a name to compare, `urn:problem-type:wavespeed-async:…`; nothing is to be fetched there.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import evolve, field, frozen

from wavespeed_async.errors import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    CostLimitError,
    DeliveryError,
    InsufficientCreditsError,
    InternalServerError,
    InvalidRequestError,
    JournalError,
    LimiterTimeoutError,
    ModerationError,
    NotFoundError,
    PermissionDeniedError,
    PredictionError,
    PredictionFailedError,
    PredictionTimeoutError,
    RateLimitError,
    SubmissionUnconfirmedError,
    WaveSpeedError,
    WebhookVerificationError,
    shown,
)

if TYPE_CHECKING:
    from wavespeed_async.limits import AnyLimiter

__all__ = ["MEDIA_TYPE", "TABLE", "Problem", "problem_of", "tell"]

MEDIA_TYPE = "application/problem+json"
NAMES = "urn:problem-type:wavespeed-async:"
TO_BE_MENDED = frozenset({1400, 1401, 1402})
"""A failed prediction's codes for a parameter that is missing, invalid, or media out of reach."""

Members: TypeAlias = Mapping[str, object]


@frozen(kw_only=True)
class Problem:
    """Hold what is answered in place of what was asked for.

    Attributes:
        status: The HTTP status.
        kind: The end of `type`, such as `invalid-request`.
        title: What it is, the same each time.
        detail: What it is this time; None where that is the operator's business.
        members: What a program needs to go on: the field, the prediction's id.
        retry_after: Whole seconds until it is worth coming back, or None.
        is_fault: Whether the operator has to hear of it.
    """

    status: int
    kind: str
    title: str
    detail: str | None = None
    members: Members = field(factory=dict)
    retry_after: int | None = None
    is_fault: bool = False

    def content(self) -> dict[str, Any]:
        """Answer the members of the JSON object."""
        own = {"type": NAMES + self.kind, "title": self.title, "status": self.status}
        detail = {} if self.detail is None else {"detail": self.detail}
        return {**self.members, **own, **detail}

    def body(self) -> bytes:
        """Write the JSON object."""
        return json.dumps(self.content(), ensure_ascii=False, allow_nan=False).encode(
            "utf-8", "replace"
        )

    def headers(self) -> dict[str, str]:
        """Answer the headers that go with it."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


@frozen
class _Row:
    """Say what one kind of error is for a visitor.

    Attributes:
        problem: What is the same each time.
        detail: What of the error itself may be told, in words.
        members: The same, for programs.
        later: Whether it is worth coming back.
    """

    problem: Problem
    detail: Callable[[Any], str | None] = lambda _: None
    members: Callable[[Any], Members] = lambda _: {}
    later: bool = False


def _fault(status: int, kind: str, title: str) -> Problem:
    return Problem(status=status, kind=kind, title=title, is_fault=True)


def _invalid(error: InvalidRequestError) -> Members:
    value = error.value
    plain = isinstance(value, bool | None) or (
        isinstance(value, int | float) and shown(value) == repr(value) and math.isfinite(value)
    )
    told = value if plain else shown(value)
    return {"field": error.field, "value": told, "allowed": error.allowed}


def _unconfirmed(error: SubmissionUnconfirmedError) -> Members:
    request = error.request
    seed = getattr(request, "seed", None)
    known = {} if request is None else {"model": request.model}
    return known if seed is None else {**known, "seed": seed}


def _last_seen(error: PredictionError) -> Members:
    return {} if error.prediction is None else {"prediction_status": str(error.prediction.status)}


def _reason(error: PredictionFailedError) -> Members:
    code = None if error.prediction is None else error.prediction.error_code
    return _last_seen(error) if code is None else {**_last_seen(error), "code": code}


_INTERNAL = _Row(_fault(500, "internal", "Something is wrong at this server."))
_UNAVAILABLE = _Row(_fault(503, "unavailable", "No pictures can be made at the moment."))
_NO_ANSWER = _Row(_fault(502, "no-answer", "The picture service gave no usable answer."))
_BUSY = Problem(status=503, kind="busy", title="Too many pictures are asked for at the moment.")
_FAILED = _fault(502, "prediction-failed", "The picture could not be made.")
_TO_MEND = Problem(
    status=422, kind="refused", title="The picture service refuses what was asked for."
)

TABLE: Mapping[type[WaveSpeedError], _Row] = {
    WaveSpeedError: _INTERNAL,
    ConfigurationError: _INTERNAL,
    InvalidRequestError: _Row(
        Problem(status=422, kind="invalid-request", title="A field cannot be as it is."),
        detail=str,
        members=_invalid,
    ),
    LimiterTimeoutError: _Row(_BUSY, later=True),
    APIConnectionError: _NO_ANSWER,
    SubmissionUnconfirmedError: _Row(
        _fault(502, "unconfirmed", "The picture may be in the making, or not: nobody knows yet."),
        detail=lambda _: "Asking for it again may make, and bill, it twice.",
        members=_unconfirmed,
    ),
    APIResponseError: _NO_ANSWER,
    APIStatusError: _NO_ANSWER,
    BadRequestError: _Row(_TO_MEND, detail=lambda error: error.message or None),
    InsufficientCreditsError: _UNAVAILABLE,
    AuthenticationError: _UNAVAILABLE,
    PermissionDeniedError: _UNAVAILABLE,
    NotFoundError: _Row(
        Problem(status=404, kind="not-found", title="There is no such prediction, or no longer.")
    ),
    RateLimitError: _Row(_BUSY, later=True),
    InternalServerError: _NO_ANSWER,
    PredictionError: _Row(_FAILED, members=_last_seen),
    PredictionFailedError: _Row(_FAILED, members=_reason),
    ModerationError: _Row(
        Problem(
            status=422, kind="moderated", title="Content moderation refused what was asked for."
        ),
        members=_reason,
    ),
    PredictionTimeoutError: _Row(
        Problem(status=504, kind="timeout", title="The picture is still being made."),
        detail=lambda _: "It goes on without a listener: its prediction_id finds it again.",
        members=_last_seen,
    ),
    WebhookVerificationError: _Row(
        Problem(status=401, kind="not-verified", title="This call is not shown to be from the API.")
    ),
    DeliveryError: _Row(
        _fault(503, "not-delivered", "This could not be handed on; it is worth calling again.")
    ),
    JournalError: _INTERNAL,
    CostLimitError: _UNAVAILABLE,
}
"""Every class of the tree, with what a visitor is told of it."""


def problem_of(error: Exception, limiter: AnyLimiter | None = None) -> Problem:
    """Find what a visitor is told of an error; of another package's error, nothing but that.

    Args:
        error: What was raised.
        limiter: Says by how many waiting callers it is worth coming back later.
    """
    if not isinstance(error, WaveSpeedError):
        return _INTERNAL.problem
    row = next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)
    problem, detail = row.problem, row.detail(error)
    if isinstance(error, PredictionFailedError) and _is_to_be_mended(error):
        problem, detail = _TO_MEND, error.prediction.error  # type: ignore[union-attr]  # it has one
    known = {} if error.prediction_id is None else {"prediction_id": error.prediction_id}
    return evolve(
        problem,
        detail=detail,
        members={**row.members(error), **known},
        retry_after=_retry_after(error, limiter) if row.later else None,
    )


def _is_to_be_mended(error: PredictionFailedError) -> bool:
    return error.prediction is not None and error.prediction.error_code in TO_BE_MENDED


def _retry_after(error: WaveSpeedError, limiter: AnyLimiter | None) -> int:
    """Tell in how many seconds to come back: what the API asked for, else when the queue is over.

    Those who wait now need at least one request each.
    """
    asked = error.retry_after if isinstance(error, RateLimitError) else None
    if asked is None:
        limits = None if limiter is None else limiter.limits
        waiting = 0 if limiter is None else limiter.waiting
        asked = 1.0 if limits is None else (waiting + 1) * limits.per / limits.requests
    return max(1, math.ceil(asked))


def tell(error: Exception, problem: Problem) -> None:
    """Write into the log what the operator has to hear of, and the visitor does not."""
    if problem.is_fault:
        _log.error("answered %d (%s): %s", problem.status, problem.kind, error, exc_info=error)


_log = logging.getLogger("wavespeed_async")
