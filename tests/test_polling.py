"""Waiting for predictions: each polled when the rule says so, until its end is known."""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from tests.wire import ID, OTHER, OUTPUT, Bench, Reply, data_of, named, page, refusal, reply
from wavespeed_async._calls import Turn
from wavespeed_async._events import (
    PredictionEnded,
    PredictionLeft,
    PredictionPolled,
    RequestFailed,
)
from wavespeed_async._prediction import Prediction, Status
from wavespeed_async.errors import (
    APIConnectionError,
    APIStatusError,
    InternalServerError,
    LimiterTimeoutError,
    ModerationError,
    NotFoundError,
    PredictionFailedError,
    PredictionTimeoutError,
    RateLimitError,
    WaveSpeedError,
)
from wavespeed_async.limits import Limits
from wavespeed_async.models import FluxDev, FluxKontextDevMulti
from wavespeed_async.testing import virtual_backend

if TYPE_CHECKING:
    from wavespeed_async.limits import Permit
    from wavespeed_async.models import Request

REQUEST = FluxDev(prompt="a silk scarf")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run by a clock that jumps."""
    return virtual_backend(request.param)


# --- waiting --------------------------------------------------------------------------------------


def turn(timeout: float = 600.0) -> Turn:
    return Turn(deadline=anyio.current_time() + timeout)


async def run(bench: Bench, timeout: float = 600.0, request: Request = REQUEST) -> Prediction:
    """Submit and wait, as a client's `run` does."""
    prediction = await bench.calls.submit(request, turn(timeout), ask=bench.poller.ask)
    return await bench.poller.wait(prediction, turn(timeout), attended=True)


async def wait(bench: Bench, timeout: float = 600.0, prediction_id: str = ID) -> Prediction:
    """Wait for an id from elsewhere."""
    return await bench.poller.wait(Prediction(id=prediction_id), turn(timeout))


@pytest.mark.parametrize(
    "status", ["created", "pending", "queued", "starting", "processing", "rotating", ""]
)
async def test_what_runs_is_polled_on(status: str) -> None:
    """Every status that is no end, known or not, means another poll."""
    bench = Bench(reply("created"), reply(status), reply(status), reply())
    prediction = await run(bench)
    assert prediction.status is Status.COMPLETED
    assert bench.api.methods == ["POST", "GET", "GET", "GET"]
    assert len(bench.told(PredictionPolled)) == 3
    assert bench.limiter.running == 0


@pytest.mark.parametrize("status", ["failed", "cancelled", "timeout", "deleted"])
@pytest.mark.parametrize("code", [None, 1400, 5004])
async def test_an_end_without_pictures_is_an_error(status: str, code: int | None) -> None:
    """Every other end is PredictionFailedError with the prediction, and gives the slot back."""
    bench = Bench(reply("created"), reply(status, error="out of memory", code=code))
    with pytest.raises(PredictionFailedError, match="out of memory") as caught:
        await run(bench)
    assert type(caught.value) is PredictionFailedError
    assert caught.value.prediction is not None
    assert (caught.value.prediction.status, caught.value.prediction_id) == (status, ID)
    assert caught.value.prediction.request == REQUEST
    assert bench.limiter.running == 0
    assert len(bench.told(PredictionEnded)) == 1
    assert bench.told(PredictionLeft) == []


async def test_moderation_is_its_own_error() -> None:
    """Code 1200 is ModerationError."""
    bench = Bench(reply("failed", code=1200))
    with pytest.raises(ModerationError):
        await wait(bench)


async def test_a_finished_prediction_is_not_polled() -> None:
    """Waiting for what has ended costs no request, be the end good or bad."""
    bench = Bench(reply())
    done = Prediction(id=ID, status=Status.COMPLETED)
    assert await bench.poller.wait(done, turn()) is done
    with pytest.raises(PredictionFailedError):
        await bench.poller.wait(Prediction(id=ID, status=Status.FAILED), turn())
    assert bench.api.requests == []


async def test_a_finished_prediction_keeps_what_was_asked() -> None:
    """The request, and the model where no poll names it, stay with the prediction."""
    bench = Bench(reply("created"), reply(model=None))
    ended = await run(bench)
    assert ended.request == REQUEST
    assert ended.model == "m/m"


