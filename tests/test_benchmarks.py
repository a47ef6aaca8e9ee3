"""Each benchmark runs, on next to nothing; what it measures is no test."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.limits.redis.server import require_redis

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
FIGURES = ROOT / "docs" / "throughput.json"
WITH_OPTIONS = (
    "backends",
    "cpu",
    "emulator",
    "files",
    "fullest_minute",
    "house",
    "import_time",
    "large_batches",
    "lost_answers",
    "observation",
    "polls",
    "processes",
    "scale",
    "simulation",
    "soak",
    "throughput",
    "webhooks",
)


def run(folder: Path, name: str, *arguments: str) -> str:
    """Run a benchmark as its users do, but with this interpreter; answer what it prints."""
    environment = {**os.environ}
    environment.pop("PYTHONSAFEPATH", None)  # one imports another that lies beside it
    ended = subprocess.run(  # noqa: S603 (our own command)
        [sys.executable, str(BENCHMARKS / f"{name}.py"), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    return ended.stdout


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def needs_clusters(given: Any) -> Any:
    """Skip where Ray, arq or Redis is missing, but never in CI."""
    found = find_spec("ray") and find_spec("arq") and shutil.which("redis-server")
    skipped = not os.environ.get("CI") and not found
    return pytest.param(given, marks=pytest.mark.skipif(skipped, reason="no Ray, arq or Redis"))


@pytest.mark.parametrize("name", [*WITH_OPTIONS, needs_clusters("clusters")])
def test_help(name: str, tmp_path: Path) -> None:
    """Each benchmark says in its help what it measures, and how it is run."""
    told = run(tmp_path, name, "--help")
    assert f"python benchmarks/{name}.py" in told
    assert re.search(r"^options:$", told, re.MULTILINE)


def test_throughput(tmp_path: Path) -> None:
    """A few pictures come out over real sockets, none is lost or refused, about as many as may."""
    few = ["--prompts", "12", "--latencies", "2", "5", "--seeds", "1", "--scale", "100"]
    table = run(tmp_path, "throughput", *few, "--threads", "--json", "figures.json")
    assert "  2 s" in table
    assert "  5 s" in table
    figures = read(tmp_path / "figures.json")
    assert [run["prompts"] for run in figures["runs"]] == [12, 12]
    for row in figures["rows"]:
        assert row["lost"] == row["refused"] == 0
        assert row["ours"] > 0
        assert row["share_simulated"] > 0.3


TINY = {
    "__init__.py": """
        \"\"\"Be small.\"\"\"
        from tiny._errors import TinyError
        from tiny._work import work
        __all__ = ["TinyError", "work"]
    """,
    "_errors.py": """
        # one of three comments, on two lines
        class TinyError(ValueError):
            \"\"\"Tell.\"\"\"
            def why(self): return self  # undocumented
        class TinyWarning(UserWarning): ...
    """,
    "_work.py": """
        from . import _errors
        def work():
            \"\"\"Work.\"\"\"

            # before it

            from . import _late
            return _late
    """,
    "_late.py": "from . import _circle",
    "_circle.py": "import tiny._late",
    "tests/__init__.py": "raise ZeroDivisionError",
}


def test_house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of five files, whose figures anyone can count, has them; the guide gets its row."""
    for name, text in TINY.items():
        path = tmp_path / "tiny" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(textwrap.dedent(text).lstrip(), encoding="utf-8")
    guide = tmp_path / "guide.md"
    guide.write_text("A\n<!-- the house: begin -->\nold\n<!-- the house: end -->\nZ\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}")
    for _ in range(2):
        table = run(tmp_path, "house", "tiny", "nothing", "--json", "j", "--write", f"{guide}")
    assert read(tmp_path / "j") == [
        {
            "package": "tiny",
            "files": 5,
            "lines": 19,
            "function_median": 1.5,
            "function_p90": 2,
            "function_longest": 2,
            "levels": 3,
            "cycles": 1,
            "comment_share": 2 / 19,
            "exceptions": 1,
            "documented_share": 2 / 3,
        }
    ]
    assert "nothing is not installed" in table
    [row] = [line for line in table.splitlines() if line.startswith("| files")]
    assert row == "| files / lines | 5 / 19 |"
    assert guide.read_text().startswith("A\n<!-- the house: begin -->\n|  | tiny |\n")
    assert guide.read_text().endswith(" |\n<!-- the house: end -->\nZ\n")
    assert guide.read_text().count("files / lines") == 1


def test_the_guide_has_the_table_of_the_house() -> None:
    """Where the session writes it, for this package and for each that it learnt from."""
    guide = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
    head = "|  | wavespeed_async | stamina | httpx | httpcore | h11 | anyio | aiolimiter |"
    assert f"<!-- the house: begin -->\n{head}\n" in guide


