"""One call of the API: when it is sent again, what is paid once, and what cancelling leaves."""

from __future__ import annotations

import json
import time
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint

from tests.wire import (
    ID,
    OTHER,
    Bench,
    Reply,
    data_of,
    named,
    page,
    raw_answer,
    raw_server,
    real_loops,
    refusal,
    reply,
    reset,
)
from wavespeed_async._calls import Turn
from wavespeed_async._events import (
    PredictionEnded,
    PredictionLeft,
    PredictionSubmitted,
    RequestFailed,
    SubmissionUnconfirmed,
)
from wavespeed_async.errors import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
    BadRequestError,
    InsufficientCreditsError,
    InternalServerError,
    LimiterTimeoutError,
    NotFoundError,
    RateLimitError,
    SubmissionUnconfirmedError,
    WaveSpeedError,
)
from wavespeed_async.limits import Limits
from wavespeed_async.models import FluxDev, FluxKontextDevMulti
from wavespeed_async.testing import virtual_backend

if TYPE_CHECKING:
    from anyio.abc import SocketStream

    from wavespeed_async._prediction import Prediction
    from wavespeed_async.models import Request

REQUEST = FluxDev(prompt="a silk scarf")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run by a clock that jumps; tests with sockets say `real_loops`."""
    return virtual_backend(request.param)


def turn(timeout: float = 600.0, **more: Any) -> Turn:
    return Turn(deadline=anyio.current_time() + timeout, **more)


async def result(bench: Bench, timeout: float = 600.0) -> Prediction:
    return await bench.calls.result(ID, turn(timeout))


async def submit(
    bench: Bench, request: Request = REQUEST, timeout: float = 600.0, **more: Any
) -> Prediction:
    return await bench.calls.submit(
        request, turn(timeout, **more), ask=bench.poller.ask, submitted=None
    )


async def lost(_: httpx.Request) -> httpx.Response:
    """Never answer."""
    await anyio.sleep_forever()
    raise AssertionError


# --- reads ----------------------------------------------------------------------------------------

PASSING = [
    httpx.ConnectError("refused"),
    httpx.ConnectTimeout(""),
    httpx.ReadTimeout(""),
    httpx.ReadError("reset"),
    httpx.RemoteProtocolError("garbage"),
    refusal(429),
    refusal(429, status=200),
    refusal(500),
    refusal(502),
    refusal(503, status=200),
    page(502),
    page(503),
    page(504),
    page(520),
    Reply("<html>", status=200),
    Reply(b"", status=200),
    Reply({"code": 200, "data": None}),
    Reply({"code": 200, "data": {"status": "completed"}}),
    reply(prediction_id=OTHER),
]


@pytest.mark.parametrize("fault", PASSING, ids=named)
async def test_a_read_that_failed_in_passing_is_made_again(fault: Any) -> None:
    """No answer, a garbled one, one about another prediction, 429 and 5xx are asked again."""
    bench = Bench(fault, fault, reply())
    started = anyio.current_time()
    assert (await result(bench)).id == ID
    assert len(bench.api.requests) == 3
    assert 0.5 < anyio.current_time() - started < 4.0
    failed = bench.told(RequestFailed)
    assert len(failed) == 2
    assert all(event.retry_in is not None and event.method == "GET" for event in failed)


@pytest.mark.parametrize("code", [400, 401, 402, 403, 404, 409, 413, 422, 501])
@pytest.mark.parametrize("under", [None, 200])
async def test_a_read_that_was_refused_is_not_made_again(code: int, under: int | None) -> None:
    """A refusal that stays one is raised at once, with the prediction's id."""
    bench = Bench(refusal(code, status=under))
    with pytest.raises(APIStatusError) as caught:
        await result(bench)
    assert (caught.value.code, caught.value.status_code) == (code, under or code)
    assert caught.value.prediction_id == ID
    assert len(bench.api.requests) == 1
    assert [event.retry_in for event in bench.told(RequestFailed)] == [None]