@pytest.mark.parametrize("status", ["processing", "rotating"])
async def test_what_does_not_end_runs_into_the_deadline(status: str) -> None:
    """The error carries the id, the prediction is left with its slot, and can be waited for."""
    bench = Bench(reply("created"), reply(status))
    with pytest.raises(PredictionTimeoutError, match=f"{ID} still runs") as caught:
        await run(bench, timeout=60.0)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.__cause__ is None
    assert caught.value.prediction is not None
    assert caught.value.prediction_id == ID
    assert anyio.current_time() - bench.api.times[0] == pytest.approx(60.0, abs=0.01)
    assert [event.prediction.id for event in bench.told(PredictionLeft)] == [ID]
    assert bench.limiter.running_ids == (ID,)
    bench.api.steps = [reply()]
    ended = await bench.poller.wait(caught.value.prediction, turn())
    assert ended.status is Status.COMPLETED
    assert bench.limiter.running == 0


GARBLED = [
    Reply("<html>", status=200),
    Reply(b"", status=200),
    Reply({"code": 200, "data": None}),
    Reply({"code": 200, "data": {"id": ID}}),
    Reply({"code": 200, "data": {**data_of(), "status": None}}),
    reply(prediction_id=OTHER),
    refusal(500),
    page(502),
    page(504),
    page(522),
    refusal(429),
    refusal(503, status=200),
    refusal(5003, status=200),
    httpx.ReadTimeout(""),
    httpx.ConnectError("offline"),
    httpx.RemoteProtocolError("reset"),
]


@pytest.mark.parametrize("fault", GARBLED, ids=named)
async def test_a_failed_poll_fails_no_prediction(fault: Any) -> None:
    """After many failed polls, of any kind, the picture is there nevertheless."""
    bench = Bench(reply("created"), *[fault] * 9, reply())
    assert (await run(bench)).status is Status.COMPLETED
    failed = bench.told(RequestFailed)
    assert len(failed) == 9
    assert all(event.retry_in is not None for event in failed)
    assert {event.path for event in failed} == {f"/api/v2/predictions/{ID}/result"}
    assert bench.limiter.running == 0


async def test_an_outage_is_sat_out_until_the_deadline() -> None:
    """Once the server was reached, only the deadline ends a wait; the last failure is named."""
    bench = Bench(reply("processing"), httpx.ConnectError("the cable is out"))
    with pytest.raises(PredictionTimeoutError, match="the cable is out") as caught:
        await wait(bench, timeout=300.0)
    assert isinstance(caught.value.__cause__, APIConnectionError)
    assert anyio.current_time() - bench.api.times[0] == pytest.approx(300.0, abs=0.01)
    assert len(bench.api.requests) > 30
    assert bench.limiter.running_ids == (ID,)
    assert bench.api.times[-1] - bench.api.times[0] == pytest.approx(299.5, abs=0.01)


async def test_a_failure_that_has_passed_is_not_named() -> None:
    """A deadline after good polls is no failure of the network."""
    bench = Bench(reply("processing"), page(502), reply("processing"))
    with pytest.raises(PredictionTimeoutError) as caught:
        await wait(bench, timeout=60.0)
    assert caught.value.__cause__ is None
    assert "failed" not in str(caught.value)


@pytest.mark.parametrize("fault", [httpx.ConnectError("offline"), page(503)], ids=named)
async def test_being_offline_from_the_start_is_told_within_seconds(fault: Any) -> None:
    """A wait for an id that never reaches the server raises that error soon, with the id."""
    bench = Bench(fault)
    started = anyio.current_time()
    with pytest.raises((APIConnectionError, InternalServerError)) as caught:
        await wait(bench)
    assert caught.value.prediction_id == ID
    assert anyio.current_time() - started < 10.0
    assert len(bench.api.requests) == 4
    assert bench.limiter.running == 0
    assert bench.told(PredictionLeft) == []


async def test_being_offline_right_after_the_submission_is_sat_out() -> None:
    """Who has just submitted has reached the server: the prediction is not given up."""
    bench = Bench(reply("created"), *[httpx.ConnectError("offline")] * 20, reply())
    assert (await run(bench)).status is Status.COMPLETED


@pytest.mark.parametrize("code", [400, 401, 403])
async def test_a_refused_poll_ends_the_wait_and_not_the_prediction(code: int) -> None:
    """What will not pass is raised with the id, and the prediction keeps its slot."""
    bench = Bench(reply("created"), refusal(code))
    with pytest.raises(APIStatusError) as caught:
        await run(bench)
    assert (caught.value.code, caught.value.prediction_id) == (code, ID)
    assert bench.limiter.running_ids == (ID,)
    assert len(bench.told(PredictionLeft)) == 1


