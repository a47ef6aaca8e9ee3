"""Webhook mode: a prediction ends by the call about it; a poll makes up for one that is lost."""

from __future__ import annotations

import json
import random
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import anyio
import anyio.from_thread
import anyio.to_thread
import httpx
import pytest
from attrs import evolve

from tests.hooks import hook
from tests.wire import ID, KEY, OTHER, URL, Bench, data_of, page, real_loops, reply
from wavespeed_async import (
    AsyncWaveSpeed,
    ConfigurationError,
    DeliveryError,
    FluxDev,
    InvalidRequestError,
    Limiter,
    Limits,
    Prediction,
    PredictionEnded,
    PredictionFailedError,
    PredictionPolled,
    RequestSent,
    Status,
    SubmissionUnconfirmedError,
    WebhookReceived,
    WebhookVerificationError,
)
from wavespeed_async._calls import Turn
from wavespeed_async._codec import decode_prediction
from wavespeed_async.emulator import Emulator, Faults
from wavespeed_async.emulator._webhooks import signed_headers
from wavespeed_async.testing import virtual_backend

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from wavespeed_async._deliveries import Awaiter

REQUEST = FluxDev(prompt="a silk scarf")
HOOK = "https://app.test/hook?token=s3cret&n=1"
SECRET = "whsec_c2VjcmV0"
MODEL = "m/m"
"""As the scripted API names it."""


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run by a clock that jumps."""
    return virtual_backend(request.param)


def told(status: str = "completed", prediction_id: str = ID, **more: Any) -> Prediction:
    """Answer what a webhook tells."""
    return decode_prediction(data_of(status, prediction_id, **more))


async def submit(bench: Bench) -> Prediction:
    turn = Turn(deadline=anyio.current_time() + 600)
    return await bench.calls.submit(
        REQUEST, turn, ask=bench.poller.ask, submitted=bench.poller.expect, webhook=HOOK
    )


async def run(bench: Bench, timeout: float = 600) -> Prediction:
    """Submit with a webhook and wait, as a client's `run` does."""
    prediction = await submit(bench)
    turn = Turn(deadline=anyio.current_time() + timeout)
    return await bench.poller.wait(prediction, turn, attended=True)


async def run_and_hear(
    bench: Bench, after: float, *calls: Prediction
) -> tuple[Prediction, list[bool]]:
    """Run, and be called after so many seconds; answer what was said about each call."""
    heard: list[bool] = []

    async def call() -> None:
        await anyio.sleep(after)
        heard.extend(bench.poller.hear(one) for one in calls)

    failures: list[PredictionFailedError] = []
    async with anyio.create_task_group() as group:
        group.start_soon(call)
        try:
            ended = await run(bench)
        except PredictionFailedError as error:
            failures.append(error)
    if failures:
        raise failures[0]
    return ended, heard


# --- one request a picture ------------------------------------------------------------------------


async def test_a_prediction_ends_by_its_webhook() -> None:
    """One request is made, which names the webhook; the end is what the call told."""
    bench = Bench(reply("created"))
    ended, heard = await run_and_hear(bench, 5.0, told(timings={"inference": 4800}))
    assert (ended.status, ended.request, heard) == (Status.COMPLETED, REQUEST, [True])
    assert anyio.current_time() == pytest.approx(5.0, abs=0.01)
    (request,) = bench.api.requests
    assert dict(request.url.params) == {"webhook": HOOK}
    assert bench.limiter.running == 0
    assert len(bench.told(PredictionEnded)) == 1
    assert bench.told(PredictionPolled) == []
    (received,) = bench.told(WebhookReceived)
    assert received.awaited is True


async def test_no_event_tells_the_url() -> None:
    """A webhook's query may hold a secret: neither paths nor errors nor events show it."""
    bench = Bench(page(502))
    with pytest.raises(SubmissionUnconfirmedError) as caught:
        await run(bench)
    assert {event.path for event in bench.told(RequestSent)} == {"/api/v2/wavespeed-ai/flux-dev"}
    shown = repr(bench.events) + repr(caught.value) + str(caught.value.__dict__)
    assert "s3cret" not in shown
    assert "app.test" not in shown


