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
from base64 import b64decode
from contextlib import suppress
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
    from collections.abc import AsyncIterator

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
_PAGE = re.compile(rb"\s*<(!doctype html|html)", re.IGNORECASE)
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
            return await _write(_once(content), stem)
        waits = pauses(self._dice)
        tries_left = self._max_retries
        while True:
            try:
                async with self._transport.download(output) as download:
                    return await _write(download.chunks(), stem)
            except WaveSpeedError as error:
                if tries_left == 0 or not is_passing(error):
                    raise
            tries_left -= 1
            await anyio.sleep(next(waits))


async def _write(chunks: AsyncIterator[bytes], stem: Path) -> Path:
    """Write what comes beside its final name, and give it that name once it is whole."""
    part = stem.with_name(f".{stem.name}.{secrets.token_hex(4)}.part")
    with anyio.CancelScope(shield=True):  # so that an open file is always known, and closed
        file: BinaryIO = await to_thread.run_sync(_open_new, part)
    try:
        suffix = suffix_of(await _fill(file, chunks))
        path = stem.with_name(stem.name + suffix)
        await to_thread.run_sync(_keep, file, part, path)
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(_discard, file, part)
    return path


async def _fill(file: BinaryIO, chunks: AsyncIterator[bytes]) -> bytes:
    """Write what comes, up to the bound, a buffer at a time in a thread; answer its first bytes."""
    size, head, buffer = 0, b"", bytearray()
    async for chunk in chunks:
        size += len(chunk)
        if size > LARGEST_OUTPUT:
            text = f"the output is larger than {LARGEST_OUTPUT} bytes"
            raise APIStatusError(text, status_code=200)  # not to be tried again
        head = head if len(head) >= HEAD else (head + chunk)[:HEAD]
        buffer += chunk
        if len(buffer) >= BUFFER:
            await to_thread.run_sync(file.write, bytes(buffer))
            buffer.clear()
    await to_thread.run_sync(file.write, bytes(buffer))
    if size == 0 or _PAGE.match(head):
        text = "the output is empty" if size == 0 else "the output is a web page, not a picture"
        raise APIResponseError(text, body=head.decode("latin-1"))
    return head


def _open_new(part: Path) -> BinaryIO:
    return part.open("xb")


def _keep(file: BinaryIO, part: Path, path: Path) -> None:
    """Bring a file onto the disk, then move it to its name in one step."""
    file.flush()
    os.fsync(file.fileno())
    file.close()
    part.replace(path)


def _discard(file: BinaryIO, part: Path) -> None:
    """Remove what is left of a file that was not kept."""
    with suppress(OSError):  # a full disk says so again at each attempt to flush
        file.close()
    part.unlink(missing_ok=True)


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


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
