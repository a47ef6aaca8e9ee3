"""What this SDK answers to each fault of the emulator: ROWS says it once, for tests and document.

`python -m tests.test_faults` writes the table of docs/faults.md anew.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any, Literal, TypeAlias

import anyio
import httpx
import pytest
from attrs import field, frozen

from tests.hooks import hook
from tests.virtual import URL, make_emulator, real_clock
from wavespeed_async import (
    AsyncWaveSpeed,
    FluxDev,
    Limiter,
    Limits,
    ModerationError,
    Prediction,
    PredictionFailedError,
    PredictionPolled,
    PredictionTimeoutError,
    RateLimitError,
    RequestFailed,
    RequestSent,
    SubmissionUnconfirmedError,
    WaveSpeedError,
    WebhookVerificationError,
)
from wavespeed_async.emulator import FAULTS, Emulator, Faults
from wavespeed_async.emulator._faults import FAILURES, Dice
from wavespeed_async.testing import virtual_backend

Place: TypeAlias = Literal["submission", "poll", "webhook"]


@frozen
class Row:
    """Say what one fault comes to.

    Attributes:
        fault: Its name.
        at: What it befalls.
        sees: The error that the caller gets; None is the finished prediction.
        paid: How many predictions there are afterwards.
        retried: How many requests were sent again, of the kind that it befell.
        how: Which case of the fault this is, where it has several.
        note: What else the caller sees.
        by: Where it is tried: over sockets what takes long is not.
        in_batch: Whether the request is one of a batch.
        slowness: Seconds by which a slow answer is late.
        burst: How many requests a storm hits.
        stuck_for: When the API ends what is stuck; None for never.
        codes: The codes with which a prediction fails.
        calls: How often a webhook is called.
    """

    fault: str
    at: Place
    sees: type[WaveSpeedError] | None
    paid: int
    retried: int
    how: str = field(default="", kw_only=True)
    note: str = field(default="", kw_only=True)
    by: Literal["both", "process"] = field(default="both", kw_only=True)
    in_batch: bool = field(default=False, kw_only=True)
    slowness: float = field(default=2.0, kw_only=True)
    burst: int = field(default=3, kw_only=True)
    stuck_for: float | None = field(default=None, kw_only=True)
    codes: tuple[int, ...] = field(default=(), kw_only=True)
    calls: int = field(default=2, kw_only=True)

    @property
    def wishes(self) -> list[str]:
        """The fault as the emulator is asked for it, once for each code."""
        return [f"{self.fault}-{code}" for code in self.codes] or [self.fault]

    def __str__(self) -> str:
        return "-".join([self.fault, self.at, *self.how.split()])


OTHERS = tuple(code for code in FAILURES if code != 1200)

ROWS = [
    Row("lost", "submission", SubmissionUnconfirmedError, 1, 0),
    Row("lost", "poll", None, 1, 1),
    Row("refused", "submission", None, 1, 1),
    Row("refused", "poll", None, 1, 1),
    Row("reset", "submission", SubmissionUnconfirmedError, 1, 0),
    Row("reset", "poll", None, 1, 1),
    Row("slow", "submission", None, 1, 0, how="by 2 s"),
    Row(
        "slow", "submission", SubmissionUnconfirmedError, 1, 0,
        how="by 60 s", by="process", slowness=60,
    ),
    Row("slow", "poll", None, 1, 0, how="by 2 s"),
    Row("slow", "poll", None, 1, 1, how="by 60 s", by="process", slowness=60),
    Row("trickle", "submission", None, 1, 0),
    Row("trickle", "poll", None, 1, 0),
    Row("error-json", "submission", SubmissionUnconfirmedError, 0, 0),
    Row("error-json", "poll", None, 1, 1),
    Row("error-html", "submission", SubmissionUnconfirmedError, 1, 0),
    Row("error-html", "poll", None, 1, 1),
    Row("storm", "submission", None, 1, 3, how="of 3 requests"),
    Row("storm", "submission", RateLimitError, 0, 3, how="of 4 requests", burst=4),
    Row("storm", "submission", None, 1, 8, how="of 8 requests, in a batch", burst=8, in_batch=True),
    Row("storm", "poll", None, 1, 8, how="of 8 requests", burst=8),
    Row("garbage", "submission", SubmissionUnconfirmedError, 1, 0),
    Row("garbage", "poll", None, 1, 1),
    Row("truncated", "submission", SubmissionUnconfirmedError, 1, 0),
    Row("truncated", "poll", None, 1, 1),
    Row("null-data", "submission", SubmissionUnconfirmedError, 1, 0),
    Row("null-data", "poll", None, 1, 1),
    Row("error-under-200", "submission", SubmissionUnconfirmedError, 0, 0),
    Row("error-under-200", "poll", None, 1, 1),
    Row("wrong-origin", "submission", None, 1, 0, note="the other server is never asked"),
    Row("wrong-origin", "poll", None, 1, 0, note="the other server is never asked"),
    Row("failed", "submission", ModerationError, 1, 0, how="code 1200", codes=(1200,)),
    Row("failed", "submission", PredictionFailedError, 1, 0, how="any other code", codes=OTHERS),
    Row(
        "stuck", "submission", PredictionTimeoutError, 1, 0,
        how="for longer than `timeout`", note="after `timeout`",
    ),
    Row(
        "stuck", "submission", PredictionFailedError, 1, 0,
        how="until the API ends it", stuck_for=60,
    ),
    Row("clock-skew", "submission", None, 1, 0, note="its `created_at` is wrong"),
    Row("duplicate-webhook", "webhook", None, 1, 0, note="`receive` answers it for both calls"),
    Row(
        "forged-webhook", "webhook", WebhookVerificationError, 1, 0,
        note="for the forged call alone",
    ),
    Row("lost-webhook", "webhook", None, 1, 0, calls=0, note="a late poll has seen its end"),
    Row("late-webhook", "webhook", None, 1, 0, calls=1, note="a poll may have seen its end"),
    Row("stale-webhook", "webhook", None, 1, 0, note="the call that is out of order is ignored"),
]  # fmt: skip

SOCKETS = {"lost", "refused", "reset", "slow", "trickle"}
"""What befalls a connection, and so is tried over real ones as well."""

CARRIED: dict[type[Exception], str] = {
    SubmissionUnconfirmedError: "request",
    PredictionFailedError: "prediction",
    ModerationError: "prediction",
    PredictionTimeoutError: "prediction",
    RateLimitError: "code",
}
"""The attribute of each error by which the caller goes on."""

PROMPT = "a lighthouse"
PRICELESS = 10_000.0
OUTAGE = 0.2
"""Seconds for which nobody can connect: less than the first pause before another try."""
IN_PROCESS = [row for row in ROWS if row.at != "webhook"]
OVER_SOCKETS = [row for row in ROWS if row.fault in SOCKETS and row.by != "process"]
TO_WEBHOOKS = [row for row in ROWS if row.at == "webhook"]


# --- one request that meets a fault --------------------------------------------------------------


class Hosts(httpx.AsyncBaseTransport):
    """Note which hosts are asked."""

    def __init__(self, within: httpx.AsyncBaseTransport) -> None:
        self.seen: set[str] = set()
        self._within = within

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.add(request.url.host)
        return await self._within.handle_async_request(request)

    async def aclose(self) -> None:
        await self._within.aclose()


class Bench:
    """Hold a client, what it tells, and the emulator that it asks.

    The next request of the method `refused` meets an emulator that lets nobody connect.
    """

    def __init__(
        self,
        emulator: Emulator,
        url: str,
        limits: Limits,
        transport: httpx.AsyncBaseTransport | str,
    ) -> None:
        self.emulator = emulator
        self.failures: list[RequestFailed] = []
        self.refused: str | None = None
        self.misses = 0  # polls that found it running, as they are meant to
        if not isinstance(transport, str):
            transport = transport if isinstance(transport, Hosts) else Hosts(transport)
            self.hosts = transport
        self.client = AsyncWaveSpeed(
            "a-key",
            base_url=url,
            transport=transport,
            limiter=Limiter(limits),
            observe=self._observe,
        )

    def _observe(self, event: object) -> None:
        if isinstance(event, RequestFailed):
            self.failures.append(event)
        elif isinstance(event, PredictionPolled) and not event.prediction.status.ended:
            self.misses += 1
        elif isinstance(event, RequestSent) and event.method == self.refused:
            self.refused = None
            self.emulator.refuse_connections(OUTAGE)

    async def ask(self, row: Row, wish: str, webhook: str | None = None) -> Prediction | Exception:
        """Ask for a picture where the fault befalls one request; answer what comes of it."""
        kind: Literal["submit", "result"] = "result" if row.at == "poll" else "submit"
        if wish == "refused":
            self.refused = "GET" if kind == "result" else "POST"
        else:
            self.emulator.next(kind=kind, fault=wish)
        request = FluxDev(prompt=PROMPT)
        if row.in_batch:
            (outcome,) = await self.client.run_all([request])
            return outcome.error or outcome.unwrap()
        try:
            return await self.client.run(request, webhook=webhook)
        except WaveSpeedError as error:
            return error

    def count(self, kind: str) -> int:
        """Count the requests of a kind at the emulator."""
        return sum(request.kind == kind for request in self.emulator.requests)

    def check(self, row: Row, seen: Prediction | Exception) -> None:
        """Hold what came of a request against its row."""
        if isinstance(seen, Prediction):
            assert row.sees is None
            assert seen.outputs
            assert [seen.id] == [prediction.id for prediction in self.emulator.predictions]
        else:
            assert type(seen) is row.sees
            self.check_carried(seen)
        self.check_paid(row)
        self.check_retried(row)
        self.check_slots(row)

    def check_carried(self, error: Exception) -> None:
        """See that an error has what its caller needs to go on."""
        carried = getattr(error, CARRIED[type(error)])
        if isinstance(carried, FluxDev):
            assert carried.prompt == PROMPT
        elif isinstance(carried, Prediction):
            (made,) = self.emulator.predictions
            assert carried.id == getattr(error, "prediction_id", None) == made.id
            assert carried.error_code == (made.failure.code if made.failure else None)
        else:
            assert carried == 429

    def check_paid(self, row: Row) -> None:
        """See that there are as many predictions as the row says, and that these were paid."""
        prompts = [prediction.fields["prompt"] for prediction in self.emulator.predictions]
        assert prompts == [PROMPT] * row.paid
        is_paid = row.paid > 0 and not _is_paid_back(row)
        assert (self.emulator.balance < PRICELESS) == is_paid

    def check_retried(self, row: Row) -> None:
        """See that as many requests of each kind were sent as the row says."""
        polls = 0 if row.sees in {SubmissionUnconfirmedError, RateLimitError} else 1
        if row.at == "webhook":
            polls = 0 if row.calls else 1
        if row.at == "poll" and row.fault != "refused":
            polls += row.retried
        again = [failure for failure in self.failures if failure.retry_in is not None]
        method = "GET" if row.at == "poll" else "POST"
        assert [failure.method for failure in again] == [method] * row.retried
        asked = {request.path for request in self.emulator.requests}
        assert {failure.path for failure in self.failures} <= asked
        arrived = row.retried if row.fault != "refused" else 0
        assert self.count("submit") == 1 + (arrived if row.at == "submission" else 0)
        if row.fault == "stuck":
            assert self.count("result") > polls
        else:
            assert self.count("result") == polls + self.misses
        assert self.count("other") == 0

    def check_slots(self, row: Row) -> None:
        """See that a slot is held by what may run, and by nothing else."""
        ids: tuple[str, ...] = ()
        if row.sees is PredictionTimeoutError:
            ids = (self.emulator.predictions[0].id,)
        limiter = self.client.limiter
        assert limiter.running_ids == ids
        assert limiter.running == (1 if row.sees is SubmissionUnconfirmedError else len(ids))
        assert limiter.waiting == 0

    def arrived(self, seconds: float, now: float) -> int:
        """Count the requests of the last seconds, and of the window's margin."""
        oldest = now - seconds * 1.001 - 0.02
        return sum(request.at > oldest for request in self.emulator.requests)