async def test_an_end_without_pictures_is_an_error() -> None:
    """What a webhook tells is read as a poll's answer is."""
    bench = Bench(reply("created"))
    failed = told("failed", error="out of memory", code=1400)
    with pytest.raises(PredictionFailedError, match="out of memory") as caught:
        await run_and_hear(bench, 5.0, failed)
    assert caught.value.prediction is not None
    assert caught.value.prediction.request == REQUEST
    assert bench.limiter.running == 0


async def test_a_webhook_teaches_how_long_models_and_webhooks_take() -> None:
    """The model's time is the server's, or else the arrival's; the webhook's is the arrival's."""
    for inference, seconds in ((3000, 3.0), (None, 5.0)):
        bench = Bench(reply("created"))
        await run_and_hear(bench, 5.0, told(timings={"inference": inference}))
        assert bench.poller.rule.record(MODEL).seconds == [pytest.approx(seconds, abs=0.01)]
        assert bench.poller.rule.arrivals(MODEL).seconds == [pytest.approx(5.0, abs=0.01)]
        assert bench.poller.rule.lost < 0.05


async def test_a_call_ends_every_wait() -> None:
    """Whoever waits for the prediction gets its end from one call."""
    bench = Bench(reply("created"))
    ends: list[Prediction] = []

    async def wait(prediction: Prediction) -> None:
        ends.append(await bench.poller.wait(prediction, Turn()))

    created = await submit(bench)
    async with anyio.create_task_group() as group:
        group.start_soon(wait, created)
        group.start_soon(wait, created)
        await anyio.sleep(3.0)
        assert bench.poller.hear(told())
    assert [end.status for end in ends] == [Status.COMPLETED] * 2
    assert bench.api.methods == ["POST"]


# --- early, twice, out of order -------------------------------------------------------------------


async def test_a_webhook_may_be_faster_than_the_submissions_answer() -> None:
    """It is kept until the id is known, and then ends the wait without a poll."""
    bench = Bench(reply("created", after=4.0))
    ended, heard = await run_and_hear(bench, 1.0, told())
    assert (ended.status, heard) == (Status.COMPLETED, [False])
    assert ended.request == REQUEST
    assert anyio.current_time() == pytest.approx(4.0, abs=0.01)
    assert bench.api.methods == ["POST"]
    assert bench.limiter.running == 0


async def test_calls_that_come_twice_change_nothing() -> None:
    """The second call finds nobody who waits, and is not kept."""
    bench = Bench(reply("created"))
    _, heard = await run_and_hear(bench, 5.0, told())
    assert heard == [True]
    assert not bench.poller.hear(told("failed"))
    assert len(bench.told(PredictionEnded)) == 1
    assert bench.poller._arrivals.find(ID, bench.limiter.now()) is None


async def test_two_calls_at_once_count_once() -> None:
    """Of two calls in one step the first ends the wait, and alone is learned from."""
    bench = Bench(reply("created"))
    ended, heard = await run_and_hear(bench, 5.0, told(), told("failed"))
    assert (ended.status, heard) == (Status.COMPLETED, [True, True])
    assert len(bench.poller.rule.arrivals(MODEL).seconds) == 1


async def test_calls_out_of_order_change_nothing() -> None:
    """That it runs is no end, before the end and after it."""
    bench = Bench(reply("created"))
    ended, heard = await run_and_hear(bench, 5.0, told("processing"), told(), told("processing"))
    assert (ended.status, heard) == (Status.COMPLETED, [True, True, True])
    assert not bench.poller.hear(told("processing"))
    assert bench.limiter.running == 0


async def test_a_call_about_another_prediction_changes_nothing() -> None:
    """It is kept for whoever waits for that one: the wait needs no request."""
    bench = Bench(reply("created"))
    _, heard = await run_and_hear(bench, 5.0, told(prediction_id=OTHER), told())
    assert heard == [False, True]
    other = await bench.poller.wait(Prediction(id=OTHER), Turn())
    assert other.status is Status.COMPLETED
    assert bench.api.methods == ["POST"]


