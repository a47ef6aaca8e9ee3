"""Uploads: looked at first, sent once, by either way, without the key, off the event loop."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import threading
import time
from base64 import b64decode, b64encode
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import httpx
import pytest
from PIL import Image, ImageChops

from tests.wire import (
    KEY,
    PNG,
    Bench,
    Reply,
    page,
    raw_answer,
    raw_server,
    real_wires,
    refusal,
)
from wavespeed_async import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
    AsyncWaveSpeed,
    BadRequestError,
    FluxDev,
    FluxFillDev,
    ImageUploaded,
    Inline,
    InvalidRequestError,
    LimiterTimeoutError,
    Limits,
    Outcome,
    RawRequest,
    RequestFailed,
    WaveSpeedError,
    _contents,
    _uploads,
)
from wavespeed_async._calls import Turn
from wavespeed_async._contents import Contents, check_file, looked_at
from wavespeed_async.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import SocketStream

ADDRESS = "https://media.test/a.png"
TARGET = "https://storage.test/put?signature=1"
TICKETS, FORM = "/api/v3/media/uploads", "/api/v3/media/upload/binary"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads know no virtual time, so pauses are made short instead."""
    for module in ("_calls", "_uploads", "_media"):
        monkeypatch.setattr(f"wavespeed_async.{module}.pauses", lambda _: iter(lambda: 0.001, None))


def turn() -> Turn:
    return Turn(deadline=anyio.current_time() + 30)


def told(**data: Any) -> Reply:
    return Reply({"code": 200, "message": "success", "data": {"download_url": ADDRESS, **data}})


def ticket(**upload: Any) -> Reply:
    headers = {"Content-Type": "image/png", "x-token": "1"}
    return told(upload={"method": "PUT", "url": TARGET, "headers": headers, **upload})


def server(
    *,
    tickets: Any = None,
    puts: Any = None,
    forms: Any = None,
) -> Callable[[httpx.Request], Awaitable[httpx.Response]]:
    """Be a server that answers each kind of request by a script, its last step for ever."""
    steps = {
        TICKETS: [*(tickets or [ticket()])],
        "/put": [*(puts or [Reply(b"")])],
        FORM: [*(forms or [told()])],
    }

    async def answer(request: httpx.Request) -> httpx.Response:
        await request.aread()
        script = steps[request.url.path]
        step = script.pop(0) if len(script) > 1 else script[0]
        if isinstance(step, Exception):
            raise step
        response: httpx.Response = await step() if callable(step) else step.response()
        return response

    return answer


def bench(**script: Any) -> Bench:
    return Bench(server(**script))


def sent(bench: Bench, path: str) -> list[httpx.Request]:
    return [request for request in bench.api.requests if request.url.path == path]


# --- the two ways --------------------------------------------------------------------------------


async def test_a_file_goes_by_ticket(tmp_path: Path) -> None:
    """The ticket tells size and format, the file is put there whole, with the ticket's headers."""
    file = tmp_path / "secret name.jpeg"
    file.write_bytes(PNG * 3000)
    wire = bench()
    assert await wire.uploads.upload(file, turn()) == ADDRESS
    asked, put = wire.api.requests
    digest = hashlib.sha256(PNG * 3000).hexdigest()
    assert json.loads(asked.content) == {
        "filename": f"{digest[:16]}.png",
        "size": len(PNG) * 3000,
        "content_type": "image/png",
    }
    assert (put.method, str(put.url), put.content) == ("PUT", TARGET, PNG * 3000)
    assert put.headers["x-token"] == "1"
    assert put.headers["content-type"] == "image/png"
    assert put.headers["content-length"] == str(len(PNG) * 3000)
    (event,) = wire.told(ImageUploaded)
    assert (event.image, event.url, event.size) == (str(file), ADDRESS, len(PNG) * 3000)


async def test_the_key_goes_to_the_api_alone() -> None:
    """The ticket is asked for with the key; its target gets none, not even one it asks for."""
    wire = bench(tickets=[ticket(headers={"authorization": f"Bearer {KEY}", "host": "a.test"})])
    await wire.uploads.upload(PNG, turn())
    asked, put = wire.api.headers
    assert asked["authorization"] == f"Bearer {KEY}"
    assert "authorization" not in put
    assert put["host"] == "storage.test"


