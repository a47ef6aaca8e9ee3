"""Each block of the guide to models does what it says, and its table is complete."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_codegen import DIFFERENCES
from wavespeed_async.emulator import Emulator

GUIDE = (Path(__file__).parents[1] / "docs" / "models.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^wavespeed-async (.*)$", GUIDE, re.MULTILINE)


@pytest.mark.parametrize(
    ("code", "told"),
    [*zip(BLOCKS, ["promt -> ", "wan-2.1/t2v-480p text-to-video", "1 deleted"], strict=True)],
    ids=range(len(BLOCKS)),
)
def test_programs_run(code: str, told: str, tmp_path: Path) -> None:
    """A program of the guide runs against the emulator, without a warning, and says its line."""
    script = tmp_path / "program.py"
    script.write_text(code, encoding="utf-8")
    with Emulator(latency=0.1, pictures=False) as emulator:
        address = {"WAVESPEED_API_KEY": "a-key", "WAVESPEED_BASE_URL": emulator.url}
        ended = subprocess.run(  # noqa: S603 (the guide's own program)
            [sys.executable, "-W", "error", str(script)],
            cwd=tmp_path,
            env={**os.environ, **address},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.stderr == ""
    assert told in ended.stdout


def test_commands_are_those_there_are() -> None:
    """The commands of the guide are known, with their options."""
    assert len(COMMANDS) == 2
    assert all(command.startswith("codegen ") and "--out" in command for command in COMMANDS)


def test_every_difference_is_in_the_table() -> None:
    """The guide's table names every field in which a class differs from its page."""
    rows = "".join(re.findall(r"^\| `.*$", GUIDE, re.MULTILINE))
    for name in DIFFERENCES:
        model, _, field = name.partition(":")
        assert f"`{name}`" in rows or (f"`{model}:" in rows and f"`:{field}`" in rows)
