"""The client as applications use it, against the emulator on a clock that jumps."""

from __future__ import annotations

import gc
import inspect
import logging
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import httpx
import pytest

from tests.virtual import URL, make_client, make_emulator, real_clock, running
from wavespeed_async import (
    APIConnectionError,
    AsyncWaveSpeed,
    ConfigurationError,
    Event,
    FluxDev,
    FluxDevLora,
    FluxFillDev,
    FluxKontextDevMulti,
    FluxReduxDev,
    InvalidRequestError,
    Limiter,
    LimiterTimeoutError,
    Limits,
    NotFoundError,
    Prediction,
    PredictionEnded,
    PredictionLeft,
    PredictionPolled,
    PredictionSubmitted,
    PredictionTimeoutError,
    RawRequest,
    Status,
)
from wavespeed_async.testing import virtual_backend

if TYPE_CHECKING:
    from pathlib import Path

PICTURE = "https://example.com/room.png"
METHODS: dict[str, Any] = {
    "flux_dev": FluxDev,
    "flux_dev_lora": FluxDevLora,
    "flux_redux": FluxReduxDev,
    "flux_fill": FluxFillDev,
    "flux_kontext_multi": FluxKontextDevMulti,
}
FIELDS: dict[str, dict[str, Any]] = {
    "flux_dev": {"prompt": "a lighthouse"},
    "flux_dev_lora": {"prompt": "a lighthouse", "enable_base64_output": False},
    "flux_redux": {"image": PICTURE},
    "flux_fill": {"image": PICTURE, "mask_image": PICTURE, "prompt": "a scarf"},
    "flux_kontext_multi": {"prompt": "both", "images": [PICTURE, PICTURE]},
}


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_backend(request.param)


@pytest.fixture
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAVESPEED_API_KEY", raising=False)
    monkeypatch.delenv("WAVESPEED_BASE_URL", raising=False)


# --- how it is made ------------------------------------------------------------------------------


@pytest.mark.usefixtures("_no_environment")
@pytest.mark.parametrize("key", [None, "", "  "])
def test_missing_key_names_the_variable(key: str | None) -> None:
    """Without a key the error says which variable to set."""
    with pytest.raises(ConfigurationError, match="WAVESPEED_API_KEY"):
        AsyncWaveSpeed(key)


@pytest.mark.parametrize("key", ["clé", "line\nbreak", "nul\0"])
def test_impossible_key_is_refused_without_being_shown(key: str) -> None:
    """A key that no header can carry is refused, and the error does not show it."""
    with pytest.raises(ConfigurationError) as caught:
        AsyncWaveSpeed(key)
    assert key not in str(caught.value)


@pytest.mark.usefixtures("_no_environment")
def test_environment_gives_key_and_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Key and address come from the environment where they are not given."""
    monkeypatch.setenv("WAVESPEED_API_KEY", "from-the-environment\n")
    monkeypatch.setenv("WAVESPEED_BASE_URL", "https://gateway.test/api/v2/")
    assert "https://gateway.test," in repr(AsyncWaveSpeed())


def test_repr_hides_the_key() -> None:
    """A client's repr says where it goes and how busy it is, and not its key."""
    text = repr(AsyncWaveSpeed("very-secret", base_url=URL, limiter=Limiter()))
    assert "very-secret" not in text
    assert URL in text


@pytest.mark.parametrize(
    "settings",
    [
        {"timeout": 0},
        {"timeout": float("nan")},
        {"timeout": float("inf")},
        {"timeout": True},
        {"timeout": "10"},
        {"max_retries": -1},
        {"max_retries": True},
        {"max_retries": 1.5},
        {"transport": "requests"},
        {"base_url": "ftp://files.test"},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any]) -> None:
    """A setting that cannot work is refused when the client is made, by its name."""
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        AsyncWaveSpeed("a-key", **settings)


def test_limits_beside_a_limiter_are_refused() -> None:
    """A limiter brings its own limits: others beside it are refused."""
    with pytest.raises(ConfigurationError, match="not both"):
        AsyncWaveSpeed("a-key", limiter=Limiter(), limits=Limits(requests=5))


def test_equal_limits_beside_a_limiter_are_fine() -> None:
    """Saying the limiter's own limits again is no contradiction."""
    limiter = Limiter()
    assert AsyncWaveSpeed("a-key", limiter=limiter, limits=Limits()).limiter is limiter


# --- who shares a limiter ------------------------------------------------------------------------


