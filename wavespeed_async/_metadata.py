"""How a picture was made, written into the picture itself: PNG, JPEG and WebP. Pure.

The pixels are not touched: a chunk is added. PNG gets the text `parameters`, where other tools look
for it too, JPEG and WebP the Exif field ImageDescription. What is no such file, is broken, or has
Exif of its own, is left as it is: a picture is never put at risk for a note.

No library does this for all three without writing the picture anew or bringing a C++ one along.
"""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wavespeed_async._codec import encode_request
from wavespeed_async._version import __version__
from wavespeed_async.models._images import Inline, described

if TYPE_CHECKING:
    from wavespeed_async._prediction import Prediction
    from wavespeed_async.models._images import ImageValue

__all__ = ["annotated", "parameters_of"]

SOFTWARE = f"wavespeed-async {__version__}"
LONGEST = 20_000
"""Characters of the longest text that is written down whole."""
MOST_EXIF = 65_500
"""Bytes that fit into the one segment that JPEG has for it."""


def parameters_of(prediction: Prediction) -> dict[str, Any]:
    """Say how a picture was made: its model, its id, and the fields that were sent.

    Of addresses what follows the question mark is left out, which may be secret, and of paths the
    folder. A picture that was sent as base64 is named by its length.
    """
    request = prediction.request
    fields = {} if request is None else encode_request(request, _name)
    found = {"model": prediction.model, "id": prediction.id, **_shortened(fields)}
    if prediction.created_at is not None:
        found["created_at"] = prediction.created_at.isoformat()
    return found


def _name(image: ImageValue) -> str:
    inner = image.image if isinstance(image, Inline) else image
    return inner.name if isinstance(inner, Path) else described(inner)


def _shortened(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shortened(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_shortened(item) for item in value]
    if not isinstance(value, str):
        return value
    if value.startswith(("http://", "https://")):
        return value.partition("?")[0]
    is_data = value.startswith("data:") or len(value) > LONGEST
    return f"<{len(value)} characters>" if is_data else value


def annotated(content: bytes, parameters: dict[str, Any]) -> bytes:
    """Answer a picture with its parameters in it, or as it was where that cannot be."""
    try:
        if content.startswith(b"\x89PNG\r\n\x1a\n"):
            return _png(content, parameters)
        if content.startswith(b"\xff\xd8"):
            return _jpeg(content, _exif(parameters))
        if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
            return _webp(content, _exif(parameters))
    except (struct.error, IndexError, ValueError):  # broken, or too long
        pass
    return content


# --- PNG -----------------------------------------------------------------------------------------


def _png(content: bytes, parameters: dict[str, Any]) -> bytes:
    """Put text chunks behind the header, which is the first chunk (PNG specification, 11.3.3)."""
    length, kind = struct.unpack_from(">I4s", content, 8)
    end = 8 + 12 + length
    if kind != b"IHDR" or end > len(content):
        raise ValueError
    text = json.dumps(parameters, ensure_ascii=False).encode(errors="backslashreplace")
    chunks = _text_chunk(b"Software", SOFTWARE.encode()) + _text_chunk(b"parameters", text)
    return content[:end] + chunks + content[end:]


def _text_chunk(keyword: bytes, text: bytes) -> bytes:
    body = b"iTXt" + keyword + b"\0\0\0\0\0" + text
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


# --- Exif ----------------------------------------------------------------------------------------

_DESCRIPTION, _SOFTWARE, _ASCII = 0x010E, 0x0131, 2


def _exif(parameters: dict[str, Any]) -> bytes:
    """Make a TIFF header with two texts; they are ASCII, which JSON can be."""
    texts = {_DESCRIPTION: json.dumps(parameters).encode() + b"\0"}
    texts[_SOFTWARE] = SOFTWARE.encode() + b"\0"
    entries, values = b"", b""
    start = 8 + 2 + 12 * len(texts) + 4
    for tag, text in texts.items():
        entries += struct.pack("<HHII", tag, _ASCII, len(text), start + len(values))
        values += text
    return b"II*\0" + struct.pack("<IH", 8, len(texts)) + entries + bytes(4) + values


def _jpeg(content: bytes, exif: bytes) -> bytes:
    """Put a segment APP1 behind the header, unless there is one."""
    segment = b"Exif\0\0" + exif
    if len(segment) > MOST_EXIF:
        raise ValueError
    place = at = 2
    while True:
        marker, length = struct.unpack_from(">HH", content, at)
        if marker >> 8 != 0xFF or length < 2:  # noqa: PLR2004 (no marker, no length)
            raise ValueError
        if marker == _START_OF_SCAN:
            break
        if marker == _APP1 and content.startswith(b"Exif\0", at + 4):
            return content
        at += 2 + length
        if marker == _APP0:  # JFIF's own, which is to be the first
            place = at
    return content[:place] + struct.pack(">HH", _APP1, len(segment) + 2) + segment + content[place:]


_APP0, _APP1, _START_OF_SCAN = 0xFFE0, 0xFFE1, 0xFFDA


def _webp(content: bytes, exif: bytes) -> bytes:
    """Put a chunk at the end, and a header before that says so (WebP container specification)."""
    if struct.unpack_from("<I", content, 4)[0] + 8 != len(content):
        raise ValueError
    first = content[12:16]
    if first == b"VP8X":
        flags = content[20]
        if flags & _HAS_EXIF:
            return content
        body = content[12:20] + bytes([flags | _HAS_EXIF]) + content[21:]
    else:
        width, height, has_alpha = _webp_size(first, content[20:30])
        flags = _HAS_EXIF | (_HAS_ALPHA if has_alpha else 0)
        size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        body = _webp_chunk(b"VP8X", bytes([flags, 0, 0, 0]) + size) + content[12:]
    body += _webp_chunk(b"EXIF", exif)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


_HAS_EXIF, _HAS_ALPHA = 0x08, 0x10


def _webp_size(kind: bytes, head: bytes) -> tuple[int, int, bool]:
    """Read the size of a simple WebP file, and whether it has an alpha channel."""
    if kind == b"VP8 " and head[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", head, 6)
        return width & 0x3FFF, height & 0x3FFF, False
    if kind == b"VP8L" and head[0] == 0x2F:  # noqa: PLR2004 (its signature)
        (bits,) = struct.unpack_from("<I", head, 1)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    raise ValueError


def _webp_chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
