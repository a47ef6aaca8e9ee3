"""The limiter of one process: one scheduler grants room in the window and a slot together.

How waiting works. Callers queue. Whatever changes (an answer, a slot that comes back, a waiter who
leaves) runs the scheduler, a plain function, which hands permits to those whose turn it is; nobody
else is woken. Time itself is watched by one waiter, the timekeeper, who sleeps until the next
moment at which the clock alone changes something; when it gets its permit or leaves, another waiter
takes over. While every token is in flight there is no such moment, and the timekeeper sleeps
without an end: the next answer sets its alarm. The moment is told from the scheduler's last look
at the clock: told from a later one, a change between the two would be waited for without an end.

Order. A lower priority number goes first. Within one, submissions go before polls, because they
fill the slots, until a poll has waited for a twelfth of `per` (5 s of a minute), or the answer that
it would find is expected to have been ready for as long; from there on they take turns. Each kind
is first come first served, except that polls which bring a bidder are granted by what it says that
they are worth, and only while that is a request. A submission that lacks a slot holds up nobody.

Slots of predictions that nobody waits for. The submission at the front, while it lacks a slot, has
an errand: it asks for such a prediction, through the function that it brought along. It goes on
waiting meanwhile, and what it got ends its errand.
"""

from __future__ import annotations

import math
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from wavespeed_async._loops import LoopClock
from wavespeed_async.errors import ConfigurationError, LimiterTimeoutError, RateLimitError
from wavespeed_async.limits._agenda import Agenda
from wavespeed_async.limits._bids import Bids, Scarcity
from wavespeed_async.limits._gate import Gate
from wavespeed_async.limits._limits import Limits
from wavespeed_async.limits._permit import Permit, Waiter
from wavespeed_async.limits._queue import Queue
from wavespeed_async.limits._reserve import Reserve
from wavespeed_async.limits._slots import Slot, Slots
from wavespeed_async.limits._window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wavespeed_async.limits._bids import Bidder
    from wavespeed_async.limits._permit import Ask

__all__ = ["PATIENCE", "RECALL", "Limiter"]

PATIENCE = 1 / 12
"""How long a poll lets submissions pass, as a share of `per`; then they take turns."""
RECALL = 1 / 60
"""How often to look whether what is kept for urgent callers is still needed."""
ASK_AGAIN = 1 / 60
"""How long to leave a prediction alone that could not be asked for, as a share of `per`."""
AT_ONCE = 64
"""Turns granted in one step of the event loop: it would stand still for thousands of them."""
TICK = 1e-6
"""Seconds by which the timekeeper oversleeps, so that rounding never wakes it before its time."""
SNAPSHOT_VERSION = 1


