"""The tutorial's pages, walked from the first block to the last as a reader does, in one folder."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from attrs import define, field

from tests.docs.blocks import Block, blocks_of, environment

if TYPE_CHECKING:
    from pathlib import Path

PAGES = [f"docs/tutorial/{name}.md" for name in ("picture", "batch", "fastapi")]
PROGRAMS = {"wavespeed-async": "-m wavespeed_async", "uvicorn": "-m uvicorn", "python": ""}
INSTALLS = ("python3 -m venv", ". .venv/bin/activate", "pip install")
SERVES = ("wavespeed-async emulator", "uvicorn")
PORTS = ("8765", "8766")
PATIENCE = 30.0


def free_port() -> str:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return str(listening.getsockname()[1])


@define
class Reader:
    """Save what the pages say to save, type what they say to type, and compare."""

    folder: Path
    variables: dict[str, str]
    ends: ExitStack
    ports: dict[str, str] = field(factory=lambda: {port: free_port() for port in PORTS})
    said: str = ""

    def follow(self, block: Block) -> None:
        """Do what a block is for."""
        code = re.sub("|".join(PORTS), lambda port: self.ports[port[0]], block.code)
        if block.language == "python":
            (name,) = re.findall(r"Save this as `(\w+\.py)`", block.told)
            (self.folder / name).write_text(code, encoding="utf-8")
        elif block.language == "bash":
            for line in code.splitlines():
                self.type(line, block)
        else:
            self.compare(code, block)

    def type(self, line: str, block: Block) -> None:
        """Run a line; one that installs is what made the environment of this test."""
        if line.startswith(INSTALLS):
            return
        if line.startswith("export "):
            name, _, value = shlex.split(line)[1].partition("=")
            self.variables[name] = value
        elif line.startswith(SERVES):
            self.serve(line)
        else:
            ended = subprocess.run(  # noqa: S603 (the page's own line)
                ["/bin/bash", "-c", line],
                cwd=self.folder,
                env=self.variables,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert ended.returncode == 0, f"{block}: {line}\n{ended.stdout}\n{ended.stderr}"
            self.said = ended.stdout

    def serve(self, line: str) -> None:
        """Start what goes on until Ctrl-C, and wait until it listens."""
        serving = subprocess.Popen(  # noqa: S603 (the page's own line)
            ["/bin/bash", "-c", f"exec {line}"],
            cwd=self.folder,
            env=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.ends.enter_context(serving)
        self.ends.callback(serving.terminate)
        (port,) = [port for port in self.ports.values() if port in line]
        until = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", int(port))).close()
            except OSError:
                assert time.monotonic() < until, line
                time.sleep(0.05)
            else:
                break
        if serving.stdout is not None and "emulator" in line:
            self.said = serving.stdout.readline()

    def compare(self, shown: str, block: Block) -> None:
        """Compare what the last line has said with what the page shows; … is anything."""
        pattern = re.escape(shown.strip()).replace("…", ".*")
        assert re.fullmatch(pattern, self.said.strip(), re.DOTALL), f"{block}:\n{self.said}"


def test_the_tutorial_can_be_followed(tmp_path: Path) -> None:
    """Each block of the three pages does what the page says, each page begins with the last's."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, module in PROGRAMS.items():
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n', encoding="utf-8")
        program.chmod(0o755)
    folder = tmp_path / "shop"
    folder.mkdir()
    variables = environment(PATH=f"{programs}{os.pathsep}{os.environ['PATH']}")
    del variables["WAVESPEED_API_KEY"]
    with ExitStack() as ends:
        reader = Reader(folder, variables, ends)
        for page in PAGES:
            for block in blocks_of(page):
                reader.follow(block)
