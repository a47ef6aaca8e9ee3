"""Run the command line in a process of its own, and kill it at a chosen moment.

A program: it reads a line of JSON for each life from stdin, and writes one about its end to stdout.
It forks for each life, so that a life begins at once; the process that dies is a whole one.

A life ends where it is told: at the n-th time that one of MOMENTS comes, by itself, or after some
seconds, by its parent; always by SIGKILL, which nothing can catch.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from functools import partial
from typing import Any

import httpx

from wavespeed_async.cli import _app, main
from wavespeed_async.limits import Limits

GRACE = 0.5
"""Seconds for which a request that was given up may be on its way: scaled down, but less than the
others are, since how long a busy machine lets the emulator wait does not scale."""

MOMENTS = ("intent", "post", "answer", "download")
"""Between the intent on the disk and the POST; between the POST and its answer; between the answer
and the id on the disk; while an output is fetched."""


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_at(moment: str, number: int) -> None:
    """Have this process die when that moment comes for that time."""
    left = number
    real = httpx.AsyncHTTPTransport.handle_async_request

    def pass_by(now: str) -> None:
        nonlocal left
        left -= now == moment
        if left == 0 and now == moment:
            _die()

    async def handle(self: Any, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path.startswith("/outputs/"):
            response = await real(self, request)
            pass_by("download")
            return response
        if request.method != "POST" or path == "/api/v3/predictions":
            return await real(self, request)
        pass_by("intent")
        trace = request.extensions["trace"]

        async def traced(name: str, info: Any) -> None:
            await trace(name, info)
            if name.endswith("send_request_body.complete"):
                pass_by("post")

        request.extensions["trace"] = traced
        response = await real(self, request)
        pass_by("answer")
        return response

    httpx.AsyncHTTPTransport.handle_async_request = handle  # type: ignore[method-assign]  # it is to die there


def _live(order: dict[str, Any]) -> None:
    for stream, name in ((1, "out"), (2, "err")):
        file = os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, stream)
    vars(_app)["Limits"] = partial(Limits, grace=GRACE)  # there is no option for it
    if order.get("moment"):
        _kill_at(order["moment"], order["number"])
    code = 99
    try:
        code = main(order["arguments"])
    finally:
        os._exit(code)


def _watch(child: int, seconds: float | None) -> int:
    until = time.monotonic() + (seconds or 1e9)
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            until += 1e9
        time.sleep(0.001)


def _serve() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            _live(order)
        sys.stdout.write(f"{_watch(child, order.get('seconds'))}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    os.environ["WAVESPEED_API_KEY"] = "a-key"
    _serve()
