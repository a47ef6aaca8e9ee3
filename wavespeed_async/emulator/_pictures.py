"""What a prediction's outputs are: each model does with its inputs what the real one is for.

Pictures are drawn when somebody looks at them, from the request alone, so that the same seed gives
the same bytes. Drawing takes CPU: call it in a thread.
"""

from __future__ import annotations

import random
import re
import threading
from base64 import b64decode
from collections import OrderedDict
from io import BytesIO
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes, urlsplit

from attrs import frozen
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from wavespeed_async.emulator import _painting as painting
from wavespeed_async.emulator._answers import output_path
from wavespeed_async.emulator._records import Failure, PredictionRecord
from wavespeed_async.models import FluxKontextDevMulti, FluxReduxDev

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wavespeed_async.emulator._painting import Box, Size

__all__ = ["SAMPLES", "TINY_PNG", "Studio"]

MOST_BYTES = 32 * 2**20
"""How large an input may be; the rest of its kind is how many pixels."""
MOST_PIXELS = 50_000_000
MOST_GENERATIONS = 20
"""How many pictures may be made one from another before the first is replaced by a stand-in."""
KEPT = 64
"""How many finished pictures are kept rather than drawn again."""

SAMPLES: Mapping[str, Callable[[], Image.Image]] = {
    "/samples/room.png": painting.room_sample,
    "/samples/mask.png": painting.mask_sample,
    "/samples/portrait.png": painting.portrait_sample,
}
"""Pictures to be used as inputs, by their path."""

TINY_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c49444154789c6388aa58000002a20173d7ff63640000000049454e44ae426082"
)
"""What every output is where pictures are not drawn: one pixel."""

_READABLE = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_STAND_IN = (768, 768)
_OUTPUT = re.compile(r"/outputs/([0-9a-f]{32})/(\d)\.(?:png|jpeg|webp)")
_LOOPBACK = re.compile(r"^(127\.0\.0\.1|\[::1\])(?=:)")
_WHITE = 128


class UnreadableError(Exception):
    """Say that an input is no picture, or one that is too large."""


@frozen
class _Order:
    """Say which picture is to be drawn, and how many were made before it, one from another."""

    prediction: PredictionRecord
    number: int
    generation: int = 0

    def field(self, name: str) -> str:
        """Read a field that names a picture or a text; "" where the model has none."""
        return getattr(self.prediction.request, name, None) or ""

    @property
    def size(self) -> Size:
        """The asked size; a model without a default for it makes 1024*1024."""
        width, height = (self.field("size") or "1024*1024").split("*")
        return int(width), int(height)

    @property
    def dice(self) -> random.Random:
        """Dice that fall alike for the same model, prompt, seed and number."""
        seed = (
            f"{self.prediction.model} {self.field('prompt')} {self.prediction.seed} {self.number}"
        )
        return random.Random(seed)

    @property
    def detail(self) -> str:
        """The parameters, in one line."""
        request, prediction = self.prediction.request, self.prediction
        parts = [prediction.model.removeprefix("wavespeed-ai/"), "{}x{}".format(*self.size)]
        for name, text in _DETAILS.items():
            if (value := getattr(request, name, None)) is not None:
                parts.append(text.format(value))
        parts += [f"seed {prediction.seed}", f"{self.number + 1} of {prediction.count}"]
        return " · ".join(parts)


_DETAILS = {
    "num_inference_steps": "{} steps",
    "guidance_scale": "guidance {:g}",
    "strength": "strength {:g}",
}


