"""The API's behaviour as a state machine, by a clock made of numbers."""

from __future__ import annotations

import json
import re
import statistics
from typing import Any

import pytest

from wavespeed_async._prediction import Status
from wavespeed_async.emulator._answers import prediction_data, timed_out
from wavespeed_async.emulator._state import (
    Call,
    Failure,
    PredictionRecord,
    Reply,
    Scripted,
    Settings,
    State,
)

KEY = {"authorization": "Bearer k", "x-client-name": "test"}
FLUX = "/api/v2/wavespeed-ai/flux-dev"


def made(**settings: Any) -> State:
    return State(Settings(**{"latency": 10.0, "latency_cv": 0.0, **settings}))


def post(path: str = FLUX, **fields: Any) -> Call:
    return Call(method="POST", path=path, headers=KEY, body=json.dumps(fields).encode())


def poll(prediction_id: str, path: str = "/api/v3/predictions/{}/result") -> Call:
    return Call(method="GET", path=path.format(prediction_id), headers=KEY)


def submitted(state: State, now: float, path: str = FLUX, **fields: Any) -> PredictionRecord:
    prediction = state.receive(now, post(path, **fields)).prediction
    assert prediction is not None
    return prediction


def message(reply: Reply) -> Any:
    assert isinstance(reply.body, dict)
    assert reply.body["code"] == reply.status
    assert "data" not in reply.body
    return reply.body["message"]


# --- predictions -------------------------------------------------------------------------------


def test_a_prediction_is_created_then_processing_then_completed() -> None:
    """A prediction passes through the documented statuses by time alone."""
    state = made()
    identity = submitted(state, 100.0).id
    seen = []
    for now in (100.0, 100.4, 100.6, 109.9, 110.0, 200.0):
        found = state.receive(now, poll(identity)).prediction
        assert found is not None
        seen.append(str(found.status))
    assert seen == ["created"] * 2 + ["processing"] * 2 + ["completed"] * 2


def test_without_latency_a_prediction_is_ready_at_once() -> None:
    """A latency of 0 makes predictions that are completed when they are first asked for."""
    state = made(latency=0.0)
    found = state.find(5.0, submitted(state, 5.0).id)
    assert found is not None
    assert found.status is Status.COMPLETED


def test_a_spoilt_prediction_fails_when_it_is_ready() -> None:
    """A prediction that must fail runs its time like any other."""
    state = made()
    identity = submitted(state, 0.0).id
    state.spoil(identity, Failure(1402, "media access failed"))
    assert [p.status for now in (9.0, 10.0) for p in state.predictions(now)] == [
        Status.PROCESSING,
        Status.FAILED,
    ]


def test_latencies_have_the_mean_and_the_spread_that_were_set() -> None:
    """Latencies are log-normal with the asked mean and coefficient of variation."""
    state = made(latency=5.0, latency_cv=0.3, requests=5000, concurrency=5000)
    latencies = [submitted(state, 0.0).ready for _ in range(4000)]
    mean = statistics.fmean(latencies)
    assert mean == pytest.approx(5.0, rel=0.03)
    assert statistics.stdev(latencies) / mean == pytest.approx(0.3, rel=0.06)


def test_the_same_seed_makes_the_same_run() -> None:
    """Ids, latencies and drawn seeds depend on the settings' seed alone."""

    def run(seed: int) -> list[tuple[str, float, int]]:
        state = made(seed=seed, latency_cv=0.5)
        return [(p.id, p.ready, p.seed) for p in (submitted(state, 1.0) for _ in range(3))]

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert all(re.fullmatch("[0-9a-f]{32}", identity) for identity, _, _ in run(1))


def test_a_given_seed_is_kept_and_an_open_one_is_drawn() -> None:
    """Seed -1 and no seed are drawn; any other is used."""
    state = made()
    image = "https://example.com/a.png"
    assert submitted(state, 0.0, seed=7).seed == 7
    assert submitted(state, 0.0, seed=-1).seed >= 0
    assert submitted(state, 0.0, "/api/v3/wavespeed-ai/flux-redux-dev", image=image).seed >= 0


