"""The limiter of one account over many processes: the scheduler of one, its store in Redis.

Who decides. Whose turn it is, is decided in Redis, by one script and by Redis's own clock
(`exchange.lua` and its neighbours). Each caller here stands in the account's queue there, with the
time at which it came; a poll that brings a bidder stands there for its whole priority, as soon as
the best of them is worth a request, and its turn goes to the one that is worth most by then. A turn
that nobody here needs any more goes back at once: no process hoards.

What keeps the proof of `_window.py`. A request is in the window from its grant until `per` after
its answer, which is told as seconds ago, so that neither the way to Redis nor another clock makes
it shorter. A process keeps a lease; one that is silent for longer is taken for dead, and what it
had on its way counts as given up at the end of its lease: `grace` and `per` later its room comes
back. A store that is empty, or another server than before, or that knows less than a process has
seen of it, may have forgotten grants: it grants nothing for a lease, `grace` and `per`, while every
process that is alive tells it what it has in flight and running. This assumes that a request
reaches the API within a lease and `grace` of its turn where Redis cannot be reached meanwhile, and
that Redis's clock is not put forward by a leap.

What a process owns. With a `Share` the scheduler of one process serves callers from that first, and
Redis keeps the rest of the limits for all; see `_share.py`, which has the proof.

Its task. A courier carries what is to be told, and keeps the lease. The limiter owns it: it begins
with the first call in an event loop and ends with the last client that uses the limiter, with
`aclose`, or with the loop.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import math
import os
import secrets
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakSet

import anyio
from anyio.lowlevel import current_token
from attrs import asdict, define

from wavespeed_async._loops import LoopClock
from wavespeed_async.errors import ConfigurationError, LimiterTimeoutError
from wavespeed_async.limits._bids import Scarcity
from wavespeed_async.limits._gate import FIRST_PAUSE, LONGEST_PAUSE
from wavespeed_async.limits._limiter import PATIENCE, RECALL, Limiter
from wavespeed_async.limits._permit import Permit
from wavespeed_async.limits._reserve import KEPT
from wavespeed_async.limits._window import Window, rules_of
from wavespeed_async.limits.redis._courier import Address, Courier
from wavespeed_async.limits.redis._leases import (
    Flights,
    GateView,
    Lease,
    LeasedSlot,
    LeasedSlots,
    Line,
)
from wavespeed_async.limits.redis._outbox import Letter, Outbox, Want

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from wavespeed_async.limits._bids import Bidder
    from wavespeed_async.limits._limits import Limits
    from wavespeed_async.limits._permit import Waiter
    from wavespeed_async.limits._slots import Slot
    from wavespeed_async.limits.redis._share import Share

__all__ = ["RedisLimiter"]

_log = logging.getLogger("wavespeed_async")

LEASE = 1 / 6
"""How long a process may be silent until it is taken for dead, as a share of `per`."""
LAZY = 1 / 600
"""How long a report may wait for others to be told with it, as a share of `per`."""
UNREACHABLE_AFTER = 30.0
"""Seconds without Redis after which those who wait are turned away."""
CLOSE_WITHIN = 2.0
"""Seconds that the last letter may take; without it the lease has to run out."""
ALLOWED_NAME = 200
"""How long an account's name may be."""


@define
class _Figures:
    """Hold what Redis told last of the account as a whole.

    Attributes:
        free: How many requests the window has room for.
        running: How many predictions hold a slot.
        used: How many requests are in the window.
        waiting: How many submissions wait, by priority.
    """

    free: int = 1
    running: int = 0
    used: int = 0
    waiting: tuple[tuple[int, int], ...] = ()


