"""A clock that jumps, for all tests of the limiter."""

from __future__ import annotations

from typing import Any

import pytest

from wavespeed_async.testing import virtual_backend


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run each async test on asyncio and on trio, by a virtual clock."""
    return virtual_backend(request.param)