class Studio:
    """Draw pictures, one at a time, and keep the last of them."""

    def __init__(
        self,
        find: Callable[[str], PredictionRecord | None],
        uploaded: Callable[[str], bytes | None],
    ) -> None:
        """Take what finds predictions that have ended, and uploads, for inputs that are such."""
        self._find = find
        self._uploaded = uploaded
        self._kept: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._samples: dict[str, bytes] = {}
        self._lock = threading.RLock()

    def sample(self, path: str) -> bytes:
        """Draw a sample, as PNG."""
        with self._lock:
            if path not in self._samples:
                self._samples[path] = _encoded(SAMPLES[path](), "png")
            return self._samples[path]

    def output(self, prediction: PredictionRecord, number: int) -> bytes:
        """Draw one output, counted from 0, in the format that was asked for."""
        return self._output(_Order(prediction, number))

    def has_own_inputs(self, prediction: PredictionRecord) -> bool:
        """Tell whether an input must be read, so that it may turn out to be unreadable."""
        order = _Order(prediction, 0)
        return any(not _is_foreign(address, order) for address in _addresses(order))

    def check(self, prediction: PredictionRecord) -> Failure | None:
        """Look at the inputs; say what is wrong with the first that cannot be read."""
        order = _Order(prediction, 0)
        for address in _addresses(order):
            if _is_foreign(address, order):
                continue
            try:
                self._opened(address, order)
            except UnreadableError as error:
                return Failure(1402, f"media access failed: {error}")
        return None

    def _output(self, order: _Order) -> bytes:
        if not order.prediction.pictures:
            return TINY_PNG
        key = (order.prediction.id, order.number)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = _encoded(self._drawn(order), order.prediction.output_format)
            self._kept.move_to_end(key)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return self._kept[key]

    def _drawn(self, order: _Order) -> Image.Image:
        inputs = [self._opened(address, order) for address in _addresses(order)]
        request = order.prediction.request
        if isinstance(request, FluxKontextDevMulti):
            return _composed(order, inputs)
        if isinstance(request, FluxReduxDev):
            return _varied(order, inputs[0])
        if not order.field("image"):
            return _imagined(order)
        if order.field("mask_image"):
            return _filled(order, *inputs)
        return _transformed(order, inputs[0])

    # --- inputs ----------------------------------------------------------------------------------

    def _opened(self, address: str, order: _Order) -> Image.Image:
        """Open an input: what the emulator serves, a `data:` URI, base64, or a stand-in.

        Other people's addresses are never called: a picture drawn from the address stands in.
        """
        if _is_foreign(address, order):
            return _stand_in(address)
        if address.startswith("data:"):
            return _decoded(_data(address))
        if not _is_web(address):
            return _decoded(_unpacked(address))
        path = urlsplit(address).path
        if path in SAMPLES:
            return _decoded(self.sample(path))
        if (content := self._uploaded(path)) is not None:
            return _decoded(content)
        return self._earlier(address, path, order)

    def _earlier(self, address: str, path: str, order: _Order) -> Image.Image:
        """Open an output of an earlier prediction."""
        found = _OUTPUT.fullmatch(path)
        source = self._find(found[1]) if found else None
        if found is None or source is None or path != output_path(source, int(found[2])):
            message = f"there is nothing at {path}"
            raise UnreadableError(message)
        if int(found[2]) >= source.count:
            message = f"that prediction has {source.count} outputs"
            raise UnreadableError(message)
        if order.generation >= MOST_GENERATIONS:
            return _stand_in(address)
        return _decoded(self._output(_Order(source, int(found[2]), order.generation + 1)))


def _addresses(order: _Order) -> Sequence[str]:
    images: Sequence[str] = getattr(order.prediction.request, "images", ())
    both = [order.field("image"), order.field("mask_image") if order.field("image") else ""]
    return [*images, *filter(None, both)]


def _is_web(address: str) -> bool:
    return bool(re.match("https?:", address, re.IGNORECASE))


def _is_foreign(address: str, order: _Order) -> bool:
    return _is_web(address) and _server(address) != _server(order.prediction.origin)


def _server(address: str) -> str:
    """Name the server of an address; a loopback address has several names."""
    return _LOOPBACK.sub("localhost", urlsplit(address).netloc)


def _data(address: str) -> bytes:
    head, _, body = address.partition(",")
    return _unpacked(body) if head.endswith(";base64") else unquote_to_bytes(body)


