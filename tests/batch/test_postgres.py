"""A journal in PostgreSQL: its address, its password, many of them, and a server that fails."""

from __future__ import annotations

import os
import sqlite3
import time
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import psycopg
import pytest
from anyio import to_thread

from tests.batch.postgres import PASSWORD
from tests.batch.steps import ID, LIMITS, claimed, ended, entry_of, opened, read
from wavespeed_async.batch import JournalReader, SqliteStore, State, folder_of, store_of
from wavespeed_async.batch._entries import Wanted
from wavespeed_async.batch._journal import EntryMark, Journal
from wavespeed_async.batch._restart import snapshot_of
from wavespeed_async.batch._store import (
    Answered,
    Claim,
    Intended,
    Learned,
    Missed,
    Run,
    Sent,
    Submitted,
    Unsent,
)
from wavespeed_async.batch.postgres import Address, PostgresStore
from wavespeed_async.batch.postgres import _session as session_module
from wavespeed_async.batch.postgres import _store as store_module
from wavespeed_async.batch.postgres._clock import DatabaseClock
from wavespeed_async.errors import ConfigurationError, JournalError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.batch.postgres import Server
    from wavespeed_async.batch._store import Change


# --- the address ---------------------------------------------------------------------------------


def test_an_address_names_a_journal_of_a_database() -> None:
    """The journal's name is taken out of the address; all else is libpq's."""
    address = Address.of("postgresql://me:s%40y@db:5433/app?sslmode=require&journal=may.1&")
    assert (address.name, address.schema) == ("may.1", "wavespeed_may.1")
    assert address.told == "postgresql://db:5433/app?journal=may.1"
    assert dict(address.parameters) == {
        "user": "me",
        "password": "s@y",
        "host": "db",
        "port": "5433",
        "dbname": "app",
        "sslmode": "require",
    }


def test_what_an_address_leaves_open_is_libpqs() -> None:
    """The journal has a usual name, and two names have two locks."""
    address = Address.of("postgres://")
    assert (address.name, dict(address.parameters)) == ("journal", {})
    other = Address.of("postgresql:///app?host=/run/postgresql&journal=b")
    assert other.parameters == {"dbname": "app", "host": "/run/postgresql"}
    assert len({address.lock, other.lock}) == 2
    assert all(-(2**63) <= one.lock < 2**63 for one in (address, other))


@pytest.mark.parametrize(
    "rest",
    [
        "me:{}/db",
        "me:{}:1@db/app",
        "me:{}@y@db/app",
        "me:a/{}@db/app",
        "me:a?{}@db/app",
        "me:%zz{}@db/app",
        "db/app?{}",
        "db/app?nothing={}",
    ],
)
def test_a_malformed_address_is_refused_without_a_word_of_it(rest: str) -> None:
    """Whatever part of a password libpq would take for something else, it is not repeated."""
    url = f"postgresql://{rest.format(PASSWORD)}"
    try:
        told = Address.of(url).told
    except ConfigurationError as error:
        told = "".join(traceback.format_exception(error))
        assert "percent-encoded" in told
    assert PASSWORD not in told.replace(repr(url), "")


@pytest.mark.parametrize("name", ["", "A", "-a", "a b", "a" * 53, 'a"b', "ä"])
def test_a_journals_name_is_plain(name: str) -> None:
    """A name that PostgreSQL would not keep as it is, is refused with what is allowed."""
    with pytest.raises(ConfigurationError, match=r"cannot be called .*take up to 52 small letters"):
        Address.of(f"postgresql://db/app?journal={name}")


def test_a_path_that_looks_like_an_address_is_a_path(tmp_path: Path) -> None:
    """Only a text that begins as an address is one; its paths start at the pictures."""
    assert isinstance(store_of(tmp_path / "postgresql:"), SqliteStore)
    assert folder_of(tmp_path / "j", "out") == tmp_path
    assert str(folder_of("postgresql://db/app", "out")) == "out"
    assert str(folder_of("postgresql://db/app")) == "."


# --- the password --------------------------------------------------------------------------------


