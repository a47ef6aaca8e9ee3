"""Real servers that tests start for themselves, on a free port and in a folder of their own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from attrs import define

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RedisServer", "redis_server"]

PATIENCE = 10.0


@define
class RedisServer:
    """Hold a Redis server, which can be stopped and started again on the same port.

    Attributes:
        folder: Where it keeps its data.
        port: Where it listens.
        password: What it asks for, or None.
    """

    folder: Path
    port: int
    password: str | None = None
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        login = f":{self.password}@" if self.password else ""
        return f"redis://{login}127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = ["--port", f"{self.port}", "--dir", f"{self.folder}", "--bind", "127.0.0.1"]
        options += ["--save", "", "--appendonly", "no", "--loglevel", "warning"]
        if self.password:
            options += ["--requirepass", self.password]
        self._process = subprocess.Popen(  # noqa: S603 (our own command)
            [_program(), *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + PATIENCE
        while not self._answers():
            assert time.monotonic() < until, "redis-server does not answer"
            time.sleep(0.01)

    def stop(self) -> None:
        """Kill it; what it held is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(1) in {b"+", b"-"}
        except OSError:
            return False


@contextmanager
def redis_server(password: str | None = None) -> Iterator[RedisServer]:
    """Run a Redis server; where there is none the test is skipped, but never in CI."""
    if shutil.which("redis-server") is None and not os.environ.get("CI"):
        pytest.skip("redis-server is not installed")
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder), _free_port(), password)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _program() -> str:
    return shutil.which("redis-server") or "redis-server"


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port
