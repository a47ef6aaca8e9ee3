"""What has happened so far, told by the client's events. Pure: `now` is an argument."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from wavespeed_async._events import (
    Event,
    LimiterPaused,
    PictureSaved,
    PredictionEnded,
    PredictionLeft,
    PredictionSubmitted,
    RequestAnswered,
    RequestFailed,
    SubmissionFound,
    SubmissionUnconfirmed,
)
from wavespeed_async._prediction import Status
from wavespeed_async.errors import APIConnectionError, SubmissionUnconfirmedError

if TYPE_CHECKING:
    from wavespeed_async._prediction import Outcome
    from wavespeed_async.models import Request

__all__ = ["Tally", "duration"]

SILENCE = 2.0
"""Seconds without any answer that are told."""


_ABOUT = (PredictionSubmitted, SubmissionFound, PredictionLeft, PredictionEnded)
"""What tells of one prediction that is or may be paid for."""


class Tally:
    """Count requests and pictures, and keep an eye on what was paid for.

    Args:
        total: How many requests there are.
        now: When it starts.
        wall: The same by the wall clock, in Unix seconds, which events have.

    Attributes:
        done: Requests whose pictures are files.
        failed: Requests that ended otherwise.
        pictures: Pictures that this run has made files of.
        earlier: Pictures that were files before, by an earlier run.
        unconfirmed: Submissions whose fate is not known, by their outcomes.
        absent: Submissions that the API's list was found not to have.
        failures: How often each reason was met, by its words.
    """

    def __init__(self, total: int, now: float, wall: float = 0.0) -> None:
        self.total = total
        self.started = now
        self._wall = wall
        self._opens_at = now
        self._silent_since: float | None = None
        self.done = self.failed = self.pictures = self.earlier = 0
        self.unconfirmed = self.absent = 0
        self._lost: dict[int, Request] = {}  # submissions that no outcome has told of yet
        self.failures: Counter[str] = Counter()
        # Not the predictions themselves: their outputs may be whole pictures.
        self._models: dict[str, str] = {}
        self._statuses: dict[str, Status] = {}
        self._saved: set[str] = set()
        self._read: set[str] = set()
        self._recorded: set[str] = set()

    def observe(self, event: Event) -> None:
        """Note an event of the client."""
        if isinstance(event, _ABOUT):
            self._models[event.prediction.id] = event.prediction.model
            self._statuses[event.prediction.id] = event.prediction.status
            self._lost.pop(id(event.prediction.request), None)
        elif isinstance(event, PictureSaved):
            self._saved.add(event.prediction.id)
            self.pictures += len(event.paths)
        else:
            self._observe_way(event)

    def _observe_way(self, event: Event) -> None:
        """Note an event that tells of the way to the API."""
        at = self.started + event.at - self._wall
        if isinstance(event, SubmissionUnconfirmed):
            self._lost[id(event.request)] = event.request
        elif isinstance(event, LimiterPaused):
            self._opens_at = at + event.seconds
        elif isinstance(event, RequestAnswered):
            self._silent_since = None
        elif isinstance(event, RequestFailed) and isinstance(event.error, APIConnectionError):
            self._silent_since = self._silent_since or at

    def count(self, outcome: Outcome) -> None:
        """Count a request that has ended."""
        if outcome.prediction is not None:
            self._read.add(outcome.prediction.id)
            if outcome.prediction.id not in self._saved:
                self.earlier += len(outcome.paths)
        if outcome.error is None:
            self.done += 1
            return
        self.failed += 1
        self.failures[_reason(outcome)] += 1
        if isinstance(outcome.error, SubmissionUnconfirmedError):
            self._lost.pop(id(outcome.error.request), None)
            self.absent += outcome.error.absent
            self.unconfirmed += not outcome.error.absent

    def recorded(self, outcome: Outcome) -> None:
        """Note that what became of a request is in the file of results."""
        if outcome.prediction is not None:
            self._recorded.add(outcome.prediction.id)

    @property
    def untold(self) -> int:
        """How many submissions without an answer no outcome tells of: the run was left before."""
        return len(self._lost)

    @property
    def pending(self) -> bool:
        """Whether something that is or may be paid for is still to be waited for."""
        return self.untold > 0 or not self._statuses.keys() <= self._read

    @property
    def loose_ends(self) -> dict[str, list[str]]:
        """List what was paid for and is not wholly here, by what is the matter with it."""
        found: dict[str, list[str]] = {}
        for name, status in self._statuses.items():
            if not status.ended:
                matter = "still running; the API keeps them for 7 days"
            elif status is not Status.COMPLETED:
                continue
            elif name not in self._saved:
                matter = "made, but not saved; the API keeps them for 7 days"
            elif name not in self._recorded:
                matter = "made and saved, but not in the results"
            else:
                continue
            found.setdefault(matter, []).append(f"{name}  {self._models[name]}")
        return found

    def pictures_per_minute(self, now: float) -> float:
        """Tell the pace so far."""
        return 60 * self.pictures / max(now - self.started, 1e-3)

    def line(self, now: float, *, running: int, used: int, requests: int) -> str:
        """Say in one line how far it is; the limiter knows the last three."""
        ended = self.done + self.failed
        parts = [
            f"{self.done}/{self.total} done",
            f"{running} running",
            f"{self.failed} failed",
            f"{self.pictures_per_minute(now):.0f} pictures/min",
            f"{used}/{requests} requests",
        ]
        if 0 < ended < self.total:
            left = (now - self.started) / ended * (self.total - ended)
            parts.append(f"{duration(left)} left")
        return ", ".join(parts + self._hindrances(now))

    def _hindrances(self, now: float) -> list[str]:
        """Name what keeps requests from going out."""
        found = []
        if now < self._opens_at:
            found.append(f"paused for {duration(self._opens_at - now)} after a 429")
        if self._silent_since is not None and now - self._silent_since >= SILENCE:
            found.append(f"no answer for {duration(now - self._silent_since)}")
        return found


def _reason(outcome: Outcome) -> str:
    """Word a failure so that the same one reads the same for each prediction."""
    text = " ".join(str(outcome.error).split()) or type(outcome.error).__name__
    if outcome.prediction is not None:
        text = text.replace(f"{outcome.prediction.id} ", "")
    return text


def duration(seconds: float) -> str:
    """Say how long that is, in seconds, minutes or hours."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
