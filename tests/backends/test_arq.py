"""arq: a worker that is killed, whose jobs are handed out again, on real Redis."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.emulator.account import until
from wavespeed_async.batch import JournalReader, State
from wavespeed_async.emulator import Emulator

if not os.environ.get("CI"):  # there nothing is skipped: what is missing fails
    pytest.importorskip("arq")
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed", allow_module_level=True)

from arq import create_pool
from arq.connections import RedisSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from arq.jobs import JobResult

EXAMPLE = Path(__file__).parents[2] / "examples" / "arq_worker.py"
LIMITS = '{"requests": 120, "per": 1.0, "min_poll_interval": 0.02, "grace": 0.1}'
SHARDS, OF_EACH = 8, 50


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    """Run a Redis of this test's own; answer its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--save", "", "--bind", "127.0.0.1"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) as server:  # noqa: S603 (a server of our own)
        until(lambda: _listens(port), 20)
        yield f"redis://127.0.0.1:{port}"
        server.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def program(folder: Path, redis: str, *arguments: str, url: str = "") -> Iterator[Any]:
    """Run the example in a process of its own."""
    environment = {**os.environ, "WAVESPEED_API_KEY": "a-key", "WAVESPEED_BASE_URL": url}
    with (
        (folder / "told").open("a") as told,
        subprocess.Popen(  # noqa: S603 (our own program)
            [sys.executable, str(EXAMPLE), "--redis", redis, *arguments],
            cwd=folder,
            env=environment,
            stdout=told,
            stderr=told,
        ) as running,
    ):
        yield running


def results(redis: str) -> list[JobResult]:
    """Read what became of the jobs."""

    async def read() -> list[JobResult]:
        pool = await create_pool(RedisSettings.from_dsn(redis))
        found = await pool.all_job_results()
        await pool.aclose()
        return found

    return asyncio.run(read())


def test_ten_kills_of_the_worker_cost_nothing(tmp_path: Path, redis: str) -> None:
    """The worker is killed ten times in a run of 400: all pictures, none paid twice.

    After each death another worker is started; nobody puts a job into the queue again.
    """
    seed = random.randrange(10**6)
    dice = random.Random(seed)
    told = f"seed {seed}"
    prompts = [f"number {number}" for number in range(SHARDS * OF_EACH)]
    (tmp_path / "prompts.txt").write_text("\n".join(prompts), "utf-8")
    with program(tmp_path, redis, "enqueue", "prompts.txt", "--shard", str(OF_EACH)) as adding:
        assert adding.wait(60) == 0, told
    work = ("work", "pictures", "--burst", "--resubmit-unconfirmed", "--limits", LIMITS)
    with Emulator(latency=0.12, per=1.0, pictures=False) as emulator:
        for after in sorted(dice.sample(range(5, 380), 10)):
            with program(tmp_path, redis, *work, url=emulator.url) as worker:
                until(lambda least=after: len(emulator.predictions) >= least, 60)  # type: ignore[misc]  # mypy knows no defaults of lambdas
                time.sleep(dice.uniform(0.0, 0.2))
                worker.send_signal(signal.SIGKILL)
            assert worker.returncode == -signal.SIGKILL, told
        with program(tmp_path, redis, *work, url=emulator.url) as worker:
            assert worker.wait(60) == 0, (told, (tmp_path / "told").read_text("utf-8"))
        made = Counter(prediction.fields["prompt"] for prediction in emulator.predictions)
        assert made == Counter(prompts), told
        assert emulator.refused == 0, told
    ended = [result.result for result in results(redis)]
    assert ended == [{"made": OF_EACH, "failed": {}}] * SHARDS, told
    journals = [*(tmp_path / "pictures").glob("*/journal.sqlite")]
    assert len(journals) == SHARDS, told
    for journal in journals:
        with JournalReader(journal) as reader:
            assert {entry.state for entry in reader.entries()} == {State.SAVED}, told
