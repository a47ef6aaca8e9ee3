"""Which faults befall which requests, and what they leave of an account."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from tests.emulator.account import KEY, call, made, message, poll, submission, submitted
from wavespeed_async._prediction import Status
from wavespeed_async.emulator import FAULTS, Faults
from wavespeed_async.emulator._faults import FAILURES, Dice, mangled
from wavespeed_async.emulator._records import Reply, Scripted
from wavespeed_async.emulator._wishes import Wishes

if TYPE_CHECKING:
    from wavespeed_async.emulator._state import State

DONE = [
    *("lost", "refused", "reset", "slow", "trickle"),
    *("error-html", "garbage", "truncated", "null-data"),
]
NOT_DONE = ["error-json", "storm", "error-under-200"]


def wished(fault: str) -> tuple[State, Reply]:
    """Submit once with a fault."""
    state = made()
    return state, state.receive(0.0, submission(prompt=f"a lake [fault: {fault}]"))


# --- rates and dice ----------------------------------------------------------------------------


def test_a_rate_is_a_share() -> None:
    """A rate is from 0 to 1, and everything else is refused."""
    assert Faults(lost=1).lost == 1
    for wrong in (-0.1, 1.1):
        with pytest.raises(ValueError, match="lost"):
            Faults(lost=wrong)


def test_profiles_set_many_rates_at_once() -> None:
    """A calm day has no faults, a hostile one all of them, and single rates can be changed."""
    assert Faults.profile("calm") == Faults()
    rates = attrs.asdict(Faults.profile("hostile", seed=3, stuck=0.5))
    assert (rates.pop("seed"), rates["stuck"]) == (3, 0.5)
    assert (rates.pop("slowness"), rates.pop("outage"), rates.pop("lateness")) == (2.0, 0.2, 10.0)
    assert all(rates.values())
    busy = Faults.profile("busy")
    assert (busy.stuck, busy.lost) == (0.0, 0.0)
    assert busy.slow
    unknown: Any = "stormy"
    with pytest.raises(ValueError, match="calm, busy, hostile"):
        Faults.profile(unknown)


def test_every_fault_has_a_name() -> None:
    """The names of headers and flags are those of the rates."""
    rates = {a.name for a in attrs.fields(Faults)} - {"seed", "slowness", "outage", "lateness"}
    assert {name.replace("-", "_") for name in FAULTS} == rates


def test_the_same_seed_makes_the_same_faults() -> None:
    """Which requests meet which faults depends on the seed alone."""

    def run(seed: int) -> list[str | None]:
        dice = Dice(Faults.profile("hostile", seed=seed))
        return [dice.fault("submit", has_webhook=True) for _ in range(200)]

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_faults_come_as_often_as_was_set() -> None:
    """A rate of a tenth befalls about every tenth request."""
    dice = Dice(Faults(garbage=0.1))
    met = sum(dice.fault("result", has_webhook=False) == "garbage" for _ in range(5000))
    assert 400 < met < 600


@pytest.mark.parametrize(
    ("fault", "kinds"),
    [
        ("lost", {"submit"}),
        ("stuck", {"submit"}),
        ("wrong_origin", {"submit", "result"}),
        ("slow", {"submit", "result", "other"}),
        ("forged_webhook", set()),
    ],
)
def test_faults_befall_what_they_can(fault: str, kinds: set[str]) -> None:
    """By its rate a fault befalls only requests that it makes sense for."""
    rates: dict[str, Any] = {fault: 1.0}
    dice = Dice(Faults(**rates))
    met = {kind for kind in ("submit", "result", "other") if dice.fault(kind, has_webhook=False)}
    assert met == kinds
    assert Dice(Faults(forged_webhook=1.0)).fault("submit", has_webhook=True)


# --- what is done and what is not --------------------------------------------------------------


@pytest.mark.parametrize("fault", DONE)
def test_behind_a_broken_answer_the_request_was_done(fault: str) -> None:
    """A fault of the answer alone leaves a prediction behind, and its id in the record."""
    state, reply = wished(fault)
    [prediction] = state.predictions(0.0)
    [record] = state.requests
    assert (record.fault, record.prediction_id) == (fault, prediction.id)
    assert reply.fault == fault
    assert reply.lost == (fault == "lost")
    assert (record.status_code is None) == (fault == "lost")


@pytest.mark.parametrize("fault", NOT_DONE)
def test_a_refusal_leaves_nothing_behind(fault: str) -> None:
    """A fault that comes before the request is done leaves no prediction and costs nothing."""
    state, _ = wished(fault)
    assert state.predictions(0.0) == ()
    assert state.balance(0.0) == 10_000.0
    assert [record.fault for record in state.requests] == [fault]


def test_after_refused_nobody_can_connect_for_a_while() -> None:
    """The request itself is answered; what comes within the outage is not to be received."""
    state, reply = wished("refused")
    assert (reply.lost, state.requests[0].status_code) == (False, 200)
    assert [state.refuses(now) for now in (0.0, 0.19, 0.2)] == [True, True, False]


def test_of_two_outages_the_longer_counts() -> None:
    """An outage that ends sooner does not shorten one that goes on."""
    state = made()
    assert not state.refuses(0.0)
    state.refuse(0.0, 10.0)
    state.refuse(1.0, 1.0)
    assert [state.refuses(now) for now in (9.9, 10.0)] == [True, False]


def test_errors_of_the_server() -> None:
    """A 5xx comes as an envelope or as a gateway's page; an error can hide under HTTP 200."""
    _, reply = wished("error-json")
    assert reply.status in {500, 502, 503, 504}
    assert message(reply)
    _, reply = wished("error-html")
    assert reply.status in {500, 502, 503, 504}
    assert isinstance(reply.body, str)
    assert reply.body.startswith("<html>")
    _, reply = wished("error-under-200")
    assert reply.status == 200
    assert isinstance(reply.body, dict)
    assert reply.body["code"] == 500


