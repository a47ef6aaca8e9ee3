"""The figures of the pages are those that the benchmarks print."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.docs.blocks import DOCS, ROOT, blocks_of
from tests.test_benchmarks import run


@pytest.mark.parametrize("page", ["limiter", "polling"])
def test_the_tables(page: str, tmp_path: Path) -> None:
    """The command of a page prints the table that stands below it."""
    command, table = blocks_of(f"docs/{page}.md")
    _, script, *given = shlex.split(command.code)
    assert run(tmp_path, Path(script).stem, *given) == table.code


def test_the_figures_beside_others() -> None:
    """Pictures a minute that the texts name are those that were measured."""
    rows = json.loads((DOCS / "throughput.json").read_text(encoding="utf-8"))["rows"]
    comparison = (DOCS / "comparison.md").read_text(encoding="utf-8")
    polling = (DOCS / "polling.md").read_text(encoding="utf-8")
    best = {
        row["mean"]: max(ways["pictures_a_minute"] for ways in row["official"].values())
        for row in rows
    }
    ours = {row["mean"]: row["ours"] for row in rows}
    oracle = {row["mean"]: row["oracle"] for row in rows}
    assert f"makes {best[2]:.1f} pictures a minute" in comparison
    assert f"makes {ours[2]:.1f} (predictions of 2 s)" in comparison
    for mean in (12, 60):
        assert f"{best[mean]:.1f} of {ours[mean]:.1f} ({mean} s)" in comparison
    for figure in (best[20], oracle[20], ours[20]):
        assert f"{figure:.1f}" in polling
    lost = [100 * ways["lost"] for row in rows for ways in row["official"].values()]
    assert f"{min(lost):.0f} to {max(lost):.0f} % of the prompts" in comparison


def test_the_counts_of_lost_answers(tmp_path: Path) -> None:
    """The counts that the plot was drawn from can be told again; ours and the vendor's are one."""
    counts = DOCS / "lost-answers.json"
    told = run(tmp_path, "lost_answers", "--redraw", str(counts))
    for row in json.loads(counts.read_text(encoding="utf-8")):
        assert f"{row['sdk']} {row['version']}" in told
        if row["sdk"].startswith("wavespeed"):
            assert {row["posts"][fate] for fate in ("closed", "500", "504")} == {1}


def test_screenshots_are_small() -> None:
    """Each is of a size that a page may have, and of a kind that browsers show."""
    images = [*(DOCS / "images").iterdir()]
    assert {image.stem for image in images} == {"batch", "demo", "emulator", "fastapi"}
    for image in images:
        assert image.suffix == ".webp"
        assert image.stat().st_size < 150_000
    assert (ROOT / "docs" / "screenshots.py").is_file()
