"""The account: balance, prices, the list of predictions, deletion; against the emulator."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from tests.test_catalogue import client_of
from tests.virtual import make_client, running
from tests.wire import OTHER, Flood, Reply, data_of, page, refusal
from wavespeed_async import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
    FluxDev,
    FluxReduxDev,
    InsufficientCreditsError,
    InvalidRequestError,
    Limiter,
    Limits,
    NotFoundError,
    Prediction,
    Price,
    RawRequest,
    Status,
    WaveSpeedError,
)
from wavespeed_async._account import LARGEST, PAGES_ALIKE
from wavespeed_async.testing import virtual_backend

if TYPE_CHECKING:
    from collections.abc import Callable

WEEK = 7 * 24 * 3600.0
IMAGE = "https://example.com/a.png"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Run each test under both, on a clock that jumps."""
    return virtual_backend(request.param)


def ok(**data: Any) -> Reply:
    """Answer with data."""
    return Reply({"code": 200, "message": "success", "data": data})


# --- money ---------------------------------------------------------------------------------------


async def test_the_balance_falls_by_the_price() -> None:
    """What the price said is what a submission takes from the balance."""
    async with running(balance=1.0, latency=0.0) as (client, _):
        request = FluxDev(prompt="a", num_images=3)
        price = await client.price(request)
        assert price == Price(model=FluxDev.model, amount=0.036, list_price=0.036, currency="USD")
        assert await client.balance() == 1.0
        await client.run(request)
        assert await client.balance() == pytest.approx(1.0 - price.amount)


async def test_without_money_the_api_says_so() -> None:
    """A submission that costs more than is left is refused, and nothing is taken."""
    async with running(balance=0.01) as (client, _):
        with pytest.raises(InsufficientCreditsError):
            await client.run(FluxDev(prompt="a"))
        assert await client.balance() == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("told", "amount", "list_price", "currency"),
    [
        ({"price": 2, "discounted_price": 1.5, "currency": "EUR"}, 1.5, 2, "EUR"),
        ({"price": 2, "discounted_price": 0}, 0, 2, "USD"),
        ({"price": 2, "discounted_price": None, "currency": ""}, 2, 2, "USD"),
        ({"discounted_price": 1}, 1, 1, "USD"),
    ],
)
async def test_prices_are_what_the_account_pays(
    told: dict[str, Any], amount: float, list_price: float, currency: str
) -> None:
    """The amount is the discounted one, beside what it costs without discount."""
    client, api = client_of(ok(**told))
    async with client:
        price = await client.price(FluxDev(prompt="a"))
    assert (price.amount, price.list_price, price.currency) == (amount, list_price, currency)
    assert api.paths == ["/api/v3/model/price"]


# --- faults --------------------------------------------------------------------------------------

CALLS: dict[str, Callable[[Any], Any]] = {
    "balance": lambda client: client.balance(timeout=60.0),
    "price": lambda client: client.price(FluxDev(prompt="a"), timeout=60.0),
    "delete": lambda client: client.delete([OTHER], timeout=60.0),
    "predictions": lambda client: anext(client.predictions()),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Reply("garbage"), APIResponseError),
        (Reply('{"code": 200, "data": null}'), APIResponseError),
        (Reply('{"code": 200, "data": [1]}'), APIResponseError),
        (ok(balance="1", price=True, deleted_count=None, items=5), APIResponseError),
        (ok(balance=float("nan"), price=float("inf"), items=[5]), APIResponseError),
        (ok(items=[{"id": "../x", "status": "completed"}]), APIResponseError),
        (refusal(500, status=200), APIStatusError),
        (refusal(403), APIStatusError),
        (page(502), APIStatusError),
        (httpx.ReadError("broken"), APIConnectionError),
        (httpx.ConnectError("refused"), APIConnectionError),
    ],
    ids=str,
)
async def test_what_goes_wrong_is_a_clear_error(
    name: str, fault: Any, kind: type[WaveSpeedError]
) -> None:
    """Whatever comes instead of an answer is one of the package's errors, after the usual tries."""
    client, _ = client_of(fault)
    async with client:
        with pytest.raises(kind) as caught:
            await CALLS[name](client)
    assert str(caught.value)