async def test_only_requests_of_the_api_count() -> None:
    """In the limiter's window stands the ticket; the file itself goes elsewhere."""
    wire = bench()
    await wire.uploads.upload(PNG, turn())
    assert wire.counted == 1


@pytest.mark.parametrize(
    "no_tickets",
    [refusal(404), page(404), refusal(405), refusal(501), refusal(400, message="")],
    ids=["404", "page", "405", "501", "model"],
)
async def test_without_tickets_a_file_goes_as_a_form(no_tickets: Reply) -> None:
    """A server without tickets, which may take their path for a model, is asked for one once."""
    if no_tickets.status == 400:
        no_tickets = Reply({"code": 400, "message": "Model not found"}, status=400)
    wire = bench(tickets=[no_tickets])
    assert await wire.uploads.upload(PNG, turn()) == ADDRESS
    assert await wire.uploads.upload(PNG + b"2", turn()) == ADDRESS
    assert len(sent(wire, TICKETS)) == 1
    form = sent(wire, FORM)[0]
    boundary = form.headers["content-type"].partition("boundary=")[2].encode()
    head, _, rest = form.content.partition(b"\r\n\r\n")
    assert head.startswith(b"--" + boundary + b"\r\n")
    assert b'form-data; name="file"; filename="' in head
    assert b"Content-Type: image/png" in head
    assert rest == PNG + b"\r\n--" + boundary + b"--\r\n"
    assert form.headers["content-length"] == str(len(form.content))
    assert wire.counted == 3


class Without(httpx.AsyncBaseTransport):
    """Reach a server as if it lacked a path."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._transport = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == self._path:
            request.method = "OPTIONS"
            request.url = request.url.copy_with(path="/api/v3/nowhere")
        return await self._transport.handle_async_request(request)

    async def aclose(self) -> None:
        await self._transport.aclose()


@pytest.mark.parametrize("missing", [TICKETS, FORM, "/none"], ids=["form", "ticket", "both"])
async def test_either_way_is_enough(missing: str, tmp_path: Path) -> None:
    """Against a server that offers one way only, or both, what is uploaded is there."""
    file = tmp_path / "room.png"
    file.write_bytes(PNG * 5000)
    async with Emulator() as emulator:
        client = AsyncWaveSpeed("any key", base_url=emulator.url, transport=Without(missing))
        async with client:
            url = await client.upload(str(file))
        async with httpx.AsyncClient() as visitor:
            assert (await visitor.get(url)).content == PNG * 5000


@real_wires
async def test_files_go_over_every_transport(transport: str | None, tmp_path: Path) -> None:
    """Both ways work over real sockets, whatever carries them."""
    file = tmp_path / "room.png"
    file.write_bytes(PNG * 5000)
    async with Emulator() as emulator, httpx.AsyncClient() as visitor:
        client = AsyncWaveSpeed("any key", base_url=emulator.url, transport=transport)
        async with client:
            for _ in range(2):
                url = await client.upload(file)
                assert (await visitor.get(url)).content == PNG * 5000
                client._stack.uploads._has_tickets = False
                client._stack.uploads._addresses.clear()
        assert len(emulator.uploads) == 2


# --- once ----------------------------------------------------------------------------------------


async def test_the_same_content_is_uploaded_once(tmp_path: Path) -> None:
    """By its digest: as a file here or there, as bytes, now or at the same time."""
    for name in ("a.png", "b.jpg"):
        (tmp_path / name).write_bytes(PNG)
    wire = bench()
    sources: list[Any] = [
        tmp_path / "a.png",
        str(tmp_path / "b.jpg"),
        PNG,
        bytearray(PNG),
        memoryview(PNG),
    ]
    async with anyio.create_task_group() as tasks:
        for source in sources:
            tasks.start_soon(wire.uploads.upload, source, turn())
    assert await wire.uploads.upload(PNG, turn()) == ADDRESS
    assert len(sent(wire, "/put")) == 1


async def test_an_upload_is_used_for_six_days(monkeypatch: pytest.MonkeyPatch) -> None:
    """The API keeps uploads for 7 days: after 6 the same content is uploaded anew."""
    wire = bench()
    await wire.uploads.upload(PNG, turn())
    started = time.monotonic()
    for days, count in ((5.9, 1), (6.1, 2)):
        now = started + days * 24 * 3600
        monkeypatch.setattr(_uploads, "time", SimpleNamespace(monotonic=lambda now=now: now))
        await wire.uploads.upload(PNG, turn())
        assert len(sent(wire, "/put")) == count


async def test_what_is_remembered_is_bounded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of files and addresses the last ones are known; an older one is uploaded again."""
    monkeypatch.setattr(_uploads, "REMEMBERED", 2)
    monkeypatch.setattr(_contents, "REMEMBERED", 2)
    monkeypatch.setattr(_contents, "FRESH", -1000.0)
    wire = bench()
    for number in (1, 2, 3, 3, 2, 1):
        file = tmp_path / f"{number}.png"
        if not file.exists():
            file.write_bytes(PNG + b"%d" % number)
        await wire.uploads.upload(file, turn())
    assert len(sent(wire, "/put")) == 4
    assert len(wire.uploads.contents._files) <= 2