def _is_paid_back(row: Row) -> bool:
    return row.sees is not None and issubclass(row.sees, PredictionFailedError)


def _seed_of_burst(burst: int) -> int:
    """Find where the dice start whose first storm hits so many requests."""
    return next(seed for seed in range(1000) if Dice(Faults(seed=seed)).burst() == burst)


@pytest.mark.parametrize("row", IN_PROCESS, ids=str)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_in_process(row: Row, backend: Literal["asyncio", "trio"]) -> None:
    """One request that meets the fault comes to what its row says, and the next one is fine."""

    async def run(wish: str) -> None:
        faults = Faults(seed=_seed_of_burst(row.burst), slowness=row.slowness)
        emulator = make_emulator(
            latency=0.5, latency_cv=0.0, faults=faults, stuck_for=row.stuck_for
        )
        limits = Limits()
        bench = Bench(emulator, URL, limits, httpx.ASGITransport(emulator.app))
        async with bench.client as client:
            seen = await bench.ask(row, wish)
            bench.check(row, seen)
            # A refused request never leaves: its room in the window came back at once.
            now = anyio.current_time()
            assert client.limiter.requests_used == bench.arrived(limits.per, now)
            await anyio.sleep(limits.abandon_after)
            assert client.limiter.requests_used == 0
            assert (await client.flux_dev(prompt="another")).outputs
            assert client.limiter.running == (1 if row.sees is PredictionTimeoutError else 0)
            assert bench.hosts.seen == {"emulator.test"}

    for wish in row.wishes:
        name, options = virtual_backend(backend)
        anyio.run(run, wish, backend=name, backend_options=options)