class RedisLimiter(Limiter):
    """Keep one account's limits for all processes that use the same Redis, under asyncio.

    Give it to clients as their `limiter`, or use it as an async context manager beside them. An
    empty store grants nothing for a lease, `grace` and `per` (80 s of a minute): it might have
    been lost.

    Args:
        url: Where Redis is: `redis://user:password@host:6379/0`, `rediss://…` or `unix://…`.
        account: Names the account; those who name the same one share its limits.
        limits: What the account is allowed; the same in all processes.
        lease: Seconds of silence after which a process is taken for dead; a sixth of `per`.
        unreachable_after: Seconds without Redis after which calls that wait for their turn raise
            `LimiterTimeoutError`; nothing is sent meanwhile.
        share: What each process owns of the limits; with it calls go on waiting while Redis is
            away, and are served from that.

    Raises:
        ConfigurationError: The URL is none of Redis, or a setting cannot be.
    """

    def __init__(
        self,
        url: str,
        *,
        account: str,
        limits: Limits | None = None,
        lease: float | None = None,
        unreachable_after: float = UNREACHABLE_AFTER,
        share: Share | None = None,
    ) -> None:
        super().__init__(limits)
        self._address = Address(url)
        self._account = _checked_name(account)
        self._lease = _checked_time("lease", self._limits.per * LEASE if lease is None else lease)
        self._unreachable_after = _checked_time("unreachable_after", unreachable_after)
        self._share = share
        self._rest = self._limits if share is None else share.rest(self._limits)
        self._own = None if share is None else share.own(self._limits)
        self._away = False
        self._users: WeakSet[object] = WeakSet()
        self._generation, self._sequence = "", 0
        self._courier: Courier | None = None
        self._task: asyncio.Task[None] | None = None
        self._hear: Callable[[Sequence[Any], Limits], None] | None = None
        self._gate: GateView = GateView(self._limits.per)
        self._begin()

    def __repr__(self) -> str:
        return (
            f"<RedisLimiter {self._account!r} at {self._address!r}, {self.running} running, "
            f"{self.waiting} waiting, {self._limits}>"
        )

    def _begin(self) -> None:
        """Begin as a process that Redis has never heard of."""
        self._process = os.getpid()
        self._holder = secrets.token_hex(8)
        self._numbers = itertools.count(1)
        self._outbox = Outbox()
        self._flights = Flights(rules_of(self._limits)[0][1])
        self._slots: LeasedSlots = self._used_up()
        self._submissions: Line = Line(self._outbox, self._want, self._lazily)
        self._polls: Line = Line(self._outbox, self._want, self._lazily)
        self._poll_wants: dict[int, Want] = {}
        self._letter: Letter | None = None
        self._enrols = True
        self._seen = 0
        self._alarm_in_redis = math.inf
        self._figures = _Figures()

    def _used_up(self) -> LeasedSlots:
        """Begin with a window and slots of its own that an earlier process has just used up."""
        now, limits = self._clock.now(), self._limits
        self._window = Window(self._own or limits)
        if self._own is not None:
            self._window.add([now + limits.grace] * self._own.requests)
        return LeasedSlots(self._own, now + limits.abandon_after, self._outbox, self._new_name)

    # --- what it shows ---------------------------------------------------------------------------

    @property
    def limits(self) -> Limits:
        """What the account is allowed."""
        return self._limits

    @limits.setter
    def limits(self, limits: Limits) -> None:  # noqa: ARG002 (it says how to go on)
        message = f"the limits of a RedisLimiter stay as they are ({self._limits}); make a new one"
        raise ConfigurationError(message)

    @property
    def running(self) -> int:
        """How many predictions hold a slot, of all processes, as Redis told last."""
        owned = self._slots.owned
        return max(self._figures.running, self._slots.running - owned) + owned

    @property
    def requests_used(self) -> int:
        """How many requests are in the window, of all processes, as Redis told last."""
        return self._figures.used + (self._window.used(self._clock.now()) if self._own else 0)

    # --- its task --------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._enter()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def opened(self, user: object) -> None:
        """Hear that a client uses it."""
        self._users.add(user)

    async def closed(self, user: object) -> None:
        """Hear that a client has closed; the last one ends the task."""
        self._users.discard(user)
        if not self._users:
            await self.aclose()

    def listen(self, hear: Callable[[Sequence[Any], Limits], None]) -> None:
        """Have somebody hear what other processes of the account have learned."""
        self._hear = hear

    def pass_on(self, news: Sequence[Any]) -> None:
        """Tell other processes of the account what was learned here, with the next letter."""
        self._outbox.news.append(news)

    async def aclose(self) -> None:
        """Tell Redis that this process is gone, and end the task; a further call begins anew.

        What is on its way counts as given up, and what runs is asked for by others.
        """
        task, courier, self._task, self._courier = self._task, self._courier, None, None
        if task is None or courier is None or task.get_loop() is not asyncio.get_running_loop():
            return
        for waiter in self._everyone():
            self._refuse(waiter, ConfigurationError("the limiter was closed during this call"))
        courier.close(CLOSE_WITHIN)
        with anyio.CancelScope(shield=True):
            await asyncio.wait([task], timeout=2 * CLOSE_WITHIN)
            task.cancel()
            await asyncio.wait([task])
        self._begin()

    def _enter(self) -> float:
        """Attach to the running event loop, and see that there is a courier."""
        if not hasattr(current_token().native_token, "call_soon"):
            message = "RedisLimiter works under asyncio only: Redis's own client does"
            raise ConfigurationError(message)
        if self._process != os.getpid():  # forked off: the name before is its parent's
            self._clock = LoopClock()
            self._begin()
        loops = self._loops
        now = super()._enter()
        if loops not in {0, self._loops}:
            # What the loop before has left behind is still in its old name, whose lease runs out.
            self._task = None
            self._begin()
        if self._task is None or self._task.done():
            lease, prefix = self._lease, f"{{wavespeed-async:{self._account}}}:"
            self._courier = Courier(self._address, prefix, self._holder, lease, self)
            # It outlives the call that has it begin, so it is no part of that call's trace.
            carrying = self._carry(self._courier)
            self._task = asyncio.get_running_loop().create_task(carrying, context=Context())
        return now

    async def _carry(self, courier: Courier) -> None:
        try:
            await courier.run()
        except Exception as error:  # noqa: BLE001 (a bug here must leave nobody waiting)
            _log.exception("the courier to %r failed; the next call begins anew", self._address)
            for waiter in self._everyone():
                self._refuse(waiter, error)
            self._begin()

    # --- letters ---------------------------------------------------------------------------------

    def due(self) -> float:
        """Tell when the next letter is to be sent at the latest."""
        return min(self._outbox.due, self._alarm_in_redis)

    def letter(self) -> dict[str, Any]:
        """Answer what Redis is to be told now; the same again until it was answered."""
        now = self._clock.now()
        if self._letter is None:
            if self._enrols:
                wants = [*self._submissions.wants, *self._polls.wants, *self._poll_wants.values()]
                self._outbox.begin_anew(wants)
            self._letter = self._outbox.seal()
        told = self._letter.told(now) | {
            "holder": self._holder,
            "generation": self._generation,
            "sequence": self._sequence,
            "seen": self._seen,
            "limits": self._told_limits(),
            "fingerprint": self._fingerprint(),
            "closes": self._courier is None,
        }
        if self._enrols:
            told["enrols"] = self._told_of_itself(now)
        return told

    def _fingerprint(self) -> str:
        """Tell what all processes of the account have to agree on."""
        agreed = [asdict(self._limits), self._lease]
        return json.dumps(agreed if self._share is None else [*agreed, asdict(self._share)])

    def _told_limits(self) -> dict[str, Any]:
        limits = self._rest
        return {
            "rules": rules_of(limits),
            "per": limits.per,
            "most_kept": int(limits.requests * KEPT),
            "first_pause": FIRST_PAUSE,
            "longest_pause": LONGEST_PAUSE,
            "recall": RECALL,
            "concurrency": limits.concurrency,
            "grace": limits.grace,
            "uplink": limits.uplink,
            "abandon_after": limits.abandon_after,
            "lease": self._lease,
        }

    def _told_of_itself(self, now: float) -> dict[str, Any]:
        """Tell all that this process has in flight and running, and what it sent lately."""
        flying = self._flights.flying.values()
        return {
            "flights": [[lease.name, lease.passed, lease.counts] for lease in flying],
            "times": self._flights.counted(now),
            "slots": [_told_slot(slot, now) for slot in self._slots.held],
        }

    def read(self, answer: Mapping[str, Any], sent: float) -> None:
        """Take Redis's answer: whose turn it is here, and what is to be asked for."""
        now = self._clock.now()
        if answer["generation"] != self._generation:
            self._seen = 0
        self._generation, self._sequence = answer["generation"], answer["sequence"]
        self._letter = None
        if answer["status"] != "ok":
            self._come_again(answer)
            return
        self._enrols = self._away = False
        self._follow(answer, now)
        for letter in answer["letters"] or ():
            self._seen = letter["number"]
            if now - sent >= self._lease:
                # It may have been taken for dead meanwhile: what it was granted is not its own.
                self._enrols, self._outbox.due = True, -math.inf
            elif "grant" in letter:
                self._take_turn(letter, now)
            elif "news" in letter:
                if self._hear is not None:
                    self._hear(letter["news"], self._limits)
            else:
                self._take_errand(letter, now)
        self._slots.forget_left(now - self._limits.abandon_after)
        self._schedule(now)

    def _come_again(self, answer: Mapping[str, Any]) -> None:
        """Tell all anew to a store that does not know this process."""
        self._enrols, self._seen = True, 0
        self._alarm_in_redis = math.inf
        if answer["status"] == "enrol":
            self._outbox.due = -math.inf
            return
        self._outbox.due = math.inf
        message = (
            f"account {self._account!r} in Redis at {self._address!r} has other limits than this "
            f"process: {answer['limits']}; an account has one set of limits"
        )
        for waiter in self._everyone():
            self._refuse(waiter, ConfigurationError(message))

    def _follow(self, answer: Mapping[str, Any], now: float) -> None:
        """Take over what Redis tells of the account as a whole."""
        waiting = tuple((priority, many) for priority, many in answer["waiting"] or ())
        self._figures = _Figures(answer["free"], answer["running"], answer["used"], waiting)
        self._gate.follow(
            now,
            opens_in=answer.get("opens_in"),
            asked=answer["asked"],
            strikes=int(answer["strikes"]),
            passed=int(answer["pass"]),
        )
        pause = self._gate.asked_pause(now)
        if pause:
            self._turn_away_impatient(pause)
        alarm = answer.get("alarm")
        self._alarm_in_redis = math.inf if alarm is None else now + alarm

    def unreachable(self, seconds: float, reason: str) -> None:
        """Turn away those who wait for a turn, once Redis has been away for long.

        Polls that bring a bidder go on waiting: what they ask for runs, and has its own deadline.
        So do all where this process owns a share, which brings them their turns.
        """
        self._away = True
        if self._own is not None:
            self._schedule(self._clock.now())
            return
        if seconds < self._unreachable_after:
            return
        message = (
            f"Redis at {self._address!r} could not be reached for {seconds:.0f} s ({reason}), "
            f"so the account's limits cannot be kept; nothing was sent"
        )
        for waiter in self._submissions.everyone() + self._polls.everyone():
            self._refuse(waiter, LimiterTimeoutError(message))

    # --- turns -----------------------------------------------------------------------------------

    def _take_turn(self, letter: Mapping[str, Any], now: float) -> None:
        """Hand a turn to whom it was granted; give back what nobody needs any more."""
        waiter = self._whose_turn(letter["grant"], now)
        counts = waiter is None or self._counts(waiter)
        lease = Lease(letter["token"], int(letter["passed"]), counts=counts)
        slot = self._slots.put(now, letter["slot"]) if letter["slot"] else None
        if waiter is None:
            self._outbox.report("unsent", lease, now, due=-math.inf)
            if slot is not None:
                self._slots.release(slot)
            return
        self._dequeue(waiter)
        self._flights.begin(lease)
        waiter.outcome = Permit(self._settle, self._hold, lease, lease.passed, slot)
        waiter.wake()

    def _whose_turn(self, entry: int, now: float) -> Waiter | None:
        """Find who had a place in the queue; a poll's goes to the one that is worth most now."""
        for priority, want in self._poll_wants.items():
            if want.entry == entry:
                del self._poll_wants[priority]
                best = self._best_poll(now)
                return best[0] if best else None
        return self._submissions.take(entry) or self._polls.take(entry)

    def _take_errand(self, letter: Mapping[str, Any], now: float) -> None:
        """Have a waiter ask for a prediction that nobody waits for."""
        slot = self._slots.show(letter["slot"], letter["id"], now - letter["age"])
        waiter = self._submissions.find(letter["errand"])
        if waiter is None or waiter.ask is None or waiter.errand is not None:
            pause = 0.0 if waiter is None else self._limits.per * RECALL
            self._postpone(slot, now + pause)
            return
        self._errand, waiter.errand = waiter, slot
        waiter.wake()

    def _end_errand(self, waiter: Waiter, slot: Slot, ask_in: float | None) -> None:
        waiter.errand = self._errand = None
        now = self._clock.now()
        if ask_in is None:
            self._slots.release(slot)
        elif isinstance(slot, LeasedSlot):
            self._postpone(slot, now + ask_in)
        else:
            self._slots.postpone(slot, now + ask_in)
        self._schedule(now)

    def _postpone(self, slot: LeasedSlot, at: float) -> None:
        slot.ask_at = at
        self._outbox.change("ask", slot, at=at)

    def _settle(
        self,
        permit: Permit,
        *,
        limited: bool = False,
        retry_after: float | None = None,
        lost: bool = False,
        unsent: bool = False,
    ) -> float | None:
        if permit.settled:
            return None
        if not isinstance(permit.token, Lease):
            if limited:
                self._tell_refused(permit, retry_after)
            told: dict[str, Any] = {"limited": limited, "retry_after": retry_after}
            return super()._settle(permit, **told, lost=lost, unsent=unsent)
        permit.settled, permit.never_left = True, unsent
        now, lease, pause = self._clock.now(), permit.token, None
        due = self._lazily() if self._gate.is_open else -math.inf
        if unsent:
            self._flights.withdraw(lease)
            self._outbox.report("unsent", lease, now, due=-math.inf)
        elif lost:
            self._flights.end(lease, now + self._limits.grace, now)
            self._outbox.report("lost", lease, now, due=due)
        else:
            self._flights.end(lease, now, now)
            verb = "limited" if limited else "answered"
            due = -math.inf if limited else due
            self._outbox.report(verb, lease, now, due=due, retry_after=retry_after or 0.0)
        if limited:
            pause = self._gate.refused(permit.passed, now, retry_after)
            if pause is not None:
                self._turn_away_impatient(self._gate.asked_pause(now))
        self._schedule(now)
        return pause

    def _tell_refused(self, permit: Permit, retry_after: float | None) -> None:
        """Have all hear of a 429 to what this process owns, of which Redis knows nothing."""
        lease, pause = Lease(self._new_name(), permit.passed, counts=False), retry_after or 0.0
        self._outbox.report("limited", lease, self._clock.now(), due=-math.inf, retry_after=pause)

    def _hold(self, permit: Permit) -> None:
        now, lease = self._clock.now(), permit.token
        if not isinstance(lease, Lease):
            super()._hold(permit)
            return
        if not permit.settled:
            self._outbox.report("held", lease, now, due=self._lazily())
        self._schedule(now)

    # --- the scheduler ---------------------------------------------------------------------------

    def _schedule(self, now: float) -> None:
        """Stand in the account's queue for what is wanted here, see to deadlines, set the alarm."""
        self._turn_away(now)
        self._serve_own(now)
        self._want_poll(now)
        self._set_alarm(now)
        if self._courier is not None:
            self._courier.call_by(self.due())

    def _serve_own(self, now: float) -> None:
        """Serve from what this process owns; while Redis keeps the gate, its probes are enough."""
        if self._own is None or not (self._gate.is_open or self._away):
            return
        self._slots.sweep(now)
        while (waiter := self._next(now)) is not None:
            self._grant(waiter, now)
        first = self._submissions.first()
        if first is not None and first.errand is None:
            self._send_errand(now)

    def _want_poll(self, now: float) -> None:
        """Stand in the queue for the best of the polls that bring a bidder, if it is worth it."""
        priorities = self._bids.priorities
        for priority in [*self._poll_wants]:
            if priority not in priorities:
                self._outbox.leave(self._poll_wants.pop(priority), due=self._lazily())
        best = self._best_poll(now)
        if best is None:
            return
        waiter, bidder = best
        self._bids.again = now + self._limits.per * RECALL
        if waiter.priority not in self._poll_wants:
            patience = max(0.0, self._limits.per * PATIENCE - bidder.delay(now))
            number, counts = next(self._numbers), self._counts(waiter)
            want = Want(number, "p", waiter.priority, now, now + patience, counts)
            self._poll_wants[waiter.priority] = want
            self._outbox.join(want)

    def _best_poll(self, now: float) -> tuple[Waiter, Bidder] | None:
        self._bids.again = math.inf
        return self._bids.best(now, partial(self._scarcity, now)) if self._bids else None

    def _scarcity(self, now: float, priority: int) -> Scarcity:
        """Tell how scarce requests and slots of the account are, as Redis told last."""
        told = self._figures
        waiting = sum(many for other, many in told.waiting if other <= priority)
        behind = sum(many for other, many in told.waiting if other > priority)
        here = self._submissions.count(priority)
        return Scarcity(
            limits=self._limits,
            free=max(1, told.free + (self._window.free(now) if self._own else 0)),
            running=self.running,
            waiting=max(waiting, here),
            behind=max(behind, len(self._submissions) - here),
        )

    def _next_change(self, now: float) -> float:
        if self._own is None or not (self._gate.is_open or self._away):
            return min(self._deadlines.next_time(), self._bids.again)
        return min(self._bids.again, super()._next_change(now))

    def _want(self, waiter: Waiter, earlier: float) -> Want:
        overdue = waiter.since + self._limits.per * PATIENCE
        kind = "s" if waiter.wants_slot else "p"
        since, counts = waiter.since - earlier, self._counts(waiter)
        return Want(next(self._numbers), kind, waiter.priority, since, overdue, counts)

    def _lazily(self) -> float:
        return self._clock.now() + self._limits.per * LAZY

    def _new_name(self) -> str:
        return f"{self._holder}-{next(self._numbers)}"

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Have what an earlier process left running asked for; its requests Redis has counted.

        Raises:
            ConfigurationError: The snapshot is of another version.
        """
        super().restore({**snapshot, "requests": [], "unnamed_until": []})


def _told_slot(slot: LeasedSlot, now: float) -> list[object]:
    ask_in = max(0.0, slot.ask_at - now)
    return [slot.name, slot.id or "", now - slot.since, slot.waiters > 0, ask_in]


def _checked_name(account: object) -> str:
    good = isinstance(account, str) and 0 < len(account) <= ALLOWED_NAME
    if not good or not str(account).isprintable() or set(str(account)) & set("{}"):
        message = f"account must be a name of printable characters without braces, not {account!r}"
        raise ConfigurationError(message)
    return str(account)


def _checked_time(name: str, seconds: object) -> float:
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not number or not 0 < seconds < math.inf:  # type: ignore[operator]  # it is a number
        message = f"{name} must be a number of seconds above 0, not {seconds!r}"
        raise ConfigurationError(message)
    return float(seconds)  # type: ignore[arg-type]  # it is a number
