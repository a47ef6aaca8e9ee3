"""The catalogue: asked for once for all, and what it says of raw requests before they are sent."""

from __future__ import annotations

import json
import logging
import pickle
from typing import TYPE_CHECKING, Any, Literal

import anyio
import anyio.lowlevel
import httpx
import pytest

from tests.generated import model_of
from tests.virtual import running
from tests.wire import Api, Flood, Reply, real_loops, refusal, reply
from wavespeed_async import (
    APIConnectionError,
    APIResponseError,
    AsyncWaveSpeed,
    AuthenticationError,
    FluxDev,
    InvalidRequestError,
    Limiter,
    Limits,
    Model,
    RawRequest,
    RequestUnchecked,
)
from wavespeed_async._catalogue import HOUR, LARGEST, RESPITE, decode_models
from wavespeed_async.testing import virtual_backend

if TYPE_CHECKING:
    from wavespeed_async._events import Event
    from wavespeed_async.emulator import Emulator

ULTRA_FAST = "wavespeed-ai/flux-dev-ultra-fast"
ENTRY: dict[str, Any] = {
    "model_id": "a/b",
    "name": "A B",
    "description": "Pictures of cats",
    "type": "text-to-image",
    "base_price": 0.5,
    "api_schema": {
        "api_schemas": [
            {"type": "other", "api_path": "/x"},
            {
                "type": "model_run",
                "api_path": "/api/v3/a/b",
                "request_schema": {"properties": {"prompt": {"type": "string"}}},
            },
        ]
    },
}


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Run each test under both, on a clock that jumps."""
    return virtual_backend(request.param)


def answer(*entries: Any) -> Reply:
    """Answer with a catalogue."""
    return Reply({"code": 200, "message": "success", "data": list(entries)})


def client_of(*steps: Any, events: list[Event] | None = None, **more: Any) -> Any:
    """Make a client of a scripted API, and hand it out with that."""
    api = Api(*steps)
    observe = None if events is None else events.append
    more.setdefault("limiter", Limiter(Limits()))
    client = AsyncWaveSpeed(
        "a-key",
        base_url="https://api.test",
        transport=httpx.MockTransport(api),
        observe=observe,
        **more,
    )
    return client, api


def asked(emulator: Emulator, path: str = "/api/v3/models") -> int:
    """Count the requests of a path that the emulator saw."""
    return sum(record.path == path for record in emulator.requests)


def unchecked(events: list[Event]) -> list[str]:
    """Answer why requests went without a check."""
    return [event.reason for event in events if isinstance(event, RequestUnchecked)]


# --- the list ------------------------------------------------------------------------------------


async def test_models_are_listed_and_typed() -> None:
    """`models()` tells what the API says of each model, schema and all."""
    async with running() as (client, _):
        models = {model.id: model for model in await client.models()}
    flux = models[ULTRA_FAST]
    assert (flux.name, flux.type, flux.base_price) == (ULTRA_FAST, "text-to-image", 0.005)
    assert flux.api_path == f"/api/v3/{ULTRA_FAST}"
    assert flux.request_schema["properties"]["size"]["default"] == "1024*1024"
    assert flux.matches("ULTRA fast dev")
    assert not flux.matches("fast elephants")
    again = pickle.loads(pickle.dumps(flux))  # noqa: S301 (made here)
    assert again == flux
    assert hash(again) == hash(flux)
    assert again.request_schema == flux.request_schema
    flux.check({"prompt": "a"})
    with pytest.raises(InvalidRequestError, match="did you mean prompt"):
        flux.check({"promt": "a"})


async def test_an_answer_serves_for_as_long_as_it_may() -> None:
    """`max_age` takes an earlier answer until that is too old; without it each call asks."""
    async with running() as (client, emulator):
        for _ in range(2):
            await client.models(max_age=HOUR)
        assert asked(emulator) == 1
        await anyio.sleep(HOUR + 1)
        await client.models(max_age=HOUR)
        assert asked(emulator) == 2
        await client.models()
        assert asked(emulator) == 3


async def test_those_who_ask_at_once_share_one_answer() -> None:
    """A crowd that asks at the same time makes one request, and who is cancelled stops nobody."""
    client, api = client_of(Reply({"code": 200, "data": [ENTRY]}, after=5.0))
    found: list[tuple[Model, ...]] = []

    async def ask() -> None:
        found.append(await client.models())

    async with client, anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(ask)
    assert len(api.requests) == 1
    assert len(set(found)) == 1

    client, api = client_of(Reply({"code": 200, "data": [ENTRY]}, after=5.0))
    async with client, anyio.create_task_group() as group:
        with anyio.move_on_after(1.0):
            group.start_soon(ask)
            await client.models()
    assert [model.id for model in found[-1]] == ["a/b"]
    assert len(api.requests) <= 2


async def test_the_list_must_come_in_time() -> None:
    """A catalogue that does not come within the timeout is an error that says so."""
    client, _ = client_of(Reply({"code": 200, "data": []}, after=20.0))
    async with client:
        with pytest.raises(APIConnectionError, match="in time"):
            await client.models(timeout=3.0)


def test_entries_are_read_as_far_as_they_go() -> None:
    """What only decorates a model may be missing or wrong; what has no usable id is no model."""
    (full,) = decode_models([ENTRY])
    assert (full.api_path, full.base_price) == ("/api/v3/a/b", 0.5)
    odd = {"model_id": "c/d", "name": 5, "base_price": "x", "type": None, "api_schema": []}
    wrong: list[Any] = [None, {}, [5], [{"type": "other"}], [{"request_schema": "x"}]]
    shapes = [{**odd, "api_schema": {"api_schemas": found}} for found in wrong]
    for entry in [odd, *shapes]:
        (model,) = decode_models([entry, {"model_id": "../d"}, {"name": "x"}, 5, None])
        assert model == Model(id="c/d")
        assert model.request_schema == {}
    (untyped,) = decode_models(
        [{"model_id": "c/d", "api_schema": {"api_schemas": [{"api_path": "/p"}]}}]
    )
    assert untyped.api_path == "/p"
    for price in (float("nan"), -1, True):
        assert decode_models([{**odd, "base_price": price}])[0].base_price is None
    assert decode_models([]) == ()
    with pytest.raises(APIResponseError, match="no entry"):
        decode_models([{"id": "a"}])


def test_a_schema_that_cannot_be_walked_says_nothing() -> None:
    """A schema nested beyond reason is as good as none."""
    deep: Any = {}
    for _ in range(400):
        deep = {"items": deep}
    assert model_of(deep).request_schema == {}


# --- checks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"prompt": "a", "sead": 1}, "sead", "did you mean seed?"),
        ({"prompt": "a", "num_images": 5}, "num_images", "a whole number from 1 to 4"),
        ({"prompt": "a", "output_format": "gif"}, "output_format", "one of jpeg, png, webp"),
        ({"prompt": "a", "size": "9*9"}, "size", "sides from 256 to 1536"),
        ({"size": "512*512"}, "prompt", "it is required"),
    ],
)
async def test_a_raw_request_is_checked_before_it_is_sent(
    fields: dict[str, Any], field: str, words: str
) -> None:
    """What the model would drop or refuse never leaves: run, submit, price and check refuse it."""
    request = RawRequest(ULTRA_FAST, fields)
    async with running() as (client, emulator):
        for call in (client.run, client.submit, client.price, client.check):
            with pytest.raises(InvalidRequestError) as caught:
                await call(request)
            assert caught.value.field == field
            assert words in str(caught.value)
        with pytest.raises(InvalidRequestError):
            await client.run(ULTRA_FAST, **fields)
        assert {record.path for record in emulator.requests} == {"/api/v3/models"}
        assert len(emulator.requests) == 1


async def test_a_batch_asks_once() -> None:
    """A batch of raw requests asks for the catalogue once; the misspelt ones fail, unsent."""
    good = [RawRequest(ULTRA_FAST, {"prompt": str(n)}) for n in range(30)]
    bad = [RawRequest(ULTRA_FAST, {"promt": str(n)}) for n in range(5)]
    async with running() as (client, emulator):
        outcomes = await client.run_all([*good, *bad])
    assert [outcome.error is None for outcome in outcomes] == [True] * 30 + [False] * 5
    assert all(isinstance(outcome.error, InvalidRequestError) for outcome in outcomes[30:])
    assert (asked(emulator), len(emulator.predictions)) == (1, 30)


async def test_typed_requests_ask_for_nothing() -> None:
    """Requests of the package's own classes were checked when they were made."""
    async with running() as (client, emulator):
        await client.run(FluxDev(prompt="a"))
        await client.check(FluxDev())
    assert asked(emulator) == 0


