"""What a batch needs of a client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from wavespeed_async._calls import Mark, Recorder
    from wavespeed_async._contents import Content
    from wavespeed_async._events import Event
    from wavespeed_async._folder import Folder
    from wavespeed_async._prediction import Prediction
    from wavespeed_async.limits import Limits, Slot
    from wavespeed_async.models._images import LocalImage
    from wavespeed_async.models._request import Request

__all__ = ["Runner"]


class Runner(Protocol):
    """What a batch needs of a client."""

    @property
    def width(self) -> int:
        """How many predictions may run at once."""
        ...

    @property
    def limits(self) -> Limits:
        """What the account is allowed."""
        ...

    @property
    def owner(self) -> str:
        """A name for its limiter, as long as that lives."""
        ...

    @property
    def identity(self) -> str:
        """A name for the account: by its key, and where the API is."""
        ...

    def learned(self) -> Mapping[str, Any]:
        """Tell what was learned of how long models take."""
        ...

    def learn(self, snapshot: Mapping[str, Any]) -> None:
        """Know what an earlier process has learned."""
        ...

    def seeded(self, request: Request) -> Request:
        """Draw a seed that is left open, where the client draws them."""
        ...

    async def submit_and_wait(
        self,
        request: Request,
        submitted: Callable[[Prediction], object],
        mark: Mark | None = None,
    ) -> Prediction:
        """Submit a request and wait for its end; tell its id as soon as it is known."""
        ...

    async def resume(self, prediction: Prediction) -> Prediction:
        """Wait for the end of a prediction that runs already."""
        ...

    async def save(self, prediction: Prediction, folder: Folder, index: int) -> list[Path]:
        """Write its outputs into a folder."""
        ...

    async def contents(self, request: Request) -> Mapping[LocalImage, Content]:
        """Look at the images of this machine that a request has."""
        ...

    async def digest(self, url: str) -> str:
        """Tell the digest (SHA-256) of what is at an address."""
        ...

    async def page(self, query: Mapping[str, Any]) -> Mapping[str, Any]:
        """Ask for one page of the API's list of predictions."""
        ...

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Have the limiter count what an earlier process did."""
        ...

    def occupy(self, slot: Slot | None, prediction_id: str) -> None:
        """Have a prediction that was found hold a slot: the one of its submission, if known."""
        ...

    def vacate(self, slot: Slot | None) -> None:
        """Give back the slot of a submission that made nothing."""
        ...

    def tell(self, event: Event) -> None:
        """Tell the observer what happened."""
        ...

    @property
    def recorders(self) -> list[Recorder]:
        """Who writes down what the client sends."""
        ...
