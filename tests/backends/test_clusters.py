"""Each block of the page about clusters does what it says."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
import sys
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from tests.docs.blocks import ROOT, blocks_of
from wavespeed_async.emulator import Emulator

if TYPE_CHECKING:
    from pathlib import Path

BLOCKS = blocks_of("docs/clusters.md")
PYTHON = [block.code for block in BLOCKS if block.language == "python"]
COMMANDS = [
    line for block in BLOCKS if block.language == "bash" for line in block.code.splitlines()
]
NEEDS = {"ray": "ray", "ray_parquet": "ray", "arq_worker": "arq"}


def _skip_without(name: str) -> None:
    if not os.environ.get("CI") and find_spec(name) is None:
        pytest.skip(f"{name} is not installed")


@pytest.mark.parametrize("code", PYTHON, ids=["shards", "ray"])
def test_the_programs_run(code: str, tmp_path: Path) -> None:
    """A program of the page makes each picture once, given a key and the emulator's address."""
    if "import ray" in code:
        _skip_without("ray")
    script = tmp_path / "program.py"
    script.write_text(code.replace("/tmp/", f"{tmp_path}/"), encoding="utf-8")  # noqa: S108 (the page's own)
    with (
        Emulator(latency=0.1, pictures=False) as emulator,
        TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as files_of_ray,
    ):
        ended = subprocess.run(  # noqa: S603 (the page's own program)
            [sys.executable, str(script)],
            cwd=tmp_path,
            env={
                **os.environ,
                "WAVESPEED_API_KEY": "a-key",
                "WAVESPEED_BASE_URL": emulator.url,
                "RAY_USAGE_STATS_ENABLED": "0",
                "RAY_AUTH_MODE": "disabled",
                "RAY_TMPDIR": files_of_ray,
            },
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        pictures = [*tmp_path.glob("pictures*/*/*.png")]
        assert len(pictures) == len(emulator.predictions) == (6 if "import ray" in code else 5)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_are_those_of_the_examples(command: str) -> None:
    """A command of the page names an example, and is one that it takes."""
    words = shlex.split(command)
    at = words.index("python")
    assert all(re.match("WAVESPEED_API_KEY.*=", word) for word in words[:at])
    example = ROOT / words[at + 1]
    _skip_without(NEEDS[example.stem])
    runpy.run_path(str(example))["arguments"]().parse_args(words[at + 2 :])
