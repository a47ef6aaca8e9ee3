"""Watching a batch from outside, its page, and what it costs, by the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.batch.journals import START, Row, made, write_journal
from tests.batch.test_page import data_of
from tests.cli.conftest import FAST, Cli, await_true, to, write_jsonl
from wavespeed_async.batch import JournalReader, Order, Price
from wavespeed_async.batch._order import priced
from wavespeed_async.batch._report import report_of
from wavespeed_async.cli._status import status_lines
from wavespeed_async.emulator import Emulator

JOURNAL = Path("o") / "journal.sqlite"


def lines(count: int) -> list[dict[str, Any]]:
    return [{"model": "flux-dev", "prompt": f"{number}"} for number in range(count)]


# --- the page -------------------------------------------------------------------------------------


def test_a_batch_leaves_a_page(cli: Cli, emulator: Emulator) -> None:
    """A batch writes its page beside the pictures, with all of them; `run` writes none."""
    write_jsonl(Path("a.jsonl"), lines(5))
    assert cli("batch", "a.jsonl", "--out", "o", *to(emulator)).code == 0
    data = data_of(Path("o") / "index.html")
    assert (data["pictures"], data["total"], data["goesOn"]) == (5, 5, False)
    assert all((Path("o") / entry["f"][0][0]).exists() for entry in data["entries"])
    assert len(data["turns"]) == 1
    assert cli("run", "flux-dev", "--prompt", "a", "--out", "r", *to(emulator)).code == 0
    assert not (Path("r") / "index.html").exists()


def test_a_page_that_cannot_be_written_stops_nothing(cli: Cli, emulator: Emulator) -> None:
    """A page of somebody else's is left alone and told, and the batch goes well."""
    Path("o").mkdir()
    (Path("o") / "index.html").write_text("mine")
    (Path("o") / "order.json").mkdir()
    write_jsonl(Path("a.jsonl"), lines(2))
    ran = cli("batch", "a.jsonl", "--out", "o", *to(emulator))
    assert ran.code == 0
    assert ran.lines[-1].startswith("wavespeed-async: the page could not be written: ")
    assert (Path("o") / "index.html").read_text() == "mine"


def test_the_page_is_written_on_demand(cli: Cli, emulator: Emulator) -> None:
    """`page DIR` and `status DIR --page` write the page anew and tell its path."""
    write_journal(JOURNAL, [made(1)])
    page = Path("o") / "index.html"
    assert cli("page", "o").out == f"{page}\n"
    page.unlink()
    assert cli("status", "o", "--page").out.splitlines()[-1] == str(page)
    assert page.exists()


@pytest.mark.parametrize("command", ["page", "status"])
def test_a_folder_without_a_batch(cli: Cli, command: str) -> None:
    """Where there is no journal the commands say so."""
    ran = cli(command, "nowhere")
    assert ran.code == 2
    assert "there is no journal at nowhere/journal.sqlite" in ran.err


# --- status ---------------------------------------------------------------------------------------


def told(
    rows: list[Row],
    now: float,
    order: Order = Order(),  # noqa: B008 (frozen)
    *,
    is_held: bool = False,
    **more: Any,
) -> list[str]:
    with JournalReader(write_journal(JOURNAL, rows, **more)) as reader:
        report = report_of(
            reader.entries(),
            reader.runs(),
            reader.sent(),
            order=order,
            now=START + now,
            is_held=is_held,
        )
    return [*status_lines(report)]


