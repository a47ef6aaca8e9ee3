"""What a batch would cost, and one that may cost only so much."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from wavespeed_async import (
    APIConnectionError,
    AsyncWaveSpeed,
    ConfigurationError,
    CostLimitError,
    FluxDev,
    Limits,
    Outcome,
    Prediction,
    RawRequest,
    Request,
)
from wavespeed_async.batch import _cost
from wavespeed_async.batch._cost import least_seconds
from wavespeed_async.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

FAST = Limits(requests=500, per=1.0, min_poll_interval=0.01)
PRICE = "/api/v3/model/price"


def client_of(emulator: Emulator) -> AsyncWaveSpeed:
    transport = httpx.ASGITransport(emulator.app)
    return AsyncWaveSpeed("k", base_url="http://emulator", limits=FAST, transport=transport)


def small() -> Emulator:
    return Emulator(latency=0.01, latency_cv=0, per=1, requests=500, pictures=False)


def asked(emulator: Emulator) -> int:
    return sum(request.path == PRICE for request in emulator.requests)


def priced_at(*answers: dict[str, Any] | int | None) -> AsyncWaveSpeed:
    """Answer a client of an API that tells these prices, or fails by a status or without one."""
    left = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == PRICE
        told = left.pop(0) if len(left) > 1 else left[0]
        if told is None:
            message = "the network is down"
            raise httpx.ConnectError(message)
        if isinstance(told, int):
            return httpx.Response(told, json={"code": told, "message": "no"})
        return httpx.Response(200, json={"code": 200, "message": "success", "data": told})

    transport = httpx.MockTransport(answer)
    return AsyncWaveSpeed("k", limits=FAST, transport=transport, max_retries=0)


# --- before it begins -----------------------------------------------------------------------------


async def test_an_estimate_asks_once_for_each_kind() -> None:
    """The cost is that of all requests, each kind's price is asked for once, nothing submitted."""
    emulator = small()
    requests: list[Request | str] = [FluxDev(prompt=f"{n}", seed=n) for n in range(200)]
    requests += [
        FluxDev(prompt="two", num_images=2),
        RawRequest("wavespeed-ai/flux-dev-ultra-fast", {}),
    ]
    requests += ["0" * 32]
    async with client_of(emulator) as client:
        found = await client.estimate(requests)
    assert found.cost == pytest.approx(200 * 0.012 + 0.024 + 0.005)
    assert (found.count, found.unpriced, found.currency) == (202, 0, "USD")
    assert found.models == {"wavespeed-ai/flux-dev": 201, "wavespeed-ai/flux-dev-ultra-fast": 1}
    assert found.trouble is None
    assert (asked(emulator), len(emulator.predictions)) == (3, 0)


async def test_an_estimate_of_an_async_iterable() -> None:
    """Requests may come from anything that a batch takes."""

    async def requests() -> AsyncIterator[Request]:
        for n in range(3):
            yield FluxDev(prompt=f"{n}")

    async with client_of(small()) as client:
        assert (await client.estimate(requests())).cost == pytest.approx(0.036)
        assert (await client.estimate([])).cost is None


@pytest.mark.parametrize(
    ("answer", "cost"),
    [
        ({"price": 2, "discounted_price": 1.5, "currency": "EUR"}, 1.5),
        ({"price": 2, "discounted_price": 0}, 2.0),
        ({"price": 2}, 2.0),
        ({"price": 0}, 0.0),
        ({"price": True}, None),
        ({"price": "2"}, None),
        ({"price": -1}, None),
        ({"currency": "USD"}, None),
        (404, None),
        (400, None),
    ],
)
async def test_answers_about_a_price(answer: Any, cost: float | None) -> None:
    """The discounted price counts where there is one; what is no price is none."""
    async with priced_at(answer) as client:
        found = await client.estimate([FluxDev(prompt="a")])
    assert (found.cost, found.unpriced) == (cost, int(cost is None))
    assert found.trouble is None
    if cost == 1.5:
        assert found.currency == "EUR"


