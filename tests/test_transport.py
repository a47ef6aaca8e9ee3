"""What goes over the wire, where the key goes, and what becomes of connections and event loops."""

from __future__ import annotations

import gc
import gzip
import logging
import pickle
import socket
import threading
import warnings
from contextlib import asynccontextmanager
from email.utils import formatdate
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx
import pytest
import respx

from tests.wire import (
    ID,
    KEY,
    PNG,
    URL,
    Api,
    Bench,
    Reply,
    cancel_after,
    named,
    page,
    raw_answer,
    raw_server,
    real_loops,
    real_wires,
    refusal,
    reply,
    reset,
)
from wavespeed_async import AsyncWaveSpeed, Limiter, Limits, Lora
from wavespeed_async._calls import Turn
from wavespeed_async._events import (
    LimiterPaused,
    PredictionSubmitted,
    RequestAnswered,
    RequestSent,
    SubmissionUnconfirmed,
)
from wavespeed_async._transport import Transport, Wire, _aiohttp, _pool, _sending, base_url_root
from wavespeed_async.emulator import Emulator
from wavespeed_async.errors import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
    AuthenticationError,
    ConfigurationError,
    SubmissionUnconfirmedError,
    WaveSpeedError,
)
from wavespeed_async.limits import Permit
from wavespeed_async.models import (
    FluxDev,
    FluxDevLora,
    FluxFillDev,
    FluxKontextDevMulti,
    FluxReduxDev,
    RawRequest,
    Request,
)
from wavespeed_async.testing import virtual_backend

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator
    from pathlib import Path

    from anyio.abc import SocketStream

REQUEST = FluxDev(prompt="a silk scarf")
PATH = "/api/v3/predictions/1/result"
FAST = Limits(requests=10**6, per=0.6, concurrency=10**6, min_poll_interval=0.01)

leaves_generators = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""Where decoding fails, httpx leaves its own generators to the collector; trio warns of that."""
on_asyncio = pytest.mark.parametrize("anyio_backend", [("asyncio", {})], ids=["asyncio"])
on_trio = pytest.mark.parametrize("anyio_backend", [("trio", {})], ids=["trio"])


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run by a clock that jumps; tests with sockets say `real_loops`."""
    return virtual_backend(request.param)


async def submit(bench: Bench, request: Request = REQUEST, timeout: float = 600.0) -> Any:
    """Submit, as a client does."""
    turn = Turn(deadline=anyio.current_time() + timeout)
    return await bench.calls.submit(request, turn, ask=bench.poller.ask)


async def read(bench: Bench, timeout: float = 600.0) -> Any:
    """Ask for a result in one request."""
    return await bench.calls.poll(ID, Turn(deadline=anyio.current_time() + timeout))


async def send(bench: Bench, method: str = "GET", **more: Any) -> Any:
    """Send one request at once."""
    return await bench.transport.send(method, PATH, permit=await bench.permit(), **more)


async def fetch(bench: Bench, url: str) -> bytes:
    """Fetch an output whole."""
    async with bench.transport.download(url) as download:
        return b"".join([part async for part in download])


# --- paths and addresses --------------------------------------------------------------------------

IMAGE = "https://example.com/in.png"
PATHS = [
    (FluxDev(), "/api/v2/wavespeed-ai/flux-dev"),
    (FluxDevLora(prompt="p", loras=[Lora("a/b", 1.0)]), "/api/v2/wavespeed-ai/flux-dev-lora"),
    (FluxReduxDev(image=IMAGE), "/api/v3/wavespeed-ai/flux-redux-dev"),
    (FluxFillDev(image=IMAGE, mask_image=IMAGE), "/api/v3/wavespeed-ai/flux-fill-dev"),
    (
        FluxKontextDevMulti(prompt="p", images=[IMAGE]),
        "/api/v3/wavespeed-ai/flux-kontext-dev/multi",
    ),
]


@pytest.mark.parametrize(("request_", "path"), PATHS, ids=lambda value: str(value)[-20:])
async def test_each_model_goes_to_its_documented_path(request_: Request, path: str) -> None:
    """Each of the five models is submitted to the path, and read under the version, of its page."""
    with respx.mock(assert_all_called=True) as router:
        router.post(URL + path).respond(json={"code": 200, "data": reply("created").body["data"]})  # type: ignore[call-overload, index]  # it is a mapping
        version = path[:8]
        router.get(f"{URL}{version}predictions/{ID}/result").mock(return_value=reply().response())
        bench = Bench()
        prediction = await submit(bench, request_)
        ended = await bench.poller.wait(prediction, Turn(), attended=True)
        assert ended.status == "completed"
        await bench.transport.aclose()


BASES = [
    ("https://api.wavespeed.ai", "https://api.wavespeed.ai"),
    ("https://api.wavespeed.ai/", "https://api.wavespeed.ai"),
    ("https://api.wavespeed.ai/api", "https://api.wavespeed.ai"),
    ("https://api.wavespeed.ai/api/v2", "https://api.wavespeed.ai"),
    ("https://api.wavespeed.ai/api/v2/", "https://api.wavespeed.ai"),
    ("https://api.wavespeed.ai/api/v3", "https://api.wavespeed.ai"),
    ("https://api.wavespeed.ai/api/v3//", "https://api.wavespeed.ai"),
    ("https://api.wavespeed.ai:443/api/v3", "https://api.wavespeed.ai"),
    ("HTTPS://API.WaveSpeed.ai/api/v3", "https://api.wavespeed.ai"),
    ("http://127.0.0.1:8000/api/v2/", "http://127.0.0.1:8000"),
    ("http://[::1]:8000", "http://[::1]:8000"),
    ("http://localhost:8000///", "http://localhost:8000"),
    ("https://gateway.test/images/api/v3", "https://gateway.test/images"),
    ("http://api", "http://api"),
    ("http://api/api/v2", "http://api"),
]


@pytest.mark.parametrize(("given", "root"), BASES)
async def test_all_forms_of_a_base_url_lead_to_the_same_paths(given: str, root: str) -> None:
    """Host, host with /api/v2/ and host with /api/v3, with or without slashes, mean the host."""
    assert base_url_root(given) == root
    bench = Bench(reply("created"), base_url=given)
    await submit(bench)
    assert str(bench.api.requests[0].url) == f"{root}/api/v2/wavespeed-ai/flux-dev"
    assert bench.api.headers[0]["authorization"] == f"Bearer {KEY}"


