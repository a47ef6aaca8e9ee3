"""The official JavaScript SDK (npm `wavespeed`), newest, runs unchanged."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.emulator.official import SDK, Raised, installed, run_quietly
from wavespeed_async.emulator import Emulator
from wavespeed_async.emulator._pictures import TINY_PNG

if TYPE_CHECKING:
    from pathlib import Path

FLUX = "wavespeed-ai/flux-dev"
KONTEXT = "wavespeed-ai/flux-kontext-dev/multi"
REDUX = "wavespeed-ai/flux-redux-dev"
EDIT = {"prompt": "p", "images": ["https://example.com/a.png"]}
BROKEN = {"image": "data:image/png;base64,aaaa"}
FAST = {"pollInterval": 0.05}

CALL = """
const { Client } = require("wavespeed");
const call = JSON.parse(process.argv[1]);
const args = Object.keys(call.options).length ? [...call.args, call.options] : call.args;
new Client("key", { baseUrl: call.url })[call.method](...args).then(
  (result) => console.log(JSON.stringify({ result })),
  (error) => console.log(JSON.stringify({ error: [error.name, error.message] })),
);
"""


@pytest.fixture(scope="module")
def sdk(request: pytest.FixtureRequest) -> SDK:
    """Install the newest version into a folder of its own."""

    def install(folder: Path) -> None:
        npm = shutil.which("npm")
        if npm is None:
            message = "there is no npm"
            raise OSError(message)
        options = ("--no-audit", "--no-fund", "--silent", "--prefix", folder)
        run_quietly([npm, "install", *options, "wavespeed"])

    folder = installed(request.config.cache, "wavespeed-js", install)
    node = shutil.which("node") or "node"
    package = str(folder / "node_modules/wavespeed")
    version = run_quietly([node, "-p", f"require({package!r} + '/package.json').version"]).strip()
    return SDK(version, [node, "-e", CALL.replace('"wavespeed"', repr(package))])


def test_run_makes_pictures(sdk: SDK) -> None:
    """`run` submits, polls and answers outputs that can be downloaded."""
    with Emulator(latency=0.1) as emulator:
        fields = {"prompt": "a lake", "num_images": 2, "size": "512*512"}
        result = sdk.call(emulator, "run", FLUX, fields, **FAST)
        assert len(result["outputs"]) == 2
        for output in result["outputs"]:
            assert httpx.get(output).headers["content-type"] == "image/png"
        assert emulator.requests[0].headers["x-client-version"] == sdk.version
        assert {record.status_code for record in emulator.requests} == {200}


def test_sync_mode_takes_one_request(sdk: SDK) -> None:
    """In sync mode the answer to the one request has the outputs."""
    with Emulator(latency=0.1, pictures=False) as emulator:
        result = sdk.call(emulator, "run", KONTEXT, EDIT, enableSyncMode=True)
        [output] = result["outputs"]
        assert httpx.get(output).content == TINY_PNG
        assert len(emulator.requests) == 1


def test_run_no_throw_tells_how_it_ended(sdk: SDK) -> None:
    """`runNoThrow` answers the status, the outputs and the id of what it made."""
    with Emulator(latency=0.1, pictures=False) as emulator:
        result = sdk.call(emulator, "runNoThrow", FLUX, {}, **FAST)
        assert result["detail"]["status"] == "completed"
        assert result["detail"]["taskId"] == emulator.predictions[0].id
        assert result["detail"]["taskId"] in result["outputs"][0]


def test_a_failed_prediction_is_its_error(sdk: SDK) -> None:
    """A prediction that fails is raised by `run`, with the API's words."""
    with (
        Emulator(latency=0.1) as emulator,
        pytest.raises(Raised, match="Prediction failed") as caught,
    ):
        sdk.call(emulator, "run", REDUX, BROKEN, **FAST)
    assert emulator.predictions[0].id in str(caught.value)


def test_a_sync_timeout_names_the_prediction_that_goes_on(sdk: SDK) -> None:
    """When sync mode gives up the SDK understands that it still runs."""
    with (
        Emulator(latency=5.0, latency_cv=0.0, sync_timeout=0.1, pictures=False) as emulator,
        pytest.raises(Raised, match=r"Sync mode timed out after 0\.1 seconds") as caught,
    ):
        sdk.call(emulator, "run", KONTEXT, EDIT, enableSyncMode=True)
    assert caught.value.kind == "WavespeedSyncTimeoutException"
    assert emulator.predictions[0].id in str(caught.value)


def test_upload_answers_an_address_that_can_be_used(sdk: SDK, tmp_path: Path) -> None:
    """`upload` takes a file by ticket, and the address that it answers serves the same bytes."""
    picture = tmp_path / "a.png"
    picture.write_bytes(TINY_PNG)
    with Emulator(latency=0.0, pictures=False) as emulator:
        address = sdk.call(emulator, "upload", str(picture))
        answer = httpx.get(address)
        assert (answer.content, answer.headers["content-type"]) == (TINY_PNG, "image/png")
