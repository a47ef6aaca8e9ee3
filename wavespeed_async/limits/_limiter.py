"""The limiter of one process: one scheduler grants room in the window and a slot together.

How waiting works. Callers queue. Whatever changes (an answer, a slot that comes back, a waiter who
leaves) runs the scheduler, a plain function, which hands permits to those whose turn it is; nobody
else is woken. Time itself is watched by one waiter, the timekeeper, who sleeps until the next
moment at which the clock alone changes something; when it gets its permit or leaves, another waiter
takes over. While every token is in flight there is no such moment, and the timekeeper sleeps
without an end: the next answer sets its alarm.

Order. A lower priority number goes first. Within one, submissions go before polls, because they
fill the slots, until the first poll has waited for a twelfth of `per` (5 s of a minute). Each kind
is first come first served. A submission that lacks a slot holds up nobody.

Slots of predictions that nobody waits for. The submission at the front, while it lacks a slot, is
sent on an errand: it asks for such a prediction, through the function that it brought along.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Mapping
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import anyio

from wavespeed_async._loops import LoopClock
from wavespeed_async.errors import ConfigurationError, LimiterTimeoutError, RateLimitError
from wavespeed_async.limits._gate import Gate
from wavespeed_async.limits._limits import Limits
from wavespeed_async.limits._queue import Queue
from wavespeed_async.limits._slots import Slot, Slots
from wavespeed_async.limits._window import Window

if TYPE_CHECKING:
    from wavespeed_async.limits._window import Token

__all__ = ["Ask", "Limiter", "Permit"]

Ask: TypeAlias = Callable[[str], Awaitable[float | None]]
"""Ask for a prediction by its id: None if it has ended, else in how many seconds to ask again."""

PATIENCE = 1 / 12
"""How long a poll lets submissions pass, as a share of `per`."""
ASK_AGAIN = 1 / 60
"""How long to leave a prediction alone that could not be asked for, as a share of `per`."""
TICK = 1e-6
"""Seconds by which the timekeeper oversleeps, so that rounding never wakes it before its time."""
SNAPSHOT_VERSION = 1


class _Settle(Protocol):
    def __call__(
        self,
        permit: Permit,
        /,
        *,
        limited: bool = False,
        retry_after: float | None = None,
        lost: bool = False,
        unsent: bool = False,
    ) -> float | None: ...


class Permit:
    """Allow one request; report exactly one of `answered`, `given_up`, `withdrawn` when it is over.

    Attributes:
        slot: The slot that came with it, if one was asked for.
        never_left: Whether it was reported as withdrawn.
    """

    __slots__ = ("_settle", "never_left", "passed", "settled", "slot", "token")

    def __init__(
        self, settle: _Settle, token: Token | None, passed: int, slot: Slot | None
    ) -> None:
        self._settle = settle
        self.token = token
        self.passed = passed
        self.settled = False
        self.never_left = False
        self.slot = slot

    def answered(self, *, limited: bool = False, retry_after: float | None = None) -> float | None:
        """Report an answer; `limited` for a 429, which closes the gate: then answer its pause."""
        return self._settle(self, limited=limited, retry_after=retry_after)

    def given_up(self) -> None:
        """Report that no answer will be read: the request may still arrive."""
        self._settle(self, lost=True)

    def withdrawn(self) -> None:
        """Report that the request provably never left: its room comes back at once."""
        self._settle(self, unsent=True)


class _Waiter:
    """Stand in the queue: for a slot and a request, or for a request alone."""

    __slots__ = (
        "ask", "counted", "deadline", "errand", "error", "event", "patience", "permit",
        "priority", "queued", "since", "wants_slot",
    )  # fmt: skip

    def __init__(self, *, wants_slot: bool, counted: bool, priority: int, ask: Ask | None) -> None:
        self.wants_slot, self.counted, self.priority, self.ask = wants_slot, counted, priority, ask
        self.since = 0.0
        self.deadline = self.patience = math.inf
        self.queued = True
        self.permit: Permit | None = None
        self.errand: Slot | None = None
        self.error: Exception | None = None
        self.event: anyio.Event | None = None

    def wake(self) -> None:
        """Have the waiter look at what it got."""
        if self.event is not None:
            self.event.set()

    def outcome(self) -> Permit:
        """Answer the permit, or raise the error: one of the two ends a wait."""
        if self.permit is None:
            raise self.error or RuntimeError
        return self.permit


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
        self._submissions: Queue[_Waiter] = Queue()
        self._polls: Queue[_Waiter] = Queue()
        self._deadlines: list[tuple[float, int, _Waiter]] = []
        self._arrivals = 0
        self._timekeeper: _Waiter | None = None
        self._alarm = math.inf
        self._errand: _Waiter | None = None
        self._restored: list[Mapping[str, Any]] = []

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
        return len(self._submissions) + len(self._polls)

    @property
    def requests_used(self) -> int:
        """How many requests are in the window now."""
        return self._window.used(self._clock.now())

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

        Raises:
            LimiterTimeoutError: Its turn did not come within `timeout`.
            RateLimitError: The API asked for a pause that is longer than `patience`.
            ConfigurationError: Another event loop that still runs uses this limiter.
        """
        now = self._enter()
        waiter = _Waiter(
            wants_slot=slot,
            counted=not poll or self._limits.polls_count,
            priority=priority,
            ask=ask,
        )
        waiter.since = now
        waiter.deadline = now + timeout
        waiter.patience = timeout if patience is None else patience
        if self._gate.opens_in(now) > waiter.patience:
            raise _paused(self._gate.opens_in(now))
        self._queue_of(waiter).join(waiter, priority, front=front)
        self._schedule(now)
        if waiter.permit is not None:
            return waiter.permit
        self._watch_deadline(waiter)
        return await self._wait(waiter)

    async def _wait(self, waiter: _Waiter) -> Permit:
        try:
            while waiter.permit is None and waiter.error is None:
                if waiter.errand is not None:
                    await self._run_errand(waiter, waiter.errand)
                else:
                    await self._sleep(waiter)
        except BaseException:
            self._cancel(waiter)
            raise
        finally:
            if self._timekeeper is waiter:
                self._timekeeper = None
                self._set_alarm(self._clock.now())
        return waiter.outcome()

    async def _sleep(self, waiter: _Waiter) -> None:
        """Sleep until called; the timekeeper, until the clock alone changes something."""
        waiter.event = anyio.Event()
        if self._timekeeper is not None and self._timekeeper is not waiter:
            await waiter.event.wait()
            return
        now = self._clock.now()
        self._timekeeper, self._alarm = waiter, self._next_change(now)
        with anyio.move_on_after(max(0.0, self._alarm - now) + TICK):
            await waiter.event.wait()
        self._schedule(self._clock.now())

    async def _run_errand(self, waiter: _Waiter, slot: Slot) -> None:
        """Ask for a prediction that nobody waits for; its slot comes back if it has ended."""
        if self._timekeeper is waiter:
            self._timekeeper = None
            self._set_alarm(self._clock.now())
        ask_in: float | None = self._limits.per * ASK_AGAIN
        try:
            with anyio.move_on_after(waiter.deadline - self._clock.now()):
                ask_in = await waiter.ask(slot.id)  # type: ignore[misc, arg-type]  # an errand has both
        finally:
            waiter.errand = self._errand = None
            if ask_in is None:
                self._slots.release(slot)
            else:
                self._slots.postpone(slot, self._clock.now() + ask_in)
            self._schedule(self._clock.now())

    def _cancel(self, waiter: _Waiter) -> None:
        """Undo what a waiter got, or would have got, when it is cancelled."""
        if waiter.queued:
            self._dequeue(waiter)
        if waiter.permit is not None:
            if waiter.permit.slot is not None:
                self._slots.release(waiter.permit.slot)
            waiter.permit.withdrawn()

    # --- slots -----------------------------------------------------------------------------------

    def name(self, slot: Slot, prediction_id: str) -> None:
        """Note which prediction runs in a slot: its submission was answered."""
        self._slots.name(slot, prediction_id)

    def release(self, slot: Slot) -> None:
        """Give back the slot of a submission that was refused, or that never left."""
        self._slots.release(slot)
        self._schedule(self._clock.now())

    def abandon(self, slot: Slot) -> None:
        """Leave the slot of a submission that may run, while its id is unknown."""
        self._slots.leave(slot, self._clock.now())

    def age(self, prediction_id: str) -> float | None:
        """Tell for how many seconds a prediction has held its slot; None where it holds none."""
        slot = self._slots.find(prediction_id)
        return None if slot is None else self._clock.now() - slot.since

    def attend(self, prediction_id: str) -> bool:
        """Note that a caller waits for a prediction; False where it holds no slot (yet)."""
        slot = self._slots.find(prediction_id)
        if slot is not None:
            self._slots.attend(slot)
        return slot is not None

    def adopt(self, prediction_id: str) -> None:
        """Attend a prediction that was found running; its slot may go beyond the limit."""
        self._enter()
        self._slots.attend(self._slots.adopt(prediction_id, self._clock.now()))

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
            self._turn_away_impatient(pause or 0.0)
        else:
            self._gate.passed(permit.passed)
        self._schedule(now)
        return pause

    def _schedule(self, now: float) -> None:
        """Grant what can be granted now, see to errands and deadlines, set the alarm."""
        self._turn_away(now)
        while (waiter := self._next(now)) is not None:
            self._grant(waiter, now)
        self._send_errand(now)
        self._set_alarm(now)

    def _next(self, now: float) -> _Waiter | None:
        """Choose who is served now."""
        if not self._gate.admits(now):
            return None
        self._slots.sweep(now)
        submission = self._submissions.first() if self._slots.free > 0 else None
        order = [submission, self._polls.first()]
        if self._poll_goes_first(*order, now=now):
            order.reverse()
        for waiter in order:
            if waiter is not None and (not waiter.counted or self._window.free(now) > 0):
                return waiter
        return None

    def _poll_goes_first(
        self, submission: _Waiter | None, poll: _Waiter | None, *, now: float
    ) -> bool:
        if submission is None or poll is None or submission.priority != poll.priority:
            return poll is not None and (submission is None or poll.priority < submission.priority)
        return now - poll.since >= self._limits.per * PATIENCE

    def _grant(self, waiter: _Waiter, now: float) -> None:
        self._dequeue(waiter)
        slot = self._slots.take(now) if waiter.wants_slot else None
        token = self._window.take() if waiter.counted else None
        waiter.permit = Permit(self._settle, token, self._gate.enter(), slot)
        waiter.wake()

    def _turn_away(self, now: float) -> None:
        """End the waits whose deadline has come."""
        while (waiter := self._first_deadline()) is not None and waiter.deadline <= now:
            message = "the limits left no room in time; nothing was sent"
            self._refuse(waiter, LimiterTimeoutError(message))

    def _turn_away_impatient(self, pause: float) -> None:
        """End the waits that a pause makes hopeless."""
        for waiter in (*self._submissions.everyone(), *self._polls.everyone()):
            if waiter.patience < pause:
                self._refuse(waiter, _paused(pause))

    def _refuse(self, waiter: _Waiter, error: Exception) -> None:
        self._dequeue(waiter)
        waiter.error = error
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
        if self._timekeeper is None:
            waiter = self._submissions.last()
            if waiter is None or waiter.errand is not None:
                waiter = self._polls.last()
            if waiter is not None:
                self._timekeeper, self._alarm = waiter, -math.inf
                waiter.wake()
        elif self._next_change(now) < self._alarm:
            self._timekeeper.wake()

    def _next_change(self, now: float) -> float:
        """Tell when the clock alone will change something for those who wait."""
        changes = [self._gate.next_change()]
        first = self._first_deadline()
        changes.append(None if first is None else first.deadline)
        lacking_slots = len(self._submissions) > 0 and self._slots.free <= 0
        if lacking_slots and self._errand is None:
            changes.append(self._slots.next_due())
        if self._gate.admits(now) and (self._polls or not lacking_slots):
            changes.append(self._window.next_free(now))
        return min((change for change in changes if change is not None), default=math.inf)

    def _queue_of(self, waiter: _Waiter) -> Queue[_Waiter]:
        return self._submissions if waiter.wants_slot else self._polls

    def _dequeue(self, waiter: _Waiter) -> None:
        self._queue_of(waiter).leave(waiter, waiter.priority)
        waiter.queued = False

    def _watch_deadline(self, waiter: _Waiter) -> None:
        if waiter.deadline < math.inf:
            self._arrivals += 1
            heappush(self._deadlines, (waiter.deadline, self._arrivals, waiter))

    def _first_deadline(self) -> _Waiter | None:
        """Find who is turned away first, dropping those who no longer wait."""
        while self._deadlines and not self._deadlines[0][2].queued:
            heappop(self._deadlines)
        return self._deadlines[0][2] if self._deadlines else None

    # --- from one event loop, and one process, to the next ---------------------------------------

    def _enter(self) -> float:
        """Attach to the running event loop; what an earlier one left behind is given up."""
        changed = self._clock.enter("the limiter")
        now = self._clock.now()
        if changed:
            self._window.give_up_all(now + self._limits.grace)
            self._slots.leave_all(now)
            self._submissions, self._polls, self._deadlines = Queue(), Queue(), []
            self._timekeeper = self._errand = None
            self._gate.lost_all()
        while self._restored:
            self._take_over(self._restored.pop(), now)
        return now

    def snapshot(self) -> dict[str, Any]:
        """Tell the window and the running slots as JSON can hold them, in Unix seconds.

        A request that is in flight is told as one that is given up now.
        """
        now = self._clock.now()
        wall = time.time() - now
        flying = [now + self._limits.grace] * self._window.in_flight
        return {
            "version": SNAPSHOT_VERSION,
            "requests": [wall + at for at in (*self._window.times, *flying)],
            "running": list(self._slots.named),
            "unnamed_until": [wall + at for at in self._slots.unnamed_until(now)],
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Count what a snapshot tells as if this limiter had sent it; from the next call on.

        Raises:
            ConfigurationError: The snapshot is of another version.
        """
        if snapshot.get("version") != SNAPSHOT_VERSION:
            message = (
                f"the snapshot is of version {snapshot.get('version')}, not {SNAPSHOT_VERSION}"
            )
            raise ConfigurationError(message)
        self._restored.append(snapshot)

    def _take_over(self, snapshot: Mapping[str, Any], now: float) -> None:
        # The wall clock may have been set meanwhile: no time is later than it can have been.
        shift = now - time.time()
        latest = now + self._limits.grace
        self._window.add(min(at + shift, latest) for at in snapshot["requests"])
        for prediction_id in snapshot["running"]:
            slot = self._slots.adopt(prediction_id, now)
            self._slots.postpone(slot, now)
        for at in snapshot["unnamed_until"]:
            slot = self._slots.take(now)
            slot.waiters = 0
            self._slots.postpone(slot, min(at + shift, now + self._limits.abandon_after))


def _paused(pause: float) -> RateLimitError:
    text = (
        f"the API asked for a pause of {pause:.0f} s, longer than this may wait; nothing was sent"
    )
    return RateLimitError(text, retry_after=pause)
