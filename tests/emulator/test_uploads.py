"""Uploads, simple and by ticket, and their use as inputs."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image

from tests.emulator.account import KEY, PNG, call, data, made, message
from wavespeed_async.emulator import Emulator
from wavespeed_async.emulator._records import File

if TYPE_CHECKING:
    from collections.abc import Iterator

SIMPLE = "/api/v3/media/upload/binary"
TICKETS = "/api/v3/media/uploads"
REDUX = "/api/v3/wavespeed-ai/flux-redux-dev"
WEEK = 7 * 24 * 3600.0
CONTENTS = {
    "png": PNG,
    "jpg": b"\xff\xd8\xff\xe0",
    "webp": b"RIFF\x00\x00\x00\x00WEBPVP8 ",
    "gif": b"GIF89a",
    "bmp": b"BM\x00",
    "tiff": b"MM\x00*\x00",
}


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with (
        Emulator(latency=0.0, upload_limit=20_000) as emulator,
        httpx.Client(base_url=emulator.url, headers=KEY) as client,
    ):
        yield client


def picture() -> bytes:
    body = BytesIO()
    Image.new("RGB", (300, 300), "red").save(body, "PNG")
    return body.getvalue()


def made_of(client: httpx.Client, image: str) -> dict[str, Any]:
    submitted = client.post(REDUX, json={"image": image, "size": "256*256"}).json()["data"]
    told: dict[str, Any] = client.get(submitted["urls"]["get"]).json()["data"]
    return told


def test_an_upload_can_be_an_input(client: httpx.Client) -> None:
    """A file that was uploaded is served without a key, and a prediction can be made of it."""
    answer = client.post(SIMPLE, files={"file": ("red.png", picture(), "image/png")})
    told = answer.json()["data"]
    url = told.pop("download_url")
    assert told == {"type": "image", "filename": "red.png", "size": len(picture())}
    served = httpx.get(url)
    assert served.content == picture()
    assert served.headers["content-type"] == "image/png"
    assert made_of(client, url)["status"] == "completed"
    missing = url.replace("/uploads/", "/uploads/0")
    assert httpx.get(missing).status_code == 404
    assert made_of(client, missing)["code"] == 1402


def test_a_broken_upload_fails_the_prediction(client: httpx.Client) -> None:
    """A file that only starts like a picture is taken, and the prediction of it fails."""
    answer = client.post(SIMPLE, files={"file": ("a.png", PNG)})
    told = made_of(client, answer.json()["data"]["download_url"])
    assert (told["status"], told["code"]) == ("failed", 1402)


@pytest.mark.parametrize("suffix", CONTENTS)
def test_each_documented_format_is_taken(suffix: str) -> None:
    """The format is told by the content, whatever the name says."""
    state = made()
    sent = File("a.txt", CONTENTS[suffix])
    told = data(state.receive(0.0, call("POST", SIMPLE, file=sent, origin="http://e")))
    assert told["download_url"].startswith("http://e/uploads/")
    assert told["download_url"].endswith(f".{suffix}")


def test_other_formats_are_refused(client: httpx.Client) -> None:
    """A file that is no picture is a 400."""
    answer = client.post(SIMPLE, files={"file": ("a.png", b"%PDF-1.7")})
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("unsupported file format")


def test_large_files_are_refused(client: httpx.Client) -> None:
    """A file above the limit is a 413, on both ways."""
    answer = client.post(SIMPLE, files={"file": ("a.png", PNG + bytes(20_000))})
    assert (answer.status_code, answer.json()["code"]) == (413, 413)
    answer = client.post(TICKETS, json={"filename": "a.png", "size": 20_001})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"json": {}},
        {"data": {"file": "text"}},
        {"files": {"other": ("a.png", PNG)}},
        {"content": b"x", "headers": {"content-type": "multipart/form-data"}},
    ],
    ids=range(5),
)
def test_an_upload_without_a_file_is_refused(client: httpx.Client, sent: dict[str, Any]) -> None:
    """A body without the multipart field `file` is a 400 that names it."""
    answer = client.post(SIMPLE, **sent)
    assert answer.status_code == 400
    assert answer.json()["message"] == 'field "file" is required and must not be empty'


# --- tickets -----------------------------------------------------------------------------------


def ticket(client: httpx.Client, **asked: Any) -> dict[str, Any]:
    told: dict[str, Any] = client.post(TICKETS, json=asked).json()["data"]
    return told


def test_a_ticket_takes_the_file_with_its_headers(client: httpx.Client) -> None:
    """A ticket's PUT with exactly its headers puts the file where the ticket says, once."""
    told = ticket(client, filename="red.jpeg", size=len(picture()), content_type="image/png")
    assert httpx.get(told["download_url"]).status_code == 404
    upload = told["upload"]
    assert upload["method"] == "PUT"
    answers = [
        httpx.put(upload["url"], content=picture(), headers=upload["headers"]) for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [200, 404]
    assert httpx.get(told["download_url"]).content == picture()
    assert made_of(client, told["download_url"])["status"] == "completed"


def test_the_storage_takes_no_key_and_no_other_headers(client: httpx.Client) -> None:
    """A PUT with an Authorization, or without the ticket's headers, is a 403 of the storage."""
    upload = ticket(client, filename="red.png", size=len(picture()))["upload"]
    for headers in ({**upload["headers"], **KEY}, {}, {**upload["headers"], "Content-Type": "a/b"}):
        answer = httpx.put(upload["url"], content=picture(), headers=headers)
        assert answer.status_code == 403
        assert answer.headers["content-type"] == "application/xml"


async def test_a_file_that_breaks_off_is_no_file() -> None:
    """Who hangs up in mid-file has sent nothing, and an answer is for nobody."""
    emulator = Emulator(pictures=False)
    transport = httpx.ASGITransport(emulator.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://a", headers=KEY) as client:
        asked = {"filename": "red.png", "size": len(picture())}
        path = urlsplit((await client.post(TICKETS, json=asked)).json()["data"]["upload"]["url"])
    came = iter([{"type": "http.request", "body": picture()[:9], "more_body": True}])
    told: list[Any] = []

    async def receive() -> Any:
        return next(came, {"type": "http.disconnect"})

    async def send(message: Any) -> None:
        told.append(message)

    scope = {"type": "http", "method": "PUT", "path": path.path, "headers": [], "query_string": b""}
    await emulator.app(scope, receive, send)
    assert told[0]["status"] == 200
    assert [upload.content for upload in emulator.uploads] == [None]


@pytest.mark.parametrize("sent", [PNG, b"", b"GIF89a" + bytes(22)])
def test_the_file_has_to_be_the_announced_one(sent: bytes) -> None:
    """A PUT of another size or format is refused."""
    with Emulator() as emulator, httpx.Client(base_url=emulator.url, headers=KEY) as client:
        upload = ticket(client, filename="a.jpg", size=28)["upload"]
        answer = httpx.put(upload["url"], content=sent, headers=upload["headers"])
        assert answer.status_code == 400
        assert [upload.content for upload in emulator.uploads] == [None]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"size": 1}, 'field "filename" is required and must not be empty'),
        ({"filename": " ", "size": 1}, 'field "filename" is required and must not be empty'),
        ({"filename": "a.png"}, 'field "size" must be a number of bytes'),
        ({"filename": "a.png", "size": True}, 'field "size" must be a number of bytes'),
        ({"filename": "a.png", "size": 0}, 'field "size" must be a number of bytes'),
        ({"filename": "a.pdf", "size": 1, "content_type": "text/plain"}, "unsupported"),
    ],
)
def test_a_ticket_that_makes_no_sense_is_refused(asked: dict[str, Any], expected: str) -> None:
    """A ticket without name or size, or for another format, is a 400."""
    reply = made().receive(0.0, call("POST", TICKETS, asked))
    assert message(reply).startswith(expected)


