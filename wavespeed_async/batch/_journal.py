"""The journal: what is asked, sent, made and saved, on disk before it matters.

Why. A run that is killed at any moment must go on without paying twice and without losing what was
paid for. So the order is:

1. A request that is taken from the input gets an **entry** (`Claim`): by the digest of its content
   and its number among equal ones, so that a changed, grown or reordered input finds its entries
   again. With it stands the seed that was drawn.
2. Before a submission leaves, its **intent** is durable (`Intended`): flushed to the disk. Before
   any other request leaves it is written (`Sent`), though not flushed: what was handed to the
   operating system outlives the process, and a machine that lost its power takes longer than the
   window to come back. So the next process knows all that may have counted at the server.
3. The **id** is written as soon as the submission's answer is there (`Submitted`). An answer that
   proves that nothing was made takes the intent back (`Withdrawn`).
4. The **end** is written with the outputs (`Ended`), then the files (`Saved`). What an outcome
   failed of otherwise is noted for readers (`Failed`), and decides nothing.

So an entry with an intent and without an id is **unconfirmed**: the submission may exist. It is
looked for in the API's list, and never sent again in silence.

How it is written. `Journal` collects changes while the store is busy and hands them over together:
one transaction, and at most one flush, for all that came meanwhile. Those who need their change to
be on the disk wait for that; nobody else does. `Store` is all that a storage has to do: SQLite's is
in `_sqlite.py`.

When it cannot be written (the disk is full, the folder is gone), intents fail, so that nothing is
sent any more; all else is kept and tried again with each further change, and at the end. What then
is still not on the disk is named by `JournalError`.

Reading. `_reader.py` reads a journal from any process while another writes it: entries with their
times, the requests of the limiter's window, the runs.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeAlias

import anyio
from attrs import define, frozen

from wavespeed_async.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wavespeed_async.batch._entries import Known, Wanted
    from wavespeed_async.limits import Limits, Slot

__all__ = [
    "Answered",
    "Change",
    "Claim",
    "Ended",
    "EntryMark",
    "Failed",
    "Intended",
    "Journal",
    "Missed",
    "Past",
    "PastRun",
    "Run",
    "Saved",
    "Sent",
    "Store",
    "Submitted",
    "Unsent",
    "Withdrawn",
]


# --- what is written -----------------------------------------------------------------------------
# Times are Unix seconds by the clock of the run: the wall clock at its start, and steady from then.


@define(eq=False)
class Claim:
    """Ask for an entry, known or new.

    Attributes:
        wanted: What is asked for.
        position: Its number in this run's input.
        at: When it was taken from the input.
        known: What the journal knows of it, once it is written.
    """

    wanted: Wanted
    position: int
    at: float
    known: Known | None = None


@frozen(eq=False)
class Sent:
    """Say that a request of the API leaves now, a `submit`, `poll` or `list`.

    Attributes:
        number: Its number in the journal.
        at: When it leaves.
        kind: What it is for.
        counts: Whether it counts in the limiter's window.
    """

    number: int
    at: float
    kind: str
    counts: bool


@frozen(eq=False)
class Intended:
    """Say that the submission of an entry leaves now, as the request `sent`; it is durable."""

    entry: int
    sent: Sent


@frozen(eq=False)
class Answered:
    """Say by when a request has counted at the server: it was answered, or given up."""

    number: int
    at: float


@frozen(eq=False)
class Unsent:
    """Say that a request provably never left."""

    number: int


@frozen(eq=False)
class Withdrawn:
    """Say that the submission of an entry provably made nothing."""

    entry: int


@frozen(eq=False)
class Missed:
    """Say that the API's list was found not to have the submission of an entry."""

    entry: int
    at: float


@frozen(eq=False)
class Submitted:
    """Say which prediction an entry has."""

    entry: int
    at: float
    prediction: str


@frozen(eq=False)
class Ended:
    """Say how a prediction ended; `answer` is what `as_answer` wrote."""

    entry: int
    at: float
    status: str
    inference_ms: int | None
    answer: str
    error: str | None


@frozen(eq=False)
class Saved:
    """Say which files hold the outputs of an entry."""

    entry: int
    at: float
    paths: tuple[str, ...]


@frozen(eq=False)
class Failed:
    """Say why there is no picture (yet), in words."""

    entry: int
    at: float
    error: str


Change: TypeAlias = (
    Claim
    | Sent
    | Intended
    | Answered
    | Unsent
    | Withdrawn
    | Missed
    | Submitted
    | Ended
    | Saved
    | Failed
)