def test_clients_of_one_key_share_a_limiter() -> None:
    """Two clients of one account do not double its limits, whatever form the address has."""
    one = AsyncWaveSpeed("shared", base_url="https://one.test")
    two = AsyncWaveSpeed("shared", base_url="https://ONE.test/api/v3/")
    assert one.limiter is two.limiter


@pytest.mark.parametrize("other", [("other", "https://two.test"), ("shared", "https://three.test")])
def test_other_accounts_have_other_limiters(other: tuple[str, str]) -> None:
    """Another key, or another server, has limits of its own."""
    one = AsyncWaveSpeed("shared", base_url="https://two.test")
    assert AsyncWaveSpeed(other[0], base_url=other[1]).limiter is not one.limiter


async def test_open_clients_agree_on_limits() -> None:
    """While one client of an account is open, another one cannot have other limits."""
    one = AsyncWaveSpeed("agree", base_url=URL, limits=Limits(requests=60))
    with pytest.raises(ConfigurationError, match="one set of limits"):
        AsyncWaveSpeed("agree", base_url=URL, limits=Limits(requests=120))
    await one.aclose()
    assert AsyncWaveSpeed("agree", base_url=URL, limits=Limits(requests=90)).limiter is one.limiter
    assert one.limiter.limits.requests == 90


def test_limits_of_closed_clients_are_no_default() -> None:
    """A client without limits gets the documented ones, whatever an earlier client had."""
    AsyncWaveSpeed("earlier", base_url=URL, limits=Limits(requests=600))
    gc.collect()
    assert AsyncWaveSpeed("earlier", base_url=URL).limiter.limits == Limits()


def test_options_keep_the_account_in_use() -> None:
    """A client made by with_options fixes the account's limits as its parent does."""
    child = AsyncWaveSpeed("child", base_url=URL, limits=Limits(requests=60)).with_options()
    gc.collect()
    with pytest.raises(ConfigurationError, match="one set of limits"):
        AsyncWaveSpeed("child", base_url=URL, limits=Limits(requests=120))
    assert child.limiter.limits.requests == 60


def test_limits_are_of_an_origin() -> None:
    """Two paths of one server and one key share a limiter."""
    one = AsyncWaveSpeed("origin", base_url="https://gateway.test/eu")
    assert AsyncWaveSpeed("origin", base_url="https://gateway.test").limiter is one.limiter


def test_forgotten_client_holds_no_limits() -> None:
    """A client that was dropped without being closed no longer fixes the account's limits."""
    AsyncWaveSpeed("dropped", base_url=URL, limits=Limits(requests=60))
    gc.collect()
    other = AsyncWaveSpeed("dropped", base_url=URL, limits=Limits(requests=30))
    assert other.limiter.limits.requests == 30


async def test_a_second_client_does_not_double_the_limit() -> None:
    """Clients one after the other keep one window: the strict server refuses nothing."""
    emulator = make_emulator(latency=0.5, requests=30)
    for _ in range(3):
        transport = httpx.ASGITransport(emulator.app)
        async with AsyncWaveSpeed(
            "in-turn", base_url=URL, transport=transport, limits=Limits(requests=30)
        ) as client:
            outcomes = await client.run_all(FluxDev(prompt=f"{n}") for n in range(20))
        assert all(outcome.error is None for outcome in outcomes)
    assert emulator.refused == 0
    assert len(emulator.predictions) == 60


# --- one request ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_method_has_its_models_signature(method: str) -> None:
    """A model's method shows exactly the fields of its request class, and its own name."""
    bound = getattr(AsyncWaveSpeed("a-key", limiter=Limiter()), method)
    expected = inspect.signature(METHODS[method]).parameters
    assert inspect.signature(bound).parameters == expected
    assert bound.__name__ == method
    assert METHODS[method].__name__ in bound.__doc__


@pytest.mark.parametrize("method", METHODS)
async def test_method_answers_a_finished_prediction(method: str) -> None:
    """Each model's method turns its fields into a completed prediction with outputs."""
    async with running() as (client, emulator):
        prediction = await getattr(client, method)(**FIELDS[method])
    assert prediction.status is Status.COMPLETED
    assert prediction.outputs
    assert prediction.model == METHODS[method].model
    assert len(emulator.predictions) == 1


async def test_bad_field_is_refused_before_anything_is_sent() -> None:
    """A value out of range never reaches the server."""
    async with running() as (client, emulator):
        with pytest.raises(InvalidRequestError, match="guidance_scale"):
            await client.flux_fill(image=PICTURE, mask_image=PICTURE, guidance_scale=99)
    assert not emulator.requests