class Gate:
    """Hold the first uploads until told to go on."""

    def __init__(self, *then: Reply) -> None:
        self.reached, self.open = anyio.Event(), anyio.Event()
        self._then = [*then]

    async def __call__(self) -> httpx.Response:
        self.reached.set()
        await self.open.wait()
        step = self._then.pop(0) if len(self._then) > 1 else self._then[0]
        return step.response()


async def waiting(wire: Bench, count: int) -> None:
    """Wait until so many wait for somebody else's upload."""
    (flight,) = wire.uploads._flights.values()
    while flight.over.statistics().tasks_waiting < count:  # noqa: ASYNC110 (nobody tells)
        await anyio.sleep(0.001)  # they digest it in threads first


async def test_who_is_cancelled_leaves_the_upload_to_the_others() -> None:
    """The first of three that share an upload is cancelled: the others get their address."""
    gate = Gate(Reply(b""))
    wire = bench(puts=[gate])
    found: list[str] = []

    async def upload() -> None:
        found.append(await wire.uploads.upload(PNG, turn()))

    async with anyio.create_task_group() as others:
        async with anyio.create_task_group() as first:
            first.start_soon(upload)
            await gate.reached.wait()
            for _ in range(2):
                others.start_soon(upload)
            await waiting(wire, 2)
            first.cancel_scope.cancel()
        gate.open.set()
    assert found == [ADDRESS, ADDRESS]
    assert len(sent(wire, "/put")) == 2


async def test_a_failed_upload_fails_for_all_and_is_tried_again_by_the_next() -> None:
    """Those who wait learn why, each by an error of its own; whoever comes later tries again."""
    gate = Gate(page(415), Reply(b""))
    wire = bench(puts=[gate])
    errors: list[WaveSpeedError] = []

    async def upload() -> None:
        with pytest.raises(APIStatusError) as caught:
            await wire.uploads.upload(PNG, turn())
        errors.append(caught.value)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(upload)
        await gate.reached.wait()
        await waiting(wire, 2)
        gate.open.set()
    assert len({id(error) for error in errors}) == 3
    assert {str(error) for error in errors} == {str(errors[0])}
    assert len(sent(wire, "/put")) == 1
    assert await wire.uploads.upload(PNG, turn()) == ADDRESS


async def test_who_runs_out_of_time_leaves_the_upload_to_the_others() -> None:
    """One that has no more time fails, nothing of it was sent; the others go on."""
    gate = Gate(Reply(b""))
    wire = bench(puts=[gate])
    request = FluxDev(image=Path("no.png"))

    async def hurried() -> None:
        with pytest.raises(APIConnectionError, match="within its time") as caught:
            await wire.uploads.upload(PNG, Turn(deadline=anyio.current_time() + 0.05))
        assert caught.value.sent is False
        gate.open.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hurried)
        await gate.reached.wait()
        assert await wire.uploads.upload(PNG, turn()) == ADDRESS
    with pytest.raises(InvalidRequestError):
        await wire.uploads.body(request, turn())


async def test_a_request_that_runs_out_of_time_says_so() -> None:
    """A request whose image is not there in time was not sent."""
    wire = bench(puts=[Gate(Reply(b""))])
    with pytest.raises(APIConnectionError, match="within its time"):
        await wire.uploads.body(FluxDev(image=PNG), Turn(deadline=anyio.current_time() + 0.05))


