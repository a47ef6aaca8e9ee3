"""Webhooks: signed, retried, doubled, forged, and only on this machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.emulator.account import FLUX, KEY, call, made, until
from tests.emulator.receiver import Receiver
from wavespeed_async import webhooks
from wavespeed_async.emulator import Emulator, Faults
from wavespeed_async.emulator._webhooks import signature
from wavespeed_async.errors import WebhookVerificationError

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "whsec_c2VjcmV0"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.stop()


def calling(**settings: Any) -> Emulator:
    usual = {
        "latency": 0.0,
        "pictures": False,
        "webhook_secret": SECRET,
        "webhook_pause": 0.02,
    }
    return Emulator(**{**usual, **settings})


def ask(emulator: Emulator, hook: str, **fields: Any) -> str:
    answer = httpx.post(emulator.url + FLUX, params={"webhook": hook}, json=fields, headers=KEY)
    identity: str = answer.json()["data"]["id"]
    return identity


def test_the_end_of_a_prediction_is_told(receiver: Receiver) -> None:
    """A webhook's body is the bare prediction, and the package's own check takes its signature."""
    with calling(latency=0.05) as emulator:
        identity = ask(emulator, receiver.url, prompt="a lake")
        until(lambda: emulator.webhooks)
    [(headers, body)] = receiver.calls
    assert webhooks.verify(body, headers, SECRET).id == identity
    told = json.loads(body)
    assert (told["status"], len(told["outputs"])) == ("completed", 1)
    assert told["outputs"][0].startswith(emulator_of(told))
    assert "input" not in told
    assert "executionTime" not in told
    [record] = emulator.webhooks
    assert (record.status_code, record.attempt, record.fault) == (200, 1, None)
    assert record.prediction_id == identity


def emulator_of(told: dict[str, Any]) -> str:
    origin: str = told["urls"]["get"].partition("/api/")[0]
    return origin


def test_the_signature_is_of_the_documented_form() -> None:
    """The hex digest is keyed with the secret as text, without its prefix."""
    told = signature("whsec_key", "msg_1", "1700000000", b"{}")
    assert told == "v3,5da5cb144150ebd438f9d7a60d63c4bf9c9d5dccc35b698ce5cac250415c1410"


def test_a_webhook_can_have_what_was_asked(receiver: Receiver) -> None:
    """With the setting the body has what was asked, as `input`."""
    with calling(webhook_input=True) as emulator:
        ask(emulator, receiver.url, prompt="a lake")
        until(lambda: receiver.calls)
    assert json.loads(receiver.calls[0][1])["input"] == {"prompt": "a lake"}


def test_failures_are_told_too(receiver: Receiver) -> None:
    """A prediction that fails is told with its code."""
    with calling() as emulator:
        ask(emulator, receiver.url, prompt="[fault: failed-1200]")
        until(lambda: receiver.calls)
    told = json.loads(receiver.calls[0][1])
    assert (told["status"], told["code"]) == ("failed", 1200)


def test_a_webhook_that_is_not_taken_is_tried_three_times(receiver: Receiver) -> None:
    """Any answer but a 2xx is followed by another try, with the same id and growing pauses."""
    receiver.answers = [500, 302, 404, 500]
    with calling(webhook_pause=0.1) as emulator:
        ask(emulator, receiver.url)
        until(lambda: len(emulator.webhooks) == 3)
        tries = emulator.webhooks
    assert [record.status_code for record in tries] == [500, 302, 404]
    assert [record.attempt for record in tries] == [1, 2, 3]
    assert tries[1].at - tries[0].at >= 0.1
    assert tries[2].at - tries[1].at >= 0.2
    assert len({headers["webhook-id"] for headers, _ in receiver.calls}) == 1


def test_a_second_try_can_succeed(receiver: Receiver) -> None:
    """After a 2xx a webhook is not tried again."""
    receiver.answers = [503]
    with calling() as emulator:
        ask(emulator, receiver.url)
        until(lambda: len(emulator.webhooks) == 2)
        ask(emulator, receiver.url)
        until(lambda: len(emulator.webhooks) == 3)
    assert [record.status_code for record in emulator.webhooks] == [503, 200, 200]


def test_nobody_listening_is_remembered() -> None:
    """A call that finds nobody is tried again, and its error remembered."""
    with calling() as emulator:
        ask(emulator, "http://127.0.0.1:1/hook")
        until(lambda: len(emulator.webhooks) == 3)
    assert all("ConnectError" in (record.error or "") for record in emulator.webhooks)


def test_doubled_webhooks(receiver: Receiver) -> None:
    """A duplicate has the same id, body and a signature that is right as well."""
    with calling(faults=Faults(duplicate_webhook=1.0)) as emulator:
        ask(emulator, receiver.url)
        until(lambda: len(emulator.webhooks) == 2)
    assert [record.fault for record in emulator.webhooks] == [None, "duplicate-webhook"]
    assert len({headers["webhook-id"] for headers, _ in receiver.calls}) == 1
    for headers, body in receiver.calls:
        webhooks.verify(body, headers, SECRET)


def test_forged_webhooks(receiver: Receiver) -> None:
    """A forged call does not verify, the real one beside it does."""
    with calling() as emulator:
        ask(emulator, receiver.url, prompt="[fault: forged-webhook]")
        until(lambda: len(emulator.webhooks) == 2)
    assert {record.fault for record in emulator.webhooks} == {None, "forged-webhook"}
    verified = 0
    for headers, body in receiver.calls:
        try:
            webhooks.verify(body, headers, SECRET)
        except WebhookVerificationError:
            continue
        verified += 1
    assert (verified, len(receiver.calls)) == (1, 2)


@pytest.mark.parametrize(
    "hook",
    [
        "https://example.com/hook",
        "http://127.0.0.1.example.com/",
        "http://user@10.0.0.1/",
        "ftp://localhost/",
        "http://[::1",
        "nonsense",
    ],
)
def test_nobody_else_is_called(hook: str) -> None:
    """An address that is not on this machine is accepted, remembered, and never called."""
    state = made(latency=0.0)
    assert state.receive(0.0, call("POST", FLUX, {}, webhook=hook)).status == 200
    [record] = state.outbox.records
    assert (record.url, record.error) == (hook, "not on this machine: never called")
    assert state.outbox.due(1.0) == ([], None)


def test_what_was_deleted_is_not_told(receiver: Receiver) -> None:
    """The webhook of a prediction that was deleted while it ran is not called."""
    with calling(latency=0.6, latency_cv=0.0) as emulator:
        gone = ask(emulator, receiver.url)
        kept = ask(emulator, receiver.url)
        body = {"ids": [gone]}
        httpx.post(emulator.url + "/api/v3/predictions/delete", json=body, headers=KEY)
        until(lambda: emulator.webhooks)
    assert [json.loads(body)["id"] for _, body in receiver.calls] == [kept]


def test_stopping_ends_the_calls(receiver: Receiver) -> None:
    """An emulator that stops calls nobody any more, and goes on after it was started again."""
    with calling(latency=0.8, latency_cv=0.0) as emulator:
        ask(emulator, receiver.url)
    assert receiver.calls == []
    with emulator:
        until(lambda: receiver.calls)