async def test_unknown_keyword_is_pythons_own_error() -> None:
    """A misspelt keyword is a TypeError."""
    async with running() as (client, _):
        with pytest.raises(TypeError, match="promt"):
            await client.flux_dev(promt="x")  # type: ignore[call-arg]  # that is the point


async def test_what_is_no_request_is_refused() -> None:
    """Only requests can be run."""
    async with running() as (client, _):
        with pytest.raises(InvalidRequestError, match="request"):
            await client.run(5)  # type: ignore[call-overload]  # that is the point
        with pytest.raises(InvalidRequestError, match="model must be an id"):
            await client.run("a prompt")


async def test_open_seed_is_drawn_and_told() -> None:
    """A seed that is left open is drawn and sent, and the prediction tells it."""
    async with running() as (client, emulator):
        prediction = await client.flux_dev(prompt="x")
    assert isinstance(prediction.request, FluxDev)
    assert prediction.request.seed >= 0
    assert emulator.predictions[0].fields["seed"] == prediction.request.seed


async def test_seeds_can_be_left_to_the_server() -> None:
    """With choose_seeds off an open seed is sent as it is."""
    async with running(client={"choose_seeds": False}) as (client, emulator):
        await client.flux_dev(prompt="x")
    assert emulator.predictions[0].fields["seed"] == -1


async def test_raw_request_runs_any_model() -> None:
    """A model without a class runs with the fields that it is given."""
    async with running() as (client, emulator):
        request = RawRequest("wavespeed-ai/flux-dev-ultra-fast", {"prompt": "x", "seed": 7})
        prediction = await client.run(request)
    assert prediction.outputs
    assert emulator.predictions[0].fields == {"prompt": "x", "seed": 7}


async def test_timeout_leaves_an_id_that_resumes() -> None:
    """A call that runs out of time names a prediction that can be waited for again."""
    async with running(latency=30.0, latency_cv=0.0) as (client, emulator):
        began = anyio.current_time()
        with pytest.raises(PredictionTimeoutError) as caught:
            await client.run(FluxDev(prompt="x"), timeout=5)
        assert anyio.current_time() - began == pytest.approx(5, abs=0.01)
        assert caught.value.prediction_id is not None
        prediction = await client.wait(caught.value.prediction_id)
    assert prediction.status is Status.COMPLETED
    assert len(emulator.predictions) == 1


async def test_full_limits_time_out_without_sending() -> None:
    """A call whose turn does not come in time raises LimiterTimeoutError and sends nothing."""
    limiter = Limiter(Limits(concurrency=1))
    async with running(limiter, latency=30.0) as (client, emulator):
        await client.submit(FluxDev(prompt="first"))
        with pytest.raises(LimiterTimeoutError):
            await client.run(FluxDev(prompt="second"), timeout=2)
    assert len(emulator.predictions) == 1


async def test_a_silent_server_does_not_outlast_a_results_timeout() -> None:
    """Asking for a result ends with its timeout, by an error that names the prediction."""

    async def silent(_: httpx.Request) -> httpx.Response:
        await anyio.sleep(25)
        return httpx.Response(500)

    transport = httpx.MockTransport(silent)
    async with AsyncWaveSpeed("k", base_url=URL, transport=transport, limiter=Limiter()) as client:
        with pytest.raises(APIConnectionError) as caught:
            await client.result("0" * 32, timeout=1)
    assert anyio.current_time() == pytest.approx(1, abs=0.01)
    assert caught.value.prediction_id == "0" * 32


async def test_closing_one_client_does_not_hold_up_another() -> None:
    """Of two clients with one limiter, the open one gets its turn when the other was closed."""
    limiter = Limiter(Limits(concurrency=1))
    async with running(limiter, latency=10.0) as (client, emulator):
        other = make_client(emulator, limiter=limiter)
        failed: list[Exception] = []

        async def closed_meanwhile() -> None:
            try:
                await other.flux_dev(prompt="second")
            except ConfigurationError as error:
                failed.append(error)

        await other.submit(FluxDev(prompt="first"))
        async with anyio.create_task_group() as group:
            group.start_soon(closed_meanwhile)
            await anyio.sleep(0.5)
            await other.aclose()
            assert (await client.flux_dev(prompt="third")).outputs
        assert len(failed) == 1
    assert anyio.current_time() < 120


