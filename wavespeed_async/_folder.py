"""Where outputs go: the folder, the names within it, and what becomes of files there. Pure.

A name is a template. It is checked before anything is fetched, and whatever stands for its parts
later cannot lead out of the folder: what comes from the API is stripped down to plain characters.
"""

from __future__ import annotations

import re
import string
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from attrs import field, frozen

from wavespeed_async.errors import InvalidRequestError

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from attrs import Attribute

    from wavespeed_async._prediction import Prediction

__all__ = ["Existing", "Folder", "file_stem"]

Existing: TypeAlias = Literal["replace", "keep"]

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_NUMBERS = {"index": 0, "seed": 2147483647, "number": 1}
_TEXTS = {"model": "flux-dev", "id": "0" * 32}
_WIDTH = re.compile(r"(0?\d{1,2})?d?", re.ASCII)
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|\ud800-\udfff]')
LONGEST = 150
"""Bytes of the longest part of a name, where its fields are as long as usual."""
_NAME = "name"
NAMES = "a name out of {index}, {model}, {seed}, {id}, {number} and plain characters"


def file_stem(prediction_id: str) -> str:
    """Make a name of an id that stays inside of a folder, whatever the id is."""
    return _UNSAFE.sub("_", prediction_id)[:100] or "prediction"


def _check_name(_: Folder, attribute: Attribute[Any], value: Any) -> None:
    try:
        fields = _fields_in(value)
        sample = value.format(**_NUMBERS, **_TEXTS)
    except (TypeError, ValueError, LookupError, AttributeError):
        raise _refusal(attribute.name, value, NAMES) from None
    for name, width in fields:
        if name not in {*_NUMBERS, *_TEXTS} or (width and name in _TEXTS):
            raise _refusal(attribute.name, value, NAMES)
    if _FORBIDDEN.search(sample) or not all(_is_part(part) for part in sample.split("/")):
        allowed = "a name within the folder, of short parts that any system takes"
        raise _refusal(attribute.name, value, allowed)


def _fields_in(name: str) -> list[tuple[str, str]]:
    """List the fields of a template with their widths; ValueError for what is more than these."""
    found = []
    for _, field_name, width, conversion in string.Formatter().parse(name):
        if field_name is not None:
            if conversion or not _WIDTH.fullmatch(width or ""):
                raise ValueError
            found.append((field_name, width or ""))
    return found


def _is_part(part: str) -> bool:
    """Tell whether this can be the name of a file or folder on any system."""
    is_plain = part == part.strip() and not part.startswith(".") and not part.endswith(".")
    return bool(part) and is_plain and len(part.encode()) <= LONGEST


def _check_existing(_: Folder, attribute: Attribute[Any], value: Any) -> None:
    if value not in {"replace", "keep"}:
        raise _refusal(attribute.name, value, "replace or keep")


def _refusal(name: str, value: object, allowed: str) -> InvalidRequestError:
    return InvalidRequestError.of(Folder.__name__, name, value, allowed)


def _path_of(value: str | os.PathLike[str]) -> Path:
    return Path(value)


@frozen
class Folder:
    """Say where outputs go, under which names, and what becomes of files that are there.

    Attributes:
        path: The folder; it is made if need be.
        name: The name without its ending, which is told by the content. Fields are {index} (of the
            request in its batch, from 0), {model}, {seed} (-1 where it is not known), {id} and
            {number} (of the output, from 1; added where there are several). Numbers take a width,
            such as {index:04}; a slash makes a folder within.
        existing: What becomes of a file that has the name already. `replace` it, or `keep` it: then
            the new one gets a number, except where the name has the {id}, so that the file is the
            same picture and is not fetched again.
        metadata: Whether to write into each PNG, JPEG and WebP how it was made.

    Raises:
        InvalidRequestError: The name cannot be, or would lead out of the folder.
    """

    path: Path = field(converter=_path_of)
    name: str = field(default="{id}", validator=_check_name, kw_only=True)
    existing: Existing = field(default="replace", validator=_check_existing, kw_only=True)
    metadata: bool = field(default=False, kw_only=True)

    @classmethod
    def of(
        cls,
        folder: str | os.PathLike[str] | Folder,
        *,
        name: str | None = None,
        existing: Existing | None = None,
        metadata: bool | None = None,
    ) -> Folder:
        """Take a folder, or the path of one; what is given beside it comes first."""
        found = folder if isinstance(folder, Folder) else cls(folder)
        if name is None and existing is None and metadata is None:
            return found
        return cls(
            found.path,
            name=found.name if name is None else name,
            existing=found.existing if existing is None else existing,
            metadata=found.metadata if metadata is None else metadata,
        )

    @property
    def keeps_same(self) -> bool:
        """Whether a file that has the name is known to be the same picture, and stays."""
        return self.existing == "keep" and self._names("id")

    def check_batch(self, *, journal: bool) -> None:
        """Refuse names by which one request's picture would take the place of another's.

        With a journal the index alone is not enough: the input may have changed since.

        Raises:
            InvalidRequestError: They would.
        """
        is_own = self._names("id") or (self._names("index") and not journal)
        if self.existing == "replace" and not is_own:
            allowed = "one with {id}, or existing='keep': pictures would replace one another"
            raise _refusal(_NAME, self.name, allowed)

    def stems(self, prediction: Prediction, index: int | None) -> Sequence[Path]:
        """Answer the paths of all outputs, without their endings.

        Raises:
            InvalidRequestError: The name has an index, and there is none.
        """
        if index is None and self._names("index"):
            raise _refusal(_NAME, self.name, "one without {index}: this is not of a batch")
        count = len(prediction.outputs)
        name = self.name if count == 1 or self._names("number") else self.name + "-{number}"
        known = {
            "index": index or 0,
            "model": _UNSAFE.sub("-", prediction.model.removeprefix("wavespeed-ai/"))[:100] or "-",
            "seed": _seed_of(prediction),
            "id": file_stem(prediction.id),
        }
        return [self.path / name.format(**known, number=number + 1) for number in range(count)]

    def _names(self, wanted: str) -> bool:
        return any(name == wanted for name, _ in _fields_in(self.name))


def _seed_of(prediction: Prediction) -> int:
    request = prediction.request
    seed = getattr(request, "seed", None)
    if seed is None:
        seed = getattr(request, "fields", {}).get("seed")
    return seed if isinstance(seed, int) else -1
