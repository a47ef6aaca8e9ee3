"""Spans by OpenTelemetry's own SDK, of predictions that an emulator makes over real sockets."""

from __future__ import annotations

import contextvars
import importlib
import json
import logging
import sys
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import SpanKind, StatusCode

from tests.observe.exported import PREDICTION, Exported
from tests.observe.studio import IMAGE, KEY, LIMITS, PROMPT, REQUEST, studio
from wavespeed_async import (
    AsyncWaveSpeed,
    CallEnded,
    ConfigurationError,
    FluxReduxDev,
    InvalidRequestError,
    Limiter,
    Limits,
    Prediction,
    PredictionFailedError,
    PredictionLeft,
    PredictionPolled,
    PredictionSubmitted,
    PredictionTimeoutError,
    RawRequest,
    SubmissionUnconfirmed,
    SubmissionUnconfirmedError,
    TurnGranted,
)
from wavespeed_async._stream import ToldCall
from wavespeed_async.models import FluxKontextDevMulti
from wavespeed_async.observe.otel import OpenTelemetry
from wavespeed_async.observe.otel._conventions import SCHEMA, asked_in_words, of_server

if TYPE_CHECKING:
    from pathlib import Path

SUBMISSION = "POST /api/v2/wavespeed-ai/flux-dev"
POLL = "GET /api/v2/predictions/{id}/result"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def within(span: Any, around: Any) -> bool:
    """Tell whether a span lies in another, but for the rounding of clocks."""
    return bool(
        span.start_time >= around.start_time - 5e6 and span.end_time <= around.end_time + 5e6
    )


async def test_a_prediction_is_a_span_of_whoever_asked_for_it() -> None:
    """It is below the current span, named and described by the conventions for generative AI."""
    async with studio() as (client, _, exported):
        with exported.tracer.start_as_current_span("a visitor") as visitor:
            picture = await client.run(REQUEST)
            assert trace.get_current_span() is visitor
    span = exported.one(PREDICTION)
    assert span.parent.span_id == visitor.get_span_context().span_id
    assert (span.kind, span.status.status_code) == (SpanKind.CLIENT, StatusCode.UNSET)
    assert dict(span.attributes) == {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.provider.name": "wavespeed",
        "gen_ai.request.model": "wavespeed-ai/flux-dev",
        "gen_ai.request.seed": 7,
        "gen_ai.output.type": "image",
        "gen_ai.response.id": picture.id,
        "gen_ai.response.model": "wavespeed-ai/flux-dev",
        "server.address": "127.0.0.1",
        "server.port": port_of(exported.url),
        "wavespeed.call": "run",
        "wavespeed.pictures": 1,
        "wavespeed.polls": len(exported.named(POLL)),
        "wavespeed.prediction.status": "completed",
    }
    scope = span.instrumentation_scope
    assert (scope.name, scope.schema_url) == ("wavespeed_async", SCHEMA)


async def test_its_submission_polls_and_waits_are_below_it() -> None:
    """Each HTTP request is a client's span by the conventions, each wait one inside of the process.

    They lie within the prediction's.
    """
    async with studio(latency=1.0) as (client, emulator, exported):
        picture = await client.run(REQUEST)
    span, submission = exported.one(PREDICTION), exported.one(SUBMISSION)
    polls, waits = exported.named(POLL), exported.named("wait to poll")
    assert {*exported.below(span)} - {"wait to submit"} == {SUBMISSION, POLL, "wait to poll"}
    assert len(polls) == len([r for r in emulator.requests if r.kind == "result"])
    assert all(within(each, span) for each in (submission, *polls, *waits))
    assert dict(submission.attributes) == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": port_of(exported.url),
        "url.full": f"{exported.url}/api/v2/wavespeed-ai/flux-dev",
        "url.template": "/api/v2/wavespeed-ai/flux-dev",
        "wavespeed.request.kind": "submit",
    }
    for poll in polls:
        assert poll.kind is SpanKind.CLIENT
        assert poll.attributes["gen_ai.response.id"] == picture.id
        assert poll.attributes["url.template"] == "/api/v2/predictions/{id}/result"
        assert picture.id in poll.attributes["url.full"]
    assert {wait.kind for wait in waits} == {SpanKind.INTERNAL}
    assert sum(wait.end_time - wait.start_time for wait in waits) > 0.05e9


