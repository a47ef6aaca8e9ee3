"""One run: requests in, pictures and `results.jsonl` out, and a word on whatever was paid for."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread
from attrs import field, frozen

from wavespeed_async._client import AsyncWaveSpeed
from wavespeed_async._codec import encode_request
from wavespeed_async.batch import (
    JournalReader,
    Order,
    Page,
    Price,
    State,
    is_address,
    priced,
    read_order,
    write_order,
)
from wavespeed_async.cli._output import WrongUseError, emit, tell, words
from wavespeed_async.cli._progress import progress
from wavespeed_async.cli._results import Results, record
from wavespeed_async.cli._tally import Tally
from wavespeed_async.errors import (
    AuthenticationError,
    ConfigurationError,
    CostLimitError,
    InsufficientCreditsError,
    InvalidRequestError,
    JournalError,
    PermissionDeniedError,
    PredictionTimeoutError,
    WaveSpeedError,
)
from wavespeed_async.models._images import unnamed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    import httpx

    from wavespeed_async._events import Observer
    from wavespeed_async._folder import Folder
    from wavespeed_async._prediction import Outcome
    from wavespeed_async.batch import EntryRecord, Estimate, Outcomes
    from wavespeed_async.cli._files import Item
    from wavespeed_async.limits import Limits
    from wavespeed_async.models import Request

__all__ = ["Plan", "Session", "estimated"]

OF_ALL = (AuthenticationError, InsufficientCreditsError, PermissionDeniedError)
"""What one request meets, all later ones would meet as well."""
FEW = 5
LOOKED_AT = 2_000
"""Of so many kinds of requests, among the first so many of a batch, the price is asked for while
they are made, by one request for each; with more than these the cost is not known."""


@frozen(kw_only=True)
class Plan:
    """Say where pictures go, and how they are asked for.

    Attributes:
        out: The folder for pictures and results.
        folder: The same, with the names that pictures have there; None for the usual ones.
        limits: What the account is allowed.
        timeout: Seconds for each request, from its submission on.
        base_url: Where the API is; None for the usual place.
        api_key: The key; None for the environment's.
        transport: How to connect; None for the usual way.
        journal: Where the run is written down, so that the same command goes on: a file, or an
            address, whose password is not shown; None for nowhere.
        keep_journal: Whether it is kept once all that it tells of has ended.
        resubmit: Whether to submit again what may have been submitted and is not in the API's list;
            None where that cannot be asked for.
        page: Whether to keep a page of what the journal tells.
        max_cost: What all of it may cost; None for any amount.
    """

    out: Path
    limits: Limits
    folder: Folder | None = None
    timeout: float = 600.0
    base_url: str | None = None
    api_key: str | None = None
    transport: httpx.AsyncBaseTransport | None = None
    journal: Path | str | None = field(default=None, repr=False)
    keep_journal: bool = True
    resubmit: bool | None = None
    page: bool = False
    max_cost: float | None = None

    def client(self, observe: Observer | None = None) -> AsyncWaveSpeed:
        """Answer a client for it."""
        return AsyncWaveSpeed(
            self.api_key,
            base_url=self.base_url,
            limits=self.limits,
            timeout=self.timeout,
            transport=self.transport,
            observe=observe,
        )


def emit_paths(outcome: Outcome) -> None:
    """Write the paths of a request's pictures to stdout."""
    for path in outcome.paths:
        emit(str(path))


