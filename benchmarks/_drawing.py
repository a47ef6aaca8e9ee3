"""How the benchmarks draw: plain lines on white; the same figures make the same file."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["INK", "ORACLE", "OURS", "RIVAL", "RIVALS", "drawing", "plain"]

OURS, ORACLE, RIVAL, INK = "#0b63c5", "#8b939c", "#d1641a", "#30363d"
RIVALS = (RIVAL, "#8a3ffc", "#198038")
"""Colours that are told apart on white, also by those who see red and green alike."""


@contextmanager
def drawing(path: Path, width: float, height: float) -> Iterator[Any]:
    """Open a figure of so many inches, and save it; on white, so that dark pages show it too."""
    try:
        from matplotlib import rc_context  # noqa: PLC0415 (only who draws needs it)
        from matplotlib.figure import Figure  # noqa: PLC0415 (as above)
    except ImportError:
        sys.exit("drawing needs matplotlib: pip install matplotlib")
    settings: Any = {"svg.hashsalt": path.stem, "font.family": "sans-serif", "font.size": 10}
    with rc_context(settings):
        figure = Figure(figsize=(width, height), facecolor="white", layout="constrained")
        yield figure
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def plain(axes: Any) -> None:
    """Leave of the axes what is read: lines across, and no frame."""
    axes.grid(axis="y", color="#d8dee4", lw=0.7)
    axes.tick_params(colors=INK, length=0)
    for side in axes.spines.values():
        side.set_visible(False)