@real_clock
@pytest.mark.parametrize("row", OVER_SOCKETS, ids=str)
async def test_over_sockets(row: Row) -> None:
    """Over a real connection the fault comes to what its row says."""
    await over_sockets(row, httpx.AsyncHTTPTransport())


@pytest.mark.parametrize("anyio_backend", [("asyncio", {})], ids=["asyncio"])
@pytest.mark.parametrize("row", OVER_SOCKETS, ids=str)
async def test_over_aiohttp(row: Row) -> None:
    """Over a connection of aiohttp's it comes to the same."""
    await over_sockets(row, "aiohttp")


async def over_sockets(row: Row, transport: httpx.AsyncBaseTransport | str) -> None:
    faults = Faults(slowness=0.05)
    limits = Limits(per=4.0, min_poll_interval=0.02)
    async with Emulator(latency=0.02, pictures=False, faults=faults) as emulator:
        bench = Bench(emulator, emulator.url, limits, transport)
        async with bench.client as client:
            bench.check(row, await bench.ask(row, row.fault))
            unknown = client.limiter.requests_used - bench.arrived(limits.per, time.monotonic())
            # A kept connection may be closed under a request: then it counts, arrived or not.
            assert unknown == 0 or (unknown == 1 and row.fault == "refused")


@real_clock
@pytest.mark.parametrize("row", TO_WEBHOOKS, ids=str)
async def test_webhooks(row: Row) -> None:
    """A call too many changes nothing, and one that does not come is made up for by a poll."""
    limits = Limits(per=1.0, min_poll_interval=0.02)
    faults = Faults(lateness=0.2)
    settings: dict[str, Any] = {"pictures": False, "webhook_pause": 0.02, "faults": faults}
    async with Emulator(latency=0.02, **settings) as emulator:
        bench = Bench(emulator, emulator.url, limits, httpx.AsyncHTTPTransport())
        secret = emulator.settings.webhook_secret
        async with bench.client as client, hook(client, secret) as called:
            picture = await bench.ask(row, row.fault, called.url)
            await called.until(row.calls)
            refused = [] if row.sees is None else [row.sees]
            assert isinstance(picture, Prediction)
            assert [type(error) for error in called.refused] == refused
            assert [told.id for told in called.told] == [picture.id] * (row.calls - len(refused))
            bench.check_paid(row)
            bench.check_retried(row)
            bench.check_slots(row)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_skewed_clock_moves_nothing_but_the_time_of_creation(
    backend: Literal["asyncio", "trio"],
) -> None:
    """The time of creation is told as the server has it, and no wait goes by it."""

    async def run() -> None:
        emulator = make_emulator(latency=0.5, latency_cv=0.0)
        bench = Bench(emulator, URL, Limits(), httpx.ASGITransport(emulator.app))
        async with bench.client as client:
            emulator.next(kind="submit", fault="clock-skew")
            skewed = await client.flux_dev(prompt=PROMPT)
            taken = anyio.current_time()
        assert skewed.created_at is not None
        assert abs(skewed.created_at.timestamp() - time.time()) > 30
        assert taken < 10

    name, options = virtual_backend(backend)
    anyio.run(run, backend=name, backend_options=options)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_stuck_prediction_can_be_waited_for_again(backend: Literal["asyncio", "trio"]) -> None:
    """The error comes after `timeout`, and its id resumes the wait, which pays nothing."""

    async def run() -> None:
        emulator = make_emulator()
        bench = Bench(emulator, URL, Limits(), httpx.ASGITransport(emulator.app))
        async with bench.client as client:
            emulator.next(kind="submit", fault="stuck")
            with pytest.raises(PredictionTimeoutError) as caught:
                await client.run(FluxDev(prompt=PROMPT), timeout=120)
            assert 120 <= anyio.current_time() < 121
            assert caught.value.prediction_id is not None
            with pytest.raises(PredictionTimeoutError):
                await client.wait(caught.value.prediction_id, timeout=60)
        assert len(emulator.predictions) == 1

    name, options = virtual_backend(backend)
    anyio.run(run, backend=name, backend_options=options)