async def test_submit_result_wait() -> None:
    """A submitted prediction can be looked at while it runs, and waited for by its id."""
    async with running(latency=8.0, latency_cv=0.0) as (client, _):
        created = await client.submit(FluxDev(prompt="x"))
        assert created.status is Status.CREATED
        assert (await client.result(created)).status in {Status.CREATED, Status.PROCESSING}
        assert client.limiter.running_ids == (created.id,)
        finished = await client.wait(created.id)
        assert finished.outputs
        assert (await client.result(created.id)) == finished
        assert client.limiter.running == 0


async def test_a_submission_may_answer_finished() -> None:
    """In sync mode the submission's answer is the finished prediction, and its slot is free."""
    async with running() as (client, _):
        request = FluxKontextDevMulti(prompt="x", images=[PICTURE], enable_sync_mode=True)
        prediction = await client.submit(request)
        assert prediction.status is Status.COMPLETED
        assert client.limiter.running == 0


async def test_result_of_a_stranger_takes_a_slot_while_it_runs() -> None:
    """A prediction that another process made counts as running here, until it is seen to end."""
    async with running(latency=8.0, latency_cv=0.0) as (client, emulator):
        created = await client.submit(FluxDev(prompt="x"))
        async with make_client(emulator) as other:
            await other.result(created.id)
            assert other.limiter.running == 1
            await anyio.sleep(10)
            await other.result(created.id)
            assert other.limiter.running == 0


async def test_unknown_id_is_not_found() -> None:
    """An id that the API does not know is NotFoundError, carrying the id."""
    async with running() as (client, _):
        with pytest.raises(NotFoundError) as caught:
            await client.wait("0" * 32)
    assert caught.value.prediction_id == "0" * 32


@pytest.mark.parametrize("odd", ["", "../balance", 7, None])
async def test_odd_ids_are_refused(odd: Any) -> None:
    """What cannot be an id never becomes part of a path."""
    async with running() as (client, emulator):
        with pytest.raises(InvalidRequestError, match="id"):
            await client.wait(odd)
    assert not emulator.requests


@pytest.mark.parametrize("timeout", [0, -1, True])
async def test_odd_timeouts_are_refused(timeout: Any) -> None:
    """A timeout that is no time is refused before anything is sent."""
    async with running() as (client, emulator):
        with pytest.raises(ConfigurationError, match="timeout"):
            await client.run(FluxDev(prompt="x"), timeout=timeout)
    assert not emulator.requests


async def test_slots_of_predictions_that_nobody_waits_for_come_back() -> None:
    """Twenty predictions that were only submitted do not block the twenty-first for ever."""
    async with running(latency=5.0, latency_cv=0.3) as (client, emulator):
        for number in range(20):
            await client.submit(FluxDev(prompt=f"{number}"))
        prediction = await client.flux_dev(prompt="the next one")
    assert prediction.outputs
    assert emulator.refused == 0
    assert emulator.most_running == 20


async def test_gathered_calls_stay_inside_the_limits() -> None:
    """Two hundred calls at once all succeed, and the strict server refuses none."""
    async with running(latency=2.0) as (client, emulator):
        done: list[Prediction] = []

        async def call(number: int) -> None:
            done.append(await client.flux_dev(prompt=f"{number}"))

        async with anyio.create_task_group() as group:
            for number in range(200):
                group.start_soon(call, number)
    assert len({prediction.id for prediction in done}) == 200
    assert emulator.refused == 0
    assert emulator.most_requests_in_window <= 120
    assert emulator.most_running <= 20


async def test_cancelled_wait_leaves_the_prediction_running_and_tells() -> None:
    """Cancelling a call keeps its running prediction's slot, and the observer learns the id."""
    events: list[Event] = []
    async with running(latency=9.0, client={"observe": events.append}) as (client, _):
        with anyio.move_on_after(3):
            await client.flux_dev(prompt="x")
        left = [event for event in events if isinstance(event, PredictionLeft)]
        assert [event.prediction.id for event in left] == list(client.limiter.running_ids)
        assert len(left) == 1
        assert (await client.wait(left[0].prediction.id)).outputs


async def test_priority_goes_first() -> None:
    """A call of a client with a lower priority number is not stuck behind many others."""
    ends: list[str] = []
    async with running(Limiter(Limits(concurrency=1)), latency=1.0) as (client, _):
        visitor = client.with_options(priority=-1)

        async def call(by: AsyncWaveSpeed, name: str) -> None:
            await by.flux_dev(prompt=name)
            ends.append(name)

        async with anyio.create_task_group() as group:
            for number in range(10):
                group.start_soon(call, client, f"{number}")
            await anyio.sleep(0.5)
            group.start_soon(call, visitor, "visitor")
    assert ends.index("visitor") == 1