def test_models_and_ids_work_under_both_versions() -> None:
    """A model can be posted, and an id read, under either version; v3 has a short form."""
    state = made()
    for version in ("v2", "v3"):
        identity = submitted(state, 0.0, f"/api/{version}/wavespeed-ai/flux-dev").id
        for path in (
            "/api/v2/predictions/{}/result",
            "/api/v3/predictions/{}/result",
            "/api/v3/predictions/{}",
        ):
            assert state.receive(1.0, poll(identity, path)).prediction is not None
    assert [p.polls for p in state.predictions(1.0)] == [3, 3]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (poll("0" * 32), "prediction not found"),
        (poll("0" * 32, "/api/v2/predictions/{}"), "not found"),
        (post("/api/v1/wavespeed-ai/flux-dev"), "not found"),
    ],
)
def test_what_is_not_there_is_404(call: Call, expected: str) -> None:
    """Unknown ids and paths are answered 404, in an envelope."""
    reply = made().receive(0.0, call)
    assert (reply.status, message(reply)) == (404, expected)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", FLUX, "POST"),
        ("POST", "/api/v3/predictions/x", "GET"),
        ("DELETE", "/api/v2/predictions/x/result", "GET"),
        ("GET", "/api/v3/predictions/delete", "POST"),
        ("PUT", "/api/v3/predictions", "POST"),
        ("OPTIONS", "/api/v3/balance", "GET"),
        ("POST", "/api/v3/balance", "GET"),
    ],
)
def test_a_method_that_a_path_does_not_have_is_405(method: str, path: str, allowed: str) -> None:
    """A wrong method is answered 405, in an envelope, with the methods that there are."""
    reply = made().receive(0.0, Call(method=method, path=path, headers=KEY))
    assert (reply.status, message(reply)) == (405, "method not allowed")
    assert reply.headers == {"allow": allowed}


def test_a_refused_submission_makes_no_prediction() -> None:
    """A submission answered 400 is counted and recorded, and nothing runs."""
    state = made()
    reply = state.receive(0.0, post("/api/v3/wavespeed-ai/none"))
    assert (reply.status, message(reply)) == (400, "model not found")
    assert state.most_requests_in_window == 1
    assert state.predictions(0.0) == ()


# --- keys --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "header", "status"),
    [
        (None, "Bearer anything", 200),
        (None, "bearer anything", 200),
        (None, "Bearer ", 401),
        (None, "Basic anything", 401),
        (None, "", 401),
        ("right", "Bearer right", 200),
        ("right", "Bearer wrong", 401),
    ],
)
def test_keys(known: str | None, header: str, status: int) -> None:
    """Any bearer key will do unless one is set; a 401 uses up nothing."""
    state = made(api_key=known)
    call = Call(method="POST", path=FLUX, headers={"authorization": header}, body=b"{}")
    reply = state.receive(0.0, call)
    assert reply.status == status
    assert state.most_requests_in_window == (status == 200)
    if status == 401:
        assert message(reply) == "Invalid API key"


# --- limits ------------------------------------------------------------------------------------


def test_the_window_slides() -> None:
    """A request is refused while as many as allowed are younger than the window is long."""
    state = made(requests=2, per=60.0)
    statuses = [
        state.receive(now, post()).status for now in (0.0, 30.0, 59.9, 60.0, 60.0, 89.9, 90.0)
    ]
    assert statuses == [200, 200, 429, 200, 429, 429, 200]
    assert state.refused == 3
    assert state.most_requests_in_window == 2


def test_a_refused_request_counts_in_no_window() -> None:
    """Hammering at a full window does not keep it full."""
    state = made(requests=1, per=10.0)
    assert [state.receive(float(now), post()).status for now in range(11)] == [
        200,
        *[429] * 9,
        200,
    ]


def test_polls_count_unless_they_are_exempted() -> None:
    """Polls use up the window by default, and neither use it nor are refused when exempted."""
    for polls_count, expected in ((True, [200, 429]), (False, [200, 200])):
        state = made(requests=2, polls_count=polls_count)
        identity = submitted(state, 0.0).id
        assert [state.receive(1.0, poll(identity)).status for _ in range(2)] == expected


def test_only_so_many_predictions_run_at_once() -> None:
    """A submission is refused while as many as allowed run, and goes through when one has ended."""
    state = made(concurrency=2)
    statuses = [state.receive(now, post()).status for now in (0.0, 1.0, 9.9, 10.0, 10.5, 11.0)]
    assert statuses == [200, 200, 429, 200, 429, 200]
    assert state.most_running == 2
    reply = state.receive(11.0, post())
    assert message(reply) == "You have reached your concurrency limit"