BAD_BASES: list[Any] = [
    "",
    "api.wavespeed.ai",
    "ftp://api.wavespeed.ai",
    "file:///etc/passwd",
    "https://",
    "https:///api/v3",
    "http://[::1",
    "http://host:port",
    "http://host:99999",
    "https://host/?a=1",
    "https://host/#a",
    "https://user:secret@host",
    "https://ho st",
    "https://host\n",
    " https://host",
    "https://[zz]",
    "x" * 70_000,
    7,
    None,
    b"https://host",
]


@pytest.mark.parametrize("given", BAD_BASES, ids=lambda given: repr(given)[:30])
def test_a_bad_base_url_is_a_configuration_error(given: Any) -> None:
    """What is no plain http(s) URL is refused before anything is sent."""
    with pytest.raises(ConfigurationError, match="base_url") as caught:
        base_url_root(given)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("given", ["http://one.test/api/v2/", "http://one.test"])
async def test_the_environment_names_the_base_url(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WAVESPEED_BASE_URL is taken, in any of its forms."""
    monkeypatch.setenv("WAVESPEED_BASE_URL", given)
    api = Api(reply())
    async with AsyncWaveSpeed(KEY, limiter=Limiter(), transport=httpx.MockTransport(api)) as client:
        await client.result(ID)
    assert str(api.requests[0].url) == f"http://one.test/api/v3/predictions/{ID}/result"


# --- headers --------------------------------------------------------------------------------------


async def test_the_headers_of_a_submission() -> None:
    """It carries the key, the type of its body, who sends it, and no cookie."""
    bench = Bench(reply("created"))
    await submit(bench)
    headers = bench.api.headers[0]
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["content-type"] == "application/json"
    assert headers["x-client-name"] == "wavespeed-async"
    assert headers["x-client-version"]
    assert headers["x-client-os"]
    assert headers["user-agent"].startswith("wavespeed-async/")
    assert "cookie" not in headers
    assert bench.api.requests[0].content.startswith(b'{"prompt":"a silk scarf"')


async def test_the_headers_of_a_read() -> None:
    """It carries the key and no type of a body, since it has none."""
    bench = Bench(reply())
    await read(bench)
    assert bench.api.headers[0]["authorization"] == f"Bearer {KEY}"
    assert "content-type" not in bench.api.headers[0]
    assert bench.api.requests[0].content == b""


async def test_cookies_are_not_kept() -> None:
    """What a server sets as a cookie does not follow later requests, of the API or of outputs."""
    cookie = {"set-cookie": "session=1; Path=/; Domain=api.test", "content-type": "text/plain"}
    body = {"code": 200, "data": reply().body["data"]}  # type: ignore[call-overload, index]  # it is a mapping
    bench = Bench(Reply(body, headers=cookie))
    for _ in range(2):
        await read(bench)
        await fetch(bench, f"{URL}/1.png")
    assert [name for headers in bench.api.headers for name in headers if name == "cookie"] == []
    assert len(bench.api.headers) == 4


# --- the key --------------------------------------------------------------------------------------


def keys(api: Api) -> list[str | None]:
    """Tell which key each request carried."""
    return [headers.get("authorization") for headers in api.headers]


@pytest.mark.parametrize(
    "url", ["https://cdn.test/1.png", f"{URL}/1.png", f"{URL}/api/v3/predictions/x/result"]
)
async def test_no_output_is_fetched_with_the_key(url: str) -> None:
    """The key goes to no output URL, not even to one on the API's own host."""
    bench = Bench(Reply(PNG))
    assert await fetch(bench, url) == PNG
    assert KEY not in str(bench.api.headers[0].raw)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("target", ["https://evil.test/x", f"{URL}/elsewhere", "//evil.test", ""])
async def test_a_redirect_of_the_api_is_not_followed(status: int, target: str) -> None:
    """A redirect is an answer, and a refusal: nothing goes where it points, not even a read."""
    bench = Bench(Reply(b"", status=status, headers={"location": target}), max_retries=0)
    with pytest.raises(APIStatusError) as caught:
        await read(bench)
    assert caught.value.status_code == status
    with pytest.raises(APIStatusError):
        await submit(bench)
    assert len(bench.api.requests) == 2
    assert bench.limiter.running == 0


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("https://api.test/x", True),
        ("https://API.test:443/x", True),
        ("http://api.test/x", False),
        ("https://api.test:444/x", False),
        ("https://api.test.evil.test/x", False),
        ("https://cdn.test/x", False),
        ("https://api.test@evil.test/x", False),
    ],
)
async def test_the_key_is_put_on_requests_to_the_apis_own_origin_only(url: str, own: bool) -> None:
    """Scheme, host and port have to be the API's; afterwards the request is without it again."""
    key = Bench(reply()).transport._key
    request = httpx.Request("GET", url)
    with pytest.raises(ZeroDivisionError), key.on(request):
        assert request.headers.get("authorization") == (f"Bearer {KEY}" if own else None)
        raise ZeroDivisionError
    assert "authorization" not in request.headers


async def test_a_redirected_output_is_followed_without_the_key() -> None:
    """An output that has moved is fetched where it is now, the API's own host included."""
    bench = Bench(
        Reply(b"", status=302, headers={"location": f"{URL}/outputs/1.png"}),
        Reply(b"", status=307, headers={"location": "https://cdn.test/2.png"}),
        Reply(PNG),
    )
    assert await fetch(bench, "https://cdn.test/1.png") == PNG
    assert keys(bench.api) == [None, None, None]
    assert bench.api.paths == ["/1.png", "/outputs/1.png", "/2.png"]


