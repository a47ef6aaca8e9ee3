"""The places of running predictions, each held from before its submission until its end is known.

A prediction that nobody waits for (its wait was cancelled or ran out, or an earlier process made
it) still runs at the server, so it keeps its slot; whoever next needs one has it asked for. One
without an id (its submission was never answered) cannot be asked for: it is given up after
`abandon_after`, as long as a prediction may take.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wavespeed_async.limits._limits import Limits

__all__ = ["Slot", "Slots"]


class Slot:
    """Stand for one running prediction.

    Attributes:
        id: The prediction's id, once it is known.
        since: When the slot was taken.
        waiters: How many callers wait for its end.
        due: When to ask for it, or to give it up, while nobody waits.
    """

    __slots__ = ("due", "id", "since", "waiters")

    def __init__(self, now: float) -> None:
        self.id: str | None = None
        self.since = now
        self.waiters = 1
        self.due: float | None = None


class Slots:
    """Hold the slots of an account. Every method that needs the time takes `now`, in seconds."""

    def __init__(self, limits: Limits) -> None:
        self._held: set[Slot] = set()
        self._by_id: dict[str, Slot] = {}
        self._left: list[tuple[float, int, Slot]] = []  # heap by due; what is stale is passed over
        self._entries = 0
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
        return tuple(
            slot.due if slot.due is not None else now + self._abandon_after
            for slot in self._held
            if slot.id is None
        )

    def take(self, now: float) -> Slot:
        """Take a slot, before the submission."""
        slot = Slot(now)
        self._held.add(slot)
        return slot

    def name(self, slot: Slot, prediction_id: str) -> None:
        """Note which prediction runs in a slot."""
        slot.id = prediction_id
        self._by_id[prediction_id] = slot

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

    def attend(self, slot: Slot) -> None:
        """Note that one more caller waits for the end of what runs in a slot."""
        slot.waiters += 1
        slot.due = None

    def leave(self, slot: Slot, now: float, ask_in: float = 0.0) -> None:
        """Note that a caller stopped waiting; with none left, ask for it in `ask_in` seconds."""
        slot.waiters -= 1
        self.postpone(slot, now + (self._abandon_after if slot.id is None else ask_in))

    def postpone(self, slot: Slot, at: float) -> None:
        """Set when a slot that nobody waits for is to be asked for, or given up."""
        if slot.waiters <= 0 and slot in self._held:
            slot.due = at
            self._entries += 1
            heappush(self._left, (at, self._entries, slot))

    def release(self, slot: Slot) -> None:
        """Give a slot back: its prediction has ended, or never began."""
        self._held.discard(slot)
        if slot.id is not None and self._by_id.get(slot.id) is slot:
            del self._by_id[slot.id]
        slot.due = None

    def sweep(self, now: float) -> None:
        """Give up the slots without an id whose time has come, where they are next in line."""
        while (slot := self._first()) is not None and slot.id is None and _due(slot) <= now:
            self.release(slot)

    def next_due(self) -> float | None:
        """Tell when a slot that nobody waits for is next to be asked for or given up."""
        slot = self._first()
        return None if slot is None else slot.due

    def take_due(self, now: float) -> Slot | None:
        """Take one out of the line that is to be asked for now; `postpone` puts it back."""
        self.sweep(now)
        slot = self._first()
        if slot is None or _due(slot) > now:
            return None
        heappop(self._left)
        slot.due = None
        return slot

    def leave_all(self, now: float) -> None:
        """Note that nobody waits any longer: the event loop of those who did is gone."""
        for slot in tuple(self._held):
            if slot.waiters > 0:
                slot.waiters = 1
                self.leave(slot, now)

    def _first(self) -> Slot | None:
        """Find the next in line, dropping entries that another one has replaced."""
        while self._left:
            due, _, slot = self._left[0]
            if slot.due == due and slot in self._held:
                return slot
            heappop(self._left)
        return None


def _due(slot: Slot) -> float:
    return slot.due if slot.due is not None else float("inf")