class Session:
    """Make the pictures of all items.

    Args:
        items: What to ask.
        plan: How.
        each: Is handed each outcome, once that is in the results.

    Attributes:
        tally: What has happened so far.
        seconds: How long it took.
    """

    tally: Tally
    seconds: float = 0.0

    def __init__(
        self,
        items: Sequence[Item],
        plan: Plan,
        *,
        each: Callable[[Outcome], object] = emit_paths,
    ) -> None:
        self._each = each
        self._items = items
        self._plan = plan
        self._stopped: str | None = None
        self._overdue = 0  # in a row
        self._priced = 0
        self._results: Results
        self._page = (
            Page(plan.journal, len(items), plan.out) if plan.page and plan.journal else None
        )

    async def run(self) -> int:
        """Make the pictures, and answer the exit code.

        Raises:
            ConfigurationError: There is no key, or a setting cannot work.
            WrongUseError: The folder cannot be written to.
        """
        plan = self._plan
        self.tally = Tally(len(self._items), anyio.current_time(), time.time())
        async with plan.client(self.tally.observe) as client:
            await self._check(client)
            self._results = await to_thread.run_sync(Results, plan.out)
            if plan.resubmit and plan.journal is not None:
                for line in await to_thread.run_sync(list, _announced(plan.journal, plan.out)):
                    tell(line)
            try:
                batch = client.batch(
                    self._requests(),
                    journal=plan.journal,
                    save_to=plan.folder or plan.out,
                    resubmit_unconfirmed=bool(plan.resubmit),
                    max_cost=plan.max_cost,
                )
                async with progress(self.tally, client.limiter), self._paged():
                    failure = await self._run(batch, client)
            finally:
                self._results.close()
                self._drop_journal()
                self._conclude()
        return self._code(failure)

    async def _check(self, client: AsyncWaveSpeed) -> None:
        """Check all raw requests before anything is sent; not of a run that goes on.

        Raises:
            WrongUseError: One is not what its model takes.
        """
        journal = self._plan.journal
        if journal is not None and await to_thread.run_sync(_may_go_on, journal):
            return
        for item in self._items:
            try:
                await client.check(item.request)
            except InvalidRequestError as error:
                line = f"line {item.line}: " if len(self._items) > 1 else ""
                message = f"{line}{error}"
                raise WrongUseError(message) from error

    def _code(self, failure: Exception | None) -> int:
        if failure is not None:
            raise failure
        return 0 if self.tally.done == self.tally.total else 1

    async def _run(self, batch: Outcomes, client: AsyncWaveSpeed) -> Exception | None:
        """Run the batch; answer what it raised, a journal's word apart: that ends it in order."""
        try:
            async with batch as outcomes:
                await self._follow(outcomes, client)
        except (JournalError, CostLimitError) as error:
            self._stopped = str(error)
        except Exception as error:  # noqa: BLE001 (raised by `run`, without a group around it)
            return error
        finally:
            self.seconds = anyio.current_time() - self.tally.started
        return None

    # --- the page --------------------------------------------------------------------------------

    async def _follow(self, outcomes: Outcomes, client: AsyncWaveSpeed) -> None:
        """Read outcomes, and keep the page up to date meanwhile."""
        failure: Exception | None = None
        async with anyio.create_task_group() as group:
            if self._page is not None:
                await to_thread.run_sync(self._order, ())
                group.start_soon(self._page.keep)
                group.start_soon(self._ask_prices, client)
            try:
                await self._read(outcomes)
            except Exception as error:  # noqa: BLE001 (raised below, without a group around it)
                failure = error
            group.cancel_scope.cancel()
        if failure is not None:
            raise failure

    @asynccontextmanager
    async def _paged(self) -> AsyncIterator[None]:
        """Write the page for the last time after the journal, however the run ends."""
        is_over = False
        try:
            yield
            is_over = True
        finally:
            if self._page is not None:
                await self._page.finish(hurry=not is_over)

    # --- the run ---------------------------------------------------------------------------------

    def _requests(self) -> Iterator[Request]:
        for item in self._items:
            if self._stopped is not None:
                return
            yield item.request

    async def _read(self, outcomes: Outcomes) -> None:
        """Read outcomes; once stopped, only until all that was paid for is there."""
        async for outcome in outcomes:
            self.tally.count(outcome)
            try:
                await to_thread.run_sync(self._write, outcome)
                if self._page is not None and len(outcomes.prices) > self._priced:
                    await to_thread.run_sync(self._order, outcomes.prices)
                self.tally.recorded(outcome)
                self._each(outcome)
            except OSError as error:
                self._stopped = f"the results cannot be written: {words(error)}"
                return
            if _is_of_disk(outcome.error):
                self._stopped = "a picture could not be written"
                return
            self._stopped = self._stopped or self._reason_to_stop(outcome)
            if self._stopped is not None and not self.tally.pending:
                return

    def _write(self, outcome: Outcome) -> None:
        line = self._items[outcome.index].line
        again = self._plan.journal is None
        self._results.write(record(outcome, line, self._plan.out), again=again)

    async def _ask_prices(self, client: AsyncWaveSpeed) -> None:
        """Ask what a request of each kind costs, where there are few kinds: for readers only."""
        if self._plan.max_cost is not None:
            return  # asked for anyway
        kinds = await to_thread.run_sync(_kinds, self._items)
        order = await to_thread.run_sync(read_order, self._plan.out)
        known = {(price.model, price.inputs) for price in order.prices}
        missing = [kind for kind in kinds if kind not in known]
        for model, inputs in missing if len(kinds) <= FEW else ():
            estimate = await client.estimate([kinds[model, inputs]])
            if estimate.cost is not None:
                price = Price(model, inputs, estimate.cost, estimate.currency)
                await to_thread.run_sync(self._order, (price,))

    def _order(self, prices: tuple[Price, ...]) -> None:
        """Write down how much there is in all, for those who read the journal."""
        self._priced = len(prices)
        out = self._plan.out
        known = {(price.model, price.inputs): price for price in (*read_order(out).prices, *prices)}
        with suppress(OSError):  # for readers only: the run goes on without it
            write_order(out, Order(total=len(self._items), prices=tuple(known.values())))

    def _reason_to_stop(self, outcome: Outcome) -> str | None:
        if isinstance(outcome.error, OF_ALL):
            return "each further request would meet the same"
        if self.tally.unconfirmed >= self._plan.limits.concurrency:
            return "submissions without an answer take all the slots"
        overdue = isinstance(outcome.error, PredictionTimeoutError)
        self._overdue = self._overdue + 1 if overdue else 0
        if self._overdue >= self._plan.limits.concurrency:
            return "predictions that did not end in time take all the slots"
        return None

    def _drop_journal(self) -> None:
        """Remove a journal that nothing depends on any more."""
        plan, tally = self._plan, self.tally
        is_open = tally.pending or tally.loose_ends or tally.unconfirmed
        if plan.journal is not None and not plan.keep_journal and not is_open:
            Path(plan.journal).unlink(missing_ok=True)

    # --- what is said at the end -----------------------------------------------------------------

    def _conclude(self) -> None:
        """Say what failed, why it stopped, and what was paid for but is not there."""
        tally = self.tally
        for reason, count in tally.failures.most_common():
            tell(f"{_counted(count, 'request')} failed: {reason}")
        if self._stopped is not None:
            left = tally.total - tally.done - tally.failed
            tell(f"stopped, {left} of {tally.total} not finished: {self._stopped}")
        if tally.untold:
            tell(f"{tally.untold} unconfirmed: they may exist and be billed")
        if tally.absent and self._plan.resubmit is not None:
            tell(
                f"{tally.absent} unconfirmed, not in the API's list: the same command with "
                f"--resubmit-unconfirmed submits them again; if they exist after all, up to "
                f"{_counted(tally.absent, 'prediction')} will be billed twice"
            )
        for matter, names in tally.loose_ends.items():
            tell(f"{len(names)} {matter}:", *(f"  {name}" for name in names))
        if tally.pictures or tally.earlier:
            earlier = f", {tally.earlier} from before" if tally.earlier else ""
            pace = tally.pictures_per_minute(tally.started + self.seconds)
            tell(
                f"{tally.done} of {tally.total} done: {_counted(tally.pictures, 'picture')} in "
                f"{self._plan.out}, {self.seconds:.1f} s, {pace:.0f} pictures/min"
                f"{earlier}{self._cost()}"
            )
        if self._page is not None and self._page.trouble is not None:
            tell(f"the page could not be written: {self._page.trouble}")

    def _cost(self) -> str:
        cost = self._page.cost if self._page is not None else None
        return "" if cost is None else f", {cost} in all"


