"""Outputs to files: whole or not at all, named by what they are, never outside the chosen folder.

An output is written beside its final name first, and moved there once it is complete. Its type is
told by its first bytes, since a name or a header may say anything. The list is short enough to
stand here; a library for it would be a dependency of every application.
"""

from __future__ import annotations

import binascii
import os
import re
import secrets
import threading
from base64 import b64decode
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import anyio
from anyio import to_thread

from wavespeed_async._events import PictureSaved, notify
from wavespeed_async._prediction import Status
from wavespeed_async._retry import is_passing, pauses
from wavespeed_async.errors import (
    APIResponseError,
    APIStatusError,
    InvalidRequestError,
    WaveSpeedError,
)

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncGenerator

    from wavespeed_async._events import Observer
    from wavespeed_async._prediction import Prediction
    from wavespeed_async._transport import Transport

__all__ = ["Storage", "file_stem", "suffix_of"]

LARGEST_OUTPUT = 1024 * 1024 * 1024
"""Bytes of one output: far beyond any picture, since raw requests also make videos."""
HEAD = 32
BUFFER = 256 * 1024

_SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", ".png"),
    (0, b"\xff\xd8\xff", ".jpg"),
    (8, b"WEBP", ".webp"),
    (0, b"GIF87a", ".gif"),
    (0, b"GIF89a", ".gif"),
    (0, b"BM", ".bmp"),
    (0, b"II*\x00", ".tiff"),
    (0, b"MM\x00*", ".tiff"),
    (4, b"ftypavif", ".avif"),
    (4, b"ftyp", ".mp4"),
    (0, b"\x1aE\xdf\xa3", ".webm"),
    (8, b"WAVE", ".wav"),
    (0, b"ID3", ".mp3"),
    (0, b"glTF", ".glb"),
)
"""Where a file of each kind says what it is; the first that fits counts."""
_PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html)", re.IGNORECASE)
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")


def suffix_of(head: bytes) -> str:
    """Tell the file suffix by the first bytes; `.bin` for what is unknown."""
    for offset, signature, suffix in _SIGNATURES:
        if head.startswith(signature, offset):
            return suffix
    return ".bin"


def file_stem(prediction_id: str) -> str:
    """Make a name of an id that stays inside of a folder, whatever the id is."""
    return _UNSAFE.sub("_", prediction_id)[:100] or "prediction"


class Storage:
    """Fetch outputs and keep them as files.

    Args:
        transport: Fetches them, without the key.
        max_retries: How many times a failed fetch is made again, from its start.
        observe: Is told each set of files.
        dice: Draws the jitter of pauses.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        max_retries: int,
        observe: Observer | None,
        dice: random.Random,
    ) -> None:
        self._transport = transport
        self._max_retries = max_retries
        self._observe = observe
        self._dice = dice

    async def save(self, prediction: Prediction, directory: str | os.PathLike[str]) -> list[Path]:
        """Write every output of a finished prediction into a folder, which is made if need be.

        Files are named by the prediction's id, and numbered where there are several.

        Raises:
            InvalidRequestError: The prediction is not completed.
            APIConnectionError, APIStatusError, APIResponseError: An output could not be fetched.
            OSError: A file could not be written; nothing half-written is left behind.
        """
        if prediction.status is not Status.COMPLETED:
            raise InvalidRequestError.of(
                owner="save", field="prediction", value=prediction, allowed="completed"
            )
        folder = Path(directory)
        await to_thread.run_sync(partial(folder.mkdir, parents=True, exist_ok=True))
        stem, count = file_stem(prediction.id), len(prediction.outputs)
        paths: list[Path] = []
        for number, output in enumerate(prediction.outputs, 1):
            name = stem if count == 1 else f"{stem}-{number}"
            try:
                paths.append(await self._save_one(output, folder / name))
            except WaveSpeedError as error:
                error.prediction_id = prediction.id
                raise
        notify(self._observe, PictureSaved(prediction=prediction, paths=tuple(paths)))
        return paths

    async def _save_one(self, output: str, stem: Path) -> Path:
        if not output.startswith(("http://", "https://")):
            content = await to_thread.run_sync(_decoded, output)
            async with _part_of(stem) as part:
                await part.add(content)
                return await part.keep()
        waits = pauses(self._dice)
        tries_left = self._max_retries
        while True:
            try:
                return await self._fetch(output, stem)
            except WaveSpeedError as error:
                if tries_left == 0 or not is_passing(error):
                    raise
            tries_left -= 1
            await anyio.sleep(next(waits))

    async def _fetch(self, output: str, stem: Path) -> Path:
        async with self._transport.download(output) as download, _part_of(stem) as part:
            async for chunk in download:
                await part.add(chunk)
            return await part.keep()


@asynccontextmanager
async def _part_of(stem: Path) -> AsyncGenerator[_Part]:
    """Write a file beside its final name; what is not kept is removed, whatever happens."""
    part = _Part(stem)
    try:
        await to_thread.run_sync(part.open)
        yield part
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(part.discard)


class _Part:
    """Hold a file that is being written, a buffer at a time in a thread.

    asyncio's own cancelling does not wait for the thread of the call that it ends. So the lock has
    the next step wait for it, and a step that comes after `discard` does nothing.
    """

    def __init__(self, stem: Path) -> None:
        self._stem = stem
        self._path = stem.with_name(f".{stem.name}.{secrets.token_hex(4)}.part")
        self._lock = threading.Lock()
        self._discarded = False
        self._file: BinaryIO | None = None
        self._buffer = bytearray()
        self._head = b""
        self._size = 0

    async def add(self, chunk: bytes) -> None:
        """Add to the file, up to the bound."""
        self._size += len(chunk)
        if self._size > LARGEST_OUTPUT:
            text = f"the output is larger than {LARGEST_OUTPUT} bytes"
            raise APIStatusError(text, status_code=200)  # not to be tried again
        if len(self._head) < HEAD:
            self._head = (self._head + chunk)[:HEAD]
        self._buffer += chunk
        if len(self._buffer) >= BUFFER:
            await to_thread.run_sync(self._write)

    async def keep(self) -> Path:
        """Give the file its name in one step, now that it is whole; answer that name."""
        if self._size == 0 or _PAGE.match(self._head):
            text = "the output is empty" if self._size == 0 else "the output is a web page"
            raise APIResponseError(text, body=self._head.decode("latin-1"))
        path = self._stem.with_name(self._stem.name + suffix_of(self._head))
        await to_thread.run_sync(self._move, path)
        return path

    def open(self) -> None:
        """Make the file."""
        with self._lock:
            if not self._discarded:
                self._file = self._path.open("xb")

    def discard(self) -> None:
        """Remove the file, unless it was kept."""
        with self._lock:
            self._discarded = True
            if self._file is not None:
                with suppress(OSError):  # a full disk says so again at each attempt to flush
                    self._file.close()
                self._file = None
                self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        with self._lock:
            if self._file is not None:
                self._file.write(self._buffer)
                self._buffer.clear()

    def _move(self, path: Path) -> None:
        """Bring the file onto the disk, then to its name."""
        self._write()
        with self._lock:
            if self._file is not None:
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()
                self._path.replace(path)


def _decoded(output: str) -> bytes:
    """Read a base64 output, with or without a `data:` prefix."""
    encoded = output.partition(",")[2] if output.startswith("data:") else output
    try:
        content = b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        content = b""
    if not content:
        text = "the output is neither a URL nor base64"
        raise APIResponseError(text, body=output[:100])
    return content
