"""The command line with a journal in PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.batch.postgres import PASSWORD
from tests.batch.test_page import data_of
from tests.cli.conftest import Cli, results, to, write_jsonl
from wavespeed_async.cli._app import USUAL_OPTIONS

if TYPE_CHECKING:
    from tests.batch.postgres import Server
    from wavespeed_async.emulator import Emulator


def test_a_batch_keeps_its_journal_in_a_database(
    cli: Cli, emulator: Emulator, postgres: Server
) -> None:
    """The folder has pictures and page, the database the journal; the same command goes on."""
    at = ("--journal", postgres.journal())
    write_jsonl(Path("a.jsonl"), [{"model": "flux-dev", "prompt": f"{n}"} for n in range(4)])
    command = ("batch", "a.jsonl", "--out", "o", *at, *to(emulator), "--resubmit-unconfirmed")
    ran = cli(*command)
    assert ran.code == 0
    assert len(ran.paths) == len(results(Path("o"))) == 4
    assert not (Path("o") / "journal.sqlite").exists()
    data = data_of(Path("o") / "index.html")
    assert (data["pictures"], data["total"], data["goesOn"]) == (4, 4, False)
    assert all((Path("o") / entry["f"][0][0]).exists() for entry in data["entries"])
    seen = len(emulator.requests)
    again = cli(*command)
    assert (again.code, len(emulator.requests)) == (0, seen)
    (Path("o") / "index.html").unlink()
    status = cli("status", "o", *at, "--page")
    assert "4 of 4 done: 4 pictures" in status.out
    assert status.out.splitlines()[-1] == str(Path("o") / "index.html")
    (Path("o") / "index.html").unlink()
    assert cli("page", "o", *at).out == f"{Path('o') / 'index.html'}\n"
    page = (Path("o") / "index.html").read_text(encoding="utf-8")
    assert PASSWORD not in page + ran.out + ran.err + status.out + status.err


@pytest.mark.parametrize("command", [("status", "o"), ("page", "o"), ("batch", "a.jsonl")])
def test_another_journal_has_to_be_an_address(cli: Cli, command: tuple[str, ...]) -> None:
    """A path is no address: SQLite's journal is always in the folder."""
    write_jsonl(Path("a.jsonl"), [{"model": "flux-dev", "prompt": "a"}])
    ran = cli(*command, "--journal", "somewhere/j.sqlite")
    assert ran.code == 2
    assert "--journal takes an address: postgresql://host/database?journal=NAME" in ran.err


def test_a_plan_does_not_show_the_password_of_its_journal() -> None:
    """A plan's repr leaves the journal out."""
    url = f"postgresql://me:{PASSWORD}@db/app"
    assert PASSWORD not in repr(USUAL_OPTIONS.plan(journal=url))
