"""Each command of the pages is one that there is, with options that it takes."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest

from tests.docs.blocks import PAGES, ROOT, blocks_of
from tests.docs.test_blocks import ELSEWHERE, TUTORIAL
from wavespeed_async.cli._app import app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RUN = {
    "README.md",
    "docs/clusters.md",
    *(page for page in ELSEWHERE if ELSEWHERE[page] == TUTORIAL),
}
"""Pages whose commands are run, or compared with what CI runs, by tests of their own."""


def commands() -> Iterator[object]:
    """Find the commands of all other pages, one a line."""
    for page in PAGES:
        for block in blocks_of(page) if page not in RUN else ():
            if block.language == "bash":
                joined = block.code.replace("\\\n", " ")
                for line in joined.splitlines():
                    if line.strip() and not line.startswith("#"):
                        yield pytest.param(line, id=f"{page}: {line}")


def pip(words: list[str]) -> None:
    """Know the extras that are installed."""
    assert words[0] == "install"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for word in words[1:]:
        for named in re.findall(r"^(?:wavespeed-async|\.)\[(.*)\]", word):
            assert {*named.split(",")} <= {*project["optional-dependencies"]}


def wavespeed_async(words: list[str]) -> None:
    """Let the program itself read its arguments."""
    app.parse_args(words, print_error=False, exit_on_error=False, verbose=False)


def python(words: list[str]) -> None:
    """Ask a script of the project for its options; other programs are known by their modules."""
    if words[0] == "-m":
        assert words[1] in {"build", "pip", "pytest", "venv", "wavespeed_async", "uvicorn"}
        return
    script = ROOT / words[0]
    assert script.is_file()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    told = subprocess.run(  # noqa: S603 (the page's own command)
        [sys.executable, str(script), "--help"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    for option in words[1:]:
        assert not option.startswith("-") or option in told


def nox(words: list[str]) -> None:
    """Look for the sessions."""
    sessions = re.findall(
        r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text("utf-8"), re.MULTILINE
    )
    assert {word for word in words if not word.startswith("-")} <= {*sessions}


def known(words: list[str]) -> None:
    """Trust what is called so often that it would be noticed."""
    del words


PROGRAMS: dict[str, Callable[[list[str]], None]] = {
    "pip": pip,
    "wavespeed-async": wavespeed_async,
    "python": python,
    "nox": nox,
    **dict.fromkeys((".", "git", "mypy", "pytest", "ruff"), known),
}


@pytest.mark.parametrize("line", [*commands()])
def test_commands_are_those_there_are(line: str) -> None:
    """A command's program is known, and takes what stands behind it."""
    for command in re.split(r" (?:&&|\|\|) ", line):
        words = shlex.split(command, comments=True)
        while re.match(r"[A-Z_]+=", words[0]):
            words = words[1:]
        PROGRAMS[words[0].removeprefix(".venv/bin/").replace("python3", "python")](words[1:])
