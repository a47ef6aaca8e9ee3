"""The emulator's OpenAPI document: it says all that is served, and what it says is so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wavespeed_async.emulator import Emulator
from wavespeed_async.emulator._openapi import _numerals, document
from wavespeed_async.emulator._records import Call
from wavespeed_async.emulator._routing import _FIXED, aim_of
from wavespeed_async.emulator._state import Settings
from wavespeed_async.models import request_classes

CONFIG = """
[warnings]
fail-on = true

[checks.negative_data_rejection]
expected-statuses = ["400", "401", "404", "413"]
"""
"""A file that is announced as too large is refused in its own way."""
DOCUMENT = document(Settings(), "http://test")
PATHS: dict[str, Any] = DOCUMENT["paths"]


def schema_of(path: str) -> dict[str, Any]:
    body: dict[str, Any] = PATHS[path]["post"]["requestBody"]["content"]["application/json"]
    schema: dict[str, Any] = body["schema"]
    return schema


async def test_the_document_is_served_without_a_key() -> None:
    """`GET /openapi.json` tells where it was asked, and is no request of the API."""
    emulator = Emulator()
    transport = httpx.ASGITransport(emulator.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        told = (await client.get("/openapi.json")).json()
    assert told["servers"] == [{"url": "http://here"}]
    assert told["paths"] == PATHS
    assert emulator.requests == ()


def test_it_tells_every_endpoint_and_no_other() -> None:
    """What is routed is documented, and what is documented is routed."""
    documented = {(method.upper(), path) for path, item in PATHS.items() for method in item}
    assert documented >= {*_FIXED}
    for method, path in documented:
        made = path.replace("{prediction_id}", "0" * 32)
        assert aim_of(Call(method=method, path=made)).action != "unknown"
    for cls in request_classes():
        assert ("POST", f"/api/{cls.version}/{cls.model}") in documented


def test_fields_have_the_bounds_of_their_validators() -> None:
    """A field's range, words, patterns and optionality are those of the request class."""
    schema = schema_of("/api/v3/wavespeed-ai/flux-kontext-dev/multi")
    fields = schema["properties"]
    assert schema["required"] == ["prompt", "images"]
    assert (fields["guidance_scale"]["minimum"], fields["guidance_scale"]["maximum"]) == (1.0, 20.0)
    assert fields["guidance_scale"]["type"] == ["number", "null"]
    assert fields["output_format"]["enum"] == ["jpeg", "png", "webp", None]
    assert fields["prompt"]["type"] == "string"
    assert fields["images"]["minItems"] == 1
    image = re.compile(fields["images"]["items"]["pattern"])
    assert image.search("https://example.com/a.png")
    assert image.search("data:image/png;base64,aaaa")
    assert not image.search("a.png")
    assert not image.search("")


@pytest.mark.parametrize(
    ("model", "low", "high"), [("flux-redux-dev", 256, 1536), ("flux-dev", 512, 1536)]
)
def test_the_pattern_of_sizes_is_exact(model: str, low: int, high: int) -> None:
    """The pattern of a size takes each side in its range, and no other."""
    pattern = re.compile(
        schema_of(f"/api/v3/wavespeed-ai/{model}")["properties"]["size"]["pattern"]
    )
    sides = [side for side in range(20_000) if pattern.search(f"{side}*1024")]
    assert sides == [*range(low, high + 1)]
    assert [side for side in range(20_000) if pattern.search(f"1024*{side}")] == sides
    assert not pattern.search("01024*1024")


@given(st.lists(st.integers(1, 3000), min_size=2, max_size=2).map(sorted))
def test_any_range_of_numbers_has_its_pattern(ends: list[int]) -> None:
    """The pattern of a range takes its numbers, and no other."""
    pattern = re.compile(_numerals(*ends))
    assert [n for n in range(3100) if pattern.fullmatch(str(n))] == [*range(ends[0], ends[1] + 1)]


def test_schemathesis_finds_no_disagreement(tmp_path: Path) -> None:
    """All checks pass over every endpoint: no 5xx, all that is valid accepted, the rest refused."""
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG, encoding="utf-8")
    known = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    folders = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    hooks = {"PYTHONPATH": os.pathsep.join(folders), "SCHEMATHESIS_HOOKS": "fuzzing"}
    many = 10**6
    with Emulator(
        latency=0.0, pictures=False, api_key="key", requests=many, concurrency=many, balance=many
    ) as emulator:
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)),
            *("run", f"{emulator.url}/openapi.json", "--header", "Authorization: Bearer key"),
            *("--checks", "all"),
            *("--max-examples", "30", "--max-failures", "5"),
            *("--seed", "1", "--generation-deterministic", "--no-color"),
        ]
        done = subprocess.run(  # noqa: S603 (our own command)
            command,
            cwd=tmp_path,
            env={**known, **hooks, "NO_PROXY": "127.0.0.1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    operations = sum(len(item) for item in PATHS.values())
    assert f"Selected: {operations}/{operations}\n  Tested: {operations}\n" in done.stdout
    assert len(emulator.requests) > 500


async def test_what_schemathesis_found_stays_mended() -> None:
    """3.0 is a whole number, as in JSON it is, and where nothing is there is the envelope."""
    emulator = Emulator(latency=0.0, pictures=False)
    headers = {"authorization": "Bearer key"}
    transport = httpx.ASGITransport(emulator.app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://test", headers=headers
    ) as client:
        path = "/api/v2/wavespeed-ai/flux-dev"
        whole = await client.post(path, content=b'{"num_images": 3.0, "guidance_scale": 2.5}')
        half = await client.post(path, content=b'{"num_images": 2.5}')
        nowhere = await client.get("/api/v3/predictions/a%0Ab")
        strange = await client.request("BREW", path)
    assert (whole.status_code, half.status_code) == (200, 400)
    assert emulator.predictions[0].count == 3
    assert (strange.status_code, strange.headers["allow"]) == (405, "POST")
    assert strange.json() == {"code": 405, "message": "method not allowed"}
    assert (nowhere.status_code, nowhere.json()) == (404, {"code": 404, "message": "not found"})
