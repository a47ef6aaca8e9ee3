"""Each block of the README does what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from wavespeed_async.emulator import Emulator

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(
    r"^```(\w+)\n(.*?)^```$",
    (ROOT / "README.md").read_text(encoding="utf-8"),
    re.MULTILINE | re.DOTALL,
)
PYTHON = [code for language, code in BLOCKS if language == "python"]
COMMANDS = [code.strip() for language, code in BLOCKS if language == "bash"]


def test_no_block_escapes() -> None:
    """Every block is of a kind that a test here runs, and there is one of each at least."""
    assert len(PYTHON) + len(COMMANDS) == len(BLOCKS)
    assert len(COMMANDS) == 2
    assert len(PYTHON) == 3


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_those_that_ci_runs(command: str) -> None:
    """The two commands stand word for word in what CI runs on a bare machine."""
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("code", [code for code in PYTHON if "pytest" not in code])
def test_programs_run(code: str, tmp_path: Path) -> None:
    """A program of the README makes pictures, given a key and the address of the emulator."""
    script = tmp_path / "program.py"
    script.write_text(code, encoding="utf-8")
    with Emulator(latency=0.2, pictures=False) as emulator:
        environment = {
            **os.environ,
            "WAVESPEED_API_KEY": "a-key",
            "WAVESPEED_BASE_URL": emulator.url,
        }
        ended = subprocess.run(  # noqa: S603 (the README's own program)
            [sys.executable, "-W", "error", str(script)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.stderr == ""
    assert "None" not in ended.stdout
    pictures = list((tmp_path / "pictures").iterdir())
    assert len(pictures) == len(emulator.predictions)
    assert all(picture.suffix == ".png" for picture in pictures)


def test_the_test_runs(tmp_path: Path) -> None:
    """The README's test of an application passes as it stands."""
    (code,) = [code for code in PYTHON if "pytest" in code]
    (tmp_path / "test_application.py").write_text(code, encoding="utf-8")
    ended = subprocess.run(  # noqa: S603 (the README's own test)
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    assert re.search(r"\d passed", ended.stdout)
