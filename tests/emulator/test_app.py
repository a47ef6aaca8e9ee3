"""The ASGI app in process, on asyncio and on trio."""

from __future__ import annotations

import time
from base64 import b64decode
from contextlib import asynccontextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from PIL import Image

from wavespeed_async.emulator import Emulator
from wavespeed_async.emulator._pictures import TINY_PNG
from wavespeed_async.errors import ConfigurationError
from wavespeed_async.testing import virtual_backend

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FLUX = "/api/v2/wavespeed-ai/flux-dev"
LORA = "/api/v2/wavespeed-ai/flux-dev-lora"
KONTEXT = "/api/v3/wavespeed-ai/flux-kontext-dev/multi"
REDUX = "/api/v3/wavespeed-ai/flux-redux-dev"
HELD = {"prompt": "p", "images": ["https://example.com/a.png"], "enable_sync_mode": True}


def instant(**settings: Any) -> Emulator:
    return Emulator(**{"latency": 0.0, "pictures": False, **settings})


@asynccontextmanager
async def client_of(emulator: Emulator) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(emulator.app)
    headers = {"authorization": "Bearer secret"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://test", headers=headers
    ) as client:
        yield client


async def result(client: httpx.AsyncClient, path: str, **fields: Any) -> dict[str, Any]:
    """Submit, poll once, and answer the prediction."""
    submitted = (await client.post(path, json=fields)).json()["data"]
    answer = await client.get(submitted["urls"]["get"])
    data: dict[str, Any] = answer.json()["data"]
    return data


async def test_a_picture_from_submission_to_output() -> None:
    """A picture is submitted with a key, and its output read without one."""
    emulator = instant(pictures=True)
    async with client_of(emulator) as client:
        submitted = await client.post(FLUX + "?webhook=https://a.example", json={"size": "512*512"})
        assert submitted.status_code == 200
        envelope = submitted.json()
        assert (envelope["code"], envelope["message"]) == (200, "success")
        data = await result(client, FLUX, prompt="a lake", size="640*512", num_images=2)
        assert data["status"] == "completed"
        assert data["has_nsfw_contents"] == [False, False]
        del client.headers["authorization"]
        for output in data["outputs"]:
            assert output.startswith("http://test/outputs/")
            answer = await client.get(output)
            assert answer.headers["content-type"] == "image/png"
            assert int(answer.headers["content-length"]) == len(answer.content)
            with Image.open(BytesIO(answer.content)) as picture:
                assert picture.size == (640, 512)
    assert [record.kind for record in emulator.requests] == ["submit", "submit", "result"]


async def test_base64_outputs_are_the_default_of_lora() -> None:
    """flux-dev-lora answers bare base64 of the picture, or with `data:` where that is set."""
    for settings, prefix in (({}, ""), ({"base64_prefix": True}, "data:image/png;base64,")):
        async with client_of(instant(**settings)) as client:
            data = await result(client, LORA, prompt="p")
            [output] = data["outputs"]
            assert output.startswith(prefix)
            assert b64decode(output.removeprefix(prefix)) == TINY_PNG
            data = await result(client, LORA, prompt="p", enable_base64_output=False)
            assert (await client.get(data["outputs"][0])).content == TINY_PNG


async def test_outputs_that_are_not_there_are_404() -> None:
    """Only the outputs that were told can be read, and only when they are ready."""
    emulator = instant()
    async with client_of(emulator) as client:
        data = await result(client, FLUX)
        [output] = data["outputs"]
        wrong = [
            output.replace("/0.png", "/1.png"),
            output.replace("/0.png", "/0.jpeg"),
            output.replace(data["id"], "f" * 32),
            "/samples/none.png",
        ]
        for address in wrong:
            assert (await client.get(address)).status_code == 404
    async with client_of(instant(latency=100.0)) as client:
        identity = (await client.post(FLUX, json={})).json()["data"]["id"]
        assert (await client.get(f"/outputs/{identity}/0.png")).status_code == 404


async def test_samples_are_pictures() -> None:
    """The samples are served as PNG, without a key."""
    async with client_of(instant()) as client:
        for name in ("room", "mask", "portrait"):
            answer = await client.get(f"/samples/{name}.png", headers={"authorization": ""})
            assert answer.headers["content-type"] == "image/png"
            with Image.open(BytesIO(answer.content)) as picture:
                assert picture.size == (1024, 1024)


async def test_unreadable_inputs_fail_the_prediction() -> None:
    """A submission with a broken input is accepted, and ends as failed with code 1402."""
    async with client_of(instant(pictures=True)) as client:
        data = await result(client, REDUX, image="data:image/png;base64,aaaa")
        assert (data["status"], data["code"], data["outputs"]) == ("failed", 1402, [])
        data = await result(client, REDUX, image="http://test/samples/room.png")
        assert data["status"] == "completed"
    async with client_of(instant(pictures=False)) as client:
        data = await result(client, REDUX, image="data:image/png;base64,aaaa")
        assert data["status"] == "completed"


