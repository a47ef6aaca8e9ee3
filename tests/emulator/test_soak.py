"""A short one of the long runs that benchmarks/soak.py makes by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SOAK = Path(__file__).parents[2] / "benchmarks" / "soak.py"
MINUTES, SCALE, SEED = 0.2, 30, 1
LEAK = 40.0
"""Megabytes that a run of some hundred predictions may grow by: a generous bound."""


def test_a_short_soak(tmp_path: Path) -> None:
    """On a hostile day at 20 running nothing is lost, paid twice or left open, nor does it grow."""
    done = subprocess.run(  # noqa: S603 (our own command)
        [sys.executable, str(SOAK), str(MINUTES), str(SCALE), str(SEED)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"seed {SEED}\n{done.stdout}\n{done.stderr[-4000:]}"
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["twice"] == report["lost"] == report["empty"] == []
    assert report["open"] == 0
    assert report["running"] == 20
    assert report["grown_mb"] < LEAK
    assert report["ends"]["saved"] > 20
    assert report["made"] > report["ends"]["saved"]
