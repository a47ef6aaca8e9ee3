"""What all tests share: both event loops, clocks that jump, a real PostgreSQL and Chromium."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.batch.postgres import Server, binaries, serving
from tests.chromium import CHROMIUM, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser


@pytest.fixture(scope="session", autouse=True)
def unmeasured() -> None:
    """Measure what tests do, workers of a parallel run included, and nothing that they start.

    What they start may be killed, or have no room to write.
    """
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run each async test on asyncio and on trio, by the real clock."""
    return request.param, {}


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """Run a PostgreSQL server; where there is none, skip, but never among the project's checks."""
    programs = binaries()
    if programs is None and not os.environ.get("CI"):
        pytest.skip("PostgreSQL is not installed")
    assert programs is not None, "PostgreSQL is not installed"
    with serving(programs) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run Chromium; where there is none, skip, but never among the project's checks."""
    if not CHROMIUM.exists() and not os.environ.get("CI"):
        pytest.skip(f"{CHROMIUM} is missing")
    assert CHROMIUM.exists(), f"{CHROMIUM} is missing, and CI has to test the page"
    with running() as browser:
        yield browser
