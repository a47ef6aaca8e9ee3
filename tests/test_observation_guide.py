"""The page about observation says what is so."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.docs.blocks import DOCS, blocks_of
from tests.observe.exported import Exported
from tests.test_events import CLASSES, _filled
from wavespeed_async import APIConnectionError, CallEnded, Event
from wavespeed_async.emulator import Emulator
from wavespeed_async.observe._logs import level_of

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (DOCS / "observation.md").read_text(encoding="utf-8")
BLOCKS = blocks_of("docs/observation.md")
PROGRAMS = [block.code for block in BLOCKS if block.language == "python"]
SHOWN = [block.code for block in BLOCKS if block.language == "text"]
KINDS = {kind.__name__: kind for kind in CLASSES if kind is not Event}


def run(program: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    with Emulator(latency=0.6, latency_cv=0.0, pictures=False) as emulator:
        settings = {"WAVESPEED_API_KEY": "a-key", "WAVESPEED_BASE_URL": emulator.url}
        ended = subprocess.run(  # noqa: S603 (the page's own program)
            [sys.executable, "-W", "error", "-c", program],
            cwd=tmp_path,
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 0, ended.stderr
    return ended


def test_every_program_is_tried() -> None:
    """There are three, and what two of them print is shown."""
    assert len(PROGRAMS) == 3
    assert len(SHOWN) == 2


def test_the_log_is_as_it_is_shown(tmp_path: Path) -> None:
    """The program's lines are those of the page, but for the prediction's id."""
    told = re.sub(r"[0-9a-f]{32}", "ID", run(PROGRAMS[0], tmp_path).stderr)
    assert told == re.sub(r"[0-9a-f]{32}", "ID", SHOWN[0])


def test_the_trace_is_as_it_is_shown(tmp_path: Path) -> None:
    """The program prints the spans of the page; on a busy machine there may be more waits."""
    ended = run(PROGRAMS[1], tmp_path)
    assert ended.stderr == ""
    lines = [line for line in ended.stdout.splitlines() if "wait to submit" not in line]
    assert list(dict.fromkeys(lines)) == SHOWN[1].splitlines()


def test_the_statistics_are_json(tmp_path: Path) -> None:
    """The program prints a line of figures, and all of them as JSON."""
    ended = run(PROGRAMS[2], tmp_path)
    assert ended.stderr == ""
    line, _, rest = ended.stdout.partition("\n")
    assert line.split()[:2] == ["1", "1"]
    assert json.loads(rest)["succeeded"] == 1


ROWS = [
    (name, level.split(";")[0])
    for name, level in re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", PAGE, re.MULTILINE)
]


def test_the_table_has_all_events() -> None:
    """Each event stands in the table, once."""
    assert sorted(name for name, _ in ROWS) == sorted(KINDS)


@pytest.mark.parametrize(("name", "level"), ROWS)
def test_the_table_has_their_levels(name: str, level: str) -> None:
    """The level of the table is that of the logs."""
    event = (
        CallEnded(kind="run", about=None, error=None, cancelled=False, seconds=0.0)
        if name == "CallEnded"
        else _filled(KINDS[name])
    )
    assert logging.getLevelName(level_of(event)).lower() == level


def test_a_call_with_an_error_is_a_warning() -> None:
    """As the table says."""
    error = APIConnectionError("no")
    event = CallEnded(kind="run", about=None, error=error, cancelled=False, seconds=0.0)
    assert level_of(event) == logging.WARNING


def test_the_metrics_are_those_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each metric of the page exists, and none of those that exist is missing."""
    exported = Exported()
    made: set[str] = set()
    meter = type(exported.meters.get_meter("x"))

    def create(_: object, name: str, **__: object) -> None:
        made.add(name)

    for name in [name for name in vars(meter) if name.startswith("create_")]:
        monkeypatch.setattr(meter, name, create)
    exported.telemetry()
    told: set[str] = set()
    for row in re.findall(r"^\| (`(?:gen_ai|http|wavespeed)\.[^|]+) \|", PAGE, re.MULTILINE):
        first, *others = re.findall(r"`([^`]+)`", row)
        told |= {first, *(other.replace("…", first.removesuffix(".used")) for other in others)}
    assert told == made
