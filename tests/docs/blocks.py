"""The blocks of code of the README and of docs, and how they are run as a reader would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen
from sybil import Document
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer

if TYPE_CHECKING:
    from wavespeed_async.emulator import Emulator

__all__ = [
    "DOCS",
    "PAGES",
    "ROOT",
    "Block",
    "blocks_of",
    "environment",
    "is_test",
    "ran_program",
    "ran_tests",
]

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "README.md", *DOCS.rglob("*.md")))
_LEXER = FencedCodeBlockLexer(language=r".*?", mapping={"language": "language", "source": "source"})


@frozen
class Block:
    """Be one block of a page; `told` is the paragraph before it."""

    page: str
    line: int
    language: str
    code: str
    told: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: str) -> list[Block]:
    """Read the blocks of a page, which is named from the project's folder."""
    document = Document.parse(str(ROOT / page))
    found = []
    for region in _LEXER(document):
        before = document.text[: region.start]
        found.append(
            Block(
                page=page,
                line=before.count("\n") + 1,
                language=region.lexemes["language"].strip(),
                code=region.lexemes["source"],
                told=before.rstrip().rpartition("\n\n")[2],
            )
        )
    return found


def is_test(code: str) -> bool:
    """Tell whether a block of Python is a file of tests, or a part of one."""
    return "import pytest" in code


def environment(**more: str) -> dict[str, str]:
    """Answer what a reader's program finds in its environment."""
    known = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    return {**known, "WAVESPEED_API_KEY": "a-key", **more}


def ran_program(code: str, folder: Path, emulator: Emulator, **more: str) -> str:
    """Run a program in a folder against an emulator; answer what it prints.

    It ends well, without a warning and without a word on stderr.
    """
    (folder / "program.py").write_text(code, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-W", "error", "program.py"],
        cwd=folder,
        env=environment(WAVESPEED_BASE_URL=emulator.url, **more),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert not ended.stderr, ended.stderr
    return ended.stdout


def ran_tests(code: str, folder: Path) -> None:
    """Run a file of tests in a folder, warnings being errors, after it was imported."""
    (folder / "block.py").write_text(code, encoding="utf-8")
    whole = f"import block\n\ndef test_it_is_imported():\n    assert block\n\n{code}"
    (folder / "test_block.py").write_text(whole, encoding="utf-8")
    ended = subprocess.run(  # noqa: S603 (our own command)
        [sys.executable, *("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", ".")],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    passed = re.search(r"(\d+) passed", ended.stdout)
    assert passed
    assert int(passed[1]) > code.count("def test_")