async def test_no_turn_in_time_is_ones_own_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the limits left no room for one, another that waits tries with its own time."""
    wire = bench()
    real, tries, reached = wire.calls.asked, 0, anyio.Event()

    async def no_room(*args: Any, **more: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries == 1:
            reached.set()
            await anyio.wait_all_tasks_blocked()
            message = "no room"
            raise LimiterTimeoutError(message)
        return await real(*args, **more)

    monkeypatch.setattr(wire.calls, "asked", no_room)
    failed: list[str] = []

    async def first() -> None:
        with pytest.raises(LimiterTimeoutError):
            await wire.uploads.upload(PNG, turn())
        failed.append("first")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first)
        await reached.wait()
        assert await wire.uploads.upload(PNG, turn()) == ADDRESS
    assert failed == ["first"]


# --- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        httpx.ConnectError("refused"),
        httpx.ReadError("reset"),
        httpx.WriteTimeout(""),
        page(500),
        page(503),
        page(403),
        page(404),
        page(400),
    ],
    ids=str,
)
async def test_a_storage_that_fails_in_passing_is_tried_with_another_ticket(fault: Any) -> None:
    """A broken connection, a 5xx and an expired ticket cost a further ticket, and are told."""
    wire = bench(puts=[fault, fault, Reply(b"")])
    assert await wire.uploads.upload(PNG, turn()) == ADDRESS
    assert len(sent(wire, TICKETS)) == len(sent(wire, "/put")) == 3
    failures = wire.told(RequestFailed)
    assert [(failure.method, failure.path) for failure in failures] == [("PUT", "/put")] * 2


@pytest.mark.parametrize("fault", [page(413), page(415), page(302), page(501)], ids=str)
async def test_what_no_other_ticket_would_change_is_final(fault: Reply) -> None:
    """Too large a file, a refused type and a redirect, which is not followed, are told at once."""
    fault.headers = {"location": "https://elsewhere.test/put"}
    wire = bench(puts=[fault])
    with pytest.raises(APIStatusError, match=r"refused by storage\.test") as caught:
        await wire.uploads.upload(PNG, turn())
    assert caught.value.status_code == fault.status
    assert {request.url.host for request in wire.api.requests} == {"api.test", "storage.test"}
    assert len(sent(wire, "/put")) == 1


async def test_a_storage_that_keeps_failing_is_given_up() -> None:
    """After `max_retries` further tries the last error is raised."""
    wire = bench(puts=[httpx.ReadError("reset")])
    with pytest.raises(APIConnectionError):
        await wire.uploads.upload(PNG, turn())
    assert len(sent(wire, "/put")) == 4


@pytest.mark.parametrize(("code", "kind"), [(413, BadRequestError), (401, WaveSpeedError)])
async def test_a_refused_announcement_is_told(code: int, kind: type[WaveSpeedError]) -> None:
    """What the API refuses is its own error, and no reason to try the other way."""
    wire = bench(tickets=[refusal(code)])
    with pytest.raises(kind, match=str(code)):
        await wire.uploads.upload(PNG, turn())
    assert len(wire.api.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        told(),
        told(upload="here"),
        ticket(method="POST"),
        ticket(url=None),
        ticket(url="ftp://storage.test/put"),
        ticket(url="data:a,b"),
        ticket(url="http://storage.test/put"),
        ticket(url="https://user:word@storage.test/put"),
        ticket(headers=["a"]),
        Reply({"code": 200, "data": {"upload": {"method": "PUT", "url": TARGET}}}),
    ],
    ids=lambda reply: str(reply.body)[:120],
)
async def test_a_ticket_that_says_no_place_is_an_error(answer: Reply) -> None:
    """Where a file is to go must be said, with encryption where the API has it; nothing is put."""
    wire = bench(tickets=[answer])
    with pytest.raises(APIResponseError):
        await wire.uploads.upload(PNG, turn())
    assert sent(wire, "/put") == []


@pytest.mark.parametrize("address", [None, 7, "", "data:a,b", "file:///etc/passwd", "nowhere"])
async def test_an_answer_without_an_address_is_an_error(address: Any) -> None:
    """What a form is answered with must name where the image is."""
    wire = bench(tickets=[refusal(404)], forms=[told(download_url=address)])
    with pytest.raises(APIResponseError, match="no address"):
        await wire.uploads.upload(PNG, turn())


async def test_a_file_that_arrived_in_part_is_sent_again() -> None:
    """A server that tells another size than was sent gets it again, and is given up in the end."""
    wire = bench(tickets=[refusal(404)], forms=[told(size=3), told(size=len(PNG))])
    assert await wire.uploads.upload(PNG, turn()) == ADDRESS
    wire = bench(tickets=[refusal(404)], forms=[told(size=3)])
    with pytest.raises(APIResponseError, match=rf"3 of the file's {len(PNG)} bytes"):
        await wire.uploads.upload(PNG, turn())
    assert len(sent(wire, FORM)) == 4


async def test_an_answer_without_an_end_is_not_read() -> None:
    """However much a storage answers, its status is enough."""

    async def endless() -> httpx.Response:
        async def content() -> Any:
            while True:
                yield bytes(1024)

        return httpx.Response(200, content=content())

    assert await bench(puts=[endless]).uploads.upload(PNG, turn()) == ADDRESS


@real_wires
async def test_a_connection_that_breaks_within_a_file_is_noticed(
    transport: str | None, tmp_path: Path
) -> None:
    """Over real sockets half an upload is none: it is made again, with another ticket."""
    file = tmp_path / "a.png"
    file.write_bytes(PNG * 8000)
    puts: list[int] = []

    async def handle(stream: SocketStream, request: bytes) -> None:
        if request.startswith(b"POST"):
            upload = {"method": "PUT", "url": f"{url}/put", "headers": {}}
            data = {"download_url": f"{url}/a.png", "upload": upload}
            await stream.send(raw_answer({"code": 200, "data": data}))
        else:
            puts.append(len(request.partition(b"\r\n\r\n")[2]))
            if len(puts) == 1:
                await stream.aclose()
            else:
                await stream.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with raw_server(handle) as url:
        wire = Bench(base_url=url, transport=transport)
        assert await wire.uploads.upload(file, turn()) == f"{url}/a.png"
        await wire.transport.aclose()
    assert puts == [len(PNG) * 8000] * 2


# --- looked at first -----------------------------------------------------------------------------


def broken(tmp_path: Path) -> dict[str, tuple[Path, str]]:
    """Make files that cannot be uploaded, with what is told of each."""
    empty, text, large = tmp_path / "empty.png", tmp_path / "text.png", tmp_path / "large.png"
    empty.write_bytes(b"")
    text.write_text("this is no picture", encoding="utf-8")
    with large.open("wb") as file:
        file.write(PNG)
        file.truncate(200_000_001)
    os.mkfifo(tmp_path / "pipe.png")
    return {
        "missing": (tmp_path / "missing.png", "No such file"),
        "folder": (tmp_path, "not a folder"),
        "pipe": (tmp_path / "pipe.png", "a file, not"),
        "empty": (empty, "it has 0"),
        "text": (text, "JPG, PNG, WebP, GIF, BMP or TIFF"),
        "large": (large, "1 to 200000000 bytes"),
        "odd": (Path("a\0b"), "can be read"),
    }


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "empty", "text", "large", "odd"])
async def test_what_is_no_image_is_refused_before_anything_is_sent(
    kind: str, tmp_path: Path
) -> None:
    """The error names the field, its value and what is allowed, wherever it stands."""
    path, reason = broken(tmp_path)[kind]
    good = tmp_path / "good.png"
    good.write_bytes(PNG)
    wire = bench()
    cases = {
        "mask_image": FluxFillDev(image=good, mask_image=path),
        "fields.a[1].image": RawRequest("m/m", {"a": [good, {"image": path}]}),
    }
    for field, request in cases.items():
        with pytest.raises(InvalidRequestError) as caught:
            await wire.uploads.body(request, turn())
        error = caught.value
        assert (error.field, error.value) == (field, path)
        assert reason in str(error)
        with pytest.raises(InvalidRequestError):
            looked_at(request)
    with pytest.raises(InvalidRequestError):
        check_file("m", "image", path)
    check_file("m", "image", good)
    assert wire.api.requests == []


@pytest.mark.parametrize("value", [b"no image", 7, None, Inline(PNG), {}], ids=str)
async def test_what_cannot_be_uploaded_is_refused(value: Any) -> None:
    """`upload` takes a path, the bytes of an image, or a Pillow image."""
    wire = bench()
    with pytest.raises(InvalidRequestError, match="a path, or"):
        await wire.uploads.upload(value, turn())
    assert wire.api.requests == []


async def test_bytes_have_a_bound_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image in memory is refused like a file that is too large."""
    monkeypatch.setattr(_contents, "LARGEST", len(PNG))
    wire = bench()
    assert await wire.uploads.upload(PNG, turn()) == ADDRESS
    with pytest.raises(InvalidRequestError, match=f"1 to {len(PNG)} bytes"):
        await wire.uploads.upload(PNG + b".", turn())