async def test_a_wait_for_an_id_from_elsewhere_ends_by_a_call_too() -> None:
    """It polls, since nothing is known of it, but a call that comes first ends it."""
    bench = Bench(reply("processing"))
    async with anyio.create_task_group() as group:
        group.start_soon(bench.poller.wait, Prediction(id=ID), Turn())
        await anyio.sleep(0.5)
        assert bench.poller.hear(told())
    assert bench.api.methods == ["GET"]
    assert bench.limiter.running == 0


async def test_a_plain_wait_learns_from_a_call() -> None:
    """A prediction that was submitted without a webhook teaches its model's time alone."""
    bench = Bench(reply("created"))
    turn = Turn(deadline=600)
    created = await bench.calls.submit(REQUEST, turn, ask=bench.poller.ask)
    async with anyio.create_task_group() as group:
        group.start_soon(partial(bench.poller.wait, created, turn, attended=True))
        await anyio.sleep(0.5)
        assert bench.poller.hear(told())
    assert bench.poller.rule.record(MODEL).seconds == [pytest.approx(0.5, abs=0.01)]
    assert bench.poller.rule.arrivals(MODEL).seconds == []


# --- what is submitted and left -------------------------------------------------------------------


def client_of(*steps: Any, **settings: Any) -> tuple[AsyncWaveSpeed, Bench]:
    """Make a client of a scripted API."""
    bench = Bench(*steps)
    settings.setdefault("limiter", Limiter(settings.pop("limits", Limits())))
    client = AsyncWaveSpeed(KEY, base_url=URL, transport=httpx.MockTransport(bench.api), **settings)
    return client, bench


async def test_a_submission_gives_its_slot_back_when_the_webhook_comes() -> None:
    """Nobody has to wait for that; a wait later on needs no request."""
    client, bench = client_of(reply("created"))
    async with client:
        created = await client.submit(REQUEST, webhook=HOOK)
        assert client.limiter.running_ids == (ID,)
        assert not client.arrive(told())
        assert not client.arrive(told())
        assert client.limiter.running == 0
        ended = await client.wait(created)
    assert (ended.status, ended.request) == (Status.COMPLETED, created.request)
    assert bench.api.methods == ["POST"]


async def test_a_submission_whose_webhook_was_faster_leaves_no_slot() -> None:
    """The call that came before the answer gives the slot back right then."""
    client, bench = client_of(reply("created", after=2.0))
    async with client, anyio.create_task_group() as group:
        group.start_soon(partial(client.submit, REQUEST, webhook=HOOK))
        await anyio.sleep(1.0)
        assert not client.arrive(told())
        await anyio.sleep(1.5)
        assert client.limiter.running == 0
        assert (await client.wait(ID)).status is Status.COMPLETED
    assert bench.api.methods == ["POST"]


async def test_a_submission_that_has_ended_needs_no_webhook() -> None:
    """In sync mode the answer is the end: nothing is expected after it."""
    client, bench = client_of(reply("completed"))
    async with client:
        assert (await client.submit(REQUEST, webhook=HOOK)).status is Status.COMPLETED
        assert (await client.run(REQUEST, webhook=HOOK)).status is Status.COMPLETED
        assert client.limiter.running == 0
        assert not client._stack.poller._arrivals.expects(ID)
    assert bench.api.methods == ["POST", "POST"]


@pytest.mark.parametrize("known", [False, True])
async def test_whoever_lacks_a_slot_asks_late_for_what_a_webhook_is_to_tell(known: bool) -> None:
    """It is asked for when its webhook is late, and then at ages that double."""
    limits = Limits(concurrency=1)
    client, bench = client_of(reply("created"), reply("processing"), limits=limits)
    if known:
        client.poll_rule.arrivals(MODEL).learn(4.0, 4.0, None)
    async with client:
        await client.submit(REQUEST, webhook=HOOK)
        with anyio.move_on_after(200):
            await client.submit(FluxDev(prompt="another"), webhook=HOOK)
    first, *later = bench.api.times[1:]
    assert first == pytest.approx(12.8 if known else 30.0, abs=0.2)
    assert [at / before for before, at in pairwise([first, *later])] == [
        pytest.approx(2.0, abs=0.05) for _ in later
    ]
    assert len(later) >= 2


