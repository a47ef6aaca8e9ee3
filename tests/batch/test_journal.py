"""The journal itself: what is in the file when, who may use it, and what happens when it breaks."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from wavespeed_async.batch import JournalReader, SqliteStore, State
from wavespeed_async.batch import _lock as lock_module
from wavespeed_async.batch import _sqlite as sqlite_module
from wavespeed_async.batch._entries import Wanted
from wavespeed_async.batch._journal import EntryMark, Journal
from wavespeed_async.batch._lock import is_held
from wavespeed_async.batch._schema import VERSION
from wavespeed_async.batch._store import (
    Change,
    Claim,
    Ended,
    Failed,
    Missed,
    Past,
    Run,
    Saved,
    Submitted,
    Withdrawn,
)
from wavespeed_async.errors import ConfigurationError, JournalError
from wavespeed_async.limits import Limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from wavespeed_async.batch import EntryRecord
    from wavespeed_async.batch._store import Store

LIMITS = Limits(grace=3.0)
ID = "6488c2754f6f4dfea924382fa14d11bd"


@asynccontextmanager
async def opened(store: Store, owner: str = "me") -> AsyncIterator[tuple[Journal, Past]]:
    """Open a journal, and have it written."""
    journal = Journal(store, owner=owner, limits=LIMITS)
    past = await journal.open()
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(journal.keep_writing)
            yield journal, past
            journal.finish()
    finally:
        await journal.close()


async def claimed(journal: Journal, digest: bytes = b"a", position: int = 0) -> Claim:
    """Ask for an entry."""
    fields = json.dumps({"prompt": "a", "size": "64*64"})
    claim = Claim(Wanted(digest, "m/m", fields, 7), position, journal.now())
    await journal.until(journal.put(claim))
    return claim


def entry_of(claim: Claim) -> int:
    """Answer the entry's number."""
    assert claim.known is not None
    return claim.known.entry


def read(path: Path) -> list[EntryRecord]:
    """Read all entries."""
    with JournalReader(path) as reader:
        return [*reader.entries()]


def ended(entry: int, status: str = "completed") -> Ended:
    """Say how it ended."""
    return Ended(entry, 5.0, status, 1500, json.dumps({"outputs": ["https://x/1"]}), None)


# --- an entry, step by step ----------------------------------------------------------------------


async def test_an_entry_goes_from_state_to_state(tmp_path: Path) -> None:
    """Each step is in the file as soon as it was waited for, and tells where the entry stands."""
    path = tmp_path / "deep" / "j.sqlite"
    async with opened(SqliteStore(path)) as (journal, past):
        assert past.is_new
        entry = entry_of(await claimed(journal))
        mark = EntryMark(journal, entry)

        async def state(*changes: Change) -> State:
            for change in changes:
                journal.put(change)
            await journal.flush()
            await anyio.sleep(0.02)
            return read(path)[0].state

        assert await state() is State.QUEUED
        assert read(path)[0].prompt == "a"
        number = await journal.sending("submit", counts=True, mark=mark)
        assert await state() is State.UNCONFIRMED
        journal.answered(number, lost=False)
        mark.withdrawn()
        assert await state() is State.QUEUED
        await journal.sending("submit", counts=True, mark=mark)
        assert await state(Missed(entry, 2.0)) is State.UNCONFIRMED
        assert read(path)[0].absent == 2.0
        assert await state(Submitted(entry, 3.0, ID)) is State.RUNNING
        assert await state(ended(entry)) is State.MADE
        assert await state(Saved(entry, 6.0, ("1.png",))) is State.SAVED
        assert await state(Failed(entry, 7.0, "why")) is State.SAVED
    (record,) = read(path)
    assert (record.prediction, record.outputs, record.paths) == (ID, ("https://x/1",), ("1.png",))
    assert (record.ready, record.size, record.error, record.seed) == (4.5, "64*64", "why", 7)
    assert [*tmp_path.glob("deep/*")] == [path]  # one file is left


