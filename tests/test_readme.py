"""Each block of the README does what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.docs.blocks import ROOT, Block, blocks_of, is_test, ran_program, ran_tests
from wavespeed_async.emulator import Emulator

if TYPE_CHECKING:
    from pathlib import Path

BLOCKS = blocks_of("README.md")
PYTHON = [block for block in BLOCKS if block.language == "python"]
COMMANDS = [block.code.strip() for block in BLOCKS if block.language == "bash"]


def test_no_block_escapes() -> None:
    """Every block is of a kind that a test here runs, and there is one of each at least."""
    assert len(PYTHON) + len(COMMANDS) == len(BLOCKS)
    assert len(COMMANDS) == 2
    assert len(PYTHON) == 3


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_those_that_ci_runs(command: str) -> None:
    """The two commands stand word for word in what CI runs on a bare machine."""
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("block", [block for block in PYTHON if not is_test(block.code)], ids=str)
def test_programs_run(block: Block, tmp_path: Path) -> None:
    """A program of the README makes pictures, given a key and the address of the emulator."""
    with Emulator(latency=0.2, pictures=False) as emulator:
        told = ran_program(block.code, tmp_path, emulator)
    assert "None" not in told
    pictures = list((tmp_path / "pictures").iterdir())
    assert len(pictures) == len(emulator.predictions)
    assert all(picture.suffix == ".png" for picture in pictures)


@pytest.mark.parametrize("block", [block for block in PYTHON if is_test(block.code)], ids=str)
def test_the_test_runs(block: Block, tmp_path: Path) -> None:
    """The README's test of an application passes as it stands."""
    ran_tests(block.code, tmp_path)