def test_a_storm_goes_on_for_a_while() -> None:
    """A storm answers 429 to a few requests of any kind, then it is over."""
    state, reply = wished("storm")
    assert message(reply) == "You have reached your concurrency limit"
    statuses = [state.receive(0.0, call("GET", "/api/v3/balance")).status for _ in range(8)]
    length = statuses.count(429)
    assert statuses == [429] * length + [200] * (8 - length)
    assert 2 <= length <= 7
    assert [r.fault for r in state.requests[: length + 1]] == ["storm"] * (length + 1)
    assert state.refused == length + 1


def test_mangled_bodies() -> None:
    """A body becomes no JSON, half of its JSON, or an envelope without data."""
    body = b'{"code":200,"data":{}}'
    for fault in ("garbage", "truncated"):
        with pytest.raises(ValueError, match=r"."):
            json.loads(mangled(fault, body))
    assert json.loads(mangled("null-data", body))["data"] is None
    assert mangled("slow", body) == mangled(None, body) == body


# --- faults of predictions ---------------------------------------------------------------------


@pytest.mark.parametrize("code", FAILURES)
def test_predictions_fail_with_each_code(code: int) -> None:
    """A prediction can be made to fail with each documented code."""
    state, reply = wished(f"failed-{code}")
    assert reply.prediction is not None
    found = state.find(10.0, reply.prediction.id)
    assert found is not None
    assert found.status is Status.FAILED
    assert found.failure is not None
    assert (found.failure.code, found.failure.message) == (code, FAILURES[code])


def test_a_failure_without_a_code_draws_one() -> None:
    """Failures by rate have codes of all kinds."""
    state = made(faults=Faults(failed=1.0), requests=200, concurrency=200)
    codes = {submitted(state, 0.0).failure for _ in range(150)}
    assert {failure.code for failure in codes if failure} == {*FAILURES}


def stuck(**settings: Any) -> tuple[State, str]:
    """Submit once where one may run, with a prediction that is stuck."""
    state = made(concurrency=1, latency_cv=0.5, **settings)
    return state, submitted(state, 0.0, prompt="[fault: stuck]").id