# --- the table -----------------------------------------------------------------------------------

DOCUMENT = Path(__file__).parents[1] / "docs" / "faults.md"
TABLE = re.compile(r"(?:^\|.*\n)+", re.MULTILINE)
HEAD = """\
| fault | befalls | what the user sees | what was paid | what was retried |
| --- | --- | --- | --- | --- |
"""
TIMES = {1: "once", 2: "twice"}


def rendered() -> str:
    """Write the rows as a table."""
    return HEAD + "".join(f"| {' | '.join(_cells(row))} |\n" for row in ROWS)


def _cells(row: Row) -> list[str]:
    fault = f"`{row.fault}`" + (f", {row.how}" if row.how else "")
    sees = "the finished prediction"
    if row.sees is not None:
        sees = f"`{row.sees.__name__}`"
        if row.sees in CARRIED:
            sees += f" with `{CARRIED[row.sees]}`"
    if row.note:
        sees += f"; {row.note}" if row.sees is None else f" {row.note}"
    paid = "one prediction" if row.paid else "nothing"
    if _is_paid_back(row):
        paid += ", paid back"
    times = TIMES.get(row.retried, f"{row.retried} times")
    retried = f"the {row.at}, {times}" if row.retried else "nothing"
    return [fault, row.at, sees, paid, retried]