async def test_without_a_current_span_each_prediction_is_a_trace() -> None:
    """Nobody's predictions have nothing to do with each other."""
    async with studio() as (client, _, exported):
        await client.run_all([REQUEST] * 3)
    spans = exported.named(PREDICTION)
    assert len({span.context.trace_id for span in spans}) == 3
    assert all(span.parent is None for span in spans)


async def test_a_batch_with_faults() -> None:
    """All its predictions are below the span of its block, each request below its own prediction.

    One is refused first (429), one loses its submission's answer, one fails.
    """
    async with studio(limits=Limits(concurrency=1, per=2.0, abandon_after=0.3)) as all_of_it:
        client, emulator, exported = all_of_it
        emulator.next(kind="submit", status_code=429)
        emulator.next(kind="submit", lose=True)
        emulator.next(kind="submit", outcome="failed-1200")
        with exported.tracer.start_as_current_span("a batch") as block:
            async with client.batch([REQUEST] * 4) as outcomes:
                ended = [outcome async for outcome in outcomes]
    errors = sorted(type(each.error).__name__ for each in ended if each.error)
    assert errors == ["ModerationError", "SubmissionUnconfirmedError"]
    spans = exported.named(PREDICTION)
    assert {span.parent.span_id for span in spans} == {block.get_span_context().span_id}
    told = {span.attributes.get("error.type"): span for span in spans}
    assert set(told) == {None, "ModerationError", "SubmissionUnconfirmedError"}
    failed, lost = told["ModerationError"], told["SubmissionUnconfirmedError"]
    assert failed.attributes["wavespeed.prediction.error_code"] == 1200
    assert failed.attributes["wavespeed.prediction.status"] == "failed"
    assert lost.attributes["wavespeed.submission.unconfirmed"] is True
    assert "gen_ai.response.id" not in lost.attributes
    assert {failed.status.status_code, lost.status.status_code} == {StatusCode.ERROR}
    by_id = {span.context.span_id: span for span in spans}
    for poll in exported.named(POLL):
        owner = by_id[poll.parent.span_id]
        assert poll.attributes["gen_ai.response.id"] == owner.attributes["gen_ai.response.id"]
    sent = exported.named(SUBMISSION)
    answers = [each.attributes.get("http.response.status_code") for each in sent]
    assert (answers.count(200), answers.count(None)) == (3, 1)
    assert {*answers} == {200, 429, None}
    assert exported.open == 0
    assert PROMPT not in exported.text
    assert IMAGE not in exported.text
    assert KEY not in exported.text
    assert "outputs/" not in exported.text


async def test_a_request_that_is_made_again_is_a_span_for_each_try() -> None:
    """The later ones count how often it was sent before; errors are told as the conventions do."""
    async with studio() as (client, emulator, exported):
        emulator.next(kind="submit", status_code=429)
        await client.run(REQUEST)
    first, second = exported.named(SUBMISSION)
    assert first.attributes["error.type"] == "429"
    assert first.status.status_code is StatusCode.ERROR
    assert first.status.description is None
    assert "http.request.resend_count" not in first.attributes
    assert second.attributes["http.request.resend_count"] == 1


async def test_a_lost_request_names_the_networks_error() -> None:
    """Its span has no status of HTTP, but what happened to the connection."""
    async with studio() as (client, emulator, exported):
        emulator.next(kind="submit", lose=True)
        with pytest.raises(SubmissionUnconfirmedError):
            await client.run(REQUEST)
    lost = exported.one(SUBMISSION)
    assert lost.attributes["error.type"] in {"ReadError", "RemoteProtocolError"}
    assert "http.response.status_code" not in lost.attributes