async def test_a_prediction_that_is_unknown_gives_its_slot_back() -> None:
    """A 404 says that nothing runs: its error is raised and the slot is free."""
    bench = Bench(reply("created"), refusal(404))
    with pytest.raises(NotFoundError):
        await run(bench)
    assert bench.limiter.running == 0
    assert bench.told(PredictionLeft) == []


async def test_a_pause_beyond_the_deadline_ends_the_wait_at_once() -> None:
    """A 429 that asks for more time than is left is raised, with the id and the pause."""
    for under in (None, 200):
        bench = Bench(reply("created"), refusal(429, status=under, Retry_After="100000"))
        with pytest.raises(RateLimitError) as caught:
            await run(bench, timeout=60.0)
        assert (caught.value.retry_after, caught.value.prediction_id) == (100000, ID)
        assert anyio.current_time() - bench.api.times[0] < 30.0
        assert bench.limiter.running_ids == (ID,)


# --- how often ------------------------------------------------------------------------------------


def gaps(times: list[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(times)]


@pytest.mark.parametrize(
    "step",
    [reply("processing"), page(502), httpx.ConnectError("offline"), refusal(429), reply(after=9.0)],
    ids=named,
)
@pytest.mark.parametrize("interval", [1.0, 7.0])
async def test_no_prediction_is_polled_more_often_than_allowed(step: Any, interval: float) -> None:
    """Between two polls of one prediction lies the least interval, after failures too."""
    steps = [reply("created"), reply("processing"), *[step] * 5, reply()]
    bench = Bench(*steps, limits=Limits(min_poll_interval=interval))
    await run(bench)
    assert bench.api.times[1] - bench.api.times[0] >= interval - 1e-6
    assert min(gaps(bench.api.times[1:]), default=interval) >= interval - 1e-6


async def test_callers_that_wait_for_one_prediction_share_its_interval() -> None:
    """However many wait for a prediction, it is polled no more often than by one."""
    bench = Bench(*[reply("processing")] * 20, reply())
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(wait, bench)
    assert min(gaps(bench.api.times[3:])) >= 1.0 - 1e-6


async def test_the_interval_counts_from_a_polls_sending() -> None:
    """A poll that waited long for its turn is not followed by another one at once."""
    limits = Limits(requests=2, per=60.0, min_poll_interval=1.0)
    bench = Bench(
        reply("created"), reply("processing"), reply("processing"), reply(), limits=limits
    )
    await run(bench)
    assert min(gaps(bench.api.times)) >= 1.0
    ages = [event.age for event in bench.told(PredictionPolled)]
    assert ages == [pytest.approx(at - bench.api.times[0], abs=0.01) for at in bench.api.times[1:]]


async def test_there_is_a_last_look_before_the_deadline() -> None:
    """Half a second before the deadline a prediction is polled, though the rule would wait."""

    async def answer(request: httpx.Request) -> httpx.Response:
        late = anyio.current_time() - bench.api.times[0] >= 19.4
        return reply("completed" if late else "processing").response()

    bench = Bench(reply("created"), answer)
    bench.poller.rule.record("m/m").seconds = [60.0] * 60
    assert (await run(bench, timeout=20.0)).status is Status.COMPLETED
    assert bench.api.times[-1] - bench.api.times[0] == pytest.approx(19.5, abs=0.01)


async def test_the_last_look_is_one() -> None:
    """Without a least interval too, there is one last look and not a storm of them."""
    limits = Limits(min_poll_interval=0.0)
    bench = Bench(reply("created"), reply("processing"), limits=limits)
    bench.poller.rule.record("m/m").seconds = [90.0] * 60
    with pytest.raises(PredictionTimeoutError):
        await run(bench, timeout=20.0)
    assert len(bench.api.requests) < 5


async def test_a_wait_without_a_deadline_goes_on() -> None:
    """Without a deadline there is neither a last look nor an end but the prediction's."""
    bench = Bench(*[reply("processing")] * 50, reply())
    ended = await bench.poller.wait(Prediction(id=ID), Turn())
    assert ended.status is Status.COMPLETED


async def test_a_turn_that_does_not_come_ends_at_the_deadline() -> None:
    """Where the limits leave no room for a poll before the deadline, the wait ends there."""
    bench = Bench(reply("created"), reply(), limits=Limits(requests=1))
    with pytest.raises(PredictionTimeoutError):
        await run(bench, timeout=20.0)
    assert bench.api.methods == ["POST"]
    assert anyio.current_time() - bench.api.times[0] == pytest.approx(20.0, abs=0.01)


async def test_a_turn_that_is_refused_at_the_deadline_is_that_deadline() -> None:
    """Whether the limiter or the deadline itself ends the wait for a turn makes no difference."""
    bench = Bench(reply("created"))
    prediction = await bench.calls.submit(REQUEST, turn(), ask=bench.poller.ask)
    until = turn(20.0)

    async def late(**_: object) -> Permit:
        with anyio.CancelScope(shield=True):
            await anyio.sleep_until(until.deadline)
        message = "no room"
        raise LimiterTimeoutError(message)

    bench.limiter.acquire = late  # type: ignore[method-assign]  # a limiter that is late
    with pytest.raises(PredictionTimeoutError) as caught:
        await bench.poller.wait(prediction, until, attended=True)
    assert caught.value.__cause__ is None
    assert bench.told(RequestFailed) == []


async def test_the_rule_decides_when_to_poll() -> None:
    """A model that is known to take 30 s is first polled when an answer is likely."""
    bench = Bench(reply("created"), reply())
    bench.poller.rule.record("m/m").seconds = [30.0] * 60
    await run(bench)
    assert 25.0 < bench.api.times[1] - bench.api.times[0] < 35.0


@pytest.mark.parametrize("code", [403, 404])
async def test_a_refusal_is_believed_of_what_exists_only_when_repeated(code: int) -> None:
    """A poll that is refused once, by a gateway say, does not fail a prediction just submitted."""
    bench = Bench(reply("created"), refusal(code), refusal(code), reply())
    assert (await run(bench)).outputs
    bench = Bench(reply("created"), refusal(code))
    with pytest.raises(APIStatusError) as caught:
        await run(bench)
    assert (caught.value.status_code, caught.value.prediction_id) == (code, ID)
    assert len(bench.api.requests) == 1 + 4
    assert bench.limiter.running == (0 if code == 404 else 1)


async def test_a_watched_prediction_teaches_its_model() -> None:
    """A run teaches its latency, by the server's timing or by what was seen; each model its own."""
    bench = Bench(reply("created"), reply(timings={"inference": 2500}))
    before = bench.poller.rule.record("x/y").latency
    await run(bench)
    assert bench.poller.rule.record("m/m").seconds == [pytest.approx(1.0, abs=0.1)]  # seen by then
    assert bench.poller.rule.record("x/y").latency == before
    bench = Bench(reply("created"), reply("processing"), reply())
    await run(bench)
    missed, ready = (at - bench.api.times[0] for at in bench.api.times[1:])
    (learned,) = bench.poller.rule.record("m/m").seconds
    assert learned == pytest.approx((missed + ready) / 2, rel=0.01)


@pytest.mark.parametrize("more", [{}, {"timings": {"inference": 5000}}], ids=["bare", "timed"])
async def test_a_prediction_of_unknown_age_teaches_nothing(more: dict[str, Any]) -> None:
    """An id from elsewhere that turns out to be ready says nothing of how long it took."""
    bench = Bench(reply(**more))
    before = bench.poller.rule.record("m/m").latency
    await wait(bench)
    await bench.poller.result(Prediction(id=ID), turn())
    assert bench.poller.rule.record("m/m").latency == before


async def test_a_prediction_that_was_not_watched_teaches_by_the_servers_timing_only() -> None:
    """After a pause nobody knows when it was ready, except the server."""
    for told, taught in ((None, False), (7000, True)):
        bench = Bench(reply("created"), reply(executionTime=told))
        prediction = await bench.calls.submit(REQUEST, turn(), ask=bench.poller.ask)
        bench.limiter.leave(prediction.id, ask_in=1000.0)
        await anyio.sleep(500)
        await bench.poller.wait(prediction, turn())
        assert bench.poller.rule.record("m/m").seconds == [pytest.approx(7.0)] * taught


# --- slots ----------------------------------------------------------------------------------------


async def test_an_id_that_runs_takes_a_slot() -> None:
    """A prediction from elsewhere is counted from the first poll that finds it running."""
    bench = Bench(reply("processing"), reply("processing"), reply(), limits=Limits(concurrency=1))
    counts: list[int] = []
    bench.transport._observe = lambda _: counts.append(bench.limiter.running)
    await wait(bench)
    assert counts == [0, 0, 1, 1, 1, 1]
    assert bench.limiter.running == 0


async def test_a_wait_that_is_cancelled_leaves_the_prediction() -> None:
    """The slot stays, the id is told, and whoever needs the slot asks for it."""
    bench = Bench(*[reply("processing")] * 9, reply(), limits=Limits(concurrency=1))
    with anyio.move_on_after(3.0):
        await wait(bench)
    assert [event.prediction.id for event in bench.told(PredictionLeft)] == [ID]
    assert bench.limiter.running_ids == (ID,)
    permit = await bench.limiter.acquire(slot=True, ask=bench.poller.ask)
    assert ID not in bench.limiter.running_ids
    assert len(bench.told(PredictionEnded)) == 1
    assert permit.slot is not None
    bench.limiter.release(permit.slot)


async def test_an_attended_prediction_is_not_asked_for_by_others() -> None:
    """While somebody waits for it, its slot is not asked for on behalf of others."""
    bench = Bench(reply("processing"), limits=Limits(concurrency=1))

    async def crowd() -> None:
        await bench.limiter.acquire(slot=True, ask=bench.poller.ask)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait, bench)
        await anyio.sleep(1)
        tasks.start_soon(crowd)
        await anyio.sleep(50)
        assert len(bench.api.requests) == len(bench.told(PredictionPolled))
        tasks.cancel_scope.cancel()


