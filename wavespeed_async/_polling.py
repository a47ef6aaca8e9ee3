"""The poller: wait for predictions, each polled when `_poll_rule` says that it is worth a request.

Every wait is one task that queues at the limiter with what its poll is worth, and polls when it is
granted a request. An answer that comes on another way, by a poll for another caller or a webhook,
ends all waits for that prediction. Where a webhook is to come, the rule asks for a poll only when
it is late.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import anyio
from attrs import define, evolve, field

from wavespeed_async._arrivals import Arrivals
from wavespeed_async._calls import Turn, result_path
from wavespeed_async._codec import failure
from wavespeed_async._events import PredictionPolled, WebhookReceived
from wavespeed_async._loops import LoopClock
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
    from wavespeed_async._latency import LatencyRecord
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


@define(eq=False)
class _Waits:
    """Hold who waits for which prediction, whichever client of a limiter it is.

    Attributes:
        watches: By the predictions' ids.
        arrivals: What webhooks have told, and are to tell.
        clock: Knows the event loop of those who wait.
    """

    watches: dict[str, list[_Watch]] = field(factory=dict)
    arrivals: Arrivals = field(factory=Arrivals)
    clock: LoopClock = field(factory=LoopClock)

    def enter(self) -> None:
        """Attach to the running event loop; who waited in one that has ended waits no longer."""
        try:
            if self.clock.enter("the client"):
                self.watches.clear()
        except anyio.NoEventLoopError:
            message = (
                "webhooks arrive in the client's event loop; from a thread call "
                "anyio.from_thread.run_sync(client.arrive, prediction)"
            )
            raise ConfigurationError(message) from None


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
        self._waits = _waits.setdefault(calls.limiter, _Waits())
        self._watches, self._arrivals = self._waits.watches, self._waits.arrivals
        calls.limiter.listen(self.rule.take_news)

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
                self._recall(watch)
                while not watch.seen.status.ended:
                    await self._poll(watch, turn)
            finally:
                self._end(watch)
        if not watch.seen.status.ended:
            raise _timed_out(watch) from watch.failure
        return watch.seen

    def _begin(self, prediction: Prediction, scope: anyio.CancelScope, *, attended: bool) -> _Watch:
        self._waits.enter()
        is_held = not attended and self._limiter.attend(prediction.id)
        if self.rule.enter(self._limiter.loops):  # those of a loop that has ended wait no longer
            self._watches.clear()
        age = self._limiter.age(prediction.id)
        now = self._limiter.now()
        record, model = self._records(prediction, dated=age is not None)
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
                model=model,
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

    def _records(
        self, prediction: Prediction, *, dated: bool
    ) -> tuple[LatencyRecord, LatencyRecord | None]:
        """Answer what a wait goes by; the second where a webhook is to tell the end: see `Look`."""
        model = self.rule.record(prediction.model, prediction.request)
        if not (dated and self._arrivals.expects(prediction.id)):
            return model, None
        return self.rule.arrivals(prediction.model, prediction.request), model

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
        self._arrivals.end(prediction.id)
        self._calls.settle(prediction)

    # --- webhooks --------------------------------------------------------------------------------

    def expect(self, prediction: Prediction) -> None:
        """Note that a webhook is to tell the end of a prediction that was just submitted."""
        if not prediction.status.ended:
            self._arrivals.expect(prediction.id)

    def awaits(self, prediction_id: str) -> bool:
        """Tell whether its end would be news here: somebody waits for it, or it holds a slot."""
        return prediction_id in self._watches or self._limiter.age(prediction_id) is not None

    @property
    def awaited(self) -> tuple[str, ...]:
        """The ids of all whose end would be news here."""
        return tuple({*self._watches, *self._limiter.running_ids})

    def hear(self, prediction: Prediction) -> bool:
        """Take what a webhook tells; answer whether somebody waits for it.

        The end that nobody waits for is kept for a while: the submission's own answer may be
        slower. One that still runs changes nothing, since it may come after its end.

        Raises:
            ConfigurationError: This is not the event loop of those who wait.
        """
        self._waits.enter()
        now = self._limiter.now()
        watches = self._watches.get(prediction.id, ())
        self._calls.tell(WebhookReceived(prediction=prediction, awaited=bool(watches)))
        if prediction.status.ended:
            overtaken = self._arrivals.overtaken(prediction.id)
            if overtaken is not None:
                self.rule.hear_late(overtaken, now - overtaken.born)
            if watches:
                self._hear(watches[0], prediction, now)
            else:
                self._arrivals.keep(prediction, now)
            self.arrive(prediction)
        return bool(watches)

    def _hear(self, watch: _Watch, prediction: Prediction, now: float) -> None:
        """Learn from the end of a prediction that a webhook has told."""
        if watch.dated and not watch.seen.status.ended:
            limits = self._limiter.limits
            self.rule.hear(watch.look, now - watch.look.born, _inference(prediction), limits)

    def _recall(self, watch: _Watch) -> None:
        """End a wait that has just begun by a webhook that had come before."""
        kept = self._arrivals.take(watch.seen.id, self._limiter.now())
        if kept is not None:
            self._hear(watch, kept.prediction, kept.at)
            watch.seen = _joined(kept.prediction, watch.seen)
            self.arrive(watch.seen)

    def leave(self, prediction: Prediction) -> None:
        """Leave a prediction that was just submitted to whoever waits for it later."""
        kept = self._arrivals.find(prediction.id, self._limiter.now())
        if kept is not None:
            self.arrive(kept.prediction)
        elif not prediction.status.ended:
            self._limiter.leave(prediction.id, ask_in=self.ask_in(prediction))

    # --- polls -----------------------------------------------------------------------------------

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
        record, model = self._records(watch.seen, dated=watch.look.model is not None)
        if record is not watch.look.record:
            watch.look.belong(record, model)
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
            return await self._calls.turn_to_poll(
                watch.seen.id, turn, bidder=watch.look, until=last
            )
        except LimiterTimeoutError:
            if turn.left() <= 0:
                raise
        sooner = evolve(turn, priority=turn.priority - 1)
        return await self._calls.turn_to_poll(watch.seen.id, sooner)

    def _learn(self, watch: _Watch) -> None:
        """Learn how long it took, where that is known: by the server, or by having watched."""
        inference = _inference(watch.seen)
        if watch.dated and (watch.submitted or inference):
            ready = self._limiter.now() - watch.look.born
            self.rule.learn(watch.look, ready, inference, self._limiter.limits)
            if watch.look.model is not None:
                self._arrivals.overtake(watch.seen.id, watch.look)
                return
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
        record, model = self._records(prediction, dated=True)
        return self.rule.ask_in(record, age, self._limiter.limits, webhook=model is not None)


_waits: WeakKeyDictionary[AnyLimiter, _Waits] = WeakKeyDictionary()


def _inference(prediction: Prediction) -> float | None:
    milliseconds = prediction.inference_ms
    return None if milliseconds is None else milliseconds / 1000


def _version(prediction: Prediction) -> str:
    return prediction.request.version if prediction.request else "v3"


def _joined(seen: Prediction, known: Prediction) -> Prediction:
    """Keep what was known of a prediction and no poll tells."""
    return evolve(seen, model=seen.model or known.model, request=known.request)


def _timed_out(watch: _Watch) -> PredictionTimeoutError:
    last = f" (the last poll failed: {watch.failure})" if watch.failure else ""
    text = f"prediction {watch.seen.id} still runs{last}; wait for its id to go on"
    return PredictionTimeoutError(text, prediction=watch.seen)
