"""A journal in PostgreSQL, written by a thread of its own, off the event loop.

Durable. Each transaction is flushed before it is answered (`synchronous_commit`): a server that
crashes forgets nothing while its clients live on, so less would not do.

Alone. A lock of the session turns a second run away; the server gives it back as the connection
ends. All is written through the connection that holds it, so a run that lost its connection writes
nothing, and submits nothing, until it has the lock again.

Lost. A connection that ends in mid-run (a restart, a failover) is made again, for `PATIENCE`; the
intents wait. Then the old session is ended, in case the server has not noticed, the lock taken
again, and the row of the table `journal` looked at, which each transaction changes: it names the
last run, and counts its transactions. So it is known whether the last one was done whose answer was
lost: then it is not done again. Another run's number there, or a count that was passed already (a
standby took over that lagged), ends this run's turn for good.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg

from wavespeed_async.batch._entries import Known
from wavespeed_async.batch._statements import WRITERS, past_of
from wavespeed_async.batch._store import Claim
from wavespeed_async.batch._thread import OneThread
from wavespeed_async.batch.postgres._clock import DatabaseClock
from wavespeed_async.batch.postgres._session import Session, told_error
from wavespeed_async.errors import ConfigurationError, JournalError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wavespeed_async.batch._store import Change, Past, Run
    from wavespeed_async.batch.postgres._address import Address

__all__ = ["PostgresStore"]

PATIENCE = 30.0
"""Seconds for which a lost connection is tried to be made again, once; then each time but once."""
BRIEFLY = 0.5
"""Seconds that the server is given to notice that the process has died which held a journal."""
PAUSE = 0.25
"""Seconds between two attempts."""
TRIES = 3
"""How often a transaction is tried that each time ends the connection."""
BROKEN = (psycopg.Error, ValueError, TypeError, OverflowError)
"""What PostgreSQL raises, or what it is to keep."""
PRIMARY = {"target_session_attrs": "read-write"}
"""Of several hosts in an address, the one that can be written to."""


class PostgresStore:
    """Keep a journal in PostgreSQL (see `Store`).

    Args:
        address: Where it is; it is made if need be.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._thread = OneThread()
        self._clock: DatabaseClock
        self._held: Session | None = None
        self._run: Run
        self._number = 0  # of this run
        self._written = 0  # transactions, the one under way among them
        self._patience: float
        self._end: str | None = None

    # --- in the event loop -----------------------------------------------------------------------

    async def open(self, run: Run) -> Past:
        """Make it or take it up, and tell what it holds."""
        return await self._thread.call(self._open, run)

    async def knows(self, digests: Sequence[bytes]) -> bool:
        """Tell whether there is an entry of any of these."""
        question = "SELECT 1 FROM requests WHERE digest = ANY(?) LIMIT 1"
        return bool(await self._thread.call(self._ask, question, [*digests]))

    async def known(self, predictions: Sequence[str]) -> set[str]:
        """Tell which of these ids belong to an entry."""
        question = "SELECT prediction FROM requests WHERE prediction = ANY(?)"
        return {row[0] for row in await self._thread.call(self._ask, question, [*predictions])}

    async def write(self, changes: Sequence[Change], *, durable: bool) -> OSError | None:  # noqa: ARG002 (all is)
        """Write changes in one transaction."""
        await self._thread.call(self._write, changes)
        return None

    async def close(self, at: float) -> None:
        """Note the end of this run, and let others use the journal."""
        await self._thread.call(self._close, at)

    # --- taking it up ----------------------------------------------------------------------------

    def _open(self, run: Run) -> Past:
        self._run, self._clock, self._patience = run, DatabaseClock(), PATIENCE
        self._number, self._written, self._end = 0, 0, None
        with told_error(self._address):
            session = self._held = Session.to(self._address, **PRIMARY)
            self._lock(session)
            with session.connection.transaction():
                session.prepare()
                self._learn(session.now)
                past = past_of(session, run)
                self._begin(session)
        return self._clock.past(past, run)

    def _lock(self, session: Session) -> None:
        until = time.monotonic() + BRIEFLY
        while not session.lock():
            if time.monotonic() > until:
                message = (
                    f"the journal {self._address.told} is in use by another run: wait for its end, "
                    f"or stop it"
                )
                raise ConfigurationError(message)
            time.sleep(BRIEFLY / 10)

    def _begin(self, session: Session) -> None:
        run, limits = self._run, self._run.limits
        (self._number,) = session.one(
            "INSERT INTO runs (started, steady, owner, requests, per, concurrency, identity)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING run",
            *(self._clock.there(run.started), run.steady, run.owner),
            *(limits.requests, limits.per, limits.concurrency, run.identity),
        )
        session.execute("UPDATE journal SET run = ?, written = 0", (self._number,))

    def _now(self) -> float:
        return self._run.started + time.monotonic() - self._run.steady

    def _learn(self, tell: Any) -> None:
        asked = self._now()
        told = tell()
        self._clock.learn(asked, told, self._now())

    @property
    def _session(self) -> Session:
        assert self._held is not None  # noqa: S101 (a journal is opened first)
        return self._held

    def _ask(self, question: str, values: Sequence[Any]) -> list[Any]:
        """Ask; where the connection was lost, once more.

        Raises:
            JournalError: There is no answer.
        """
        try:
            try:
                return self._session.execute(question, (values,)).fetchall()
            except psycopg.Error:
                if not self._session.is_lost:
                    raise
            self._resume(time.monotonic() + self._patience)
            return self._session.execute(question, (values,)).fetchall()
        except psycopg.Error as error:
            message = f"the journal cannot be read: {self._words(error)}"
            raise JournalError(message) from None
        except OSError as error:
            message = f"the journal cannot be read: {error}"
            raise JournalError(message) from error

    # --- writing ---------------------------------------------------------------------------------

    def _write(self, changes: Sequence[Change]) -> None:
        """Write changes, over a new connection if need be.

        Raises:
            OSError: They cannot be written.
        """
        until = time.monotonic() + self._patience
        if self._end is not None:
            raise OSError(self._end)
        if self._session.is_lost:
            self._resume(until)
        for _ in range(TRIES):
            error = self._try(changes)
            if error is None or self._resume(until):
                return
        raise OSError(error)

    def _try(self, changes: Sequence[Change]) -> str | None:
        """Write changes; answer why it is not known whether that was done, if so.

        Raises:
            OSError: It was not.
        """
        session = self._session
        self._written += 1
        try:
            with session.connection.transaction():
                self._learn(partial(self._count, session))
                for change in changes:
                    if isinstance(change, Claim):
                        self._claim(session, change)
                    else:
                        changed = self._clock.change(change)
                        WRITERS[type(changed)](session.execute, changed, self._number)
        except BROKEN as error:
            if session.is_lost:
                return self._words(error)
            self._written -= 1
            raise OSError(self._words(error)) from None
        return None

    def _count(self, session: Session) -> float:
        """Count a transaction, if it is still this run's turn, and tell the time.

        Raises:
            OSError: It is not.
        """
        row = session.one(
            "UPDATE journal SET written = ? WHERE run = ? AND written = ?"
            " RETURNING extract(epoch FROM clock_timestamp())::float8",
            *(self._written, self._number, self._written - 1),
        )
        if row is None:
            reason = "another run has it by now"
            raise self._over(reason)
        return float(row[0])

    def _claim(self, session: Session, claim: Claim) -> None:
        wanted, at = claim.wanted, self._clock.there(claim.at)
        exists = None if wanted.prediction is None else at
        entry, seed, intended, submitted, prediction, answer, paths, payer = session.one(
            _CLAIM,
            *(wanted.digest, self._number, self._number, claim.position),
            *(wanted.digest, wanted.digest, self._number, self._number, claim.position),
            *(wanted.model, wanted.fields, wanted.seed, at, exists, exists, wanted.prediction),
        )
        here = self._clock.here
        files = None if paths is None else tuple(json.loads(paths))
        claim.known = Known(
            entry, seed, here(intended), here(submitted), prediction, answer, files, payer
        )

    # --- a lost connection -----------------------------------------------------------------------

    def _resume(self, until: float) -> bool:
        """Connect again; tell whether the transaction that was under way was done.

        Raises:
            OSError: There is no connection until then, or the journal is not this run's any more.
        """
        while True:
            try:
                written = self._take_again()
                break
            except (psycopg.Error, ConfigurationError) as error:
                if time.monotonic() + PAUSE > until:
                    self._patience = 0.0
                    raise OSError(self._words(error)) from None
            time.sleep(PAUSE)
        self._patience = PATIENCE
        was_done = written == self._written
        self._written = written
        return was_done

    def _take_again(self) -> int:
        """Take the journal again, and tell how many transactions of this run are in it.

        Raises:
            psycopg.Error: There is no connection.
            OSError: It is not this run's turn any more.
        """
        session = Session.to(self._address, **PRIMARY)
        try:
            session.end(self._session)
            reason, written = self._turn(session)
        except BaseException:
            session.close()
            raise
        if reason is not None:
            session.close()
            raise self._over(reason)
        self._held = session
        return written

    def _turn(self, session: Session) -> tuple[str | None, int]:
        """Take the lock; say why it is not this run's turn any more, if so, and what is written."""
        if not session.lock():
            return "another run has it by now", 0
        run, written = session.one("SELECT run, written FROM journal")
        if run != self._number:
            return "another run has written it meanwhile", 0
        if written not in {self._written - 1, self._written}:
            return "the database has forgotten what was written last", 0
        return None, written

    def _over(self, reason: str) -> OSError:
        """Say why it is not this run's turn any more; so it remains."""
        self._end = f"{self._address.told}: the connection was lost, and {reason}"
        return OSError(self._end)

    def _words(self, error: Exception) -> str:
        return f"{self._address.told}: {self._address.words(error)}"

    def _close(self, at: float) -> None:
        session, self._held = self._held, None
        if session is None:
            return
        try:
            if self._number and not session.is_lost:
                with suppress(psycopg.Error):  # what could not be written was told
                    ended = self._clock.there(at)
                    session.execute(
                        "UPDATE runs SET ended = ? WHERE run = ?", (ended, self._number)
                    )
        finally:
            session.close()


_CLAIM = """
WITH found AS (
  SELECT entry FROM requests WHERE digest = ? AND run < ? ORDER BY run DESC, number LIMIT 1
), claimed AS (
  UPDATE requests SET run = ?, position = ? WHERE entry = (SELECT entry FROM found)
  RETURNING entry, seed, intended, submitted, prediction, answer, paths,
    (SELECT identity FROM runs WHERE runs.run = requests.payer) AS payer
), made AS (
  INSERT INTO requests (digest, number, run, position, model, fields, seed, queued, intended,
    submitted, prediction)
  SELECT ?, coalesce(
      (SELECT max(number) + 1 FROM requests WHERE digest = ? AND run = ?), 0
    ), ?, ?, ?, ?, ?::bigint, ?, ?::float8, ?::float8, ?
  WHERE NOT EXISTS (SELECT FROM found)
  RETURNING entry, seed, intended, submitted, prediction, answer, paths, NULL AS payer
)
SELECT * FROM claimed UNION ALL SELECT * FROM made"""
"""Take the entry of an earlier run with this content, the first of its kind; else make one."""
