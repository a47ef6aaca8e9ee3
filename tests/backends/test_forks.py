"""Nothing is shared with a process that was forked off: no connection, and no window."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

from wavespeed_async import AsyncWaveSpeed, Limiter, Limits, _sharing
from wavespeed_async._loops import LoopClock
from wavespeed_async.emulator import Emulator
from wavespeed_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]

FORKED = """
import os, sys, warnings
import anyio
from wavespeed_async import AsyncWaveSpeed, ConfigurationError, Limiter, Limits

url = sys.argv[1]
client = AsyncWaveSpeed("key", base_url=url)
anyio.run(lambda: client.flux_dev(prompt="before"))
limiter = Limiter()
warnings.simplefilter("always")

async def use():
    for old in (client, AsyncWaveSpeed("key", base_url=url, limiter=limiter)):
        try:
            await old.flux_dev(prompt="child")
        except ConfigurationError as error:
            assert "RedisLimiter" in str(error), error
        else:
            os._exit(1)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        async with AsyncWaveSpeed("key", base_url=url) as new:
            assert "RedisLimiter" in str(told[0].message), told
            assert new.limiter is not client.limiter
            await new.flux_dev(prompt="child")
        async with AsyncWaveSpeed("key", base_url=url, limits=Limits(requests=60)) as share:
            await share.flux_dev(prompt="child")
        assert len(told) == 1, told
    await client.aclose()

child = os.fork()
if child == 0:
    try:
        anyio.run(use)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)
_, status = os.waitpid(child, 0)
assert status == 0, status
anyio.run(lambda: client.flux_dev(prompt="after"))
"""

WORKERS = """
import os
from functools import partial
from fastapi import FastAPI
from wavespeed_async import AsyncWaveSpeed, Limits
from wavespeed_async.backends.fastapi import Client, handle_errors, lifespan

early = AsyncWaveSpeed("another key")
share = partial(AsyncWaveSpeed, "key", limits=Limits(requests=60, concurrency=10))
app = FastAPI(lifespan=lifespan(share))
handle_errors(app)

@app.post("/picture")
async def picture(client: Client) -> int:
    await client.flux_dev(prompt="a fox")
    return os.getpid()

@app.post("/early")
async def use_early() -> None:
    await early.flux_dev(prompt="a fox")
"""


def test_what_was_made_before_a_fork_is_refused_after_it(tmp_path: Path) -> None:
    """A client and a limiter of the parent say so in the child, and go on in the parent."""
    (tmp_path / "forked.py").write_text(FORKED, encoding="utf-8")
    with Emulator(pictures=False, latency=0.1) as emulator:
        ended = subprocess.run(  # noqa: S603 (our own program)
            [sys.executable, "forked.py", emulator.url],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        prompts = [made.fields["prompt"] for made in emulator.predictions]
    assert ended.returncode == 0, ended.stderr
    assert prompts == ["before", "child", "child", "after"]


def test_another_process_is_told_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was made in one process cannot be entered in another, which the error explains."""
    limiter = Limiter()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    anyio.run(_enter, LoopClock())
    with pytest.raises(ConfigurationError, match="the limiter was made before this process"):
        anyio.run(limiter.acquire)


async def _enter(clock: LoopClock) -> None:
    assert clock.enter("it")


def test_a_second_set_of_limits_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that uses its parent's key is warned, unless it is given a part of the limits."""
    monkeypatch.setattr(_sharing, "_limiters", {})
    monkeypatch.setattr(_sharing, "_inherited", set())
    first = AsyncWaveSpeed("key-of-two")
    _sharing.begin_anew()
    with pytest.warns(RuntimeWarning, match="RedisLimiter"):
        second = AsyncWaveSpeed("key-of-two")
    assert second.limiter is not first.limiter
    anyio.run(second.aclose)
    AsyncWaveSpeed("key-of-two", limits=Limits(requests=60))
    AsyncWaveSpeed("another-key")


@pytest.fixture
def preloaded(tmp_path: Path) -> Iterator[tuple[str, Emulator]]:
    """Run gunicorn with two workers that were forked off after the application was loaded."""
    (tmp_path / "workers.py").write_text(WORKERS, encoding="utf-8")
    with Emulator(pictures=False, latency=0.1) as emulator:
        command = [sys.executable, "-m", "gunicorn", "workers:app", "--preload", "--workers", "2"]
        command += ["--worker-class", "asgi", "--bind", "127.0.0.1:0", "--no-control-socket"]
        environment = {**os.environ, "WAVESPEED_BASE_URL": emulator.url}
        server = subprocess.Popen(  # noqa: S603 (our own command)
            command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
        )
        try:
            assert server.stderr is not None
            for line in server.stderr:
                if "Listening at: " in line:
                    yield line.split()[-2], emulator
                    break
            else:
                pytest.fail("gunicorn did not start")
        finally:
            server.terminate()
            server.communicate(timeout=30)


def test_gunicorns_preloaded_workers_have_clients_of_their_own(
    preloaded: tuple[str, Emulator],
) -> None:
    """Each worker's lifespan makes a client; one that was made while loading is refused."""
    url, emulator = preloaded
    workers: set[int] = set()
    until = time.monotonic() + 30
    while len(workers) < 2 and time.monotonic() < until:
        answer = httpx.post(f"{url}/picture", timeout=20.0)
        assert answer.status_code == 200
        workers.add(answer.json())
    assert len(workers) == 2
    made = len(emulator.predictions)
    assert httpx.post(f"{url}/early").status_code == 500
    assert len(emulator.predictions) == made