async def test_the_check_can_be_switched_off() -> None:
    """With `check_raw=False` nothing is asked for and nothing refused."""
    request = RawRequest(ULTRA_FAST, {"promt": "a"})
    async with running(client={"check_raw": False}) as (client, emulator):
        await client.run(request)
        await client.price(request)
        with pytest.raises(InvalidRequestError):
            await client.with_options(check_raw=True).run(request)
        assert (asked(emulator), len(emulator.predictions)) == (1, 1)


async def test_the_catalogue_counts_in_the_limiter() -> None:
    """The request for the catalogue is one of those that the account may make."""
    limiter = Limiter(Limits(requests=2, per=60.0))
    async with running(limiter, requests=2) as (client, emulator):
        start = anyio.current_time()
        await client.run(ULTRA_FAST, prompt="a")
        assert anyio.current_time() - start >= 60.0
        assert emulator.refused == 0


@pytest.mark.parametrize(
    ("entry", "request_", "reason"),
    [
        (ENTRY, RawRequest("x/y", {"promt": 1}), "the catalogue has no such model"),
        (
            {"model_id": "a/b"},
            RawRequest("a/b", {"promt": 1}),
            "the catalogue does not tell what the model takes",
        ),
        (
            ENTRY,
            RawRequest("a/b", {"promt": 1}, version="v2"),
            "the catalogue tells of /api/v3/a/b only",
        ),
    ],
)
async def test_what_the_catalogue_does_not_tell_goes_unchecked(
    entry: Any, request_: RawRequest, reason: str
) -> None:
    """Without a schema for it a request goes as it is, and an event says why."""
    events: list[Event] = []
    client, api = client_of(answer(entry), reply(), events=events)
    async with client:
        await client.run(request_)
    assert unchecked(events) == [reason]
    assert json.loads(api.requests[1].content) == {"promt": 1}