async def test_what_ended_badly_is_told(tmp_path: Path) -> None:
    """A prediction that failed is a failed entry; where the API tells no time, its end is seen."""
    path = tmp_path / "j"
    async with opened(SqliteStore(path)) as (journal, _):
        entry = entry_of(await claimed(journal))
        journal.put(Ended(entry, 5.0, "failed", None, json.dumps({"outputs": []}), "no"))
        with JournalReader(path) as reader:
            await journal.flush()
            await anyio.sleep(0.02)
            assert reader.count()[State.FAILED] == 1
    (record,) = read(path)
    assert (record.state, record.ready, record.error) == (State.FAILED, 5.0, "no")


async def test_a_reader_sees_requests_runs_and_changes(tmp_path: Path) -> None:
    """Requests of the API and runs are listed; a reader can tell that something was written."""
    path = tmp_path / "j"
    async with opened(SqliteStore(path)) as (journal, _):
        lost = await journal.sending("poll", counts=True, mark=None)
        gone = await journal.sending("list", counts=True, mark=None)
        with JournalReader(path) as reader:
            before = reader.version()
            journal.answered(lost, lost=True)
            journal.unsent(gone)
            await journal.sending("poll", counts=False, mark=None)
            await claimed(journal)
            assert reader.version() != before
            first, second = reader.sent()
            assert (first.kind, first.counts, second.counts) == ("poll", True, False)
            assert first.answered is not None
            assert first.answered - first.at >= LIMITS.grace
            assert second.answered is None
            assert [*reader.sent(since=first.at + 1e9)] == []
            assert reader.runs()[0].ended is None
    with JournalReader(path) as reader:
        (run,) = reader.runs()
        assert run.ended is not None
        assert (run.requests, run.per, run.concurrency) == (120, 60.0, 20)
        assert reader.count()[State.QUEUED] == 1


async def test_equal_requests_have_entries_of_their_own(tmp_path: Path) -> None:
    """Equal requests are told apart by their number, in this run and the next."""
    store = SqliteStore(tmp_path / "j")
    async with opened(store) as (journal, _):
        first = [entry_of(await claimed(journal, b"a", n)) for n in range(3)]
        other = entry_of(await claimed(journal, b"b"))
        assert len({*first, other}) == 4
    async with opened(store) as (journal, past):
        assert not past.is_new
        assert await journal.knows([b"x", b"a"])
        assert not await journal.knows([b"x"])
        again = [entry_of(await claimed(journal, b"a", n)) for n in range(4)]
        assert again[:3] == first
        assert again[3] not in first
    records = read(tmp_path / "j")
    assert [record.asked for record in records] == [True] * 4 + [False]


async def test_a_journal_tells_what_was_left(tmp_path: Path) -> None:
    """Taken up again, it tells what runs, what is unconfirmed, and what was sent lately."""
    store = SqliteStore(tmp_path / "j")
    async with opened(store) as (journal, _):
        running, lost, absent = [entry_of(await claimed(journal, bytes([n]))) for n in range(3)]
        for entry in (lost, absent):
            await journal.sending("submit", counts=True, mark=EntryMark(journal, entry))
        journal.put(Missed(absent, 1.0))
        journal.put(Submitted(running, 1.0, ID))
        assert await journal.known([ID, "other"]) == {ID}
    async with opened(store) as (_, past):
        assert past.running == (ID,)
        assert len(past.unconfirmed) == 1
        assert past.sent == 2
        ((_, _, owner, following, _, requests),) = [
            (run.started, run.steady, run.owner, run.next, run.last, run.requests)
            for run in past.runs
        ]
        assert (owner, following) == ("me", None)
        assert [answered for _, answered in requests] == [None, None]
    async with opened(store) as (journal, past):
        await journal.sending("poll", counts=True, mark=None)
        assert past.runs[0].next is not None


# --- who may use it ------------------------------------------------------------------------------


