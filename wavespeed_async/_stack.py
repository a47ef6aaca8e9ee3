"""What the clients of one pool share, and how a request goes through it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import anyio
from attrs import evolve, field, frozen

from wavespeed_async.errors import InvalidRequestError
from wavespeed_async.models import Request

if TYPE_CHECKING:
    import random

    from wavespeed_async._calls import Calls, Mark, Submitted, Turn
    from wavespeed_async._catalogue import Catalogue
    from wavespeed_async._deliveries import Deliveries
    from wavespeed_async._media import Storage
    from wavespeed_async._polling import Poller
    from wavespeed_async._prediction import Prediction
    from wavespeed_async._statistics import Counts
    from wavespeed_async._transport import Transport
    from wavespeed_async._uploads import Uploads
    from wavespeed_async.limits import AnyLimiter

__all__ = ["Defaults", "Stack"]


@frozen
class Defaults:
    """Hold what `with_options` may change."""

    timeout: float
    priority: int = 0
    choose_seeds: bool = True
    webhook: str | None = field(default=None, repr=False)
    check_raw: bool = True


@frozen(eq=False, repr=False)
class Stack:
    """Hold what clients made by `with_options` share: one pool, one limiter, one poller."""

    transport: Transport
    limiter: AnyLimiter
    calls: Calls
    poller: Poller
    storage: Storage
    uploads: Uploads
    catalogue: Catalogue
    dice: random.Random
    deliveries: Deliveries | None
    identity: str
    counts: Counts

    async def submit(
        self,
        request: Request,
        turn: Turn,
        defaults: Defaults,
    ) -> Prediction:
        """Submit a request; its slot is attended when this returns."""
        with self.calls.told("submit", asked=request) as told:
            return told.saw(await self._submit(request, turn, defaults))

    async def _submit(
        self,
        request: Request,
        turn: Turn,
        defaults: Defaults,
        submitted: Submitted | None = None,
        mark: Mark | None = None,
    ) -> Prediction:
        if not isinstance(request, Request):
            raise InvalidRequestError.of(
                owner="submit", field="request", value=request, allowed="a request"
            )
        if defaults.check_raw:
            await self.catalogue.check(request, turn)
        if defaults.choose_seeds:
            request = request.with_seed(self.dice)

        def note(prediction: Prediction) -> None:
            if defaults.webhook is not None:
                self.expect(prediction)
            if submitted is not None:
                submitted(prediction)

        body = await self.uploads.body(request, turn)
        return await self.calls.submit(
            request,
            turn,
            ask=self.poller.ask,
            submitted=note,
            mark=mark,
            webhook=defaults.webhook,
            body=body,
        )

    def expect(self, prediction: Prediction) -> None:
        """Note that a webhook is to tell the end of a prediction that was just submitted."""
        self.poller.expect(prediction)
        if self.deliveries is not None:
            self.deliveries.look_for(prediction.id)

    async def run(
        self,
        request: Request,
        turn: Turn,
        defaults: Defaults,
        submitted: Submitted | None = None,
        mark: Mark | None = None,
    ) -> Prediction:
        """Submit and wait; a turn without a deadline gets one that counts from the submission."""
        with self.calls.told("run", asked=request) as told:
            prediction = await self._submit(request, turn, defaults, submitted, mark)
            if turn.deadline == math.inf:
                turn = evolve(turn, deadline=anyio.current_time() + defaults.timeout)
            return told.saw(await self.poller.wait(prediction, turn, attended=True))

    async def wait(self, prediction: Prediction, turn: Turn) -> Prediction:
        """Wait for the end of a prediction that runs already."""
        with self.calls.told("wait", about=prediction) as told:
            return told.saw(await self.poller.wait(prediction, turn))