# --- files that change ---------------------------------------------------------------------------


@pytest.mark.parametrize("after", [PNG * 4000, PNG * 5000 + b"more", b"x" * 256 * 5000, b"", None])
@pytest.mark.parametrize("inline", [False, True], ids=["uploaded", "inline"])
async def test_a_file_that_changes_before_it_is_sent_is_told(
    after: bytes | None, tmp_path: Path, inline: bool
) -> None:
    """Between digest and upload a file got shorter, longer, other or lost: it is not sent so."""
    file = tmp_path / "a.png"
    file.write_bytes(PNG * 5000)

    async def change() -> httpx.Response:
        if after is None:
            file.unlink(missing_ok=True)
        else:
            file.write_bytes(after)
        return ticket().response()

    wire = bench(tickets=[change])
    mask = tmp_path / "mask.png"
    mask.write_bytes(PNG)
    later: Any = Inline(file) if inline else file
    request = RawRequest("m/m", {"first": mask, "image": later})
    with pytest.raises(InvalidRequestError, match="does not change") as caught:
        await wire.uploads.body(request, turn())
    assert caught.value.field == "fields.image"
    assert wire.uploads._addresses.keys() <= {hashlib.sha256(PNG).hexdigest()}


async def test_a_file_that_changes_while_it_is_digested_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read then belongs to no version of the file."""
    file = tmp_path / "a.png"
    file.write_bytes(PNG)
    real = _contents._read

    def change(path: Path) -> Any:
        found = real(path)
        path.write_bytes(PNG * 2)
        return found

    monkeypatch.setattr(_contents, "_read", change)
    with pytest.raises(InvalidRequestError, match="does not change while it is read"):
        await Contents().of("m", "image", file)


async def test_a_file_is_read_again_only_once_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digest of a file is remembered, unless it changed so lately that this would not show."""
    file = tmp_path / "a.png"
    reads: list[Path] = []
    real = _contents._read

    def read(path: Path) -> Any:
        reads.append(path)
        return real(path)

    monkeypatch.setattr(_contents, "_read", read)
    contents = Contents()
    file.write_bytes(PNG)
    monkeypatch.setattr(_contents, "FRESH", 1000.0)
    for _ in range(2):
        first = await contents.of("m", "image", file)
    assert len(reads) == 2
    monkeypatch.setattr(_contents, "FRESH", -1000.0)
    for _ in range(3):
        await contents.of("m", "image", file)
    assert len(reads) == 3
    file.write_bytes(PNG * 2)
    second = await contents.of("m", "image", file)
    assert len(reads) == 4
    assert (first.size, second.size) == (len(PNG), 2 * len(PNG))