FAILURES = [
    (refusal(503), 2),
    (refusal(429), 2),
    (refusal(401), 1),
    (refusal(404), 1),
    (Reply("<html>Bad gateway</html>", status=502), 2),
    (Reply("garbage"), 2),
    (Reply('{"code": 200, "data": {}}'), 2),
    (Reply('{"code": 200, "data": [5]}'), 2),
    (Reply('{"code": 200}'), 2),
    (Reply("[" * 100_000), 2),
    (httpx.ConnectError("refused"), 2),
    (httpx.ReadTimeout(""), 2),
]
"""What may come instead of the catalogue, and how many times a check asks then."""


@pytest.mark.parametrize(("failure", "tries"), FAILURES, ids=lambda one: str(one)[:40])
async def test_without_a_catalogue_requests_go_unchecked(
    failure: Any, tries: int, caplog: pytest.LogCaptureFixture
) -> None:
    """If the catalogue cannot be had nothing is held up: an event and one warning say so."""
    events: list[Event] = []
    client, api = client_of(*[failure] * tries, reply(), events=events)
    async with client:
        with caplog.at_level(logging.WARNING, "wavespeed_async"):
            for _ in range(3):
                await client.run(RawRequest("a/b", {"promt": 1}))
        assert len(caplog.records) == 1
        assert api.paths.count("/api/v3/models") == tries
        assert all(one.startswith("the catalogue cannot be had: ") for one in unchecked(events))
        assert len(unchecked(events)) == 3
        await anyio.sleep(RESPITE)
        await client.check(RawRequest("a/b", {}))
        assert api.paths.count("/api/v3/models") == tries + 2


async def test_what_cannot_be_had_is_an_error_for_those_who_ask_for_it() -> None:
    """`models()` raises what went wrong, after its own tries, whatever a check met before."""
    client, api = client_of(refusal(503), refusal(503), refusal(503), answer(ENTRY))
    async with client:
        await client.check(RawRequest("a/b", {}))
        assert [model.id for model in await client.models()] == ["a/b"]
        assert len(api.requests) == 4
    client, _ = client_of(refusal(401))
    async with client:
        with pytest.raises(AuthenticationError):
            await client.models()


async def test_a_short_form_runs_any_model() -> None:
    """A model's id and its fields are a request: typed where there is a class, else raw."""
    async with running() as (client, emulator):
        one = await client.run(ULTRA_FAST, prompt="a", seed=3)
        two = await client.run("flux-dev", prompt="b", timeout=100.0)
        three = await client.submit(ULTRA_FAST, prompt="c")
        assert one.request == RawRequest(ULTRA_FAST, {"prompt": "a", "seed": 3})
        assert isinstance(two.request, FluxDev)
        await client.wait(three)
        assert len(emulator.predictions) == 3
        with pytest.raises(InvalidRequestError, match=r"did you mean prompt\?"):
            await client.run("flux-dev", promt="a")
        with pytest.raises(InvalidRequestError, match="'model', given as 'x'"):
            await client.run("flux-dev", model="x")
        with pytest.raises(TypeError, match="one too many: prompt"):
            await client.run(FluxDev(), prompt="a")  # type: ignore[call-overload]  # the point


def test_a_client_asks_again_in_another_event_loop() -> None:
    """What an event loop left behind when it ended does not stop the next one."""
    client, api = client_of(Reply({"code": 200, "data": [ENTRY]}, after=60.0), answer(ENTRY))

    async def leave() -> None:
        with anyio.move_on_after(1.0):
            await client.models()

    anyio.run(leave, **_options("asyncio"))
    found = anyio.run(client.models, **_options("trio"))
    assert [model.id for model in found] == ["a/b"]
    assert len(api.requests) == 2


def _options(name: Literal["asyncio", "trio"]) -> dict[str, Any]:
    backend, options = virtual_backend(name)
    return {"backend": backend, "backend_options": options}


@real_loops
async def test_an_endless_catalogue_is_cut_off() -> None:
    """An answer without end is refused at its bound, and no more of it is kept."""
    flood = Flood(2**20)
    client, _ = client_of(flood, max_retries=0)
    async with client:
        with pytest.raises(APIResponseError, match=f"larger than {LARGEST} bytes"):
            await client.models()
    assert flood.sent <= LARGEST + 2 * flood.part