# --- no span is left open -------------------------------------------------------------------------


async def test_a_cancelled_call_ends_its_span() -> None:
    """The span says that it was cancelled, and that its prediction goes on."""
    async with studio(latency=30.0) as (client, _, exported):
        with anyio.move_on_after(0.4):
            await client.run(REQUEST)
        assert exported.open == 0
    span = exported.one(PREDICTION)
    assert span.attributes["error.type"] == "cancelled"
    assert span.attributes["wavespeed.prediction.left"] is True
    assert len(span.attributes["gen_ai.response.id"]) == 32
    assert span.status.status_code is StatusCode.ERROR


async def test_a_cancelled_request_ends_its_span() -> None:
    """A poll that is cut off on its way is told as cancelled."""
    async with studio() as (client, emulator, exported):
        picture = await client.submit(REQUEST)
        emulator.next(kind="result", fault="slow")
        with anyio.move_on_after(0.3):
            await client.wait(picture)
        assert exported.open == 0
    assert exported.named(POLL)[-1].attributes["error.type"] == "cancelled"


async def test_a_call_that_times_out_ends_its_span() -> None:
    """The error is the one that its caller gets."""
    async with studio(latency=30.0) as (client, _, exported):
        with pytest.raises(PredictionTimeoutError):
            await client.run(REQUEST, timeout=0.4)
    span = exported.one(PREDICTION)
    assert span.attributes["error.type"] == "PredictionTimeoutError"
    assert span.attributes["wavespeed.prediction.left"] is True
    assert exported.open == 0


async def test_a_batch_that_is_left_ends_all_spans() -> None:
    """Leaving the block early ends the span of each request, submitted or not."""
    async with studio(limits=Limits(concurrency=2, per=2.0), latency=30.0) as all_of_it:
        client, _, exported = all_of_it
        async with client.batch([REQUEST] * 9):
            await anyio.sleep(0.5)
            assert exported.open > 2
        assert exported.open == 0
    assert {span.attributes["error.type"] for span in exported.named(PREDICTION)} == {"cancelled"}


async def test_a_request_that_is_none_is_told_too() -> None:
    """What is refused before anything was sent has a span without a model."""
    async with studio() as (client, _, exported):
        with pytest.raises(InvalidRequestError):
            await client.submit(3)  # type: ignore[call-overload]  # that is the point
    assert exported.one("generate_content").attributes["error.type"] == "InvalidRequestError"


def test_a_call_that_another_task_closes(caplog: pytest.LogCaptureFixture) -> None:
    """A call that its event loop left in the middle ends its span wherever it is closed."""
    exported = Exported()
    observe = exported.telemetry().observer("https://api.test", Limiter())

    async def call() -> None:
        with ToldCall(observe, lambda: 0.0, "run", asked=REQUEST):
            await Never()

    class Never:
        def __await__(self) -> Any:
            yield

    left = call()
    contextvars.copy_context().run(left.send, None)
    assert exported.open == 1
    caplog.set_level(logging.ERROR)
    left.close()
    assert exported.open == 0
    assert caplog.records == []
    observe(CallEnded(kind="run", about=None, error=None, cancelled=False, seconds=0.0, call=-1))
    assert exported.one(PREDICTION).attributes["error.type"] == "cancelled"


# --- predictions that run already -----------------------------------------------------------------


async def test_submitting_and_waiting_are_spans_that_an_id_joins() -> None:
    """Each is a span of its own; a wait for an id learns the model by its first poll."""
    async with studio() as (client, _, exported):
        created = await client.submit(REQUEST)
        await client.wait(created.id)
    first, second = exported.named(PREDICTION)
    assert [first.attributes["wavespeed.call"], second.attributes["wavespeed.call"]] == [
        "submit",
        "wait",
    ]
    ids = {span.attributes["gen_ai.response.id"] for span in (first, second)}
    assert ids == {created.id}
    assert second.attributes["gen_ai.request.model"] == "wavespeed-ai/flux-dev"
    assert second.attributes["wavespeed.pictures"] == 1
    assert "wavespeed.pictures" not in first.attributes