@frozen(kw_only=True)
class Run:
    """Describe one process's turn at a journal.

    Attributes:
        started: When it began, by the wall clock, in Unix seconds.
        steady: The machine's monotonic clock at that moment.
        owner: Names the limiter that it uses, as long as that lives.
        limits: What the account is allowed.
    """

    started: float
    steady: float
    owner: str
    limits: Limits


@frozen
class PastRun:
    """Hold what one earlier run sent lately, by its own clock.

    Attributes:
        started: When it began, by the wall clock.
        steady: The machine's monotonic clock at that moment.
        owner: Names the limiter that it used.
        next: When the next run began, by the wall clock and the monotonic one; None for the last.
        last: When it sent its last request.
        requests: When each of its last requests was sent, and by when it had counted at the
            server; None where that is not known.
    """

    started: float
    steady: float
    owner: str
    next: tuple[float, float] | None
    last: float
    requests: tuple[tuple[float, float | None], ...]


@frozen
class Past:
    """Hold what a journal tells when it is opened.

    Attributes:
        runs: What earlier runs sent lately.
        running: The ids that were submitted and are not known to have ended.
        unconfirmed: When each submission without an id may have left, by the clock of its run;
            those that the API's list was found not to have are left out.
        sent: The number of the last request that was sent.
        is_new: Whether it has no entry yet.
    """

    runs: tuple[PastRun, ...] = ()
    running: tuple[str, ...] = ()
    unconfirmed: tuple[float, ...] = ()
    sent: int = 0
    is_new: bool = True


# --- where it is kept ----------------------------------------------------------------------------


class Store(Protocol):
    """Keep a journal; what is called here is called once at a time.

    Whatever it is made of: `write` does all changes in their order, or none of them. After it, they
    outlive the process; after a `durable` one, the machine's power too.
    """

    async def open(self, run: Run) -> Past:
        """Make it or take it up, for this run alone, and tell what it holds.

        Raises:
            ConfigurationError: It cannot be used, or another process uses it.
        """
        ...

    async def knows(self, digests: Sequence[bytes]) -> bool:
        """Tell whether there is an entry of any of these."""
        ...

    async def known(self, predictions: Sequence[str]) -> set[str]:
        """Tell which of these ids belong to an entry."""
        ...

    async def write(self, changes: Sequence[Change], *, durable: bool) -> OSError | None:
        """Write changes, and fill in what is `known` to each `Claim`.

        Answers why nothing more is to be begun although this was written, if there is a reason.

        Raises:
            OSError: They cannot be written; none of them was.
        """
        ...

    async def close(self, at: float) -> None:
        """Note the end of this run, if it was opened, and let others use the journal."""
        ...


# --- who writes it -------------------------------------------------------------------------------


class _Group:
    """Hold the changes that are written together."""

    __slots__ = ("changes", "done", "durable", "failed")

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.durable: bool = False
        self.failed: bool = False
        self.done: anyio.Event = anyio.Event()


class EntryMark:
    """Stand for the submission of one entry while it is under way (a `Mark` of `Calls`).

    Attributes:
        sent: When it left last.
        slot: The limiter's slot that it holds, once it is lost.
    """

    __slots__ = ("entry", "journal", "sent", "slot")

    def __init__(self, journal: Journal, entry: int) -> None:
        self.journal: Journal = journal
        self.entry: int = entry
        self.sent: float = 0.0
        self.slot: Slot | None = None

    def withdrawn(self) -> None:
        """Take the intent back."""
        self.journal.put(Withdrawn(self.entry))

    def lost(self, slot: Slot) -> None:
        """Keep the slot, to be named or given back when it is known what became of it."""
        self.slot = slot