def test_the_status_of_a_batch_that_goes_on() -> None:
    """Counts, pace, cost, time left, failures, and the ids that run or are unconfirmed are told."""
    failed: dict[str, Any] = {"status": "failed", "error": "PredictionFailedError: no"}
    kind = priced({"size": "1024*768", "num_images": 1})
    price = Price("wavespeed-ai/flux-dev", kind, 0.012)
    fields = {"prompt": "x", "size": "1024*768", "num_images": 1}
    rows = [
        made(1, "a.png", "b.png"),
        made(2, **failed),
        made(3, **failed),
        Row(error="BadRequestError: bad"),
        Row(fields=fields, intended=3.0, submitted=3.0, prediction="r" * 32),
        Row(intended=25.0),
        Row(intended=5.0, absent=9.0, error="SubmissionUnconfirmedError: lost"),
    ]
    order = Order(total=20, prices=(price,))
    told_lines = told(rows, 30.0, order, is_held=True, runs=[(0.0, None)], sent=[(28.0, "poll")])
    sent = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(START + 5.0))
    assert told_lines == [
        "goes on; last sign of life 2 s ago",
        "1 of 20 done: 2 pictures, 4 pictures/min",
        "2 running, 13 queued, 3 failed, 1 unconfirmed",
        "0.0240 USD for what did not fail",
        "2 min 0 s left",
        "failed 2 times: PredictionFailedError: no",
        "failed: BadRequestError: bad",
        "failed: SubmissionUnconfirmedError: lost",
        f"running: {'r' * 32}  wavespeed-ai/flux-dev",
        "running: on its way  wavespeed-ai/flux-dev",
        f"unconfirmed: request 7, wavespeed-ai/flux-dev, sent {sent}, not in the API's list",
    ]


def test_the_status_of_a_batch_that_does_not_go_on() -> None:
    """A batch that was killed is told by its last sign of life; what it had sent is unconfirmed."""
    rows = [Row(intended=5.0)]
    told_lines = told(rows, 305.0, runs=[(0.0, None)])
    assert told_lines[0] == "was interrupted 5 min 5 s ago: the same command goes on"
    assert "the cost is not known: --dry-run asks for prices" in told_lines
    assert told_lines[-1].startswith("unconfirmed: request 1, ")
    assert "API's list" not in told_lines[-1]


def test_the_status_of_a_batch_that_has_ended() -> None:
    """What an earlier input left behind is told as such."""
    rows = [
        made(1, "a.png"),
        Row(run=0, intended=3.0, submitted=3.0, prediction="r" * 32),
        made(2, run=0),
    ]
    told_lines = told(rows, 90.0, runs=[(0.0, 30.0)])
    assert told_lines[0] == "has ended 1 min 0 s ago"
    assert told_lines[2] == "0 running, 0 queued, 0 failed, 0 unconfirmed"
    words = "not fetched, and not in the input any more: "
    assert told_lines[-2] == f"{words}{'r' * 32}  wavespeed-ai/flux-dev"
    assert told_lines[-1].startswith(words)


def test_the_status_of_a_batch_that_has_not_begun() -> None:
    """A journal without a turn says that nothing has happened."""
    assert told([], 1.0, runs=[])[0] == "nothing has happened yet"


