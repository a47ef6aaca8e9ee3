"""The script that decides, put together from its files."""

from __future__ import annotations

from functools import cache
from pathlib import Path

__all__ = ["exchange_script"]

PARTS = ("store", "window", "gate", "slots", "queue", "holders", "exchange")
"""In this order: each uses what stands above it."""


@cache
def exchange_script() -> str:
    """Answer the source of the one script: a message in, an answer out, both as JSON."""
    folder = Path(__file__).parent
    return "\n".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in PARTS)
