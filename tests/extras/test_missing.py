"""Extras that are missing: every way in says what to install, and names the line for pip."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.extras.entries import ENTRIES
from wavespeed_async._extras import need
from wavespeed_async.errors import ConfigurationError

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
PACKAGES = sorted({package for entry in ENTRIES for package in entry.packages})

IMPORTED_AS = {
    "opentelemetry-api": {"opentelemetry"},
    "pillow": {"PIL"},
    "psycopg[binary]": {"psycopg"},
    "ray[data]": {"pyarrow", "ray"},
}
"""What a requirement is imported as, where that is not its own name."""

WITHOUT = """
import runpy, sys
sys.modules[sys.argv[1]] = None
runpy.run_path(sys.argv[2], run_name="__main__")
"""


def imported(requirement: str) -> set[str]:
    """Name the packages that a requirement brings and this package imports."""
    name = re.split(r"[<>=~! ;]", requirement, maxsplit=1)[0]
    return IMPORTED_AS.get(name, {name.replace("-", "_")})


@pytest.mark.parametrize("extra", EXTRAS)
def test_each_package_of_an_extra_has_a_way_in(extra: str) -> None:
    """Whoever adds an extra, or a package to one, says where it is needed."""
    listed = {package for line in EXTRAS[extra] for package in imported(line)}
    needed = {package for e in ENTRIES if e.extra == extra for package in e.packages}
    assert needed == listed


def test_each_way_in_is_of_an_extra() -> None:
    """An extra that is gone leaves nothing behind."""
    assert {entry.extra for entry in ENTRIES} == set(EXTRAS)


@pytest.mark.parametrize("package", PACKAGES)
def test_without_a_package_each_way_in_says_what_to_install(package: str) -> None:
    """The error names the line for pip, with the extra that brings the package."""
    ran = subprocess.run(  # noqa: S603 (our own program)
        [sys.executable, "-c", WITHOUT, package, str(ROOT / "tests" / "extras" / "entries.py")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert {e.name for e in ENTRIES if package in e.packages} <= set(ran.stdout.splitlines())


def test_what_is_there_but_cannot_be_imported_is_told() -> None:
    """A package that is too old, or lacks a library of the system, is not called missing."""
    with pytest.raises(ConfigurationError) as caught, need("postgres", of="a journal"):
        raise ImportError("no pq wrapper available", name="psycopg.pq")  # noqa: EM101, TRY003 (as it comes)
    assert str(caught.value) == (
        "a journal needs what cannot be imported (no pq wrapper available): "
        "pip install 'wavespeed-async[postgres]'"
    )
    assert isinstance(caught.value.__cause__, ImportError)


def test_an_error_without_a_name_is_told() -> None:
    """Some packages raise their own."""
    with pytest.raises(ConfigurationError, match="too old"), need("redis", of="it"):
        raise ImportError("too old")  # noqa: EM101, TRY003 (as above)


def test_a_part_of_this_package_that_is_missing_is_a_bug() -> None:
    """It is raised as it is, and blamed on no extra."""
    with pytest.raises(ModuleNotFoundError), need("redis", of="it"):
        raise ModuleNotFoundError(name="wavespeed_async.limits.redis._gone")
