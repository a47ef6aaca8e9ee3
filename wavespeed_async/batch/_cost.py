"""What a batch costs: before it begins, and while it goes on so that it costs no more than it may.

The API is asked for the price of one request of each kind: requests that differ only in what no
price depends on (prompts, seeds, pictures) are of one kind.
"""

from __future__ import annotations

import math
from collections import Counter
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from anyio.lowlevel import checkpoint
from attrs import frozen

from wavespeed_async._codec import encode_request
from wavespeed_async._retry import deciding_status
from wavespeed_async.batch._course import each
from wavespeed_async.batch._order import Price, priced
from wavespeed_async.errors import (
    APIResponseError,
    APIStatusError,
    ConfigurationError,
    CostLimitError,
    WaveSpeedError,
)
from wavespeed_async.models._images import unnamed
from wavespeed_async.models._request import Request

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

    from wavespeed_async.batch._course import Items
    from wavespeed_async.limits import Limits

__all__ = ["Budget", "Estimate", "Prices", "estimate", "least_seconds"]

KINDS = 50
"""Of so many kinds of requests the price is asked for."""
UNKNOWN = {400, 404, 405, 422}
"""How the API says that it has no price for a request."""
HAIR = 1e-9
"""What adding up may be off by."""


@frozen(kw_only=True)
class Estimate:
    """Say what requests would cost, and how long they would take at best.

    Attributes:
        count: How many requests there are.
        models: How many of each model.
        cost: What they cost together, as far as prices are known; None where none is.
        currency: In what, such as `USD`; empty where no price is known.
        unpriced: Of how many the price is not known.
        seconds: How long the limits make it take, were each picture ready at once.
        trouble: Why prices were not asked for to the end, if so.
    """

    count: int
    models: Mapping[str, int]
    cost: float | None
    currency: str
    unpriced: int
    seconds: float
    trouble: WaveSpeedError | None = None


class Prices:
    """Know what requests cost, by asking once for each kind.

    Args:
        ask: Asks the API for the price of a model with inputs.
    """

    def __init__(
        self, ask: Callable[[str, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
    ) -> None:
        self._ask = ask
        self._known: dict[tuple[str, str], Price | None] = {}

    @property
    def known(self) -> tuple[Price, ...]:
        """All prices so far."""
        return tuple(price for price in self._known.values() if price is not None)

    async def of(self, request: Request) -> Price | None:
        """Answer what a request costs; None where the API has no price for it.

        Raises:
            APIConnectionError, APIStatusError: No usable answer came.
        """
        fields = encode_request(request, unnamed)
        kind = (request.model, priced(fields))
        if kind not in self._known:
            if len(self._known) >= KINDS:
                return None
            self._known[kind] = await self._asked(request.model, fields, kind[1])
        return self._known[kind]

    async def _asked(self, model: str, fields: Mapping[str, Any], inputs: str) -> Price | None:
        try:
            answer = await self._ask(model, fields)
        except APIResponseError:
            return None
        except APIStatusError as error:
            if deciding_status(error) in UNKNOWN:
                return None
            raise
        amount = _amount(answer.get("discounted_price")) or _amount(answer.get("price"))
        currency = answer.get("currency")
        if amount is None:
            return None
        return Price(model, inputs, amount, currency if isinstance(currency, str) else "USD")


def _amount(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value < math.inf else None  # type: ignore[arg-type, operator]  # it is one


async def estimate(items: Items, prices: Prices, limits: Limits) -> Estimate:
    """Say what requests would cost; predictions and ids among them exist already."""
    models: Counter[str] = Counter()
    cost, unpriced, trouble = 0.0, 0, None
    async with aclosing(each(items)) as given:
        async for item in given:
            await checkpoint()
            if not isinstance(item, Request):
                continue
            models[item.model] += 1
            price = None
            if trouble is None:
                try:
                    price = await prices.of(item)
                except WaveSpeedError as error:
                    trouble = error
            cost += price.amount if price else 0.0
            unpriced += price is None
    count = models.total()
    return Estimate(
        count=count,
        models=dict(models),
        cost=cost if prices.known else None,
        currency=prices.known[0].currency if prices.known else "",
        unpriced=unpriced,
        seconds=least_seconds(count, limits),
        trouble=trouble,
    )


def least_seconds(count: int, limits: Limits) -> float:
    """Tell how long the limits make so many requests take: each is submitted, and read once."""
    requests = count * (2 if limits.polls_count else 1)
    return limits.per * max(0, math.ceil(requests / limits.requests) - 1)


class Budget:
    """Let requests of a batch pass while what they cost together is no more than it may be.

    All requests of the input count, in its order, also those that an earlier run has sent: the same
    batch again stops at the same place.

    Args:
        most: What they may cost.
        prices: What each costs.

    Attributes:
        spent: What those cost that have passed.
    """

    def __init__(self, most: float, prices: Prices) -> None:
        is_number = isinstance(most, int | float) and not isinstance(most, bool)
        if not is_number or not 0 < most < math.inf:
            message = f"max_cost must be a number above 0, not {most!r}"
            raise ConfigurationError(message)
        self.prices: Prices = prices
        self.spent: float = 0.0
        self._most = most

    async def within(self, items: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
        """Answer the items, up to the one that would cost too much.

        Raises:
            CostLimitError: It would, or its price is not known.
        """
        async with aclosing(items):
            async for item in items:
                if isinstance(item, Request):
                    self._spend(await self._price(item))
                yield item

    async def _price(self, request: Request) -> Price:
        try:
            price = await self.prices.of(request)
        except WaveSpeedError as error:
            message = f"nothing more is submitted: the price could not be asked for: {error}"
            raise CostLimitError(message, spent=self.spent) from error
        if price is None:
            message = f"nothing more is submitted: the API tells no price for {request.model}"
            raise CostLimitError(message, spent=self.spent)
        return price

    def _spend(self, price: Price) -> None:
        if self.spent + price.amount > self._most + HAIR:
            message = (
                f"nothing more is submitted: {self.spent:.4f} {price.currency} of "
                f"{self._most:.4f} are spent, the next request costs {price.amount:.4f}"
            )
            raise CostLimitError(message, spent=self.spent)
        self.spent += price.amount