def test_processes(tmp_path: Path) -> None:
    """A few pictures come from four processes, the limit holds at the API, turns are told of."""
    require_redis()
    few = ["--runs", "1", "--prompts", "12", "--turns", "8", "--no-rival", "--json", "f.json"]
    assert "share of one process" in run(tmp_path, "processes", *few)
    figures = read(tmp_path / "f.json")
    for rows in figures["runs"].values():
        assert [row["over"] for row in rows] == [0]
        assert rows[0]["running"] <= 20
    assert [row["turns"] for row in figures["order"]["4 processes, Redis"]] == [8]


@pytest.mark.parametrize("way", [needs_clusters("arq, with journals")])
def test_clusters(way: str, tmp_path: Path) -> None:
    """A queue's worker is killed with 20 running, and pays for nothing twice; a job has a size."""
    told = run(tmp_path, "clusters", "--ways", way, "--jobs", "500", "--json", "figures.json")
    assert re.search(rf"^{way} +40 +40 +0$", told, re.MULTILINE)
    assert 200 < read(tmp_path / "figures.json")["bytes of a job"] < 2000


def test_the_figures_in_docs_can_be_told_again(tmp_path: Path) -> None:
    """The figures that the plot in docs was drawn from give the table, without a new run."""
    table = run(tmp_path, "throughput", "--redraw", str(FIGURES))
    for row in read(FIGURES)["rows"]:
        assert f"{row['mean']:4g} s{row['oracle']:8.1f}{row['ours']:7.1f}" in table


def test_simulation(tmp_path: Path) -> None:
    """One case of one seed is within the limits, and about as good as the oracle."""
    few = ["--first", "1", "--seeds", "1", "--jobs", "1", "--cases", "5 s, 100"]
    run(tmp_path, "simulation", *few, "--json", "j")
    (row,) = read(tmp_path / "j")["rows"]
    assert row["refused"] == 0
    assert 0.5 < row["share"] < 1.05


def test_webhooks(tmp_path: Path) -> None:
    """Every picture is made, in a request each and one for each webhook that is lost, or few more.

    What the emulator refuses, and what is paid twice, would stand in its figures.
    """
    few = ["--prompts", "40", "--latencies", "2", "--seeds", "1", "--scale", "20", "--lost", "0.2"]
    table = run(tmp_path, "webhooks", *few, "--json", "j")
    assert "0 pictures were not made" in table
    (told,) = read(tmp_path / "j")["runs"]
    assert told["unmade"] == told["refused"] == 0
    assert told["most_running"] <= 20
    assert 0 < told["lost"] <= told["polls"] <= told["requests"] - 40
    assert told["share_simulated"] > 0.3


def test_large_batches(tmp_path: Path) -> None:
    """A small batch is polled once each, and none of those that run at once is lost."""
    few = ["--requests", "500", "--running", "20", "--latency", "0.2", "--runs", "1"]
    run(tmp_path, "large_batches", *few, "--json", "j")
    figures = read(tmp_path / "j")
    assert [row["requests"] for row in figures["instant"]] == [500, 500, 500]
    assert {row["polls"] for row in figures["instant"]} == {1.0}
    assert [row["lost"] for row in figures["stalls"]] == [0] * 5
    assert all(row["most_running"] == 20 for row in figures["stalls"])


def test_backends(tmp_path: Path) -> None:
    """A few visitors see their pictures, others leave, and nothing of them stays behind."""
    few = ["--visitors", "8", "--latency", "1", "--runs", "1", "--kinds", "aiohttp", "bare httpx"]
    table = run(tmp_path, "backends", *few, "--json", "figures.json")
    assert table.count("nothing") == 4
    for row in read(tmp_path / "figures.json")["rows"]:
        assert row["finished"] >= 4
        assert row["finished"] + row["left"] == 8
        assert row["tasks_left"] == row["connections_left"] == row["waiting_left"] == 0


def test_files(tmp_path: Path) -> None:
    """Requests that share an image upload it once, none is lost; stalls are told, not judged."""
    few = ["--requests", "6", "--megabytes", "1", "--rounds", "1", "--json", "figures.json"]
    table = run(tmp_path, "files", *few)
    assert "longest stall" in table
    rows = read(tmp_path / "figures.json")["rows"]
    assert {row["uploads"] for row in rows} == {0, 1, 6}
    assert all(row["lost"] == 0 for row in rows)


def test_observation(tmp_path: Path) -> None:
    """A few pictures are made with each observer, over either transport."""
    table = run(tmp_path, "observation", "--rounds", "1", "--pictures", "20", "--json", "j")
    assert "otel, sampled out" in table
    rows = read(tmp_path / "j")["rows"]
    assert len(rows) == 14
    assert all(row["ms"] > 0 for row in rows)