# --- the poll that makes up for a lost webhook ----------------------------------------------------


async def test_a_lost_webhook_costs_one_late_poll() -> None:
    """Once it is known how long webhooks take, the poll comes when nearly all have come."""
    bench = Bench(reply("created"))
    for _ in range(20):
        await run_and_hear(bench, 5.0, told())
    before = bench.poller.rule.lost
    bench.api.steps = [reply("created"), reply()]
    started = anyio.current_time()
    assert (await run(bench)).status is Status.COMPLETED
    assert bench.api.methods == ["POST"] * 21 + ["GET"]
    assert 5.0 < anyio.current_time() - started < 15.0
    assert bench.poller.rule.lost > before
    assert bench.limiter.running == 0


async def test_with_nothing_known_the_first_poll_comes_after_half_a_minute() -> None:
    """Silence may be a slow model: the oldest alone is asked for."""
    bench = Bench(reply("created"), reply())
    assert (await run(bench)).status is Status.COMPLETED
    assert bench.api.times == [0.0, pytest.approx(30.0, abs=0.01)]


async def test_what_still_runs_is_polled_more_and_more_seldom() -> None:
    """After the first poll the age at which it is polled doubles at least."""
    bench = Bench(reply("created"))
    await run_and_hear(bench, 5.0, told())
    bench.api.steps, bench.api.times = [reply("created"), reply("processing")], []
    with anyio.move_on_after(300):
        await run(bench)
    started, *polls = bench.api.times
    ages = [at - started for at in polls]
    assert 2 <= len(ages) <= 8
    assert all(age >= 1.4 * before for before, age in pairwise(ages))
    assert all(age <= 2.1 * before for before, age in pairwise(ages))


async def test_a_webhook_that_comes_after_the_poll_was_not_lost() -> None:
    """The share of lost ones falls again, and the age at which webhooks come is learned."""
    bench = Bench(reply("created"), reply())
    await run(bench)
    missing = bench.poller.rule.lost
    await anyio.sleep(10.0)
    assert not bench.poller.hear(told())
    assert bench.poller.rule.lost < missing
    assert bench.poller.rule.arrivals(MODEL).seconds == [pytest.approx(40.0, abs=0.1)]
    assert not bench.poller.hear(told())
    assert len(bench.poller.rule.arrivals(MODEL).seconds) == 1


async def test_webhooks_that_are_always_late_are_waited_for() -> None:
    """Polls that were too early teach when webhooks come: after a few pictures none is made."""
    bench = Bench(reply("created"))
    for _ in range(10):
        bench.poller.rule.record(MODEL).learn(2.0, 2.0, None)  # what was learned by polls alone
    polls = []
    for _ in range(12):
        bench.api.steps = [reply("created"), reply()]
        before = len(bench.told(PredictionPolled))
        async with anyio.create_task_group() as group:

            async def call() -> None:
                await anyio.sleep(20.0)
                bench.poller.hear(told())

            group.start_soon(call)
            await run(bench)
        polls.append(len(bench.told(PredictionPolled)) - before)
    assert polls[0] == 1
    assert sum(polls[-6:]) == 0


async def test_a_deadline_is_not_missed_for_want_of_a_webhook() -> None:
    """Before the deadline a prediction is polled once more, however early that is."""
    bench = Bench(reply("created"), reply())
    assert (await run(bench, timeout=10.0)).status is Status.COMPLETED
    assert anyio.current_time() == pytest.approx(9.5, abs=0.01)


async def test_a_poll_that_fails_is_made_again() -> None:
    """A safety poll is borne as any other."""
    bench = Bench(reply("created"), page(502), reply())
    assert (await run(bench)).status is Status.COMPLETED
    assert bench.api.methods == ["POST", "GET", "GET"]