@pytest.mark.parametrize("name", CALLS)
async def test_what_passes_is_tried_again(name: str) -> None:
    """A failure that may pass is no failure of the call: all of these may be asked again."""
    good = ok(balance=1, price=1, deleted_count=1, items=[data_of()])
    client, api = client_of(page(503), httpx.ReadError("broken"), good)
    async with client:
        assert await CALLS[name](client)
    assert len(api.requests) == 3


@pytest.mark.parametrize("name", ["balance", "price", "delete"])
async def test_an_answer_that_does_not_come_in_time_is_an_error(name: str) -> None:
    """A call ends with its timeout, whatever the server does."""
    client, _ = client_of(Reply("{}", after=1000.0))
    async with client:
        start = anyio.current_time()
        with pytest.raises(APIConnectionError):
            await CALLS[name](client)
        assert anyio.current_time() - start <= 60.0


@pytest.mark.parametrize("name", ["balance", "delete"])
async def test_an_answer_of_any_size_takes_no_more_memory(name: str) -> None:
    """An endless answer where a number belongs is cut off at its bound."""
    flood = Flood(2**16)
    client, _ = client_of(flood, max_retries=0)
    async with client:
        with pytest.raises(APIResponseError, match=f"larger than {LARGEST} bytes"):
            await CALLS[name](client)
    assert flood.sent <= LARGEST + 2 * flood.part


# --- the list ------------------------------------------------------------------------------------


async def test_predictions_are_listed_over_pages() -> None:
    """All predictions come, each once, the newest first, however small the pages."""
    async with running(latency=0.0) as (client, emulator):
        for number in range(7):
            await client.run(FluxDev(prompt=str(number)))
        ids = [prediction.id for prediction in reversed(emulator.predictions)]
        for size in (1, 3, 7, 100):
            found = [one async for one in client.predictions(page_size=size)]
            assert [one.id for one in found] == ids
        assert all(one.status is Status.COMPLETED for one in found)
        (first, *_) = [one async for one in client.predictions(include_inputs=True)]
        assert first.raw["inputs"]["prompt"] == "6"


async def test_predictions_are_filtered() -> None:
    """Model, status and times narrow the list as the API has it."""
    async with running(latency=10.0, latency_cv=0.0) as (client, _):
        old = await client.run(FluxDev(prompt="a"))
        new = await client.submit(FluxReduxDev(image=IMAGE))

        async def listed(**filters: Any) -> list[str]:
            return [one.id async for one in client.predictions(**filters)]

        assert await listed() == [new.id, old.id]
        assert await listed(model=FluxDev.model) == [old.id]
        assert await listed(status="completed") == [old.id]
        assert await listed(status=Status.CREATED) == [new.id]
        assert old.created_at is not None
        between = old.created_at + timedelta(seconds=5)
        assert await listed(created_after=between) == [new.id]
        assert await listed(created_before=between) == [old.id]
        await client.wait(new)


@pytest.mark.parametrize(
    ("filters", "field"),
    [
        ({"page_size": 0}, "page_size"),
        ({"page_size": 101}, "page_size"),
        ({"page_size": True}, "page_size"),
        ({"model": ""}, "model"),
        ({"status": 5}, "status"),
        ({"created_after": datetime(2025, 1, 1)}, "created_after"),  # noqa: DTZ001 (that is the point)
        ({"created_before": "2025-01-01"}, "created_before"),
    ],
)
async def test_a_filter_that_cannot_be_is_refused(filters: Any, field: str) -> None:
    """Nonsense is refused by name, before anything is sent."""
    client, api = client_of(ok(items=[]))
    async with client:
        with pytest.raises(InvalidRequestError) as caught:
            client.predictions(**filters)
    assert (caught.value.field, api.requests) == (field, [])


async def test_what_is_pushed_onto_the_next_page_is_listed_once() -> None:
    """Predictions that are made while the list is read do not bring others twice."""
    ids = [f"{number:032x}" for number in range(6)]

    def listed(*numbers: int) -> Reply:
        return ok(items=[data_of(prediction_id=ids[number]) for number in numbers])

    client, _ = client_of(listed(0, 1), listed(1, 2), listed(1, 2), listed(3, 3), listed(4))
    async with client:
        found = [one.id async for one in client.predictions(page_size=2)]
    assert found == ids[:5]


