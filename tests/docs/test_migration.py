"""What the page about migration shows of the official SDK works, too: both sides are true."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from tests.docs.blocks import Block, blocks_of, ran_program
from wavespeed_async.emulator import Emulator

if TYPE_CHECKING:
    from pathlib import Path

BEFORE = [block for block in blocks_of("docs/migration.md") if block.language == "py"]
PRELUDE = """\
import os

import wavespeed
from wavespeed.config import api

api.base_url = os.environ["WAVESPEED_BASE_URL"]
prompts = ["a lake", "a fox"]
"""


@pytest.mark.skipif(find_spec("wavespeed") is None, reason="the official SDK is not installed")
@pytest.mark.parametrize("block", BEFORE, ids=str)
def test_the_official_sdk_does_what_is_said(block: Block, tmp_path: Path) -> None:
    """What a reader has before is a program that makes pictures."""
    Image.new("RGB", (64, 48), "white").save(tmp_path / "room.png")
    with Emulator(latency=0.1, pictures=False) as emulator:
        ran_program(
            PRELUDE + block.code + "\nassert output" * ("output =" in block.code),
            tmp_path,
            emulator,
        )
        assert emulator.predictions


def test_each_before_has_an_after() -> None:
    """They come in pairs."""
    assert [block.language for block in blocks_of("docs/migration.md")] == ["py", "python"] * 4
