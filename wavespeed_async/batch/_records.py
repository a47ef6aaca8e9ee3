"""What a journal tells its readers: entries with their times, requests of the API, runs."""

from __future__ import annotations

import json
from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EntryRecord", "RequestSentRecord", "RunRecord", "State", "text_of"]


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

    What is kept as JSON is read when it is asked for, since a journal may have a hundred thousand
    entries of which few are shown; what cannot be read, in a damaged journal, is left out.

    Attributes:
        entry: Its number in the journal.
        position: Its number in the input of the run that asked for it last, from 0.
        asked: Whether the last run has asked for it (so far).
        model: The model's id; empty for an item that was a bare id.
        kept_fields: What was sent, as JSON; `fields` reads it.
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
        kept_answer: How it ended, as JSON; `outputs` reads it.
        kept_paths: Its files, as JSON; `paths` reads it.
        error: Why there is no picture (yet), in words that begin with the error's type.
    """

    entry: int
    position: int
    asked: bool
    model: str
    kept_fields: str
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
    kept_answer: str | None
    kept_paths: str | None
    error: str | None

    @property
    def fields(self) -> Mapping[str, Any]:
        """What was sent; a picture as base64 stands there by its length and digest."""
        found = _read(self.kept_fields)
        return found if isinstance(found, dict) else {}

    @property
    def outputs(self) -> tuple[str, ...]:
        """URLs; an output that came as base64 stands there by its length and digest."""
        found = _read(self.kept_answer)
        return _texts(found.get("outputs")) if isinstance(found, dict) else ()

    @property
    def paths(self) -> tuple[str, ...]:
        """Its files; relative ones start at the journal's folder."""
        return _texts(_read(self.kept_paths))

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
        return text_of(self.fields, "prompt")

    @property
    def size(self) -> str | None:
        """The size that was asked for, such as `1024*768`."""
        return text_of(self.fields, "size") or None

    @property
    def ready(self) -> float | None:
        """When it was ready at the server: known where the API tells how long the model took."""
        if self.submitted is None or self.ended is None or not self.inference_ms:
            return self.ended
        return min(self.ended, self.submitted + self.inference_ms / 1000)


def text_of(fields: Mapping[str, Any], name: str) -> str:
    """Answer a field that is a text; empty where it is none."""
    text = fields.get(name)
    return text if isinstance(text, str) else ""


def _read(text: str | None) -> Any:
    with suppress(ValueError):
        return None if text is None else json.loads(text)
    return None


def _texts(found: Any) -> tuple[str, ...]:
    return tuple(found) if isinstance(found, list) else ()


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
