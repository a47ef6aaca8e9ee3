"""The emulator as a part of the package: its extra, its fixture, its place beside the stack."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import httpx

import wavespeed_async.emulator
from tests.emulator.account import FLUX, KEY

if TYPE_CHECKING:
    from wavespeed_async.emulator import Emulator

FOLDER = Path(wavespeed_async.emulator.__file__).parent
ALLOWED = tuple(f"wavespeed_async.{name}" for name in ("emulator", "models", "errors", "_extras"))


def test_the_fixture_runs_an_emulator(wavespeed_emulator: Emulator) -> None:
    """The package's own pytest plugin gives a running emulator."""
    assert httpx.get(wavespeed_emulator.url).status_code == 200


async def test_the_fixture_in_process_goes_by_the_loops_clock(
    wavespeed_emulator_in_process: Emulator,
) -> None:
    """The package's own pytest plugin gives one in process, too, by the event loop's clock."""
    transport = httpx.ASGITransport(wavespeed_emulator_in_process.app)
    before = anyio.current_time()
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        await client.post(FLUX, json={}, headers=KEY)
    [request] = wavespeed_emulator_in_process.requests
    assert before <= request.at <= anyio.current_time()


def test_it_stands_beside_the_stack() -> None:
    """The emulator imports the words and the request classes, and nothing of the client."""
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("wavespeed_"):
                assert node.module is not None
                if node.module == "wavespeed_async._prediction":
                    assert [name.name for name in node.names] == ["Status"]
                else:
                    assert node.module.startswith(ALLOWED)