async def test_a_list_ends_where_the_api_says_so() -> None:
    """A total is believed, a short page is the last, and no items are none."""
    for steps, requests in (
        ([ok(items=[data_of()], total=1), refusal(500)], 1),
        ([ok(items=[data_of()]), ok(items=[]), refusal(500)], 2),
        ([ok(items=None), refusal(500)], 1),
    ):
        client, api = client_of(*steps)
        async with client:
            assert len([one async for one in client.predictions(page_size=1)]) < 2
        assert len(api.requests) == requests


async def test_a_list_that_leads_nowhere_is_an_error() -> None:
    """A server that answers each page alike does not keep a reader for ever."""
    client, api = client_of(ok(items=[data_of()]))
    async with client:
        with pytest.raises(APIResponseError, match="each page"):
            [one async for one in client.predictions(page_size=1)]
    assert len(api.requests) == PAGES_ALIKE + 1


async def test_a_list_goes_on_after_a_failure() -> None:
    """To iterate on after an error asks for the same page again."""
    first, second = (ok(items=[data_of(prediction_id=one)]) for one in ("a" * 32, "b" * 32))
    client, _ = client_of(first, refusal(403), second, ok(items=[]))
    async with client:
        listed = client.predictions(page_size=1)
        assert (await anext(listed)).id == "a" * 32
        with pytest.raises(APIStatusError):
            await anext(listed)
        assert [one.id async for one in listed] == ["b" * 32]


# --- deletion, expiry, other processes -----------------------------------------------------------


async def test_what_is_deleted_is_gone() -> None:
    """Deleted predictions are found nowhere; the answer says how many there were."""
    async with running(latency=0.0) as (client, _):
        made = [await client.run(FluxDev(prompt=str(number))) for number in range(3)]
        assert await client.delete([made[0], made[1].id, made[1], OTHER]) == 2
        with pytest.raises(NotFoundError):
            await client.result(made[0].id)
        assert [one.id async for one in client.predictions()] == [made[2].id]
        assert await client.delete([]) == 0


async def test_many_are_deleted_in_parts() -> None:
    """Of very many ids each request has a hundred."""
    client, api = client_of(ok(deleted_count=100), ok(deleted_count=30))
    async with client:
        assert await client.delete(f"{number:032x}" for number in range(130)) == 130
    assert len(api.requests) == 2


@pytest.mark.parametrize("given", ["a" * 32, Prediction(id="a"), 5, ["../x"], [5], [None]])
async def test_what_is_no_id_is_not_deleted(given: Any) -> None:
    """Anything but a list of predictions and ids is refused before anything is sent."""
    client, api = client_of(ok(deleted_count=1))
    async with client:
        with pytest.raises(InvalidRequestError):
            await client.delete(given)
    assert api.requests == []


async def test_predictions_expire_after_seven_days() -> None:
    """What is older than the API keeps it is not found, and not listed."""
    async with running(latency=0.0) as (client, _):
        made = await client.run(FluxDev(prompt="a"))
        await anyio.sleep(WEEK - 60)
        assert (await client.result(made.id)).id == made.id
        await anyio.sleep(120)
        with pytest.raises(NotFoundError):
            await client.result(made.id)
        assert [one async for one in client.predictions()] == []


@pytest.mark.parametrize(
    "request_",
    [
        FluxDev(prompt="a"),
        FluxReduxDev(image=IMAGE),
        RawRequest("wavespeed-ai/flux-dev-ultra-fast", {"prompt": "a"}),
        RawRequest("wavespeed-ai/flux-dev-ultra-fast", {"prompt": "a"}, version="v2"),
    ],
    ids=["v2", "v3", "raw", "raw-v2"],
)
async def test_an_id_is_enough_in_another_process(request_: Any) -> None:
    """A client that knows nothing but the id reads and awaits it, of either version."""
    async with running(latency=5.0) as (client, emulator):
        made = await client.submit(request_)
        async with make_client(emulator, limiter=Limiter(Limits())) as other:
            assert (await other.result(made.id)).id == made.id
            assert (await other.wait(made.id)).status is Status.COMPLETED
        await client.wait(made)


def test_times_are_sent_with_their_zone() -> None:
    """A time is asked for as ISO 8601 with its own offset."""
    client, _ = client_of(ok(items=[]))
    listed: Any = client.predictions(created_after=datetime(2025, 9, 29, 23, 9, tzinfo=UTC))
    assert listed._query["created_after"] == "2025-09-29T23:09:00+00:00"
