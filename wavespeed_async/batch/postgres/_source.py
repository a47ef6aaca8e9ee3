"""What a reader asks of a journal in PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wavespeed_async.batch.postgres._session import Session, told_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from wavespeed_async.batch.postgres._address import Address

__all__ = ["PostgresSource"]


class PostgresSource:
    """Answer questions from a journal in PostgreSQL (see `Source`); it is never written to.

    Args:
        address: Where it is; a standby that follows will do.

    Raises:
        ConfigurationError: There is none, or it is of another version.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        with self.told():
            self._session = Session.to(address)
            try:
                self._session.connection.read_only = True
                self._session.check()
            except BaseException:
                self._session.close()
                raise

    def ask(self, question: str, *values: Any) -> Iterator[Sequence[Any]]:
        """Answer the rows."""
        yield from self._session.execute(question, values)

    def told(self) -> AbstractContextManager[None]:
        """Answer the context in which what goes wrong is told."""
        return told_error(self._address)

    def version(self) -> int:
        """Answer a number that is another one whenever something was written in between."""
        run, written, ended = self._session.one(
            "SELECT run, written, (SELECT count(ended) FROM runs) FROM journal"
        )
        return hash((run, written, ended))

    def now(self) -> float:
        """Tell the time by the clock of the journal."""
        return self._session.now()

    def is_held(self) -> bool:
        """Tell whether a process has the journal open to write it, as the primary knows."""
        return self._session.is_held()

    def close(self) -> None:
        """End the connection."""
        self._session.close()
