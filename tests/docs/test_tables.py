"""The tables of the pages are complete, and say what the code does."""

from __future__ import annotations

import re

from tests.docs.blocks import DOCS
from tests.test_codegen import DIFFERENCES
from wavespeed_async import errors
from wavespeed_async.backends._problems import problem_of
from wavespeed_async.emulator import FAULTS


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def test_every_difference_of_a_class_is_told() -> None:
    """The guide's table names every field in which a class differs from its page."""
    rows = "".join(re.findall(r"^\| `.*$", page("models"), re.MULTILINE))
    for name in DIFFERENCES:
        model, _, field = name.partition(":")
        assert f"`{name}`" in rows or (f"`{model}:" in rows and f"`:{field}`" in rows)


def test_errors_are_answered_as_told() -> None:
    """Every error of the tree stands in the table, with the status and type that it is answered."""
    told: dict[str, tuple[int, str]] = {}
    for row in re.findall(
        r"^\| (.*Error.*) \| (\d+) \| `([\w-]+)` \|", page("backends"), re.MULTILINE
    ):
        told |= {name: (int(row[1]), row[2]) for name in re.findall(r"`(\w+Error)`", row[0])}
    bases = {"WaveSpeedError", "PredictionError"}
    for name in {*errors.__all__} - bases:
        problem = problem_of(getattr(errors, name)("text"))
        assert told.pop(name) == (problem.status, problem.kind), name
    assert told == {}


def test_every_fault_is_told() -> None:
    """The guide's table names every fault there is."""
    named = {
        name
        for row in re.findall(r"^\| `.*$", page("testing"), re.MULTILINE)
        for name in _names(row)
    }
    assert {*FAULTS} <= named


def _names(row: str) -> list[str]:
    return re.findall(r"`([a-z0-9-]+)`", row)