def everything_in(error: BaseException | None, seen: set[int] | None = None) -> Iterator[object]:
    """Go through an exception, what caused it, and the requests and answers that they hold."""
    seen = seen if seen is not None else set()
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    yield from (str(error), repr(error), error.args, vars(error), pickled(error))
    for name in ("request", "response", "request_info"):
        try:
            held = getattr(error, name, None)
        except RuntimeError:  # httpx: it was not set
            continue
        for thing in (held, getattr(held, "request", None)):
            headers = getattr(thing, "headers", None)
            yield from (repr(thing), dict(headers) if headers is not None else None)
    for other in (error.__cause__, error.__context__, *getattr(error, "exceptions", ())):
        yield from everything_in(other, seen)


def pickled(error: BaseException) -> bytes:
    try:
        return pickle.dumps(error)
    except Exception:  # noqa: BLE001 (errors of other packages may not)
        return b""


def assert_no_key(error: BaseException) -> None:
    for thing in everything_in(error):
        assert KEY not in repr(thing)


ECHO = f"Invalid API key {KEY}, you sent Bearer {KEY}"
FAULTS = [
    httpx.ConnectError("refused"),
    httpx.ReadTimeout(""),
    httpx.RemoteProtocolError("garbage"),
    RuntimeError("a transport's own"),
    Reply({"code": 401, "message": ECHO}, status=401),
    Reply({"code": 401, "message": ECHO}, status=200),
    Reply({"code": 200, "message": ECHO, "data": None}),
    Reply({"code": 200, "data": {"id": ID, "status": 7, "error": ECHO}}),
    Reply(f"<html>{ECHO}", status=502),
    Reply(f"<html>{ECHO}", status=200),
    Reply({"code": 404, "message": ECHO, "data": {"id": KEY}}, status=404),
]


async def test_nobody_has_to_listen() -> None:
    """A transport without an observer sends as well."""
    api = httpx.MockTransport(lambda _: reply().response())
    wire = Transport(api_key=KEY, base_url=URL, transport=api, observe=None)
    answer = await wire.send("GET", "/api/v3/balance", permit=await Limiter().acquire())
    assert answer.status_code == 200
    await wire.aclose()