async def estimated(items: Sequence[Item], plan: Plan) -> Estimate:
    """Say what items would cost; nothing is submitted.

    Raises:
        ConfigurationError: There is no key, or a setting cannot work.
    """
    async with plan.client() as client:
        return await client.estimate(item.request for item in items)


def _kinds(items: Sequence[Item]) -> dict[tuple[str, str], Request]:
    """Answer one request of each kind that has a price of its own; of a few kinds at most."""
    kinds: dict[tuple[str, str], Request] = {}
    for item in islice(items, LOOKED_AT):
        kind = (item.request.model, priced(encode_request(item.request, unnamed)))
        kinds.setdefault(kind, item.request)
        if len(kinds) > FEW:
            break
    return kinds


def _may_go_on(journal: Path | str) -> bool:
    """Tell whether a journal may know of requests; what one in a database does is not asked for."""
    return is_address(journal) or Path(journal).exists()


def _announced(journal: Path | str, out: Path) -> Iterator[str]:
    """Say how many submissions a journal has without an answer, and what they may cost again."""
    lost: list[EntryRecord] = []
    # Where there is none yet, or something is wrong with it, the run itself says so.
    with suppress(ConfigurationError), JournalReader(journal) as reader:
        lost = [entry for entry in reader.entries() if entry.state is State.UNCONFIRMED]
    if not lost:
        return
    order = read_order(out)
    cost = order.cost((entry.model, entry.fields) for entry in lost)
    price = "the price is not known" if cost is None else f"{cost:.4f} {order.currency}"
    yield (
        f"{len(lost)} unconfirmed: those that the API's list does not have are submitted again; if "
        f"they exist after all, up to {_counted(len(lost), 'prediction')} will be billed twice "
        f"({price})"
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _is_of_disk(error: Exception | None) -> bool:
    return isinstance(error, OSError) and not isinstance(error, WaveSpeedError)
