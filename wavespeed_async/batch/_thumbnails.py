"""Small copies of pictures, so that a page of thousands opens at once; they need Pillow."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

__all__ = ["FOLDER", "make_thumbnails", "name_of"]

FOLDER = "thumbnails"
LONGEST_SIDE = 420


def name_of(picture: Path) -> str:
    """Answer the name of a picture's small copy."""
    return f"{picture.name}.webp"


def make_thumbnails(
    pictures: Iterable[Path], folder: Path, *, seconds: float, check: Callable[[], object]
) -> set[str]:
    """Make the small copies that are missing, and answer the names of those that are there.

    Args:
        pictures: Of what.
        folder: Where to.
        seconds: How long to be at it; what is left is made another time.
        check: Is called before each, and ends it by raising.
    """
    try:
        from PIL import Image  # noqa: F401, PLC0415 (an extra: without it the page shows the pictures)
    except ModuleNotFoundError:
        return set()
    until = time.monotonic() + seconds
    folder.mkdir(parents=True, exist_ok=True)
    there = {path.name for path in folder.iterdir()}
    for picture in pictures:
        if name_of(picture) in there:
            continue
        if time.monotonic() >= until:
            break
        check()
        if _make(picture, folder / name_of(picture)):
            there.add(name_of(picture))
    return there


def _make(picture: Path, path: Path) -> bool:
    """Make one; tell whether it could be: what is no picture is left alone."""
    from PIL import Image  # noqa: PLC0415 (as above)

    part = path.with_name(f".{path.name}.part")
    try:
        with Image.open(picture) as image:
            image.draft("RGB", (LONGEST_SIDE, LONGEST_SIDE))
            image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
            image.save(part, "WEBP", quality=80, method=2)
        part.replace(path)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Warning):
        part.unlink(missing_ok=True)
        return False
    return True