async def test_two_callers_may_wait_for_one_prediction() -> None:
    """Both get its end, it takes one slot, and stays attended while one of them waits."""
    bench = Bench(*[reply("processing")] * 20, reply(), limits=Limits(concurrency=1))
    ends: list[Prediction] = []

    async def one() -> None:
        ends.append(await wait(bench))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one)
        tasks.start_soon(one)
        with anyio.move_on_after(3.0):
            await wait(bench)
        assert bench.limiter.running_ids == (ID,)
        with anyio.move_on_after(5.0):
            await bench.limiter.acquire(slot=True, ask=bench.poller.ask)
        assert len(bench.api.requests) == len(bench.told(PredictionPolled))
    assert [end.status for end in ends] == [Status.COMPLETED] * 2
    assert bench.limiter.running == 0


async def test_an_end_that_one_caller_sees_ends_all_waits() -> None:
    """Of two callers that wait for one prediction, the poll of one serves both."""
    bench = Bench(reply("processing"), reply("processing"), reply(after=5.0))
    ends: list[Prediction] = []

    async def one() -> None:
        ends.append(await wait(bench))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one)
        tasks.start_soon(one)
    assert [end.outputs for end in ends] == [(OUTPUT,)] * 2
    assert bench.limiter.running == bench.in_flight == 0
    assert len(bench.told(PredictionEnded)) == 1


