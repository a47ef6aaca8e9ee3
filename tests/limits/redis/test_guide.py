"""The page about processes does what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wavespeed_async.emulator import Emulator

if TYPE_CHECKING:
    from tests.limits.redis.server import RedisServer

PAGE = (Path(__file__).parents[3] / "docs" / "processes.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_its_program_makes_a_picture(redis: RedisServer) -> None:
    """Given a key, the emulator's address, a Redis, and times that are scaled down."""
    program, _, _ = PROGRAMS
    scaled = {"redis://localhost:6379/0": redis.url, "Limits()": "Limits(per=1.0, grace=0.1)"}
    for told, here in scaled.items():
        assert told in program
        program = program.replace(told, here)
    with Emulator(latency=0.2, pictures=False) as emulator:
        settings = {"WAVESPEED_API_KEY": "a-key", "WAVESPEED_BASE_URL": emulator.url}
        ended = subprocess.run(  # noqa: S603 (the page's own program)
            [sys.executable, "-W", "error", "-c", program],
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.stderr == ""
        assert emulator.url in ended.stdout


def test_its_parts_are_what_it_says() -> None:
    """The program without Redis runs, and its comment tells the part of each process."""
    _, _, program = PROGRAMS
    given: dict[str, Any] = {}
    exec(program, given)  # noqa: S102 (the page's own program)
    limits = given["client"].limiter.limits
    assert f"{limits.requests} a minute, {limits.concurrency} running" in program


def test_its_share_is_what_it_says() -> None:
    """The limiter with a share is made, and its comment tells what Redis keeps."""
    _, program, _ = PROGRAMS
    given: dict[str, Any] = {}
    exec(program, given)  # noqa: S102 (the page's own program)
    rest = given["limiter"]._rest
    assert f"Redis keeps {rest.requests} a minute, {rest.concurrency} running" in program
    own = given["limiter"]._own
    assert f"make {4 * own.requests} requests a minute" in " ".join(PAGE.split())
    assert f"alone has {rest.requests + own.requests} requests" in " ".join(PAGE.split())
