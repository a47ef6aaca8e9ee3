"""The emulator as a part of the package: its extra, its fixture, its place beside the stack."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

import wavespeed_async.emulator
from tests.emulator.account import FLUX, KEY
from wavespeed_async.errors import ConfigurationError

if TYPE_CHECKING:
    from wavespeed_async.emulator import Emulator

FOLDER = Path(wavespeed_async.emulator.__file__).parent
ALLOWED = ("wavespeed_async.emulator", "wavespeed_async.models", "wavespeed_async.errors")


def forget(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Make the emulator be imported anew, without a module."""
    for name in [*sys.modules]:
        if name.startswith("wavespeed_async.emulator"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)


@pytest.mark.parametrize("missing", ["jinja2", "starlette.applications", "uvicorn", "PIL"])
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Without one of its libraries the emulator says how to install them."""
    forget(monkeypatch, missing)
    with pytest.raises(ConfigurationError, match=r"pip install 'wavespeed-async\[emulator\]'"):
        importlib.import_module("wavespeed_async.emulator")


def test_another_missing_module_is_no_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the package itself that is missing is not blamed on the extra."""
    forget(monkeypatch, "wavespeed_async.emulator._server")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("wavespeed_async.emulator")


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