# --- within the request --------------------------------------------------------------------------


async def test_an_inline_image_is_sent_as_base64(tmp_path: Path) -> None:
    """Where the caller chose so, the request holds the image, and nothing is uploaded."""
    file = tmp_path / "a.png"
    file.write_bytes(PNG)
    wire = bench()
    body = await wire.uploads.body(FluxDev(prompt="a", image=Inline(file)), turn())
    assert body is not None
    fields = json.loads(body)
    assert b64decode(fields["image"]) == PNG
    assert fields["prompt"] == "a"
    assert wire.api.requests == []


async def test_an_inline_image_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request is not made of megabytes without end."""
    monkeypatch.setattr(_contents, "LARGEST_INLINE", len(PNG))
    wire = bench()
    assert await wire.uploads.body(FluxDev(image=Inline(PNG)), turn())
    with pytest.raises(InvalidRequestError, match=f"1 to {len(PNG)} bytes"):
        await wire.uploads.body(FluxDev(image=Inline(PNG + b".")), turn())


async def test_a_request_without_images_of_this_machine_is_sent_as_it_is() -> None:
    """Addresses need no upload."""
    wire = bench()
    assert await wire.uploads.body(FluxDev(prompt="a", image="https://a.test/b"), turn()) is None
    assert wire.api.requests == []


async def test_each_image_of_a_request_gets_its_address(tmp_path: Path) -> None:
    """The same image in two fields is uploaded once, text beside it is left alone."""
    (tmp_path / "a.png").write_bytes(PNG)
    wire = bench()
    image = tmp_path / "a.png"
    fields = {"images": [image, image, "https://a.test/b"], "mask": PNG, "n": 1}
    body = await wire.uploads.body(RawRequest("m/m", fields), turn())
    assert body is not None
    images = [ADDRESS, ADDRESS, "https://a.test/b"]
    assert json.loads(body) == {"images": images, "mask": ADDRESS, "n": 1}
    assert len(sent(wire, "/put")) == 1


# --- a client ------------------------------------------------------------------------------------


async def test_two_hundred_requests_share_one_upload(tmp_path: Path) -> None:
    """A batch whose requests share an image of 8 MB uploads it once."""
    file = tmp_path / "room.png"
    file.write_bytes(PNG + os.urandom(8_000_000))
    async with Emulator(latency=0.0, pictures=False, requests=10_000, concurrency=200) as emulator:
        limits = Limits(requests=10_000, concurrency=200, min_poll_interval=0.01)
        async with AsyncWaveSpeed("any key", base_url=emulator.url, limits=limits) as client:
            requests = (
                FluxFillDev(image=file, mask_image=PNG, prompt=f"{number}") for number in range(200)
            )
            outcomes = await client.run_all(requests)
        assert [outcome.error for outcome in outcomes] == [None] * 200
        assert all(outcome.request and outcome.request.image == file for outcome in outcomes)  # type: ignore[attr-defined]  # it is of fill
        assert len(emulator.uploads) == 2
        (address,) = {prediction.fields["image"] for prediction in emulator.predictions}
        assert address.startswith(f"{emulator.url}/uploads/")


async def test_the_event_loop_reads_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever reads, digests or encodes an image is done in a thread."""
    threads: set[int] = set()
    for name in ("_piece", "_signature", "_bytes_of"):
        real = getattr(_contents, name)

        def seen(*args: Any, real: Any = real) -> Any:
            threads.add(threading.get_ident())
            return real(*args)

        monkeypatch.setattr(_contents, name, seen)
    file = tmp_path / "a.png"
    file.write_bytes(PNG)
    picture = Image.new("RGB", (8, 8), "red")
    request = RawRequest("m/m", {"a": file, "b": Inline(file), "c": picture, "d": Inline(picture)})
    body = await bench().uploads.body(request, turn())
    assert body is not None
    assert json.loads(body)["b"] == b64encode(PNG).decode()
    assert threads
    assert threading.get_ident() not in threads