@pytest.mark.parametrize("max_retries", [0, 1, 5])
async def test_a_read_is_made_again_so_many_times(max_retries: int) -> None:
    """`max_retries` further tries are made, then the last error is raised."""
    bench = Bench(page(503), max_retries=max_retries)
    with pytest.raises(InternalServerError):
        await result(bench)
    assert len(bench.api.requests) == max_retries + 1


async def test_being_offline_is_told_within_seconds() -> None:
    """With the default settings a read fails within 5 s where nothing can be reached."""
    bench = Bench(httpx.ConnectError("offline"))
    started = anyio.current_time()
    with pytest.raises(APIConnectionError, match="offline") as caught:
        await result(bench)
    assert anyio.current_time() - started < 5.0
    assert caught.value.prediction_id == ID
    assert not caught.value.sent


async def test_no_read_is_made_again_past_its_deadline() -> None:
    """A pause that would end after the deadline is not begun."""
    bench = Bench(page(503), max_retries=100)
    started = anyio.current_time()
    with pytest.raises(InternalServerError):
        await result(bench, timeout=5.0)
    assert anyio.current_time() - started < 5.0


@pytest.mark.parametrize(
    "header", [lambda: "30", lambda: formatdate(time.time() + 30.5, usegmt=True)], ids=["s", "date"]
)
async def test_retry_after_is_obeyed(header: Any) -> None:
    """A 429 is tried again when it says, in seconds or as a date, not before."""
    bench = Bench(refusal(429, Retry_After=header()), reply())
    started = anyio.current_time()
    await result(bench)
    assert 28.0 < anyio.current_time() - started < 32.0
    assert len(bench.api.requests) == 2


@pytest.mark.parametrize("under", [None, 200])
@pytest.mark.parametrize("stubborn", [False, True])
async def test_a_pause_beyond_the_deadline_fails_at_once(under: int | None, stubborn: bool) -> None:
    """`Retry-After: 100000` is neither obeyed nor ignored: the error with the pause comes now."""
    bench = Bench(refusal(429, status=under, Retry_After="100000"))
    started = anyio.current_time()
    with pytest.raises(RateLimitError) as caught:
        await result(bench)
    assert caught.value.retry_after == 100000
    bench = Bench(refusal(429, status=under, Retry_After="100000"))
    with pytest.raises(RateLimitError) as caught:
        await submit(bench, stubborn=stubborn)
    assert caught.value.retry_after == 100000
    assert caught.value.message == "refused with 429"
    assert [event.retry_in for event in bench.told(RequestFailed)] == [None]
    assert bench.limiter.running == 0
    assert len(bench.api.requests) == 1
    assert anyio.current_time() == started


async def test_a_429_under_http_200_pauses_too() -> None:
    """Where only the envelope says 429, tries pause as after any failure, even stubborn ones."""
    bench = Bench(refusal(429, status=200))
    with pytest.raises(RateLimitError):
        await submit(bench, timeout=60.0, stubborn=True)
    assert 5 < len(bench.api.requests) < 20
    bench = Bench(refusal(429, status=200, Retry_After="20"), reply())
    await result(bench)
    assert bench.api.times[1] - bench.api.times[0] >= 20.0


async def test_a_read_whose_turn_does_not_come_is_not_sent() -> None:
    """Without room in the window before the deadline it is a LimiterTimeoutError."""
    bench = Bench(reply(), limits=Limits(requests=1))
    await result(bench)
    with pytest.raises(LimiterTimeoutError):
        await result(bench, timeout=5.0)
    assert len(bench.api.requests) == 1


# --- submissions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["created", "processing", "queued", "rotating"])
async def test_a_submission_holds_its_slot_until_the_end_is_known(status: str) -> None:
    """A prediction that was created holds a slot under its id, and is told."""
    bench = Bench(reply(status))
    prediction = await submit(bench)
    assert prediction.request == REQUEST
    assert bench.limiter.running_ids == (ID,)
    assert bench.told(PredictionSubmitted)[0].prediction == prediction
    assert bench.told(PredictionEnded) == []


