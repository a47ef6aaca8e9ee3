"""Images as fields take them: addresses, and what lies on this machine. Pure: no file is read here.

What is local stands in a request as it was given, and is uploaded when the request is submitted.
A Pillow image is told by what it can do, so that Pillow is not needed; it is copied, since it may
be changed later, and known by its pixels.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, TypeAlias

from attrs import field, frozen

from wavespeed_async.errors import InvalidRequestError

if TYPE_CHECKING:
    from attrs import Attribute

__all__ = [
    "FORMATS",
    "ImageSource",
    "ImageValue",
    "Inline",
    "LocalImage",
    "PillowImage",
    "Snapshot",
    "described",
    "frozen_image",
    "frozen_images",
    "is_local",
    "local_images",
    "media_type_of",
    "optional_image",
    "replaced",
    "unnamed",
]

FORMATS = "JPG, PNG, WebP, GIF, BMP or TIFF"
"""The formats that an upload may have (upload documentation)."""

_SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (8, b"WEBP", "image/webp"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (0, b"BM", "image/bmp"),
    (0, b"II*\x00", "image/tiff"),
    (0, b"MM\x00*", "image/tiff"),
)
HEAD = 16
"""Bytes by which a format is told."""


def media_type_of(head: bytes) -> str | None:
    """Tell the format of an image by its first bytes; None for one that no upload may have."""
    for offset, signature, media_type in _SIGNATURES:
        if head.startswith(signature, offset):
            return media_type
    return None


# --- what is local -------------------------------------------------------------------------------


class PillowImage(Protocol):
    """Be a Pillow image, or what can do the same."""

    @property
    def mode(self) -> str:
        """What a pixel is made of."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        ...

    def copy(self) -> PillowImage:
        """Answer another one with the same pixels."""
        ...

    def convert(self, mode: str) -> PillowImage:
        """Answer another one whose pixels are made otherwise."""
        ...

    def tobytes(self) -> bytes:
        """Answer the pixels."""
        ...

    def save(self, fp: IO[bytes], format: str) -> None:  # noqa: A002 (Pillow's own name)
        """Write it in a format."""
        ...


_PILLOW = ("mode", "size", "copy", "convert", "tobytes", "save")
_KEPT_MODES = {"L", "LA", "RGB", "RGBA"}
_MODES = {"1": "L", "P": "RGBA", "PA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB", "RGBX": "RGB"}
"""What modes are turned into that PNG lacks; other ones have no one way to be seen."""


class Snapshot:
    """Keep the pixels of a Pillow image as they were when it was given."""

    __slots__ = ("_digest", "_image")

    def __init__(self, image: PillowImage) -> None:
        self._image: PillowImage = image
        self._digest: str | None = None

    @property
    def digest(self) -> str:
        """The digest of its pixels; computed once, which takes milliseconds."""
        if self._digest is None:
            digest = hashlib.sha256(f"{self._image.mode} {self._image.size} ".encode())
            digest.update(self._image.tobytes())
            self._digest = digest.hexdigest()
        return self._digest

    def png(self) -> bytes:
        """Write it as PNG."""
        buffer = BytesIO()
        self._image.save(buffer, "PNG")
        return buffer.getvalue()

    def __eq__(self, other: object) -> bool:
        return self.digest == other.digest if isinstance(other, Snapshot) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return "<{} image of {}x{}>".format(self._image.mode, *self._image.size)


def frozen_image(value: ImageSource) -> ImageValue:
    """Make what is given into something immutable; leave what is no image to the validator."""
    if isinstance(value, str | bytes | Path | Snapshot | Inline):
        return value
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, os.PathLike):
        return Path(value)
    taken: ImageValue = _snapshot(value)
    return taken


def frozen_images(value: Iterable[ImageSource]) -> tuple[ImageValue, ...]:
    """Freeze several; leave what is not several to the validator."""
    is_one = isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable)
    return value if is_one else tuple(frozen_image(item) for item in value)  # type: ignore[return-value]  # the validator names what is wrong with it


def optional_image(value: ImageSource | None) -> ImageValue | None:
    """Freeze an image that may be left out."""
    return None if value is None else frozen_image(value)


def _snapshot(value: Any) -> Any:
    if any(not hasattr(value, name) for name in _PILLOW) or isinstance(value, type):
        return value
    try:
        if not all(value.size):
            return value
        if value.mode in _KEPT_MODES:
            return Snapshot(value.copy())
        return Snapshot(value.convert(_MODES[value.mode]))
    except Exception:  # noqa: BLE001 (a file that it was opened from may be anything)
        return value


def is_local(value: object) -> bool:
    """Tell whether this is an image of this machine, as far as can be told without reading it."""
    if isinstance(value, bytes):
        return media_type_of(value) is not None
    return isinstance(value, Path | Snapshot | Inline)


def _short(image: Any) -> str:
    return described(image) if isinstance(image, bytes) else repr(image)


def _check_local(_: Inline, attribute: Attribute[Any], value: object) -> None:
    if not is_local(value) or isinstance(value, Inline):
        allowed = f"a pathlib.Path, or {FORMATS} as bytes or as a Pillow image"
        raise InvalidRequestError.of(Inline.__name__, attribute.name, value, allowed)


@frozen
class Inline:
    """Have a local image sent within the request, as base64, rather than uploaded before it.

    The flux-dev page documents it for `image` (Base64 or image URL); raw requests take it anywhere.
    """

    image: ImageValue = field(converter=frozen_image, validator=_check_local, repr=_short)
    """The image: a path, the bytes of a file, or a Pillow image."""


LocalImage: TypeAlias = Path | bytes | Snapshot | Inline
ImageValue: TypeAlias = str | Path | bytes | Snapshot | Inline
"""What an image field holds."""
ImageSource: TypeAlias = str | os.PathLike[str] | bytes | PillowImage | Snapshot | Inline
"""What an image field takes: an address, or what is on this machine."""


def described(image: ImageValue) -> str:
    """Name an image for people: a path by itself, anything else by what it is."""
    if isinstance(image, Inline):
        return described(image.image)
    if isinstance(image, bytes):
        return f"<{len(image)} bytes of {media_type_of(image)}>"
    return str(image)


def unnamed(_: LocalImage) -> str:
    """Stand for an image where it does not matter which."""
    return "<an image>"


# --- where they stand in a request ---------------------------------------------------------------


def local_images(value: Any, path: str = "") -> Iterator[tuple[str, LocalImage]]:
    """Find the local images in fields, each with the name of its field."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from local_images(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from local_images(item, f"{path}[{number}]")
    elif isinstance(value, Path | bytes | Snapshot | Inline):
        yield path, value


def replaced(value: Any, put: Callable[[LocalImage], Any]) -> Any:
    """Answer fields with something else for each local image."""
    if isinstance(value, Mapping):
        return {name: replaced(item, put) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [replaced(item, put) for item in value]
    return put(value) if isinstance(value, Path | bytes | Snapshot | Inline) else value