class Journal:
    """Write a journal, many changes at a time (see the head of this file).

    Args:
        store: Where it is kept.
        owner: Names the limiter that this run uses.
        limits: What the account is allowed.

    Attributes:
        failure: Why it could not be written, if it ever could not: nothing more is to be sent.
    """

    def __init__(self, store: Store, *, owner: str, limits: Limits) -> None:
        self.failure: OSError | None = None
        self._store = store
        self._owner = owner
        self._limits = limits
        self._started, self._steady = time.time(), time.monotonic()
        self._group = _Group()
        self._work = anyio.Event()
        self._turn = anyio.Lock()  # at the store
        self._kept: list[Change] = []  # what could not be written yet
        self._sent = 0
        self._is_over = False

    def now(self) -> float:
        """Tell the time by the clock of this run."""
        return self._started + time.monotonic() - self._steady

    async def open(self) -> Past:
        """Take it up, and tell what it holds."""
        run = Run(
            started=self._started, steady=self._steady, owner=self._owner, limits=self._limits
        )
        try:
            past = await self._store.open(run)
        except BaseException:
            with anyio.CancelScope(shield=True):  # it may be half open: asyncio's own cancelling
                await self._store.close(self.now())
            raise
        self._sent = past.sent
        return past

    async def keep_writing(self) -> None:
        """Write what comes until `finish`, whatever is cancelled around it."""
        with anyio.CancelScope(shield=True):
            while not self._is_over or self._group.changes:
                if not self._group.changes:
                    self._work = anyio.Event()
                    await self._work.wait()
                    continue
                async with self._turn:
                    group, self._group = self._group, _Group()
                    await self._write(group)
                group.done.set()

    def finish(self) -> None:
        """Have the writing end with what has come."""
        self._is_over = True
        self._work.set()

    async def close(self) -> None:
        """Try again to write what could not be, and let others use the journal."""
        with anyio.CancelScope(shield=True):
            if self._kept:
                await self._write(_Group())
            await self._store.close(self.now())

    # --- what is put into it ---------------------------------------------------------------------

    def put(self, change: Change, *, durable: bool = False) -> _Group:
        """Have a change written, after all that were put before it."""
        self._group.changes.append(change)
        self._group.durable |= durable
        self._work.set()
        return self._group

    async def until(self, group: _Group) -> None:
        """Wait until changes are written that something depends on.

        Raises:
            JournalError: The journal cannot be written.
        """
        await group.done.wait()
        if group.failed:
            raise self.error()

    async def knows(self, digests: Sequence[bytes]) -> bool:
        """Tell whether there is an entry of any of these contents."""
        async with self._turn:
            return await self._store.knows(digests)

    async def known(self, predictions: Sequence[str]) -> set[str]:
        """Tell which of these ids belong to an entry, those just learned of among them."""
        await self.flush()
        async with self._turn:
            return await self._store.known(predictions)

    async def flush(self) -> None:
        """Wait until all that was put so far is written, or kept for another attempt."""
        if self._group.changes:
            await self._group.done.wait()

    def error(self) -> JournalError:
        """Word why it cannot be written, and name what is not in it."""
        unwritten = tuple(
            change.prediction for change in self._kept if isinstance(change, Submitted)
        )
        text = f"the journal cannot be written, so nothing more is submitted: {self.failure}"
        if unwritten:
            text += f"; these predictions exist and are not in it: {', '.join(unwritten)}"
        return JournalError(text, unwritten=unwritten)

    # --- one request of the API (a `Recorder` of `Calls`) ----------------------------------------

    async def sending(self, kind: str, *, counts: bool, mark: object) -> int:
        """Have a request written before it leaves; that of an entry's submission is durable.

        Raises:
            JournalError: An intent cannot be written: the submission must not leave.
        """
        self._sent += 1
        sent = Sent(self._sent, self.now(), kind, counts)
        if not isinstance(mark, EntryMark) or mark.journal is not self:
            group = self.put(sent)
            if counts and not self._is_over:  # it may end while another journal is written
                await group.done.wait()
            return sent.number
        mark.sent = sent.at
        group = self.put(Intended(mark.entry, sent), durable=True)
        try:
            await self.until(group)
        except BaseException:
            self.put(Withdrawn(mark.entry))
            self.put(Unsent(sent.number))
            raise
        return sent.number

    def answered(self, number: int, *, lost: bool) -> None:
        """Note that a request is over: answered, or given up."""
        self.put(Answered(number, self.now() + (self._limits.grace if lost else 0.0)))

    def unsent(self, number: int) -> None:
        """Note that a request provably never left."""
        self.put(Unsent(number))

    # --- the store -------------------------------------------------------------------------------

    async def _write(self, group: _Group) -> None:
        """Write a group; where that fails, all of it but what is not to happen any more."""
        if self.failure is None:
            try:
                self.failure = await self._store.write(group.changes, durable=group.durable)
            except OSError as error:
                self.failure = error
            else:
                return
        group.failed = True
        self._kept += [change for change in group.changes if not isinstance(change, _REFUSED)]
        with suppress(OSError):
            if self._kept:
                await self._store.write(self._kept, durable=True)
            self._kept = []


_REFUSED = (Claim, Intended, Sent)
"""What is given up where it cannot be written: it begins something, or only helps to go on fast."""