async def test_a_submission_that_is_answered_finished_gives_its_slot_back() -> None:
    """In sync mode the answer may be the end: the slot comes back and the end is told."""
    bench = Bench(reply())
    request = FluxKontextDevMulti(
        prompt="p", images=["https://example.com/in.png"], enable_sync_mode=True
    )
    assert (await submit(bench, request)).status == "completed"
    assert bench.limiter.running == 0
    assert len(bench.told(PredictionEnded)) == 1


UNSENT = [
    httpx.ConnectError("refused"),
    httpx.ConnectTimeout(""),
    httpx.PoolTimeout(""),
    httpx.ProxyError("no"),
    refusal(429),
    refusal(429, Retry_After="3"),
    refusal(429, status=200),
]


@pytest.mark.parametrize("fault", UNSENT, ids=named)
async def test_a_submission_that_cannot_exist_is_sent_again(fault: Any) -> None:
    """Where no connection was made, or on a 429, a submission is tried again, with one slot."""
    bench = Bench(fault, fault, reply("created"))
    await submit(bench)
    assert bench.api.methods == ["POST"] * 3
    assert bench.limiter.running == 1
    assert bench.told(SubmissionUnconfirmed) == []
    contents = {request.content for request in bench.api.requests}
    assert len(contents) == 1


@pytest.mark.parametrize("fault", UNSENT, ids=named)
async def test_a_submission_that_cannot_exist_leaves_nothing_behind(fault: Any) -> None:
    """When its tries are used up, its slot is free again and nothing is in flight."""
    bench = Bench(fault, max_retries=2)
    with pytest.raises((APIConnectionError, RateLimitError)) as caught:
        await submit(bench)
    assert not isinstance(caught.value, SubmissionUnconfirmedError)
    assert len(bench.api.requests) == 3
    assert (bench.limiter.running, bench.in_flight) == (0, 0)


async def breaking(_: httpx.Request) -> httpx.Response:
    """Break off within the answer."""

    async def content() -> Any:
        yield b'{"code":200,'
        message = "reset"
        raise httpx.ReadError(message)

    return httpx.Response(200, content=content())


@pytest.mark.parametrize(("status", "code"), [(200, 429), (200, 500), (503, 503)])
async def test_an_id_beside_an_error_is_a_prediction(status: int, code: int) -> None:
    """Where an answer names an id, that prediction is polled, whatever else the answer says."""
    envelope = {"code": code, "message": "odd", "data": {"id": ID}}
    bench = Bench(Reply(envelope, status=status), reply())
    prediction = await submit(bench)
    assert (prediction.id, prediction.status) == (ID, "unknown")
    assert bench.limiter.running_ids == (ID,)
    assert len(bench.api.requests) == 1


AMBIGUOUS = [
    httpx.ReadTimeout(""),
    httpx.WriteTimeout(""),
    httpx.ReadError("reset"),
    httpx.WriteError("reset"),
    httpx.CloseError("reset"),
    httpx.RemoteProtocolError("closed without an answer"),
    RuntimeError("a transport's own"),
    breaking,
    lost,
    refusal(500),
    refusal(502),
    refusal(503),
    refusal(504),
    page(500),
    page(502),
    page(503),
    page(504),
    page(524),
    refusal(500, status=200),
    refusal(504, status=200),
    refusal(5004, status=200),
    refusal(1401, status=200),
    Reply("<html>", status=200),
    Reply("<html>", status=201),
    Reply(b"", status=200),
    Reply(b"", status=204),
    Reply(b"\xff\xfe\x00", status=200),
    Reply("[1]", status=200),
    Reply("[" * 100_000, status=200),
    Reply({"code": 200, "message": "success", "data": None}),
    Reply({"code": 200, "message": "success"}),
    Reply({"code": 200, "message": "success", "data": []}),
    Reply({"code": 200, "data": {"status": "created"}}),
    Reply({"code": 200, "data": data_of("created", "../../etc/passwd")}),
    Reply(b"x", headers={"content-encoding": "br, gzip"}),
]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("fault", AMBIGUOUS, ids=named)
async def test_an_ambiguous_submission_is_sent_once(fault: Any) -> None:
    """Whatever leaves its fate open makes it unconfirmed: one POST, told, its slot kept."""
    bench = Bench(fault)
    with pytest.raises(SubmissionUnconfirmedError) as caught:
        await submit(bench)
    assert bench.api.methods == ["POST"]
    assert caught.value.request == REQUEST
    assert caught.value.sent
    assert "wavespeed-ai/flux-dev" in str(caught.value)
    assert isinstance(caught.value.__cause__, WaveSpeedError)
    assert [event.request for event in bench.told(SubmissionUnconfirmed)] == [REQUEST]
    assert [event.retry_in for event in bench.told(RequestFailed)] == [None]
    assert (bench.limiter.running, bench.limiter.running_ids) == (1, ())
    assert bench.in_flight == 0
    await assert_given_up_later(bench)


