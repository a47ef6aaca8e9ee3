"""What schemathesis cannot know of the emulator; it loads this file in its own process."""

from __future__ import annotations

import schemathesis
from hypothesis import strategies as st

PICTURES = {
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff",
    "image/webp": b"RIFF0000WEBP",
    "image/gif": b"GIF8",
    "image/bmp": b"BM",
    "image/tiff": b"II*\x00",
}
for media_type, picture in PICTURES.items():
    schemathesis.openapi.media_type(media_type, st.just(picture))
