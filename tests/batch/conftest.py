"""What the tests of journals share: a place for a journal of either kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.batch.postgres import Server


@pytest.fixture(params=["sqlite", "postgresql"])
def journal_at(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Name a new journal, in a file or in a database."""
    if request.param == "sqlite":
        return str(tmp_path / "deep" / "journal.sqlite")
    server: Server = request.getfixturevalue("postgres")
    return server.journal()
