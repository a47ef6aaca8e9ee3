"""The guide to journals says what is so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from wavespeed_async.batch.postgres import _session
from wavespeed_async.batch.postgres._store import PATIENCE
from wavespeed_async.emulator import Emulator

GUIDE = (Path(__file__).parents[2] / "docs" / "journals.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


def test_its_programs_run_with_either_journal(journal_at: str, tmp_path: Path) -> None:
    """The first makes pictures, by a file and by an address; the second reads their journal."""
    with Emulator(latency=0.05, pictures=False) as emulator:
        environment = {
            **os.environ,
            "WAVESPEED_API_KEY": "a-key",
            "WAVESPEED_BASE_URL": emulator.url,
        }
        for program in PROGRAMS:
            ended = subprocess.run(  # noqa: S603 (the guide's own program)
                [
                    *(sys.executable, "-W", "error", "-c"),
                    program.replace('"pictures/journal.sqlite"', repr(journal_at)),
                ],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert ended.stderr == ""
            assert len(ended.stdout.splitlines()) == 20
    assert len(PROGRAMS) == 2
    assert len(emulator.predictions) == 20
    assert ended.stdout.count("saved a lighthouse, number") == 20


def test_its_figures_are_those_of_the_code() -> None:
    """What it says of releases, of patience and of the death of a host, is so."""
    assert f"release {_session.OLDEST} or later" in GUIDE
    assert f"made again for {PATIENCE:.0f} s" in GUIDE
    assert f"after about {_session.GONE / 1000:.0f} s where its host" in GUIDE
    kept = _session.KEEPALIVES
    idle, interval, count = kept.values()
    assert (idle + interval * count) * 1000 == _session.GONE