async def test_the_password_is_told_nobody(postgres: Server) -> None:
    """It is in no repr, and in no error, whatever psycopg has to say."""
    right = postgres.journal()
    wrong = right.replace(PASSWORD, f"{PASSWORD}-not")
    away = right.replace(f":{postgres.port}/", ":1/")
    no_database = right.replace("/postgres?", "/nothing?")
    told = [repr(Address.of(right)), repr(store_of(right))]
    for url, words in ((wrong, "authentication failed"), (away, "refused"), (no_database, "exist")):
        with pytest.raises(ConfigurationError, match=words) as caught:
            await Journal(store_of(url), owner="me", limits=LIMITS).open()
        told += traceback.format_exception(caught.value)
        with pytest.raises(ConfigurationError, match=words) as caught:
            JournalReader(url)
        told += traceback.format_exception(caught.value)
    async with opened(store_of(right)) as (journal, _):
        postgres.cut()
        postgres.within(right, "UPDATE journal SET run = 9")
        with pytest.raises(JournalError) as failed:
            await claimed(journal)
        told += traceback.format_exception(failed.value)
    assert PASSWORD not in "".join(told)


def test_words_of_others_are_cleaned() -> None:
    """Where an error has the password in it, it is taken out."""
    address = Address.of("postgresql://me:hidden@db/app?sslpassword=too")
    assert address.words(ValueError("a hidden\nthing, too")) == "a *** thing, ***"
    assert address.words(ValueError()) == "ValueError"


# --- what is there -------------------------------------------------------------------------------


async def test_a_database_holds_many_journals(postgres: Server) -> None:
    """Two journals of a database know nothing of each other, and can be open at once."""
    one, other = postgres.journal(), postgres.journal()
    async with opened(store_of(one)) as (first, _), opened(store_of(other)) as (second, past):
        assert past.is_new
        await claimed(first, b"a")
        assert not await second.knows([b"a"])
    assert (len(read(one)), len(read(other))) == (1, 0)


async def test_both_kinds_of_journal_have_the_same_columns(
    postgres: Server, tmp_path: Path
) -> None:
    """What a table has in SQLite it has in PostgreSQL, in the same order."""
    url = postgres.journal()
    async with opened(store_of(url)), opened(store_of(tmp_path / "j")):
        pass
    question = (
        "SELECT column_name FROM information_schema.columns WHERE table_schema = %s"
        " AND table_name = %s ORDER BY ordinal_position"
    )
    connection = sqlite3.connect(tmp_path / "j")
    for table in ("runs", "requests", "sent"):
        there = [name for (name,) in postgres.execute(question, Address.of(url).schema, table)]
        here = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        assert there == here
    connection.close()


async def refusal(url: str) -> str:
    """Answer why a journal is refused, and see that it can be let go."""
    with pytest.raises(ConfigurationError) as caught:
        await Journal(store_of(url), owner="me", limits=LIMITS).open()
    return str(caught.value)


async def test_what_is_no_journal_is_refused(postgres: Server) -> None:
    """Another's schema, and a journal of another version, are refused with what to do."""
    url = postgres.journal()
    with pytest.raises(ConfigurationError, match="there is no journal at postgresql://127"):
        JournalReader(url)
    postgres.execute(f'CREATE SCHEMA "{Address.of(url).schema}"')
    async with opened(store_of(url)):  # made for it by whoever may
        pass
    postgres.within(url, "UPDATE journal SET version = 99")
    assert "is of version 99, this package reads version" in await refusal(url)
    postgres.within(url, "UPDATE journal SET application = 'b'")
    assert "is no journal of this package" in await refusal(url)
    postgres.within(url, "DROP TABLE journal")
    assert "is no journal of this package" in await refusal(url)