async def test_polls_of_others_do_not_become_the_calls_own() -> None:
    """A call that lacks a slot asks for another prediction: below its span, under that one's id."""
    limits = Limits(concurrency=1, per=2.0, min_poll_interval=0.02)
    async with studio(limits=limits) as (client, _, exported):
        other = await client.submit(REQUEST)
        mine = await client.run(REQUEST)
    (span,) = [s for s in exported.named(PREDICTION) if s.attributes["wavespeed.call"] == "run"]
    assert span.attributes["gen_ai.response.id"] == mine.id
    polls: list[Any] = [each for each in exported.spans if each.name.startswith("GET")]
    asked = [each.attributes["gen_ai.response.id"] for each in polls]
    assert {*asked} == {mine.id, other.id}
    assert "wait to submit" in exported.below(span)
    assert span.attributes["wavespeed.polls"] == asked.count(mine.id)


async def test_a_look_outside_of_a_call() -> None:
    """`result` is one request, and so one span, below whatever is current."""
    async with studio() as (client, _, exported):
        created = await client.submit(REQUEST)
        with exported.tracer.start_as_current_span("a look") as look:
            await client.result(created)
    span = exported.one(POLL)
    assert span.parent.span_id == look.get_span_context().span_id


async def test_a_wait_that_saw_nothing() -> None:
    """A wait for an id that is cancelled before its first answer knows the id, and no model."""
    async with studio() as (client, emulator, exported):
        created = await client.submit(REQUEST)
        emulator.next(kind="result", fault="slow")
        with anyio.move_on_after(0.3):
            await client.wait(created.id)
    span = exported.one("generate_content")
    assert span.attributes["gen_ai.response.id"] == created.id
    assert span.attributes["wavespeed.prediction.status"] == "unknown"
    assert "gen_ai.request.model" not in span.attributes


async def test_how_many_pictures_are_asked_for() -> None:
    """More than one is told, and the seed that was drawn where it was left open."""
    async with studio() as (client, _, exported):
        picture = await client.flux_dev(prompt=PROMPT, num_images=2)
    span = exported.one(PREDICTION)
    assert span.attributes["gen_ai.request.choice.count"] == 2
    assert span.attributes["gen_ai.request.seed"] == getattr(picture.request, "seed", None)


def test_events_outside_of_calls() -> None:
    """What happens outside of any call has no span to belong to, and makes none."""
    exported = Exported()
    observe = exported.telemetry().observer("https://api.test", Limiter())
    prediction = Prediction(id="a", model="b/c")
    observe(PredictionSubmitted(prediction=prediction))
    observe(PredictionPolled(prediction=prediction, age=1.0))
    observe(PredictionLeft(prediction=prediction))
    observe(SubmissionUnconfirmed(request=REQUEST))
    assert exported.spans == ()


# --- files ----------------------------------------------------------------------------------------


async def test_transfers_are_spans(tmp_path: Path) -> None:
    """An upload is below its prediction, what is saved below whoever saves; no names are told."""
    async with studio() as (client, _, exported):
        image = tmp_path / "a-name-that-nobody-may-see.png"
        image.write_bytes(PNG)
        picture = await client.run(FluxReduxDev(image=image))
        with exported.tracer.start_as_current_span("saving") as saving:
            await client.save(picture, tmp_path)
    uploaded, saved = exported.one("upload image"), exported.one("save pictures")
    span = exported.one("generate_content wavespeed-ai/flux-redux-dev")
    assert uploaded.parent.span_id == span.context.span_id
    assert uploaded.attributes["wavespeed.image.size"] == len(PNG)
    assert saved.parent.span_id == saving.get_span_context().span_id
    assert dict(saved.attributes) == {"gen_ai.response.id": picture.id, "wavespeed.files": 1}
    assert "a-name-that" not in exported.text


# --- settings -------------------------------------------------------------------------------------