async def test_an_answer_that_is_none_is_no_price() -> None:
    """Garbage in place of a price leaves it unknown."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200, text="<html>"))
    async with AsyncWaveSpeed("k", limits=FAST, transport=transport, max_retries=0) as client:
        assert (await client.estimate([FluxDev(prompt="a")])).unpriced == 1


@pytest.mark.parametrize("answer", [None, 401, 500])
async def test_prices_that_cannot_be_asked_for(answer: int | None) -> None:
    """An estimate without a network, or with a wrong key, says so and asks no more."""
    requests = [FluxDev(prompt="a"), FluxDev(prompt="a", num_images=2), FluxDev(prompt="b")]
    async with priced_at({"price": 1}, answer) as client:
        found = await client.estimate(requests)
    assert (found.cost, found.unpriced) == (1.0, 2)
    assert found.trouble is not None
    if answer is None:
        assert isinstance(found.trouble, APIConnectionError)


async def test_only_so_many_kinds_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that all differ do not use up the minute: of the rest the price is not known."""
    monkeypatch.setattr(_cost, "KINDS", 2)
    emulator = small()
    async with client_of(emulator) as client:
        found = await client.estimate([FluxDev(prompt="a", num_images=n) for n in (1, 2, 3, 2)])
    assert (asked(emulator), found.unpriced) == (2, 1)
    assert found.cost == pytest.approx(0.012 * 5)


@pytest.mark.parametrize(
    ("count", "polls", "seconds"),
    [
        (0, True, 0),
        (60, True, 0),
        (61, True, 60),
        (120, True, 60),
        (600, True, 540),
        (600, False, 240),
    ],
)
def test_the_time_that_the_limits_allow(count: int, polls: bool, seconds: float) -> None:
    """Each picture takes two requests where polls count, else one, and the first window is free."""
    assert least_seconds(count, Limits(polls_count=polls)) == seconds


# --- while it goes on -----------------------------------------------------------------------------


async def ran(client: AsyncWaveSpeed, requests: Any, **more: Any) -> tuple[list[Outcome], str]:
    """Run a batch to its end, and answer its outcomes and what ended it."""
    ended: list[Outcome] = []
    async with client.batch(requests, **more) as outcomes:
        try:
            async for outcome in outcomes:
                ended.append(outcome)  # noqa: PERF401 (they stay where the iteration raises)
        except CostLimitError as error:
            assert outcomes.running == ()
            return ended, str(error)
    return ended, ""


async def test_a_batch_stops_before_it_costs_too_much(tmp_path: Path) -> None:
    """What is submitted costs no more than it may, and ends; the same batch again stops there."""
    emulator = small()
    requests = [FluxDev(prompt=f"{n}") for n in range(50)]
    for _ in range(2):
        async with client_of(emulator) as client:
            ended, why = await ran(client, requests, max_cost=0.24, journal=tmp_path / "j")
        assert len(ended) == len(emulator.predictions) == 20
        assert all(outcome.error is None for outcome in ended)
        assert "0.2400 USD of 0.2400 are spent, the next request costs 0.0120" in why
    async with client_of(emulator) as client:
        ended, why = await ran(client, requests, max_cost=1, journal=tmp_path / "j")
    assert (len(ended), len(emulator.predictions), why) == (50, 50, "")


async def test_a_batch_knows_its_prices() -> None:
    """The prices that were asked for can be read; what exists already costs nothing."""
    emulator = small()
    async with client_of(emulator) as client:
        made = await client.run(FluxDev(prompt="a"))
        items: list[Request | Prediction] = [FluxDev(prompt="a"), Prediction(id=made.id)]
        async with client.batch(items, max_cost=0.012) as outcomes:
            assert len([outcome async for outcome in outcomes]) == 2
            assert [price.amount for price in outcomes.prices] == [0.012]
        async with client.batch([]) as outcomes:
            assert outcomes.prices == ()
        outcomes_in_order = await client.run_all([FluxDev(prompt="b")], max_cost=5)
    assert [outcome.error for outcome in outcomes_in_order] == [None]
    assert asked(emulator) == 2


@pytest.mark.parametrize("answer", [404, None, 401])
async def test_without_a_price_nothing_is_submitted(answer: int | None) -> None:
    """Where the API tells no price, or does not answer, a bound on the cost holds all the same."""
    async with priced_at(answer) as client:
        ended, why = await ran(client, [FluxDev(prompt="a")], max_cost=1)
    assert ended == []
    assert "nothing more is submitted: " in why


@pytest.mark.parametrize("cost", [0, -1, math.nan, math.inf, True, "1"])
async def test_a_bound_that_is_none_is_refused(cost: Any) -> None:
    """What a batch may cost is a number above 0."""
    async with client_of(small()) as client:
        with pytest.raises(ConfigurationError, match="max_cost must be a number above 0"):
            client.batch([], max_cost=cost)
