"""What any storage of a journal has to do, asked of each: a file, and a real PostgreSQL."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import anyio
import pytest

from tests.batch.steps import ID, LIMITS, claimed, ended, entry_of, opened, read
from wavespeed_async.batch import JournalReader, State, store_of
from wavespeed_async.batch._entries import Wanted
from wavespeed_async.batch._journal import EntryMark, Journal
from wavespeed_async.batch._store import (
    Claim,
    Ended,
    Failed,
    Learned,
    Missed,
    Saved,
    Submitted,
)
from wavespeed_async.errors import ConfigurationError

if TYPE_CHECKING:
    from typing import Any

    from wavespeed_async.batch._store import Change


def about(seconds: float) -> Any:
    """Compare with a time that another clock may have told."""
    return pytest.approx(seconds, abs=1.0)


# --- an entry, step by step ----------------------------------------------------------------------


async def test_an_entry_goes_from_state_to_state(journal_at: str) -> None:
    """Each step is kept as soon as it was waited for, and tells where the entry stands."""
    async with opened(store_of(journal_at)) as (journal, past):
        assert past.is_new
        entry = entry_of(await claimed(journal))
        mark = EntryMark(journal, entry)

        async def state(*changes: Change) -> State:
            for change in changes:
                journal.put(change)
            await journal.known([])
            return read(journal_at)[0].state

        assert await state() is State.QUEUED
        assert read(journal_at)[0].prompt == "a"
        number = await journal.sending("submit", counts=True, mark=mark)
        assert await state() is State.UNCONFIRMED
        journal.answered(number, lost=False)
        mark.withdrawn()
        assert await state() is State.QUEUED
        await journal.sending("submit", counts=True, mark=mark)
        assert await state(Missed(entry, 2.0)) is State.UNCONFIRMED
        assert read(journal_at)[0].absent == about(2.0)
        assert await state(Submitted(entry, 3.0, ID)) is State.RUNNING
        assert await state(ended(entry)) is State.MADE
        assert await state(Saved(entry, 6.0, ("1.png",))) is State.SAVED
        assert await state(Failed(entry, 7.0, "why")) is State.SAVED
    (record,) = read(journal_at)
    assert (record.prediction, record.outputs, record.paths) == (ID, ("https://x/1",), ("1.png",))
    assert (record.size, record.error, record.seed) == ("64*64", "why", 7)
    assert record.ready == about(4.5)


async def test_what_ended_badly_is_told(journal_at: str) -> None:
    """A prediction that failed is a failed entry; where the API tells no time, its end is seen."""
    async with opened(store_of(journal_at)) as (journal, _):
        entry = entry_of(await claimed(journal))
        journal.put(Ended(entry, 5.0, "failed", None, json.dumps({"outputs": []}), "no"))
        with JournalReader(journal_at) as reader:
            await journal.known([])
            assert reader.count()[State.FAILED] == 1
    (record,) = read(journal_at)
    assert (record.state, record.ready, record.error) == (State.FAILED, about(5.0), "no")


async def test_a_reader_sees_requests_runs_and_changes(journal_at: str) -> None:
    """Requests of the API and runs are listed; a reader can tell that something was written."""
    async with opened(store_of(journal_at)) as (journal, _):
        lost = await journal.sending("poll", counts=True, mark=None)
        gone = await journal.sending("list", counts=True, mark=None)
        with JournalReader(journal_at) as reader:
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
            assert reader.is_held()
    with JournalReader(journal_at) as reader:
        assert not reader.is_held()
        (run,) = reader.runs()
        assert run.ended is not None
        assert (run.requests, run.per, run.concurrency) == (120, 60.0, 20)
        assert reader.count()[State.QUEUED] == 1


async def test_equal_requests_have_entries_of_their_own(journal_at: str) -> None:
    """Equal requests are told apart by their number, in this run and the next."""
    store = store_of(journal_at)
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
    records = read(journal_at)
    assert [record.asked for record in records] == [True] * 4 + [False]


async def test_a_journal_tells_what_was_left(journal_at: str) -> None:
    """Taken up again, it tells what runs, what is unconfirmed, and what was sent lately."""
    store = store_of(journal_at)
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


async def test_a_second_run_is_turned_away_at_once(journal_at: str) -> None:
    """While a run has the journal another gets a clear error; afterwards it may have it."""
    async with opened(store_of(journal_at)):
        other = Journal(store_of(journal_at), owner="b", limits=LIMITS)
        with pytest.raises(ConfigurationError, match="in use by another run"):
            await other.open()
    async with opened(store_of(journal_at)):
        pass


async def test_an_intent_that_is_cancelled_is_taken_back(journal_at: str) -> None:
    """A submission that is cancelled while its intent is written has none."""
    async with opened(store_of(journal_at)) as (journal, _):
        entry = entry_of(await claimed(journal))
        with anyio.CancelScope() as scope:
            scope.cancel()
            await journal.sending("submit", counts=True, mark=EntryMark(journal, entry))
    assert read(journal_at)[0].state is State.QUEUED


async def test_a_failed_transaction_leaves_nothing_behind(journal_at: str) -> None:
    """Of changes that cannot all be written none is."""
    store = store_of(journal_at)
    async with opened(store) as (journal, _):
        claim = Claim(Wanted(b"a"), 0, 1.0)
        odd = Saved(1, 1.0, (object(),))  # type: ignore[arg-type]  # what no storage has
        with pytest.raises(OSError, match="serializable"):
            await store.write([claim, odd], durable=True)
        assert not await journal.knows([b"a"])


async def test_an_entry_that_is_asked_for_again_tells_all_that_is_known(journal_at: str) -> None:
    """Another run learns the seed, times, id, end, files and payer of an entry."""
    store = store_of(journal_at)
    async with opened(store) as (journal, _):
        claim = await claimed(journal)
        assert claim.known is not None
        assert (claim.known.seed, claim.known.intended, claim.known.payer) == (7, None, None)
        entry = claim.known.entry
        await journal.sending("submit", counts=True, mark=EntryMark(journal, entry))
        for change in (Submitted(entry, 3.0, ID), ended(entry), Saved(entry, 6.0, ("1.png",))):
            journal.put(change)
    async with opened(store) as (journal, _):
        known = (await claimed(journal)).known
        assert known is not None
        assert (known.entry, known.prediction, known.paths) == (entry, ID, ("1.png",))
        assert (known.submitted, known.payer) == (about(3.0), "")
        assert known.intended == about(journal.now())
        assert json.loads(known.answer or "")["outputs"] == ["https://x/1"]


async def test_a_prediction_that_exists_has_an_entry(journal_at: str) -> None:
    """An item that is an id is known by it from the start."""
    async with opened(store_of(journal_at)) as (journal, _):
        claim = Claim(Wanted(b"p", prediction=ID), 0, journal.now())
        await journal.until(journal.put(claim))
        assert claim.known is not None
        assert claim.known.prediction == ID
        assert claim.known.intended == claim.known.submitted == about(journal.now())
        assert await journal.known([ID]) == {ID}


async def test_what_was_learned_is_handed_on(journal_at: str) -> None:
    """What one process has learned the next one is told, and the same one is not."""
    store = store_of(journal_at)
    async with opened(store, "first") as (journal, past):
        assert past.learned is None
        journal.put(Learned("{}"))
    async with opened(store, "first") as (_, past):
        assert past.learned is None
    async with opened(store, "second") as (_, past):
        assert past.learned == "{}"


async def test_texts_of_all_kinds_are_kept(journal_at: str) -> None:
    """Quotes, percent and question marks, and any script, come back as they were."""
    odd = "100 % of 'what?' is \\u0000 \"%s\" ? 灯塔 🗼"
    async with opened(store_of(journal_at)) as (journal, _):
        fields = json.dumps({"prompt": odd}, ensure_ascii=False)
        claim = Claim(Wanted(b"a", "m/m", fields, 2**62), 0, journal.now())
        await journal.until(journal.put(claim))
        journal.put(Failed(entry_of(claim), 1.0, odd))
    (record,) = read(journal_at)
    assert (record.prompt, record.error, record.seed) == (odd, odd, 2**62)


async def test_the_journals_clock_is_that_of_its_times(journal_at: str) -> None:
    """What a reader takes for now is by the same clock as what it reads."""
    async with opened(store_of(journal_at)) as (journal, _):
        await claimed(journal)
        with JournalReader(journal_at) as reader:
            (entry,) = reader.entries()
            assert 0 <= reader.now() - entry.queued + 0.1 < 30
