"""The journal itself: what is in the file when, who may use it, and what happens when it breaks."""

from __future__ import annotations

import os
import shutil
import sqlite3
from typing import TYPE_CHECKING

import anyio
import pytest

from tests.batch.steps import ID, LIMITS, claimed, entry_of, opened, read
from wavespeed_async.batch import JournalReader, SqliteStore
from wavespeed_async.batch import _lock as lock_module
from wavespeed_async.batch import _sqlite as sqlite_module
from wavespeed_async.batch._journal import EntryMark, Journal
from wavespeed_async.batch._lock import is_held
from wavespeed_async.batch._schema import VERSION
from wavespeed_async.batch._store import (
    Change,
    Claim,
    Past,
    Run,
    Saved,
    Submitted,
    Withdrawn,
)
from wavespeed_async.errors import ConfigurationError, JournalError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


# --- who may use it ------------------------------------------------------------------------------


async def test_a_run_leaves_one_file(tmp_path: Path) -> None:
    """Folders are made, and what helped during the run is gone after it."""
    path = tmp_path / "deep" / "j.sqlite"
    async with opened(SqliteStore(path)) as (journal, _):
        await claimed(journal)
    assert [*tmp_path.glob("deep/*")] == [path]


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
