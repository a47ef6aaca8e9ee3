"""Images in requests: addresses and what is local, immutable, compared by content, not read."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from PIL import Image

from tests.wire import PNG
from wavespeed_async import (
    FluxDev,
    FluxDevLora,
    FluxFillDev,
    FluxKontextDevMulti,
    FluxReduxDev,
    Inline,
    InvalidRequestError,
    RawRequest,
    Request,
)
from wavespeed_async._codec import encode_request
from wavespeed_async.models._images import Snapshot, described, media_type_of

URL = "https://a.test/a.png"


def red(mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (6, 4), 1)


def requests(image: Any) -> list[Request]:
    return [
        FluxDev(image=image),
        FluxDevLora(prompt="a", image=image, mask_image=image),
        FluxReduxDev(image=image),
        FluxFillDev(image=image, mask_image=image),
        FluxKontextDevMulti(prompt="a", images=[URL, image]),
        RawRequest("m/m", {"image": image, "deep": [{"images": [image]}]}),
    ]


@pytest.mark.parametrize(
    "image",
    [
        URL,
        "data:image/png;base64,AAAA",
        Path("a/b.png"),
        PurePosixPath("a/b.png"),
        PNG,
        bytearray(PNG),
        memoryview(PNG),
        red(),
    ],
    ids=lambda image: type(image).__name__,
)
def test_every_image_field_takes_what_is_local(image: Any) -> None:
    """A path, bytes and a Pillow image stand wherever an address may, also in raw requests."""
    for first, second in zip(requests(image), requests(image), strict=True):
        assert first == second
        assert hash(first) == hash(second)
        assert pickle.loads(pickle.dumps(first)) == first  # noqa: S301 (our own bytes)
        assert copy.deepcopy(first) == first


@pytest.mark.parametrize(
    ("one", "other"),
    [(Path("a"), Path("b")), (PNG, PNG + b"."), (red(), Image.new("RGB", (4, 6), 1))],
    ids=["path", "bytes", "pillow"],
)
def test_other_images_make_other_requests(one: Any, other: Any) -> None:
    """Requests are equal by their content, not by what holds it."""
    for first, second in zip(requests(one), requests(other), strict=True):
        assert first != second


def test_a_pillow_image_is_taken_as_it_is_now() -> None:
    """What is drawn on it later changes no request."""
    image = red()
    request = FluxReduxDev(image=image)
    image.putpixel((0, 0), (9, 9, 9))
    assert request == FluxReduxDev(image=red())
    assert request.image != image
    assert repr(request.image) == "<RGB image of 6x4>"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_every_usual_mode_becomes_png(mode: str) -> None:
    """Whatever pixels are made of, they are uploaded as PNG; alpha stays."""
    image = red("RGB").convert("P" if mode == "PA" else mode)
    taken = FluxReduxDev(image=image.convert("PA") if mode == "PA" else image).image
    assert isinstance(taken, Snapshot)
    assert media_type_of(taken.png()) == "image/png"


class Broken:
    """Look like a Pillow image, of a file that is none."""

    mode, size = "RGB", (1, 1)
    convert = tobytes = save = None

    def copy(self) -> Any:
        message = "truncated"
        raise OSError(message)


@pytest.mark.parametrize(
    "value",
    [
        7,
        1.5,
        True,
        {1},
        [],
        b"",
        b"no picture",
        "room.png",
        Image.new("F", (2, 2)),
        Image.new("RGB", (0, 3)),
        Image.Image,
        Broken(),
    ],
    ids=lambda value: repr(value).partition(" at ")[0],
)
def test_what_is_no_image_is_refused(value: Any) -> None:
    """The error names the field, the value and all that may stand there."""
    with pytest.raises(
        InvalidRequestError, match=r"pathlib\.Path, or JPG, PNG, WebP, GIF"
    ) as caught:
        FluxReduxDev(image=value)
    assert caught.value.field == "image"
    with pytest.raises(InvalidRequestError):
        FluxKontextDevMulti(prompt="a", images=value)
    if value not in (7, 1.5, True, [], "room.png"):
        with pytest.raises(InvalidRequestError, match="an image of this machine"):
            RawRequest("m/m", {"image": value})


@pytest.mark.parametrize("value", ["room.png", 7, b"no picture", Inline(PNG)], ids=repr)
def test_only_a_local_image_is_sent_inline(value: Any) -> None:
    """`Inline` takes a path, bytes or a Pillow image."""
    with pytest.raises(InvalidRequestError, match=r"a pathlib\.Path"):
        Inline(value)


def test_inline_is_for_fields_that_take_base64() -> None:
    """flux-dev documents it; where only addresses are documented it is refused."""
    for image in (Path("a"), PNG, red()):
        assert FluxDev(image=Inline(image)) == FluxDev(image=Inline(image))
    with pytest.raises(InvalidRequestError, match="mask_image"):
        FluxFillDev(image=URL, mask_image=Inline(PNG))


def test_a_repr_is_short() -> None:
    """No megabytes are shown, neither in requests nor in errors."""
    large = PNG + bytes(10**6)
    for image in (large, Inline(large)):
        for request in (FluxDev(image=image), RawRequest("m/m", {"a": [image, {"b": image}]})):
            assert len(repr(request)) < 500
    assert len(repr(FluxKontextDevMulti(prompt="a", images=[large] * 3))) < 500
    with pytest.raises(InvalidRequestError) as caught:
        FluxReduxDev(image=bytes(10**6))
    assert len(str(caught.value)) < 500
    assert "(1000000 bytes)" in str(caught.value)
    with pytest.raises(InvalidRequestError, match="b'short'"):
        FluxReduxDev(image=b"short")


def test_an_image_is_named_for_people() -> None:
    """A path by itself, anything else by what it is."""
    assert described(Inline(Path("a/b.png"))) == str(Path("a/b.png"))
    assert described(PNG) == f"<{len(PNG)} bytes of image/png>"
    assert described(FluxDev(image=red()).image) == "<RGB image of 6x4>"


def test_what_is_local_is_never_sent_as_it_is() -> None:
    """Without an address for it, a request has no JSON."""
    for request in requests(Path("a.png")):
        with pytest.raises(InvalidRequestError, match="uploaded before"):
            encode_request(request)
        assert "a.png" in str(encode_request(request, str))


def test_a_snapshot_is_compared_with_its_like_only() -> None:
    """It is no path and no bytes."""
    assert FluxReduxDev(image=red()) != FluxReduxDev(image=PNG)
    assert FluxReduxDev(image=red()).image != 7
