"""The guide to journals says what is so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.docs.blocks import DOCS, blocks_of, ran_program
from wavespeed_async.batch.postgres import _session
from wavespeed_async.batch.postgres._store import PATIENCE
from wavespeed_async.emulator import Emulator

if TYPE_CHECKING:
    from pathlib import Path

GUIDE = (DOCS / "journals.md").read_text(encoding="utf-8")
PROGRAMS = [block.code for block in blocks_of("docs/journals.md")]


def test_its_programs_run_with_either_journal(journal_at: str, tmp_path: Path) -> None:
    """The first makes pictures, by a file and by an address; the second reads their journal."""
    with Emulator(latency=0.05, pictures=False) as emulator:
        for program in PROGRAMS:
            code = program.replace('"pictures/journal.sqlite"', repr(journal_at))
            told = ran_program(code, tmp_path, emulator)
            assert len(told.splitlines()) == 20
    assert len(PROGRAMS) == 2
    assert len(emulator.predictions) == 20
    assert told.count("saved a lighthouse, number") == 20


def test_its_figures_are_those_of_the_code() -> None:
    """What it says of releases, of patience and of the death of a host, is so."""
    assert f"release {_session.OLDEST} or later" in GUIDE
    assert f"made again for {PATIENCE:.0f} s" in GUIDE
    assert f"after about {_session.GONE / 1000:.0f} s where its host" in GUIDE
    kept = _session.KEEPALIVES
    idle, interval, count = kept.values()
    assert (idle + interval * count) * 1000 == _session.GONE
