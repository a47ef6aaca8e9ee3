"""What is being received: a file that is whole or not there, or bytes in memory.

A file is written beside its final name first, and moved there once it is complete. Its type is told
by its first bytes, since a name or a header may say anything. The list is short enough to stand
here; a library for it would be a dependency of every application.
"""

from __future__ import annotations

import os
import re
import secrets
import threading
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import anyio
from anyio import to_thread

from wavespeed_async._metadata import annotated
from wavespeed_async.errors import APIResponseError, APIStatusError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

__all__ = ["Memory", "Part", "Sink", "moved", "part_of", "present", "suffix_of"]

LARGEST_OUTPUT = 1024 * 1024 * 1024
"""Bytes of one output: far beyond any picture, since raw requests also make videos."""
LARGEST_IN_MEMORY = 256 * 1024 * 1024
"""The same where it is held in memory."""
LARGEST_ANNOTATED = 64 * 1024 * 1024
"""Bytes of the largest picture that is told how it was made."""
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
UNKNOWN = ".bin"
_PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html)", re.IGNORECASE)


def suffix_of(head: bytes) -> str:
    """Tell the file suffix by the first bytes; `.bin` for what is unknown."""
    for offset, signature, suffix in _SIGNATURES:
        if head.startswith(signature, offset):
            return suffix
    return UNKNOWN


def present(stem: Path) -> Path | None:
    """Find the file that has a name, with whatever ending; files that are there are whole."""
    for suffix in dict.fromkeys([suffix for _, _, suffix in _SIGNATURES] + [UNKNOWN]):
        path = stem.with_name(stem.name + suffix)
        if path.is_file() and path.stat().st_size > 0:
            return path
    return None


class Sink(Protocol):
    """Take an output as it comes.

    Attributes:
        size: How many bytes are there.
        version: What the server calls this version of the output, so that the rest of it can be
            asked for; None where it has no name for it.
    """

    size: int
    version: str | None

    async def add(self, chunk: bytes) -> None:
        """Add to it, up to the bound."""
        ...

    async def restart(self) -> None:
        """Forget what came so far."""
        ...

    def check(self) -> None:
        """Tell, once all has come, whether it can be an output.

        Raises:
            APIResponseError: It is empty, or a web page.
        """
        ...


def _check(size: int, head: bytes) -> None:
    if size == 0 or _PAGE.match(head):
        text = "the output is empty" if size == 0 else "the output is a web page"
        raise APIResponseError(text, body=head.decode("latin-1"))


def _check_size(size: int, most: int) -> None:
    if size > most:
        text = f"the output is larger than {most} bytes"
        raise APIStatusError(text, status_code=200)  # not to be tried again


class Memory:
    """Hold an output in memory."""

    def __init__(self) -> None:
        self.size: int = 0
        self.version: str | None = None
        self._content = bytearray()

    async def add(self, chunk: bytes) -> None:
        """Add to it, up to the bound."""
        self.size += len(chunk)
        _check_size(self.size, LARGEST_IN_MEMORY)
        self._content += chunk

    async def restart(self) -> None:
        """Forget what came so far."""
        self.size, self.version = 0, None
        self._content.clear()

    def check(self) -> None:
        """Tell, once all has come, whether it can be an output."""
        _check(self.size, bytes(self._content[:HEAD]))

    def content(self) -> bytes:
        """Answer all of it."""
        return bytes(self._content)


@asynccontextmanager
async def part_of(stem: Path) -> AsyncGenerator[Part]:
    """Write a file beside its final name; what is not kept is removed, whatever happens."""
    part = Part(stem)
    try:
        await to_thread.run_sync(part.open)
        yield part
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(part.discard)


class Part:
    """Hold a file that is being written, a buffer at a time in a thread.

    asyncio's own cancelling does not wait for the thread of the call that it ends. So the lock has
    the next step wait for it, and a step that comes after `discard` does nothing.
    """

    def __init__(self, stem: Path) -> None:
        self.size: int = 0
        self.version: str | None = None
        self._stem = stem
        self._path = stem.with_name(f".{stem.name}.{secrets.token_hex(4)}.part")
        self._lock = threading.Lock()
        self._discarded = False
        self._file: BinaryIO | None = None
        self._buffer = bytearray()
        self._head = b""

    async def add(self, chunk: bytes) -> None:
        """Add to the file, up to the bound."""
        self.size += len(chunk)
        _check_size(self.size, LARGEST_OUTPUT)
        if len(self._head) < HEAD:
            self._head = (self._head + chunk)[:HEAD]
        self._buffer += chunk
        if len(self._buffer) >= BUFFER:
            await to_thread.run_sync(self._write)

    async def restart(self) -> None:
        """Forget what came so far."""
        self.size, self.version, self._head = 0, None, b""
        await to_thread.run_sync(self._empty)

    def check(self) -> None:
        """Tell, once all has come, whether it can be an output."""
        _check(self.size, self._head)

    async def keep(self, *, replace: bool = True, parameters: dict[str, Any] | None = None) -> Path:
        """Give the file its name in one step, now that it is whole; answer that name.

        Args:
            replace: Whether a file of that name gives way; else this one gets a number.
            parameters: What is written into it, if it is a picture.
        """
        if parameters is not None:
            await to_thread.run_sync(self._annotate, parameters)
        return await to_thread.run_sync(self._move, replace)

    def open(self) -> None:
        """Make the file, and its folder if need be."""
        with self._lock:
            if not self._discarded:
                self._stem.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("x+b")

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

    def _empty(self) -> None:
        with self._lock:
            if self._file is not None:
                self._buffer.clear()
                self._file.seek(0)
                self._file.truncate()

    def _annotate(self, parameters: dict[str, Any]) -> None:
        """Write the file anew with its parameters; it has not got its name yet."""
        self._write()
        with self._lock:
            if self._file is not None and self.size <= LARGEST_ANNOTATED:
                self._file.seek(0)
                content = annotated(self._file.read(), parameters)
                self._file.seek(0)
                self._file.write(content)

    def _move(self, replace: bool) -> Path:
        """Bring the file onto the disk, then to its name."""
        self._write()
        path = self._stem.with_name(self._stem.name + suffix_of(self._head))
        with self._lock:
            if self._file is not None:
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()
                path = moved(self._path, path, replace)
        return path


def moved(part: Path, wanted: Path, replace: bool) -> Path:
    """Give a file its name in one step: one that is free, unless it may `replace` another."""
    if replace:
        return part.replace(wanted)
    name, number = wanted, 1
    while not _is_moved(part, name):
        number += 1
        name = wanted.with_stem(f"{wanted.stem}-{number}")
    return name


def _is_moved(part: Path, name: Path) -> bool:
    """Move a file, unless there is one of that name."""
    try:
        os.link(part, name)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        if name.exists():
            return False
        part.replace(name)
    return True
