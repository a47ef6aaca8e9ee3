"""What a journal tells its readers: entries with their times, requests of the API, runs."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EntryRecord", "RequestSentRecord", "RunRecord", "State"]


class State(StrEnum):
    """Where an entry stands.

    QUEUED: nothing was sent, or it was refused. UNCONFIRMED: its submission may have arrived (in a
    run that goes on: it is on its way). RUNNING: its prediction is not known to have ended. MADE:
    completed, without files. SAVED: completed, with files. FAILED: ended without pictures.
    """

    QUEUED = "queued"
    UNCONFIRMED = "unconfirmed"
    RUNNING = "running"
    MADE = "made"
    SAVED = "saved"
    FAILED = "failed"


@frozen(kw_only=True)
class EntryRecord:
    """Hold one request of a journal; times are Unix seconds, None for what has not happened.

    Attributes:
        entry: Its number in the journal.
        position: Its number in the input of the run that asked for it last, from 0.
        asked: Whether the last run has asked for it (so far).
        model: The model's id; empty for an item that was a bare id.
        fields: What was sent; a picture as base64 stands there by its length and digest.
        seed: The seed that was sent, drawn or asked for.
        queued: When it was first taken from the input.
        intended: When its submission left.
        absent: When the API's list was found not to have its submission.
        submitted: When its submission was answered: it runs, or waits in the API's queue.
        ended: When it was seen to have ended.
        saved: When its files were whole.
        prediction: The prediction's id.
        status: How it ended, in the API's word.
        inference_ms: How long the model took, by the API.
        outputs: URLs; an output that came as base64 stands there by its length and digest.
        paths: Its files; relative ones start at the journal's folder.
        error: Why there is no picture (yet), in words that begin with the error's type.
    """

    entry: int
    position: int
    asked: bool
    model: str
    fields: Mapping[str, Any]
    seed: int | None
    queued: float
    intended: float | None
    absent: float | None
    submitted: float | None
    ended: float | None
    saved: float | None
    prediction: str | None
    status: str | None
    inference_ms: int | None
    outputs: tuple[str, ...]
    paths: tuple[str, ...]
    error: str | None

    @property
    def state(self) -> State:
        """Where it stands."""
        if self.ended is not None:
            if self.status != "completed":
                return State.FAILED
            return State.MADE if self.saved is None else State.SAVED
        if self.prediction is not None:
            return State.RUNNING
        return State.QUEUED if self.intended is None else State.UNCONFIRMED

    @property
    def prompt(self) -> str:
        """What was asked for in words; empty where the model takes none."""
        prompt = self.fields.get("prompt")
        return prompt if isinstance(prompt, str) else ""

    @property
    def size(self) -> str | None:
        """The size that was asked for, such as `1024*768`."""
        size = self.fields.get("size")
        return size if isinstance(size, str) else None

    @property
    def ready(self) -> float | None:
        """When it was ready at the server: known where the API tells how long the model took."""
        if self.submitted is None or self.ended is None or not self.inference_ms:
            return self.ended
        return min(self.ended, self.submitted + self.inference_ms / 1000)


@frozen(kw_only=True)
class RequestSentRecord:
    """Hold one request of the API.

    Attributes:
        at: When it was sent.
        answered: When it was answered; None where no answer came, or none was written.
        kind: `submit`, `poll` or `list`.
        counts: Whether it counts in the limiter's window.
    """

    at: float
    answered: float | None
    kind: str
    counts: bool


@frozen(kw_only=True)
class RunRecord:
    """Hold one process's turn.

    Attributes:
        started: When it began.
        ended: When it ended; None for one that was killed or still goes on.
        requests: Requests that the account may make within `per` seconds.
        per: Length of that window.
        concurrency: Predictions that may run at once.
    """

    started: float
    ended: float | None
    requests: int
    per: float
    concurrency: int