@pytest.mark.parametrize("fault", FAULTS, ids=named)
async def test_no_failure_holds_the_key(
    fault: Any, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither exceptions, what they hold and pickle to, nor events, logs or reprs have the key."""
    caplog.set_level(logging.DEBUG)
    bench = Bench(fault, max_retries=1)
    with pytest.raises(WaveSpeedError) as caught:
        await bench.calls.result(ID, Turn())
    assert_no_key(caught.value)
    try:
        await submit(bench)
    except WaveSpeedError as error:
        assert_no_key(error)
    assert KEY not in repr(bench.events)
    for event in bench.events:
        assert_no_key(getattr(event, "error", Exception()))
    assert KEY not in caplog.text
    assert KEY not in "".join(capfd.readouterr())
    for part in (bench.transport, bench.transport._key, bench.calls, bench.poller, bench.limiter):
        assert KEY not in repr(part)


async def test_a_short_key_is_blotted_out_of_refusals_only() -> None:
    """A key of a few letters may stand in any answer by chance: a good one is left as it is."""
    bench = Bench(reply(model="key"), Reply({"code": 400, "message": "key"}, status=400), key="key")
    assert (await read(bench)).model == "key"
    with pytest.raises(APIStatusError) as caught:
        await read(bench)
    assert caught.value.message == "***"


@real_loops
async def test_no_log_of_httpx_has_the_key(caplog: pytest.LogCaptureFixture) -> None:
    """Over a real connection too, the debug logs of httpx and httpcore are free of the key."""
    caplog.set_level(logging.DEBUG)
    heads: list[bytes] = []

    async def handle(stream: SocketStream, request: bytes) -> None:
        heads.append(request)
        await stream.send(raw_answer({"code": 401, "message": ECHO}, "401 Unauthorized"))

    async with raw_server(handle) as url, client_of(url) as client:
        with pytest.raises(AuthenticationError) as caught:
            await client.result(ID)
        assert_no_key(caught.value)
        assert KEY not in repr(client)
    assert f"Bearer {KEY}".encode() in heads[0]
    assert "send_request_headers" in caplog.text
    assert KEY not in caplog.text


def client_of(url: str, **more: Any) -> AsyncWaveSpeed:
    more.setdefault("limiter", Limiter(FAST))
    return AsyncWaveSpeed(KEY, base_url=url, **more)


# --- time limits ----------------------------------------------------------------------------------


async def hang(_: httpx.Request) -> httpx.Response:
    await anyio.sleep_forever()
    raise AssertionError


async def trickle(parts: int = 10**9, every: float = 20.0) -> AsyncGenerator[bytes]:
    for _ in range(parts):
        await anyio.sleep(every)
        yield b" "


@pytest.mark.parametrize(("held", "seconds"), [(False, 30.0), (True, 100.0)])
async def test_the_time_limits_that_httpx_is_given(held: bool, seconds: float) -> None:
    """30 s for an answer, 100 s where the server holds it, 10 s to connect, none in the pool."""
    bench = Bench(reply())
    await send(bench, held=held)
    assert bench.api.requests[0].extensions["timeout"] == {
        "connect": 10.0,
        "read": seconds,
        "write": seconds,
        "pool": None,
    }


@pytest.mark.parametrize(
    "request_",
    [
        FluxKontextDevMulti(prompt="p", images=[IMAGE], enable_sync_mode=True),
        RawRequest("a/b", {"enable_sync_mode": True}),
    ],
    ids=["typed", "raw"],
)
async def test_a_submission_in_sync_mode_is_given_the_longer_time(request_: Request) -> None:
    """`enable_sync_mode` means 100 s, of a typed request or a raw one."""
    bench = Bench(reply("created"))
    await submit(bench, request_)
    assert bench.api.requests[0].extensions["timeout"]["read"] == 100.0


async def test_a_held_request_counts_from_when_it_can_have_arrived() -> None:
    """Once a held request has left, its place in the window is bounded by `uplink` and `per`."""
    counted: list[int] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        await anyio.sleep(5.0)
        await request.extensions["trace"]("http11.send_request_body.complete", {})
        for seconds in (61.0, 2.0):
            await anyio.sleep(seconds)
            counted.append(bench.limiter.requests_used)
        return httpx.Response(200, json={"code": 200, "data": {}})

    bench = Bench(answer)
    await send(bench, held=True)
    assert counted == [1, 0]


@pytest.mark.parametrize(("held", "seconds"), [(False, 40.0), (True, 110.0)])
async def test_an_exchange_is_bounded_as_a_whole(held: bool, seconds: float) -> None:
    """However a transport keeps its own time limits, an exchange ends: 40 s, or 110 s if held."""
    bench = Bench(hang)
    started = anyio.current_time()
    with pytest.raises(APIConnectionError, match="the time for an answer ran out") as caught:
        await send(bench, held=held)
    assert caught.value.sent
    assert anyio.current_time() - started == pytest.approx(seconds)
    assert bench.in_flight == 0


async def test_a_trickling_answer_is_bounded_as_a_whole() -> None:
    """A byte now and then does not make an exchange last for ever."""

    async def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=trickle())

    bench = Bench(answer)
    started = anyio.current_time()
    with pytest.raises(APIConnectionError):
        await send(bench)
    assert anyio.current_time() - started == pytest.approx(300.0)


async def test_a_large_answer_may_take_its_time() -> None:
    """A body that has begun may take longer than an answer may be late: base64 is large."""

    async def slowly() -> AsyncIterator[bytes]:
        for part in (b'{"code": 200, ', b'"data": {}}'):
            await anyio.sleep(100.0)
            yield part

    async def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=slowly())

    assert (await send(Bench(answer))).body == b'{"code": 200, "data": {}}'


async def test_a_trickling_output_is_bounded_as_a_whole() -> None:
    """An output that comes a byte at a time is given up after half an hour of waiting."""

    async def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=trickle())

    bench = Bench(answer)
    started = anyio.current_time()
    with pytest.raises(APIConnectionError, match="trickled"):
        await fetch(bench, "https://cdn.test/1.png")
    assert anyio.current_time() - started == pytest.approx(1800.0, abs=30)


# --- answers --------------------------------------------------------------------------------------


async def endless(_: httpx.Request) -> httpx.Response:
    async def content() -> AsyncGenerator[bytes]:
        while True:
            await anyio.lowlevel.checkpoint()
            yield b"x" * 100

    return httpx.Response(200, content=content())


async def test_an_answer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer without an end is refused at the bound, and its stream is closed."""
    monkeypatch.setattr(_sending, "LARGEST_ANSWER", 1000)
    bench = Bench(endless)
    with pytest.raises(APIResponseError, match="larger than 1000 bytes"):
        await send(bench)
    gc.collect()


async def test_an_answer_is_bounded_after_unpacking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small answer that unpacks to a large one is refused too."""
    monkeypatch.setattr(_sending, "LARGEST_ANSWER", 10_000)
    packed = gzip.compress(b" " * 10**6)
    bench = Bench(Reply(packed, headers={"content-encoding": "gzip"}))
    with pytest.raises(APIResponseError, match="larger"):
        await read(bench)


@leaves_generators
async def test_a_refusal_counts_even_if_its_body_does_not_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A 4xx whose body is too large, breaks off or is garbled is still that refusal."""

    async def broken() -> AsyncGenerator[bytes]:
        yield b"{"
        message = "broken off"
        raise httpx.ReadError(message)

    async def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(404, content=broken())

    monkeypatch.setattr(_sending, "LARGEST_ANSWER", 1000)
    garbled = Reply(b"no gzip", status=404, headers={"content-encoding": "gzip"})
    for fault in (answer, garbled, Reply(b"x" * 2000, status=404)):
        bench = Bench(fault)
        answered = await send(bench)
        assert answered.status_code == 404
        assert answered.body == b""


@leaves_generators
async def test_a_garbled_answer_is_an_error() -> None:
    """A success that is not encoded as it says is no answer of the API."""
    bench = Bench(Reply(b"no gzip", headers={"content-encoding": "gzip"}))
    with pytest.raises(APIResponseError, match="not encoded as it says"):
        await send(bench)


@pytest.mark.parametrize(
    ("header", "seconds"), [("17", 17.0), ("in a while", None), (formatdate(1.0), 0.0)]
)
async def test_a_429_closes_the_gate_for_as_long_as_it_says(
    header: str, seconds: float | None
) -> None:
    """Retry-After reaches the limiter and the answer; the observer is told the pause."""
    bench = Bench(refusal(429, retry_after=header))
    answer = await send(bench)
    assert answer.retry_after == seconds
    assert [event.seconds for event in bench.told(LimiterPaused)] == [seconds or 1.0]


async def test_the_observer_is_told_each_request_and_answer() -> None:
    """A request is told as it leaves and as it is answered, with its duration."""
    bench = Bench(reply(after=3.0))
    await read(bench)
    sent, answered = bench.told(RequestSent)[0], bench.told(RequestAnswered)[0]
    path = f"/api/v3/predictions/{ID}/result"
    assert (sent.method, sent.path) == ("GET", path)
    assert (answered.method, answered.path, answered.status_code) == ("GET", path, 200)
    assert answered.seconds == pytest.approx(3.0)


# --- what has left --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "sent"),
    [
        (httpx.ConnectError("no"), False),
        (httpx.ConnectTimeout(""), False),
        (httpx.PoolTimeout(""), False),
        (httpx.ProxyError("no"), False),
        (httpx.UnsupportedProtocol("no"), False),
        (httpx.ReadError("no"), True),
        (httpx.ReadTimeout(""), True),
        (httpx.WriteError("no"), True),
        (httpx.WriteTimeout(""), True),
        (httpx.RemoteProtocolError("no"), True),
        (httpx.LocalProtocolError("no"), True),
        (TimeoutError(), True),
        (OSError("no"), True),
        (RuntimeError("a transport's own"), True),
    ],
    ids=repr,
)
async def test_only_errors_of_connecting_mean_that_nothing_left(
    error: Exception, sent: bool
) -> None:
    """No other error gives the room in the window back, or says that nothing was sent."""
    bench = Bench(error)
    with pytest.raises(APIConnectionError) as caught:
        await send(bench)
    assert caught.value.sent is sent
    assert str(caught.value).startswith("no answer from api.test: ")
    assert not str(caught.value).endswith(": ")
    assert (bench.counted, bench.in_flight) == ((1, 0) if sent else (0, 0))


