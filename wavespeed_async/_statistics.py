"""What a client has done and what goes on, counted from its events.

Counted for each account and process: all clients that share a limiter count together, as those of
one key do, and those that `with_options` makes.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from attrs import asdict, frozen

from wavespeed_async._events import (
    Event,
    ImageUploaded,
    LimiterPaused,
    PictureSaved,
    PredictionEnded,
    PredictionLeft,
    PredictionSubmitted,
    RequestAnswered,
    RequestFailed,
    RequestLost,
    SubmissionFound,
    SubmissionUnconfirmed,
)
from wavespeed_async._prediction import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wavespeed_async._poll_rule import PollRule
    from wavespeed_async.limits import AnyLimiter

__all__ = ["Counts", "LimiterUse", "RequestCounts", "Statistics"]

TOO_MANY = 429


@frozen(kw_only=True)
class RequestCounts:
    """Count the requests of the API that are over, by what became of them.

    Attributes:
        succeeded: Answered with a 2xx.
        limited: Answered 429: the account was over its limits, by the API's count.
        refused: Answered with another 3xx or 4xx.
        failed: Answered with a 5xx.
        lost: Not answered, or cancelled before.
    """

    succeeded: int = 0
    limited: int = 0
    refused: int = 0
    failed: int = 0
    lost: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.succeeded + self.limited + self.refused + self.failed + self.lost


@frozen(kw_only=True)
class LimiterUse:
    """Tell how far the limits are used now; with a `RedisLimiter` as Redis told it last.

    Attributes:
        requests_used: Requests in the window.
        requests_free: Requests that the window has room for.
        running: Predictions that hold a slot.
        slots_free: Slots that are free.
        waiting: Callers of this process that wait for a turn, polls that wait on purpose included.
    """

    requests_used: int
    requests_free: int
    running: int
    slots_free: int
    waiting: int


@frozen(kw_only=True)
class Statistics:
    """Hold what was done since the account was first used in this process, and what goes on.

    Attributes:
        since: When counting began, in Unix seconds.
        submitted: Submissions that were accepted: what may be billed.
        succeeded: Predictions that completed, of those that held a slot here.
        failed: Predictions that ended otherwise, of the same.
        left: How often a prediction was left that still ran: its call was cancelled or timed out.
        unconfirmed: Submissions that may exist, since no usable answer came.
        found: How many of those were found in the API's list.
        pictures: Outputs of the predictions that completed.
        polls: Requests that asked for a prediction.
        requests: All requests of the API, by what became of them.
        retries: Requests that were made again after a failure.
        pauses: How often a 429 closed the limiter.
        uploads: Images of this machine that were uploaded.
        uploaded_bytes: Their size.
        saved: Files that were written.
        limiter: How far the limits are used now.
        latencies: How long each model takes, in seconds: the middle of its last predictions.
    """

    since: float
    submitted: int
    succeeded: int
    failed: int
    left: int
    unconfirmed: int
    found: int
    pictures: int
    polls: int
    requests: RequestCounts
    retries: int
    pauses: int
    uploads: int
    uploaded_bytes: int
    saved: int
    limiter: LimiterUse
    latencies: Mapping[str, float]

    @property
    def polls_per_picture(self) -> float:
        """How many polls a picture took; 0.0 before the first one."""
        return self.polls / self.pictures if self.pictures else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Answer all of it as JSON can hold it, for a page that tells an application's state."""
        return {**asdict(self), "polls_per_picture": self.polls_per_picture}


class Counts:
    """Count the events of all clients of a limiter; a cheap observer that keeps nothing else."""

    def __init__(self) -> None:
        self.since = time.time()
        self.submitted = self.succeeded = self.failed = self.left = 0
        self.unconfirmed = self.found = 0
        self.pictures = self.polls = self.retries = self.pauses = 0
        self.uploads = self.uploaded_bytes = self.saved = 0
        self._statuses = [0] * 6  # by the hundreds of their HTTP status; those lost are the first
        self._limited = 0
        self._counted: dict[type[Event], Callable[[Any], None]] = {
            RequestAnswered: self._answered,
            RequestLost: self._lost,
            RequestFailed: self._failed,
            LimiterPaused: self._paused,
            PredictionSubmitted: self._submitted,
            PredictionEnded: self._ended,
            PredictionLeft: self._left,
            SubmissionUnconfirmed: self._unconfirmed,
            SubmissionFound: self._found,
            PictureSaved: self._saved,
            ImageUploaded: self._uploaded,
        }

    @classmethod
    def of(cls, limiter: AnyLimiter) -> Counts:
        """Find or begin what is counted for a limiter."""
        return _counts.setdefault(limiter, cls())

    def __call__(self, event: Event) -> None:
        """Count an event."""
        count = self._counted.get(type(event))
        if count is not None:
            count(event)

    def statistics(self, limiter: AnyLimiter, rule: PollRule) -> Statistics:
        """Tell what was counted, and what goes on; any thread may ask."""
        limits, used, running = limiter.limits, limiter.requests_used, limiter.running
        lost, _, succeeded, redirected, refused, failed = self._statuses
        return Statistics(
            since=self.since,
            submitted=self.submitted,
            succeeded=self.succeeded,
            failed=self.failed,
            left=self.left,
            unconfirmed=self.unconfirmed,
            found=self.found,
            pictures=self.pictures,
            polls=self.polls,
            requests=RequestCounts(
                succeeded=succeeded,
                limited=self._limited,
                refused=redirected + refused - self._limited,
                failed=failed,
                lost=lost,
            ),
            retries=self.retries,
            pauses=self.pauses,
            uploads=self.uploads,
            uploaded_bytes=self.uploaded_bytes,
            saved=self.saved,
            limiter=LimiterUse(
                requests_used=used,
                requests_free=max(0, limits.requests - used),
                running=running,
                slots_free=max(0, limits.concurrency - running),
                waiting=limiter.waiting,
            ),
            latencies=rule.latencies,
        )

    # --- events ----------------------------------------------------------------------------------

    def _answered(self, event: RequestAnswered) -> None:
        self.polls += event.kind == "poll"
        self._statuses[min(event.status_code // 100, 5)] += 1
        self._limited += event.status_code == TOO_MANY

    def _lost(self, event: RequestLost) -> None:
        self.polls += event.kind == "poll"
        self._statuses[0] += 1

    def _failed(self, event: RequestFailed) -> None:
        self.retries += event.retry_in is not None

    def _paused(self, _: LimiterPaused) -> None:
        self.pauses += 1

    def _submitted(self, _: PredictionSubmitted) -> None:
        self.submitted += 1

    def _ended(self, event: PredictionEnded) -> None:
        prediction = event.prediction
        if prediction.status is Status.COMPLETED:
            self.succeeded += 1
            self.pictures += len(prediction.outputs)
        else:
            self.failed += 1

    def _left(self, _: PredictionLeft) -> None:
        self.left += 1

    def _unconfirmed(self, _: SubmissionUnconfirmed) -> None:
        self.unconfirmed += 1

    def _found(self, _: SubmissionFound) -> None:
        self.found += 1

    def _saved(self, event: PictureSaved) -> None:
        self.saved += len(event.paths)

    def _uploaded(self, event: ImageUploaded) -> None:
        self.uploads += 1
        self.uploaded_bytes += event.size


_counts: WeakKeyDictionary[AnyLimiter, Counts] = WeakKeyDictionary()
