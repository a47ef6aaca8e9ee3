"""When a poll is worth its request, and the poller that waits by it.

The rule. If T is the time that a model takes, and a prediction of age a was not ready at its last
poll, then by age u its answer is expected to have been lying ready for

    lying(u; a) = ∫ P(T <= x | T > a) dx  from a to u
                = (u·(S(a) - S(u)) - (M(a) - M(u))) / S(a),   S(x) = P(T > x), M(x) = E[T; T > x]

seconds. Poll when that reaches the poll cost: what a request is worth, in seconds of waiting. This
is optimal inspection (Barlow, Hunter and Proschan 1963; Keller, Management Science 21(3), 1974). T
is taken for log-normal, with the mean and spread of the model's last predictions.

What is learned. The server's own time counts where the answer has it, but a prediction that was
not ready at a poll took longer than that, and one that was ready took no longer, whatever the
server says (it may not count the time in its queue). Without it, the middle between the last two
polls counts: taking the moment of the poll would drive the estimate upward without end.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import anyio
from attrs import define, evolve, frozen

from wavespeed_async._calls import Turn
from wavespeed_async._codec import failure
from wavespeed_async._events import PredictionPolled
from wavespeed_async._retry import is_passing, pause_after, pauses
from wavespeed_async.errors import (
    LimiterTimeoutError,
    NotFoundError,
    PredictionTimeoutError,
    RateLimitError,
    WaveSpeedError,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from wavespeed_async._calls import Calls
    from wavespeed_async._prediction import Prediction

__all__ = ["Latency", "LatencyRecord", "Poller", "next_poll"]

POLL_COST = 1 / 60
"""What a poll costs in seconds of waiting, as a share of `per`: 1 s of a minute."""
USUAL, WIDE = 2 / 60, 1.0
"""What a model is taken to need before its first prediction was seen, as a share of `per`, and how
widely that may be off (the spread of the logarithm): the first poll comes after 3 s of a minute."""
SPREAD = 0.6
"""The spread that is assumed until enough was seen to tell."""
REMEMBERED = 60
TRUST = 4
"""How many predictions the assumed spread counts for."""
NEVER = 1e-250
"""A probability too small to go on with."""
EXACT = 1e-4
"""How exact the time until the next poll is, as a share of it."""
LAST_LOOK = 0.5
"""Seconds before a deadline at which a prediction is polled a last time."""

_ROOT_2 = math.sqrt(2)


@frozen
class Latency:
    """Describe how long a model takes: log-normal, by mean and deviation of the logarithm."""

    mu: float
    sigma: float

    def lying(self, age: float, missed: float) -> float:
        """Tell for how long the answer is expected to have been ready, as at the file's head."""
        open_, mass = self._beyond(age)
        open_before, mass_before = self._beyond(missed)
        if open_before < NEVER:  # far beyond all that was seen: it is ready any moment
            return age - missed
        lying = (age * (open_before - open_) - (mass_before - mass)) / open_before
        return min(max(lying, 0.0), age - missed)  # nothing else, however numbers are rounded

    def _beyond(self, x: float) -> tuple[float, float]:
        """Answer P(T > x) and E[T; T > x]."""
        mean = math.exp(self.mu + self.sigma**2 / 2)
        if x <= 0:
            return 1.0, mean
        z = (math.log(x) - self.mu) / self.sigma
        return _above(z), mean * _above(z - self.sigma)


def _above(z: float) -> float:
    """Answer P(Z > z) of the normal distribution; `statistics` would take 2 ms to import."""
    return 0.5 * math.erfc(z / _ROOT_2)


def next_poll(latency: Latency, missed: float, cost: float, interval: float) -> float:
    """Decide at what age to poll a prediction that was not ready at age `missed` (0: new).

    Args:
        latency: How long the model takes.
        missed: Age at the last poll, in seconds.
        cost: What a poll costs, in seconds of waiting.
        interval: Least time between two polls.
    """
    low, high = 0.0, max(cost, interval, 1e-3)
    while latency.lying(missed + high, missed) < cost:
        low, high = high, 2 * high
    while high - low > EXACT * high:
        middle = (low + high) / 2
        if latency.lying(missed + middle, missed) < cost:
            low = middle
        else:
            high = middle
    return missed + max(high, interval)


