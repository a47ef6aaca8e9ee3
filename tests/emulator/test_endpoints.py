"""The endpoints beside submissions and results: lists, deletion, money, models, expiry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.emulator.account import FLUX, KEY, call, data, made, message, poll, submission, submitted
from wavespeed_async.emulator import Emulator
from wavespeed_async.emulator._catalogue import catalogue, request_schema
from wavespeed_async.emulator._records import Failure, Listing
from wavespeed_async.emulator._requests import LOOSE_MODELS
from wavespeed_async.models import FluxDevLora, FluxFillDev, FluxKontextDevMulti, request_classes

if TYPE_CHECKING:
    from wavespeed_async.emulator._state import State

LORA = "/api/v2/wavespeed-ai/flux-dev-lora"
EPOCH = 1_760_000_000.0


def listed(state: State, now: float = 100.0, **query: Any) -> Listing:
    reply = state.receive(now, call("POST", "/api/v3/predictions", query, epoch=EPOCH))
    assert reply.listing is not None
    return reply.listing


# --- lists -------------------------------------------------------------------------------------


def test_a_list_has_the_newest_first() -> None:
    """Predictions are listed in pages, the newest first, with how many there are in all."""
    state = made()
    ids = [submitted(state, float(now)).id for now in range(5)]
    pages = [listed(state, page=page, page_size=2) for page in (1, 2, 3, 4)]
    assert [[item.id for item in page.items] for page in pages] == [
        [ids[4], ids[3]],
        [ids[2], ids[1]],
        [ids[0]],
        [],
    ]
    assert {page.total for page in pages} == {5}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"model": "wavespeed-ai/flux-dev-lora"}, [1]),
        ({"status": "processing"}, [2]),
        ({"created_after": "2025-10-09T08:53:30Z"}, [2, 1]),
        ({"created_before": "2025-10-09T08:53:29"}, [0]),
        ({"created_after": "2025-10-09T10:53:30+02:00", "status": "completed"}, [1]),
    ],
)
def test_a_list_is_filtered(query: dict[str, str], expected: list[int]) -> None:
    """A list is narrowed by model, status and times, with and without a time zone."""
    state = made(latency=45.0)
    for now, path in ((0.0, FLUX), (10.0, LORA), (59.0, FLUX)):
        state.receive(now, submission(path, prompt="p"))
    ids = [prediction.id for prediction in state.predictions(100.0)]
    assert [ids.index(item.id) for item in listed(state, 62.0, **query).items] == expected


@pytest.mark.parametrize(
    "query",
    [
        {"page": 0},
        {"page": True},
        {"page_size": 101},
        {"page_size": "10"},
        {"model": ""},
        {"status": 1},
        {"created_after": "yesterday"},
    ],
)
def test_a_query_that_makes_no_sense_is_refused(query: dict[str, Any]) -> None:
    """A query out of range is a 400 that names the field."""
    reply = made().receive(0.0, call("POST", "/api/v3/predictions", query))
    assert reply.status == 400
    assert next(iter(query)) in message(reply)


def test_a_list_is_told_like_results() -> None:
    """Listed predictions look like results, with what was asked where that is wanted."""
    for name in ("inputs", "input"):
        settings: dict[str, Any] = {"list_inputs_as": name}
        with (
            Emulator(latency=0.0, pictures=False, **settings) as emulator,
            httpx.Client(base_url=emulator.url, headers=KEY) as client,
        ):
            client.post(FLUX, json={"prompt": "a lake"})
            told = []
            for with_inputs in (True, False):
                answer = client.post("/api/v3/predictions", json={"include_inputs": with_inputs})
                page = answer.json()["data"]
                assert (page["page"], page["total"]) == (1, 1)
                told.append(page["items"][0])
        assert told[0].pop(name) == {"prompt": "a lake"}
        assert told[0] == told[1]
        assert told[1]["status"] == "completed"
        assert len(told[1]["outputs"]) == 1


# --- deletion and expiry -----------------------------------------------------------------------


def test_what_is_deleted_is_not_found() -> None:
    """Deleted predictions are gone from results and lists, and unknown ids are ignored."""
    state = made()
    gone, kept = submitted(state, 0.0).id, submitted(state, 0.0).id
    ids = [gone, gone, "0" * 32]
    assert data(state.receive(1.0, call("POST", "/api/v3/predictions/delete", {"ids": ids}))) == {
        "deleted_count": 1
    }
    assert state.receive(2.0, poll(gone)).status == 404
    assert [item.id for item in listed(state).items] == [kept]
    assert [str(p.status) for p in state.predictions(2.0)] == ["deleted", "processing"]


def test_a_deletion_frees_the_slot() -> None:
    """A running prediction that is deleted lets another one run."""
    state = made(concurrency=1)
    identity = submitted(state, 0.0).id
    assert state.receive(1.0, submission()).status == 429
    state.receive(1.0, call("POST", "/api/v3/predictions/delete", {"ids": [identity]}))
    assert state.receive(1.0, submission()).status == 200


@pytest.mark.parametrize("body", [{}, {"ids": "a"}, {"ids": [1]}])
def test_a_deletion_needs_a_list_of_ids(body: dict[str, Any]) -> None:
    """A deletion without a list of texts is a 400."""
    reply = made().receive(0.0, call("POST", "/api/v3/predictions/delete", body))
    assert message(reply) == 'field "ids" must be a list of ids'


def test_predictions_are_kept_for_seven_days() -> None:
    """After seven days a prediction is found nowhere, and not even remembered."""
    state = made()
    week = 7 * 24 * 3600.0
    old, new = submitted(state, 0.0).id, submitted(state, 1.0).id
    assert [state.receive(week, poll(identity)).status for identity in (old, new)] == [404, 200]
    assert [prediction.id for prediction in state.predictions(week)] == [new]
    assert listed(state, week + 1.0).total == 0


# --- money -------------------------------------------------------------------------------------


def balance(state: State, now: float) -> Any:
    return data(state.receive(now, call("GET", "/api/v3/balance")))["balance"]


def test_each_submission_costs_its_price() -> None:
    """The balance falls with each picture that is asked for, and by nothing else."""
    state = made(balance=1.0)
    submitted(state, 0.0, num_images=2)
    state.receive(0.0, submission("/api/v3/wavespeed-ai/flux-dev-ultra-fast"))
    state.receive(0.0, submission(num_images=9))
    assert balance(state, 0.0) == state.balance(0.0) == pytest.approx(1.0 - 2 * 0.012 - 0.005)


def test_the_balance_can_be_looked_at() -> None:
    """What is left is known without asking the API."""
    with Emulator(latency=0.0, pictures=False, balance=1.0) as emulator:
        httpx.post(emulator.url + FLUX, json={}, headers=KEY)
        assert emulator.balance == pytest.approx(0.988)


def test_without_money_nothing_is_accepted() -> None:
    """When the balance is used up a submission is refused in the API's words."""
    state = made(balance=0.02)
    replies = [state.receive(0.0, submission()) for _ in range(2)]
    assert replies[0].status == 200
    assert message(replies[1]) == "Insufficient credits. Please top up your account to continue."
    assert len(state.predictions(0.0)) == 1