async def test_a_server_that_cannot_keep_a_journal_is_refused(
    postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that does not hold every prompt, and an old release, are told as such."""
    name = f"latin_{os.getpid()}_{time.monotonic_ns()}"
    postgres.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0")
    url = postgres.journal().replace("/postgres?", f"/{name}?")
    assert "is in LATIN1" in await refusal(url)
    monkeypatch.setattr(session_module, "OLDEST", 99)
    assert "a journal needs 99 or later" in await refusal(postgres.journal())


async def test_a_failing_question_is_told(postgres: Server) -> None:
    """What the server refuses to answer is told, and ends nothing but that."""
    url = postgres.journal()
    async with opened(store_of(url)) as (journal, _):
        postgres.within(url, "ALTER TABLE requests RENAME TO elsewhere")
        with pytest.raises(JournalError, match=r'cannot be read: .*"requests" does not exist'):
            await journal.knows([b"a"])
        with JournalReader(url) as reader, pytest.raises(ConfigurationError, match="requests"):
            reader.count()
        postgres.within(url, "ALTER TABLE elsewhere RENAME TO requests")
        await claimed(journal)


# --- a lost connection ---------------------------------------------------------------------------


async def test_a_run_goes_on_over_a_new_connection(postgres: Server) -> None:
    """Connections that end between transactions, and before questions, are made again."""
    url = postgres.journal()
    async with opened(store_of(url)) as (journal, _):
        entry = entry_of(await claimed(journal))
        assert postgres.cut() == 1
        await journal.sending("submit", counts=True, mark=EntryMark(journal, entry))
        assert postgres.cut() == 1
        assert await journal.knows([b"a"])
        assert postgres.cut() == 1
        assert await journal.known([ID]) == set()
        journal.put(Submitted(entry, 1.0, ID))
    assert read(url)[0].prediction == ID


@contextmanager
def losing(monkeypatch: pytest.MonkeyPatch, *, after_commit: bool) -> Iterator[list[int]]:
    """Have the next transaction's connection end, before its commit or before its answer."""
    real = psycopg.Connection.transaction
    lost: list[int] = []

    @contextmanager
    def transaction(self: Any) -> Iterator[Any]:
        if lost:
            with real(self) as own:
                yield own
            return
        lost.append(1)
        if after_commit:
            with real(self) as own:
                yield own
            self.close()
        else:
            self.execute("BEGIN")
            yield None
            self.close()
        message = "the connection is lost"
        raise psycopg.OperationalError(message)

    with monkeypatch.context() as patch:
        patch.setattr(psycopg.Connection, "transaction", transaction)
        yield lost


@pytest.mark.parametrize("after_commit", [True, False], ids=["after", "before"])
async def test_a_transaction_whose_answer_is_lost_is_done_once(
    postgres: Server, monkeypatch: pytest.MonkeyPatch, after_commit: bool
) -> None:
    """Whether it was done is found out: neither is it lost nor done twice."""
    url = postgres.journal()
    async with opened(store_of(url)) as (journal, _):
        with losing(monkeypatch, after_commit=after_commit) as lost:
            first = entry_of(await claimed(journal, b"a", 0))
            assert lost
        assert entry_of(await claimed(journal, b"a", 1)) != first
        with losing(monkeypatch, after_commit=after_commit):
            number = await journal.sending("submit", counts=True, mark=EntryMark(journal, first))
        journal.answered(number, lost=False)
    assert [entry.state for entry in read(url)] == [State.UNCONFIRMED, State.QUEUED]
    with JournalReader(url) as reader:
        assert len([*reader.sent()]) == 1


async def test_a_transaction_that_each_time_ends_the_connection_is_given_up(
    postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried three times, not for ever."""
    real = PostgresStore._count
    tries: list[int] = []

    def cut(self: PostgresStore, session: Any) -> float:
        tries.append(session.pid)
        session.connection.close()
        return real(self, session)

    async with opened(store_of(postgres.journal())) as (journal, _):
        with monkeypatch.context() as patch:
            patch.setattr(PostgresStore, "_count", cut)
            with pytest.raises(JournalError, match="the connection is closed"):
                await claimed(journal)
        assert len(set(tries)) == len(tries) >= 3


async def test_a_lock_that_the_server_still_holds_is_taken_from_it(
    postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session whose end the server has not noticed is ended, and its lock taken over."""
    url = postgres.journal()
    store = store_of(url)
    assert isinstance(store, PostgresStore)
    async with opened(store) as (journal, _):
        await claimed(journal, b"a")
        lost = store._session
        monkeypatch.setattr(session_module.Session, "is_lost", property(lambda one: one is lost))
        await claimed(journal, b"b")
        assert store._session is not lost
        lost.connection.close()
    assert len(read(url)) == 2


async def test_a_run_that_was_taken_over_submits_nothing_more(postgres: Server) -> None:
    """While another run has the journal, and after it, the first one is over; its ids are named."""
    url = postgres.journal()
    async with opened(store_of(url)) as (first, _):
        entry = entry_of(await claimed(first))
        postgres.cut()
        async with opened(store_of(url), "other") as (second, past):
            assert past.running == ()
            with pytest.raises(JournalError, match="another run has it by now"):
                await first.sending("submit", counts=True, mark=EntryMark(first, entry))
            await claimed(second)
        await first.put(Submitted(entry, 1.0, ID)).done.wait()
        assert first.error().unwritten == (ID,)
    assert read(url)[0].state is State.QUEUED


async def test_a_run_that_was_taken_over_meanwhile_submits_nothing_more(postgres: Server) -> None:
    """A run that comes back after another one has come and gone is over as well."""
    url = postgres.journal()
    async with opened(store_of(url)) as (first, _):
        entry = entry_of(await claimed(first))
        postgres.cut()
        async with opened(store_of(url), "other"):
            pass
        with pytest.raises(JournalError, match="another run has written it meanwhile"):
            await first.sending("submit", counts=True, mark=EntryMark(first, entry))
    assert read(url)[0].state is State.QUEUED


async def test_a_lock_that_is_none_lets_nobody_in(postgres: Server) -> None:
    """Behind a pool that shares sessions a lock keeps nobody out; the count of runs does."""
    url = postgres.journal()
    async with opened(store_of(url)) as (journal, _):
        postgres.within(url, "UPDATE journal SET run = run + 1, written = 0")
        with pytest.raises(JournalError, match="another run has it by now"):
            await claimed(journal)
    assert read(url) == []


async def test_a_database_that_has_forgotten_is_noticed(postgres: Server) -> None:
    """A standby that lagged and took over is no ground to submit on."""
    url = postgres.journal()
    async with opened(store_of(url)) as (journal, _):
        for number in range(3):
            await claimed(journal, bytes([number]))
        postgres.within(url, "UPDATE journal SET written = written - 2")
        postgres.cut()
        with pytest.raises(JournalError, match="has forgotten what was written last"):
            await claimed(journal)


async def test_a_journal_that_is_gone_after_a_lost_connection_is_told(
    postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the tables are not there any more, the run ends once its patience does."""
    monkeypatch.setattr(store_module, "PATIENCE", 0.6)
    url = postgres.journal()
    async with opened(store_of(url)) as (journal, _):
        postgres.within(url, "DROP TABLE journal")
        postgres.cut()
        with pytest.raises(JournalError, match='"journal" does not exist'):
            await claimed(journal)


async def test_a_server_that_is_away_ends_submissions_and_still_gets_what_was_paid_for(
    postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Intents fail once its time is over; what was paid for is written when it is back."""
    monkeypatch.setattr(store_module, "PATIENCE", 0.6)
    url = postgres.journal()
    async with opened(store_of(url)) as (journal, _):
        entry = entry_of(await claimed(journal))
        mark = EntryMark(journal, entry)
        await journal.sending("submit", counts=True, mark=mark)
        await to_thread.run_sync(postgres.stop)
        try:
            with pytest.raises(JournalError, match="nothing more is submitted"):
                await claimed(journal, b"b")
            await journal.put(Submitted(entry, 1.0, ID)).done.wait()
            assert journal.error().unwritten == (ID,)
            with pytest.raises(JournalError, match="cannot be read"):
                await journal.knows([b"a"])
            with pytest.raises(JournalError):
                await journal.sending("submit", counts=True, mark=mark)
        finally:
            await to_thread.run_sync(postgres.start)
        journal.put(ended(entry))
    assert read(url)[0].state is State.MADE


async def test_intents_wait_for_a_server_that_restarts(postgres: Server) -> None:
    """A server that crashes and comes back within its time is waited for; nothing is lost."""
    url = postgres.journal()
    async with opened(store_of(url)) as (journal, _):
        entry = entry_of(await claimed(journal))
        await to_thread.run_sync(postgres.stop)
        numbers: list[int] = []

        async def intend() -> None:
            mark = EntryMark(journal, entry)
            numbers.append(await journal.sending("submit", counts=True, mark=mark))

        async with anyio.create_task_group() as group:
            group.start_soon(intend)
            await anyio.sleep(0.3)
            assert numbers == []
            await to_thread.run_sync(postgres.start)
        assert numbers == [1]
    assert read(url)[0].state is State.UNCONFIRMED


async def test_a_server_that_is_gone_at_the_end_is_nobodys_trouble(postgres: Server) -> None:
    """The end of a run is noted where that is possible."""
    url = postgres.journal()
    async with opened(store_of(url)) as (journal, _):
        await claimed(journal)
        postgres.cut()
    store = store_of(url)
    assert isinstance(store, PostgresStore)
    async with opened(store) as (journal, _):
        await claimed(journal)
        store._session.connection.close()
    with JournalReader(url) as reader:
        assert [run.ended for run in reader.runs()] == [None, None]


# --- clocks --------------------------------------------------------------------------------------


def run_at(started: float, steady: float, owner: str) -> Run:
    """Describe the turn of a host whose wall clock and monotonic clock are such."""
    return Run(started=started, steady=steady, owner=owner, limits=LIMITS)


@pytest.mark.parametrize("ahead", [-3600.0, 7200.0])
async def test_hosts_whose_clocks_differ_agree_on_what_is_past(
    postgres: Server, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    """How long ago something was is told by the database's clock, whatever the hosts' own say."""
    url = postgres.journal()
    store = store_of(url)
    wall, steady = time.time(), time.monotonic()
    await store.open(run_at(wall + ahead, steady, "first"))
    now = wall + ahead + time.monotonic() - steady
    claim = Claim(Wanted(b"a", "m/m"), 0, now - 30)
    await store.write([claim], durable=True)
    entry = entry_of(claim)
    changes: list[Change] = [
        Intended(entry, Sent(1, now - 20, "submit", counts=True)),
        Answered(1, now - 19),
        Sent(2, now - 10, "poll", counts=True),
        Sent(3, now - 9, "poll", counts=True),
        Unsent(3),
        Missed(entry, now - 8),
        Learned("{}"),
    ]
    await store.write(changes, durable=True)
    await store.close(now)
    second = run_at(time.time(), time.monotonic(), "second")
    past = await store.open(second)
    claim = Claim(Wanted(b"a", "m/m"), 0, second.started)
    await store.write([claim], durable=True)
    await store.close(second.started)
    assert claim.known is not None
    assert claim.known.intended == pytest.approx(second.started - 20, abs=2)
    assert claim.known.payer == ""
    snapshot = snapshot_of(
        past, LIMITS, "second", wall=second.started, steady=second.steady, settled=0.0
    )
    first, answered = sorted(snapshot["requests"])
    assert first == pytest.approx(second.started - 19, abs=2)
    assert answered == pytest.approx(second.started + LIMITS.grace, abs=2)
    await store.open(run_at(time.time(), time.monotonic(), "third"))
    with JournalReader(url) as reader:
        (record,) = reader.entries()
        assert reader.now() - record.queued == pytest.approx(30, abs=2)
        assert record.absent is not None
    await store.close(time.time())
    past = await store.open(run_at(time.time(), time.monotonic(), "fourth"))
    await store.close(time.time())
    assert past.runs[0].next is not None
    assert past.runs[0].next[0] == pytest.approx(second.started, abs=2)


def test_the_lead_of_a_clock_is_known_within_the_shortest_round_trip() -> None:
    """Each answer narrows it; a clock that was set, or stood still, is followed."""
    clock = DatabaseClock()
    clock.learn(10.0, 110.5, 11.0)
    assert (clock.least, clock.most) == (99.5, 100.5)
    clock.learn(20.0, 120.1, 20.2)
    assert (clock.least, clock.most) == pytest.approx((99.9, 100.1))
    clock.learn(30.0, 130.4, 31.0)
    assert (clock.least, clock.most) == pytest.approx((99.9, 100.1))
    clock.learn(40.0, 3740.1, 40.2)
    assert (clock.least, clock.most) == pytest.approx((3699.9, 3700.1))
    assert clock.there(41.0) == pytest.approx(3741.1)
    assert clock.here(3741.0) == pytest.approx(41.1)