async def test_a_model_that_is_renamed_keeps_its_webhook() -> None:
    """Found running under another name, a prediction goes on by that model's webhooks."""
    bench = Bench(reply("created"), reply("processing", model="m/other"))
    async with anyio.create_task_group() as group:

        async def call() -> None:
            await anyio.sleep(40.0)
            bench.poller.hear(told(model="m/other"))

        group.start_soon(call)
        await run(bench)
    rule = bench.poller.rule
    assert rule.arrivals("m/other").seconds == [pytest.approx(40.0, abs=0.1)]
    assert rule.arrivals(MODEL).seconds == []


async def test_what_was_learned_of_webhooks_can_be_kept() -> None:
    """A snapshot has it, and one of before that has not is taken too."""
    bench = Bench(reply("created"))
    await run_and_hear(bench, 5.0, told())
    rule, other = bench.poller.rule, Bench(reply()).poller.rule
    other.restore(rule.snapshot())
    assert other.snapshot() == rule.snapshot()
    assert other.lost == rule.lost < 0.05
    older = rule.snapshot()
    del older["arrivals"], older["webhooks"]
    fresh = Bench(reply()).poller.rule
    fresh.restore(older)
    assert fresh.lost == pytest.approx(0.05)


# --- the client's entries -------------------------------------------------------------------------

WRONG_URLS = [
    "app.test/hook",
    "ftp://app.test/hook",
    "https://",
    "https:///hook",
    "https://app.test:99999/",
    "https://app.test:0/",
    "https://app.test/a b",
    "https://app.test/a\n",
    "https://[::1/",
    "https://app.test/" + "a" * 2048,
    "",
    17,
]


@pytest.mark.parametrize("url", WRONG_URLS, ids=repr)
async def test_a_url_that_cannot_be_called_is_refused(url: Any) -> None:
    """Before anything is sent, by every way to name one."""
    client, bench = client_of(reply())
    async with client:
        for ask in (
            lambda: client.run(REQUEST, webhook=url),
            lambda: client.submit(REQUEST, webhook=url),
            lambda: client.run_all([REQUEST], webhook=url),
        ):
            with pytest.raises(InvalidRequestError) as caught:
                await ask()
            assert caught.value.field == "webhook"
            assert caught.value.allowed == "an http(s) URL of at most 2048 characters"
        with pytest.raises(InvalidRequestError):
            client.batch([REQUEST], webhook=url)
        with pytest.raises(InvalidRequestError):
            client.with_options(webhook=url)
    assert bench.api.requests == []


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("ftp://me:s3cret@app.test/hook?token=s3cret#s3cret", "ftp://app.test/hook?…"),
        ("me:s3cret@app.test", "app.test"),
        ("https://me:s3cret@/hook", "https:///hook"),
    ],
)
async def test_a_refusal_tells_no_secret(url: str, shown: str) -> None:
    """The value is shown without its query, and without who logs in."""
    client, _ = client_of(reply())
    async with client:
        with pytest.raises(InvalidRequestError) as caught:
            await client.run(REQUEST, webhook=url)
    assert caught.value.value == shown
    assert "s3cret" not in str(caught.value)


async def test_a_client_may_have_a_webhook_of_its_own() -> None:
    """With `with_options` the methods of the models use it too, and its repr does not show it."""
    client, bench = client_of(reply())
    async with client:
        called = client.with_options(webhook=HOOK)
        await called.flux_dev(prompt="p")
        await called.with_options(priority=1).flux_dev(prompt="p")
        await client.flux_dev(prompt="p")
        assert "s3cret" not in repr(called._defaults)
    hooks = [request.url.params.get("webhook") for request in bench.api.requests]
    assert hooks == [HOOK, HOOK, None]


async def test_only_predictions_arrive() -> None:
    """Anything else is refused, by a clear error."""
    client, _ = client_of(reply())
    async with client:
        wrong: Any = {"id": ID}
        with pytest.raises(InvalidRequestError, match="arrive: prediction"):
            client.arrive(wrong)