class Limiter:
    """Keep an account's limits for all calls that share it, in one event loop at a time.

    Args:
        limits: What the account is allowed; 120 requests a minute and 20 running by default.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._clock = LoopClock()
        self._window = Window(self._limits)
        self._slots = Slots(self._limits)
        self._gate = Gate(self._limits.per)
        self._submissions: Queue[Waiter] = Queue()
        self._polls: Queue[Waiter] = Queue()
        self._bids: Bids[Waiter] = Bids()
        self._deadlines: Agenda[Waiter] = Agenda()
        self._timekeeper: Waiter | None = None
        self._alarm = math.inf
        self._looked_at = -math.inf
        self._errand: Waiter | None = None
        self._goes_on: Waiter | None = None
        self._poll_was_last = self._bid_was_last = False
        self._loops = 0
        self._reserve = Reserve()

    def __repr__(self) -> str:
        return f"<Limiter {self.running} running, {self.waiting} waiting, {self._limits}>"

    # --- what it shows ---------------------------------------------------------------------------

    @property
    def limits(self) -> Limits:
        """What the account is allowed."""
        return self._limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._limits = limits
        self._window.set_limits(limits)
        self._slots.set_limits(limits)
        self._gate.per = limits.per
        self._schedule(self._clock.now())

    @property
    def running(self) -> int:
        """How many predictions hold a slot."""
        return self._slots.running

    @property
    def running_ids(self) -> tuple[str, ...]:
        """The ids of the predictions that hold a slot, where they are known."""
        return self._slots.named

    @property
    def waiting(self) -> int:
        """How many callers wait for a turn."""
        return len(self._submissions) + len(self._polls) + len(self._bids)

    @property
    def requests_used(self) -> int:
        """How many requests are in the window now."""
        return self._window.used(self._clock.now())

    def now(self) -> float:
        """Tell the time by the limiter's clock, in seconds, which goes on across event loops."""
        return self._clock.now()

    @property
    def loops(self) -> int:
        """How many event loops have used it, one after the other."""
        return self._loops

    def opened(self, user: object) -> None:
        """Hear that a client uses it."""

    async def closed(self, user: object) -> None:
        """Hear that a client has closed."""

    def listen(self, hear: Callable[[Sequence[Any], Limits], None]) -> None:
        """Have somebody hear what other processes of the account have learned: there are none."""

    def pass_on(self, news: Sequence[Any]) -> None:
        """Tell other processes of the account what was learned here: there are none."""

    # --- permits ---------------------------------------------------------------------------------

    async def acquire(
        self,
        *,
        slot: bool = False,
        poll: bool = False,
        priority: int = 0,
        timeout: float = math.inf,
        patience: float | None = None,
        front: bool = False,
        ask: Ask | None = None,
        bidder: Bidder | None = None,
    ) -> Permit:
        """Wait for a turn and answer the permit for one request.

        Args:
            slot: Take a slot with it, for a submission.
            poll: It asks for a result, which counts only where `Limits.polls_count` says so.
            priority: Lower numbers go first.
            timeout: How long to wait.
            patience: How long a pause after a 429 may be, if not as long as `timeout`.
            front: Go before others of this priority: this is another try.
            ask: How to ask for predictions that nobody waits for, when slots are lacking.
            bidder: Says what this poll is worth; it is granted when that is a request.

        Raises:
            LimiterTimeoutError: Its turn did not come within `timeout`.
            RateLimitError: The API asked for a pause that is longer than `patience`.
            ConfigurationError: Another event loop that still runs uses this limiter.
        """
        now = self._enter()
        waiter = Waiter(wants_slot=slot, poll=poll, priority=priority, ask=ask)
        waiter.since = now
        waiter.deadline = now + timeout
        waiter.patience = timeout if patience is None else patience
        pause = self._gate.asked_pause(now)
        if pause > max(0.0, waiter.patience):
            raise _paused(pause)
        if bidder is not None:
            self._bids.join(waiter, bidder, priority)
        else:
            self._queue_of(waiter).join(waiter, priority, front=front)
        if timeout < math.inf:
            self._deadlines.set(waiter, waiter.deadline)
        self._schedule(now)
        if waiter.outcome is None:
            await self._wait(waiter)
        else:
            self._resign(waiter)
        if isinstance(waiter.outcome, Permit):
            return waiter.outcome
        raise waiter.outcome  # type: ignore[misc]  # the wait is over: it is an error

    async def _wait(self, waiter: Waiter) -> None:
        try:
            while waiter.outcome is None:
                if waiter.errand is None:
                    await self._sleep(waiter)
                else:
                    await self._run_errand(waiter, waiter.errand)
        except BaseException:
            self._cancel(waiter)
            raise
        finally:
            self._resign(waiter)

    async def _sleep(self, waiter: Waiter) -> None:
        """Sleep until called; the timekeeper, until the clock alone changes something."""
        waiter.event = anyio.Event()
        if self._timekeeper is not None and self._timekeeper is not waiter:
            await waiter.event.wait()
            return
        # Told from the last look on: what has come since then is no change that is still to come.
        self._timekeeper, self._alarm = waiter, self._next_change(self._looked_at)
        with anyio.move_on_after(max(0.0, self._alarm - self._clock.now()) + TICK):
            await waiter.event.wait()
        self._schedule(self._clock.now())

    async def _run_errand(self, waiter: Waiter, slot: Slot) -> None:
        """Ask for a prediction that nobody waits for, and go on waiting meanwhile."""
        answers: list[float | None] = []
        failures: list[Exception] = []

        async def ask() -> None:
            try:
                answers.append(await waiter.ask(slot.id))  # type: ignore[misc, arg-type]  # an errand has both
            except Exception as error:  # noqa: BLE001 (raised below, without a group around it)
                failures.append(error)
            waiter.wake()

        try:
            async with anyio.create_task_group() as group:
                group.start_soon(ask)
                while not (answers or failures or waiter.outcome):
                    await self._sleep(waiter)
                group.cancel_scope.cancel()
        finally:
            self._end_errand(waiter, slot, answers[0] if answers else self._limits.per * ASK_AGAIN)
        if failures:
            raise failures[0]

    def _end_errand(self, waiter: Waiter, slot: Slot, ask_in: float | None) -> None:
        """Free the slot of a prediction that has ended (None), else put it back in the line."""
        waiter.errand = None
        if self._errand is waiter:
            self._errand = None
        now = self._clock.now()
        if ask_in is None:
            self._slots.release(slot)
        else:
            self._slots.postpone(slot, now + ask_in)
        self._schedule(now)

    def _cancel(self, waiter: Waiter) -> None:
        """Undo what a waiter got, or would have got, when it is cancelled."""
        if waiter.queued:
            self._dequeue(waiter)
            self._schedule(self._clock.now())
        elif isinstance(waiter.outcome, Permit):
            if waiter.outcome.slot is not None:
                self._slots.release(waiter.outcome.slot)
            waiter.outcome.withdrawn()

    def _resign(self, waiter: Waiter) -> None:
        """Hand over what a waiter did for all when its wait is over."""
        if self._timekeeper is waiter:
            self._timekeeper = None
            self._schedule(self._clock.now())
        if self._errand is waiter and waiter.errand is not None:  # it has not begun
            self._end_errand(waiter, waiter.errand, 0.0)
        if self._goes_on is waiter:
            self._goes_on = None
            self._schedule(self._clock.now())

    # --- slots -----------------------------------------------------------------------------------

    def name(self, slot: Slot, prediction_id: str) -> None:
        """Note which prediction runs in a slot: its submission was answered."""
        self._slots.name(slot, prediction_id)
        self._schedule(self._clock.now())

    def release(self, slot: Slot) -> None:
        """Give back the slot of a submission that was refused, or that never left."""
        self._slots.release(slot)
        self._schedule(self._clock.now())

    def abandon(self, slot: Slot) -> None:
        """Leave the slot of a submission that may run, while its id is unknown."""
        now = self._clock.now()
        self._slots.leave(slot, now)
        self._schedule(now)

    def age(self, prediction_id: str) -> float | None:
        """Tell for how many seconds a prediction has held its slot; None where it holds none."""
        slot = self._slots.find(prediction_id)
        return None if slot is None else self._clock.now() - slot.since

    def attend(self, prediction_id: str) -> bool:
        """Note that a caller waits for a prediction; False where it holds no slot (yet)."""
        self._enter()
        slot = self._slots.find(prediction_id)
        if slot is not None:
            self._slots.attend(slot)
        return slot is not None

    def adopt(self, prediction_id: str) -> None:
        """Attend a prediction that was found running; its slot may go beyond the limit."""
        self._slots.attend(self._slots.adopt(prediction_id, self._enter()))

    def leave(self, prediction_id: str, *, ask_in: float = 0.0) -> None:
        """Note that a caller has stopped waiting; asking may be worth it in `ask_in` seconds."""
        slot = self._slots.find(prediction_id)
        if slot is not None:
            now = self._clock.now()
            self._slots.leave(slot, now, ask_in)
            self._schedule(now)

    def ended(self, prediction_id: str) -> None:
        """Give back the slot of a prediction that is known to have ended, if it holds one."""
        slot = self._slots.find(prediction_id)
        if slot is not None:
            self.release(slot)

    # --- the scheduler ---------------------------------------------------------------------------

    def _settle(
        self,
        permit: Permit,
        *,
        limited: bool = False,
        retry_after: float | None = None,
        lost: bool = False,
        unsent: bool = False,
    ) -> float | None:
        """Take the report on a permit, once; see its three methods."""
        if permit.settled:
            return None
        permit.settled = True
        permit.never_left = unsent
        now = self._clock.now()
        if permit.token is not None:
            if unsent:
                self._window.withdraw(permit.token)
            else:
                self._window.count(permit.token, now + (self._limits.grace if lost else 0.0))
        pause = None
        if lost or unsent:
            self._gate.lost(permit.passed)
        elif limited:
            pause = self._gate.refused(permit.passed, now, retry_after)
            if pause is not None:
                self._turn_away_impatient(self._gate.asked_pause(now))
        else:
            self._gate.passed(permit.passed)
        self._schedule(now)
        return pause

    def _hold(self, permit: Permit) -> None:
        """Count a request that the server holds by the time at which it is assumed to have it."""
        now = self._clock.now()
        if permit.token is not None and not permit.settled:
            self._window.count(permit.token, now + self._limits.uplink)
        self._schedule(now)

    def _schedule(self, now: float) -> None:
        """Grant what can be granted now, see to errands and deadlines, set the alarm."""
        self._turn_away(now)
        self._slots.sweep(now)
        if self._goes_on is None:
            self._grant_some(now)
        if self._goes_on is None:
            self._send_errand(now)
        self._set_alarm(now)

    def _grant_some(self, now: float) -> None:
        """Grant what can be granted; the last of very many goes on as it wakes, a step later."""
        waiter = None
        for _ in range(AT_ONCE):
            waiter = self._next(now)
            if waiter is None:
                return
            self._grant(waiter, now)
        self._goes_on = waiter

    def _next(self, now: float) -> Waiter | None:
        """Choose who is served now."""
        self._bids.again = math.inf
        if not self._gate.admits(now):
            return None
        submission = self._submissions.first() if self._slots.free > 0 else None
        poll, overdue = self._next_poll(now)
        order = [submission, poll]
        if self._poll_goes_first(submission, poll, overdue=overdue):
            order.reverse()
        for waiter in order:
            if waiter is not None and self._has_room(waiter, now):
                return waiter
        return None

    def _counts(self, waiter: Waiter) -> bool:
        return not waiter.poll or self._limits.polls_count

    def _has_room(self, waiter: Waiter, now: float) -> bool:
        return not self._counts(waiter) or self._room(waiter.priority, now) > 0

    def _room(self, priority: int, now: float) -> int:
        """Tell how many requests a priority may send now."""
        return self._window.free(now) - self._reserve.kept(priority, now, self._limits)

    def _next_poll(self, now: float) -> tuple[Waiter | None, bool]:
        """Choose a poll, and tell whether it has been due for long."""
        patience = self._limits.per * PATIENCE
        plain = self._polls.first()
        best = self._bids.best(now, partial(self._scarcity, now)) if self._bids else None
        if best is None:
            return plain, plain is not None and now - plain.since >= patience
        waiter, overdue = best[0], best[1].delay(now) >= patience
        if plain is None or plain.priority > waiter.priority:
            return waiter, overdue
        if plain.priority < waiter.priority or not overdue or self._bid_was_last:
            return plain, now - plain.since >= patience
        return waiter, overdue

    def _scarcity(self, now: float, priority: int) -> Scarcity:
        """Tell how scarce requests and slots are for a poll of a priority."""
        waiting = self._submissions.count(priority)
        return Scarcity(
            limits=self._limits,
            free=max(0, self._room(priority, now)),
            running=self._slots.running,
            waiting=waiting,
            behind=len(self._submissions) - waiting,
        )

    def _poll_goes_first(
        self, submission: Waiter | None, poll: Waiter | None, *, overdue: bool
    ) -> bool:
        if submission is None or poll is None or submission.priority != poll.priority:
            return poll is not None and (submission is None or poll.priority < submission.priority)
        return overdue and not self._poll_was_last

    def _grant(self, waiter: Waiter, now: float) -> None:
        if not waiter.wants_slot:
            self._bid_was_last = waiter in self._bids
        self._dequeue(waiter)
        slot = self._slots.take(now) if waiter.wants_slot else None
        token = self._window.take() if self._counts(waiter) else None
        self._reserve.note(waiter.priority, now)
        waiter.outcome = Permit(self._settle, self._hold, token, self._gate.enter(), slot)
        waiter.wake()
        self._poll_was_last = not waiter.wants_slot

    def _turn_away(self, now: float) -> None:
        """End the waits whose deadline has passed."""
        while self._deadlines.next_time() < now:
            message = "the limits left no room in time; nothing was sent"
            self._refuse(self._deadlines.take(), LimiterTimeoutError(message))

    def _turn_away_impatient(self, pause: float) -> None:
        """End the waits that a pause makes hopeless."""
        for waiter in self._everyone():
            if waiter.patience < pause:
                self._refuse(waiter, _paused(pause))

    def _refuse(self, waiter: Waiter, error: Exception) -> None:
        self._dequeue(waiter)
        waiter.outcome = error
        waiter.wake()

    def _send_errand(self, now: float) -> None:
        """Have the first who lacks a slot ask for a prediction that nobody waits for."""
        waiter = self._submissions.first()
        if waiter is None or self._slots.free > 0 or self._errand is not None:
            return
        slot = self._slots.take_due(now)
        if slot is None:
            return
        if waiter.ask is None:
            self._slots.postpone(slot, now + self._limits.per * ASK_AGAIN)
            return
        self._errand, waiter.errand = waiter, slot
        waiter.wake()

    def _set_alarm(self, now: float) -> None:
        """Make sure that somebody watches the clock, and for the right moment."""
        self._looked_at = now
        if self._timekeeper is None:
            waiter = self._submissions.last() or self._polls.last() or self._bids.last()
            if waiter is not None:
                self._timekeeper, self._alarm = waiter, -math.inf
                waiter.wake()
        elif self._next_change(now) < self._alarm:
            self._timekeeper.wake()

    def _next_change(self, now: float) -> float:
        """Tell when the clock alone will change something for those who wait."""
        changes = [self._gate.next_change(now), self._deadlines.next_time()]
        lacking_slots = len(self._submissions) > 0 and self._slots.free <= 0
        if lacking_slots:
            changes.append(self._slots.next_abandoned())
        if lacking_slots and self._errand is None:
            changes.append(self._slots.next_asked())
        if self._gate.admits(now):
            changes.append(self._bids.again)
            changes.extend(self._next_room(priority, now) for priority in self._lacking_room(now))
        return min(changes)

    def _lacking_room(self, now: float) -> set[int]:
        """List the priorities that wait for room in the window."""
        priorities = set(self._bids.priorities) if self._limits.polls_count else set()
        submission, poll = self._submissions.first(), self._polls.first()
        if submission is not None and self._slots.free > 0:
            priorities.add(submission.priority)
        if poll is not None and self._counts(poll):
            priorities.add(poll.priority)
        return {priority for priority in priorities if self._room(priority, now) <= 0}

    def _next_room(self, priority: int, now: float) -> float:
        """Tell when there will be room for a priority, or when to look again."""
        kept = self._reserve.kept(priority, now, self._limits)
        at = self._window.next_free(now, kept)
        return min(at, now + self._limits.per * RECALL) if kept else at

    def _queue_of(self, waiter: Waiter) -> Queue[Waiter]:
        return self._submissions if waiter.wants_slot else self._polls

    def _everyone(self) -> list[Waiter]:
        queues = (self._submissions, self._polls, self._bids)
        return [waiter for queue in queues for waiter in queue.everyone()]

    def _dequeue(self, waiter: Waiter) -> None:
        if waiter in self._bids:
            self._bids.leave(waiter)
        else:
            self._queue_of(waiter).leave(waiter, waiter.priority)
        self._deadlines.drop(waiter)
        waiter.queued = False

    # --- from one event loop, and one process, to the next ---------------------------------------

    def _enter(self) -> float:
        """Attach to the running event loop; what an earlier one left behind is given up."""
        changed = self._clock.enter("the limiter")
        now = self._clock.now()
        self._loops += changed
        if changed:
            message = "the event loop of this call stood still while another one used the limiter"
            for waiter in self._everyone():
                self._refuse(waiter, ConfigurationError(message))
            self._window.give_up_all(now + self._limits.grace)
            self._slots.leave_all(now)
            self._timekeeper = self._errand = self._goes_on = None
            self._gate.lost_all()
        return now

    def snapshot(self) -> dict[str, Any]:
        """Tell the window and the running slots as JSON can hold them, in Unix seconds.

        A request that is in flight is told as one that is given up now.
        """
        now = self._clock.now()
        taken = time.time()
        flying = [now + self._limits.grace] * self._window.in_flight
        return {
            "version": SNAPSHOT_VERSION,
            "taken": taken,
            "monotonic": time.monotonic(),
            "requests": [taken + (at - now) for at in (*self._window.times, *flying)],
            "running": list(self._slots.named),
            "unnamed_until": [taken + (at - now) for at in self._slots.unnamed_until(now)],
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Count what a snapshot tells as if this limiter had sent it.

        Raises:
            ConfigurationError: The snapshot is of another version.
        """
        if snapshot.get("version") != SNAPSHOT_VERSION:
            message = (
                f"the snapshot is of version {snapshot.get('version')}, not {SNAPSHOT_VERSION}"
            )
            raise ConfigurationError(message)
        now = self._clock.now()
        shift = now - _seconds_since(snapshot) - snapshot["taken"]
        self._window.add(at + shift for at in snapshot["requests"])
        for prediction_id in snapshot["running"]:
            slot = self._slots.adopt(prediction_id, now)
            self._slots.postpone(slot, now)
        for until in snapshot["unnamed_until"]:
            self._slots.restore(until + shift, now)
        self._schedule(now)


def _seconds_since(snapshot: Mapping[str, Any]) -> float:
    """Tell how long ago a snapshot was taken; too little rather than too much.

    The wall clock may have been set meanwhile. The monotonic clock cannot be, but begins again with
    each boot; the smaller of the two is safe, since both tell at least 0 of a time that has passed.
    """
    wall: float = time.time() - snapshot["taken"]
    steady: float = time.monotonic() - snapshot["monotonic"]
    return max(0.0, wall if steady < 0 else min(wall, steady))


def _paused(pause: float) -> RateLimitError:
    text = (
        f"the API asked for a pause of {pause:.0f} s, longer than this may wait; nothing was sent"
    )
    return RateLimitError(text, retry_after=pause)
