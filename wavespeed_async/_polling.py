"""The poller: wait for predictions, each polled when `_poll_rule` says that it is worth a request.

Every wait is one task that queues at the limiter with what its poll is worth, and polls when it is
granted a request. An answer that comes on another way, by a poll for another caller or a webhook,
ends all waits for that prediction.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import anyio
from attrs import define, evolve

from wavespeed_async._calls import Turn, result_path
from wavespeed_async._codec import failure
from wavespeed_async._events import PredictionPolled
from wavespeed_async._poll_rule import Look, PollRule
from wavespeed_async._retry import is_passing, pause_after, pauses
from wavespeed_async.errors import (
    ConfigurationError,
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
    from wavespeed_async.limits import AnyLimiter, Permit

__all__ = ["Poller"]

LAST_LOOK = 1 / 120
"""Before a deadline a prediction is polled a last time: a share of `per`, 0.5 s of a minute."""
ASK_AGAIN = 1 / 60
"""How long to leave a prediction alone that could not be read, at least, as a share of `per`."""


@define(eq=False)
class _Watch:
    """Hold how far a wait for one prediction has come.

    Attributes:
        seen: The prediction as it was seen last.
        look: What the rule sees of it.
        scope: Is cancelled when its end is known from elsewhere.
        submitted: Whether this call has just submitted it.
        dated: Whether it is known when it was submitted.
        attended: Whether it holds a slot here, on behalf of this wait.
        reached: Whether the server has answered within this call.
        waits: The pauses after failed polls.
        polled: When it was polled last, by the limiter's clock.
        failures: How many polls have failed in a row.
        failure: The last one's error.
    """

    seen: Prediction
    look: Look
    scope: anyio.CancelScope
    submitted: bool
    dated: bool
    attended: bool
    reached: bool
    waits: Iterator[float]
    polled: float = -math.inf
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
        self.rule = PollRule.of(calls.limiter)
        self._calls = calls
        self._limiter = calls.limiter
        self._max_retries = max_retries
        self._dice = dice
        self._watches = _watches.setdefault(calls.limiter, {})
        calls.limiter.listen(self.rule.hear)

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
        if not prediction.status.ended:
            prediction = await self._watch(prediction, turn, attended=attended)
        failed = failure(prediction)
        if failed is not None:
            raise failed
        return prediction

    async def _watch(self, prediction: Prediction, turn: Turn, *, attended: bool) -> Prediction:
        with anyio.CancelScope(deadline=turn.deadline) as scope:
            watch = self._begin(prediction, scope, attended=attended)
            try:
                while not watch.seen.status.ended:
                    await self._poll(watch, turn)
            finally:
                self._end(watch)
        if not watch.seen.status.ended:
            raise _timed_out(watch) from watch.failure
        return watch.seen

    def _begin(self, prediction: Prediction, scope: anyio.CancelScope, *, attended: bool) -> _Watch:
        is_held = not attended and self._limiter.attend(prediction.id)
        if self.rule.enter(self._limiter.loops):  # those of a loop that has ended wait no longer
            self._watches.clear()
        age = self._limiter.age(prediction.id)
        now = self._limiter.now()
        record = self.rule.record(prediction.model, prediction.request)
        born = now - (age or 0.0)
        interval = self._limiter.limits.min_poll_interval
        watch = _Watch(
            seen=prediction,
            look=Look(
                self.rule,
                record,
                born,
                not_before=now if age is None else born + interval,
                new=attended,
                at_once=age is None,
            ),
            scope=scope,
            submitted=attended,
            dated=age is not None and (attended or prediction.request is not None),
            attended=attended or is_held,
            reached=attended,
            waits=pauses(self._dice),
        )
        record.begin(watch.look)
        watches = self._watches.setdefault(prediction.id, [])
        watch.look.follows = bool(watches)
        watches.append(watch)
        return watch

    def _end(self, watch: _Watch) -> None:
        watch.look.record.end(watch.look)
        others = [other for other in self._watches.get(watch.seen.id, ()) if other is not watch]
        if others:
            self._watches[watch.seen.id] = others
            others[0].look.follows = False
        else:
            self._watches.pop(watch.seen.id, None)
        if watch.attended and not watch.seen.status.ended:
            self._calls.leave(watch.seen, self.ask_in(watch.seen))

    def arrive(self, prediction: Prediction) -> None:
        """Take the end of a prediction that became known without a poll of its waits."""
        for watch in self._watches.get(prediction.id, ()):
            if not watch.seen.status.ended:
                watch.seen = _joined(prediction, watch.seen)
                watch.scope.cancel()
        self._calls.settle(prediction)

    async def _poll(self, watch: _Watch, turn: Turn) -> None:
        """Poll once, when it is worth it."""
        look = watch.look
        try:
            permit = await self._turn_of(watch, turn)
            watch.polled = sent = self._limiter.now()
            look.poll()
            for other in self._watches[watch.seen.id]:
                other.look.not_before = sent + self._limiter.limits.min_poll_interval
            seen = await self._calls.read(watch.seen.id, permit, _version(watch.seen))
        except LimiterTimeoutError:
            await anyio.sleep_until(turn.deadline)  # the scope around this ends the wait
        except WaveSpeedError as error:
            look.record.ask(look)
            look.not_before = self._limiter.now() + self._bear(watch, error, turn)
        else:
            if not watch.seen.status.ended:  # by now somebody else may have seen its end
                self._note(watch, seen, sent - look.born)

    def _note(self, watch: _Watch, seen: Prediction, age: float) -> None:
        """Note what a poll has found, at the age at which it was sent."""
        watch.seen = _joined(seen, watch.seen)
        watch.reached, watch.failures, watch.failure = True, 0, None
        watch.waits = pauses(self._dice)
        self._calls.tell(PredictionPolled(prediction=watch.seen, age=age))
        if seen.status.ended:
            self._learn(watch)
            self.arrive(watch.seen)
            return
        for other in self._watches[seen.id]:
            self._found_running(other, watch.look.born + age - other.look.born)

    def _found_running(self, watch: _Watch, age: float) -> None:
        """Note that a prediction runs at an age: for each who waits for it."""
        if not watch.attended:
            self._limiter.adopt(watch.seen.id)
            watch.attended = True
        record = self.rule.record(watch.seen.model, watch.seen.request)
        if record is not watch.look.record:
            watch.look.belong(record)
        watch.look.at_once = False
        watch.look.miss(age)

    async def _turn_of(self, watch: _Watch, turn: Turn) -> Permit:
        """Wait until a poll is worth its request, or until the last moment before the deadline."""
        limits = self._limiter.limits
        last = turn.deadline - limits.per * LAST_LOOK
        left = last - anyio.current_time()
        if left <= 0 or watch.polled + limits.min_poll_interval > self._limiter.now() + left:
            last = math.inf
        try:
            return await self._calls.turn_to_poll(turn, bidder=watch.look, until=last)
        except LimiterTimeoutError:
            if turn.left() <= 0:
                raise
        return await self._calls.turn_to_poll(evolve(turn, priority=turn.priority - 1))

    def _learn(self, watch: _Watch) -> None:
        """Learn how long it took, where that is known: by the server, or by having watched."""
        milliseconds = watch.seen.inference_ms
        inference = None if milliseconds is None else milliseconds / 1000
        if watch.dated and (watch.submitted or inference):
            ready = self._limiter.now() - watch.look.born
            self.rule.learn(watch.look, ready, inference, self._limiter.limits)
            seen = watch.seen
            news = self.rule.news(watch.look, seen.model, seen.request, ready, inference)
            self._limiter.pass_on(news)

    def _bear(self, watch: _Watch, error: WaveSpeedError, turn: Turn) -> float:
        """Bear a failed poll, and answer the pause until the next; raise what will not pass."""
        watch.failure = error
        watch.failures += 1
        error.prediction_id = watch.seen.id
        # What exists may be refused by mistake (a 404 before it is known everywhere, a gateway's
        # 403): such an answer is believed only when it is repeated.
        once_more = watch.failures <= self._max_retries
        bearable = (
            (watch.reached or once_more) if is_passing(error) else (watch.reached and once_more)
        )
        if isinstance(error, RateLimitError) and (error.retry_after or 0.0) >= turn.left():
            bearable = False
        least = self._limiter.limits.min_poll_interval
        pause = max(pause_after(error, next(watch.waits)), least)
        path = result_path(watch.seen.id, _version(watch.seen))
        self._calls.failed("GET", path, error, pause if bearable else None)
        if isinstance(error, NotFoundError) and not bearable:
            self._limiter.ended(watch.seen.id)
            watch.attended = False
        if not bearable:
            raise error
        return pause

    async def result(self, prediction: Prediction, turn: Turn) -> Prediction:
        """Ask for a prediction once; one that runs is given a slot, wherever it was made."""
        try:
            found = await self._calls.result(prediction.id, turn, _version(prediction))
        except NotFoundError:
            self._limiter.ended(prediction.id)
            raise
        seen = _joined(found, prediction)
        if seen.status.ended:
            self.arrive(seen)
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
        except ConfigurationError:
            raise  # this client is closed: the next one in line asks
        except WaveSpeedError:
            # The longer it could not be read, the more seldom it is asked for.
            limits, age = self._limiter.limits, self._limiter.age(prediction_id) or 0.0
            return max(limits.min_poll_interval, limits.per * ASK_AGAIN, age / 8)
        if not prediction.status.ended:
            return self.ask_in(prediction)
        self.arrive(prediction)
        return None

    def ask_in(self, prediction: Prediction) -> float:
        """Tell in how many seconds it is worth polling a prediction that runs now."""
        age = self._limiter.age(prediction.id) or 0.0
        record = self.rule.record(prediction.model, prediction.request)
        return self.rule.ask_in(record, age, self._limiter.limits)


_watches: WeakKeyDictionary[AnyLimiter, dict[str, list[_Watch]]] = WeakKeyDictionary()
"""Who waits for which prediction, whichever client of a limiter it is."""


def _version(prediction: Prediction) -> str:
    return prediction.request.version if prediction.request else "v3"


def _joined(seen: Prediction, known: Prediction) -> Prediction:
    """Keep what was known of a prediction and no poll tells."""
    return evolve(seen, model=seen.model or known.model, request=known.request)


def _timed_out(watch: _Watch) -> PredictionTimeoutError:
    last = f" (the last poll failed: {watch.failure})" if watch.failure else ""
    text = f"prediction {watch.seen.id} still runs{last}; wait for its id to go on"
    return PredictionTimeoutError(text, prediction=watch.seen)
