"""Requests a second that the emulator answers on one core, without pictures.

The emulator has one core to itself and the clients the others, each client a process with one
connection of its own that asks as fast as it is answered: so the emulator is never the one that
waits. Half of the requests submit, half poll. The target is 2,000 a second.

    python benchmarks/emulator.py [SECONDS] [CLIENTS]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import statistics
import time
from typing import TYPE_CHECKING

from wavespeed_async.emulator import Emulator

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

TARGET = 2000
BODY = json.dumps({"prompt": "a lighthouse at dusk", "size": "1024*1024", "seed": 7}).encode()
MANY = 10**9


def serve(core: int | None, control: Connection) -> None:
    """Run the emulator on one core until told to stop; tell its address and its CPU time."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    with Emulator(
        latency=0.0, pictures=False, requests=MANY, concurrency=MANY, balance=MANY
    ) as emulator:
        control.send(emulator.url)
        control.recv()
        before = time.process_time()
        control.send(None)
        control.recv()
        control.send((time.process_time() - before, len(emulator.requests)))


def ask(url: str, begin: float, until: float, results: Connection) -> None:
    """Submit and poll by turns over a bare socket; tell how long each answer took."""
    time.sleep(max(begin - time.time(), 0.0))
    host, _, port = url.removeprefix("http://").partition(":")
    took: list[float] = []
    head = f"Host: {host}\r\nAuthorization: Bearer key\r\nContent-Type: application/json\r\n"
    submit = f"POST /api/v2/wavespeed-ai/flux-dev HTTP/1.1\r\n{head}Content-Length: {len(BODY)}"
    with socket.create_connection((host, int(port))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while time.time() < until:
            began = time.perf_counter()
            connection.sendall(submit.encode() + b"\r\n\r\n" + BODY)
            answer = _read(connection)
            took.append(time.perf_counter() - began)
            path = f"/api/v3/predictions/{answer['data']['id']}/result"
            began = time.perf_counter()
            connection.sendall(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
            answer = _read(connection)
            took.append(time.perf_counter() - began)
            if answer["data"]["status"] != "completed":
                raise ValueError(answer)
    results.send(took)


def _read(connection: socket.socket) -> dict[str, dict[str, str]]:
    """Read one answer that has a Content-Length."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise ValueError(head)
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)
    answer: dict[str, dict[str, str]] = json.loads(body)
    return answer


def main(seconds: float, clients: int) -> None:
    """Print a table, and the same as JSON."""
    spawn = multiprocessing.get_context("spawn")
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    control, other = spawn.Pipe()
    server = spawn.Process(target=serve, args=(cores[0] if cores else None, other))
    server.start()
    url: str = control.recv()
    if cores[1:]:
        os.sched_setaffinity(0, set(cores[1:]))
    pipes = [spawn.Pipe() for _ in range(clients)]
    begin = time.time() + 2  # by then all clients are up
    asking = [
        spawn.Process(target=ask, args=(url, begin, begin + seconds, theirs)) for _, theirs in pipes
    ]
    for process in asking:
        process.start()
    control.send(None)
    control.recv()
    took = sorted(one for ours, _ in pipes for one in ours.recv())
    control.send(None)
    cpu, requests = control.recv()
    for process in (*asking, server):
        process.join()
    report = {
        "benchmark": "emulator",
        "requests": requests,
        "clients": clients,
        "requests_a_second": round(requests / seconds),
        "requests_a_cpu_second": round(requests / cpu),
        "cpu_share": round(cpu / seconds, 2),
        "median_ms": round(statistics.median(took) * 1000, 2),
        "p99_ms": round(took[int(len(took) * 0.99)] * 1000, 2),
        "target": TARGET,
    }
    print(f"{report['requests_a_second']:6} requests a second ({clients} clients, target {TARGET})")
    print(
        f"{report['requests_a_cpu_second']:6} requests a second of CPU, {report['cpu_share']} used"
    )
    print(f"{report['median_ms']:6} ms median, {report['p99_ms']} ms at the 99th percentile")
    print(json.dumps(report))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("seconds", type=float, nargs="?", default=5.0, help="how long to ask")
    parser.add_argument("clients", type=int, nargs="?", default=4, help="how many ask at once")
    main(**vars(parser.parse_args()))
