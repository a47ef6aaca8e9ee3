"""What is told of a batch: its figures, its plots, its order, by a clock made of numbers."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.batch.journals import START, Row, made, write_journal
from wavespeed_async.batch import JournalReader, Order, Price, Report, State, write_order
from wavespeed_async.batch._order import priced, read_order
from wavespeed_async.batch._plots import POINTS, peaks, plots
from wavespeed_async.batch._report import read_report, reason, report_of

if TYPE_CHECKING:
    from pathlib import Path

FLUX = "wavespeed-ai/flux-dev"


def told(folder: Path, rows: list[Row], *, now: float = 60.0, **more: Any) -> Report:
    """Report of a journal of these entries, `now` seconds after it began."""
    order, is_held = more.pop("order", Order()), more.pop("is_held", False)
    with JournalReader(write_journal(folder / "journal.sqlite", rows, **more)) as reader:
        return report_of(
            reader.entries(),
            reader.runs(),
            reader.sent(),
            order=order,
            now=START + now,
            is_held=is_held,
        )


def test_a_batch_that_is_over(tmp_path: Path) -> None:
    """Pictures, requests, failures and the pace are told of a batch that has ended."""
    failed = made(3, status="failed", error=f"PredictionFailedError: prediction {3:032x} failed")
    rows = [made(1, "a.png", "b.png"), made(2, "c.png"), failed, made(4)]
    report = told(tmp_path, rows, runs=[(0.0, 30.0)], now=1000.0)
    assert report.total == 4
    assert report.counts == {
        State.SAVED: 2, State.MADE: 1, State.FAILED: 1, State.QUEUED: 0,
    }  # fmt: skip
    assert report.pictures == 4
    assert report.pictures_per_minute == pytest.approx(8.0)
    assert report.failures == {"PredictionFailedError: prediction failed": 1}
    assert (report.goes_on, report.seconds_left, report.cost) == (False, None, None)
    assert report.last_sign == START + 30.0


def test_a_batch_that_goes_on(tmp_path: Path) -> None:
    """Of a turn without an end what is left is told, and what is on its way counts as running."""
    rows = [
        made(1, "a.png"),
        made(2, "b.png"),
        Row(intended=3.0, submitted=3.0, prediction="c"),
        Row(intended=9.0),
        Row(intended=9.0, error="SubmissionUnconfirmedError: lost"),
        Row(),
    ]
    report = told(tmp_path, rows, runs=[(0.0, None)], now=20.0, order=Order(total=12), is_held=True)
    assert report.goes_on
    assert report.counts == {
        State.SAVED: 2, State.RUNNING: 2, State.UNCONFIRMED: 1, State.QUEUED: 7,
    }  # fmt: skip
    assert report.seconds_left == pytest.approx(100.0)
    assert report.failures == {"SubmissionUnconfirmedError: lost": 1}
    assert [entry.position for entry in report.of(State.RUNNING)] == [2, 3]


def test_a_batch_that_was_killed(tmp_path: Path) -> None:
    """A turn without an end whose journal nobody holds was stopped with its last sign of life."""
    rows = [made(1, "a.png"), Row(intended=8.0)]
    report = told(tmp_path, rows, runs=[(0.0, None)], sent=[(10.0, "poll")], now=12.0)
    assert not report.goes_on
    assert report.was_interrupted
    assert report.last_sign == report.runs[0].ended == START + 10.0
    assert report.counts[State.UNCONFIRMED] == 1


def test_a_batch_of_several_turns(tmp_path: Path) -> None:
    """The pace leaves out the time between turns, and turns in which nothing was made."""
    rows = [made(1, "a.png"), made(2, "b.png", at=1001.0, run=2), made(3, at=2.0), Row(run=2)]
    runs = [(0.0, None), (1000.0, 1010.0), (2000.0, 2010.0)]
    report = told(tmp_path, rows, runs=runs, now=3000.0)
    assert [run.ended for run in report.runs] == [START + 5.0, START + 1010.0, START + 2010.0]
    assert report.pictures_per_minute == pytest.approx(60 * 3 / 15)
    assert (len(report.entries), len(report.left_behind)) == (0, 4)
    assert (report.pictures, report.total) == (0, 0)


def test_an_entry_older_than_all_turns(tmp_path: Path) -> None:
    """A picture that a clock set back has before all turns belongs to the first."""
    report = told(tmp_path, [made(1, "a.png", at=-50.0)], runs=[(0.0, 6.0)])
    assert report.pictures_per_minute == pytest.approx(10.0)


def test_a_refused_request_has_failed(tmp_path: Path) -> None:
    """What was refused before it ran is a failure, though the journal would send it again."""
    report = told(tmp_path, [Row(error="BadRequestError: no")])
    assert report.counts[State.FAILED] == 1
    assert report.failures == {"BadRequestError: no": 1}


def test_a_failure_without_words(tmp_path: Path) -> None:
    """A prediction that ended without a reason has the API's word for it."""
    (entry,) = told(tmp_path, [made(1, status="cancelled")]).entries
    assert reason(entry) == "the API says: cancelled"