async def test_the_trace_tells_when_a_request_leaves() -> None:
    """It may have left from its start on, not while it connects, and for good once it is sent."""
    wire = Wire()
    assert not wire.may_have_left
    wire.may_have_left = True
    await wire.trace("connection.connect_tcp.started", {})
    await wire.trace("connection.connect_tcp.complete", {})
    await wire.trace("connection.start_tls.started", {})
    assert not wire.may_have_left
    await wire.trace("http11.send_request_headers.started", {})
    assert wire.may_have_left
    await wire.trace("connection.connect_tcp.started", {})
    assert wire.may_have_left


class Stuck(httpx.AsyncBaseTransport):
    """Connect for ever, as httpcore tells it."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.extensions["trace"]("connection.connect_tcp.started", {})
        return await hang(request)


async def test_what_is_given_up_while_connecting_was_not_sent() -> None:
    """A time limit that ends the connecting gives the room back, since nothing has left."""
    bench = Bench(transport=Stuck())
    with pytest.raises(APIConnectionError) as caught:
        await send(bench)
    assert not caught.value.sent
    assert bench.counted == 0


async def test_a_cancelled_request_counts_unless_it_was_connecting() -> None:
    """Cancelled while connecting it counts for nothing, cancelled later it counts as sent."""
    for bench, counted in ((Bench(transport=Stuck()), 0), (Bench(hang), 1)):
        with anyio.move_on_after(5) as scope:
            await send(bench)
        assert scope.cancelled_caught
        assert (bench.counted, bench.in_flight) == (counted, 0)


async def test_a_request_that_cannot_be_built_leaves_nothing_behind() -> None:
    """An error before the sending gives the permit back."""
    bench = Bench(reply())
    with pytest.raises(httpx.InvalidURL):
        await bench.transport.send("GET", "/\n", permit=await bench.permit())
    assert (bench.counted, bench.in_flight) == (0, 0)


async def test_waiting_for_room_before_the_pool_sends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A request that is cancelled in the queue before the pool gives its permit back."""
    monkeypatch.setattr(_pool, "CONNECTIONS", 1)
    bench = Bench(hang)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send, bench)
        await anyio.sleep(1)
        with anyio.move_on_after(1):
            await send(bench)
        assert len(bench.api.requests) == 1
        assert bench.in_flight == 1
        tasks.cancel_scope.cancel()
    assert bench.counted == 1


async def test_a_request_that_waits_while_the_client_closes_is_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Closing the client ends the queue before the pool with a ConfigurationError."""
    monkeypatch.setattr(_pool, "CONNECTIONS", 1)
    bench = Bench(reply(after=5.0))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send, bench)
        await anyio.sleep(1)

        async def late() -> None:
            with pytest.raises(ConfigurationError, match="closed"):
                await send(bench)

        tasks.start_soon(late)
        await anyio.sleep(1)
        await bench.transport.aclose()
    assert len(bench.api.requests) == 1


# --- outputs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["http://[bad", "https://", "ftp://cdn.test/1.png", "https://a.test/\n", "http://a:b/"]
)
async def test_an_output_url_that_is_none_is_an_error(url: str) -> None:
    """An output's URL comes from a server: whatever it is, it ends as an error of this package."""
    bench = Bench()
    with pytest.raises(APIConnectionError, match="could not be fetched"):
        await fetch(bench, url)
    await bench.transport.aclose()


@pytest.mark.parametrize("location", ["https://cdn.test/1.png", "ftp://a.test", "http://[bad"])
async def test_an_output_that_redirects_for_ever_or_to_nowhere_is_an_error(location: str) -> None:
    """A redirect loop ends after five, and one to what is no URL at once."""
    bench = Bench(Reply(b"", status=302, headers={"location": location}))
    with pytest.raises(APIConnectionError):
        await fetch(bench, "https://cdn.test/1.png")
    assert len(bench.api.requests) <= 6


@pytest.mark.parametrize("status", [304, 400, 403, 404, 500])
async def test_an_output_that_is_refused_is_an_error_with_its_status(status: int) -> None:
    """The error names the host and the status; the body of a page is not taken for a picture."""
    bench = Bench(page(status))
    with pytest.raises(APIStatusError, match=f"cdn.test: HTTP {status}") as caught:
        await fetch(bench, "https://cdn.test/1.png")
    assert (caught.value.status_code, caught.value.code) == (status, status)


async def test_leaving_a_download_early_leaves_nothing_open() -> None:
    """Whoever stops reading, or never began, leaves no generator behind for the collector."""
    bench = Bench(endless)
    with pytest.raises(ZeroDivisionError):
        async with bench.transport.download("https://cdn.test/1.png") as download:
            async for part in download:
                assert part
                raise ZeroDivisionError
    async with bench.transport.download("https://cdn.test/1.png"):
        pass
    gc.collect()


@leaves_generators
async def test_a_garbled_output_is_an_error() -> None:
    """An output that is not encoded as it says is no picture."""
    bench = Bench(Reply(b"no gzip", headers={"content-encoding": "gzip"}))
    with pytest.raises(APIResponseError, match="not encoded"):
        await fetch(bench, "https://cdn.test/1.png")


# --- real connections -----------------------------------------------------------------------------


@real_wires
async def test_three_hundred_calls_at_once_wait_before_the_pool(
    monkeypatch: pytest.MonkeyPatch, transport: str | None
) -> None:
    """No call fails because all connections are busy, and no more are open than intended."""
    monkeypatch.setattr(_pool, "CONNECTIONS", 20)
    open_now = most = 0

    async def handle(stream: SocketStream, request: bytes) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await anyio.sleep(0.01)
        open_now -= 1
        name = request.split(b"/predictions/")[1].split(b"/")[0].decode()
        await stream.send(raw_answer(reply(prediction_id=name).body))  # type: ignore[arg-type]  # it is a mapping

    async with (
        raw_server(handle) as url,
        client_of(url, transport=transport) as client,
        anyio.create_task_group() as tasks,
    ):
        for number in range(300):
            tasks.start_soon(client.result, f"{number:032x}")
    assert 10 < most <= 20