class LatencyRecord:
    """Learn how long one model takes from its last predictions.

    Args:
        usual: Seconds that are assumed before the first.
    """

    def __init__(self, usual: float) -> None:
        self._usual = math.log(usual)
        self._seen: deque[float] = deque(maxlen=REMEMBERED)

    def learn(self, missed: float, ready: float, inference: float | None) -> None:
        """Note a prediction: not ready at age `missed`, ready at age `ready`, all in seconds."""
        if inference is None or inference <= 0:
            seconds = (missed + ready) / 2
        else:
            seconds = min(max(inference, missed), ready)
        self._seen.append(math.log(max(seconds, 1e-3)))

    @property
    def latency(self) -> Latency:
        """Tell what is known so far."""
        count = len(self._seen)
        if count == 0:
            return Latency(self._usual, WIDE)
        mu = sum(self._seen) / count
        squares = sum((value - mu) ** 2 for value in self._seen)
        variance = (TRUST * SPREAD**2 + squares) / (TRUST + count - 1)
        return Latency(mu, max(math.sqrt(variance), 0.01))


@define
class _Watch:
    """Hold how far a wait for one prediction has come.

    Attributes:
        seen: The prediction as it was seen last.
        born: When it was submitted, or was first asked for if another process made it.
        submitted: Whether this call has just submitted it.
        dated: Whether `born` is when it was submitted.
        attended: Whether it holds a slot here, on behalf of this wait.
        reached: Whether the server has answered within this call.
        missed: Its age when it was last found running.
        waits: The pauses after failed polls.
        failures: How many polls have failed in a row.
        failure: The last one's error.
        due: When to poll next.
    """

    seen: Prediction
    born: float
    submitted: bool
    dated: bool
    attended: bool
    reached: bool
    waits: Iterator[float]
    due: float = 0.0
    missed: float = 0.0
    failures: int = 0
    failure: WaveSpeedError | None = None