def test_an_empty_journal(tmp_path: Path) -> None:
    """A journal in which nothing has happened yet tells of nothing."""
    report = told(tmp_path, [], runs=[])
    assert (report.total, report.pictures_per_minute, report.last_sign) == (0, 0.0, None)
    assert not report.goes_on


def test_a_report_is_read_from_a_folder(tmp_path: Path) -> None:
    """A report is of now, with the order that stands beside the journal, or a better total."""
    journal = write_journal(tmp_path / "o" / "journal.sqlite", [made(1, "a.png")])
    write_order(tmp_path / "o", Order(total=3))
    report = read_report(journal)
    assert report.total == 3
    assert report.now == pytest.approx(time.time(), abs=60)
    assert read_report(journal, total=5).total == 5


# --- prices ---------------------------------------------------------------------------------------


def test_the_cost_is_that_of_what_did_not_fail(tmp_path: Path) -> None:
    """Predictions cost what their kind does; failed and unsent ones cost nothing."""
    one, two = ({"prompt": "a", "num_images": number} for number in (1, 2))
    rows = [
        made(1, fields={**one, "seed": 4}),
        made(2, fields={**two, "prompt": "b c"}),
        made(3, fields=two, status="failed"),
        Row(fields=two),
    ]
    prices = tuple(Price(FLUX, priced(fields), cost) for fields, cost in ((one, 0.01), (two, 0.02)))
    report = told(tmp_path, rows, order=Order(prices=prices))
    assert report.cost == pytest.approx(0.03)
    assert report.order.currency == "USD"
    assert Order(prices=prices[:1]).cost([(FLUX, two)]) is None
    assert Order().currency == ""


def test_a_price_depends_on_numbers_flags_and_words() -> None:
    """Requests that differ in prose, addresses, pictures, seeds or scales have one price."""
    request = {"prompt": "a", "seed": 1, "image": "https://x/y", "size": "1024*768", "fast": True}
    same = {**request, "prompt": "b", "seed": 2, "image": "<9 characters, sha256 a>"}
    assert priced(request) == priced(same)
    assert priced(request) != priced({**request, "size": "512*512"})
    loras = [{"path": "a/b", "scale": 0.5}]
    assert priced({"loras": loras}) == priced({"loras": [{"path": "c/d", "scale": 1}]})
    assert priced({"loras": loras}) != priced({"loras": loras * 2})


def test_an_order_is_read_as_it_was_written(tmp_path: Path) -> None:
    """What stands beside a journal is read again; what is torn or not there tells nothing."""
    assert read_order(tmp_path) == Order()
    order = Order(total=5, prices=(Price(FLUX, "{}", 0.5, "EUR"),))
    write_order(tmp_path, order)
    assert read_order(tmp_path) == order
    assert [path.name for path in tmp_path.iterdir()] == ["order.json"]
    (tmp_path / "order.json").write_text("[]")
    assert read_order(tmp_path) == Order()


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    """A file that was begun long ago goes when the next is written; one just begun stays."""
    old, new = tmp_path / ".order.json.1.part", tmp_path / ".order.json.2.part"
    for path in (old, new):
        path.touch()
    os.utime(old, (0, 0))
    write_order(tmp_path, Order())
    assert sorted(path.name for path in tmp_path.iterdir()) == [new.name, "order.json"]


# --- plots ----------------------------------------------------------------------------------------


def test_peaks_miss_nothing_between_their_points() -> None:
    """Each point has the most that was open at once in its step, however short it was."""
    found = peaks([(0.0, 300.0), (100.2, 100.3), (100.3, 100.4), (599.5, 900.0)], 0.0, POINTS)
    assert [found[0], found[99], found[100], found[101]] == [1, 1, 2, 1]
    assert [found[299], found[300], found[598], found[599]] == [1, 0, 0, 1]
    assert peaks([(-5.0, 50.0)], 0.0, POINTS)[0] == 1


def test_plots_tell_of_each_turn_that_sent_something(tmp_path: Path) -> None:
    """Requests are plotted where they count, predictions until ready and until seen."""
    rows = [
        made(1, "a.png"),
        Row(intended=30.0, submitted=30.0, prediction="b"),
        Row(intended=5.0, absent=9.0),
        Row(),
    ]
    sent = [(1.0, "submit"), (4.0, "poll"), (4.0, "free"), (30.0, "submit")]
    runs = [(0.0, 60.0), (100.0, 100.0)]
    report = told(tmp_path, rows, sent=sent, runs=runs, limits=(9, 20.0, 3), now=200.0)
    (plot,) = plots(report)
    assert (plot["requests"], plot["per"], plot["concurrency"]) == (9, 20.0, 3)
    points = {name: [plot[name][second * 10] for second in (0, 2, 3, 5, 31)]
              for name in ("window", "running", "held")}  # fmt: skip
    assert points == {
        "window": [0, 1, 1, 2, 1],
        "running": [0, 1, 0, 0, 1],
        "held": [0, 1, 1, 0, 1],
    }