def test_the_name_tells_the_format_where_the_type_does_not() -> None:
    """A ticket's format is told by its type, else by the name, in any spelling."""
    state = made()
    for name, suffix in (("a.JPEG", "jpg"), ("b.tif", "tiff"), ("c.webp", "webp")):
        told = data(state.receive(0.0, call("POST", TICKETS, {"filename": name, "size": 1})))
        assert told["download_url"].endswith(f".{suffix}")


def test_uploads_are_kept_for_seven_days() -> None:
    """After seven days a file is gone, and so is a ticket that was not used."""
    state = made()
    state.receive(0.0, call("POST", SIMPLE, file=File("a.png", PNG)))
    state.receive(1.0, call("POST", SIMPLE, file=File("b.png", PNG)))
    path = f"/uploads/{state.uploads.all(0.0)[0].id}.png"
    assert state.uploads.find(WEEK - 1, path) is not None
    assert state.uploads.find(WEEK, path) is None
    assert [upload.filename for upload in state.uploads.all(WEEK)] == ["b.png"]


def test_who_leaves_within_a_put_stored_nothing() -> None:
    """A PUT that ends halfway leaves the ticket as it was."""
    with Emulator() as emulator, httpx.Client(base_url=emulator.url, headers=KEY) as client:
        upload = ticket(client, filename="a.png", size=100)["upload"]

        def half() -> Iterator[bytes]:
            yield PNG
            message = "gone"
            raise OSError(message)

        with pytest.raises(OSError, match="gone"):
            httpx.put(upload["url"], content=half(), headers=upload["headers"])
        assert [upload.content for upload in emulator.uploads] == [None]