@pytest.mark.parametrize(
    ("place", "kind"), [("submission", "submit"), ("poll", "result"), ("webhook", "submit")]
)
def test_every_fault_has_a_row(place: Place, kind: str) -> None:
    """Whatever fault can befall a submission, a poll or a webhook has a row for that."""
    having = {row.fault for row in ROWS if row.at == place}
    befalling = {fault for fault in FAULTS if _place(fault, kind) == place}
    assert befalling - having == set()
    assert having <= {*FAULTS}


def _place(fault: str, kind: str) -> Place | None:
    rates: dict[str, Any] = {fault.replace("-", "_"): 1.0}
    if Dice(Faults(**rates)).fault(kind, has_webhook=False):
        return "submission" if kind == "submit" else "poll"
    return "webhook" if Dice(Faults(**rates)).fault(kind, has_webhook=True) else None


def test_no_fault_is_without_a_row() -> None:
    """Every name in FAULTS has at least one row, and each row is tried."""
    assert {row.fault for row in ROWS} == {*FAULTS}
    tried = [*IN_PROCESS, *OVER_SOCKETS, *TO_WEBHOOKS]
    assert all(row in tried for row in ROWS)


def test_nothing_is_paid_twice() -> None:
    """No row pays more than one prediction."""
    assert {row.paid for row in ROWS} == {0, 1}


def test_the_document_has_the_rows() -> None:
    """The table of docs/faults.md is what the rows render to."""
    tables = TABLE.findall(DOCUMENT.read_text(encoding="utf-8"))
    assert tables == [rendered()], "write it anew: python -m tests.test_faults"


if __name__ == "__main__":
    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(TABLE.sub(lambda _: rendered(), text), encoding="utf-8")
