"""The stream of a client's events: who hears it, and where its calls begin and end."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Self

from wavespeed_async._events import CallBegan, CallEnded, current_call, notify, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wavespeed_async._events import CallKind, Event, Observer
    from wavespeed_async._prediction import Prediction
    from wavespeed_async.models._request import Request

__all__ = ["Stream", "ToldCall", "UntoldCall", "hears_details"]

_numbers = itertools.count(1)


class Stream:
    """Tell each event to several observers; none of them can spoil it for the others.

    Args:
        counts: Counts what happened, of every client.
        observers: Hear all that is told.

    Attributes:
        details: Whether there are observers: what nothing else needs is not even made for none.
    """

    __slots__ = ("_heard", "details")

    def __init__(self, counts: Observer, observers: Sequence[Observer]) -> None:
        self._heard = (counts, *observers)
        self.details = bool(observers)

    def __call__(self, event: Event) -> None:
        """Tell an event."""
        for told in self._heard:
            tell(told, event)


def hears_details(observe: Observer | None) -> bool:
    """Tell whether anybody hears of calls, turns and requests that are on their way."""
    return observe.details if isinstance(observe, Stream) else observe is not None


class ToldCall:
    """Tell of a call as it begins and as it ends, however that is; number what happens meanwhile.

    It may be closed by another task than its own, when an event loop was left in the middle of it.

    Args:
        observe: Is told.
        clock: Tells the time, in seconds.
        kind: What the call is for.
        asked: The request that it is to submit, if it is.
        about: The prediction that it is to wait for, if that runs already.
    """

    __slots__ = ("_about", "_around", "_asked", "_began", "_clock", "_kind", "_number", "_observe")

    def __init__(
        self,
        observe: Observer,
        clock: Callable[[], float],
        kind: CallKind,
        *,
        asked: Request | None = None,
        about: Prediction | None = None,
    ) -> None:
        self._observe, self._clock, self._kind = observe, clock, kind
        self._asked, self._about = asked, about
        self._began, self._around, self._number = 0.0, current_call.get(), next(_numbers)

    def __enter__(self) -> Self:
        self._began = self._clock()
        current_call.set(self._number)
        event = CallBegan(kind=self._kind, asked=self._asked, about=self._about)
        notify(self._observe, event)
        return self

    def saw(self, prediction: Prediction) -> Prediction:
        """Note what it ends with, and answer that."""
        self._about = prediction
        return prediction

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        event = CallEnded(
            kind=self._kind,
            about=getattr(error, "prediction", None) or self._about,
            error=error if isinstance(error, Exception) else None,
            cancelled=error is not None and not isinstance(error, Exception),
            seconds=self._clock() - self._began,
            call=self._number,
        )
        if current_call.get() == self._number:
            current_call.set(self._around)
        notify(self._observe, event)


class UntoldCall:
    """Be a call of which nobody hears."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def saw(self, prediction: Prediction) -> Prediction:
        """Answer what it ends with."""
        return prediction

    def __exit__(self, *_: object) -> None:
        pass
