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
from typing import TYPE_CHECKING, Protocol, TypeAlias

import anyio
from attrs import define, frozen

from wavespeed_async.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wavespeed_async.batch._entries import Known, Wanted
    from wavespeed_async.limits import Limits

__all__ = [
    "Answered",
    "Change",
    "Claim",
    "Ended",
    "Failed",
    "Intended",
    "Journal",
    "Past",
    "PastRun",
    "Run",
    "Saved",
    "Sent",
    "Store",
    "Submitted",
    "Withdrawn",
]

SUBMISSION, POLL, LISTING = "submit", "poll", "list"
"""What a request was for, as the table of requests has it."""


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
    """Say that a request of the API leaves now; `counts` in the limiter's window or not."""

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
class Withdrawn:
    """Say that the submission of an entry provably made nothing."""

    entry: int


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
    Claim | Sent | Intended | Answered | Withdrawn | Submitted | Ended | Saved | Failed
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
        last: When it wrote last.
        requests: When each of its last requests was answered, None for one that was not.
    """

    started: float
    steady: float
    owner: str
    last: float
    requests: tuple[float | None, ...]


@frozen
class Past:
    """Hold what a journal tells when it is opened.

    Attributes:
        runs: What earlier runs sent lately.
        running: The ids that were submitted and are not known to have ended.
        unconfirmed: When each submission without an id may have left (clock of its run).
        is_new: Whether it has no entry yet.
    """

    runs: tuple[PastRun, ...] = ()
    running: tuple[str, ...] = ()
    unconfirmed: tuple[float, ...] = ()
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

    async def write(self, changes: Sequence[Change], *, durable: bool) -> None:
        """Write changes, and fill in what is `known` to each `Claim`.

        Raises:
            OSError: They cannot be written; none of them was.
        """
        ...

    async def close(self, at: float) -> None:
        """Note the end of this run, and let others use the journal."""
        ...