async def test_an_end_from_elsewhere_ends_the_wait() -> None:
    """A webhook's arrival is the end of a wait, good or bad; the slot is free, what came counts."""
    bench = Bench(reply("created"), reply("processing"))
    waiting = partial(bench.poller.arrive, Prediction(id=ID, status=Status.COMPLETED, model="m/m"))

    async def hook() -> None:
        await anyio.sleep(7.5)
        waiting()
        waiting()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hook)
        ended = await run(bench)
    assert (ended.status, ended.request) == (Status.COMPLETED, REQUEST)
    assert bench.limiter.running == 0
    failed = Prediction(id=ID, status=Status.FAILED, error="no")
    async with anyio.create_task_group() as tasks:
        waiting = partial(bench.poller.arrive, failed)
        tasks.start_soon(hook)
        with pytest.raises(PredictionFailedError, match="no"):
            await wait(bench)
    bench.poller.arrive(failed)


async def test_an_answer_that_is_overtaken_changes_nothing() -> None:
    """A poll that says `processing` after the end was seen does not take the slot again."""
    bench = Bench(reply("created"), reply("processing", after=3.0))
    done = Prediction(id=ID, status=Status.COMPLETED)

    async def overtake(*_: object) -> Prediction:
        bench.poller.arrive(done)
        return Prediction(id=ID, status=Status.PROCESSING)

    bench.calls.read = overtake  # type: ignore[assignment, method-assign]  # an answer without an await
    assert (await run(bench)).status is Status.COMPLETED
    assert bench.limiter.running == 0