@pytest.mark.parametrize("anyio_backend", [("asyncio", {})], ids=["asyncio"])
async def test_asyncios_own_cancelling_leaves_nothing_open() -> None:
    """`Task.cancel`, which waits for no thread, leaves neither a file nor a flight behind."""
    for number in range(20):
        wire = bench()
        task = asyncio.ensure_future(wire.uploads.upload(PNG * 3000, turn()))
        await asyncio.sleep(number / 4000)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert wire.uploads._flights == {}


@pytest.mark.parametrize("as_pillow", [False, True], ids=["path", "pillow"])
async def test_only_the_white_of_a_mask_changes(tmp_path: Path, as_pillow: bool) -> None:
    """Two local images through `flux_fill`: outside of the mask every pixel is the input's."""
    room = Image.effect_noise((384, 320), 70).convert("RGB")
    mask = Image.new("L", room.size)
    mask.paste(255, (40, 50, 200, 210))
    room.save(tmp_path / "room.png")
    mask.save(tmp_path / "mask.png")
    images: tuple[Any, Any] = (room, mask)
    if not as_pillow:
        images = (tmp_path / "room.png", tmp_path / "mask.png")
    limits = Limits(per=1.0, min_poll_interval=0.02)
    async with (
        Emulator(latency=0.05, per=1.0) as emulator,
        AsyncWaveSpeed("any key", base_url=emulator.url, limits=limits) as client,
    ):
        made = await client.flux_fill(
            image=images[0], mask_image=images[1], prompt="a scarf", size=room.size
        )
        changed = ImageChops.difference((await client.image(made)).convert("RGB"), room)
        content = await client.read(made)
        outcome = Outcome(index=4, request=made.request, prediction=made)
        (path,) = await client.save(outcome, tmp_path, name="{index}-{seed}")
    assert changed.getbbox() == (40, 50, 200, 210)
    assert made.request is not None
    assert path == tmp_path / f"4-{made.request.seed}.png"  # type: ignore[attr-defined]  # it is of fill
    assert path.read_bytes() == content