async def assert_given_up_later(bench: Bench) -> None:
    """Check that slots without an id come back after `abandon_after`, not before."""
    running, limits = bench.limiter.running, bench.limits
    await anyio.sleep(limits.abandon_after - 50)
    assert bench.limiter.running == running
    await anyio.sleep(100)
    permit = await bench.limiter.acquire(slot=True)
    assert bench.limiter.running == 1
    permit.withdrawn()
    assert permit.slot is not None
    bench.limiter.release(permit.slot)


@pytest.mark.parametrize(
    "fault",
    [
        *(refusal(code) for code in (302, 400, 401, 402, 403, 404, 413, 422)),
        *(refusal(code, status=200) for code in (302, 400, 401, 403, 404)),
        page(403),
        Reply(b"", status=404),
        Reply(b"", status=307, headers={"location": "https://elsewhere.test/"}),
    ],
    ids=named,
)
async def test_a_refused_submission_does_not_exist(fault: Reply) -> None:
    """A 3xx or 4xx, as status or as code under 200, is raised as it is, and the slot comes back."""
    bench = Bench(fault)
    with pytest.raises(APIStatusError):
        await submit(bench)
    assert bench.api.methods == ["POST"]
    assert bench.limiter.running == 0
    assert bench.told(SubmissionUnconfirmed) == []


async def test_no_credits_are_told_apart() -> None:
    """A lack of credits is its own error, although the API tells it as a bad request."""
    body = {"code": 400, "message": "Insufficient credits. Please top up your account."}
    with pytest.raises(InsufficientCreditsError):
        await submit(Bench(Reply(body, status=400)))
    with pytest.raises(BadRequestError):
        await submit(Bench(refusal(400)))


@pytest.mark.parametrize(
    "broken",
    [{"status": None}, {"status": 7}, {"status": []}],
    ids=named,
)
async def test_an_id_is_enough_of_an_answer(broken: dict[str, Any]) -> None:
    """An answer whose id can be read and the rest cannot is a prediction, and is polled."""
    bench = Bench(Reply({"code": 200, "data": {**data_of("created"), **broken}}), reply())
    prediction = await submit(bench)
    assert (prediction.id, prediction.model) == (ID, "wavespeed-ai/flux-dev")
    assert prediction.raw["id"] == ID
    assert bench.limiter.running_ids == (ID,)
    ended = await bench.poller.wait(prediction, turn(), attended=True)
    assert ended.status == "completed"
    assert bench.api.paths[1] == f"/api/v2/predictions/{ID}/result"


@pytest.mark.parametrize("max_retries", [0, 3])
async def test_a_submission_without_a_deadline_is_bounded_from_its_first_failure(
    max_retries: int,
) -> None:
    """A batch waits for its turn without an end, but tries no longer than its patience."""
    bench = Bench(refusal(429), max_retries=max_retries)
    started = anyio.current_time()
    with pytest.raises((RateLimitError, LimiterTimeoutError)):
        await bench.calls.submit(REQUEST, Turn(patience=100.0, stubborn=True), ask=bench.poller.ask)
    assert 60 < anyio.current_time() - started <= 101
    assert len(bench.api.requests) > 4
    assert bench.limiter.running == 0


