"""What `observe=` takes, as one stream of events."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from wavespeed_async._events import Event
from wavespeed_async._stream import Stream
from wavespeed_async.errors import ConfigurationError
from wavespeed_async.observe._logs import Logs, asked_for_logs

if TYPE_CHECKING:
    from wavespeed_async._events import Observer
    from wavespeed_async.limits import AnyLimiter

__all__ = ["Observers", "ObservesClients", "checked", "stream"]


@runtime_checkable
class ObservesClients(Protocol):
    """Make an observer for each client: of whoever has to know whose events they are."""

    def observer(self, server: str, limiter: AnyLimiter) -> Observer:
        """Answer what hears a client's events.

        Args:
            server: Where the API is, such as `https://api.wavespeed.ai`.
            limiter: The client's.
        """
        ...


_One: TypeAlias = Callable[[Event], object] | ObservesClients
Observers: TypeAlias = _One | Iterable[_One]
"""An observer, or several."""


def checked(observe: Observers | None) -> tuple[_One, ...]:
    """List the observers; the environment may ask for one that logs.

    Raises:
        ConfigurationError: One is no observer, or the environment names no level.
    """
    if observe is None:
        observers: tuple[_One, ...] = ()
    elif _is_one(observe) or not isinstance(observe, Iterable):
        observers = (observe,)  # type: ignore[assignment]  # what is no observer is refused below
    else:
        observers = tuple(observe)
    for each in observers:
        if not _is_one(each):
            message = f"observe must be a function that takes events, or several, not {each!r}"
            raise ConfigurationError(message)
    if asked_for_logs() and not any(isinstance(each, Logs) for each in observers):
        return (Logs(), *observers)
    return observers


def stream(observers: Iterable[_One], server: str, limiter: AnyLimiter, counts: Observer) -> Stream:
    """Make one stream of a client's events for all that hear them."""
    heard = [
        each.observer(server, limiter) if isinstance(each, ObservesClients) else each
        for each in observers
    ]
    return Stream(counts, heard)


def _is_one(value: object) -> bool:
    return callable(value) or isinstance(value, ObservesClients)
