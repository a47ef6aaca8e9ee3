"""What is written to stdout and stderr: whole lines, whatever the terminal takes."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import TextIO

__all__ = ["WrongUseError", "be_lenient", "emit", "flush", "tell", "words"]

PREFIX = "wavespeed-async: "


class WrongUseError(Exception):
    """Say, in one line or several, why nothing was sent."""

    def __init__(self, *lines: str) -> None:
        super().__init__(*lines)
        self.lines = lines


class _Nowhere(io.StringIO):
    """Stand for a stream that the shell has closed (`>&-`): what is written to it is dropped."""

    def write(self, text: str, /) -> int:
        """Take a text, and keep nothing."""
        return len(text)


def be_lenient() -> None:
    """Have streams replace what their encoding lacks, and take nothing where they are closed."""
    sys.stdout = sys.stdout or _Nowhere()
    sys.stderr = sys.stderr or _Nowhere()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def tell(*lines: str) -> None:
    """Write prose to stderr; the first line says who speaks."""
    text = PREFIX + "\n".join(lines) + "\n"
    _write(sys.stderr, text)


def emit(line: str) -> None:
    """Write a line of data to stdout.

    Raises:
        OSError: It cannot be written; that nobody reads any longer is no error.
    """
    _write(sys.stdout, line + "\n")


def flush() -> None:
    """Write out what is left; called last, so that nothing is left for Python to fail on."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            _write(stream, "")


def words(error: OSError) -> str:
    """Say what went wrong, and with which file."""
    reason = error.strerror or str(error) or type(error).__name__
    return f"{reason}: {error.filename}" if error.filename else reason


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:  # the reader has gone: pictures are made all the same
        _mute(stream)


def _mute(stream: TextIO) -> None:
    """Send what is still to come nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
