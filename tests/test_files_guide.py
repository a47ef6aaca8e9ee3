"""Each program of the page about files does what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from wavespeed_async.emulator import Emulator

GUIDE = (Path(__file__).parents[1] / "docs" / "files.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_programs_run(number: int, tmp_path: Path) -> None:
    """A program makes pictures, given a key, the address of the emulator and two images."""
    (tmp_path / "program.py").write_text(PROGRAMS[number], encoding="utf-8")
    for name in ("room", "mask"):
        Image.new("RGB", (64, 48), "white").save(tmp_path / f"{name}.png")
    with Emulator(latency=0.05) as emulator:
        keys = {"WAVESPEED_API_KEY": "a-key", "WAVESPEED_BASE_URL": emulator.url}
        ended = subprocess.run(
            [sys.executable, "-W", "error", "program.py"],
            cwd=tmp_path,
            env={**os.environ, **keys},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.stderr == ""
    pictures = [path for path in (tmp_path / "pictures").rglob("*") if path.is_file()]
    assert len(pictures) == len(emulator.predictions) > 0
    assert all(path.suffix == ".png" for path in pictures)


def test_there_are_programs() -> None:
    """The page has them."""
    assert len(PROGRAMS) == 2
