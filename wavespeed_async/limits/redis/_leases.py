"""What a process holds of the account: requests, slots and places in the queue, each by its name.

They look to the scheduler as its own would; what changes is put into the outbox.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

from wavespeed_async.limits._gate import Gate
from wavespeed_async.limits._limits import Limits
from wavespeed_async.limits._queue import Queue
from wavespeed_async.limits._slots import Slot, Slots
from wavespeed_async.limits._window import Token
from wavespeed_async.limits.redis._outbox import BEFORE_ALL, Want

if TYPE_CHECKING:
    from collections.abc import Callable

    from wavespeed_async.limits._permit import Waiter
    from wavespeed_async.limits.redis._outbox import Outbox

__all__ = ["Flights", "GateView", "Lease", "LeasedSlot", "LeasedSlots", "Line"]


class Lease(Token):
    """Stand for one request that Redis has granted.

    Attributes:
        name: What Redis calls it.
        passed: The number with which it passed the gate.
        counts: Whether the API counts it.
    """

    __slots__ = ("counts", "name", "passed")

    def __init__(self, name: str, passed: int, *, counts: bool) -> None:
        super().__init__()
        self.name, self.passed, self.counts = name, passed, counts


class Flights:
    """Know what this process has sent itself: a store that lost it is told again."""

    def __init__(self, remember: float) -> None:
        self._remember = remember
        self.flying: dict[str, Lease] = {}
        self._times: deque[tuple[float, str]] = deque()

    def begin(self, lease: Lease) -> None:
        """Note that a request may leave."""
        self.flying[lease.name] = lease

    def end(self, lease: Lease, by: float, now: float) -> None:
        """Note by when the API has counted it."""
        self.flying.pop(lease.name, None)
        if lease.counts:
            self._times.append((by, lease.name))
        while self._times and self._times[0][0] + self._remember < now:
            self._times.popleft()

    def withdraw(self, lease: Lease) -> None:
        """Note that it never left."""
        self.flying.pop(lease.name, None)

    def counted(self, now: float) -> list[list[object]]:
        """List by name what has counted lately, each with how many seconds ago."""
        return [[name, now - at] for at, name in self._times]


class LeasedSlot(Slot):
    """Stand for one running prediction, by the name that Redis knows.

    Attributes:
        name: What Redis calls it.
        ask_at: When it is to be asked for, once nobody waits.
    """

    __slots__ = ("ask_at", "name")

    def __init__(self, now: float, name: str) -> None:
        super().__init__(now)
        self.name = name
        self.ask_at = now


class LeasedSlots(Slots):
    """Hold the slots of this process: those of the account, of which Redis is told, and its own.

    What its own share grants is what `take` answers, and none of Redis's business.

    Args:
        limits: What it owns itself.
        owns_from: When what it owns may be used.
        outbox: Where Redis is told.
        new_name: Makes names.
    """

    def __init__(
        self, limits: Limits | None, owns_from: float, outbox: Outbox, new_name: Callable[[], str]
    ) -> None:
        self._owned, self._owns_from = limits, owns_from
        super().__init__(limits or Limits())
        self._capacity = 0
        self._outbox, self._new_name = outbox, new_name

    @property
    def free(self) -> int:
        """How many of its own slots may be taken."""
        return self._capacity - self.owned

    @property
    def owned(self) -> int:
        """How many of its own slots are held."""
        return len(self._held) - len(self.held)

    def sweep(self, now: float) -> None:
        """Give up its own slots without an id whose time has come; begin to use them in time."""
        if self._owned is not None and now >= self._owns_from:
            self._capacity = self._owned.concurrency
        super().sweep(now)

    def next_abandoned(self) -> float:
        """Tell when `sweep` next changes something; infinity if nothing is left."""
        opens = math.inf if self._owned is None or self._capacity else self._owns_from
        return min(opens, super().next_abandoned())

    @property
    def held(self) -> list[LeasedSlot]:
        """All of the account's, those among them that nobody waits for any more."""
        return [slot for slot in self._held if isinstance(slot, LeasedSlot)]

    def put(self, now: float, name: str) -> LeasedSlot:
        """Take a slot that Redis has granted."""
        slot = LeasedSlot(now, name)
        self._held.add(slot)
        return slot

    def adopt(self, prediction_id: str, now: float) -> Slot:
        """Give a prediction that runs already one of the account's slots."""
        slot = self._by_id.get(prediction_id)
        if slot is None:
            slot = self.put(now, self._new_name())
            slot.waiters = 0
            self.name(slot, prediction_id)
        return slot

    def postpone(self, slot: Slot, at: float) -> None:
        """Set when one of its own is to be asked for, or given up; of others Redis does."""
        if not isinstance(slot, LeasedSlot):
            super().postpone(slot, at)

    def name(self, slot: Slot, prediction_id: str) -> None:
        """Note which prediction runs in a slot; two slots of one prediction become one."""
        known = self._by_id.get(prediction_id)
        is_held = slot in self._held
        super().name(slot, prediction_id)
        if is_held and known in {None, slot}:
            self._change("name", slot, slot.waiters > 0)

    def attend(self, slot: Slot) -> None:
        """Note that one more caller waits for the end of what runs in a slot."""
        was_left = slot.waiters == 0
        super().attend(slot)
        if was_left and slot in self._held:
            self._change("attend", slot)

    def leave(self, slot: Slot, now: float, ask_in: float = 0.0) -> None:
        """Note that a caller stopped waiting; with none left, whoever needs a slot asks for it."""
        super().leave(slot, now, ask_in)
        if slot.waiters == 0 and slot in self._held and isinstance(slot, LeasedSlot):
            slot.ask_at = now + (0.0 if slot.id is None else ask_in)
            self._outbox.change("leave", slot, at=slot.ask_at)

    def release(self, slot: Slot) -> None:
        """Give a slot back: its prediction has ended, or never began."""
        is_held = slot in self._held
        super().release(slot)
        if is_held:
            self._change("release", slot)

    def show(self, name: str, prediction_id: str, since: float) -> LeasedSlot:
        """Take note of a slot that Redis keeps: this process is to ask for its prediction."""
        known = self._by_id.get(prediction_id)
        if isinstance(known, LeasedSlot):
            return known
        slot = self.put(since, name)
        slot.waiters = 0
        if known is None:
            super().name(slot, prediction_id)
        else:  # it runs in a slot of its own besides, which stays where it is found
            slot.id = prediction_id
        return slot

    def forget_left(self, before: float) -> None:
        """Forget those that nobody waits for and that are as old: Redis keeps them."""
        for slot in self.held:
            if slot.waiters == 0 and slot.since < before:
                super().release(slot)

    def _change(self, verb: str, slot: Slot, argument: object = None) -> None:
        if isinstance(slot, LeasedSlot):
            self._outbox.change(verb, slot, argument)


