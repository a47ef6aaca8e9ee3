"""The official Python SDK (PyPI `wavespeed`), newest and 1.0.14, runs unchanged."""

from __future__ import annotations

import re
import sys
import venv
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
FAST = {"poll_interval": 0.05}

CALL = """
import json, sys, wavespeed
call = json.loads(sys.argv[1])
try:
    client = wavespeed.Client(api_key="key", base_url=call["url"])
    result = getattr(client, call["method"])(*call["args"], **call["options"])
    print(json.dumps({"result": result}))
except Exception as error:
    print(json.dumps({"error": [type(error).__name__, str(error)]}))
"""


@pytest.fixture(scope="module", params=["wavespeed", "wavespeed==1.0.14"])
def sdk(request: pytest.FixtureRequest) -> SDK:
    """Install a version into a virtual environment of its own."""
    wanted: str = request.param

    def install(folder: Path) -> None:
        venv.create(folder)  # without a pip of its own, which would take longer than all the rest
        pip = (sys.executable, "-m", "pip", "--python", folder / "bin/python")
        run_quietly([*pip, "install", "--quiet", wanted])

    python = installed(request.config.cache, wanted.replace("==", "-"), install) / "bin/python"
    version = run_quietly([python, "-c", "import wavespeed; print(wavespeed.__version__)"]).strip()
    assert version == "1.0.14" if "==" in wanted else int(version.partition(".")[0]) >= 2
    return SDK(version, [str(python), "-c", CALL])


def test_run_makes_pictures(sdk: SDK) -> None:
    """`run` submits, polls and answers outputs that can be downloaded, counted like any other's."""
    with Emulator(latency=0.1) as emulator:
        fields = {"prompt": "a lake", "num_images": 2, "size": "512*512"}
        result = sdk.call(emulator, "run", FLUX, fields, **FAST)
        assert len(result["outputs"]) == 2
        for output in result["outputs"]:
            assert httpx.get(output).headers["content-type"] == "image/png"
        submission, *polls = emulator.requests
        assert submission.headers["x-client-version"] == sdk.version
        assert (submission.kind, submission.status_code) == ("submit", 200)
        assert polls
        assert {(poll.kind, poll.status_code) for poll in polls} == {("result", 200)}


def test_sync_mode_takes_one_request(sdk: SDK) -> None:
    """In sync mode the answer to the one request has the outputs."""
    with Emulator(latency=0.1, pictures=False) as emulator:
        result = sdk.call(emulator, "run", KONTEXT, EDIT, enable_sync_mode=True)
        [output] = result["outputs"]
        assert httpx.get(output).content == TINY_PNG
        assert len(emulator.requests) == 1


def test_run_no_throw_tells_how_it_ended(sdk: SDK) -> None:
    """`run_no_throw` answers the status, the outputs and the id of what it made."""
    with Emulator(latency=0.1, pictures=False) as emulator:
        result = sdk.call(emulator, "run_no_throw", FLUX, {}, **FAST)
        assert (result["status"], result["error"]) == ("completed", None)
        assert result["task_id"] == emulator.predictions[0].id
        assert result["task_id"] in result["outputs"][0]


def test_get_result_finds_a_prediction_again(sdk: SDK) -> None:
    """`get_result` answers the envelope of a prediction that another client made."""
    with Emulator(latency=0.0, pictures=False) as emulator:
        headers = {"authorization": "Bearer key"}
        httpx.post(f"{emulator.url}/api/v2/{FLUX}", json={}, headers=headers)
        [prediction] = emulator.predictions
        result = sdk.call(emulator, "get_result", prediction.id)
        assert (result["code"], result["data"]["status"]) == (200, "completed")
        assert result["data"]["id"] == prediction.id
        with pytest.raises(Raised, match="HTTP 404"):
            sdk.call(emulator, "get_result", "0" * 32)


def test_a_failed_prediction_is_its_error(sdk: SDK) -> None:
    """A prediction that fails is raised by `run` and told by `run_no_throw`, with its id."""
    with Emulator(latency=0.1) as emulator:
        with pytest.raises(Raised, match=r"Prediction failed \(task_id: [0-9a-f]{32}\)") as caught:
            sdk.call(emulator, "run", REDUX, BROKEN, **FAST)
        result = sdk.call(emulator, "run_no_throw", REDUX, BROKEN, **FAST)
        assert (result["status"], result["outputs"]) == ("failed", None)
        first, second = emulator.predictions
        assert first.id in str(caught.value)
        assert result["task_id"] == second.id


def test_a_sync_timeout_names_the_prediction_that_goes_on(sdk: SDK) -> None:
    """When sync mode gives up the SDK understands that it still runs, and finds it later."""
    with Emulator(latency=1.0, latency_cv=0.0, sync_timeout=0.1, pictures=False) as emulator:
        result = sdk.call(emulator, "run_no_throw", KONTEXT, EDIT, enable_sync_mode=True)
        assert (result["status"], result["outputs"]) == ("processing", None)
        assert "Sync mode timed out after 0.1 seconds" in result["error"]
        [prediction] = emulator.predictions
        assert result["task_id"] == prediction.id
        with pytest.raises(Raised, match=r"Sync mode timed out \(task_id: [0-9a-f]{32}\)"):
            sdk.call(emulator, "run", KONTEXT, EDIT, enable_sync_mode=True)
        assert re.fullmatch("processing|completed", str(emulator.predictions[0].status))
        data = sdk.call(emulator, "get_result", prediction.id)["data"]
        assert data["id"] == prediction.id


def test_a_refused_submission_is_an_error(sdk: SDK) -> None:
    """An answer of 400 is raised with the API's own words."""
    with (
        Emulator(pictures=False) as emulator,
        pytest.raises(Raised, match=r"HTTP 400.*prompt.* is required"),
    ):
        sdk.call(emulator, "run", KONTEXT, {})


def test_upload_answers_an_address_that_can_be_used(sdk: SDK, tmp_path: Path) -> None:
    """`upload` takes a file by ticket, and the address that it answers serves the same bytes."""
    picture = tmp_path / "a.png"
    picture.write_bytes(TINY_PNG)
    with Emulator(latency=0.0) as emulator:
        address = sdk.call(emulator, "upload", str(picture))
        answer = httpx.get(address)
        assert (answer.content, answer.headers["content-type"]) == (TINY_PNG, "image/png")
        result = sdk.call(emulator, "run", REDUX, {"image": address}, **FAST)
        assert len(result["outputs"]) == 1
