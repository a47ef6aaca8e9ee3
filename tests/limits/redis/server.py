"""A Redis server of a test's own, on a free port and in a folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, field
from redis import Redis
from redis.exceptions import RedisError

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = shutil.which("redis-server")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def require_redis() -> None:
    """Skip a test where there is no Redis; in CI there has to be one."""
    if COMMAND is None:
        assert not os.environ.get("CI"), "CI has to have redis-server"
        pytest.skip("redis-server is not installed")


@define
class RedisServer:
    """Start and kill a server; it keeps its port, and its folder."""

    folder: Path
    port: int = field(factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> Redis:
        return Redis.from_url(self.url, decode_responses=True)

    def start(self, *options: str) -> None:
        assert COMMAND is not None
        self.folder.mkdir(exist_ok=True)
        basic = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self.process = subprocess.Popen(  # noqa: S603 (our own command)
            [COMMAND, *basic, "--dir", str(self.folder), *options], stdout=subprocess.DEVNULL
        )
        self.await_answer()

    def await_answer(self, until: Any = None) -> None:
        deadline = time.monotonic() + 10
        while True:
            try:
                with self.client() as client:
                    client.ping()
                    if until is None or until(client):
                        return
            except RedisError:
                pass
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def freeze(self) -> None:
        """Have it stand still: connections stay open, nothing is answered."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Have it go on where it was."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
