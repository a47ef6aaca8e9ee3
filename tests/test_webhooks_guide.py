"""Each block of the guide to webhooks does what it says."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import httpx

from tests.docs.blocks import blocks_of, environment, ran_program, ran_tests
from tests.servers import redis_server
from wavespeed_async.emulator import Emulator

if TYPE_CHECKING:
    from pathlib import Path

APPLICATION, WORKER, TEST = [block.code for block in blocks_of("docs/webhooks.md")]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def test_every_block_is_tried() -> None:
    """There are three, all of them Python."""
    assert [block.language for block in blocks_of("docs/webhooks.md")] == ["python"] * 3


def test_the_application_makes_pictures_by_webhooks(tmp_path: Path) -> None:
    """Its page answers a picture, for which one request was made; a forged call is refused."""
    port = free_port()
    script = tmp_path / "application.py"
    main = f"\n\nimport asyncio\n\nasyncio.run(serve({port}))\n"
    script.write_text(APPLICATION + main, encoding="utf-8")
    url = f"http://127.0.0.1:{port}"
    with Emulator(latency=0.2, pictures=False) as emulator:
        known = environment(
            WAVESPEED_BASE_URL=emulator.url,
            WAVESPEED_WEBHOOK_SECRET=emulator.settings.webhook_secret,
            HOOK_URL=f"{url}/hook",
        )
        with subprocess.Popen(  # noqa: S603 (the guide's own program)
            [sys.executable, "-W", "error", str(script)], cwd=tmp_path, env=known
        ) as running:
            try:
                picture = asked(f"{url}/picture?prompt=a+lake")
                forged = httpx.post(f"{url}/hook", content=b"{}")
            finally:
                running.terminate()
        assert picture.startswith(emulator.url)
        assert forged.status_code == 401
        assert [request.kind for request in emulator.requests] == ["submit"]


def asked(url: str) -> str:
    """Ask for a page of an application that is just starting."""
    until = time.monotonic() + 30
    while True:
        try:
            return httpx.get(url, timeout=30).text
        except httpx.ConnectError:
            assert time.monotonic() < until
            time.sleep(0.05)


def test_the_worker_makes_pictures(tmp_path: Path) -> None:
    """With a Redis it makes its picture, by a poll, since nobody is called."""
    with Emulator(latency=0.2, pictures=False) as emulator, redis_server() as server:
        call = f"work({server.url!r}, 'http://127.0.0.1:1/')"
        code = WORKER.replace("AsyncWaveSpeed(", "AsyncWaveSpeed(timeout=2.0, ")
        code += f"\n\nimport asyncio\n\nasyncio.run(asyncio.wait_for({call}, 60))\n"
        told = ran_program(code, tmp_path, emulator, WAVESPEED_WEBHOOK_SECRET="unused")
        assert told.startswith(f"('{emulator.url}")


def test_the_test_passes(tmp_path: Path) -> None:
    """As it stands, warnings being errors."""
    ran_tests(TEST, tmp_path)
