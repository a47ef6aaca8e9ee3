"""What all tests share: both event loops, clocks that jump, and a real PostgreSQL."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.batch.postgres import Server, binaries, serving

if TYPE_CHECKING:
    from collections.abc import Iterator


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
