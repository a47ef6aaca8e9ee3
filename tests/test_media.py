"""Outputs to files: whole or none, by their content, within the folder, off the event loop."""

from __future__ import annotations

import asyncio
import base64
import errno
import gc
import json
import os
import subprocess
import sys
import threading
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from tests.models.samples import searched
from tests.wire import ID, OUTPUT, PNG, Api, Bench, Reply, named, page, raw_server, real_wires
from wavespeed_async import FluxDev, Folder, _files, _media
from wavespeed_async._events import PictureSaved
from wavespeed_async._files import suffix_of
from wavespeed_async._folder import file_stem
from wavespeed_async._prediction import Prediction, Status
from wavespeed_async.errors import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
    ConfigurationError,
    InvalidRequestError,
    WaveSpeedError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from anyio.abc import SocketStream

URL = "https://cdn.test/1.png"
BASE64 = base64.b64encode(PNG).decode()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads know no virtual time, so pauses are made short instead."""
    monkeypatch.setattr("wavespeed_async._media.pauses", lambda _: iter(lambda: 0.001, None))


def finished(*outputs: str, prediction_id: str = ID, **more: Any) -> Prediction:
    return Prediction(id=prediction_id, status=Status.COMPLETED, outputs=outputs, **more)


def files(folder: Path) -> list[str]:
    """Name all that is in a folder, hidden files too."""
    return sorted(path.name for path in folder.rglob("*"))


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "suffix"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(8), ".png"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", ".jpg"),
        (b"RIFF\x10\x00\x00\x00WEBPVP8 ", ".webp"),
        (b"GIF87a" + bytes(9), ".gif"),
        (b"GIF89a" + bytes(9), ".gif"),
        (b"BM\x46\x00\x00\x00\x00\x00\x00\x00", ".bmp"),
        (b"II*\x00\x08\x00\x00\x00", ".tiff"),
        (b"MM\x00*\x00\x00\x00\x08", ".tiff"),
        (b"\x00\x00\x00\x20ftypavif\x00", ".avif"),
        (b"\x00\x00\x00\x20ftypisom\x00", ".mp4"),
        (b"\x1aE\xdf\xa3\x9f", ".webm"),
        (b"RIFF\x10\x00\x00\x00WAVEfmt ", ".wav"),
        (b"ID3\x04\x00", ".mp3"),
        (b"glTF\x02\x00", ".glb"),
        (b"RIFF\x10\x00\x00\x00AVI ", ".bin"),
        (b"PNG", ".bin"),
        (b"", ".bin"),
    ],
    ids=lambda value: str(value)[:16],
)
def test_a_file_is_named_by_its_first_bytes(head: bytes, suffix: str) -> None:
    """The suffix follows the content, whatever a URL or a header may say."""
    assert suffix_of(head) == suffix


@pytest.mark.parametrize(
    ("prediction_id", "stem"),
    [
        (ID, ID),
        ("../../etc/passwd", "_etc_passwd"),
        ("", "prediction"),
        ("a/b", "a_b"),
        ("a\\b", "a_b"),
        ("a\x00b", "a_b"),
        (".", "_"),
        ("..", "_"),
        ("ünïcode ✓", "_n_code_"),
        ("x" * 5000, "x" * 100),
        ("C:con", "C_con"),
    ],
)
def test_a_name_is_made_of_any_id(prediction_id: str, stem: str) -> None:
    """Whatever the id is, its name is short, plain and stays in the folder."""
    assert file_stem(prediction_id) == stem


@given(st.text(max_size=300))
@searched
def test_no_id_leads_out_of_the_folder(prediction_id: str) -> None:
    """A name is one part of a path, not hidden, and never empty."""
    path = Path("/folder") / file_stem(prediction_id)
    assert path.parent == Path("/folder")
    assert 0 < len(path.name) <= 100
    assert path.name.isascii()
    assert not path.name.startswith(".")


@pytest.mark.parametrize("prediction_id", ["../../etc/passwd", "", "a/b", "x" * 5000, "✓"])
async def test_a_file_of_an_odd_id_is_in_the_folder(prediction_id: str, tmp_path: Path) -> None:
    """The file is written inside of the folder, and nothing outside of it."""
    folder = tmp_path / "deep" / "pictures"
    paths = await Bench(Reply(PNG)).storage.save(finished(URL, prediction_id=prediction_id), folder)
    assert [path.parent for path in paths] == [folder]
    assert files(tmp_path) == sorted(["deep", "pictures", paths[0].name])


# --- what is saved --------------------------------------------------------------------------------


async def test_one_output_is_named_by_the_id(tmp_path: Path) -> None:
    """A folder is made where there is none; the observer is told of the file."""
    bench = Bench(Reply(PNG))
    prediction = finished(URL)
    paths = await bench.storage.save(prediction, str(tmp_path / "a" / "b"))
    assert paths == [tmp_path / "a" / "b" / f"{ID}.png"]
    assert paths[0].read_bytes() == PNG
    assert [(event.prediction, event.paths) for event in bench.told(PictureSaved)] == [
        (prediction, tuple(paths))
    ]


async def test_several_outputs_are_numbered(tmp_path: Path) -> None:
    """Outputs are numbered in their order, each by its own type, URLs and base64 mixed."""
    outputs = (URL, BASE64, f"data:image/jpeg;base64,{base64.b64encode(b'GIF89a.').decode()}")
    paths = await Bench(Reply(b"\xff\xd8\xff.")).storage.save(finished(*outputs), tmp_path)
    assert [path.name for path in paths] == [f"{ID}-1.jpg", f"{ID}-2.png", f"{ID}-3.gif"]
    assert [path.read_bytes() for path in paths] == [b"\xff\xd8\xff.", PNG, b"GIF89a."]
    assert files(tmp_path) == [path.name for path in paths]


async def test_saving_again_replaces_the_file(tmp_path: Path) -> None:
    """The same prediction leads to the same file, never to half of each."""
    bench = Bench(Reply(PNG + b"long"), Reply(PNG))
    for _ in range(2):
        (path,) = await bench.storage.save(finished(URL), tmp_path)
    assert path.read_bytes() == PNG
    assert files(tmp_path) == [path.name]


@pytest.mark.parametrize("size", [1, 31, 32, 33, 256 * 1024, 256 * 1024 + 1, 3_000_000])
async def test_a_file_of_any_size_is_whole(size: int, tmp_path: Path) -> None:
    """Whatever its size and its parts on the way, the file has each byte once."""
    content = bytes(i * 7 % 251 for i in range(size))

    async def answer(_: httpx.Request) -> httpx.Response:
        async def parts() -> AsyncGenerator[bytes]:
            step = max(1, size // 7)
            for start in range(0, size, step):
                yield content[start : start + step]

        return httpx.Response(200, content=parts())

    (path,) = await Bench(answer).storage.save(finished(URL), tmp_path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.COMPLETED])
async def test_only_a_finished_prediction_is_saved(status: Status, tmp_path: Path) -> None:
    """Anything else is InvalidRequestError, before a folder is made."""
    bench = Bench(Reply(PNG))
    prediction = Prediction(id=ID, status=status, outputs=(URL,))
    with pytest.raises(InvalidRequestError, match="completed"):
        await bench.storage.save(prediction, tmp_path / "new")
    assert files(tmp_path) == []
    assert bench.api.requests == []


@pytest.mark.parametrize(
    "output",
    ["", "data:", "data:image/png;base64,", "not base64!", "abc", "=", "ftp://a/b.png", "é" * 8],
)
async def test_an_output_that_is_none_is_an_error(output: str, tmp_path: Path) -> None:
    """What is neither a URL nor base64 is an error with the id, and leaves nothing."""
    with pytest.raises(APIResponseError) as caught:
        await Bench(Reply(PNG)).storage.save(finished(output), tmp_path)
    assert caught.value.prediction_id == ID
    assert caught.value.body == output
    assert files(tmp_path) == []


# --- what goes wrong on the way -------------------------------------------------------------------


def broken_off(parts: int = 3) -> Any:
    async def answer(_: httpx.Request) -> httpx.Response:
        async def content() -> AsyncGenerator[bytes]:
            for _ in range(parts):
                yield PNG * 1000
            message = "reset"
            raise httpx.ReadError(message)

        return httpx.Response(200, content=content())

    return answer


FETCH_FAULTS = [
    httpx.ConnectError("refused"),
    httpx.ReadTimeout(""),
    broken_off(),
    page(500),
    page(503),
    Reply(b""),
    Reply("<!DOCTYPE html><title>Sorry</title>"),
    Reply("\n <HTML>"),
    Reply(b"\xef\xbb\xbf<html>"),
]


@pytest.mark.parametrize("fault", FETCH_FAULTS, ids=named)
async def test_a_fetch_that_failed_in_passing_is_made_again(fault: Any, tmp_path: Path) -> None:
    """A broken connection, a 5xx, an empty output and a web page are fetched again, from 0."""
    bench = Bench(fault, fault, Reply(PNG))
    (path,) = await bench.storage.save(finished(URL), tmp_path)
    assert path.read_bytes() == PNG
    assert files(tmp_path) == [path.name]


@pytest.mark.parametrize("fault", FETCH_FAULTS, ids=named)
async def test_a_fetch_that_keeps_failing_leaves_nothing(fault: Any, tmp_path: Path) -> None:
    """After `max_retries` further tries its error is raised, with the id; no part of it stays."""
    bench = Bench(fault, max_retries=2)
    with pytest.raises(WaveSpeedError) as caught:
        await bench.storage.save(finished(URL), tmp_path)
    assert caught.value.prediction_id == ID
    assert len(bench.api.requests) == 3
    assert files(tmp_path) == []
    assert bench.told(PictureSaved) == []


@pytest.mark.parametrize("status", [400, 403, 404, 410])
async def test_a_refused_output_is_not_fetched_again(status: int, tmp_path: Path) -> None:
    """A 4xx of the CDN is final: outputs are gone after 7 days."""
    bench = Bench(page(status))
    with pytest.raises(APIStatusError) as caught:
        await bench.storage.save(finished(URL), tmp_path)
    assert (caught.value.status_code, caught.value.prediction_id) == (status, ID)
    assert len(bench.api.requests) == 1
    assert files(tmp_path) == []


async def test_a_redirect_loop_ends(tmp_path: Path) -> None:
    """An output that redirects to itself is an error."""
    bench = Bench(Reply(b"", status=302, headers={"location": URL}), max_retries=0)
    with pytest.raises(APIConnectionError, match="redirects"):
        await bench.storage.save(finished(URL), tmp_path)
    assert files(tmp_path) == []


async def test_the_outputs_before_a_failure_stay(tmp_path: Path) -> None:
    """Each output is a file of its own: what was fetched is kept, and whole."""
    bench = Bench(Reply(PNG), page(404))
    with pytest.raises(APIStatusError):
        await bench.storage.save(finished(URL, OUTPUT), tmp_path)
    assert files(tmp_path) == [f"{ID}-1.png"]
    assert (tmp_path / f"{ID}-1.png").read_bytes() == PNG


async def test_an_output_is_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An output without an end is refused at the bound, once, and leaves nothing."""
    monkeypatch.setattr(_files, "LARGEST_OUTPUT", 10_000)

    async def endless(_: httpx.Request) -> httpx.Response:
        async def content() -> AsyncGenerator[bytes]:
            while True:
                await anyio.lowlevel.checkpoint()
                yield PNG

        return httpx.Response(200, content=content())

    bench = Bench(endless)
    with pytest.raises(APIStatusError, match="larger than 10000 bytes"):
        await bench.storage.save(finished(URL), tmp_path)
    assert len(bench.api.requests) == 1
    assert files(tmp_path) == []
    with pytest.raises(APIStatusError, match="larger"):
        await bench.storage.save(finished(base64.b64encode(bytes(10_001)).decode()), tmp_path)
    gc.collect()