@real_wires
async def test_an_idle_connection_is_dropped_before_the_server_does(
    monkeypatch: pytest.MonkeyPatch, transport: str | None
) -> None:
    """A submission after a pause goes out on a new connection, and none is unconfirmed."""
    monkeypatch.setattr(_pool, "KEEPALIVE", 0.08)
    bodies = 0

    async def handle(stream: SocketStream, request: bytes) -> None:
        nonlocal bodies
        bodies += 1
        await stream.send(raw_answer(reply("created", prediction_id=f"{bodies:032x}").body))  # type: ignore[arg-type]  # it is a mapping
        with anyio.move_on_after(0.1):  # the server's own keep-alive
            await anyio.sleep_forever()
        await stream.aclose()

    async with raw_server(handle) as url, client_of(url, transport=transport) as client:
        for pause in (0.05, 0.085, 0.09, 0.095, 0.1, 0.105, 0.11):
            if pause > 0.08:
                await anyio.sleep(pause)
            await client.submit(REQUEST)
    assert bodies == 7


@real_wires
async def test_an_answer_that_is_reset_or_cut_is_an_error(transport: str | None) -> None:
    """A connection that ends before or within the answer counts as sent; the next one works."""
    good = raw_answer(reply().body)  # type: ignore[arg-type]  # it is a mapping
    script = [b"", good[:20], good[:-5], b"rubbish\r\n\r\n", good]

    async def handle(stream: SocketStream, request: bytes) -> None:
        answer = script.pop(0)
        if answer is not good:
            reset(stream)
        if answer:
            await stream.send(answer)
        if answer is not good:
            await stream.aclose()

    async with raw_server(handle) as url:
        bench = Bench(base_url=url, limits=FAST, transport=transport)
        for _ in range(4):
            with pytest.raises(APIConnectionError) as caught:
                await read(bench)
            assert caught.value.sent
        assert (await read(bench)).id == ID
        await bench.transport.aclose()


@real_wires
async def test_a_closed_port_means_that_nothing_left(transport: str | None) -> None:
    """A refused connection is told as one, over real sockets too."""
    async with raw_server(handle_nothing) as url:
        pass
    bench = Bench(base_url=url, transport=transport)
    with pytest.raises(APIConnectionError) as caught:
        await read(bench)
    assert not caught.value.sent
    assert bench.counted == 0
    await bench.transport.aclose()


async def handle_nothing(stream: SocketStream, request: bytes) -> None:
    await anyio.sleep_forever()


@real_wires
async def test_what_is_given_up_after_it_was_sent_counts(transport: str | None) -> None:
    """A request that is cancelled while its answer is awaited is in the window, on every wire."""
    arrived = anyio.Event()

    async def handle(stream: SocketStream, request: bytes) -> None:
        arrived.set()
        await anyio.sleep_forever()

    async with raw_server(handle) as url, anyio.create_task_group() as tasks:
        bench = Bench(base_url=url, transport=transport)
        tasks.start_soon(send, bench)
        await arrived.wait()
        tasks.cancel_scope.cancel()
    assert (bench.counted, bench.in_flight) == (1, 0)
    with anyio.CancelScope(shield=True):
        await bench.transport.aclose()


@real_wires
async def test_what_is_cancelled_at_any_step_leaves_no_connection_open(
    transport: str | None,
) -> None:
    """Wherever a call is cut off, as it connects, sends or reads, its connection is closed."""
    good = raw_answer(reply().body)  # type: ignore[arg-type]  # it is a mapping
    answered = 0

    async def handle(stream: SocketStream, request: bytes) -> None:
        await stream.send(good)

    async def call(bench: Bench) -> None:
        nonlocal answered
        await read(bench)
        answered += 1

    with warnings.catch_warnings(record=True) as unclosed:
        warnings.simplefilter("always", ResourceWarning)
        async with raw_server(handle) as url:
            for steps in range(60):
                bench = Bench(base_url=url, limits=FAST, transport=transport)
                await cancel_after(steps, call, bench)
                await bench.transport.aclose()
        gc.collect()
    assert [str(warning.message) for warning in unclosed] == []
    assert 0 < answered < 60


@real_wires
async def test_what_is_cancelled_at_any_step_is_not_sent_or_known(transport: str | None) -> None:
    """A submission that is cut off never left, or its id is known: nothing is to be looked for."""
    arrived, ends = 0, []

    async def handle(stream: SocketStream, request: bytes) -> None:
        nonlocal arrived
        arrived += 1
        await stream.send(raw_answer(reply("created").body))  # type: ignore[arg-type]  # it is a mapping

    async with raw_server(handle) as url:
        for steps in range(60):
            bench, before = Bench(base_url=url, limits=FAST, transport=transport), arrived
            await cancel_after(steps, submit, bench)
            await bench.transport.aclose()
            known = len(bench.told(PredictionSubmitted))
            lost = len(bench.told(SubmissionUnconfirmed))
            ends.append((arrived - before, known, bench.limiter.running, lost))
    assert set(ends) == {(0, 0, 0, 0), (1, 1, 1, 0)}


@real_wires
async def test_a_kept_connection_that_breaks_costs_one_request(transport: str | None) -> None:
    """Nothing below this package sends a read again: the server gets what the limiter counted."""
    received = 0

    async def handle(stream: SocketStream, request: bytes) -> None:
        nonlocal received
        received += 1
        if received > 1:
            reset(stream)
            await stream.aclose()
        else:
            await stream.send(raw_answer(reply().body))  # type: ignore[arg-type]  # it is a mapping

    async with raw_server(handle) as url:
        bench = Bench(base_url=url, limits=FAST, transport=transport)
        await read(bench)
        with pytest.raises(APIConnectionError) as caught:
            await read(bench)
        assert caught.value.sent
        assert received == 2
        await bench.transport.aclose()


