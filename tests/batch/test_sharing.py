"""Workers of several hosts that share a journal: whoever is handed the requests again goes on.

A host is a folder of its own here, and a client whose limiter knows nothing. The dice of a test are
told where it fails.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import to_thread

from tests.batch.postgres import wait_until
from tests.batch.steps import read
from wavespeed_async import AsyncWaveSpeed, ConfigurationError, FluxDev, Limiter, Limits
from wavespeed_async.batch import JournalReader, State
from wavespeed_async.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from tests.batch.postgres import Server
    from wavespeed_async import Outcome

LIMITS = Limits(requests=120, per=0.6, min_poll_interval=0.01, grace=0.1)


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[Emulator]:
    """Run an emulator whose times are short."""
    usual: dict[str, Any] = {"latency": 0.1, "per": LIMITS.per, "pictures": False}
    async with Emulator(**{**usual, **settings}) as emulator:
        yield emulator


def client_of(emulator: Emulator) -> AsyncWaveSpeed:
    """Make a client as another host would."""
    return AsyncWaveSpeed("k", base_url=emulator.url, limiter=Limiter(LIMITS))


def prompts(count: int) -> list[FluxDev]:
    return [FluxDev(prompt=f"number {number}") for number in range(count)]


def check_all(outcomes: list[Outcome], emulator: Emulator, folder: Path) -> None:
    """See that each request has its picture here, and was made once."""
    made = Counter(prediction.fields["prompt"] for prediction in emulator.predictions)
    assert made == {request.prompt: 1 for request in prompts(len(outcomes))}
    assert [outcome.error for outcome in outcomes] == [None] * len(outcomes)
    for outcome in outcomes:
        assert outcome.paths[0].parent == folder
        assert outcome.paths[0].stat().st_size
    assert not [request for request in emulator.requests if request.status_code == 429]


async def test_another_host_goes_on_with_what_one_has_left(
    postgres: Server, tmp_path: Path
) -> None:
    """Left in the middle by one, a batch is brought to its end by another, each made once.

    What the first had saved the second fetches for itself: paths start at each one's own folder.
    """
    journal = postgres.journal()
    async with serving(latency=0.2) as emulator:
        async with (
            client_of(emulator) as client,
            client.batch(prompts(30), journal=journal, save_to=tmp_path / "one") as outcomes,
        ):
            for _ in range(3):
                await anext(outcomes)
        async with client_of(emulator) as client:
            ended = await client.run_all(prompts(30), journal=journal, save_to=tmp_path / "two")
        check_all(ended, emulator, tmp_path / "two")
        seen = len(emulator.requests)
        async with client_of(emulator) as client:
            again = await client.run_all(prompts(30), journal=journal, save_to=tmp_path / "two")
        assert len(emulator.requests) == seen
    assert [outcome.paths for outcome in again] == [outcome.paths for outcome in ended]
    assert {entry.paths[0] for entry in read(journal)} == {
        outcome.paths[0].name for outcome in ended
    }


async def test_only_one_at_a_time_is_let_in(postgres: Server) -> None:
    """A second worker is told at once that another has the journal; other requests are refused."""
    journal = postgres.journal()
    async with serving() as emulator, client_of(emulator) as one, client_of(emulator) as other:
        async with one.batch(prompts(3), journal=journal) as outcomes:
            with pytest.raises(ConfigurationError, match="in use by another run"):
                await other.run_all(prompts(3), journal=journal)
            ended = [outcome async for outcome in outcomes]
        with pytest.raises(ConfigurationError, match="is of other requests"):
            await other.run_all([FluxDev(prompt="another")], journal=journal)
    assert len(ended) == 3


def cut(server: Server) -> None:
    server.cut()


def restart(server: Server) -> None:
    server.stop()
    server.start()


@pytest.mark.parametrize("harm", [cut, restart])
async def test_a_database_that_fails_in_mid_run_costs_nothing(
    postgres: Server, tmp_path: Path, harm: Callable[[Server], None]
) -> None:
    """Its connections are cut, or it crashes and recovers: all pictures come, each made once."""
    journal, dice = postgres.journal(), random.Random(seed := random.randrange(10**6))
    async with serving(latency=0.2) as emulator, client_of(emulator) as client:
        ended: list[Outcome] = []

        async def run() -> None:
            ended.extend(await client.run_all(prompts(60), journal=journal, save_to=tmp_path))

        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await to_thread.run_sync(wait_until, lambda: emulator.predictions)
            for _ in range(6 if harm is cut else 2):
                await anyio.sleep(dice.uniform(0.02, 0.3))
                if not ended:
                    await to_thread.run_sync(harm, postgres)
        check_all(ended, emulator, tmp_path)
    states = Counter(entry.state for entry in read(journal))
    assert states == {State.SAVED: 60}, f"seed {seed}"


# --- workers that are killed ----------------------------------------------------------------------

PROMPTS = 60
KILLS = 14
STRICT: dict[str, Any] = {"requests": 18, "per": 1.0, "concurrency": 4}
MOMENTS = ("intent", "post", "answer", "download", "", "")


@contextmanager
def workers(folder: Path) -> Iterator[Callable[[dict[str, Any]], int]]:
    """Answer what runs the command line in a process of its own, and answers its exit code."""
    lines = [json.dumps({"model": "flux-dev", "prompt": f"{n}"}) for n in range(PROMPTS)]
    (folder / "prompts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    command = [sys.executable, str(Path(__file__).with_name("lives.py"))]
    with subprocess.Popen(  # noqa: S603 (our own program)
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        stdin, stdout = program.stdin, program.stdout
        assert stdin is not None
        assert stdout is not None

        def live(order: dict[str, Any]) -> int:
            stdin.write(json.dumps(order) + "\n")
            stdin.flush()
            return int(stdout.readline())

        yield live
        stdin.close()


def order(folder: Path, host: int, url: str, journal: str, *more: str) -> dict[str, Any]:
    """Say what a worker on some host is to run."""
    arguments = ["batch", str(folder / "prompts.jsonl"), "--out", str(folder / f"host-{host}")]
    arguments += ["--base-url", url, "--min-poll-interval", "0.02", "--journal", journal, *more]
    for name, value in STRICT.items():
        arguments += [f"--{name}", str(value)]
    return {"arguments": arguments, "out": str(folder / "out"), "err": str(folder / "err")}


def test_workers_that_are_killed_lose_nothing_and_pay_nothing_twice(
    postgres: Server, tmp_path: Path
) -> None:
    """Each killed in mid-batch, workers on three hosts bring a batch to its end.

    Every picture is made once and none is lost; no request passes the limits, though each worker's
    limiter is new.
    """
    journal, dice = postgres.journal(), random.Random(seed := random.randrange(10**6))
    told = f"seed {seed}"
    plan = [*MOMENTS] * (KILLS // len(MOMENTS) + 1)
    dice.shuffle(plan)
    killed = 0
    with (
        Emulator(latency=0.12, pictures=False, **STRICT) as emulator,
        workers(tmp_path) as live,
    ):
        for moment in plan[:KILLS]:
            one = order(tmp_path, dice.randrange(3), emulator.url, journal)
            if moment:
                one |= {"moment": moment, "number": dice.randint(1, 3), "seconds": 20.0}
            else:
                one["seconds"] = dice.uniform(0.3, 1.0)
            killed += live(one) == -9
        for _ in range(2):
            live(order(tmp_path, 0, emulator.url, journal))
        ended = live(order(tmp_path, 0, emulator.url, journal, "--resubmit-unconfirmed"))
        err = (tmp_path / "err").read_text(encoding="utf-8")
        assert ended == 0, (told, err[-2000:])
        made = Counter(prediction.fields["prompt"] for prediction in emulator.predictions)
        assert made == {f"{n}": 1 for n in range(PROMPTS)}, told
        assert not [request for request in emulator.requests if request.status_code == 429], told
    assert killed >= KILLS // 2, told
    entries = read(journal)
    assert {entry.state for entry in entries} == {State.SAVED}, told
    files = [tmp_path / "host-0" / path for entry in entries for path in entry.paths]
    assert len(files) == PROMPTS
    assert all(file.stat().st_size for file in files), told
    assert "Traceback" not in err
    with JournalReader(journal) as reader:
        assert len(reader.runs()) >= killed