async def test_a_second_run_is_turned_away_at_once(tmp_path: Path) -> None:
    """While a run has the journal another gets a clear error; afterwards it may have it."""
    path = tmp_path / "j"
    async with opened(SqliteStore(path)):
        other = Journal(SqliteStore(path), owner="b", limits=LIMITS)
        with pytest.raises(ConfigurationError, match="in use by another run"):
            await other.open()
    async with opened(SqliteStore(path)):
        pass


async def test_a_lock_that_was_removed_meanwhile_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock file that its last owner has just removed is no lock: another one is made."""
    real, path = lock_module._lock_file, tmp_path / "j"
    removed: list[int] = []

    def remove_first(file: int) -> None:
        real(file)
        if not removed:
            removed.append(file)
            (tmp_path / "j-lock").unlink()

    monkeypatch.setattr(lock_module, "_lock_file", remove_first)
    async with opened(SqliteStore(path)):
        assert (tmp_path / "j-lock").exists()


async def refusal(path: Path) -> str:
    """Answer why a journal is refused, and see that it can be let go."""
    journal = Journal(SqliteStore(path), owner="me", limits=LIMITS)
    with pytest.raises(ConfigurationError) as caught:
        await journal.open()
    return str(caught.value)


async def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    """A folder, another database, a text, another version: each is refused with what to do."""
    (tmp_path / "file").write_text("a" * 5000)
    assert "is damaged" in await refusal(tmp_path / "file")
    assert "is a folder" in await refusal(tmp_path)
    assert "cannot be written" in await refusal(tmp_path / "file" / "j")
    with sqlite3.connect(tmp_path / "db") as connection:
        connection.execute("CREATE TABLE a (b)")
    connection.close()
    assert "no journal of this package" in await refusal(tmp_path / "db")
    path = tmp_path / "j"
    async with opened(SqliteStore(path)):
        pass
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 9")
    connection.close()
    assert f"version 9, this package reads version {VERSION}" in await refusal(path)
    with pytest.raises(ConfigurationError, match="version 9"):
        JournalReader(path)
    with pytest.raises(ConfigurationError, match="no journal at"):
        JournalReader(tmp_path / "nothing")


async def test_a_read_only_journal_is_refused(tmp_path: Path) -> None:
    """A journal that somebody has made read-only is left alone, even by root."""
    path = tmp_path / "j"
    async with opened(SqliteStore(path)):
        pass
    path.chmod(0o444)
    assert "is read-only" in await refusal(path)


async def test_a_lock_that_cannot_be_made_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that takes no file is told before anything is sent."""

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        assert "cannot be written: Permission denied" in await refusal(tmp_path / "j")


async def test_a_damaged_journal_is_refused(tmp_path: Path) -> None:
    """A journal with damaged pages is refused, and says what is lost without a copy."""
    path = tmp_path / "j"
    async with opened(SqliteStore(path)) as (journal, _):
        for number in range(300):
            await claimed(journal, number.to_bytes(2))
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = os.urandom(len(content) - len(content) // 2)
    path.write_bytes(content)
    assert "put a copy of it back" in await refusal(path)


async def test_a_journal_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    """What SQLite cannot open is told as such, not as damaged."""
    path = tmp_path / "j"
    async with opened(SqliteStore(path)):
        pass
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("BEGIN EXCLUSIVE")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_module, "PATIENCE", 0.01)
        assert "cannot be used: database is locked" in await refusal(path)
    connection.close()


async def test_a_journal_that_was_being_made_is_taken_up(tmp_path: Path) -> None:
    """A process that is killed as it makes its journal leaves none that is refused."""
    path = tmp_path / "j"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    assert path.stat().st_size
    async with opened(SqliteStore(path)) as (journal, past):
        assert past.is_new
        await claimed(journal)
    assert len(read(path)) == 1


async def test_a_journal_has_one_lock_by_whatever_name(tmp_path: Path) -> None:
    """A link to a journal is the same journal: a second run is turned away."""
    path, link = tmp_path / "j", tmp_path / "elsewhere" / "link"
    link.parent.mkdir()
    link.symlink_to(path)
    assert not is_held(path)
    async with opened(SqliteStore(path)):
        assert is_held(path)
        assert is_held(link)
        assert "in use by another run" in await refusal(link)
    assert not is_held(path)