async def test_webhooks_do_not_arrive_in_threads() -> None:
    """A thread is told what to call instead."""
    client, _ = client_of(reply())
    async with client:
        with pytest.raises(ConfigurationError, match=r"from_thread\.run_sync"):
            await anyio.to_thread.run_sync(client.arrive, told())
        await anyio.to_thread.run_sync(anyio.from_thread.run_sync, client.arrive, told())


def test_who_waited_in_a_loop_that_has_ended_waits_no_longer() -> None:
    """A call in the next loop finds nobody, and nothing is left of the waits before."""
    limiter = Limiter(Limits())

    async def first() -> None:
        client, _ = client_of(reply("created"), limiter=limiter)
        with anyio.move_on_after(1.0):
            await client.run(REQUEST, webhook=HOOK)
        client._stack.poller._watches[OTHER] = []  # as a loop that was torn down leaves it

    async def second() -> None:
        client, _ = client_of(reply("created"), limiter=limiter)
        async with client:
            assert not client.arrive(told())
            assert client._stack.poller._watches == {}

    for main in (first, second):
        name, options = virtual_backend("asyncio")
        anyio.run(main, backend=name, backend_options=options)


# --- between workers ------------------------------------------------------------------------------


class Carried:
    """Be deliveries that only note what they are asked."""

    def __init__(self, failure: DeliveryError | None = None) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.failure = failure

    def attach(self, awaiter: Awaiter) -> None:
        self.asked.append(("attach", awaiter))

    def detach(self, awaiter: Awaiter) -> None:
        self.asked.append(("detach", awaiter))

    def look_for(self, prediction_id: str) -> None:
        self.asked.append(("look_for", prediction_id))

    def post(self, prediction: Prediction) -> None:
        self.asked.append(("post", prediction.id))

    async def publish(self, prediction: Prediction) -> None:
        self.asked.append(("publish", prediction.id))
        if self.failure is not None:
            raise self.failure


def signed(prediction: Prediction) -> tuple[bytes, dict[str, str]]:
    body = json.dumps(prediction.raw).encode()
    return body, signed_headers(SECRET, "msg_1", time.time(), body)


async def test_what_nobody_here_waits_for_is_carried_to_the_other_workers() -> None:
    """`receive` carries it before it returns, `arrive` soon; what runs is not carried at all."""
    carried = Carried()
    client, _ = client_of(reply("created"), deliveries=carried)
    async with client:
        assert (await client.receive(*signed(told()), SECRET)).id == ID
        assert not client.arrive(told(prediction_id=OTHER))
        await client.receive(*signed(told("processing")), SECRET)
        client.arrive(told("processing"))
        with pytest.raises(WebhookVerificationError):
            await client.receive(b"{}", {}, SECRET)
    poller = client._stack.poller
    assert carried.asked == [
        ("attach", poller),
        ("publish", ID),
        ("post", OTHER),
        ("detach", poller),
    ]


async def test_what_was_submitted_is_looked_for_and_what_is_awaited_here_is_posted() -> None:
    """The call may have reached another worker before the id was known here."""
    carried = Carried(failure=DeliveryError("Redis is away"))
    client, _ = client_of(reply("created"), deliveries=carried)
    async with client, anyio.create_task_group() as group:
        group.start_soon(partial(client.run, REQUEST, webhook=HOOK))
        await anyio.sleep(1.0)
        poller = client._stack.poller
        assert poller.awaits(ID)
        assert poller.awaited == (ID,)
        await client.receive(*signed(told()), SECRET)
        await anyio.sleep(0.1)
        assert not poller.awaits(ID)
        with pytest.raises(DeliveryError):
            await client.receive(*signed(told()), SECRET)
    assert carried.asked[1:4] == [("look_for", ID), ("post", ID), ("publish", ID)]


# --- over real sockets ----------------------------------------------------------------------------

SCALED = Limits(requests=1000, per=3.0, min_poll_interval=0.02)