def test_settings_that_make_no_sense_are_refused() -> None:
    """A limit below 1 or a window without length is no setting."""
    for wrong in (
        {"requests": 0},
        {"concurrency": 0},
        {"per": 0.0},
        {"latency": -1.0},
        {"stuck_for": 0.0},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Settings(**wrong)


# --- scripted answers and records --------------------------------------------------------------


def test_scripted_answers_come_once_and_in_order() -> None:
    """Each scripted answer is given to one request of its kind, before anything is done."""
    state = made()
    state.script(Scripted(status_code=503, kind="result"))
    state.script(Scripted(status_code=500, body="<html>", headers={"retry-after": "1"}))
    replies = [
        state.receive(0.0, post()),
        state.receive(0.0, poll("x")),
        state.receive(0.0, post()),
    ]
    assert [reply.status for reply in replies] == [500, 503, 200]
    assert (replies[0].body, replies[0].headers) == ("<html>", {"retry-after": "1"})
    assert message(replies[1]) == "service unavailable"
    assert len(state.predictions(0.0)) == 1
    assert state.most_requests_in_window == 3


def test_a_scripted_429_counts_as_refused() -> None:
    """A 429 that a test wanted is among the refused, and in no window."""
    state = made()
    state.script(Scripted(status_code=429))
    state.receive(0.0, post())
    assert (state.refused, state.most_requests_in_window) == (1, 0)


def test_a_lost_answer_belongs_to_a_submission_that_was_accepted() -> None:
    """A submission whose answer is lost runs all the same, and its record has no status."""
    state = made()
    state.script(Scripted(lose=True, kind="submit"))
    reply = state.receive(0.0, post())
    assert reply.lost
    assert len(state.predictions(0.0)) == 1
    assert state.requests[0].status_code is None
    assert state.requests[0].prediction_id == state.predictions(0.0)[0].id


def test_requests_are_recorded_without_the_key() -> None:
    """The record tells what was asked and answered, and never the key."""
    state = made()
    identity = submitted(state, 1.0).id
    state.receive(2.0, poll(identity))
    state.receive(3.0, post("/api/v3/balance"))
    kinds = [(r.at, r.method, r.kind, r.status_code, r.prediction_id) for r in state.requests]
    assert kinds == [
        (1.0, "POST", "submit", 200, identity),
        (2.0, "GET", "result", 200, identity),
        (3.0, "POST", "other", 405, None),
    ]
    assert all(r.headers == {"x-client-name": "test"} for r in state.requests)
    assert "Bearer" not in repr(state.requests)


# --- how a prediction is told ------------------------------------------------------------------


def told(version: str = "v3", now: float = 0.0, **asked: Any) -> dict[str, Any]:
    state = made()
    model = asked.pop("model", "flux-dev")
    identity = submitted(state, 0.0, f"/api/v3/wavespeed-ai/{model}", **asked).id
    found = state.find(now, identity)
    assert found is not None
    return prediction_data(
        found, version=version, origin="http://e", epoch=1_759_187_383.0270012, outputs=()
    )


def test_the_result_is_told_as_documented() -> None:
    """A result has each documented field, and leads back to the emulator."""
    data = told(now=10.0)
    assert re.fullmatch(r"2025-09-29T23:09:43\.027\d{6}Z", data.pop("created_at"))
    identity = data.pop("id")
    assert data == {
        "model": "wavespeed-ai/flux-dev",
        "outputs": [],
        "urls": {"get": f"http://e/api/v3/predictions/{identity}/result"},
        "has_nsfw_contents": [],
        "status": "completed",
        "error": "",
        "executionTime": 10_000,
        "timings": {"inference": 10_000},
    }


def test_a_submission_tells_milliseconds() -> None:
    """The answer to a submission has milliseconds where a result has nanoseconds."""
    state = made()
    data = prediction_data(
        submitted(state, 0.0), version="v2", origin="", epoch=0.5, submitted=True
    )
    assert data["created_at"] == "1970-01-01T00:00:00.500Z"


def test_timing_fields_depend_on_the_version() -> None:
    """Only flux-dev under v2 has executionTime alone; while it runs both are 0."""
    assert "timings" not in told("v2")
    assert told("v2", model="flux-dev-lora", prompt="p")["timings"] == {"inference": 0}
    assert told("v3")["executionTime"] == 0


def test_a_failure_is_told_with_its_code() -> None:
    """A failed prediction tells the API's number and words, one that runs does not yet."""
    state = made()
    identity = submitted(state, 0.0).id
    state.spoil(identity, Failure(1402, "media access failed"))
    told = [
        prediction_data(found, version="v3", origin="", epoch=0.0)
        for now in (5.0, 10.0)
        for found in state.predictions(now)
    ]
    assert [data["error"] for data in told] == ["", "media access failed"]
    assert [data.get("code") for data in told] == [None, 1402]
    assert told[1]["status"] == "failed"


def test_sync_mode_says_that_it_gave_up() -> None:
    """The words of a sync mode that timed out are the API's."""
    data = timed_out({"id": "x", "status": "created"}, 90.0)
    assert data == {
        "id": "x",
        "status": "processing",
        "code": 5004,
        "error": "Sync mode timed out after 90 seconds. "
        "The prediction is still processing asynchronously.",
    }
