"""Every block of every page is run, or is matched to something that is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PIL import Image

from tests.docs.blocks import PAGES, ROOT, Block, blocks_of, is_test, ran_program, ran_tests
from wavespeed_async import __version__
from wavespeed_async.emulator import Emulator

if TYPE_CHECKING:
    from pathlib import Path

TUTORIAL = "tests/docs/test_tutorial.py"
ELSEWHERE = {
    "README.md": "tests/test_readme.py",
    "docs/clusters.md": "tests/backends/test_clusters.py",
    "docs/contributing.md": "tests/test_contributing.py",
    "docs/journals.md": "tests/batch/test_guide.py",
    "docs/observation.md": "tests/test_observation_guide.py",
    "docs/processes.md": "tests/docs/test_processes.py",
    "docs/proxies.md": "tests/docs/test_proxies.py",
    "docs/scale.md": "tests/test_scale.py",
    "docs/tutorial/batch.md": TUTORIAL,
    "docs/tutorial/fastapi.md": TUTORIAL,
    "docs/tutorial/picture.md": TUTORIAL,
    "docs/webhooks.md": "tests/test_webhooks_guide.py",
}
"""Pages whose Python needs more than an emulator, and who runs it."""

OTHERS = {
    "docs/limiter.md": {"text"},
    "docs/polling.md": {"text"},
    "docs/migration.md": {"py"},
}
"""Blocks of other kinds, which `test_figures` and `test_migration` compare and run."""

HERE = [block for page in PAGES if page not in ELSEWHERE for block in blocks_of(page)]
PYTHON = [block for block in HERE if block.language == "python"]

TOLD = {
    "docs/limits.md": ("requests in the last minute", "the fox is here", __version__),
    "docs/migration.md": ("seed 7", "http", "http", ".png"),
    "docs/models.md": ("promt -> ", "wan-2.1/t2v-480p text-to-video", "1 deleted"),
    "docs/resume.md": (".png", "it still runs: ", "8 pictures"),
}
"""What each program of a page prints, among other words."""

PROGRAMS = {
    page: [block for block in PYTHON if block.page == page and not is_test(block.code)]
    for page in PAGES
}


@pytest.mark.parametrize("block", [block for block in PYTHON if is_test(block.code)], ids=str)
def test_tests_pass(block: Block, tmp_path: Path) -> None:
    """A test of a page passes as it stands, warnings being errors."""
    ran_tests(block.code, tmp_path)


@pytest.mark.parametrize(
    ("block", "words"),
    [
        pytest.param(block, words, id=str(block))
        for page, programs in PROGRAMS.items()
        for block, words in zip(programs, TOLD.get(page, [""] * len(programs)), strict=True)
    ],
)
def test_programs_run(block: Block, words: str, tmp_path: Path) -> None:
    """A program of a page runs without a warning, says its words, and saves all that it makes."""
    for name in ("room", "mask"):
        Image.new("RGB", (64, 48), "white").save(tmp_path / f"{name}.png")
    with Emulator(latency=0.2, pictures="metadata=" in block.code) as emulator:
        assert words in ran_program(block.code, tmp_path, emulator)
    pictures = tmp_path / "pictures"
    if pictures.exists():
        assert len([*pictures.rglob("*.png")]) == len(emulator.predictions) > 0


def test_no_block_escapes() -> None:
    """Each block is Python, which runs here, or a command, or of a kind that is run elsewhere."""
    for block in HERE:
        others = OTHERS.get(block.page, set())
        assert block.language in {"python", "bash", *others}, block


@pytest.mark.parametrize("page", ELSEWHERE)
def test_those_who_run_a_page_read_it(page: str) -> None:
    """The tests that are said to run a page name it."""
    code = (ROOT / ELSEWHERE[page]).read_text(encoding="utf-8")
    assert page.rpartition("/")[2].removesuffix(".md") in code