async def test_a_prediction_is_polled_under_the_version_of_its_model() -> None:
    """What was submitted under v2 is polled there, an id alone under v3."""
    bench = Bench(reply("created"), reply())
    prediction = await bench.calls.submit(REQUEST, turn(), ask=bench.poller.ask)
    await bench.poller.wait(prediction, turn(), attended=True)
    await bench.poller.result(prediction, turn())
    await wait(bench)
    await bench.poller.result(Prediction(id=ID), turn())
    tail = f"predictions/{ID}/result"
    assert bench.api.paths == [
        "/api/v2/wavespeed-ai/flux-dev",
        f"/api/v2/{tail}",
        f"/api/v2/{tail}",
        f"/api/v3/{tail}",
        f"/api/v3/{tail}",
    ]


async def test_sync_mode_that_gave_up_goes_on_by_polling() -> None:
    """`processing` with code 5004 after a held submission is no end: it is polled."""
    gave_up = reply(
        "processing",
        code=5004,
        error="Sync mode timed out after 90 seconds.",
        after=90.0,
    )
    bench = Bench(gave_up, reply())
    request = FluxKontextDevMulti(
        prompt="p", images=["https://example.com/in.png"], enable_sync_mode=True
    )
    ended = await run(bench, request=request)
    assert ended.status is Status.COMPLETED
    assert bench.api.methods == ["POST", "GET"]


# --- one look -------------------------------------------------------------------------------------


async def test_one_look_gives_what_runs_a_slot() -> None:
    """A prediction that is found running, wherever it was made, is counted, and left."""
    bench = Bench(*[reply("processing")] * 4, reply(), limits=Limits(concurrency=1))
    for _ in range(2):
        seen = await bench.poller.result(Prediction(id=ID), turn())
        assert seen.status is Status.PROCESSING
        assert bench.limiter.running_ids == (ID,)
    permit = await bench.limiter.acquire(slot=True, ask=bench.poller.ask)
    assert len(bench.api.requests) == 5
    assert ID not in bench.limiter.running_ids
    assert permit.slot is not None
    bench.limiter.release(permit.slot)


async def test_one_look_at_an_end_gives_the_slot_back() -> None:
    """An end, good or bad, is answered and not raised; the slot is free."""
    for status in ("completed", "failed"):
        bench = Bench(reply("created"), reply(status))
        prediction = await bench.calls.submit(REQUEST, turn(), ask=bench.poller.ask)
        seen = await bench.poller.result(prediction, turn())
        assert (seen.status, seen.request) == (status, REQUEST)
        assert bench.limiter.running == 0


async def test_one_look_at_what_is_unknown_gives_the_slot_back() -> None:
    """A 404 releases the slot here too."""
    bench = Bench(reply("created"), refusal(404))
    prediction = await bench.calls.submit(REQUEST, turn(), ask=bench.poller.ask)
    with pytest.raises(NotFoundError):
        await bench.poller.result(prediction, turn())
    assert bench.limiter.running == 0


# --- asking for orphans ---------------------------------------------------------------------------


async def test_asking_for_an_orphan() -> None:
    """One that has ended, or is unknown, answers None; one that runs, when to ask again."""
    for status in ("completed", "failed"):
        bench = Bench(reply("processing"), reply("processing"), reply(status))
        await bench.poller.result(Prediction(id=ID), turn())
        again = await bench.poller.ask(ID)
        assert again is not None
        assert again >= 1.0
        assert await bench.poller.ask(ID) is None
        assert bench.limiter.running == 0
        assert len(bench.told(PredictionEnded)) == 1
    assert await Bench(refusal(404)).poller.ask(ID) is None


@pytest.mark.parametrize("fault", [page(502), httpx.ConnectError("no"), refusal(401)], ids=named)
async def test_an_orphan_that_cannot_be_asked_for_is_asked_later(fault: Any) -> None:
    """A failure of the errand fails nobody: it is made again after a pause."""
    assert await Bench(fault).poller.ask(ID) == pytest.approx(1.0)
    slow = Bench(fault, limits=Limits(min_poll_interval=3.0))
    assert await slow.poller.ask(ID) == pytest.approx(3.0)


async def test_errors_of_polls_carry_the_id_to_the_observer() -> None:
    """The observer of a failed poll can tell which prediction it was about."""
    bench = Bench(reply("created"), page(502), reply())
    await run(bench)
    error = bench.told(RequestFailed)[0].error
    assert isinstance(error, WaveSpeedError)
    assert error.prediction_id == ID