class Line(Queue["Waiter"]):
    """Hold waiters of one kind as a queue does, each with its place in the account's."""

    def __init__(
        self,
        outbox: Outbox,
        want: Callable[[Waiter, float], Want],
        lazily: Callable[[], float],
    ) -> None:
        super().__init__()
        self._outbox, self._want, self._lazily = outbox, want, lazily
        self._wants: dict[Waiter, Want] = {}
        self._waiters: dict[int, Waiter] = {}

    @property
    def wants(self) -> list[Want]:
        """The places of all who wait."""
        return [*self._wants.values()]

    def join(self, waiter: Waiter, priority: int, *, front: bool = False) -> None:
        """Add a waiter, here and in the account's queue."""
        super().join(waiter, priority, front=front)
        want = self._want(waiter, BEFORE_ALL if front else 0.0)
        self._wants[waiter], self._waiters[want.entry] = want, waiter
        self._outbox.join(want)

    def leave(self, waiter: Waiter, priority: int) -> None:
        """Take a waiter out, here and there."""
        super().leave(waiter, priority)
        want = self._wants.pop(waiter)
        if self._waiters.pop(want.entry, None) is not None:
            self._outbox.leave(want, due=self._lazily())

    def find(self, entry: int) -> Waiter | None:
        """Find who has a place, if it still waits."""
        return self._waiters.get(entry)

    def take(self, entry: int) -> Waiter | None:
        """Find whose place has had its turn, so that it is no longer in the account's queue."""
        return self._waiters.pop(entry, None)


class GateView(Gate):
    """Show the account's gate as Redis told of it last; a 429 here closes it here at once."""

    def follow(
        self, now: float, *, opens_in: float | None, asked: bool, strikes: int, passed: int
    ) -> None:
        """Take over what Redis tells."""
        self._probing = False  # the account's probes are Redis's
        self._opens_at = None if opens_in is None else now + opens_in
        self._asked, self._strikes, self._pass = asked, strikes, passed