async def test_a_submission_that_is_tried_again_goes_first() -> None:
    """It was first in its turn, and does not queue up behind those who came later."""
    prompts: list[str] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return reply(prediction_id=request.url.path.split("/")[4]).response()
        prompts.append(json.loads(request.content)["prompt"])
        if len(prompts) == 1:
            message = "refused"
            raise httpx.ConnectError(message)
        return reply("created", prediction_id=f"{len(prompts):032x}").response()

    bench = Bench(answer, limits=Limits(concurrency=1))

    async def run(prompt: str) -> None:
        prediction = await submit(bench, FluxDev(prompt=prompt))
        await bench.poller.wait(prediction, turn(), attended=True)

    async with anyio.create_task_group() as tasks:
        for prompt in ("first", "second", "third", "fourth"):
            tasks.start_soon(run, prompt)
            await anyio.sleep(0.01)
    assert prompts == ["first", "second", "first", "third", "fourth"]


async def test_a_submission_with_a_deadline_and_without_patience_counts_its_429s() -> None:
    """A single call makes `max_retries` further tries after 429s."""
    bench = Bench(refusal(429), max_retries=1)
    with pytest.raises(RateLimitError):
        await submit(bench)
    assert len(bench.api.requests) == 2


# --- cancelling -----------------------------------------------------------------------------------


async def cancel_after(bench: Bench, seconds: float, request: Request = REQUEST) -> float:
    """Cancel a submission after some seconds; answer how long the cancelling took."""
    with anyio.move_on_after(seconds) as scope:
        await submit(bench, request)
    assert scope.cancelled_caught
    return anyio.current_time() - scope.deadline


async def test_cancelled_before_its_turn_nothing_was_sent() -> None:
    """A submission that waits for a slot leaves no trace when it is cancelled."""
    bench = Bench(reply("created"), limits=Limits(concurrency=1))
    holder = await bench.limiter.acquire(slot=True)
    assert await cancel_after(bench, 5.0) == 0.0
    assert bench.api.requests == []
    assert (bench.limiter.running, bench.limiter.waiting) == (1, 0)
    assert holder.slot is not None
    bench.limiter.release(holder.slot)


async def test_cancelled_as_its_turn_comes_nothing_is_sent() -> None:
    """A call in a scope that is cancelled already sends nothing, and holds nothing."""
    bench = Bench(reply("created"))
    with anyio.CancelScope() as scope:
        scope.cancel()
        await submit(bench)
    assert bench.api.requests == []
    assert (bench.limiter.running, bench.counted) == (0, 0)
    assert bench.told_names == ["TurnGranted"]


async def test_cancelled_between_two_tries_nothing_is_held() -> None:
    """During a pause between tries neither a slot nor a token is held."""
    bench = Bench(httpx.ConnectError("refused"), max_retries=100)
    await cancel_after(bench, 20.0)
    assert (bench.limiter.running, bench.counted) == (0, 0)
    assert bench.told(SubmissionUnconfirmed) == []


class Connecting(httpx.AsyncBaseTransport):
    """Connect for some seconds, as httpcore tells it, and then take some to answer."""

    def __init__(self, connecting: float, answering: float) -> None:
        self.connecting, self.answering = connecting, answering
        self.sent = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        trace = request.extensions["trace"]
        await trace("connection.connect_tcp.started", {})
        await anyio.sleep(self.connecting)
        await trace("connection.connect_tcp.complete", {})
        await trace("http11.send_request_headers.started", {})
        self.sent += 1
        await anyio.sleep(self.answering)
        return reply("created").response()


async def test_cancelled_while_connecting_nothing_was_sent() -> None:
    """Before the first byte has left the call ends at once, and its slot is free."""
    transport = Connecting(9.0, 1.0)
    bench = Bench(transport=transport)
    assert await cancel_after(bench, 5.0) == pytest.approx(0.0, abs=0.01)
    await anyio.sleep(20)
    assert transport.sent == 0
    assert (bench.limiter.running, bench.counted) == (0, 0)
    assert bench.told(SubmissionUnconfirmed) == []