def _unpacked(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        message = "an input is not base64"
        raise UnreadableError(message) from None


def _decoded(body: bytes) -> Image.Image:
    if len(body) > MOST_BYTES:
        message = f"an input has {len(body)} bytes, {MOST_BYTES} are allowed"
        raise UnreadableError(message)
    try:
        with Image.open(BytesIO(body), formats=_READABLE) as picture:
            _check_pixels(picture.size)
            # By way of RGBA, because Pillow warns of palettes with transparency otherwise.
            return (picture.convert("RGBA") if picture.mode == "P" else picture).convert("RGB")
    except UnreadableError:
        raise
    except Exception as error:  # what broken bytes raise has no base in common
        message = "an input is no picture"
        raise UnreadableError(message) from error


def _check_pixels(size: Size) -> None:
    if size[0] * size[1] > MOST_PIXELS:
        message = f"an input has {size[0]}x{size[1]} pixels, {MOST_PIXELS} are allowed"
        raise UnreadableError(message)


def _stand_in(address: str) -> Image.Image:
    picture = painting.scene(_STAND_IN, random.Random(address))
    painting.caption(picture, address, "a stand-in: the emulator calls nobody")
    return picture


# --- models --------------------------------------------------------------------------------------


def _imagined(order: _Order) -> Image.Image:
    """Paint a scene from nothing but the prompt and the seed."""
    picture = painting.scene(order.size, order.dice)
    painting.caption(picture, order.field("prompt"), order.detail)
    return picture


def _transformed(order: _Order, source: Image.Image) -> Image.Image:
    """Mix the input with a scene: by strength 0 it stays as it is, by 1 nothing of it is left."""
    strength: float = getattr(order.prediction.request, "strength", 1.0)
    picture = Image.blend(
        _resized(source, order.size), painting.scene(order.size, order.dice), strength
    )
    opacity = min(1.0, 2 * strength)
    painting.caption(picture, order.field("prompt"), order.detail, opacity=opacity)
    return picture


def _filled(order: _Order, source: Image.Image, mask: Image.Image) -> Image.Image:
    """Paint a scene where the mask is white, and leave every other pixel as it is."""
    picture = _resized(source, order.size)
    white = mask.convert("L").resize(order.size, Image.Resampling.NEAREST)
    white = white.point(lambda value: 255 * (value >= _WHITE))
    if (box := white.getbbox()) is None:
        return picture
    strength: float = getattr(order.prediction.request, "strength", 1.0)
    part = (box[2] - box[0], box[3] - box[1])
    new = Image.blend(picture.crop(box), painting.scene(part, order.dice), strength)
    opacity = min(1.0, 2 * strength)
    painting.caption(new, order.field("prompt"), order.detail, opacity=opacity)
    picture.paste(new, box, white.crop(box))
    return picture


def _varied(order: _Order, source: Image.Image) -> Image.Image:
    """Vary the input a little: another crop, other colours, a breath of a scene."""
    dice = order.dice
    width, height = source.size
    cut = [dice.uniform(0.01, 0.05) for _ in range(4)]
    box = (cut[0] * width, cut[1] * height, (1 - cut[2]) * width, (1 - cut[3]) * height)
    picture = source.resize(order.size, Image.Resampling.BILINEAR, box=box)
    picture = ImageEnhance.Color(picture).enhance(dice.uniform(0.7, 1.35))
    picture = Image.blend(picture, painting.scene(order.size, dice), 0.18)
    painting.caption(picture, "a variation", order.detail)
    return picture


def _composed(order: _Order, inputs: Sequence[Image.Image]) -> Image.Image:
    """Lay the inputs as prints on a scene that has the colours of the first."""
    picture = painting.scene(order.size, order.dice)
    soft = inputs[0].resize((64, 64), Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(6))
    picture = Image.blend(picture, soft.resize(order.size, Image.Resampling.BILINEAR), 0.45)
    dice = order.dice
    for box, source in zip(_places(order.size, len(inputs)), inputs, strict=False):
        _lay(picture, source, box, dice.uniform(-7, 7))
    painting.caption(picture, order.field("prompt"), order.detail)
    return picture


def _places(size: Size, count: int) -> Sequence[Box]:
    """Divide the upper four fifths of a picture into so many places, in rows."""
    width, height = size[0], size[1] * 4 // 5
    columns = next(
        n for n in range(1, count + 1) if n * n * height >= count * width * 0.8 or n == count
    )
    rows = -(-count // columns)
    places = []
    for number in range(count):
        row, column = divmod(number, columns)
        left, top = column * width // columns, row * height // rows
        places.append((left, top, left + width // columns, top + height // rows))
    return places


def _lay(picture: Image.Image, source: Image.Image, box: Box, angle: float) -> None:
    """Lay a print with a white border and a shadow, turned a little."""
    room = (max(1, (box[2] - box[0]) * 4 // 5), max(1, (box[3] - box[1]) * 4 // 5))
    inner = ImageOps.contain(source, room, Image.Resampling.BILINEAR)
    bordered = ImageOps.expand(inner, max(2, min(room) // 40), (250, 248, 240))
    turned = bordered.rotate(angle, Image.Resampling.BILINEAR, expand=True)
    shape = Image.new("L", bordered.size, 255).rotate(angle, Image.Resampling.BILINEAR, expand=True)
    left = (box[0] + box[2] - turned.width) // 2
    top = (box[1] + box[3] - turned.height) // 2
    shadow = shape.point(lambda value: value * 0.4)
    drop = max(2, min(room) // 50)
    picture.paste((8, 10, 16), (left + drop, top + drop), shadow)
    picture.paste(turned, (left, top), shape)


def _resized(picture: Image.Image, size: Size) -> Image.Image:
    return (
        picture.copy() if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)
    )


_OPTIONS: Mapping[str, Mapping[str, int]] = {
    "png": {"compress_level": 1},
    "jpeg": {"quality": 90},
    "webp": {"quality": 85, "method": 0},
}


def _encoded(picture: Image.Image, kind: str) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, kind, **_OPTIONS[kind])
    return buffer.getvalue()
