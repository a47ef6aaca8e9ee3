"""Faults as clients meet them: on sockets, and in process."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from tests.emulator.account import FLUX, KEY, until
from wavespeed_async.emulator import Emulator, Faults
from wavespeed_async.testing import virtual_backend

if TYPE_CHECKING:
    from collections.abc import Iterator

CUT = (httpx.RemoteProtocolError, httpx.ReadError)


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(latency=0.0, pictures=False, faults=Faults(slowness=0.4)) as emulator:
        yield emulator


def post(emulator: Emulator, fault: str, timeout: float = 5.0) -> httpx.Response:
    prompt = f"a lake [fault: {fault}]"
    return httpx.post(emulator.url + FLUX, json={"prompt": prompt}, headers=KEY, timeout=timeout)


@pytest.mark.parametrize(("fault", "made"), [("lost", 1), ("reset", 1)])
def test_a_connection_that_is_closed(emulator: Emulator, fault: str, made: int) -> None:
    """A closed connection is an error of the transport, behind which something may be made."""
    with pytest.raises(CUT):
        post(emulator, fault)
    assert len(emulator.predictions) == made
    assert [record.fault for record in emulator.requests] == [fault]
    assert post(emulator, "wrong-origin").status_code == 200


def test_after_refused_nobody_can_connect_for_a_while() -> None:
    """The request is answered on a connection that is then closed; the next is refused, unseen."""
    faults = Faults(outage=1.0)
    with (
        Emulator(latency=0.0, pictures=False, faults=faults) as emulator,
        httpx.Client(base_url=emulator.url, headers=KEY) as client,
    ):
        answer = client.post(FLUX, json={"prompt": "[fault: refused]"})
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        with pytest.raises(httpx.ConnectError):
            client.post(FLUX, json={})
        until(lambda: is_let_in(client))
        assert client.post(FLUX, json={}).status_code == 200
        assert [record.fault for record in emulator.requests] == ["refused", None]


def test_connections_are_refused_for_as_long_as_was_said(emulator: Emulator) -> None:
    """Whoever had a connection has none any more, and finds the same port again afterwards."""
    with httpx.Client(base_url=emulator.url, headers=KEY) as client:
        client.post(FLUX, json={})
        emulator.refuse_connections(0.1)
        emulator.refuse_connections(1.0)
        for _ in range(2):
            with pytest.raises(httpx.ConnectError):
                client.post(FLUX, json={})
            time.sleep(0.15)
        until(lambda: is_let_in(client))
        assert client.post(FLUX, json={}).status_code == 200
    assert len(emulator.requests) == 2


def test_what_is_being_answered_when_connections_are_refused_is_answered(
    emulator: Emulator,
) -> None:
    """An answer that has begun comes whole, and its connection is closed after it."""
    with httpx.Client(base_url=emulator.url, headers=KEY) as client:
        with client.stream("POST", FLUX, json={}, headers=TRICKLE) as answer:
            emulator.refuse_connections(10.0)
            assert answer.read().startswith(b'{"code":200')
        # The server closes a moment after its last byte.
        until(lambda: not client_is_open(client))
        with pytest.raises(httpx.ConnectError):
            client.post(FLUX, json={})


def is_let_in(client: httpx.Client) -> bool:
    """Tell whether the client can connect."""
    try:
        client.get("/openapi.json")
    except httpx.ConnectError:
        return False
    return True


def client_is_open(client: httpx.Client) -> bool:
    """Tell whether the client has a connection that the server has left open."""
    transport = client._transport
    assert isinstance(transport, httpx.HTTPTransport)
    return not all(connection.has_expired() for connection in transport._pool.connections)


def test_it_stops_while_nobody_can_connect() -> None:
    """An emulator that refuses connections stops at once, and its port is free."""
    with Emulator(latency=0.0, pictures=False) as emulator:
        port = int(emulator.url.rpartition(":")[2])
        emulator.refuse_connections(3600.0)
    with Emulator(port=port) as emulator:
        assert httpx.get(emulator.url).status_code == 200


def test_a_slow_first_byte(emulator: Emulator) -> None:
    """The first byte comes late, and all of the answer with it."""
    start = time.perf_counter()
    with httpx.stream("POST", emulator.url + FLUX, json={}, headers=SLOW) as answer:
        assert time.perf_counter() - start >= 0.4
        answer.read()
        assert answer.json()["code"] == 200


SLOW = {**KEY, "x-emulator-fault": "slow"}
TRICKLE = {**KEY, "x-emulator-fault": "trickle"}


def test_a_slow_trickle(emulator: Emulator) -> None:
    """The head comes at once, the body in pieces over some time, and whole in the end."""
    start = time.perf_counter()
    with httpx.stream("POST", emulator.url + FLUX, json={}, headers=TRICKLE) as answer:
        assert time.perf_counter() - start < 0.3
        pieces = [*answer.iter_raw()]
    assert time.perf_counter() - start >= 0.3
    assert len(pieces) > 3
    assert b"".join(pieces).startswith(b'{"code":200')


@pytest.mark.parametrize("fault", ["slow", "trickle"])
def test_stopping_does_not_wait_for_what_is_slow(fault: str) -> None:
    """An answer that would take an hour does not keep the emulator from stopping."""
    faults = Faults(slowness=3600.0)
    with Emulator(latency=0.0, pictures=False, faults=faults) as emulator:
        with pytest.raises(httpx.ReadTimeout):
            post(emulator, fault, timeout=0.1)
        time.sleep(0.1)
        with pytest.raises(httpx.ReadTimeout):
            post(emulator, fault, timeout=0.1)
        start = time.perf_counter()
    assert time.perf_counter() - start < 1.0
    assert not [t for t in threading.enumerate() if t.name == "wavespeed emulator"]


def test_answers_that_cannot_be_read(emulator: Emulator) -> None:
    """Garbage and half of the JSON come with HTTP 200; null data is an envelope."""
    for fault in ("garbage", "truncated"):
        answer = post(emulator, fault)
        assert answer.status_code == 200
        assert int(answer.headers["content-length"]) == len(answer.content)
        with pytest.raises(ValueError, match=r"."):
            answer.json()
    assert post(emulator, "null-data").json() == {"code": 200, "message": "success", "data": None}
    assert len(emulator.predictions) == 3


def test_errors_of_the_server(emulator: Emulator) -> None:
    """Errors come as JSON or as a page; under HTTP 200 the envelope says what is wrong."""
    answer = post(emulator, "error-json")
    assert answer.status_code == answer.json()["code"] >= 500
    answer = post(emulator, "error-html")
    assert answer.status_code >= 500
    assert answer.headers["content-type"].startswith("text/html")
    answer = post(emulator, "error-under-200")
    assert (answer.status_code, answer.json()["code"]) == (200, 500)
    assert "data" not in answer.json()


def test_an_address_of_another_server(emulator: Emulator) -> None:
    """`urls.get` leads elsewhere, while the id and the outputs are right."""
    told = post(emulator, "wrong-origin").json()["data"]
    assert told["urls"]["get"] == (
        f"https://elsewhere.example/api/v3/predictions/{told['id']}/result"
    )
    assert told["id"] == emulator.predictions[0].id


def test_rates_befall_requests_on_sockets() -> None:
    """A rate of 1 befalls every request, without header or marker."""
    with Emulator(latency=0.0, pictures=False, faults=Faults(null_data=1.0)) as emulator:
        for _ in range(2):
            answer = httpx.post(emulator.url + FLUX, json={}, headers=KEY)
            assert answer.json()["data"] is None
    assert [record.fault for record in emulator.requests] == ["null-data"] * 2


def test_an_input_that_cannot_be_drawn_is_no_error_of_the_emulator() -> None:
    """Behind a lost answer the inputs are checked all the same."""
    body = {"image": "data:image/png;base64,aaaa"}
    path = "/api/v3/wavespeed-ai/flux-redux-dev"
    with Emulator(latency=0.0) as emulator:
        emulator.next(fault="error-html")
        assert httpx.post(emulator.url + path, json=body, headers=KEY).status_code >= 500
        assert [str(p.status) for p in emulator.predictions] == ["failed"]


class TestInProcess:
    """The same without sockets, by a clock that jumps."""

    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
        return virtual_backend(request.param)

    async def post(self, emulator: Emulator, fault: str) -> httpx.Response:
        transport = httpx.ASGITransport(emulator.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            body = {"prompt": f"[fault: {fault}]"}
            return await client.post(FLUX, json=body, headers=KEY, timeout=None)

    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            ("lost", httpx.ReadError),
            ("reset", httpx.ReadError),
        ],
    )
    async def test_closed_connections_are_errors(self, fault: str, error: type[Exception]) -> None:
        """In process a closed connection is the error that a transport would raise."""
        emulator = Emulator(latency=0.0, pictures=False, time_source=anyio.current_time)
        with pytest.raises(error):
            await self.post(emulator, fault)
        assert len(emulator.predictions) == 1
        assert (await self.post(emulator, "wrong-origin")).status_code == 200

    async def test_after_refused_nobody_can_connect_for_a_while(self) -> None:
        """The request is answered, the next is refused and unseen, and later ones are answered."""
        emulator = Emulator(latency=0.0, pictures=False, time_source=anyio.current_time)
        assert (await self.post(emulator, "refused")).status_code == 200
        with pytest.raises(httpx.ConnectError):
            await self.post(emulator, "wrong-origin")
        await anyio.sleep(0.2)
        assert (await self.post(emulator, "wrong-origin")).status_code == 200
        assert [record.fault for record in emulator.requests] == ["refused", "wrong-origin"]

    async def test_connections_are_refused_for_as_long_as_was_said(self) -> None:
        """`refuse_connections` lets nobody connect for so long by the emulator's clock."""
        emulator = Emulator(latency=0.0, pictures=False, time_source=anyio.current_time)
        emulator.refuse_connections(60.0)
        await anyio.sleep(59.9)
        with pytest.raises(httpx.ConnectError):
            await self.post(emulator, "wrong-origin")
        await anyio.sleep(0.1)
        assert (await self.post(emulator, "wrong-origin")).status_code == 200
        assert len(emulator.requests) == 1

    @pytest.mark.parametrize("fault", ["slow", "trickle"])
    async def test_slowness_takes_virtual_time(self, fault: str) -> None:
        """Slow answers take their time by the virtual clock, and come whole."""
        faults = Faults(slowness=1000.0)
        emulator = Emulator(pictures=False, faults=faults, time_source=anyio.current_time)
        start = anyio.current_time()
        answer = await self.post(emulator, fault)
        assert 800.0 <= anyio.current_time() - start <= 1001.0
        assert answer.json()["data"]["status"] == "created"

    async def test_a_failure_of_the_app_leaves_no_request_open(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A request that breaks the app itself is not open for ever."""
        emulator = Emulator(
            pictures=False, concurrency=1, concurrency_counts="requests", latency=0.0
        )

        def broken(*_: object, **__: object) -> None:
            message = "broken"
            raise RuntimeError(message)

        name = "wavespeed_async.emulator._app.prediction_data"
        with monkeypatch.context() as patch:
            patch.setattr(name, broken)
            with pytest.raises(RuntimeError, match="broken"):
                await self.post(emulator, "wrong-origin")
        assert (await self.post(emulator, "wrong-origin")).status_code == 200
