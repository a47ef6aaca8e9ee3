"""Each block of the guide to testing does what it says, and the fixtures are what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from tests.emulator.account import FLUX, KEY
from wavespeed_async.emulator import FAULTS

if TYPE_CHECKING:
    from wavespeed_async.emulator import Emulator

GUIDE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


def test_the_blocks_run(tmp_path: Path) -> None:
    """Each Python block passes as a test file of its own, warnings being errors."""
    for number, block in enumerate(BLOCKS):
        (tmp_path / f"test_block_{number}.py").write_text(block, encoding="utf-8")
    (tmp_path / "test_imports.py").write_text(
        "\n".join(f"import test_block_{number}" for number in range(len(BLOCKS))), "utf-8"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "."],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    passed = re.search(r"(\d+) passed", ended.stdout)
    assert passed
    assert int(passed[1]) >= sum("def test_" in block for block in BLOCKS)


def test_every_fault_is_in_the_table() -> None:
    """The guide's table names every fault there is."""
    named = {name for row in re.findall(r"^\| `.*$", GUIDE, re.MULTILINE) for name in _names(row)}
    assert {*FAULTS} <= named


def _names(row: str) -> list[str]:
    return re.findall(r"`([a-z0-9-]+)`", row)


def test_one_emulator_can_serve_all_tests(wavespeed_emulator_session: Emulator) -> None:
    """The session's emulator takes more than an account's limits allow."""
    before = len(wavespeed_emulator_session.requests)
    url = wavespeed_emulator_session.url + FLUX
    with httpx.Client(headers=KEY) as client:
        statuses = {client.post(url, json={}).status_code for _ in range(130)}
    assert statuses == {200}
    assert len(wavespeed_emulator_session.requests) == before + 130
