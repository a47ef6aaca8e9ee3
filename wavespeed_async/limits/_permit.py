"""What passes between the limiter and who asks it for a turn."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    import anyio

    from wavespeed_async.limits._slots import Slot
    from wavespeed_async.limits._window import Token

__all__ = ["Ask", "Permit", "Waiter"]

Ask: TypeAlias = Callable[[str], Awaitable[float | None]]
"""Ask for a prediction by its id: None if it has ended, else in how many seconds to ask again."""


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
    """Allow one request; report one of `answered`, `given_up`, `withdrawn` when it is over.

    The first report counts; further ones change nothing.

    Attributes:
        slot: The slot that came with it, if one was asked for.
        never_left: Whether it was reported as withdrawn.
    """

    __slots__ = ("_hold", "_settle", "never_left", "passed", "settled", "slot", "token")

    def __init__(
        self,
        settle: _Settle,
        hold: Callable[[Permit], None],
        token: Token | None,
        passed: int,
        slot: Slot | None,
    ) -> None:
        self._settle, self._hold = settle, hold
        self.token: Token | None = token
        self.passed: int = passed
        self.settled: bool = False
        self.never_left: bool = False
        self.slot: Slot | None = slot

    def held(self) -> None:
        """Report that the request left, for a server that holds it: it arrives within `uplink`."""
        self._hold(self)

    def answered(self, *, limited: bool = False, retry_after: float | None = None) -> float | None:
        """Report an answer; `limited` for a 429, which closes the gate: then answer its pause."""
        return self._settle(self, limited=limited, retry_after=retry_after)

    def given_up(self) -> None:
        """Report that no answer will be read: the request may still arrive."""
        self._settle(self, lost=True)

    def withdrawn(self) -> None:
        """Report that the request provably never left: its room comes back at once."""
        self._settle(self, unsent=True)


class Waiter:
    """Stand in the queue: for a slot and a request, or for a request alone."""

    __slots__ = (
        "ask", "deadline", "errand", "event", "outcome", "patience", "poll", "priority",
        "queued", "since", "wants_slot",
    )  # fmt: skip

    def __init__(self, *, wants_slot: bool, poll: bool, priority: int, ask: Ask | None) -> None:
        self.wants_slot, self.poll, self.priority, self.ask = wants_slot, poll, priority, ask
        self.since = 0.0
        self.deadline = self.patience = math.inf
        self.queued = True
        self.outcome: Permit | Exception | None = None
        self.errand: Slot | None = None
        self.event: anyio.Event | None = None

    def wake(self) -> None:
        """Have the waiter look at what it got."""
        if self.event is not None:
            self.event.set()
