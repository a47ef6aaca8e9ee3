"""A batch that is killed a hundred times: no picture is lost, none is paid for twice.

The batch is the real command line in processes of its own, each ended by SIGKILL; the emulator is
as strict as the API about its limits. The dice of a run are told where it fails.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, field

from tests.batch.lives import MOMENTS
from wavespeed_async.batch import EntryRecord, JournalReader, State
from wavespeed_async.emulator import Emulator
from wavespeed_async.emulator._faults import Faults

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wavespeed_async.batch import EntryRecord

PROMPTS = 200
KILLS = 100
OF_EACH = 12
LIMITS: dict[str, Any] = {"requests": 18, "per": 1.0, "concurrency": 4}
KILLED = -9


@define
class Lives:
    """Give the command line one life after another, in one folder."""

    program: subprocess.Popen[str]
    folder: Path
    url: str
    ended: Counter[str] = field(factory=Counter)

    def live(self, *more: str, moment: str = "", number: int = 0, seconds: float = 0.0) -> int:
        """Run the batch until its end, or until it is killed; answer its exit code."""
        arguments = ["batch", str(self.folder / "prompts.jsonl"), "--out", str(self.out)]
        arguments += ["--base-url", self.url, "--min-poll-interval", "0.02", *more]
        for name, value in LIMITS.items():
            arguments += [f"--{name}", str(value)]
        order: dict[str, Any] = {"arguments": arguments, "moment": moment, "number": number}
        order |= {"out": str(self.folder / "out"), "err": str(self.folder / "err")}
        if seconds:
            order["seconds"] = seconds
        assert self.program.stdin is not None
        assert self.program.stdout is not None
        self.program.stdin.write(json.dumps(order) + "\n")
        self.program.stdin.flush()
        code = int(self.program.stdout.readline())
        if code == KILLED:
            self.ended[moment or "any"] += 1
        return code

    @property
    def out(self) -> Path:
        """The folder of the pictures."""
        return self.folder / "out-folder"

    def entries(self) -> list[EntryRecord]:
        """Read the journal."""
        with JournalReader(self.out / "journal.sqlite") as journal:
            return [*journal.entries()]


@contextmanager
def _lives(folder: Path, url: str) -> Iterator[Lives]:
    prompts = [f"prompt {number}" for number in range(PROMPTS - 20)] + ["again and again"] * 20
    lines = [json.dumps({"model": "flux-dev", "prompt": prompt}) for prompt in prompts]
    (folder / "prompts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (folder / "out").touch()
    (folder / "err").touch()
    command = [sys.executable, str(Path(__file__).with_name("lives.py"))]
    with subprocess.Popen(  # noqa: S603 (our own program)
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        yield Lives(program, folder, url)
        assert program.stdin is not None
        program.stdin.close()


def _kill_often(lives: Lives, dice: random.Random) -> None:
    plan = [*MOMENTS] * OF_EACH + [""] * (KILLS - OF_EACH * len(MOMENTS))
    dice.shuffle(plan)
    for moment in plan:
        if moment:
            code = lives.live(moment=moment, number=dice.randint(1, 3), seconds=20.0)
        else:
            code = lives.live(seconds=dice.uniform(0.02, 0.7))
        assert code in {KILLED, 0, 1}


def _expected() -> Counter[str]:
    return Counter(
        {**{f"prompt {number}": 1 for number in range(PROMPTS - 20)}, "again and again": 20}
    )


def _refused_for_limits(emulator: Emulator) -> int:
    return sum(
        request.status_code == 429 and request.fault != "storm" for request in emulator.requests
    )


FAULTS = Faults(
    lost=0.04,
    reset=0.02,
    refused=0.02,
    error_json=0.02,
    error_html=0.02,
    storm=0.01,
    garbage=0.02,
    truncated=0.01,
    null_data=0.01,
    error_under_200=0.01,
    seed=11,
)


def _is_open(entry: EntryRecord) -> bool:
    """Tell whether the same command again would learn more."""
    return entry.state is State.RUNNING or "could not be read" in (entry.error or "")


@pytest.mark.parametrize("faults", [Faults(), FAULTS], ids=["calm", "faults"])
def test_a_hundred_kills_lose_nothing_and_pay_nothing_twice(tmp_path: Path, faults: Faults) -> None:
    """Killed 100 times, with a calm server and a faulty one, a batch ends with each picture once.

    At least ten kills fall between intent and POST, POST and answer, answer and id, and into
    downloads. What is unconfirmed at the end was looked for, and is absent; submitted again on
    demand, it is there. No request ever passes the limits.
    """
    seed = random.randrange(10**6)
    dice = random.Random(seed)
    told = f"seed {seed}"
    with (
        Emulator(latency=0.12, pictures=False, faults=faults, **LIMITS) as emulator,
        _lives(tmp_path, emulator.url) as lives,
    ):
        _kill_often(lives, dice)
        assert lives.ended.total() >= KILLS - 2, told
        assert min(lives.ended[moment] for moment in MOMENTS) >= 10, told
        for _ in range(5):
            lives.live()
            if not any(_is_open(entry) for entry in lives.entries()):
                break  # the list, and what a poll asks for, meet the faults as well
        states = Counter(entry.state for entry in lives.entries())
        assert set(states) <= {State.SAVED, State.UNCONFIRMED}, (told, states)
        lists = [request for request in emulator.requests if request.path.endswith("/predictions")]
        made = Counter(prediction.fields["prompt"] for prediction in emulator.predictions)
        for entry in lives.entries():
            if entry.state is State.UNCONFIRMED:
                assert lists, told
                assert "list does not have it" in (entry.error or ""), (told, entry.error)
                assert entry.prompt == "again and again" or not made[entry.prompt], told
        for _ in range(3):  # a faulty server may lose what is submitted again, too
            if lives.live("--resubmit-unconfirmed") == 0:
                break
        entries = lives.entries()
        assert {entry.state for entry in entries} == {State.SAVED}, told
        assert Counter(entry.prompt for entry in entries) == _expected(), told
        made = Counter(prediction.fields["prompt"] for prediction in emulator.predictions)
        assert made == _expected(), told
        assert {entry.prediction for entry in entries} == {p.id for p in emulator.predictions}
        files = {lives.out / path for entry in entries for path in entry.paths}
        assert len(files) == PROMPTS, told
        assert all(file.stat().st_size for file in files), told
        assert _refused_for_limits(emulator) == 0, told
    assert "Traceback" not in (tmp_path / "err").read_text(encoding="utf-8")
