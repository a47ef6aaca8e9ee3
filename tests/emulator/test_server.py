"""The emulator on real sockets."""

from __future__ import annotations

import logging
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from wavespeed_async.emulator import Emulator
from wavespeed_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

FLUX = "/api/v2/wavespeed-ai/flux-dev"
KONTEXT = "/api/v3/wavespeed-ai/flux-kontext-dev/multi"
HELD = {"prompt": "p", "images": ["https://example.com/a.png"], "enable_sync_mode": True}


def client_of(emulator: Emulator) -> httpx.Client:
    return httpx.Client(base_url=emulator.url, headers={"authorization": "Bearer k"}, timeout=5)


def until(condition: Callable[[], Any], seconds: float = 5.0) -> None:
    """Wait for something that happens in another thread."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_it_starts_fast_and_leaves_nothing_behind() -> None:
    """It is up in less than 300 ms, and no thread or port of it is left afterwards."""
    before = set(threading.enumerate())
    start = time.perf_counter()
    with Emulator(latency=0.0) as emulator:
        assert time.perf_counter() - start < 0.3
        url = emulator.url
        with client_of(emulator) as client:
            assert client.get("/").status_code == 200
            assert client.get("/samples/mask.png").status_code == 200
    assert {t for t in threading.enumerate() if t.is_alive()} <= before
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


async def test_async_with_works_on_both_loops() -> None:
    """`async with` starts and stops it, and an async client is served."""
    async with (
        Emulator(latency=0.0, pictures=False) as emulator,
        httpx.AsyncClient(base_url=emulator.url) as client,
    ):
        answer = await client.post(FLUX, json={}, headers={"authorization": "Bearer k"})
        assert answer.status_code == 200
        assert answer.json()["data"]["urls"]["get"].startswith(emulator.url)


async def test_cancelling_stops_it_all_the_same() -> None:
    """A block that is cancelled leaves no server behind."""
    emulator = Emulator()
    with anyio.CancelScope() as scope:
        async with emulator:
            scope.cancel()
            await anyio.sleep(1)
    with pytest.raises(ConfigurationError):
        _ = emulator.url


def test_it_runs_once_at_a_time_and_again_afterwards() -> None:
    """Entering it twice is refused; entering it again later goes on with what it has seen."""
    emulator = Emulator(latency=0.0, pictures=False)
    for round_number in (1, 2):
        with emulator:
            with pytest.raises(ConfigurationError, match="already"):
                emulator.__enter__()
            with client_of(emulator) as client:
                client.post(FLUX, json={})
        assert len(emulator.predictions) == round_number


def test_a_port_in_use_is_an_os_error() -> None:
    """A port that is taken is reported to the caller, who keeps an emulator that can be used."""
    with Emulator() as first:
        port = int(first.url.rpartition(":")[2])
        second = Emulator(port=port)
        with pytest.raises(OSError, match="in use"):
            second.__enter__()
    with second:
        assert second.url.endswith(f":{port}")


@pytest.mark.parametrize("port", [-1, 65536, 99999])
def test_a_port_that_cannot_be_is_refused(port: int) -> None:
    """A port out of range is an error that says the range, before anything listens."""
    with pytest.raises(ConfigurationError, match=f"port must be from 0 to 65535: {port}"):
        Emulator(port=port)


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_it_listens_on_ipv6() -> None:
    """An IPv6 address is written in brackets."""
    try:
        with Emulator(host="::1") as emulator:
            assert emulator.url.startswith("http://[::1]:")
            assert httpx.get(emulator.url).status_code == 200
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")


def test_answers_come_without_delay_on_one_connection() -> None:
    """Twenty answers on a kept connection take far less than one delayed acknowledgement each."""
    with Emulator(latency=0.0, pictures=False) as emulator, client_of(emulator) as client:
        client.get("/")
        start = time.perf_counter()
        for _ in range(20):
            client.post(FLUX, json={})
        assert time.perf_counter() - start < 20 * 0.03


def test_a_lost_answer_closes_the_connection() -> None:
    """The submission is accepted, and the connection closed without an answer to it."""
    with Emulator(latency=0.0, pictures=False) as emulator, client_of(emulator) as client:
        emulator.next(lose=True, kind="submit")
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            client.post(FLUX, json={})
        assert len(emulator.predictions) == 1
        assert client.post(FLUX, json={}).status_code == 200
        assert [record.status_code for record in emulator.requests] == [None, 200]


def test_only_the_connection_of_the_lost_answer_is_closed() -> None:
    """Another client's connection stays open when an answer is lost."""
    with (
        Emulator(latency=1.0, latency_cv=0.0, pictures=False) as emulator,
        client_of(emulator) as client,
        client_of(emulator) as other,
    ):
        answers: list[httpx.Response] = []
        held = threading.Thread(target=lambda: answers.append(other.post(KONTEXT, json=HELD)))
        held.start()
        until(lambda: emulator.predictions)
        emulator.next(lose=True)
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            client.post(FLUX, json={})
        held.join()
    assert answers[0].json()["data"]["status"] == "completed"


def test_stopping_hangs_up_on_held_submissions() -> None:
    """A submission that is held does not keep the server from stopping."""
    raised: list[Exception] = []

    def post(client: httpx.Client) -> None:
        try:
            client.post(KONTEXT, json=HELD)
        except httpx.TransportError as error:
            raised.append(error)

    emulator = Emulator(latency=60.0, pictures=False)
    with emulator, client_of(emulator) as client:
        held = threading.Thread(target=post, args=[client])
        held.start()
        until(lambda: emulator.predictions)
        start = time.perf_counter()
        emulator.__exit__(None, None, None)
        assert time.perf_counter() - start < 1.0
        held.join()
    assert len(raised) == 1


def test_half_a_request_is_none(caplog: pytest.LogCaptureFixture) -> None:
    """A client that leaves within its request is neither counted nor logged as an error."""
    with caplog.at_level(logging.WARNING), Emulator() as emulator:
        host, _, port = emulator.url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as connection:
            head = f"POST {FLUX} HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n"
            connection.sendall(head.encode() + b"{")
            time.sleep(0.05)
        time.sleep(0.05)
        assert httpx.get(emulator.url).status_code == 200
    assert emulator.requests == ()
    assert caplog.records == []


def test_clients_in_many_threads_are_counted_right() -> None:
    """Requests that arrive at once are all counted, and just so many are refused."""
    with Emulator(requests=30, concurrency=1000, pictures=False) as emulator:

        def post() -> None:
            with client_of(emulator) as client:
                for _ in range(10):
                    client.post(FLUX, json={})

        threads = [threading.Thread(target=post) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (emulator.most_requests_in_window, emulator.refused) == (30, 20)
        assert len(emulator.predictions) == emulator.most_running == 30