@real_wires
async def test_a_held_request_has_left_when_all_of_its_body_has(
    transport: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as a large part of it has not been taken, no time of arrival is assumed."""
    body = b" " * (32 * 2**20)  # more than the buffers between two sockets hold
    is_read = False
    held: list[bool] = []
    monkeypatch.setattr(Permit, "held", lambda _: held.append(is_read))

    def serve(listener: socket.socket) -> None:
        stream, _ = listener.accept()
        with stream:
            missing = len(body)
            while missing > 0:
                missing -= len(stream.recv(2**20))
            stream.sendall(raw_answer({"code": 200, "data": {}}))

    async def serve_late(listener: socket.socket) -> None:
        nonlocal is_read
        await anyio.sleep(0.3)  # by now the client has filled the buffers, and waits
        is_read = True
        await anyio.to_thread.run_sync(serve, listener)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        bench = Bench(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", transport=transport)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve_late, listener)
            await send(bench, "POST", content=body, held=True)
        await bench.transport.aclose()
    assert held == [True]


@real_wires
async def test_a_proxy_of_the_environment_is_used(
    transport: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTP_PROXY and NO_PROXY mean the same on every wire."""
    heads: list[bytes] = []

    async def handle(stream: SocketStream, request: bytes) -> None:
        heads.append(request.partition(b"\r\n")[0])
        await stream.send(raw_answer(reply().body))  # type: ignore[arg-type]  # it is a mapping

    async with raw_server(handle) as proxy, raw_server(handle) as direct:
        monkeypatch.setenv("HTTP_PROXY", proxy)
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        for url in ("http://api.test", direct):
            bench = Bench(base_url=url, transport=transport)
            await read(bench)
            await bench.transport.aclose()
    path = f"/api/v3/predictions/{ID}/result"
    assert heads == [
        f"GET http://api.test{path} HTTP/1.1".encode(),
        f"GET {path} HTTP/1.1".encode(),
    ]


@real_wires
async def test_a_proxy_that_refuses_means_that_nothing_left(
    transport: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the proxy opens no tunnel, the API was sent nothing and the proxy saw no key."""
    heads: list[bytes] = []

    async def handle(stream: SocketStream, request: bytes) -> None:
        heads.append(request)
        await stream.send(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n")

    async with raw_server(handle) as url:
        monkeypatch.setenv("HTTPS_PROXY", url)
        monkeypatch.setenv("https_proxy", url)
        bench = Bench(base_url="https://api.test", transport=transport, max_retries=0)
        with pytest.raises(APIConnectionError) as caught:
            await submit(bench)
        await bench.transport.aclose()
    assert not caught.value.sent
    assert_no_key(caught.value)
    assert (bench.counted, bench.limiter.running) == (0, 0)
    assert heads
    assert all(head.startswith(b"CONNECT api.test:443") for head in heads)
    assert KEY.encode() not in b"".join(heads)


@real_wires
async def test_a_proxy_that_cannot_be_used_is_a_configuration_error(
    transport: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy of a kind that is not known here is told before anything is sent."""
    monkeypatch.setenv("ALL_PROXY", "gopher://127.0.0.1:1")
    monkeypatch.setenv("all_proxy", "gopher://127.0.0.1:1")
    bench = Bench(transport=transport)
    with pytest.raises(ConfigurationError, match="proxy"):
        await send(bench)
    assert (bench.counted, bench.in_flight) == (0, 0)


# --- event loops ----------------------------------------------------------------------------------


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(latency=0.0, pictures=False, requests=10**6) as emulator:
        yield emulator


@pytest.mark.parametrize("first", ["asyncio", "trio"])
@pytest.mark.parametrize("second", ["asyncio", "trio"])
def test_a_client_goes_on_in_a_second_event_loop(
    first: str, second: str, emulator: Emulator
) -> None:
    """After its loop has ended a client gets a new pool in the next, and keeps its window."""
    limiter = Limiter(Limits(per=6.0, min_poll_interval=0.01))
    client = client_of(emulator.url, limiter=limiter)

    async def run() -> None:
        await client.run(REQUEST)

    async def close() -> None:
        await client.run(REQUEST)
        await client.aclose()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # sockets of a loop that nobody closed
        anyio.run(run, backend=first)
        anyio.run(run, backend=second)
        gc.collect()
        assert len(emulator.requests) == 4
        assert client.limiter.requests_used == 4
        anyio.run(close, backend=first)
        gc.collect()
    assert len(emulator.predictions) == 3


def test_a_client_that_is_closed_in_another_loop_lets_go_of_its_pool(emulator: Emulator) -> None:
    """Closing in a later loop touches no connection of the earlier one."""
    client = client_of(emulator.url)

    async def run() -> None:
        await client.run(REQUEST)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        anyio.run(run)
        anyio.run(client.aclose)
        gc.collect()


def test_two_loops_at_once_are_refused() -> None:
    """Used from two running loops, a client says so instead of breaking."""
    bench = Bench(reply())
    errors: list[BaseException] = []

    def elsewhere() -> None:
        try:
            anyio.run(partial(send_with, bench))
        except BaseException as error:  # noqa: BLE001 (the test looks at it)
            errors.append(error)

    async def send_with(bench: Bench) -> None:
        await bench.transport.send("GET", PATH, permit=await Bench(reply()).permit())

    async def run() -> None:
        await send_with(bench)
        thread = threading.Thread(target=elsewhere)
        thread.start()
        await anyio.to_thread.run_sync(thread.join)
        await send_with(bench)

    anyio.run(run)
    assert [type(error) for error in errors] == [ConfigurationError]
    assert "another event loop" in str(errors[0])


def test_a_given_transport_belongs_to_one_loop(emulator: Emulator) -> None:
    """A transport with connections is refused in a second loop, again and again; others are not."""

    async def send_once(bench: Bench) -> None:
        await bench.transport.send("GET", PATH, permit=await bench.permit())

    pooled = Bench(base_url=emulator.url, transport=httpx.AsyncHTTPTransport())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        anyio.run(send_once, pooled)
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="has ended"):
                anyio.run(send_once, pooled)
        assert pooled.in_flight == 0
        del pooled
        gc.collect()
    for loopless in (Bench(reply()), Bench(transport=httpx.ASGITransport(emulator.app))):
        for backend in ("asyncio", "trio", "asyncio"):
            anyio.run(send_once, loopless, backend=backend)


async def test_a_closed_client_says_so() -> None:
    """After `aclose`, which may be called again, requests and downloads are ConfigurationErrors."""
    bench = Bench(reply())
    await send(bench)
    await bench.transport.aclose()
    await bench.transport.aclose()
    with pytest.raises(ConfigurationError, match="closed"):
        await send(bench)
    with pytest.raises(ConfigurationError, match="closed"):
        await fetch(bench, "https://cdn.test/1.png")
    assert bench.in_flight == 0
    unused = Bench(reply())
    await unused.transport.aclose()


@real_wires
async def test_closing_ends_what_is_under_way(transport: str | None) -> None:
    """A call that waits for its answer as the client is closed ends with an error."""
    async with raw_server(handle_nothing) as url:
        bench = Bench(base_url=url, transport=transport)

        async def ask() -> None:
            with pytest.raises(APIConnectionError):
                await read(bench)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.sleep(0.05)
            await bench.transport.aclose()


# --- aiohttp --------------------------------------------------------------------------------------


@asynccontextmanager
async def over_aiohttp(url: str) -> AsyncIterator[Bench]:
    bench = Bench(base_url=url, transport="aiohttp", limits=FAST)
    yield bench
    await bench.transport.aclose()


@on_asyncio
async def test_aiohttp_works_over_real_sockets(emulator: Emulator, tmp_path: Path) -> None:
    """With transport="aiohttp" a picture is made and saved, and nothing stays in the context."""
    async with client_of(emulator.url, transport="aiohttp") as client:
        picture = await client.run(REQUEST)
        (path,) = await client.save(picture, tmp_path)
        assert path.read_bytes().startswith(b"\x89PNG")
    assert _aiohttp.connected.get() is None
    headers = emulator.requests[0].headers
    assert headers["user-agent"].startswith("wavespeed-async/")
    assert headers["content-type"] == "application/json"


@on_asyncio
async def test_aiohttp_does_not_make_a_lost_submission_look_unsent() -> None:
    """A connection lost after the sending is unconfirmed over aiohttp too, and sent once."""
    received = 0
    good = raw_answer(reply("created").body)  # type: ignore[arg-type]  # it is a mapping
    script = [b"", good[:20], good[:-5], b"rubbish\r\n\r\n"]

    async def handle(stream: SocketStream, request: bytes) -> None:
        nonlocal received
        received += 1
        reset(stream)
        if script[0]:
            await stream.send(script[0])
        await stream.aclose()

    async with raw_server(handle) as url, over_aiohttp(url) as bench:
        while script:
            received = 0
            with pytest.raises(SubmissionUnconfirmedError) as caught:
                await submit(bench)
            assert_no_key(caught.value)
            assert received == 1
            script.pop(0)
    assert bench.limiter.running == 4


@on_asyncio
async def test_aiohttp_tells_that_it_could_not_connect() -> None:
    """A refused connection is one over aiohttp too: nothing was sent, and the slot comes back."""
    async with raw_server(handle_nothing) as url:
        pass
    async with over_aiohttp(url) as bench:
        with pytest.raises(APIConnectionError) as caught:
            await submit(bench, timeout=0.2)
        assert not caught.value.sent
        assert bench.limiter.running == 0


async def connect_for_ever(*_: object) -> None:
    await anyio.sleep_forever()


@on_asyncio
async def test_aiohttp_that_is_given_up_while_connecting_sent_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A call that is cancelled before there was a connection leaves no slot and no room taken."""
    monkeypatch.setattr(aiohttp.TCPConnector, "connect", connect_for_ever)
    async with over_aiohttp(URL) as bench:
        with anyio.move_on_after(0.05) as scope:
            await submit(bench)
        assert scope.cancelled_caught
        assert (bench.counted, bench.limiter.running) == (0, 0)


@on_asyncio
async def test_aiohttp_bounds_all_of_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time to connect is that of looking up the name, too; after it, nothing was sent."""
    monkeypatch.setattr(_pool, "CONNECT_TIMEOUT", 0.05)
    monkeypatch.setattr(aiohttp.TCPConnector, "_create_connection", connect_for_ever)
    async with over_aiohttp(URL) as bench:
        with pytest.raises(APIConnectionError, match="onnection timeout") as caught:
            await send(bench)
        assert not caught.value.sent
        assert bench.counted == 0
        with pytest.raises(APIConnectionError):
            await fetch(bench, "https://cdn.test/1.png")


@on_asyncio
async def test_aiohttp_knows_http_proxies_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A SOCKS proxy is told as a ConfigurationError, rather than failing each request."""
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:1")
    bench = Bench(transport="aiohttp")
    with pytest.raises(ConfigurationError, match="knows http proxies, not socks5"):
        await send(bench)


@on_asyncio
async def test_aiohttp_keeps_no_cookies_and_no_old_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its session is set up as httpx's own pool is."""
    monkeypatch.setattr(_pool, "KEEPALIVE", 0.08)
    ports: set[Any] = set()
    heads: list[bytes] = []

    async def handle(stream: SocketStream, request: bytes) -> None:
        heads.append(request)
        ports.add(id(stream))
        answer = raw_answer(reply().body)  # type: ignore[arg-type]  # it is a mapping
        await stream.send(answer.replace(b"\r\n\r\n", b"\r\nset-cookie: a=b\r\n\r\n", 1))

    async with raw_server(handle) as url, over_aiohttp(url.replace("127.0.0.1", "localhost")) as b:
        await read(b)
        await read(b)
        assert len(ports) == 1
        await anyio.sleep(0.2)
        await read(b)
    assert len(ports) == 2
    assert not any(b"cookie" in head.lower() for head in heads)


@on_trio
async def test_aiohttp_is_refused_under_trio() -> None:
    """Under trio transport="aiohttp" is a ConfigurationError that says what to do."""
    bench = Bench(transport="aiohttp")
    with pytest.raises(ConfigurationError, match="under asyncio only"):
        await send(bench)
    assert bench.in_flight == 0


def test_aiohttp_goes_on_in_a_second_loop(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """The named transport is made anew in each loop; the one before fails nothing."""
    client = client_of(emulator.url, transport="aiohttp")

    async def run() -> None:
        await client.run(REQUEST)

    async def close() -> None:
        await client.run(REQUEST)
        await client.aclose()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        anyio.run(run)
        anyio.run(close)
        gc.collect()
    assert "Event loop is closed" not in caplog.text
