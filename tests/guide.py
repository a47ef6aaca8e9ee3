"""The contributing guide's own changes, applied to a copy of the project."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import wavespeed_async
from tests.docs.blocks import ROOT, blocks_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["GUIDE", "block_after", "change", "copied", "files_of"]

GUIDE = ROOT / "docs" / "contributing.md"
PACKAGE = Path(wavespeed_async.__file__).parent


def block_after(words: str) -> tuple[str, str]:
    """Answer the language and text of the first code block after some words of the guide."""
    before, said, _ = GUIDE.read_text(encoding="utf-8").partition(words)
    assert said, f"the guide does not say: {words}"
    line = before.count("\n") + 1
    block = next(block for block in blocks_of("docs/contributing.md") if block.line > line)
    return block.language, block.code


def copied(folder: Path) -> Path:
    """Copy the package as it is installed, and beside it its tests and what they read."""
    unwanted = shutil.ignore_patterns("__pycache__", ".*_cache", ".hypothesis")
    shutil.copytree(PACKAGE, folder / "wavespeed_async", ignore=unwanted)
    for name in ("tests", "docs", "examples", "benchmarks", ".ci"):
        shutil.copytree(ROOT / name, folder / name, ignore=unwanted)
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md", "noxfile.py"):
        shutil.copy2(ROOT / name, folder / name)
    return folder


def change(folder: Path, path: str) -> None:
    """Do to a file of a copy what the guide does in the block after the file's name."""
    language, code = block_after(f"`{path}`")
    file = folder / path
    if language == "python":
        assert not file.exists()
        file.write_text(code, encoding="utf-8")
        return
    assert language == "diff"
    text = file.read_text(encoding="utf-8")
    for before, after in _hunks(code):
        assert text.count(before) == 1, f"{path} has this {text.count(before)} times:\n{before}"
        text = text.replace(before, after)
    file.write_text(text, encoding="utf-8")


def _hunks(diff: str) -> Iterator[tuple[str, str]]:
    """Answer what stood there and what stands there then, for each part of a diff."""
    for part in diff.split("@@\n")[1:]:
        lines = [(line[:1] or " ", line[1:]) for line in part.splitlines()]
        yield (
            "".join(f"{text}\n" for mark, text in lines if mark in " -"),
            "".join(f"{text}\n" for mark, text in lines if mark in " +"),
        )


def files_of(folder: Path) -> dict[str, bytes]:
    """Answer the files below a folder with what is in them, but for what tools leave there."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not {"__pycache__", ".mypy_cache"} & {*path.parts}
    }
