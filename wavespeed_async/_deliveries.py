"""How the end of a prediction reaches the worker that waits for it, where that is another one.

A load balancer hands a webhook to any worker of an application. In one process `client.arrive` is
all that it takes; between several, `Deliveries` carries what arrived.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from wavespeed_async._prediction import Prediction

__all__ = ["Awaiter", "Deliveries"]


class Awaiter(Protocol):
    """Wait for predictions: what a client does."""

    @property
    def awaited(self) -> tuple[str, ...]:
        """The ids of all whose end would be news here."""
        ...

    def awaits(self, prediction_id: str) -> bool:
        """Tell whether its end would be news here."""
        ...

    def hear(self, prediction: Prediction) -> bool:
        """Take what a webhook told; answer whether somebody waited for it."""
        ...


class Deliveries(Protocol):
    """Carry arrivals to all workers of an account; nothing is lost by being late to listen."""

    def attach(self, awaiter: Awaiter) -> None:
        """Hand to this client, from here on, the ends that it awaits."""
        ...

    def detach(self, awaiter: Awaiter) -> None:
        """Hand it nothing any more."""
        ...

    def look_for(self, prediction_id: str) -> None:
        """Look, soon, for the end of a prediction that may have come before it was awaited."""
        ...

    def post(self, prediction: Prediction) -> None:
        """Carry an arrival to all workers, soon; a worker that never learns of it polls."""
        ...

    async def publish(self, prediction: Prediction) -> None:
        """Carry an arrival to all workers; when this returns, each of them will find it.

        Raises:
            DeliveryError: It could not be carried.
        """
        ...
