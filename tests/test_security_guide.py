"""The promises of `docs/security.md`: each is held by a test that there is."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from anyio import to_thread

from wavespeed_async import AsyncWaveSpeed, FluxDev, Folder
from wavespeed_async.batch import write_page

if TYPE_CHECKING:
    from wavespeed_async.emulator import Emulator

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
ROWS = [line for line in GUIDE.splitlines() if line.startswith("| ")]
PROMISES = [row for row in ROWS if not row.startswith(("| promise", "| ---"))]
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", GUIDE)))
KEY = "a-key-that-is-seen-nowhere"


@pytest.mark.parametrize(("path", "name"), NAMED, ids=[name for _, name in NAMED])
def test_each_test_that_is_named_is_there(path: str, name: str) -> None:
    """Whoever renames a test that holds a promise renames it in the guide."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert name in {getattr(node, "name", None) for node in tree.body}


def test_each_promise_names_a_test() -> None:
    """A promise that nothing holds is none."""
    assert len(PROMISES) > 10
    assert [row for row in PROMISES if "`tests/" not in row] == []


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_no_file_of_a_batch_has_the_key(wavespeed_emulator: Emulator, tmp_path: Path) -> None:
    """Journal, pictures with their metadata and the page are there, and all are free of it."""
    requests = [FluxDev(prompt="a lighthouse"), FluxDev(prompt="a pier")]
    folder = Folder(tmp_path, metadata=True)
    async with (
        AsyncWaveSpeed(KEY, base_url=wavespeed_emulator.url) as client,
        client.batch(requests, journal=tmp_path / "journal.sqlite", save_to=folder) as outcomes,
    ):
        paths = [path async for outcome in outcomes for path in outcome.paths]
    page = await to_thread.run_sync(write_page, tmp_path / "journal.sqlite")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {*paths, tmp_path / "journal.sqlite", page} <= {*files}
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
