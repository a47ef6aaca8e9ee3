"""What the API answers: a prediction, and the outcome of one request of a batch."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from wavespeed_async.models._request import Request, short

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

__all__ = ["Outcome", "Prediction", "Status"]


class Status(StrEnum):
    """Where a prediction stands.

    The five pages document created, processing, completed and failed; official clients know the
    others. What none of them knows is UNKNOWN, which counts as running until the deadline.
    """

    CREATED = "created"
    PENDING = "pending"
    QUEUED = "queued"
    STARTING = "starting"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    DELETED = "deleted"
    UNKNOWN = "unknown"

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self in _ENDED


_ENDED = frozenset(
    {Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.TIMEOUT, Status.DELETED}
)


@frozen(kw_only=True)
class Prediction:
    """Hold one prediction as the API told it last.

    Attributes:
        id: The API's name for it: 32 hexadecimal characters, good for 7 days.
        model: The model that makes it, such as `wavespeed-ai/flux-dev`.
        status: Where it stands.
        outputs: URLs, or base64 with or without a `data:` prefix; empty until completed.
        has_nsfw_contents: One bool for each output; empty where the API does not say.
        created_at: When it was created, with time zone (microseconds), or None.
        error: The API's words on what went wrong, or None.
        error_code: The API's number for it, or None.
        inference_ms: How long the model took, in milliseconds, or None.
        raw: The answer's `data` as it came.
        request: What was asked, with the seed that was drawn; None for one that was made elsewhere.
    """

    id: str
    model: str = ""
    status: Status = Status.UNKNOWN
    outputs: tuple[str, ...] = field(default=(), repr=short)
    has_nsfw_contents: tuple[bool, ...] = ()
    created_at: datetime | None = None
    error: str | None = field(default=None, repr=short)
    error_code: int | None = None
    inference_ms: int | None = None
    raw: Mapping[str, Any] = field(factory=dict, eq=False, repr=False)
    request: Request | None = field(default=None, eq=False, repr=False)


@frozen(kw_only=True)
class Outcome:
    """Hold what became of one request of a batch.

    Attributes:
        index: Its number in the batch, from 0.
        request: What was asked; None for an item that was a prediction or an id.
        prediction: As it was seen last; None where none is known.
        error: What went wrong, or None.
        paths: The files that hold its pictures, where the batch saved them.
    """

    index: int
    request: Request | None = None
    prediction: Prediction | None = None
    error: Exception | None = None
    paths: tuple[Path, ...] = ()

    def unwrap(self) -> Prediction:
        """Answer the finished prediction, or raise the error."""
        if self.error is not None:
            raise self.error
        if self.prediction is None:
            message = "an outcome without an error has a prediction"
            raise ValueError(message)
        return self.prediction
