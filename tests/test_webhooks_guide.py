"""Each block of the guide to webhooks does what it says."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.servers import redis_server
from wavespeed_async.emulator import Emulator

GUIDE = (Path(__file__).parents[1] / "docs" / "webhooks.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
APPLICATION, WORKER, TEST = [code for _, code in BLOCKS]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def environment(emulator: Emulator, **more: str) -> dict[str, str]:
    known = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    return {
        **known,
        "WAVESPEED_API_KEY": "a-key",
        "WAVESPEED_BASE_URL": emulator.url,
        "WAVESPEED_WEBHOOK_SECRET": emulator.settings.webhook_secret,
        **more,
    }


def test_every_block_is_tried() -> None:
    """There are three, all of them Python."""
    assert [language for language, _ in BLOCKS] == ["python"] * 3


def test_the_application_makes_pictures_by_webhooks(tmp_path: Path) -> None:
    """Its page answers a picture, for which one request was made; a forged call is refused."""
    port = free_port()
    script = tmp_path / "application.py"
    main = f"\n\nimport asyncio\n\nasyncio.run(serve({port}))\n"
    script.write_text(APPLICATION + main, encoding="utf-8")
    url = f"http://127.0.0.1:{port}"
    with Emulator(latency=0.2, pictures=False) as emulator:
        known = environment(emulator, HOOK_URL=f"{url}/hook")
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
    script = tmp_path / "worker.py"
    with Emulator(latency=0.2, pictures=False) as emulator, redis_server() as server:
        call = f"work({server.url!r}, 'http://127.0.0.1:1/')"
        with_timeout = f"asyncio.wait_for({call}, 60)"
        script.write_text(
            WORKER.replace("AsyncWaveSpeed(", "AsyncWaveSpeed(timeout=2.0, ")
            + f"\n\nimport asyncio\n\nasyncio.run({with_timeout})\n",
            encoding="utf-8",
        )
        ended = subprocess.run(  # noqa: S603 (the guide's own program)
            [sys.executable, "-W", "error", str(script)],
            cwd=tmp_path,
            env=environment(emulator),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert ended.stderr == ""
        assert ended.stdout.startswith(f"('{emulator.url}")


@pytest.mark.parametrize("code", [TEST])
def test_the_test_passes(code: str, tmp_path: Path) -> None:
    """As it stands, warnings being errors."""
    (tmp_path / "test_application.py").write_text(code, encoding="utf-8")
    known = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    command = ["-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "."]
    ended = subprocess.run(  # noqa: S603 (the guide's own test)
        [sys.executable, *command],
        cwd=tmp_path,
        env=known,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    assert re.search(r"\d passed", ended.stdout)
