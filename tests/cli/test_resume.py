"""The same command again: it goes on where it stopped, and says what it cannot know."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import FAST, Cli, await_true, interrupt, once, results, to, write_jsonl
from wavespeed_async.batch import JournalReader, SqliteStore, State
from wavespeed_async.emulator import Emulator, Faults

JOURNAL = Path("o") / "journal.sqlite"


def lines(count: int) -> list[dict[str, Any]]:
    return [{"model": "flux-dev", "prompt": f"{number}"} for number in range(count)]


def states() -> set[State]:
    with JournalReader(JOURNAL) as journal:
        return {entry.state for entry in journal.entries()}


def _remove() -> None:
    shutil.rmtree("o", ignore_errors=True)  # a picture may come while it is at it


def test_the_same_command_goes_on_after_ctrl_c(cli: Cli) -> None:
    """After Ctrl-C the same command makes what is missing; all paths are told, each result once."""
    write_jsonl(Path("a.jsonl"), lines(30))
    with Emulator(latency=0.1, per=1, pictures=False) as emulator:
        command = ("batch", "a.jsonl", "--out", "o", *to(emulator), "--concurrency", "4")
        with once(lambda: len(emulator.predictions) == 12, interrupt):
            assert cli(*command).code == 130
        ran = cli(*command)
        assert ran.code == 0
        assert len(emulator.predictions) == 30
        assert len(ran.paths) == 30
        assert "from before" in ran.lines[-1]
        seen = len(emulator.requests)
        again = cli(*command)
        assert again.code == 0
        assert len(emulator.requests) == seen
        assert sorted(again.paths) == sorted(ran.paths)
        assert "30 of 30 done: 0 pictures in o" in again.lines[-1]
        assert emulator.refused == 0
    assert sorted(entry["index"] for entry in results(Path("o"))) == [*range(30)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_does_not_wait_for_a_silent_server(number: signal.Signals) -> None:
    """With submissions that nobody answers for a minute a batch stops, and goes on later."""
    write_jsonl(Path("a.jsonl"), [{**line, "seed": 1} for line in lines(3)])
    command = [sys.executable, "-m", "wavespeed_async", "batch", "a.jsonl", "--out", "o", *FAST]
    faults = Faults(slowness=60.0)
    with Emulator(latency=0.05, per=1, pictures=False, faults=faults) as emulator:
        for _ in range(3):
            emulator.next(fault="slow", kind="submit")
        with subprocess.Popen(  # noqa: S603 (our own program)
            [*command, "--base-url", emulator.url], stderr=subprocess.PIPE, text=True
        ) as program:
            await_true(lambda: len(emulator.predictions) == 3)
            program.send_signal(number)
            _, err = program.communicate(timeout=20)
        assert program.returncode == 130
        assert "Traceback" not in err
        assert subprocess.run([*command, "--base-url", emulator.url], check=False).returncode == 0  # noqa: S603 (as above)
        assert len(emulator.predictions) == 3
    assert states() == {State.SAVED}


def test_what_is_unconfirmed_is_told_and_submitted_on_demand(cli: Cli, emulator: Emulator) -> None:
    """What the list does not have is told, with the flag; and the flag says at what risk."""
    write_jsonl(Path("a.jsonl"), lines(3))
    command = ("batch", "a.jsonl", "--out", "o", *to(emulator))
    assert cli(*command, "--resubmit-unconfirmed").code == 0  # there is nothing yet
    write_jsonl(Path("a.jsonl"), lines(4))
    emulator.next(body=b"<html>", kind="submit")
    ran = cli(*command)
    assert ran.code == 1
    assert any(
        "1 unconfirmed, not in the API's list: the same command with --resubmit-unconfirmed" in line
        and "up to 1 prediction will be billed twice" in line
        for line in ran.lines
    )
    ran = cli(*command, "--resubmit-unconfirmed")
    assert ran.code == 0
    assert ran.lines[0].startswith("wavespeed-async: 1 unconfirmed: those that the API's list does")
    assert "up to 1 prediction will be billed twice" in ran.lines[0]
    assert len(emulator.predictions) == 4
    assert "unconfirmed" not in cli(*command, "--resubmit-unconfirmed").err


def test_a_run_that_was_interrupted_goes_on(cli: Cli) -> None:
    """`run` goes on with what an interrupted one has submitted; done, it makes a new picture."""
    with Emulator(latency=0.5, latency_cv=0, per=1, pictures=False) as emulator:
        command = ("run", "flux-dev", "--prompt", "a", "--out", "o", *to(emulator))
        with once(lambda: len(emulator.predictions) == 1, interrupt):
            assert cli(*command).code == 130
        assert cli(*command).code == 0
        assert len(emulator.predictions) == 1
        assert [path.name for path in Path("o").iterdir() if path.suffix == ".journal"] == []
        assert cli(*command).code == 0
        assert len(emulator.predictions) == 2


def test_other_requests_need_another_folder(cli: Cli, emulator: Emulator) -> None:
    """A folder of other requests is refused in one line, before anything is sent."""
    write_jsonl(Path("a.jsonl"), lines(1))
    assert cli("batch", "a.jsonl", "--out", "o", *to(emulator)).code == 0
    write_jsonl(Path("a.jsonl"), [{"model": "flux-dev", "prompt": "another"}])
    ran = cli("batch", "a.jsonl", "--out", "o", *to(emulator))
    assert ran.code == 2
    (line,) = ran.lines
    assert "the journal is of other requests" in line
    assert "another folder" in line
    assert len(emulator.predictions) == 1


def test_two_at_once_in_one_folder(cli: Cli, emulator: Emulator) -> None:
    """A second run in the same folder is turned away at once."""
    write_jsonl(Path("a.jsonl"), lines(1))
    assert cli("batch", "a.jsonl", "--out", "o", *to(emulator)).code == 0
    store = SqliteStore(JOURNAL)
    store._lock.take(JOURNAL)
    ran = cli("batch", "a.jsonl", "--out", "o", *to(emulator))
    store._lock.release()
    assert ran.code == 2
    assert "is in use by another run" in ran.lines[0]


def test_a_folder_that_is_removed_stops_a_batch(cli: Cli) -> None:
    """A folder that is removed in mid-run is told; what was paid for is in the journal again."""
    write_jsonl(Path("a.jsonl"), lines(200))
    with (
        Emulator(latency=0.1, per=1, pictures=False) as emulator,
        once(lambda: len(emulator.predictions) > 8, _remove),
    ):
        ran = cli("batch", "a.jsonl", "--out", "o", *to(emulator), "--concurrency", "4")
        made = {prediction.id for prediction in emulator.predictions}
    assert ran.code == 1
    assert len(made) < 100
    assert any("was removed" in line or "No such file" in line for line in ran.lines)
    with JournalReader(JOURNAL) as journal:
        assert {entry.prediction for entry in journal.entries()} - {None} == made


def test_a_journal_that_is_removed_stops_a_batch(cli: Cli) -> None:
    """Without its journal a batch submits nothing more, says so, and saves what was paid for."""
    write_jsonl(Path("a.jsonl"), lines(200))
    with (
        Emulator(latency=0.1, per=1, pictures=False) as emulator,
        once(lambda: len(emulator.predictions) > 8, JOURNAL.unlink),
    ):
        ran = cli("batch", "a.jsonl", "--out", "o", *to(emulator), "--concurrency", "4")
        made = {prediction.id for prediction in emulator.predictions}
    assert ran.code == 1
    (stopped,) = [line for line in ran.lines if "stopped" in line]
    assert stopped.endswith("o/journal.sqlite was removed; it was written there again")
    assert {path.stem for path in ran.paths} == made
    with JournalReader(JOURNAL) as journal:
        assert {entry.prediction for entry in journal.entries()} - {None} == made