async def test_what_was_learned_can_be_handed_on() -> None:
    """A client tells how long models take, and another one, in another process say, knows it."""
    async with running(latency=7.0) as (client, _):
        await client.flux_dev(prompt="a")
        kept = client.poll_rule.snapshot()
        assert client.with_options().poll_rule is client.poll_rule
    async with running(latency=7.0) as (client, emulator):
        client.poll_rule.restore(kept)
        await client.flux_dev(prompt="a")
        polls = [request.at for request in emulator.requests if request.kind == "result"]
        assert polls[0] > 4.0


async def test_options_share_pool_and_limiter() -> None:
    """A client with other defaults shares the limiter and closes nothing."""
    async with running(latency=30.0, latency_cv=0.0) as (client, _):
        quick = client.with_options(timeout=2, choose_seeds=False)
        assert quick.limiter is client.limiter
        with pytest.raises(PredictionTimeoutError):
            await quick.flux_dev(prompt="x")
        await quick.aclose()
        assert (await client.flux_dev(prompt="y")).outputs
        with pytest.raises(ConfigurationError):
            client.with_options(timeout=-1)


async def test_closed_client_says_so() -> None:
    """A closed client raises ConfigurationError and sends nothing."""
    async with running() as (client, emulator):
        await client.aclose()
        with pytest.raises(ConfigurationError, match="closed"):
            await client.flux_dev(prompt="x")
        assert client.limiter.running == 0
        assert client.limiter.requests_used == 0
    assert not emulator.requests


async def test_events_tell_a_predictions_life() -> None:
    """The observer sees a prediction submitted, polled and ended, in that order."""
    events: list[Event] = []
    async with running(client={"observe": events.append}) as (client, _):
        await client.flux_dev(prompt="x")
    kinds = [type(event) for event in events if hasattr(event, "prediction")]
    assert kinds[0] is PredictionSubmitted
    assert kinds[-1] is PredictionEnded
    assert set(kinds[1:-1]) == {PredictionPolled}


async def test_observers_exceptions_stay_out_of_a_run(caplog: pytest.LogCaptureFixture) -> None:
    """What the observer raises is logged and changes nothing."""

    def observe(_: Event) -> None:
        raise RuntimeError

    with caplog.at_level(logging.ERROR, "wavespeed_async"):
        async with running(client={"observe": observe}) as (client, _):
            assert (await client.flux_dev(prompt="x")).outputs
    assert "observer" in caplog.text


async def test_window_survives_a_restart() -> None:
    """A limiter restored from a snapshot goes on within the limits at once."""
    emulator = make_emulator(latency=0.5, requests=30)
    limits = Limits(requests=30)
    first, second = Limiter(limits), Limiter(limits)
    async with make_client(emulator, limiter=first) as client:
        await client.run_all(FluxDev(prompt=f"{n}") for n in range(12))
    second.restore(first.snapshot())
    async with make_client(emulator, limiter=second) as client:
        await client.run_all(FluxDev(prompt=f"{n}") for n in range(12))
    assert emulator.refused == 0


def test_one_client_in_two_event_loops() -> None:
    """A client used again after its event loop ended gets a new pool and keeps its window."""
    clients: list[AsyncWaveSpeed] = []

    async def use() -> int:
        if not clients:
            clients.append(make_client(make_emulator(latency=0.5)))
        assert (await clients[0].flux_dev(prompt="x")).outputs
        return clients[0].limiter.requests_used

    used = []
    for _ in range(2):
        name, options = virtual_backend("asyncio")
        used.append(anyio.run(use, backend=name, backend_options=options))
    assert used[1] > used[0]


@real_clock
async def test_pictures_are_saved(tmp_path: Path) -> None:
    """Saving a finished prediction writes its pictures and answers their paths."""
    emulator = make_emulator(latency=0.05)
    limiter = Limiter(Limits(per=1, min_poll_interval=0.01))
    async with make_client(emulator, limiter=limiter) as client:
        prediction = await client.flux_dev_lora(prompt="x", num_images=2)
        paths = await client.save(prediction, tmp_path / "deep" / "folder")
    assert [path.name for path in paths] == [f"{prediction.id}-{n}.png" for n in (1, 2)]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


async def test_a_prediction_knows_its_request() -> None:
    """The request of a finished prediction makes the same picture again."""
    async with running() as (client, emulator):
        first = await client.flux_dev(prompt="x")
        assert first.request is not None
        await client.run(first.request)
    one, two = emulator.predictions
    assert one.fields == two.fields
    assert attrs.asdict(first)["request"]["prompt"] == "x"