async def test_errors_come_in_the_envelope() -> None:
    """400, 401, 404 and 429 are answered with their code in the API's envelope."""
    emulator = instant(requests=2)
    async with client_of(emulator) as client:
        answers = [
            await client.post(FLUX, headers={"authorization": "Bearer "}),
            await client.post(FLUX, json={"num_images": 9}),
            await client.get("/api/v3/predictions/none/result"),
            await client.post(FLUX, json={}),
        ]
    assert [answer.status_code for answer in answers] == [401, 400, 404, 429]
    assert [answer.json()["code"] for answer in answers] == [401, 400, 404, 429]
    assert emulator.refused == 1
    assert emulator.most_requests_in_window == 2
    assert emulator.most_running == 0
    assert all("secret" not in repr(record) for record in emulator.requests)


async def test_scripted_answers() -> None:
    """A scripted answer is JSON or HTML, with the headers that were wanted."""
    emulator = instant()
    emulator.next(status_code=429, headers={"retry-after": "3"})
    emulator.next(status_code=502, body="<h1>Bad gateway</h1>")
    emulator.next(body={"code": 500, "message": "odd"}, kind="submit")
    emulator.next(body=b"\xff", headers={"content-type": "text/plain"})
    async with client_of(emulator) as client:
        answers = [await client.post(FLUX, json={}) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [429, 502, 200, 200, 200]
    assert answers[0].headers["retry-after"] == "3"
    assert answers[1].headers["content-type"].startswith("text/html")
    assert answers[2].json() == {"code": 500, "message": "odd"}
    assert (answers[3].content, answers[3].headers["content-type"]) == (b"\xff", "text/plain")
    assert answers[4].json()["data"]["status"] == "created"


async def test_a_lost_answer_in_process_is_a_read_error() -> None:
    """In process, where no connection can be closed, a lost answer is httpx.ReadError."""
    emulator = instant()
    emulator.next(lose=True, kind="submit")
    async with client_of(emulator) as client:
        with pytest.raises(httpx.ReadError):
            await client.post(FLUX, json={})
    assert len(emulator.predictions) == 1


async def test_the_page_shows_the_settings_but_not_the_key() -> None:
    """The page for people tells the settings, escaped, and never the key."""
    async with client_of(instant(api_key="a secret", requests=77)) as client:
        page = await client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "77" in page.text
    assert "a secret" not in page.text


async def test_the_app_needs_no_server_but_the_url_does() -> None:
    """Asking for the address of an emulator that does not run is a configuration error."""
    emulator = instant()
    with pytest.raises(ConfigurationError, match="does not run"):
        _ = emulator.url
    emulator.__exit__(None, None, None)


async def test_created_at_is_the_time_of_day() -> None:
    """`created_at` is told by the wall clock, whatever the emulator's own clock says."""
    async with client_of(instant(time_source=lambda: 1.0)) as client:
        data = (await client.post(FLUX, json={})).json()["data"]
    assert data["created_at"].startswith(time.strftime("%Y-%m-%dT", time.gmtime()))


class TestVirtualClock:
    """Sync mode, by a clock that jumps."""

    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
        return virtual_backend(request.param)

    async def test_sync_mode_holds_the_submission(self) -> None:
        """In sync mode the answer to the submission is the completed prediction."""
        emulator = instant(latency=20.0, latency_cv=0.0, time_source=anyio.current_time)
        async with client_of(emulator) as client:
            start = anyio.current_time()
            data = (await client.post(KONTEXT, json=HELD, timeout=None)).json()["data"]
            assert anyio.current_time() - start == pytest.approx(20.0)
            assert data["status"] == "completed"
            assert len(data["outputs"]) == 1
        assert emulator.most_requests_in_window == 1

    async def test_sync_mode_gives_up(self) -> None:
        """After the documented time the answer is that it still runs, and it can be polled."""
        emulator = instant(latency=100.0, latency_cv=0.0, time_source=anyio.current_time)
        async with client_of(emulator) as client:
            start = anyio.current_time()
            answer = (await client.post(KONTEXT, json=HELD, timeout=None)).json()
            assert anyio.current_time() - start == pytest.approx(90.0)
            data = answer["data"]
            assert (answer["code"], data["code"], data["status"]) == (200, 5004, "processing")
            assert data["error"].startswith("Sync mode timed out after 90 seconds.")
            await anyio.sleep(10.0)
            polled = (await client.get(data["urls"]["get"])).json()["data"]
            assert (polled["status"], polled["error"]) == ("completed", "")
