"""How a picture was made, in the picture: readable by others, and every pixel as it was."""

from __future__ import annotations

import json
import struct
from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from tests.models.samples import searched
from tests.wire import ID, PNG
from wavespeed_async import FluxDev, FluxKontextDevMulti, Inline, Prediction
from wavespeed_async._metadata import LONGEST, MOST_EXIF, annotated, parameters_of

if TYPE_CHECKING:
    from pathlib import Path

PARAMETERS = {"model": "m/m", "prompt": "a lighthouse at Þórshöfn ✓", "seed": 7}
DESCRIPTION, SOFTWARE = 0x010E, 0x0131


def picture(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    body = BytesIO()
    Image.effect_noise((37, 21), 90).convert(mode).save(body, kind, **options)
    return body.getvalue()


def told(content: bytes) -> dict[str, Any]:
    """Read what a picture says of itself, as other programs do."""
    image = Image.open(BytesIO(content))
    if isinstance(image, PngImagePlugin.PngImageFile):
        assert str(image.text["Software"]).startswith("wavespeed-async")
        found: dict[str, Any] = json.loads(image.text["parameters"])
    else:
        exif = image.getexif()
        assert exif[SOFTWARE].startswith("wavespeed-async")
        found = json.loads(exif[DESCRIPTION])
    return found


KINDS: dict[str, bytes] = {
    "png": picture("PNG"),
    "png with alpha": picture("PNG", "LA"),
    "jpeg": picture("JPEG"),
    "jpeg progressive": picture("JPEG", progressive=True, icc_profile=b"icc"),
    "webp": picture("WEBP"),
    "webp lossless": picture("WEBP", lossless=True),
    "webp lossless with alpha": picture("WEBP", "RGBA", lossless=True),
    "webp with alpha": picture("WEBP", "RGBA"),
    "webp extended": picture("WEBP", icc_profile=b"icc."),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_says_how_it_was_made(kind: str) -> None:
    """Pillow reads the parameters, the pixels are the same, and so is what was there before."""
    content = KINDS[kind]
    marked = annotated(content, PARAMETERS)
    assert told(marked) == PARAMETERS
    before, after = (Image.open(BytesIO(one)) for one in (content, marked))
    assert (before.mode, before.size, before.tobytes()) == (
        after.mode,
        after.size,
        after.tobytes(),
    )
    assert before.info.get("icc_profile") == after.info.get("icc_profile")


def without_jfif() -> bytes:
    content = KINDS["jpeg"]
    (length,) = struct.unpack_from(">H", content, 4)
    return content[:2] + content[4 + length :]


def test_a_jpeg_without_a_header_of_its_own_gets_one() -> None:
    """Where JFIF's segment is missing, Exif's is the first."""
    assert told(annotated(without_jfif(), PARAMETERS)) == PARAMETERS


exif = Image.Exif()
exif[DESCRIPTION] = "my own"


@pytest.mark.parametrize(
    "content",
    [
        picture("JPEG", exif=exif),
        picture("WEBP", exif=exif),
        picture("GIF"),
        b"",
        b"no picture",
        PNG,
        b"\x89PNG\r\n\x1a\n",
        KINDS["png"][:20],
        b"\xff\xd8",
        b"\xff\xd8\xff\xe0\x00\x00",
        b"\xff\xd8\x00\x00\x00\x09",
        KINDS["jpeg"][:30],
        KINDS["webp"][:-1],
        b"RIFF\x04\x00\x00\x00WEBP",
        b"RIFF\x10\x00\x00\x00WEBPVP8 \x00\x00\x00\x00....",
        b"RIFF\x10\x00\x00\x00WEBPVP8L\x00\x00\x00\x00....",
        b"RIFF\x10\x00\x00\x00WEBPVP8L\x00\x00\x00\x00/...",
    ],
    ids=lambda content: repr(content[:24]),
)
def test_what_is_no_such_picture_stays_as_it_is(content: bytes) -> None:
    """Broken files, other formats and pictures with Exif of their own are not touched."""
    assert annotated(content, PARAMETERS) == content


def test_what_fits_into_no_segment_is_left_out() -> None:
    """A JPEG has room for 64 KB; with more, it is left as it was."""
    content = KINDS["jpeg"]
    assert annotated(content, {"prompt": "a" * MOST_EXIF}) == content
    assert told(annotated(KINDS["png"], {"prompt": "a" * MOST_EXIF}))["prompt"] == "a" * MOST_EXIF


@given(st.sampled_from([*KINDS]), st.binary(max_size=60), st.integers(0, 400))
@searched
def test_broken_pictures_raise_nothing(kind: str, noise: bytes, at: int) -> None:
    """Whatever stands in a file, it is marked or left alone."""
    content = KINDS[kind][:at] + noise + KINDS[kind][at + len(noise) :]
    marked = annotated(content, PARAMETERS)
    assert marked == content or len(marked) > len(content)


def test_the_parameters_are_what_was_sent(tmp_path: Path) -> None:
    """Model, id, time and all fields; no folder of this machine, no secret of an address."""
    request = FluxKontextDevMulti(
        prompt="a",
        images=[tmp_path / "room.png", "https://a.test/b?token=secret", "data:image/png;base64,A"],
        seed=3,
    )
    created = datetime(2026, 1, 2, tzinfo=UTC)
    made = Prediction(id=ID, model=request.model, request=request, created_at=created)
    found = parameters_of(made)
    assert found["images"] == ["room.png", "https://a.test/b", "<23 characters>"]
    assert (found["model"], found["id"], found["seed"]) == (request.model, ID, 3)
    assert found["created_at"] == "2026-01-02T00:00:00+00:00"
    inline = parameters_of(Prediction(id=ID, request=FluxDev(image=Inline(PNG), prompt="a")))
    assert inline["image"] == f"<{len(PNG)} bytes of image/png>"
    long = parameters_of(Prediction(id=ID, request=FluxDev(prompt="a" * (LONGEST + 1))))
    assert long["prompt"] == f"<{LONGEST + 1} characters>"
    assert parameters_of(Prediction(id=ID)) == {"model": "", "id": ID}