@asynccontextmanager
async def called(limits: Limits = SCALED, **settings: Any) -> AsyncGenerator[Any]:
    """Hand out an emulator, a client of it, whom it calls, and what the client saw."""
    settings = {"latency": 0.1, "pictures": False, "webhook_pause": 0.02, **settings}
    seen: list[Any] = []
    emulator = Emulator(requests=1000, per=3.0, **settings)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(emulator)
        client = AsyncWaveSpeed(
            "key", base_url=emulator.url, limiter=Limiter(limits), observe=seen.append
        )
        await stack.enter_async_context(client)
        hooked = await stack.enter_async_context(hook(client, emulator.settings.webhook_secret))
        yield emulator, client, hooked, seen


@real_loops
async def test_a_batch_is_one_request_a_picture() -> None:
    """Without faults no poll is made, and every picture is there."""
    unhurried = evolve(SCALED, min_poll_interval=30.0)  # so that no busy machine is late
    async with called(limits=unhurried) as (emulator, client, hooked, _):
        requests = [FluxDev(prompt=str(number)) for number in range(50)]
        outcomes = await client.run_all(requests, webhook=hooked.url)
        assert all(outcome.unwrap().outputs for outcome in outcomes)
        assert [request.kind for request in emulator.requests] == ["submit"] * 50
        assert client.limiter.running == 0


@real_loops
async def test_a_batch_with_every_fault_of_webhooks() -> None:
    """Each picture is made once and told, whatever befalls the calls; forged ones are refused."""
    seed = random.randrange(1000)
    sys.stdout.write(f"seed {seed}\n")
    rate = 0.1
    faults = Faults(
        seed=seed,
        lost_webhook=rate,
        duplicate_webhook=rate,
        forged_webhook=rate,
        late_webhook=rate,
        stale_webhook=rate,
        lateness=0.5,
    )
    async with called(faults=faults) as (emulator, client, hooked, seen):
        hooked.answers = ["503 Service Unavailable"] * 5  # taken by the second try
        requests = [FluxDev(prompt=str(number)) for number in range(100)]
        outcomes = await client.run_all(requests, webhook=hooked.url)
        assert [outcome.unwrap().status for outcome in outcomes] == [Status.COMPLETED] * 100
        prompts = [prediction.fields["prompt"] for prediction in emulator.predictions]
        assert sorted(prompts) == sorted(str(number) for number in range(100))
        lost = sum(call.fault == "lost-webhook" for call in emulator.webhooks)
        polls = sum(isinstance(event, PredictionPolled) for event in seen)
        assert lost <= polls <= len(emulator.requests) - 100  # some were overtaken by their webhook
        assert emulator.refused == 0
        assert client.limiter.running == 0
        assert {type(error) for error in hooked.refused} <= {WebhookVerificationError}
        shown = " ".join(repr(event) for event in seen)
        assert "s3cret" not in shown


@real_loops
async def test_a_batch_with_a_journal_finds_what_was_told_while_nobody_listened(
    tmp_path: Any,
) -> None:
    """What ended between two runs is polled, is paid once, and the rest is called again."""
    requests = [FluxDev(prompt=str(number)) for number in range(4)]
    async with called(latency=0.4, latency_cv=0.0) as (emulator, client, hooked, _):
        batch = partial(client.batch, requests, journal=tmp_path / "j.sqlite")
        async with batch(webhook=hooked.url) as outcomes:
            while len(outcomes.running) < 4:  # noqa: ASYNC110 (nobody tells)
                await anyio.sleep(0.01)
        made = {prediction.id for prediction in emulator.predictions}
        await hooked.until(4)  # they are told to a client that is thrown away
        other = AsyncWaveSpeed("key", base_url=emulator.url, limiter=Limiter(SCALED))
        async with other:
            again = await other.run_all(requests, journal=tmp_path / "j.sqlite", webhook=hooked.url)
        assert {outcome.unwrap().id for outcome in again} == made
        assert len(emulator.predictions) == 4
