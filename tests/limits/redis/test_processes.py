"""Several real processes on one account: over real sockets, on a real Redis, killed at any time."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.limits.redis.fleet import LEASE, LIMITS, Worker, await_all, await_made, fleet
from tests.limits.redis.server import RedisServer
from wavespeed_async.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redis import Redis

LATENCY = 0.3


def _api() -> Emulator:
    """Make an API that refuses what is over the limits."""
    return Emulator(
        requests=LIMITS.requests,
        per=LIMITS.per,
        concurrency=LIMITS.concurrency,
        latency=LATENCY,
        pictures=False,
    )


def _check(api: Emulator) -> None:
    """Fail where the API saw more than its limits."""
    assert api.most_requests_in_window <= LIMITS.requests
    assert api.most_running <= LIMITS.concurrency
    assert api.refused == 0


def test_four_processes_keep_the_limits_of_one(redis: RedisServer) -> None:
    """With jitter each way and clocks a second apart, no window and no moment has too much."""
    with _api() as api:
        with fleet(4, api=api.url, redis=redis.url, prompts=15) as workers:
            await_all(workers, 90)
        assert [len(worker.made) for worker in workers] == [15] * 4
        assert [worker.errors for worker in workers] == [[]] * 4
        _check(api)


def test_a_killed_process_costs_only_what_it_had_in_hand(redis: RedisServer) -> None:
    """Its requests and slots come back to the others, who keep the limits and finish."""
    with _api() as api:
        with fleet(4, api=api.url, redis=redis.url, prompts=20) as workers:
            await_made(workers, 10)
            workers[0].process.kill()
            await_all(workers[1:], 90)
        assert [len(worker.made) for worker in workers[1:]] == [20] * 3
        assert [worker.errors for worker in workers[1:]] == [[]] * 3
        _check(api)
        _everything_is_back(redis)


def _everything_is_back(redis: RedisServer) -> None:
    """No process, no request in flight and no waiter is left in Redis once all have ended."""
    with redis.client() as client:
        prefix = "{wavespeed-async:fleet}:"
        time.sleep(LEASE)
        assert client.hlen(f"{prefix}flights") == 0
        assert [*client.scan_iter(f"{prefix}queue:*")] == []
        assert client.hlen(f"{prefix}waits") == 0


def test_redis_is_killed_and_comes_back_with_its_data(own_redis: RedisServer) -> None:
    """The processes wait a window, go on, and lose nothing."""
    own_redis.kill()
    data = ["--appendonly", "yes", "--appendfsync", "always"]
    own_redis.start(*data)
    _run_through(own_redis, partial(_restart, own_redis, *data))


def test_redis_is_killed_and_comes_back_empty(own_redis: RedisServer) -> None:
    """What was granted before is honoured, although no store knows of it."""
    _run_through(own_redis, partial(_restart, own_redis))


def test_redis_fails_over_to_a_replica_that_lags(own_redis: RedisServer, tmp_path: Path) -> None:
    """A replica that has missed the last grants and answers takes over, and no limit is passed."""
    replica = RedisServer(tmp_path / "replica")
    replica.start("--replicaof", "127.0.0.1", str(own_redis.port))
    try:
        with _forwarder(own_redis.port) as (port, lead_to):

            def cut_off() -> None:
                with own_redis.client() as main, replica.client() as other:
                    replica.await_answer(_is_in_step)
                    other.replicaof("NO", "ONE")  # from here on it hears of nothing
                    before = main.hget("{wavespeed-async:fleet}:meta", "sequence")
                    time.sleep(0.5)
                    assert main.hget("{wavespeed-async:fleet}:meta", "sequence") != before
                own_redis.kill()
                lead_to(replica.port)

            _run_through(own_redis, cut_off, url=f"redis://127.0.0.1:{port}/0")
    finally:
        replica.kill()


SHARE = {"processes": 3, "requests": 12, "concurrency": 2}


def test_with_a_share_the_run_ends_without_redis(own_redis: RedisServer) -> None:
    """Redis is killed in mid-run and stays away: each process makes the rest with what it owns."""
    with _api() as api:
        with fleet(3, api=api.url, redis=own_redis.url, prompts=15, share=SHARE) as workers:
            await_made(workers, 10)
            own_redis.kill()
            await_all(workers, 90)
        _check_all_made(api, workers, 15)


def test_with_a_share_the_run_goes_on_while_redis_stands_still(own_redis: RedisServer) -> None:
    """What was on its way to it when it stopped is read when it goes on, and no limit is passed."""
    with _api() as api:
        with fleet(3, api=api.url, redis=own_redis.url, prompts=25, share=SHARE) as workers:
            await_made(workers, 10)
            own_redis.freeze()
            await_made(workers, 40)
            own_redis.thaw()
            await_all(workers, 90)
        _check_all_made(api, workers, 25)


def _check_all_made(api: Emulator, workers: list[Worker], prompts: int) -> None:
    assert [len(worker.made) for worker in workers] == [prompts] * len(workers)
    assert [worker.errors for worker in workers] == [[]] * len(workers)
    made = [name for worker in workers for name in worker.made]
    assert sorted(made) == sorted(prediction.id for prediction in api.predictions)
    _check(api)


def _restart(redis: RedisServer, *options: str) -> None:
    redis.kill()
    redis.start(*options)


def _run_through(redis: RedisServer, trouble: Any, url: str = "") -> None:
    """Have three processes make pictures, with trouble in the midst of it."""
    with _api() as api:
        with fleet(3, api=api.url, redis=url or redis.url, prompts=20) as workers:
            await_made(workers, 15)
            trouble()
            await_all(workers, 90)
        _check_all_made(api, workers, 20)


def _is_in_step(replica: Redis) -> bool:
    told: Any = replica.info("replication")
    return bool(told["master_link_status"] == "up")


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, targets: list[int], pairs: list[socket.socket]) -> None:
    """Lead each connection to the last of the targets, until the listener is closed."""
    while True:
        try:
            inner, _ = listener.accept()
        except OSError:
            return
        pairs.append(inner)
        try:
            outer = socket.create_connection(("127.0.0.1", targets[-1]))
        except OSError:
            inner.shutdown(socket.SHUT_RDWR)
            continue
        pairs.append(outer)
        for pair in ((inner, outer), (outer, inner)):
            threading.Thread(target=_pump, args=pair, daemon=True).start()


@contextmanager
def _forwarder(target: int) -> Iterator[tuple[int, Any]]:
    """Stand before a server as an address that moves to another one."""
    pairs: list[socket.socket] = []
    targets = [target]
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=_accept, args=(listener, targets, pairs), daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], targets.append
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for end in pairs:
            end.close()
