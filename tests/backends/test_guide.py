"""Each block of the guide to backends does what it says, and its table is the code's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from wavespeed_async import errors
from wavespeed_async.backends._problems import problem_of

GUIDE = (Path(__file__).parents[2] / "docs" / "backends.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_blocks_run(number: int, tmp_path: Path) -> None:
    """Each Python block passes as a test file of its own, or is imported, without a warning."""
    block = BLOCKS[number]
    (tmp_path / "block.py").write_text(block, encoding="utf-8")
    (tmp_path / "test_block.py").write_text(
        f"from block import *\n\ndef test_it_is_imported():\n    pass\n\n{block}", "utf-8"
    )
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "."],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    passed = re.search(r"(\d+) passed", ended.stdout)
    assert passed
    assert int(passed[1]) > block.count("def test_")


def test_the_table_is_the_codes() -> None:
    """Every error of the tree stands in the table, with the status and type that it is answered."""
    told: dict[str, tuple[int, str]] = {}
    for row in re.findall(r"^\| (.*Error.*) \| (\d+) \| `([\w-]+)` \|", GUIDE, re.MULTILINE):
        told |= {name: (int(row[1]), row[2]) for name in re.findall(r"`(\w+Error)`", row[0])}
    bases = {"WaveSpeedError", "PredictionError"}
    for name in {*errors.__all__} - bases:
        problem = problem_of(getattr(errors, name)("text"))
        assert told.pop(name) == (problem.status, problem.kind), name
    assert told == {}