@real_wires
async def test_a_connection_that_breaks_within_an_output_is_noticed(
    tmp_path: Path, transport: str | None
) -> None:
    """Over a real connection too, half an output is none."""
    received = 0

    async def handle(stream: SocketStream, request: bytes) -> None:
        nonlocal received
        received += 1
        head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(PNG)}\r\n\r\n".encode()
        await stream.send(head + PNG[: None if received == 2 else -1])
        if received == 1:
            await stream.aclose()

    async with raw_server(handle) as url:
        bench = Bench(base_url=url, transport=transport)
        (path,) = await bench.storage.save(finished(f"{url}/1.png"), tmp_path)
        assert path.read_bytes() == PNG
        assert received == 2
        assert files(tmp_path) == [path.name]
        await bench.transport.aclose()


# --- cancelling -----------------------------------------------------------------------------------


def slow(started: anyio.Event) -> Api:
    async def answer(_: httpx.Request) -> httpx.Response:
        async def content() -> AsyncGenerator[bytes]:
            while True:
                yield PNG * 2000
                started.set()
                await anyio.sleep(0.001)

        return httpx.Response(200, content=content())

    return Api(answer)


async def test_a_cancelled_download_leaves_nothing(tmp_path: Path) -> None:
    """Wherever in the stream it is cancelled, no file and no part of one stays."""
    for pause in (0.0, 0.001, 0.003, 0.01, 0.02):
        started = anyio.Event()
        bench = Bench(slow(started))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bench.storage.save, finished(URL), tmp_path)
            await started.wait()
            await anyio.sleep(pause)
            tasks.cancel_scope.cancel()
        assert files(tmp_path) == []
    gc.collect()