async def test_cancelled_on_its_way_the_answer_may_arrive() -> None:
    """The answer to a cancelled submission is waited for, and its id is told."""
    bench = Bench(transport=Connecting(4.0, 2.5))
    heard: list[str] = []
    with anyio.move_on_after(5.0) as scope:
        await bench.calls.submit(
            REQUEST, turn(), ask=bench.poller.ask, submitted=lambda seen: heard.append(seen.id)
        )
    assert scope.cancelled_caught
    assert anyio.current_time() - scope.deadline == pytest.approx(1.5)
    assert heard == [ID]
    assert bench.told(PredictionSubmitted)[0].prediction.id == ID
    assert bench.told(PredictionLeft)[0].prediction.id == ID
    assert bench.told(SubmissionUnconfirmed) == []
    assert bench.limiter.running_ids == (ID,)


async def test_cancelled_on_its_way_a_finished_answer_is_not_left() -> None:
    """If the answer that arrives is the end, nothing goes on."""
    bench = Bench(reply(after=6.0))
    await cancel_after(bench, 5.0)
    assert bench.told(PredictionLeft) == []
    assert len(bench.told(PredictionEnded)) == 1
    assert bench.limiter.running == 0


@pytest.mark.parametrize("fault", [refusal(400), httpx.ConnectError("refused")], ids=named)
async def test_cancelled_on_its_way_a_refusal_leaves_nothing(fault: Any) -> None:
    """If what arrives says that nothing exists, nothing is held."""

    async def late(_: httpx.Request) -> httpx.Response:
        await anyio.sleep(6.0)
        if isinstance(fault, Reply):
            return fault.response()
        raise fault

    bench = Bench(late)
    assert await cancel_after(bench, 5.0) == pytest.approx(1.0)
    assert bench.limiter.running == 0
    assert bench.told(SubmissionUnconfirmed) == []


@pytest.mark.parametrize("step", [lost, reply("created", after=8.0)], ids=["never", "late"])
async def test_cancelled_on_its_way_it_is_unconfirmed_after_two_seconds(step: Any) -> None:
    """If no answer arrives within 2 s, the submission is unconfirmed and keeps its slot."""
    bench = Bench(step)
    assert await cancel_after(bench, 5.0) == pytest.approx(2.0)
    assert [event.request for event in bench.told(SubmissionUnconfirmed)] == [REQUEST]
    assert bench.told(PredictionLeft) == []
    assert (bench.limiter.running, bench.limiter.running_ids) == (1, ())
    assert bench.in_flight == 0
    await assert_given_up_later(bench)


async def test_cancelling_does_not_wait_longer_than_the_answer_takes() -> None:
    """A read that is cancelled ends at once: it may be made again freely."""
    bench = Bench(lost)
    with anyio.move_on_after(5.0):
        await result(bench)
    assert anyio.current_time() == pytest.approx(5.0, abs=0.01) or bench.api.times[0] > 0
    assert bench.in_flight == 0
    assert bench.counted == 1


def assert_consistent(bench: Bench) -> None:
    """Check that each slot has a name and is left or attended, or is given up some day."""
    assert bench.in_flight == 0
    assert bench.limiter.waiting == 0
    submitted = {event.prediction.id for event in bench.told(PredictionSubmitted)}
    ended = {event.prediction.id for event in bench.told(PredictionEnded)}
    left = {event.prediction.id for event in bench.told(PredictionLeft)}
    unconfirmed = len(bench.told(SubmissionUnconfirmed))
    assert set(bench.limiter.running_ids) == submitted - ended
    assert left == submitted - ended
    assert bench.limiter.running == len(submitted - ended) + unconfirmed
    posts = bench.api.methods.count("POST")
    assert posts <= 1
    assert posts >= len(submitted) + unconfirmed


async def steps(count: int) -> None:
    """Let others go on for so many steps of the scheduler, and the clock with each tenth."""
    for number in range(1, count + 1):
        await checkpoint()
        if number % 10 == 0:
            await anyio.sleep(0.002)


async def slowly(request: httpx.Request) -> httpx.Response:
    """Answer in many steps of the scheduler."""
    await steps(4)
    answer = reply("created" if request.method == "POST" else "completed").body

    async def content() -> Any:
        text = json.dumps(answer).encode()
        for start in range(0, len(text), 60):
            await checkpoint()
            yield text[start : start + 60]

    return httpx.Response(200, content=content())