def test_the_status_while_it_runs_and_after_a_kill(cli: Cli) -> None:
    """The status is read while another process writes the journal, and after it was killed."""
    write_jsonl(Path("a.jsonl"), lines(40))
    with Emulator(latency=0.3, per=1, pictures=False) as emulator:
        command = ["batch", "a.jsonl", "--out", "o", *to(emulator), "--concurrency", "4"]
        program = subprocess.Popen(  # noqa: S603 (this package, called by this test)
            [sys.executable, "-m", "wavespeed_async", *command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        try:
            await_true(lambda: len(emulator.predictions) >= 12)
            ran = cli("status", "o")
            assert ran.code == 0
            assert ran.out.startswith("goes on; ")
            assert " of 40 done: " in ran.out
            assert "running: " in ran.out
        finally:
            program.send_signal(signal.SIGKILL)
            program.wait()
        again = cli("status", "o", "--page")
        assert again.code == 0
        assert again.out.startswith("was interrupted ")
        assert " of 40 done: " in again.out
        assert data_of(Path("o") / "index.html")["total"] == 40


# --- cost -----------------------------------------------------------------------------------------


def test_a_dry_run_tells_and_sends_nothing(cli: Cli, emulator: Emulator) -> None:
    """`--dry-run` tells count, models, cost and least time; nothing is submitted or written."""
    write_jsonl(Path("a.jsonl"), [*lines(100), {"model": "flux-redux-dev", "image": "https://x/y"}])
    ran = cli("batch", "a.jsonl", "--out", "o", "--dry-run", *to(emulator))
    assert ran.code == 0
    assert ran.out.splitlines() == [
        "101 requests: 100 wavespeed-ai/flux-dev, 1 wavespeed-ai/flux-redux-dev",
        "1.2250 USD",
        "at best 1 s within the limits",
    ]
    assert emulator.predictions == ()
    assert not Path("o").exists()


def test_a_dry_run_without_a_network(cli: Cli) -> None:
    """Without a network the price is not known, and the rest is told."""
    write_jsonl(Path("a.jsonl"), lines(2))
    address = ("--base-url", "http://127.0.0.1:9", *FAST)
    ran = cli("batch", "a.jsonl", "--dry-run", *address)
    assert ran.code == 0
    assert ran.out.splitlines()[1].startswith("the price of 2 requests is not known: ")


def test_a_batch_that_may_cost_only_so_much(cli: Cli, emulator: Emulator) -> None:
    """`--max-cost` stops before it is passed, says so and ends with 1; the page tells the cost."""
    write_jsonl(Path("a.jsonl"), lines(30))
    command = ("batch", "a.jsonl", "--out", "o", *to(emulator))
    ran = cli(*command, "--max-cost", "0.1")
    assert ran.code == 1
    assert len(emulator.predictions) == len(ran.paths) == 8
    assert (
        "wavespeed-async: stopped, 22 of 30 not finished: nothing more is submitted: 0.0960 USD of "
        "0.1000 are spent, the next request costs 0.0120"
    ) in ran.lines
    assert data_of(Path("o") / "index.html")["cost"] == pytest.approx(0.096)
    assert "0.0960 USD for what did not fail" in cli("status", "o").out
    assert cli(*command).code == 0
    assert json.loads((Path("o") / "order.json").read_text())["total"] == 30
    assert "0.3600 USD for what did not fail" in cli("status", "o").out


def test_a_cost_that_is_none_is_wrong_use(cli: Cli, emulator: Emulator) -> None:
    """A bound that cannot be is refused before anything is sent."""
    write_jsonl(Path("a.jsonl"), lines(1))
    ran = cli("batch", "a.jsonl", "--out", "o", "--max-cost", "0", *to(emulator))
    assert ran.code == 2
    assert "max_cost must be a number above 0" in ran.err
    assert emulator.requests == ()


def prices_asked(emulator: Emulator) -> int:
    return sum(request.path.endswith("/model/price") for request in emulator.requests)


def test_what_a_batch_has_cost_is_told(cli: Cli, emulator: Emulator) -> None:
    """Of few kinds of requests the price is asked for beside the run, once for each, and told."""
    write_jsonl(Path("a.jsonl"), lines(3))
    command = ("batch", "a.jsonl", "--out", "o", *to(emulator))
    assert cli(*command).lines[-1].endswith(" pictures/min, 0.0360 USD in all")
    assert "0.0360 USD for what did not fail" in cli("status", "o").out
    write_jsonl(Path("a.jsonl"), lines(4))
    emulator.next(body=b"<html>", kind="submit")
    cli(*command)
    ran = cli(*command, "--resubmit-unconfirmed")
    assert "up to 1 prediction will be billed twice (0.0120 USD)" in ran.lines[0]
    assert prices_asked(emulator) == 1


def test_what_many_kinds_cost_is_not_asked(cli: Cli, emulator: Emulator) -> None:
    """Of many kinds no price is asked for; one that the API does not have is not told."""
    sizes = [f"{side}*512" for side in range(600, 606)]
    write_jsonl(Path("a.jsonl"), [{**lines(1)[0], "size": size} for size in sizes])
    cli("batch", "a.jsonl", "--out", "many", *to(emulator))
    assert prices_asked(emulator) == 0
    assert "the cost is not known: --dry-run asks for prices" in cli("status", "many").out
    write_jsonl(Path("a.jsonl"), lines(2))
    emulator.next(status_code=404, kind="other")
    cli("batch", "a.jsonl", "--out", "none", *to(emulator))
    assert prices_asked(emulator) == 1
    assert "the cost is not known" in cli("status", "none").out
