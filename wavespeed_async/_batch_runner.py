"""What a client is to a batch."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import anyio
import anyio.to_thread
from attrs import frozen

from wavespeed_async._calls import Turn
from wavespeed_async._codec import prediction_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from wavespeed_async._calls import Mark, Recorder, Submitted
    from wavespeed_async._contents import Content
    from wavespeed_async._events import Event
    from wavespeed_async._folder import Folder
    from wavespeed_async._prediction import Prediction
    from wavespeed_async._stack import Defaults, Stack
    from wavespeed_async.limits import AnyLimiter, Limits, Slot
    from wavespeed_async.models import Request
    from wavespeed_async.models._images import LocalImage

__all__ = ["BatchRunner"]

BEHIND = 1
"""A batch goes after calls that are made beside it: somebody waits for those."""


@frozen(eq=False, repr=False)
class BatchRunner:
    """Give a batch what it needs of a client."""

    stack: Stack
    defaults: Defaults

    @property
    def width(self) -> int:
        """How many predictions may run at once."""
        return self.limits.concurrency

    @property
    def limits(self) -> Limits:
        """What the account is allowed."""
        return self.stack.limiter.limits

    @property
    def owner(self) -> str:
        """A name for its limiter, as long as that lives."""
        return _owners.setdefault(self.stack.limiter, secrets.token_hex(8))

    @property
    def identity(self) -> str:
        """A name for the account: by its key, and where the API is."""
        return self.stack.identity

    def learned(self) -> Mapping[str, Any]:
        """Tell what was learned of how long models take."""
        return self.stack.poller.rule.snapshot()

    def learn(self, snapshot: Mapping[str, Any]) -> None:
        """Know what an earlier process has learned."""
        self.stack.poller.rule.restore(snapshot)

    @property
    def recorders(self) -> list[Recorder]:
        """Who writes down what the client sends."""
        return self.stack.calls.recorders

    def seeded(self, request: Request) -> Request:
        """Draw a seed that is left open, where the client draws them."""
        return request.with_seed(self.stack.dice) if self.defaults.choose_seeds else request

    async def submit_and_wait(
        self, request: Request, submitted: Submitted, mark: Mark | None = None
    ) -> Prediction:
        """Submit a request, however long its turn takes to come, and wait for its end."""
        return await self.stack.run(request, self._patient(), self.defaults, submitted, mark)

    def _patient(self) -> Turn:
        defaults = self.defaults
        priority = defaults.priority + BEHIND
        return Turn(patience=defaults.timeout, priority=priority, stubborn=True)

    async def resume(self, prediction: Prediction) -> Prediction:
        """Wait for the end of a prediction that runs already."""
        prediction_of(prediction.id)
        deadline = anyio.current_time() + self.defaults.timeout
        turn = Turn(deadline=deadline, priority=self.defaults.priority + BEHIND)
        return await self.stack.wait(prediction, turn)

    async def save(self, prediction: Prediction, folder: Folder, index: int) -> list[Path]:
        """Write its outputs into a folder."""
        return await self.stack.storage.save(prediction, folder, index)

    async def contents(self, request: Request) -> Mapping[LocalImage, Content]:
        """Look at the images of this machine that a request has."""
        return await self.stack.uploads.contents.of_request(request)

    async def digest(self, url: str) -> str:
        """Tell the digest of what is at an address."""
        content = await self.stack.storage.fetched(url)
        return await anyio.to_thread.run_sync(lambda: hashlib.sha256(content).hexdigest())

    async def page(self, query: Mapping[str, Any]) -> Mapping[str, Any]:
        """Ask for one page of the API's list of predictions."""
        return await self.stack.calls.listing(query, self._patient())

    async def price(self, model: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Ask what a request would cost."""
        return await self.stack.calls.price(model, inputs, self._patient())

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Have the limiter count what an earlier process did."""
        self.stack.limiter.restore(snapshot)

    def occupy(self, slot: Slot | None, prediction_id: str) -> None:
        """Have a prediction that was found hold a slot: the one of its submission, if known."""
        limiter = self.stack.limiter
        if slot is not None:
            limiter.name(slot, prediction_id)
        else:
            limiter.adopt(prediction_id)
            limiter.leave(prediction_id)

    def vacate(self, slot: Slot | None) -> None:
        """Give back the slot of a submission that made nothing."""
        if slot is not None:
            self.stack.limiter.release(slot)

    def tell(self, event: Event) -> None:
        """Tell the observer what happened."""
        self.stack.calls.tell(event)


_owners: WeakKeyDictionary[AnyLimiter, str] = WeakKeyDictionary()