async def test_who_looks_whether_a_journal_is_held_is_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that meets the moment of such a look begins all the same; a lock that fails is free."""
    real, path = lock_module._lock_file, tmp_path / "j"
    calls = []

    def held_at_first(file: int) -> None:
        calls.append(file)
        if len(calls) == 1:
            raise BlockingIOError
        real(file)

    monkeypatch.setattr(lock_module, "_lock_file", held_at_first)
    async with opened(SqliteStore(path)):
        pass

    def refuse(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(lock_module, "_lock_file", refuse)
    path.with_name("j-lock").touch()
    assert not is_held(path)


async def test_damaged_text_is_told(tmp_path: Path) -> None:
    """JSON that cannot be read is left out; what is no text any more is told as damage."""
    path = tmp_path / "j"
    async with opened(SqliteStore(path)) as (journal, _):
        await claimed(journal)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE requests SET fields = '{', answer = '[]', paths = '{}'")
    (entry,) = read(path)
    assert (entry.fields, entry.outputs, entry.paths, entry.prompt) == ({}, (), (), "")
    with connection:
        connection.execute("UPDATE requests SET paths = CAST(x'ff' AS TEXT)")
    connection.close()
    with pytest.raises(ConfigurationError, match="is damaged"):
        read(path)


async def test_damage_that_is_met_in_a_run_ends_it(tmp_path: Path) -> None:
    """Damage that a run meets is a journal that cannot be written, told in order."""
    path = tmp_path / "j"
    async with opened(SqliteStore(path)) as (journal, _):
        entry = entry_of(await claimed(journal))
        journal.put(Saved(entry, 1.0, ("1.png",)))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE requests SET paths = '['")
    connection.close()
    async with opened(SqliteStore(path)) as (journal, _):
        with pytest.raises(JournalError, match="cannot be written"):
            await claimed(journal)


# --- when it breaks ------------------------------------------------------------------------------


class Breaking:
    """Keep nothing, and fail as often as is said."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.written: list[Change] = []

    async def open(self, run: Run) -> Past:
        return Past()

    async def knows(self, digests: Sequence[bytes]) -> bool:
        return False

    async def known(self, predictions: Sequence[str]) -> set[str]:
        return set()

    async def write(self, changes: Sequence[Change], *, durable: bool) -> OSError | None:
        await anyio.sleep(0.01)
        if self.failures:
            self.failures -= 1
            raise OSError(28, "No space left on device")
        self.written += changes
        return None

    async def close(self, at: float) -> None:
        return


async def test_a_journal_that_breaks_submits_nothing_more(tmp_path: Path) -> None:
    """Once it cannot be written, intents fail; what was paid for is kept, and written later."""
    store = Breaking(failures=4)
    async with opened(store) as (journal, _):
        submitted = Submitted(1, 1.0, ID)
        await journal.put(submitted).done.wait()
        with pytest.raises(JournalError, match=r"nothing more is submitted: .*No space") as caught:
            await journal.sending("submit", counts=True, mark=EntryMark(journal, 2))
        assert caught.value.unwritten == (ID,)
        assert ID in str(caught.value)
        with pytest.raises(JournalError):
            await claimed(journal)
        await journal.sending("poll", counts=True, mark=None)  # what runs is still asked for
    kinds = {type(change) for change in store.written}
    assert submitted in store.written
    assert Claim not in kinds
    assert Withdrawn in kinds


async def test_what_cannot_be_written_to_the_end_is_named() -> None:
    """What is never written is named by the error."""
    journal = Journal(Breaking(failures=99), owner="me", limits=LIMITS)
    async with anyio.create_task_group() as group:
        await journal.open()
        group.start_soon(journal.keep_writing)
        await journal.put(Submitted(1, 1.0, ID)).done.wait()
        journal.finish()
    await journal.close()
    assert journal.error().unwritten == (ID,)