def test_what_fails_is_paid_back_once() -> None:
    """A prediction that failed, was cancelled or timed out costs nothing in the end."""
    state = made(balance=1.0)
    for outcome in ("failed-1200", "cancelled", "timeout", "completed"):
        submitted(state, 0.0, prompt=f"[outcome: {outcome}]")
    spoilt = state.predictions(0.0)[0].id
    state.spoil(spoilt, Failure(1402, "no"))
    assert balance(state, 9.0) == pytest.approx(1.0 - 4 * 0.012)
    assert balance(state, 10.0) == pytest.approx(1.0 - 0.012)


def test_the_price_is_told_beforehand() -> None:
    """The price of a request is what its submission costs."""
    inputs = {"prompt": "p", "num_images": 3}
    asked = {"model_id": "wavespeed-ai/flux-dev", "inputs": inputs}
    told = data(made().receive(0.0, call("POST", "/api/v3/model/price", asked)))
    usual = {"model_id": "wavespeed-ai/flux-dev", "inputs": None}
    one = data(made().receive(0.0, call("POST", "/api/v3/model/price", usual)))
    assert one["price"] == 0.012
    assert told == {
        "model_id": "wavespeed-ai/flux-dev",
        "price": 0.036,
        "discounted_price": 0.036,
        "discount_rate": 0,
        "currency": "USD",
    }


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, "model not found"),
        ({"model_id": "wavespeed-ai/flux-dev-lora"}, 'field "prompt" is required'),
        ({"model_id": "wavespeed-ai/flux-dev", "inputs": [1]}, 'field "inputs" must be an object'),
    ],
)
def test_the_price_of_nothing_is_refused(asked: dict[str, Any], expected: str) -> None:
    """The price of an unknown model, or of inputs it would refuse, is a 400."""
    reply = made().receive(0.0, call("POST", "/api/v3/model/price", asked))
    assert message(reply).startswith(expected)


# --- models and secret -------------------------------------------------------------------------


def test_every_model_is_listed() -> None:
    """The catalogue has the models with a class and the loose ones, each with path and schema."""
    models = data(made().receive(0.0, call("GET", "/api/v3/models", origin="http://here")))
    ids = [model["model_id"] for model in models]
    assert ids == [*dict.fromkeys([*(cls.model for cls in request_classes()), *LOOSE_MODELS])]
    for model in models:
        [schema] = model["api_schema"]["api_schemas"]
        assert schema["api_path"] == f"/api/v3/{model['model_id']}"
        assert (schema["method"], schema["server"]) == ("POST", "http://here")
        request = schema["request_schema"]
        assert request["x-order-properties"] == [*request["properties"]]
        assert request["additionalProperties"] is False
        assert model["base_price"] > 0
    assert models == catalogue("http://here")


def test_schemas_are_made_from_the_request_classes() -> None:
    """Ranges, words, defaults and what is required come from the classes."""
    fill = request_schema(FluxFillDev)
    assert fill["required"] == ["image", "mask_image"]
    guidance = fill["properties"]["guidance_scale"]
    assert (guidance["type"], guidance["minimum"], guidance["maximum"]) == ("number", 28, 35)
    loras = fill["properties"]["loras"]
    assert (loras["type"], loras["maxItems"], loras["default"]) == ("array", 3, [])
    assert loras["items"]["required"] == ["path", "scale"]
    images = request_schema(FluxKontextDevMulti)["properties"]["images"]
    assert images["items"]["type"] == "string"
    assert (images["minItems"], "maxItems" in images) == (1, False)
    words = request_schema(FluxKontextDevMulti)["properties"]["output_format"]
    assert words["enum"] == ["jpeg", "png", "webp"]
    lora = request_schema(FluxDevLora)["properties"]
    assert lora["enable_base64_output"] == {
        "title": "Enable base64 output",
        "description": "true or false",
        "type": "boolean",
        "default": True,
    }
    assert lora["num_images"]["type"] == "integer"


def test_the_webhook_secret_is_told() -> None:
    """The secret that webhooks are signed with can be asked for."""
    reply = made(webhook_secret="whsec_x").receive(0.0, call("GET", "/api/v3/webhook/secret"))
    assert data(reply) == {"secret": "whsec_x"}
