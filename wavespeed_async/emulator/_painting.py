"""Painting: landscapes, lights and ribbons out of a seed, captions, and the samples. Pure.

Scenes are painted at half their size and enlarged: soft shapes lose nothing by it, and it takes a
quarter of the time. Captions are written at full size.
"""

from __future__ import annotations

import colorsys
import math
import random
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from attrs import frozen
from PIL import Image, ImageChops, ImageDraw, ImageFont, ImageOps

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Box", "Size", "caption", "mask_sample", "portrait_sample", "room_sample", "scene"]

Size: TypeAlias = tuple[int, int]
Box: TypeAlias = tuple[int, int, int, int]
Colour: TypeAlias = tuple[int, int, int]
Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont
Points: TypeAlias = list[tuple[float, float]]


def scene(size: Size, dice: random.Random) -> Image.Image:
    """Paint a picture of that size; the same dice paint the same picture."""
    width, height = size
    small = (math.ceil(width / 2), math.ceil(height / 2))
    paint = dice.choice(_STYLES)
    picture = paint(small, _palette(dice), dice)
    return picture.resize(size, Image.Resampling.BICUBIC)


# --- colours -------------------------------------------------------------------------------------


@frozen
class _Palette:
    top: Colour
    middle: Colour
    bottom: Colour
    glow: Colour
    far: Colour
    near: Colour
    is_night: bool