async def test_content_is_told_where_it_is_asked_for() -> None:
    """Prompts, addresses of images and outputs are messages, as the conventions have them."""
    async with studio(telemetry={"content": True}) as (client, emulator, exported):
        picture = await client.run(REQUEST)
        emulator.next(kind="submit", outcome="failed")
        with pytest.raises(PredictionFailedError):
            await client.run(REQUEST)
    well, failed = exported.named(PREDICTION)
    (asked,) = json.loads(well.attributes["gen_ai.input.messages"])
    assert asked["parts"] == [
        {"type": "text", "content": PROMPT},
        {"type": "uri", "modality": "image", "uri": IMAGE},
    ]
    (made,) = json.loads(well.attributes["gen_ai.output.messages"])
    assert [part["uri"] for part in made["parts"]] == [*picture.outputs]
    assert "failed" in failed.status.description
    assert "gen_ai.output.messages" not in failed.attributes
    assert KEY not in exported.text


@pytest.mark.parametrize(
    ("request_of", "parts"),
    [
        (RawRequest("a/b", {"images": ["https://o.test/1.png"]}), ["https://o.test/1.png"]),
        (FluxKontextDevMulti(prompt="x", images=[PNG]), [None, repr(PNG[:8]) + "… (28 bytes)"]),
    ],
    ids=["raw", "bytes"],
)
def test_images_are_told_by_their_addresses(request_of: Any, parts: list[Any]) -> None:
    """An image that has no address is shortened."""
    (asked,) = json.loads(str(asked_in_words(request_of)["gen_ai.input.messages"]))
    assert len(asked["parts"]) == len(parts)
    assert [part.get("uri") for part in asked["parts"]][-1].startswith(str(parts[-1])[:8])


async def test_http_requests_may_be_left_to_others() -> None:
    """Without spans for requests the prediction's span is the current one while they go on."""
    seen: list[str] = []

    def look(event: object) -> None:
        if isinstance(event, TurnGranted):
            seen.append(getattr(trace.get_current_span(), "name", ""))

    exported = Exported()
    telemetry = exported.telemetry(requests=False)
    async with studio(exported=exported) as (_, emulator, _):
        limiter = Limiter(LIMITS)
        async with AsyncWaveSpeed(
            KEY, base_url=emulator.url, limiter=limiter, observe=[telemetry, look]
        ) as client:
            await client.run(REQUEST)
    names = {span.name for span in exported.spans}
    assert names - {"wait to submit"} == {PREDICTION, "wait to poll"}
    assert {*seen} == {PREDICTION}


async def test_what_is_not_sampled_is_not_made() -> None:
    """No span is exported, and none below it is begun."""
    exported = Exported(ParentBased(ALWAYS_OFF))
    async with studio(exported=exported) as (client, _, _):
        await client.run(REQUEST)
        assert not trace.get_current_span().get_span_context().is_valid
    assert exported.spans == ()
    assert exported.open == 0


async def test_without_an_sdk_nothing_is_made() -> None:
    """With OpenTelemetry's API alone pictures are made as ever."""
    async with studio() as (_, emulator, exported):
        limiter = Limiter(LIMITS)
        async with AsyncWaveSpeed(
            KEY, base_url=emulator.url, limiter=limiter, observe=OpenTelemetry()
        ) as client:
            assert (await client.run(REQUEST)).outputs
    assert exported.spans == ()


@pytest.mark.parametrize(
    ("server", "address", "port"),
    [("https://api.test", "api.test", 443), ("http://[::1]:80", "::1", 80), ("http://a", "a", 80)],
)
def test_where_the_api_is(server: str, address: str, port: int) -> None:
    """The port is told, even where the address leaves it out."""
    assert of_server(server) == {"server.address": address, "server.port": port}


# --- the extra ------------------------------------------------------------------------------------

NAME = "wavespeed_async.observe.otel"


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without OpenTelemetry's API the error says how to install it."""
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'wavespeed-async\[otel\]'"):
        importlib.import_module(NAME)
