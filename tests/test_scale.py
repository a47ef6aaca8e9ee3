"""The page about scale says what its simulation says."""

from __future__ import annotations

import random
import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import blocks_of
from tests.test_benchmarks import run

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
COMMAND, TABLE = [block.code for block in blocks_of("docs/scale.md")]
SCALE = runpy.run_path(str(ROOT / "benchmarks" / "scale.py"))
DAY = 86400.0
simulate = SCALE["simulate"]


def plan(**given: float) -> Any:
    usual = {"pictures": 10**6, "keys": 1, "requests_each": 1.0, "latency": 5.0, "shard": 10**4}
    return SCALE["Plan"](**{**usual, "deaths": 0.0, "down": 60.0, **given})


def days(wanted: Any) -> float:
    seconds: float = simulate(wanted, random.Random(1)).seconds
    return seconds / DAY


def test_the_table(tmp_path: Path) -> None:
    """The command of the page prints its table, but for the measured bytes, which are near."""
    name, *given = shlex.split(COMMAND)[1:]
    told = run(tmp_path, Path(name).stem, *given).splitlines()
    shown = TABLE.splitlines()
    assert told[1:] == shown[1:]
    measured, said = (int(line.split("journals: ")[1].split()[0]) for line in (told[0], shown[0]))
    assert measured == pytest.approx(said, rel=0.2)


@pytest.mark.parametrize(("each", "said"), [(1.0, "5.8"), (2.0, "11.6"), (2.2, "12.7")])
def test_a_million_pictures_with_one_key(each: float, said: str) -> None:
    """A million pictures take as long as the page says."""
    assert f"{days(plan(requests_each=each)):.1f}" == said
    assert re.search(rf"^\| {each:g} \|.*\| {said} days \|$", PAGE, re.MULTILINE)


def test_what_runs_at_once_is_a_limit_too() -> None:
    """At 30 s a picture 57,600 a day are made, whatever they cost in requests."""
    assert plan(latency=30.0).pace * DAY == pytest.approx(57_600)
    assert plan(latency=30.0, requests_each=2.0).pace * DAY == pytest.approx(57_600)


def test_keys_share_the_work() -> None:
    """Ten keys take a tenth of the time, if the shards are many."""
    assert days(plan(keys=10)) == pytest.approx(days(plan()) / 10)


def test_a_death_costs_its_pause() -> None:
    """With a journal a worker's death pays for nothing twice, and costs little but its pause."""
    ended = simulate(plan(deaths=24.0), random.Random(2))
    assert ended.twice == 0
    deaths = ended.asked_again / 10
    assert ended.seconds / DAY == pytest.approx(days(plan()) + deaths * 60 / DAY, rel=1e-3)