def _palette(dice: random.Random) -> _Palette:
    hue = dice.random()
    turn = dice.choice((-0.42, -0.12, -0.08, 0.08, 0.12, 0.42))
    is_night = dice.random() < 0.3  # noqa: PLR2004 (most pictures are of the day)
    bottom = _hsv(hue + turn, 0.45, 0.62 if is_night else 0.98)
    near = _hsv(hue + 0.04, 0.62, 0.12 if is_night else 0.2)
    return _Palette(
        top=_hsv(hue, 0.68, 0.2 if is_night else 0.62),
        middle=_hsv(hue + turn / 2, 0.52, 0.38 if is_night else 0.84),
        bottom=bottom,
        glow=_hsv(hue + turn + 0.03, 0.18 if is_night else 0.3, 1.0),
        far=_mixed(bottom, near, 0.3),
        near=near,
        is_night=is_night,
    )


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _mixed(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


# --- styles --------------------------------------------------------------------------------------


def _hills(size: Size, palette: _Palette, dice: random.Random) -> Image.Image:
    """Paint hills behind hills under a sun or a moon."""
    width, height = size
    picture = _gradient(size, palette.top, palette.bottom, palette.middle)
    if palette.is_night:
        _stars(picture, palette, dice)
    centre = (dice.uniform(0.2, 0.8) * width, dice.uniform(0.18, 0.42) * height)
    radius = dice.uniform(0.05, 0.1) * min(size)
    _light(picture, centre, radius * 6, palette.glow, 0.75)
    _disc(picture, centre, radius, _mixed(palette.glow, (255, 255, 255), 0.5))
    layers = dice.randint(4, 6)
    for layer in range(layers):
        depth = layer / (layers - 1)
        level = (0.46 + 0.4 * depth) * height
        ridge = _ridge(width, level, (0.15 - 0.07 * depth) * height, 1 - depth * 0.7, dice)
        mask = _filled(size, [*ridge, (width, height), (0, height)])
        colour = _mixed(palette.far, palette.near, depth)
        mist = _mixed(colour, palette.bottom, 0.45 * (1 - depth))
        picture.paste(_gradient(size, colour, mist), (0, 0), mask)
    return picture


def _lights(size: Size, palette: _Palette, dice: random.Random) -> Image.Image:
    """Paint lights out of focus."""
    picture = _gradient(size, palette.near, palette.top, _mixed(palette.near, palette.middle, 0.4))
    colours = (palette.glow, palette.bottom, palette.middle, palette.far)
    for _ in range(3):
        centre = (dice.random() * size[0], dice.random() * size[1])
        _light(picture, centre, dice.uniform(0.35, 0.7) * max(size), dice.choice(colours), 0.5)
    for number in range(dice.randint(18, 26)):
        centre = (dice.random() * size[0], dice.betavariate(2, 2) * size[1])
        radius = dice.uniform(0.015, 0.03 + 0.07 * (number % 4 == 0)) * max(size)
        opacity = dice.uniform(0.25, 0.7)
        _disc(picture, centre, radius, dice.choice(colours), opacity)
        _disc(picture, centre, radius * 0.9, dice.choice(colours), opacity * 0.3)
    return picture


def _ribbons(size: Size, palette: _Palette, dice: random.Random) -> Image.Image:
    """Paint ribbons that flow from one side to the other."""
    width, height = size
    picture = _gradient(size, palette.top, palette.bottom, palette.middle)
    _light(picture, (dice.random() * width, 0.15 * height), 0.8 * max(size), palette.glow, 0.6)
    ribbons = dice.randint(7, 10)
    slope = dice.uniform(-0.35, 0.35) * height
    waves = [(dice.uniform(0.6, 1.6), dice.uniform(0, math.tau)) for _ in range(2)]
    for number in range(ribbons):
        share = number / (ribbons - 1)
        edge: Points = []
        for step in range(65):
            x = step / 64
            swing = sum(math.sin(f * x * math.tau + p + share * 2.2) for f, p in waves)
            y = (0.2 + 0.75 * share) * height + slope * (x - 0.5) + swing * 0.07 * height
            edge.append((x * width, y))
        mask = _filled(size, [*edge, (width, height), (0, height)])
        light = _mixed(palette.glow, palette.near, min(1.0, share * 1.15))
        dark = _mixed(palette.middle, palette.near, 0.25 + 0.75 * share)
        shade = ImageChops.offset(mask, 0, -max(2, height // 60))
        picture.paste(palette.near, (0, 0), shade.point(lambda value: value // 5))
        turned = _gradient((height, width), light, dark).transpose(Image.Transpose.ROTATE_90)
        picture.paste(turned, (0, 0), mask)
    return picture


_STYLES: Sequence[Callable[[Size, _Palette, random.Random], Image.Image]] = (
    _hills,
    _hills,
    _lights,
    _ribbons,
)


# --- shapes --------------------------------------------------------------------------------------


def _gradient(size: Size, top: Colour, bottom: Colour, middle: Colour | None = None) -> Image.Image:
    ramp = Image.linear_gradient("L").resize((1, 256))
    colours = ImageOps.colorize(ramp, top, bottom, middle)
    return colours.resize(size, Image.Resampling.BILINEAR)


def _filled(size: Size, points: Points) -> Image.Image:
    """Fill a polygon in a mask, with smooth edges."""
    width, height = size
    mask = Image.new("L", (width * 2, height * 2))
    ImageDraw.Draw(mask).polygon([(x * 2, y * 2) for x, y in points], fill=255)
    return mask.reduce(2)


_RIM = 180
"""What Pillow's radial gradient has at the middle of its sides; its corners have 255."""


def _light(
    picture: Image.Image, centre: tuple[float, float], radius: float, colour: Colour, opacity: float
) -> None:
    side = max(2, round(radius * 2))
    glow = Image.radial_gradient("L").point(
        lambda distance: 255 * opacity * max(0.0, 1 - distance / _RIM) ** 2
    )
    corner = (round(centre[0] - radius), round(centre[1] - radius))
    picture.paste(colour, _square(corner, side), glow.resize((side, side)))


def _disc(
    picture: Image.Image,
    centre: tuple[float, float],
    radius: float,
    colour: Colour,
    opacity: float = 1.0,
) -> None:
    side = max(2, round(radius * 2))
    mask = Image.new("L", (side * 2, side * 2))
    ImageDraw.Draw(mask).ellipse((1, 1, side * 2 - 2, side * 2 - 2), fill=round(255 * opacity))
    corner = (round(centre[0] - radius), round(centre[1] - radius))
    picture.paste(colour, _square(corner, side), mask.reduce(2))


def _square(corner: tuple[int, int], side: int) -> Box:
    return corner[0], corner[1], corner[0] + side, corner[1] + side


def _stars(picture: Image.Image, palette: _Palette, dice: random.Random) -> None:
    draw = ImageDraw.Draw(picture)
    for _ in range(90):
        place = (dice.randrange(picture.width), int(dice.random() ** 1.6 * 0.6 * picture.height))
        draw.point(place, fill=_mixed(palette.top, (255, 255, 255), dice.uniform(0.3, 1.0)))


def _ridge(width: int, level: float, swing: float, roughness: float, dice: random.Random) -> Points:
    """Draw the line of a ridge: sines of falling height, more of them the rougher it is."""
    waves = [
        (number * dice.uniform(0.7, 1.3), dice.uniform(0, math.tau), number ** (roughness - 2))
        for number in range(1, 12)
    ]
    steps = min(160, width)
    line: Points = []
    for step in range(steps + 1):
        x = step / steps
        height = sum(h * math.sin(math.tau * f * x * 0.8 + p) for f, p, h in waves)
        line.append((x * width, level - swing * height))
    return line


# --- captions ------------------------------------------------------------------------------------

_MOST_LINES = 4
_READ = 600
_SMALLEST = 11


def caption(
    picture: Image.Image, title: str, detail: str, *, opacity: float = 1.0, box: Box | None = None
) -> None:
    """Write a title and a line of details on a dark band, at the bottom of `box`.

    What does not fit is cut off; a box without room for a line stays as it is.
    """
    left, top, right, bottom = box or (0, 0, *picture.size)
    width = right - left
    size = max(_SMALLEST, min(width, picture.width) // 34)
    margin = size * 3 // 4
    lines = [(_font(size), line) for line in _wrapped(title, _font(size), width - 2 * margin)]
    small = max(_SMALLEST - 1, size * 2 // 3)
    details = _wrapped(detail, _font(small), width - 2 * margin)
    lines += [(_font(small), line) for line in details]
    while lines and 2 * margin + _height(lines) > bottom - top:
        lines.pop()
    if not lines:
        return
    band = (left, bottom - 2 * margin - _height(lines), right, bottom)
    under = picture.crop(band)
    over = Image.blend(under, Image.new("RGB", under.size, (10, 12, 20)), 0.62)
    draw, y = ImageDraw.Draw(over), margin
    for font, line in lines:
        draw.text((margin, y), line, fill=(250, 250, 246), font=font)
        y += _height([(font, line)])
    picture.paste(Image.blend(under, over, opacity), band)


def _height(lines: Sequence[tuple[Font, str]]) -> int:
    return sum(round(getattr(font, "size", _SMALLEST) * 1.28) for font, _ in lines)


def _wrapped(text: str, font: Font, width: int) -> list[str]:
    lines: list[str] = []
    for word in text[:_READ].split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) > _MOST_LINES or len(text) > _READ:
        lines = lines[:_MOST_LINES]
        lines[-1] += " …"
    return [_fitting(line, font, width) for line in lines]


def _fitting(line: str, font: Font, width: int) -> str:
    while len(line) > 1 and font.getlength(line) > width:
        line = line[: -max(2, len(line) // 10)] + "…"
    return line


_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial.ttf", "arial.ttf")
"""Looked for on the machine, because the font that comes with Pillow has little but ASCII."""


@lru_cache(maxsize=64)
def _font(size: int) -> Font:
    for name in _FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


# --- samples -------------------------------------------------------------------------------------

_SAMPLE = (1024, 1024)
_FRAME = (300, 170, 724, 470)


def room_sample() -> Image.Image:
    """Paint a room with a sofa under a picture, to be used as an input."""
    picture = _gradient(_SAMPLE, (222, 205, 184), (236, 224, 208))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 760, 1024, 1024), fill=(158, 116, 82))
    for board in range(1, 6):
        y = 760 + board * board * 10
        draw.line((0, y, 1024, y), fill=(139, 99, 68), width=3)
    draw.rectangle((0, 744, 1024, 764), fill=(246, 240, 230))
    draw.ellipse((120, 850, 904, 1000), fill=(196, 92, 72))
    draw.ellipse((160, 862, 864, 988), fill=(210, 112, 88))
    left, top, right, bottom = _FRAME
    draw.rectangle((left - 14, top - 14, right + 14, bottom + 14), fill=(92, 66, 48))
    picture.paste(scene((right - left, bottom - top), random.Random("room")), (left, top))
    draw.rounded_rectangle((200, 560, 824, 800), 46, fill=(62, 98, 112))
    draw.rounded_rectangle((170, 640, 270, 880), 40, fill=(54, 88, 102))
    draw.rounded_rectangle((754, 640, 854, 880), 40, fill=(54, 88, 102))
    draw.rounded_rectangle((230, 720, 794, 870), 30, fill=(74, 114, 128))
    draw.line((512, 724, 512, 860), fill=(58, 92, 106), width=4)
    draw.rounded_rectangle((300, 630, 420, 740), 22, fill=(232, 180, 90))
    draw.rectangle((884, 420, 892, 880), fill=(70, 60, 52))
    draw.polygon([(830, 420), (946, 420), (916, 320), (860, 320)], fill=(250, 232, 180))
    _light(picture, (888, 380), 260, (255, 240, 200), 0.6)
    return picture


def mask_sample() -> Image.Image:
    """Paint the mask that belongs to the room: white where its picture hangs."""
    mask = Image.new("L", _SAMPLE)
    left, top, right, bottom = _FRAME
    ImageDraw.Draw(mask).rectangle((left, top, right - 1, bottom - 1), fill=255)
    return mask


def portrait_sample() -> Image.Image:
    """Paint somebody before a wall, to be used as an input."""
    picture = _gradient(_SAMPLE, (104, 138, 152), (188, 204, 198))
    _light(picture, (330, 300), 620, (240, 232, 208), 0.7)
    for box, colour in _PORTRAIT:
        left, top, right, bottom = (side * 2 for side in box)
        mask = Image.new("L", (right - left, bottom - top))
        ImageDraw.Draw(mask).ellipse((0, 0, right - left - 1, bottom - top - 1), fill=255)
        picture.paste(colour, box, mask.reduce(2))
    draw = ImageDraw.Draw(picture)
    draw.arc((452, 480, 572, 560), 25, 155, fill=(150, 74, 66), width=7)
    draw.line((512, 430, 500, 486, 520, 488), fill=(196, 142, 112), width=5, joint="curve")
    return picture


_HAIR, _SKIN, _SHADE, _EYE = (62, 40, 34), (226, 178, 146), (204, 152, 122), (48, 40, 40)
_PORTRAIT: Sequence[tuple[Box, Colour]] = (
    ((316, 150, 708, 720), _HAIR),
    ((430, 520, 594, 800), _SHADE),
    ((160, 700, 864, 1300), (172, 78, 70)),
    ((432, 650, 592, 770), _SHADE),
    ((364, 220, 660, 620), _SKIN),
    ((340, 160, 690, 330), _HAIR),
    ((430, 398, 474, 424), _EYE),
    ((552, 398, 596, 424), _EYE),
    ((400, 470, 466, 510), (232, 164, 138)),
    ((560, 470, 626, 510), (232, 164, 138)),
)