class Poller:
    """Wait for predictions, with as few polls as the rule allows.

    Args:
        calls: Asks the API.
        max_retries: How many failed polls in a row are borne before the server was ever reached.
        dice: Draws the jitter of pauses.
    """

    def __init__(self, calls: Calls, *, max_retries: int, dice: random.Random) -> None:
        self._calls = calls
        self._limiter = calls.limiter
        self._max_retries = max_retries
        self._dice = dice
        self._records: dict[str, LatencyRecord] = {}

    async def wait(
        self, prediction: Prediction, turn: Turn, *, attended: bool = False
    ) -> Prediction:
        """Poll a prediction until it has ended.

        A failed poll never fails the prediction: polling goes on until the deadline. Only where the
        server was never reached, or refuses for good, its error is raised, with the id.

        Args:
            prediction: As it was seen last; of one that was made elsewhere the id is enough.
            turn: How urgent it is, and until when.
            attended: Whether this call has just submitted it, and so attends its slot.

        Raises:
            PredictionFailedError: It ended without pictures.
            PredictionTimeoutError: It still ran at the deadline.
        """
        watch = self._begin(prediction, turn, attended=attended)
        try:
            with anyio.CancelScope(deadline=turn.deadline):
                while not watch.seen.status.ended:
                    await anyio.sleep_until(watch.due)
                    await self._poll(watch, turn)
        finally:
            if watch.attended and not watch.seen.status.ended:
                self._calls.leave(watch.seen, self.ask_in(watch.seen))
        if not watch.seen.status.ended:
            raise _timed_out(watch) from watch.failure
        failed = failure(watch.seen)
        if failed is not None:
            raise failed
        return watch.seen

    def _begin(self, prediction: Prediction, turn: Turn, *, attended: bool) -> _Watch:
        age = self._limiter.age(prediction.id)
        now = anyio.current_time()
        watch = _Watch(
            seen=prediction,
            born=now - (age or 0.0),
            submitted=attended,
            dated=age is not None and (attended or prediction.request is not None),
            attended=attended or self._limiter.attend(prediction.id),
            reached=attended,
            waits=pauses(self._dice),
        )
        watch.due = now if age is None else self._next_due(watch, turn)
        return watch

    async def _poll(self, watch: _Watch, turn: Turn) -> None:
        """Poll once, and decide when to poll next."""
        try:
            permit = await self._calls.turn_to_poll(turn)
            age = anyio.current_time() - watch.born
            seen = await self._calls.read(watch.seen.id, permit, _version(watch.seen))
        except LimiterTimeoutError:
            return  # the deadline has come: the scope around this ends the wait
        except WaveSpeedError as error:
            at = anyio.current_time() + self._bear(watch, error, turn)
            watch.due = self._before_deadline(at, anyio.current_time(), turn)
            return
        ready = anyio.current_time() - watch.born
        watch.seen = _joined(seen, watch.seen)
        watch.reached, watch.failures, watch.failure = True, 0, None
        self._calls.tell(PredictionPolled(prediction=watch.seen, age=age))
        if seen.status.ended:
            self._learn(watch, ready)
            self._calls.settle(watch.seen)
            return
        if not watch.attended:
            self._limiter.adopt(seen.id)
            watch.attended = True
        watch.missed = age
        watch.due = self._next_due(watch, turn)

    def _learn(self, watch: _Watch, ready: float) -> None:
        """Learn how long it took, where that is known: by the server, or by having watched."""
        milliseconds = watch.seen.inference_ms
        inference = None if milliseconds is None else milliseconds / 1000
        if watch.dated and (watch.submitted or inference):
            self._record(watch.seen.model).learn(watch.missed, ready, inference)

    def _bear(self, watch: _Watch, error: WaveSpeedError, turn: Turn) -> float:
        """Bear a failed poll, and answer the pause until the next; raise what will not pass."""
        watch.failure = error
        watch.failures += 1
        error.prediction_id = watch.seen.id
        bearable = is_passing(error) and (watch.reached or watch.failures <= self._max_retries)
        if isinstance(error, RateLimitError) and (error.retry_after or 0.0) >= turn.left():
            bearable = False
        least = self._limiter.limits.min_poll_interval
        pause = max(pause_after(error, next(watch.waits)), least)
        retry_in = pause if bearable else None
        self._calls.poll_failed(watch.seen.id, _version(watch.seen), error, retry_in)
        if isinstance(error, NotFoundError):
            self._limiter.ended(watch.seen.id)
            watch.attended = False
        if not bearable:
            raise error
        return pause

    def _next_due(self, watch: _Watch, turn: Turn) -> float:
        """Tell when to poll next by the rule."""
        at = watch.born + self._next_age(watch.seen.model, watch.missed)
        return self._before_deadline(at, watch.born + watch.missed, turn)

    def _before_deadline(self, at: float, polled: float, turn: Turn) -> float:
        """Put the next poll forward to just before the deadline, if it would come too late."""
        last = turn.deadline - LAST_LOOK
        soonest = polled + self._limiter.limits.min_poll_interval
        return last if at > last >= soonest and last > anyio.current_time() else at

    async def result(self, prediction: Prediction, turn: Turn) -> Prediction:
        """Ask for a prediction once; one that runs is given a slot, wherever it was made."""
        try:
            found = await self._calls.result(prediction.id, turn, _version(prediction))
        except NotFoundError:
            self._limiter.ended(prediction.id)
            raise
        seen = _joined(found, prediction)
        if seen.status.ended:
            self._calls.settle(seen)
        elif self._limiter.age(seen.id) is None:
            self._limiter.adopt(seen.id)
            self._limiter.leave(seen.id, ask_in=self.ask_in(seen))
        return seen

    async def ask(self, prediction_id: str) -> float | None:
        """Ask for a prediction that nobody waits for.

        Answers None if it has ended, else in how many seconds to ask again.
        """
        try:
            prediction = await self._calls.poll(prediction_id, Turn())
        except NotFoundError:
            return None
        except WaveSpeedError:
            limits = self._limiter.limits
            return max(limits.min_poll_interval, limits.per * POLL_COST)
        if not prediction.status.ended:
            return self.ask_in(prediction)
        self._calls.settle(prediction)
        return None

    def ask_in(self, prediction: Prediction) -> float:
        """Tell in how many seconds it is worth polling a prediction that runs now."""
        age = self._limiter.age(prediction.id) or 0.0
        return self._next_age(prediction.model, age) - age

    def _next_age(self, model: str, missed: float) -> float:
        limits = self._limiter.limits
        cost = limits.per * POLL_COST
        return next_poll(self._record(model).latency, missed, cost, limits.min_poll_interval)

    def _record(self, model: str) -> LatencyRecord:
        if model not in self._records:
            self._records[model] = LatencyRecord(self._limiter.limits.per * USUAL)
        return self._records[model]


def _version(prediction: Prediction) -> str:
    return prediction.request.version if prediction.request else "v3"


def _joined(seen: Prediction, known: Prediction) -> Prediction:
    """Keep what was known of a prediction and no poll tells."""
    return evolve(seen, model=seen.model or known.model, request=known.request)


def _timed_out(watch: _Watch) -> PredictionTimeoutError:
    last = f" (the last poll failed: {watch.failure})" if watch.failure else ""
    text = f"prediction {watch.seen.id} still runs{last}; wait for its id to go on"
    return PredictionTimeoutError(text, prediction=watch.seen)
