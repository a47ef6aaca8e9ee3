"""What these tests share: a command line to call, and an emulator that answers at once."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from attrs import frozen

from wavespeed_async.cli import main
from wavespeed_async.emulator import Emulator

FAST = ("--per", "1", "--min-poll-interval", "0.02")
"""Scaled down to a window of a second: what polls are based on scales with it."""
SOON = 20.0
"""Seconds after which a test that waits for something gives up."""


@frozen
class Result:
    """Hold what a call of the command line left behind."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """The lines of stderr, without those of progress."""
        return [line for line in self.err.splitlines() if "requests, " not in f"{line}, "]

    @property
    def paths(self) -> list[Path]:
        """The lines of stdout."""
        return [Path(line) for line in self.out.splitlines()]


Cli: TypeAlias = Callable[..., Result]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WAVESPEED_API_KEY", "a-key")
    monkeypatch.delenv("WAVESPEED_BASE_URL", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Call the command line in process."""

    def call(*arguments: object) -> Result:
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return Result(code, out, err)

    return call


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """Run an emulator whose predictions take a moment."""
    with Emulator(latency=0.05, latency_cv=0, per=1, pictures=False) as running:
        yield running


def to(emulator: Emulator) -> tuple[str, ...]:
    """Name the options that lead to an emulator, with its limits."""
    return ("--base-url", emulator.url, *FAST)


def write_jsonl(path: Path, requests: list[dict[str, Any]]) -> Path:
    """Write a file of requests."""
    path.write_text("".join(json.dumps(request) + "\n" for request in requests), encoding="utf-8")
    return path


def results(folder: Path) -> list[dict[str, Any]]:
    """Read what became of the requests."""
    text = (folder / "results.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def await_true(told: Callable[[], bool]) -> None:
    """Wait for something to happen in another thread or process."""
    until = time.monotonic() + SOON
    while not told():
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.01)


@contextmanager
def once(told: Callable[[], bool], then: Callable[[], object]) -> Iterator[None]:
    """Do something from another thread as soon as something else has happened."""

    def watch() -> None:
        await_true(told)
        then()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def interrupt() -> None:
    """Press Ctrl-C in this process."""
    os.kill(os.getpid(), signal.SIGINT)


@contextmanager
def deaf_server() -> Iterator[str]:
    """Take every connection, read what comes, and hang up without an answer."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                heard = b""
                while not heard.endswith(b"}"):
                    heard += connection.recv(65536)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()