async def test_changes_are_written_together() -> None:
    """What comes while the store is busy is written in one go."""
    store = Breaking(failures=0)
    calls = []
    write = store.write

    async def counted(changes: Sequence[Change], *, durable: bool) -> OSError | None:
        calls.append(len(changes))
        return await write(changes, durable=durable)

    store.write = counted  # type: ignore[method-assign]  # to count
    async with opened(store) as (journal, _), anyio.create_task_group() as group:
        for number in range(50):
            group.start_soon(claimed, journal, number.to_bytes(1))
    assert sum(calls) == 50
    assert len(calls) <= 3


async def test_an_intent_that_is_cancelled_is_taken_back(tmp_path: Path) -> None:
    """A submission that is cancelled while its intent is written has none."""
    path = tmp_path / "j"
    async with opened(SqliteStore(path)) as (journal, _):
        entry = entry_of(await claimed(journal))
        with anyio.CancelScope() as scope:
            scope.cancel()
            await journal.sending("submit", counts=True, mark=EntryMark(journal, entry))
    assert read(path)[0].state is State.QUEUED


async def test_a_full_disk_leaves_room_for_what_was_paid(tmp_path: Path) -> None:
    """On a full disk an intent fails, and an id is still written: room was kept for it."""
    path = tmp_path / "j"
    store = SqliteStore(path)
    async with opened(store) as (journal, _):
        entry = entry_of(await claimed(journal))
        lock = tmp_path / "j-lock"
        assert lock.stat().st_size == lock_module.ROOM
        (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(JournalError, match="full"):
            for number in range(1000):
                await claimed(journal, number.to_bytes(2))
        assert lock.stat().st_size == 0
        journal.put(Submitted(entry, 1.0, ID))
    assert ID in {record.prediction for record in read(path)}


async def test_a_log_that_is_full_is_emptied(tmp_path: Path) -> None:
    """A write that fails once succeeds after the log was emptied, and nobody hears of it."""
    store = SqliteStore(tmp_path / "j")
    real = store._transact
    failures = [sqlite3.OperationalError("disk I/O error")]

    def transact(changes: Sequence[Change], *, durable: bool) -> None:
        if failures:
            raise failures.pop()
        real(changes, durable=durable)

    store._transact = transact  # type: ignore[method-assign]  # to fail once
    async with opened(store) as (journal, _):
        await claimed(journal)
        assert journal.failure is None
    assert len(read(tmp_path / "j")) == 1


@pytest.mark.parametrize("whole_folder", [True, False])
async def test_a_journal_that_is_removed_is_written_anew(
    tmp_path: Path, whole_folder: bool
) -> None:
    """A journal that is removed in mid-run stops submissions, and is there again with all in it."""
    path = tmp_path / "out" / "j"
    async with opened(SqliteStore(path)) as (journal, _):
        entry = entry_of(await claimed(journal))
        if whole_folder:
            shutil.rmtree(path.parent)
        else:
            path.unlink()
        with pytest.raises(JournalError, match="was removed"):
            await journal.sending("submit", counts=True, mark=EntryMark(journal, entry))
        await journal.put(Submitted(entry, 1.0, ID)).done.wait()
        assert path.exists()
    assert read(path)[0].prediction == ID


async def test_a_journal_that_is_removed_at_the_end_is_written_anew(tmp_path: Path) -> None:
    """One that is removed after the last submission is there again in the end."""
    path = tmp_path / "j"
    async with opened(SqliteStore(path)) as (journal, _):
        entry = entry_of(await claimed(journal))
        path.unlink()
        await journal.put(Submitted(entry, 1.0, ID)).done.wait()
        assert "was removed" in str(journal.error())
        path.unlink()
    assert read(path)[0].prediction == ID


async def test_a_removed_journal_that_cannot_be_written_anew_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the disk is full then, the run ends in order; once there is room all of it is there."""
    path = tmp_path / "j"
    store = SqliteStore(path)
    real = store._connect
    async with opened(store) as (journal, _):
        entry = entry_of(await claimed(journal))
        path.unlink()

        def full() -> None:
            store._opened = sqlite3.connect(path)
            message = "database or disk is full"
            raise sqlite3.OperationalError(message)

        with monkeypatch.context() as patch:
            patch.setattr(store, "_connect", full)
            await journal.put(Submitted(entry, 1.0, ID)).done.wait()
            assert journal.error().unwritten == (ID,)
            assert "was removed: database or disk is full" in str(journal.error())
        store._connect = real  # type: ignore[method-assign]  # there is room again
    assert read(path)[0].prediction == ID
    assert [*tmp_path.iterdir()] == [path]


async def test_a_lock_that_another_run_has_taken_stays_its_own(tmp_path: Path) -> None:
    """A run whose folder was removed does not remove the lock of the next one there."""
    path = tmp_path / "out" / "j"
    store = SqliteStore(path)
    async with opened(store) as (journal, _):
        await claimed(journal)
        shutil.rmtree(path.parent)
        async with opened(SqliteStore(path)) as (other, _):
            await claimed(other)
            await journal.put(Submitted(1, 1.0, ID)).done.wait()
            assert journal.error().unwritten == (ID,)
            store._lock.release()
            assert is_held(path)


async def test_a_folder_that_another_run_has_taken_is_left_to_it(tmp_path: Path) -> None:
    """A removed journal is not written anew where another run begins; what it lacks is named."""
    path = tmp_path / "out" / "j"
    store, other = SqliteStore(path), lock_module.Lock(path)
    async with opened(store) as (journal, _):
        await claimed(journal)
        shutil.rmtree(path.parent)
        path.parent.mkdir()
        other.take(path)
        await journal.put(Submitted(1, 1.0, ID)).done.wait()
        assert journal.error().unwritten == (ID,)
        assert "in use by another run" in str(journal.error())
        store._lock.empty()  # of no effect: it has none any more
        store._lock.fill()
        assert not path.exists()
        other.release()
    assert read(path)[0].prediction == ID


async def test_a_request_beside_a_journal_that_ends_goes_on(tmp_path: Path) -> None:
    """What is sent while a journal ends is not kept waiting for it."""
    async with opened(SqliteStore(tmp_path / "j")) as (journal, _):
        pass
    with anyio.fail_after(5):
        await journal.sending("poll", counts=True, mark=None)


async def test_a_journal_that_is_replaced_is_not_written_over(tmp_path: Path) -> None:
    """Another file in its place stops the run; what it lacks is named."""
    path = tmp_path / "j"
    async with opened(SqliteStore(path)) as (journal, _):
        await claimed(journal)
        path.rename(tmp_path / "old")
        path.write_text("mine")
        await journal.put(Submitted(1, 1.0, ID)).done.wait()
        assert journal.error().unwritten == (ID,)
        assert "was replaced" in str(journal.error())
    assert path.read_text() == "mine"


async def test_a_journal_made_read_only_stops_submissions(tmp_path: Path) -> None:
    """Made read-only in mid-run it stops the run, and still takes what was paid for."""
    path = tmp_path / "j"
    async with opened(SqliteStore(path)) as (journal, _):
        entry = entry_of(await claimed(journal))
        path.chmod(0o444)
        with pytest.raises(JournalError, match="made read-only"):
            await journal.sending("submit", counts=True, mark=EntryMark(journal, entry))
        journal.put(Submitted(entry, 1.0, ID))
    assert read(path)[0].prediction == ID


async def test_a_failed_transaction_leaves_nothing_behind(tmp_path: Path) -> None:
    """Of changes that cannot all be written none is."""
    path = tmp_path / "j"
    store = SqliteStore(path)
    async with opened(store) as (journal, _):
        claim = Claim(Wanted(b"a"), 0, 1.0)
        odd: Any = Saved(1, object(), ())  # type: ignore[arg-type]  # what SQLite has not
        with pytest.raises(OSError, match="type"):
            await store.write([claim, odd], durable=True)
        assert not await journal.knows([b"a"])
