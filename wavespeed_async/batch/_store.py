"""What is written to a journal, and what a storage has to do for it. `_sqlite.py` is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

from attrs import define, frozen

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
    "Learned",
    "Missed",
    "Past",
    "PastRun",
    "Run",
    "Saved",
    "Seen",
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
class Seen:
    """Say how a prediction of an earlier run ended, whether or not its entry is asked for."""

    prediction: str
    at: float
    status: str
    inference_ms: int | None
    answer: str


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


@frozen(eq=False)
class Learned:
    """Keep what this run has learned of how long models take, as JSON."""

    learned: str


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
    | Seen
    | Saved
    | Failed
    | Learned
)


@frozen(kw_only=True)
class Run:
    """Describe one process's turn at a journal.

    Attributes:
        started: When it began, by the wall clock, in Unix seconds.
        steady: The machine's monotonic clock at that moment.
        owner: Names the limiter that it uses, as long as that lives.
        limits: What the account is allowed.
        identity: Names the account: by its key, and where the API is.
    """

    started: float
    steady: float
    owner: str
    limits: Limits
    identity: str = ""


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
        learned: What another process has learned last, as it was written; None for nothing.
    """

    runs: tuple[PastRun, ...] = ()
    running: tuple[str, ...] = ()
    unconfirmed: tuple[float, ...] = ()
    sent: int = 0
    is_new: bool = True
    learned: str | None = None


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