async def test_a_run_can_be_cancelled_at_every_step() -> None:
    """Wherever a run is cancelled, each slot is released, or left by its id, or given up later."""
    outcomes = set()
    for count in range(200):
        bench = Bench(slowly, limits=Limits(min_poll_interval=0.0, per=0.001))
        ended = False

        async def run(bench: Bench = bench) -> None:
            nonlocal ended
            prediction = await submit(bench)
            await bench.poller.wait(prediction, turn(), attended=True)
            ended = True

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await steps(count)
            tasks.cancel_scope.cancel()
        if ended:
            assert bench.limiter.running == 0
        assert_consistent(bench)
        outcomes.add((len(bench.api.requests), *sorted(bench.told_names), ended))
        await bench.transport.aclose()
        if ended:
            break
    assert ended
    assert any("PredictionLeft" in outcome for outcome in outcomes)
    assert any(outcome[0] == 0 for outcome in outcomes)


async def test_a_lost_submission_can_be_cancelled_at_every_step() -> None:
    """The same where the answer never comes."""
    for count in range(40):
        bench = Bench(lost)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(submit, bench)
            await steps(count)
            tasks.cancel_scope.cancel()
        assert_consistent(bench)
        assert bench.limiter.running == len(bench.api.requests)
    assert bench.limiter.running == 1


@real_loops
@pytest.mark.parametrize("way", ["reset", "hang up", "half an answer", "rubbish"])
async def test_a_submission_lost_on_a_real_connection_is_sent_once(way: str) -> None:
    """Over sockets too, what breaks after the sending is unconfirmed and never sent again."""
    received = 0
    good = raw_answer({"code": 200, "data": data_of("created")})

    async def handle(stream: SocketStream, request: bytes) -> None:
        nonlocal received
        received += 1
        if way == "reset":
            reset(stream)
        elif way == "half an answer":
            await stream.send(good[:-30])
        elif way == "rubbish":
            await stream.send(b"rubbish\r\n\r\n")
        await stream.aclose()

    async with raw_server(handle) as url:
        bench = Bench(base_url=url)
        with pytest.raises(SubmissionUnconfirmedError):
            await submit(bench)
        assert bench.limiter.running == 1
        await bench.transport.aclose()
    assert received == 1


@real_loops
async def test_a_submission_to_a_closed_port_does_not_exist() -> None:
    """Over sockets too, a refused connection means that nothing was sent: it is tried again."""

    async def handle(stream: SocketStream, request: bytes) -> None:
        await stream.send(raw_answer({"code": 200, "data": data_of("created")}))

    async with raw_server(handle) as url:
        pass
    bench = Bench(base_url=url, max_retries=1)
    with pytest.raises(APIConnectionError) as caught:
        await submit(bench)
    assert not isinstance(caught.value, SubmissionUnconfirmedError)
    assert len(bench.told(RequestFailed)) == 2
    assert (bench.limiter.running, bench.counted) == (0, 0)
    await bench.transport.aclose()


async def test_an_unexpected_error_keeps_the_slot_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug while an answer is read is no reason to forget that the prediction may run."""

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("wavespeed_async._calls.decode_data", broken)
    bench = Bench(reply("created"))
    with pytest.raises(ZeroDivisionError):
        await submit(bench)
    assert bench.limiter.running == 1
    assert len(bench.told(SubmissionUnconfirmed)) == 1


async def test_a_404_of_a_read_is_its_own_error() -> None:
    """An unknown prediction is NotFoundError, with the id that was asked for."""
    with pytest.raises(NotFoundError) as caught:
        await result(Bench(Reply(b"", status=404)))
    assert caught.value.prediction_id == ID


async def test_an_answer_about_another_prediction_is_none() -> None:
    """A picture of somebody else is never taken for the one that was asked for."""
    bench = Bench(reply(prediction_id=OTHER), max_retries=0)
    with pytest.raises(APIResponseError, match=OTHER) as caught:
        await result(bench)
    assert caught.value.prediction_id == ID
