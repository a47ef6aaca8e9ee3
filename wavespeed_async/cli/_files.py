"""Files of requests: CSV with a header, or JSONL. All of a file is read and checked at once."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any, NoReturn

from attrs import frozen

from wavespeed_async._codec import request_from
from wavespeed_async.cli._fields import fields_of, json_value
from wavespeed_async.cli._images import check_images, with_paths
from wavespeed_async.cli._output import WrongUseError, words
from wavespeed_async.errors import InvalidRequestError
from wavespeed_async.models import Request, request_class

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

__all__ = ["Item", "read_requests"]

MOST_LINES = 20
"""How many bad lines are told; of the others only how many there are."""
LONGEST_CELL = 256 * 1024 * 1024
"""Characters of the longest cell: a picture as base64 may well stand in one."""


@frozen
class Item:
    """Hold one request, and the line that it came from."""

    request: Request
    line: int | None = None


@frozen
class _Bad:
    """Hold what is wrong with a line."""

    line: int
    reason: str


def read_requests(
    path: Path, model: str | None = None, *, check: Callable[[], object] = lambda: None
) -> list[Item]:
    """Read a file of requests; lines without a model get `model`.

    Args:
        path: The file.
        model: The model of lines that name none.
        check: Is called with each line; what it raises ends the reading.

    A path in it is relative to the folder of the file; images are looked at.

    Raises:
        WrongUseError: It cannot be read, holds nothing, or has bad lines: each is told.
    """
    read = _READERS.get(path.suffix.lower())
    if read is None:
        message = f"{path}: a file of requests ends in .csv or .jsonl"
        raise WrongUseError(message)
    found = []
    seen: set[Path] = set()
    for one in read(_text(path), model, path.parent):
        check()
        found.append(_looked_at(one, seen))
    if not found:
        message = f"{path}: there is no request in it"
        raise WrongUseError(message)
    bad = [f"{path}:{one.line}: {one.reason}" for one in found if isinstance(one, _Bad)]
    if bad:
        rest = len(bad) - MOST_LINES
        more = [f"and {rest} more"] if rest > 0 else []
        raise WrongUseError(*bad[:MOST_LINES], *more)
    return [one for one in found if isinstance(one, Item)]


def _text(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():  # a pipe, say, which may never end
            message = f"{path}: this is no file"
            raise WrongUseError(message)
        content = path.read_bytes()
    except OSError as error:
        raise WrongUseError(words(error)) from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        message = f"{path}:{line}: this is not UTF-8"
        raise WrongUseError(message) from error


def _looked_at(one: Item | _Bad, seen: set[Path]) -> Item | _Bad:
    if isinstance(one, Item):
        try:
            check_images(one.request, seen)
        except InvalidRequestError as error:
            return _Bad(one.line or 0, str(error))
    return one


def _item(line: int, fields: Mapping[str, Any], model: str | None, folder: Path) -> Item | _Bad:
    if isinstance(fields, dict) and not fields.get("model") and model is not None:
        fields = {**fields, "model": model}
    if isinstance(fields, dict):
        name = fields.get("model")
        known = request_class(name) if isinstance(name, str) else None
        images = {one.name for one in fields_of(known).values() if one.is_image} if known else None
        fields = with_paths(fields, images, folder)
    try:
        return Item(request_from(fields), line)
    except InvalidRequestError as error:
        return _Bad(line, str(error))


# --- JSONL ---------------------------------------------------------------------------------------


def _read_jsonl(text: str, model: str | None, folder: Path) -> Iterator[Item | _Bad]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                fields = json.loads(
                    line, object_pairs_hook=_without_doubles, parse_constant=_refuse_constant
                )
            except json.JSONDecodeError as error:
                yield _Bad(number, f"not JSON at column {error.colno}: {error.msg}")
            except ValueError as error:
                yield _Bad(number, str(error))
            except RecursionError:
                yield _Bad(number, "nested too deeply")
            else:
                yield _item(number, fields, model, folder)


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        message = f"{double!r} is given twice"
        raise ValueError(message)
    return found


def _refuse_constant(name: str) -> NoReturn:
    message = f"JSON has no {name}"
    raise ValueError(message)


# --- CSV -----------------------------------------------------------------------------------------


def _read_csv(text: str, model: str | None, folder: Path) -> Iterator[Item | _Bad]:
    before = csv.field_size_limit(LONGEST_CELL)
    try:
        yield from _rows(csv.reader(io.StringIO(text, newline=""), strict=True), model, folder)
    finally:
        csv.field_size_limit(before)


def _rows(rows: Any, model: str | None, folder: Path) -> Iterator[Item | _Bad]:
    header: list[str] | None = None
    line = 1
    try:
        for row in rows:
            if not any(cell.strip() for cell in row):
                pass  # spreadsheets end in rows like this
            elif header is None:
                header = [name.strip() for name in row]
                if wrong := _wrong_header(header):
                    yield _Bad(line, wrong)
                    return
            elif len(row) != len(header):
                yield _Bad(line, f"{len(row)} cells, but the header has {len(header)}")
            else:
                yield _from_row(line, dict(zip(header, row, strict=True)), model, folder)
            line = rows.line_num + 1
    except csv.Error as error:
        yield _Bad(line, f"not CSV: {error}")


def _wrong_header(header: list[str]) -> str | None:
    for number, name in enumerate(header, 1):
        if not name:
            return f"column {number} has no name"
        if name in header[: number - 1]:
            return f"there are two columns named {name}"
    return None


def _from_row(line: int, row: dict[str, str], model: str | None, folder: Path) -> Item | _Bad:
    """Read a row: empty cells are left out, the others are read by the kinds of the model."""
    given = {name: cell for name, cell in row.items() if cell.strip()}
    name = given.pop("model", model or "").strip()
    known = request_class(name)
    fields = fields_of(known) if known else None
    values: dict[str, object] = {"model": name}
    try:
        for key, cell in given.items():
            if fields is None:
                values[key] = json_value(cell)
            else:
                values[key] = fields[key].values(cell) if key in fields else cell
    except InvalidRequestError as error:
        return _Bad(line, str(error))
    return _item(line, values, model, folder)


_READERS: Mapping[str, Callable[[str, str | None, Path], Iterator[Item | _Bad]]] = {
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
}