def test_the_api_ends_a_stuck_prediction() -> None:
    """It runs for ten minutes, ends as `timeout`, frees its slot and is paid back."""
    state, identity = stuck()
    seen = [state.find(now, identity) for now in (599.9, 600.0)]
    assert [str(found.status) for found in seen if found] == ["processing", "timeout"]
    assert state.balance(599.9) < state.balance(600.0) == 10_000.0
    assert [state.receive(now, submission()).status for now in (599.9, 600.0)] == [429, 200]


def test_when_a_stuck_prediction_ends_is_a_switch() -> None:
    """It ends sooner where it is set so."""
    state, identity = stuck(stuck_for=20.0)
    seen = [state.find(now, identity) for now in (19.9, 20.0)]
    assert [found.status.ended for found in seen if found] == [False, True]


def test_a_prediction_can_be_stuck_for_ever() -> None:
    """Without an end it runs on, and keeps its slot."""
    state, identity = stuck(stuck_for=None)
    late = 6 * 24 * 3600.0
    found = state.find(late, identity)
    assert found is not None
    assert not found.status.ended
    assert state.receive(late, submission()).status == 429


def test_a_skewed_clock_is_wrong_by_up_to_an_hour() -> None:
    """Clock skew moves what `created_at` tells, and nothing else."""
    _, reply = wished("clock-skew")
    assert reply.prediction is not None
    assert 60 <= abs(reply.prediction.skew) <= 3600
    assert reply.prediction.ready == 10.0


# --- wishes ------------------------------------------------------------------------------------


def test_a_header_is_for_one_request() -> None:
    """A fault can be wished for by header, on any request, with nothing in its body."""
    state = made()
    identity = submitted(state, 0.0).id
    reply = state.receive(0.0, poll(identity, **{"x-emulator-fault": "lost"}))
    assert (reply.lost, state.requests[1].fault) == (True, "lost")
    reply = state.receive(0.0, poll(identity, **{"x-emulator-shape": "null-lists"}))
    assert reply.shape == "null-lists"
    assert not state.receive(0.0, poll(identity)).lost


def test_a_script_counts_more_than_a_marker_and_this_more_than_a_header() -> None:
    """Of several wishes for one request the script's counts first, then the prompt's."""
    state = made()
    state.script(Scripted(wishes=Wishes(fault="garbage"), kind="submit"))
    for _ in range(2):
        headers = {"x-emulator-fault": "slow"}
        fields = {"prompt": "[fault: truncated]"}
        state.receive(0.0, call("POST", "/api/v2/wavespeed-ai/flux-dev", fields, headers=headers))
    assert [record.fault for record in state.requests] == ["garbage", "truncated"]


@pytest.mark.parametrize("name", ["fault", "outcome", "shape"])
def test_a_wish_that_cannot_be_is_refused(name: str) -> None:
    """A misspelt wish is a 400 that lists what there is."""
    reply = made().receive(0.0, submission(prompt=f"[{name}: nonsense]"))
    assert reply.status == 400
    assert message(reply).startswith(f"the emulator has no {name} 'nonsense': take one of ")


def test_only_submissions_are_searched_for_markers() -> None:
    """A marker in the body of another request is none."""
    state = made()
    reply = state.receive(0.0, call("POST", "/api/v3/predictions", {"model": "[fault: lost]"}))
    assert not reply.lost


def test_a_scripted_answer_meets_no_fault() -> None:
    """An answer that a test scripted comes as it was written, whatever the rates are."""
    state = made(faults=Faults(garbage=1.0))
    state.script(Scripted(status_code=503))
    assert state.receive(0.0, submission()).fault is None


def test_a_stranger_meets_no_fault() -> None:
    """A request without a key is a 401, and its wishes are not heard."""
    state = made(faults=Faults(lost=1.0))
    headers = {"authorization": "", "x-emulator-fault": "storm"}
    assert state.receive(0.0, call("GET", "/api/v3/balance", headers=headers)).status == 401
    assert state.receive(0.0, call("GET", "/api/v3/balance", headers=KEY)).status == 200
