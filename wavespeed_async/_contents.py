"""Images of this machine, looked at: their digest, size and format; and read, part by part.

All of it is done in threads. A file is opened for each part and closed again, so that no way of
ending leaves one open; that the parts belong together is told by the digest of the whole.
"""

from __future__ import annotations

import hashlib
import stat
import time
from base64 import b64encode
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import attrs
from anyio import to_thread
from attrs import frozen

from wavespeed_async.errors import InvalidRequestError
from wavespeed_async.models._images import (
    FORMATS,
    HEAD,
    Inline,
    LocalImage,
    Snapshot,
    local_images,
    media_type_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from wavespeed_async.models._request import Request

__all__ = ["Content", "Contents", "as_base64", "check_file", "images_of", "looked_at", "parts_of"]

LARGEST = 200_000_000
"""Bytes of the largest upload: an official client's own bound (200 MB)."""
LARGEST_INLINE = 20_000_000
"""Bytes of the largest image within a request: what is sent so has no second way."""
PIECE, MEGABYTE = 256 * 1024, 1024 * 1024
REMEMBERED = 10_000
"""Files whose digest is remembered."""
FRESH = 0.05
"""Seconds within which a file may change twice and bear the same time."""


@frozen
class Content:
    """Say what an image of this machine is.

    Attributes:
        name: What it is known by: the digest of its bytes, or of its pixels.
        sha256: The digest of the bytes that are sent.
        size: How many they are.
        media_type: Their format, such as `image/png`.
    """

    name: str
    sha256: str
    size: int
    media_type: str


class Contents:
    """Know the images of this machine that were looked at; a file is read again once it changed."""

    def __init__(self) -> None:
        self._files: OrderedDict[tuple[int, ...], Content] = OrderedDict()
        self._reading = anyio.Lock()

    async def of_request(self, request: Request) -> Mapping[LocalImage, Content]:
        """Look at the images of this machine that a request has.

        Raises:
            InvalidRequestError: One cannot be read, or is none that the API takes.
        """
        found: dict[LocalImage, Content] = {}
        for name, image in images_of(request):
            content = await self.of(request.model, name, image)
            found[image] = content
        return found

    async def of(self, owner: str, name: str, image: LocalImage) -> Content:
        """Look at one, the field `name` of `owner`.

        Raises:
            InvalidRequestError: As `of_request`.
        """
        async with self._reading:  # one at a time: others may be waiting for the same
            return await to_thread.run_sync(self.look, owner, name, image)

    def look(self, owner: str, name: str, image: LocalImage) -> Content:
        """Do the same, which takes its time."""
        hash(image)  # what takes its time is kept: a later one takes none
        inner = image.image if isinstance(image, Inline) else image
        try:
            content = self._known_file(inner) if isinstance(inner, Path) else _read(inner)
            if isinstance(image, Inline) and content.size > LARGEST_INLINE:
                raise _size_refused(content.size, LARGEST_INLINE)
        except (_RefusedError, OSError, ValueError) as error:
            raise _refusal(owner, name, image, error) from error
        return content

    def _known_file(self, path: Path) -> Content:
        before = _signature(path)
        content = self._files.get(before)
        if content is None:
            content = _read(path)
            if _signature(path) != before:
                message = "a file that does not change while it is read"
                raise _RefusedError(message)
            if time.time() - before[-1] / 1e9 > FRESH:
                self._files[before] = content
                while len(self._files) > REMEMBERED:
                    self._files.popitem(last=False)
        return content


class _RefusedError(Exception):
    """Say what an image must be."""


def images_of(request: Request) -> list[tuple[str, LocalImage]]:
    """List the images of this machine that a request has, with the names of their fields."""
    fields = attrs.fields(type(request))  # type: ignore[arg-type]  # request classes are attrs classes
    return [*local_images({a.name: getattr(request, a.name) for a in fields})]


def looked_at(request: Request) -> Mapping[LocalImage, Content]:
    """Look at the images of this machine that a request has, where nothing waits.

    Raises:
        InvalidRequestError: One cannot be read, or is none that the API takes.
    """
    contents = Contents()
    return {image: contents.look(request.model, name, image) for name, image in images_of(request)}


def check_file(owner: str, name: str, path: Path) -> None:
    """Look at a file's size and format, without reading it to the end.

    Raises:
        InvalidRequestError: It cannot be read, or is no image that the API takes.
    """
    try:
        _signature(path)
        _check_format(_piece(path, 0, HEAD))
    except (_RefusedError, OSError, ValueError) as error:
        raise _refusal(owner, name, path, error) from error


def _signature(path: Path) -> tuple[int, ...]:
    """Tell by what a file is known not to have changed."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):  # a pipe, say, which may never end
        message = "a file, not a folder or a device"
        raise _RefusedError(message)
    if not 0 < found.st_size <= LARGEST:
        raise _size_refused(found.st_size, LARGEST)
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _check_format(head: bytes) -> str:
    media_type = media_type_of(head)
    if media_type is None:
        raise _RefusedError(FORMATS)
    return media_type


def _size_refused(size: int, most: int) -> _RefusedError:
    return _RefusedError(f"an image of 1 to {most} bytes (it has {size})")


def _refusal(owner: str, name: str, image: LocalImage, error: Exception) -> InvalidRequestError:
    if isinstance(error, _RefusedError):
        return InvalidRequestError.of(owner, name, image, str(error))
    why = getattr(error, "strerror", None) or str(error)
    return InvalidRequestError.of(owner, name, image, f"a file that can be read ({why})")


# --- reading -------------------------------------------------------------------------------------


def _read(image: Any) -> Content:
    source = _bytes_of(image)
    digest, size = hashlib.sha256(), 0
    media_type = _check_format(_piece(source, 0, HEAD))
    while piece := _piece(source, size, MEGABYTE):
        digest.update(piece)
        size += len(piece)
        if size > LARGEST:
            raise _size_refused(size, LARGEST)
    sha256 = digest.hexdigest()
    name = f"pixels {image.digest}" if isinstance(image, Snapshot) else f"sha256 {sha256}"
    return Content(name=name, sha256=sha256, size=size, media_type=media_type)


def _bytes_of(image: Any) -> Path | bytes:
    """Answer what an image is read from."""
    if isinstance(image, Inline):
        image = image.image
    source: Path | bytes = image.png() if isinstance(image, Snapshot) else image
    return source


def _piece(source: Path | bytes, start: int, size: int) -> bytes:
    """Read a part; no file stays open, so that there is none to be left open."""
    if isinstance(source, bytes):
        return source[start : start + size]
    with source.open("rb") as file:
        file.seek(start)
        return file.read(size)


def as_base64(name: str, image: LocalImage, content: Content) -> str:
    """Write an image as base64.

    Raises:
        InvalidRequestError: It is no longer what it was.
    """
    try:
        source = _bytes_of(image)
        whole = _piece(source, 0, content.size + 1)
    except OSError as error:
        raise _changed(name, image) from error
    if hashlib.sha256(whole).hexdigest() != content.sha256:
        raise _changed(name, image)
    return b64encode(whole).decode()


async def parts_of(name: str, image: LocalImage, content: Content) -> AsyncGenerator[bytes]:
    """Read an image part by part; the last leaves only if the whole is what it was.

    Raises:
        InvalidRequestError: It is not.
    """
    digest = hashlib.sha256()
    source = await to_thread.run_sync(_bytes_of, image)
    held, size = b"", 0
    while size < content.size:
        try:
            piece = await to_thread.run_sync(_digested, source, size, digest)
        except OSError as error:
            raise _changed(name, image) from error
        size += len(piece)
        if not piece or size > content.size:
            break
        if held:
            yield held
        held = piece
    if digest.hexdigest() != content.sha256:
        raise _changed(name, image)
    yield held


def _digested(source: Path | bytes, start: int, digest: Any) -> bytes:
    piece = _piece(source, start, PIECE)
    digest.update(piece)
    return piece


def _changed(name: str, image: LocalImage) -> InvalidRequestError:
    allowed = "a file that does not change while it is uploaded"
    return InvalidRequestError.of("upload", name, image, allowed)
