"""The places of running predictions, each held from before its submission until its end is known.

A prediction that nobody waits for (its wait was cancelled or ran out, or an earlier process made
it) still runs at the server, so it keeps its slot; whoever next needs one has it asked for. One
without an id (its submission was never answered) cannot be asked for: it is given up after
`abandon_after`, as long as a prediction may take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wavespeed_async.limits._agenda import Agenda

if TYPE_CHECKING:
    from wavespeed_async.limits._limits import Limits

__all__ = ["Slot", "Slots"]


class Slot:
    """Stand for one running prediction.

    Attributes:
        id: The prediction's id, once it is known.
        since: When the slot was taken.
        waiters: How many callers wait for its end.
    """

    __slots__ = ("id", "since", "waiters")

    def __init__(self, now: float) -> None:
        self.id: str | None = None
        self.since: float = now
        self.waiters: int = 1


class Slots:
    """Hold the slots of an account. Every method that needs the time takes `now`, in seconds."""

    def __init__(self, limits: Limits) -> None:
        self._held: set[Slot] = set()
        self._by_id: dict[str, Slot] = {}
        # Those that nobody waits for: with an id to be asked for, without one to be given up.
        self._asking: Agenda[Slot] = Agenda()
        self._abandoned: Agenda[Slot] = Agenda()
        self.set_limits(limits)

    def set_limits(self, limits: Limits) -> None:
        """Follow other limits from here on; what runs keeps its slot."""
        self._capacity = limits.concurrency
        self._abandon_after = limits.abandon_after

    @property
    def free(self) -> int:
        """How many slots may be taken; below 0 when predictions from elsewhere run beside."""
        return self._capacity - len(self._held)

    @property
    def running(self) -> int:
        """How many slots are held."""
        return len(self._held)

    @property
    def named(self) -> tuple[str, ...]:
        """The ids of the predictions that are known to run."""
        return tuple(self._by_id)

    def unnamed_until(self, now: float) -> tuple[float, ...]:
        """Tell when each slot without an id would be given up if its holder were gone."""
        unnamed = (self._abandoned.time_of(slot) for slot in self._held if slot.id is None)
        return tuple(now + self._abandon_after if at is None else at for at in unnamed)

    def take(self, now: float) -> Slot:
        """Take a slot, before the submission."""
        slot = Slot(now)
        self._held.add(slot)
        return slot

    def name(self, slot: Slot, prediction_id: str) -> None:
        """Note which prediction runs in a slot; two slots of one prediction become one."""
        known = self._by_id.get(prediction_id)
        if known is not None and known is not slot:
            self.release(slot)
            self.attend(known)
        elif slot in self._held:
            slot.id = prediction_id
            self._by_id[prediction_id] = slot
            if slot.waiters <= 0:
                self.postpone(slot, slot.since)

    def find(self, prediction_id: str) -> Slot | None:
        """Find the slot of a prediction, if it holds one."""
        return self._by_id.get(prediction_id)

    def adopt(self, prediction_id: str, now: float) -> Slot:
        """Give a prediction that runs already a slot, beyond the limit if need be."""
        slot = self._by_id.get(prediction_id)
        if slot is None:
            slot = self.take(now)
            slot.waiters = 0
            self.name(slot, prediction_id)
        return slot

    def restore(self, until: float, now: float) -> None:
        """Take a slot for a submission of an earlier process, whose id nobody knows."""
        slot = self.take(now)
        slot.waiters = 0
        self.postpone(slot, until)

    def attend(self, slot: Slot) -> None:
        """Note that one more caller waits for the end of what runs in a slot."""
        slot.waiters += 1
        self._forget(slot)

    def leave(self, slot: Slot, now: float, ask_in: float = 0.0) -> None:
        """Note that a caller stopped waiting; with none left, ask for it in `ask_in` seconds."""
        slot.waiters = max(0, slot.waiters - 1)
        self.postpone(slot, now + (self._abandon_after if slot.id is None else ask_in))

    def postpone(self, slot: Slot, at: float) -> None:
        """Set when a slot that nobody waits for is to be asked for, or given up."""
        if slot.waiters == 0 and slot in self._held:
            self._forget(slot)
            (self._abandoned if slot.id is None else self._asking).set(slot, at)

    def release(self, slot: Slot) -> None:
        """Give a slot back: its prediction has ended, or never began."""
        self._held.discard(slot)
        self._forget(slot)
        if slot.id is not None and self._by_id.get(slot.id) is slot:
            del self._by_id[slot.id]

    def sweep(self, now: float) -> None:
        """Give up the slots without an id whose time has come."""
        while self._abandoned.next_time() <= now:
            self.release(self._abandoned.take())

    def next_abandoned(self) -> float:
        """Tell when a slot without an id is next given up; infinity if none is left."""
        return self._abandoned.next_time()

    def next_asked(self) -> float:
        """Tell when a prediction that nobody waits for is next to be asked for, or infinity."""
        return self._asking.next_time()

    def take_due(self, now: float) -> Slot | None:
        """Take one out of the line that is to be asked for now; `postpone` puts it back."""
        return self._asking.take() if self._asking.next_time() <= now else None

    def leave_all(self, now: float) -> None:
        """Note that nobody waits any longer: the event loop of those who did is gone."""
        for slot in self._held:
            slot.waiters = 0
            if slot.id is not None:
                self.postpone(slot, now)
            elif self._abandoned.time_of(slot) is None:
                self.postpone(slot, now + self._abandon_after)

    def _forget(self, slot: Slot) -> None:
        self._asking.drop(slot)
        self._abandoned.drop(slot)
