"""Images as they are named on the command line and in files: an address, or else a path."""

from __future__ import annotations

import re
from base64 import b64decode
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wavespeed_async._contents import check_file, images_of
from wavespeed_async.models._images import media_type_of

if TYPE_CHECKING:
    from wavespeed_async.models import Request

__all__ = ["check_images", "image_from", "names_images", "with_paths"]

_ADDRESS = re.compile(r"(https?://|data:)", re.IGNORECASE)
_BASE64_HEAD = re.compile(r"[A-Za-z0-9+/]{24}", re.ASCII)
_NAME = re.compile(r"(.*_)?images?(_urls?)?")
LONGEST_PART = 255
"""Characters of the longest name that a file can have."""


def names_images(field: str) -> bool:
    """Tell by its name whether a field of a model without a class takes images."""
    return _NAME.fullmatch(field) is not None


def image_from(text: Any, folder: Path) -> Any:
    """Read an image: an address, base64 and what is no text stay; the rest is a path.

    Args:
        text: As it stands there.
        folder: To which a path that does not begin at the root is relative.
    """
    if isinstance(text, list):
        return [image_from(item, folder) for item in text]
    if not isinstance(text, str) or not text.strip() or _ADDRESS.match(text) or _is_base64(text):
        return text
    return folder / text.strip()


def _is_base64(text: str) -> bool:
    """Tell base64 of an image from a path by its beginning, or by a length that no name has."""
    if max(map(len, text.split("/"))) > LONGEST_PART:
        return True
    head = _BASE64_HEAD.match(text)
    return head is not None and media_type_of(b64decode(head[0])) is not None


def with_paths(fields: dict[str, Any], names: set[str] | None, folder: Path) -> dict[str, Any]:
    """Answer fields with a path for each image that is one; `names` are those with images."""
    return {
        name: image_from(value, folder)
        if (names_images(name) if names is None else name in names)
        else value
        for name, value in fields.items()
    }


def check_images(request: Request, seen: set[Path]) -> None:
    """Look at the files that a request names and that were not seen before.

    Raises:
        InvalidRequestError: One cannot be read, or is no image that the API takes.
    """
    for name, image in images_of(request):
        if isinstance(image, Path) and image not in seen:
            check_file(request.model, name, image)
            seen.add(image)