@pytest.mark.parametrize("anyio_backend", [("asyncio", {})], ids=["asyncio"])
async def test_asyncios_own_cancelling_leaves_nothing(tmp_path: Path) -> None:
    """`Task.cancel`, which waits for no thread, leaves no part of a file either."""
    for number in range(40):
        bench = Bench(slow(anyio.Event()))
        task = asyncio.ensure_future(bench.storage.save(finished(URL), tmp_path))
        await asyncio.sleep(number / 4000)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert files(tmp_path) == []


async def cancelled_in_thread(
    step: str, bench: Bench, folder: Path | Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancel a save while a thread is in a step of it, and let that go on afterwards."""
    real = getattr(_files.Part, step)
    reached, go_on = threading.Event(), threading.Event()

    def held(part: Any, *args: Any) -> None:
        reached.set()
        go_on.wait(5)
        real(part, *args)

    monkeypatch.setattr(_files.Part, step, held)
    task = asyncio.ensure_future(bench.storage.save(finished(URL), folder))
    await asyncio.to_thread(reached.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    await asyncio.sleep(0.05)


@pytest.mark.parametrize("anyio_backend", [("asyncio", {})], ids=["asyncio"])
@pytest.mark.parametrize("step", ["open", "_write", "_move"])
async def test_a_thread_that_outlives_its_call_leaves_nothing_half(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long a thread takes that was cancelled, what stays is whole or nothing."""
    monkeypatch.setattr(_files, "BUFFER", 100)
    await cancelled_in_thread(step, Bench(Reply(PNG)), tmp_path, monkeypatch)
    assert files(tmp_path) == []


# --- disks ----------------------------------------------------------------------------------------


def failing(number: int, *, at: str) -> Any:
    """Make a stand-in that fails as the system does."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), at)

    return fail


@pytest.mark.parametrize("step", ["_write", "_move", "open"])
async def test_a_disk_that_fails_is_told_and_leaves_nothing(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the disk is raised as it is, at whatever step, and is not tried again."""
    monkeypatch.setattr(_files.Part, step, failing(errno.ENOSPC, at=step))
    monkeypatch.setattr(_files, "BUFFER", 100)
    for output in (URL, BASE64):
        bench = Bench(Reply(PNG))
        with pytest.raises(OSError, match="No space left") as caught:
            await bench.storage.save(finished(output), tmp_path)
        assert caught.value.errno == errno.ENOSPC
        assert len(bench.api.requests) <= 1
        assert files(tmp_path) == []
    gc.collect()


async def test_a_file_that_cannot_even_be_closed_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk fails again as the file is closed: the first error is told, nothing stays."""
    real = _files.Part.open

    class Full:
        write = failing(errno.ENOSPC, at="write")
        close = failing(errno.EDQUOT, at="close")

    def opened(part: Any) -> None:
        real(part)
        part._file.close()
        part._file = Full()

    monkeypatch.setattr(_files.Part, "open", opened)
    with pytest.raises(OSError, match="write") as caught:
        await Bench(Reply(PNG)).storage.save(finished(URL), tmp_path)
    assert caught.value.errno == errno.ENOSPC
    assert files(tmp_path) == []


LIMITED = """
import os, resource, signal, sys
sys.path.append(".")  # last, so that the installed package comes first
import anyio, httpx
from wavespeed_async._media import Storage
from tests.wire import Bench, Reply
from tests.test_media import finished
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
async def main():
    for size in (50_000, 150_000, 600_000):
        bench = Bench(Reply(b"x" * size))
        try:
            prediction = finished("https://cdn.test/x", prediction_id=str(size))
            await bench.storage.save(prediction, sys.argv[1])
        except OSError as error:
            print(size, error.errno)
anyio.run(main, backend=sys.argv[2])
print(sorted(os.listdir(sys.argv[1])))
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_full_disk_leaves_whole_files_only(backend: str, tmp_path: Path) -> None:
    """Where the system takes no more bytes, that is raised, and no part of a file stays."""
    done = subprocess.run(  # noqa: S603 (this very Python)
        [sys.executable, "-W", "error", "-c", LIMITED, str(tmp_path), backend],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    number = errno.EFBIG
    assert done.stdout.splitlines() == [f"150000 {number}", f"600000 {number}", "['50000.bin']"]
    assert done.stderr == ""


async def test_a_folder_that_cannot_be_one_is_told(tmp_path: Path) -> None:
    """A file in the folder's place, or a folder in the file's, is the system's own error."""
    (tmp_path / "file").write_bytes(b"")
    bench = Bench(Reply(PNG))
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(OSError, match="file"):
            await bench.storage.save(finished(URL), folder)
    assert bench.api.requests == []
    (tmp_path / f"{ID}.png").mkdir()
    with pytest.raises(OSError, match="directory"):
        await bench.storage.save(finished(URL), tmp_path)
    assert files(tmp_path) == [f"{ID}.png", "file"]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder that nobody may write to")
async def test_a_folder_that_may_not_be_written_to_is_told() -> None:
    """Where nothing may be written, not even by root, the system's own error is raised."""
    with pytest.raises(OSError, match="/proc"):
        await Bench(Reply(PNG)).storage.save(finished(URL), "/proc")


# --- the event loop -------------------------------------------------------------------------------


@pytest.mark.parametrize("output", [URL, BASE64], ids=["url", "base64"])
async def test_the_event_loop_is_not_held_up(
    output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever touches the disk, or decodes a picture, is done in a thread."""
    threads: dict[str, int] = {}

    def spied(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def seen(*args: Any, **kwargs: Any) -> Any:
            threads[name] = threading.get_ident()
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, seen)

    for step in ("open", "_write", "_move", "discard"):
        spied(_files.Part, step)
    spied(_media, "_decoded")
    spied(Path, "mkdir")
    await Bench(Reply(PNG)).storage.save(finished(output), tmp_path)
    assert len(threads) >= 5
    assert threading.get_ident() not in threads.values()


# --- the rest of a broken download ----------------------------------------------------------------

WHOLE = PNG * 9000
NAMES = {"etag": '"v1"', "last-modified": "Fri, 21 Nov 2025 00:00:00 GMT"}


class Broken:
    """Serve an output that breaks off some times, and its rest where that is asked for."""

    def __init__(self, *, times: int = 2, names: dict[str, str] | None = None) -> None:
        self.asked: list[str | None] = []
        self.conditions: list[str | None] = []
        self.times = times
        self.names = {"etag": NAMES["etag"]} if names is None else names
        self.content = WHOLE

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        assert request.headers["accept-encoding"] == "identity"
        self.asked.append(request.headers.get("range"))
        self.conditions.append(request.headers.get("if-range"))
        start = int((self.asked[-1] or "bytes=0-")[6:-1])
        return self.answer(start)

    def answer(self, start: int) -> httpx.Response:
        total = len(self.content)
        headers = {**self.names, "content-range": f"bytes {start}-{total - 1}/{total}"}
        status = 206 if start else 200
        return httpx.Response(status, headers=headers, content=self.parts(self.content[start:]))

    async def parts(self, rest: bytes) -> AsyncGenerator[bytes]:
        if self.times == 0:
            yield rest
            return
        self.times -= 1
        yield rest[: len(rest) // 3]
        message = "reset"
        raise httpx.ReadError(message)


async def saved(server: Any, folder: Path, **more: Any) -> bytes:
    (path,) = await Bench(server, **more).storage.save(finished(URL), folder)
    assert files(folder) == [path.name]
    return path.read_bytes()


@pytest.mark.parametrize("name", NAMES)
async def test_a_broken_download_goes_on_where_it_broke_off(name: str, tmp_path: Path) -> None:
    """The rest is asked for, of that version alone; each byte comes once."""
    server = Broken(names={name: NAMES[name]})
    assert await saved(server, tmp_path) == WHOLE
    first = len(WHOLE) // 3
    second = first + (len(WHOLE) - first) // 3
    assert server.asked == [None, f"bytes={first}-", f"bytes={second}-"]
    assert server.conditions == [None, NAMES[name], NAMES[name]]


@pytest.mark.parametrize(
    "names",
    [{}, {"etag": 'W/"weak"'}, {**NAMES, "content-encoding": "gzip, none"}],
    ids=["none", "weak", "packed"],
)
async def test_without_a_name_for_the_version_it_begins_anew(
    names: dict[str, str], tmp_path: Path
) -> None:
    """Parts of what might be two versions are not put together."""
    server = Broken(names=names)
    if "content-encoding" in names:
        server.names = {**names, "content-encoding": "identity"}
    assert await saved(server, tmp_path) == WHOLE
    assert server.asked == [None] * 3


class Changed(Broken):
    """Have another version, or another answer, for who asks for a rest."""

    def __init__(self, kind: str) -> None:
        super().__init__(times=1)
        self.kind = kind

    def answer(self, start: int) -> httpx.Response:
        if start == 0:
            return super().answer(0)
        content = self.content
        total = len(content)
        headers = {"etag": '"v1"', "content-range": f"bytes {start}-{total - 1}/{total}"}
        if self.kind == "ignored":
            return httpx.Response(200, content=content)
        if self.kind == "past the end":
            return httpx.Response(416)
        if self.kind == "elsewhere":
            headers["content-range"] = f"bytes {start - 1}-{total - 1}/{total}"
        if self.kind == "unreadable":
            headers["content-range"] = "all of it"
        if self.kind == "another":
            headers["etag"] = '"v2"'
        if self.kind == "a part" and len(self.asked) == 2:
            headers["content-range"] = f"bytes {start}-{start + 9}/{total}"
            return httpx.Response(206, headers=headers, content=content[start : start + 10])
        if self.kind == "of unknown size":
            headers["content-range"] = f"bytes {start}-{total - 1}/*"
        return httpx.Response(206, headers=headers, content=content[start:])


@pytest.mark.parametrize(
    "kind",
    ["ignored", "past the end", "elsewhere", "unreadable", "another", "a part", "of unknown size"],
)
async def test_whatever_is_answered_to_a_rest_the_file_is_whole(kind: str, tmp_path: Path) -> None:
    """A server that ignores ranges, has another version or answers another part costs a try."""
    server = Changed(kind)
    assert await saved(server, tmp_path) == WHOLE
    assert server.asked[:2] == [None, f"bytes={len(WHOLE) // 3}-"]


async def test_a_range_that_cannot_be_is_final_where_none_was_asked_for(tmp_path: Path) -> None:
    """A 416 to the whole output is a refusal like any other."""
    with pytest.raises(APIStatusError) as caught:
        await saved(Reply(b"", status=416), tmp_path)
    assert caught.value.status_code == 416
    assert files(tmp_path) == []


# --- names, and files that are there --------------------------------------------------------------


async def test_files_that_are_there_are_replaced_or_kept(tmp_path: Path) -> None:
    """By choice the new file takes the place of the old one, or a number of its own."""
    bench = Bench(Reply(PNG))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "flux-dev.png").write_bytes(b"mine")
    made = finished(URL, model="wavespeed-ai/flux-dev")
    keep = Folder(tmp_path, name="sub/{model}", existing="keep")
    for number in (2, 3):
        assert await bench.storage.save(made, keep) == [tmp_path / f"sub/flux-dev-{number}.png"]
    assert (tmp_path / "sub" / "flux-dev.png").read_bytes() == b"mine"
    replace = Folder(tmp_path, name="sub/{model}")
    assert await bench.storage.save(made, replace) == [tmp_path / "sub/flux-dev.png"]
    assert (tmp_path / "sub" / "flux-dev.png").read_bytes() == PNG
    assert files(tmp_path / "sub") == ["flux-dev-2.png", "flux-dev-3.png", "flux-dev.png"]


async def test_the_same_picture_is_not_fetched_again(tmp_path: Path) -> None:
    """Where files are kept and named by the id, one that is there is the same picture."""
    bench = Bench(Reply(PNG))
    keep = Folder(tmp_path, existing="keep")
    first = await bench.storage.save(finished(URL), keep)
    assert await bench.storage.save(finished(URL), keep) == first
    assert len(bench.api.requests) == 1
    first[0].write_bytes(b"")
    await bench.storage.save(finished(URL), keep)
    assert len(bench.api.requests) == 2


async def test_files_are_kept_on_disks_without_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system makes no links, a name that is free is taken all the same."""
    monkeypatch.setattr(os, "link", failing(errno.EPERM, at="link"))
    keep = Folder(tmp_path, name="a", existing="keep")
    for name in ("a.png", "a-2.png"):
        (path,) = await Bench(Reply(PNG)).storage.save(finished(URL), keep)
        assert path == tmp_path / name
        assert path.read_bytes() == PNG
    assert files(tmp_path) == ["a-2.png", "a.png"]


async def test_a_name_that_cannot_be_is_told_before_anything_is_fetched(tmp_path: Path) -> None:
    """An index that there is not is no reason to fetch."""
    bench = Bench(Reply(PNG))
    with pytest.raises(InvalidRequestError, match="not of a batch"):
        await bench.storage.save(finished(URL), Folder(tmp_path, name="{index}"))
    assert bench.api.requests == []
    await bench.storage.save(finished(URL), Folder(tmp_path, name="{index}"), 7)
    assert files(tmp_path) == ["7.png"]


async def test_a_saved_picture_says_how_it_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `metadata` the file holds its parameters; one that is too large is left as it came."""
    body = BytesIO()
    Image.new("RGB", (5, 5)).save(body, "PNG")
    made = finished(URL, request=FluxDev(prompt="a lighthouse", seed=7))
    folder = Folder(tmp_path, metadata=True)
    (path,) = await Bench(Reply(body.getvalue())).storage.save(made, folder)
    with Image.open(path) as image:
        assert isinstance(image, PngImageFile)
        assert json.loads(image.text["parameters"])["prompt"] == "a lighthouse"
    assert files(tmp_path) == [path.name]
    monkeypatch.setattr(_files, "LARGEST_ANNOTATED", 10)
    (path,) = await Bench(Reply(body.getvalue())).storage.save(made, folder)
    assert path.read_bytes() == body.getvalue()


# --- without a folder -----------------------------------------------------------------------------


@pytest.mark.parametrize("output", [URL, BASE64], ids=["url", "base64"])
async def test_an_output_is_read_without_a_folder(output: str) -> None:
    """One output as bytes, by its number."""
    bench = Bench(Reply(PNG))
    assert await bench.storage.read(finished(output, "!"), 0) == PNG
    with pytest.raises(APIResponseError) as caught:
        await bench.storage.read(finished(output, "!"), 1)
    assert caught.value.prediction_id == ID


@pytest.mark.parametrize("number", [-1, 2, "0", None])
async def test_an_output_that_there_is_not_is_refused(number: Any) -> None:
    """The error says which there are."""
    with pytest.raises(InvalidRequestError, match="0 to 1"):
        await Bench(Reply(PNG)).storage.read(finished(URL, URL), number)


async def test_a_broken_read_goes_on_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Into memory as into a file: with the rest, from the start where need be, up to a bound."""
    assert await Bench(Broken()).storage.read(finished(URL)) == WHOLE
    assert await Bench(Changed("ignored")).storage.read(finished(URL)) == WHOLE
    monkeypatch.setattr(_files, "LARGEST_IN_MEMORY", 1000)
    with pytest.raises(APIStatusError, match="larger than 1000 bytes"):
        await Bench(Broken(times=0)).storage.read(finished(URL))
    with pytest.raises(APIResponseError, match="web page"):
        await Bench(Reply("<html>")).storage.read(finished(URL))


async def test_an_output_is_a_pillow_image() -> None:
    """What can be opened is an image, all of it read; anything else is an error with the id."""
    body = BytesIO()
    Image.new("RGB", (5, 4), "red").save(body, "PNG")
    image = await Bench(Reply(body.getvalue())).storage.image(finished(URL))
    assert image.size == (5, 4)
    assert image.getpixel((0, 0)) == (255, 0, 0)
    with pytest.raises(APIResponseError, match="no image") as caught:
        await Bench(Reply(PNG)).storage.image(finished(URL))
    assert caught.value.prediction_id == ID


async def test_without_pillow_an_image_names_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before anything is fetched."""
    monkeypatch.setitem(sys.modules, "PIL", None)
    bench = Bench(Reply(PNG))
    with pytest.raises(ConfigurationError, match=r"pip install 'wavespeed-async\[pillow\]'"):
        await bench.storage.image(finished(URL))
    assert bench.api.requests == []


@pytest.mark.parametrize("anyio_backend", [("asyncio", {})], ids=["asyncio"])
@pytest.mark.parametrize("step", ["_empty", "_annotate"])
async def test_a_thread_that_outlives_its_call_touches_nothing(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that comes after the file was given up does nothing."""
    folder = Folder(tmp_path, metadata=True)
    await cancelled_in_thread(step, Bench(Changed("ignored")), folder, monkeypatch)
    assert files(tmp_path) == []
