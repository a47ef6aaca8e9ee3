"""Where a journal is: in a file, or in a PostgreSQL database by its address.

What PostgreSQL needs is an extra, and imported only where an address is given.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from wavespeed_async._extras import need
from wavespeed_async.batch._sqlite import SqliteStore
from wavespeed_async.batch._sqlite_file import SqliteSource

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from types import ModuleType

    from wavespeed_async.batch._store import Store

__all__ = ["Source", "folder_of", "is_address", "source_of", "store_of"]

SCHEMES = ("postgresql://", "postgres://")


class Source(Protocol):
    """Answer questions from a journal, whatever it is kept in; all of it blocks."""

    def ask(self, question: str, *values: Any) -> Iterator[Sequence[Any]]:
        """Answer the rows; the question has a question mark for each value."""
        ...

    def told(self) -> AbstractContextManager[None]:
        """Answer the context in which what goes wrong is told, as `ConfigurationError`."""
        ...

    def version(self) -> int:
        """Answer a number that is another one whenever something was written in between."""
        ...

    def now(self) -> float:
        """Tell the time by the clock of the journal's times."""
        ...

    def is_held(self) -> bool:
        """Tell whether a process has the journal open to write it."""
        ...

    def close(self) -> None:
        """Let it go."""
        ...


def is_address(journal: object) -> TypeGuard[str]:
    """Tell whether a journal is in a database."""
    return isinstance(journal, str) and journal.startswith(SCHEMES)


def folder_of(
    journal: str | os.PathLike[str], pictures: str | os.PathLike[str] | None = None
) -> Path:
    """Answer the folder at which the paths in a journal start.

    That is the folder of its file; of a database, which is in no folder, that of the pictures.
    """
    return Path(pictures or "") if is_address(journal) else Path(journal).parent


def store_of(journal: str | os.PathLike[str]) -> Store:
    """Answer where to write a journal.

    Raises:
        ConfigurationError: The address is malformed, or what it needs is not installed.
    """
    if not is_address(journal):
        return SqliteStore(journal)
    postgres = _postgres()
    store: Store = postgres.PostgresStore(postgres.Address.of(journal))
    return store


def source_of(journal: str | os.PathLike[str]) -> Source:
    """Answer where to read a journal.

    Raises:
        ConfigurationError: There is none that can be read.
    """
    if not is_address(journal):
        return SqliteSource(journal)
    postgres = _postgres()
    source: Source = postgres.PostgresSource(postgres.Address.of(journal))
    return source


def _postgres() -> ModuleType:
    """Import what PostgreSQL needs.

    Raises:
        ConfigurationError: It is not installed.
    """
    with need("postgres", of="a journal in PostgreSQL"):
        from wavespeed_async.batch import postgres  # noqa: PLC0415 (an extra)
    return postgres
