"""What clients, calls, the poller and batches need of a limiter, whatever keeps its store."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wavespeed_async.limits._bids import Bidder
    from wavespeed_async.limits._limits import Limits
    from wavespeed_async.limits._permit import Ask, Permit
    from wavespeed_async.limits._slots import Slot

__all__ = ["AnyLimiter"]


class AnyLimiter(Protocol):
    """Keep an account's limits: `Limiter` those of one process, `RedisLimiter` those of many."""

    @property
    def limits(self) -> Limits:
        """What the account is allowed."""
        ...

    @property
    def running(self) -> int:
        """How many predictions hold a slot."""
        ...

    @property
    def running_ids(self) -> tuple[str, ...]:
        """The ids of the predictions that hold a slot here, where they are known."""
        ...

    @property
    def waiting(self) -> int:
        """How many callers wait here for a turn."""
        ...

    @property
    def requests_used(self) -> int:
        """How many requests are in the window now."""
        ...

    @property
    def loops(self) -> int:
        """How many event loops have used it, one after the other."""
        ...

    def now(self) -> float:
        """Tell the time by its clock, in seconds, which goes on across event loops."""
        ...

    def opened(self, user: object) -> None:
        """Hear that a client uses it."""
        ...

    async def closed(self, user: object) -> None:
        """Hear that a client has closed."""
        ...

    def listen(self, hear: Callable[[Sequence[Any], Limits], None]) -> None:
        """Have somebody hear what other processes of the account have learned."""
        ...

    def pass_on(self, news: Sequence[Any]) -> None:
        """Tell other processes of the account what was learned here, as JSON can hold it."""
        ...

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
        """Wait for a turn and answer the permit for one request; see `Limiter.acquire`."""
        ...

    def name(self, slot: Slot, prediction_id: str) -> None:
        """Note which prediction runs in a slot: its submission was answered."""
        ...

    def release(self, slot: Slot) -> None:
        """Give back the slot of a submission that was refused, or that never left."""
        ...

    def abandon(self, slot: Slot) -> None:
        """Leave the slot of a submission that may run, while its id is unknown."""
        ...

    def age(self, prediction_id: str) -> float | None:
        """Tell for how many seconds a prediction has held its slot; None where it holds none."""
        ...

    def attend(self, prediction_id: str) -> bool:
        """Note that a caller waits for a prediction; False where it holds no slot (yet)."""
        ...

    def adopt(self, prediction_id: str) -> None:
        """Attend a prediction that was found running; its slot may go beyond the limit."""
        ...

    def leave(self, prediction_id: str, *, ask_in: float = 0.0) -> None:
        """Note that a caller has stopped waiting; asking may be worth it in `ask_in` seconds."""
        ...

    def ended(self, prediction_id: str) -> None:
        """Give back the slot of a prediction that is known to have ended, if it holds one."""
        ...

    def snapshot(self) -> dict[str, Any]:
        """Tell what it keeps itself as JSON can hold it, in Unix seconds."""
        ...

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Count what an earlier process did as if this limiter had sent it."""
        ...
