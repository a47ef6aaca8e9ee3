"""The models with their fields, as a table for people and as JSON for programs."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wavespeed_async.cli._fields import Field, fields_of, short_name
from wavespeed_async.models import request_classes

if TYPE_CHECKING:
    from wavespeed_async.models import Request

__all__ = ["as_json", "as_table"]

WIDTH = 120
"""Columns of a table that is not read on a terminal."""


def as_json() -> str:
    """Write them as a list of objects."""
    return json.dumps(
        [
            {
                "model": cls.model,
                "name": short_name(cls.model),
                "version": cls.version,
                "about": _first_line(cls),
                "fields": [_field(field) for field in fields_of(cls).values()],
            }
            for cls in request_classes()
        ],
        indent=2,
    )


def as_table() -> str:
    """Write them as a table, as wide as the terminal."""
    is_terminal = sys.stdout.isatty()
    page = io.StringIO()
    console = Console(
        file=page, width=None if is_terminal else WIDTH, force_terminal=is_terminal, highlight=False
    )
    for cls in request_classes():
        table = Table(box=None, pad_edge=False, show_edge=False, header_style="dim")
        for name in ("field", "default", "what it takes", "what it is"):
            table.add_column(name, overflow="fold")
        for field in fields_of(cls).values():
            default = "required" if field.required else _shown(field.default)
            table.add_row(*map(Text, (field.name, default, field.takes, field.about)))
        console.print(Text.assemble((short_name(cls.model), "bold"), f"  {_first_line(cls)}"))
        console.print(table)
        console.print()
    return page.getvalue().rstrip("\n")


def _field(field: Field) -> dict[str, Any]:
    return {
        "name": field.name,
        "required": field.required,
        "default": field.default,
        "allowed": field.takes,
        "about": field.about,
    }


def _shown(default: Any) -> str:
    if default in (None, "", ()):
        return ""
    return str(default).lower() if isinstance(default, bool) else str(default)


def _first_line(cls: type[Request]) -> str:
    return (cls.__doc__ or "").partition("\n")[0]
