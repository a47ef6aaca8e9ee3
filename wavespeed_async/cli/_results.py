"""`results.jsonl`: what became of each request, one line for each, in the order of ending."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from wavespeed_async._codec import encode_request
from wavespeed_async.batch import in_short
from wavespeed_async.cli._output import WrongUseError
from wavespeed_async.models._images import described

if TYPE_CHECKING:
    from pathlib import Path

    from wavespeed_async._prediction import Outcome

__all__ = ["NAME", "Results", "record"]

NAME = "results.jsonl"
PROBE = 64 * 1024
"""Bytes that must fit into the folder before anything is sent."""


class Results:
    """Write lines to the end of the file; what stood in it before stays.

    Raises:
        WrongUseError: The folder cannot be made, or cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as probe:
                probe.write(bytes(PROBE))
            self._file = (folder / NAME).open("a+b")
            self._is_torn = _ends_torn(self._file)
            self._told = _told(self._file)
        except OSError as error:
            message = f"cannot write to {folder}: {error.strerror}"
            raise WrongUseError(message) from error

    def write(self, entry: dict[str, Any], *, again: bool = True) -> None:
        """Write one line, and bring it to the system at once.

        Args:
            entry: What became of a request.
            again: Whether to write what an earlier line says already of the same prediction.

        Raises:
            OSError: It could not be written.
        """
        if not again and entry["id"] is not None and _gist(entry) in self._told:
            return
        # A name that is no UTF-8 is written as JSON's own escape.
        line = json.dumps(entry, ensure_ascii=False).encode(errors="backslashreplace") + b"\n"
        self._file.write(b"\n" + line if self._is_torn else line)
        self._file.flush()
        self._is_torn = False

    def close(self) -> None:
        """Close the file; what could not be written has been told."""
        with suppress(OSError):
            self._file.close()


def record(outcome: Outcome, line: int | None, folder: Path) -> dict[str, Any]:
    """Say what was asked and what came of it, with what is long in short."""
    request, prediction, error = outcome.request, outcome.prediction, outcome.error
    fields = encode_request(request, described) if request else {}
    return {
        "index": outcome.index,
        "line": line,
        "model": request.model if request else None,
        "fields": {name: in_short(value) for name, value in fields.items()},
        "id": prediction.id if prediction else None,
        "status": str(prediction.status) if prediction else None,
        "outputs": [in_short(output) for output in prediction.outputs] if prediction else [],
        "paths": [str(path.relative_to(folder)) for path in outcome.paths],
        "seed": fields.get("seed"),
        "inference_ms": prediction.inference_ms if prediction else None,
        "error": {"type": type(error).__name__, "message": str(error)} if error else None,
    }


def _ends_torn(file: Any) -> bool:
    """Tell whether the last line is not complete."""
    if file.tell() == 0:
        return False
    file.seek(-1, 2)
    return bool(file.read(1) != b"\n")


def _told(file: Any) -> set[tuple[str, str]]:
    """Read of which predictions the file tells, and how they ended."""
    file.seek(0)
    told = set()
    for line in file:
        with suppress(ValueError, KeyError, TypeError):  # torn off, or not ours
            told.add(_gist(json.loads(line)))
    return told


def _gist(entry: dict[str, Any]) -> tuple[str, str]:
    return entry["id"], json.dumps([entry["paths"], entry["error"]])
