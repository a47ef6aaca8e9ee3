"""How many pictures the limits allow, and how many are made: simulated, beside an oracle.

The package's own batch, poller, rule and limiter run on a clock that jumps, against a server that
counts every request. The oracle is the same run with a poller that knows each latency and polls
each prediction once, at the moment it is ready. Prints the median share of the oracle's pictures a
minute for each case, and writes JSON. With webhooks the oracle knows which will be lost, and polls
those alone.

    python benchmarks/simulation.py [--seeds 30] [--first N] [--cases NAME ...] [--json FILE]
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import os
import random
import statistics
import sys
from collections import deque
from functools import partial
from itertools import chain
from multiprocessing import Pool
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import anyio
from attrs import define, field, frozen

from wavespeed_async import FluxDev, FluxKontextDevMulti, Limiter, Limits
from wavespeed_async._calls import Calls, Turn
from wavespeed_async._codec import decode_prediction
from wavespeed_async._poll_rule import SNAPSHOT_VERSION, Look, PollRule
from wavespeed_async._polling import Poller
from wavespeed_async._transport import Answer, Wire
from wavespeed_async.batch import Outcomes, Plain
from wavespeed_async.testing import VirtualClockLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wavespeed_async._prediction import Prediction
    from wavespeed_async._transport import Transport
    from wavespeed_async.limits import Permit, Scarcity
    from wavespeed_async.models import Request

MODEL = "wavespeed-ai/flux-dev"
ROUND_TRIP = 0.1
TIMEOUT = 3600.0
SLOW = 9.5
AGAIN = 1.0
"""Seconds after which a webhook that comes twice comes again."""
SIZES = (570, 600, 630)
MEANS = (2.0, 5.0, 12.0, 20.0, 30.0, 60.0)


# --- what is asked -------------------------------------------------------------------------------


@frozen
class Case:
    """Describe one row: whose latencies, how many predictions, under which limits.

    Attributes:
        name: What it is called.
        latencies: Draws the latencies of one run, from a seed and a size.
        sizes: The sizes of the batches; None where the draw decides.
        limits: What the account is allowed.
        least: The share that is asked for, or None.
        mean: Whether the mean of all runs counts, instead of the median.
        told: Whether the slow half of the requests asks for more steps.
        lost: The share of webhooks that never come, and that come twice; None without webhooks.
    """

    name: str
    latencies: Callable[[random.Random, int], list[float]]
    sizes: tuple[int, ...] = SIZES
    limits: Limits = field(factory=Limits)
    least: float | None = None
    mean: bool = False
    told: bool = False
    lost: float | None = None


def log_normal(dice: random.Random, mean: float, cv: float) -> float:
    """Draw a latency from a log-normal distribution of this mean and coefficient of variation."""
    spread = math.log(1 + cv * cv)
    return dice.lognormvariate(math.log(mean) - spread / 2, math.sqrt(spread))


def steady(mean: float, cv: float, dice: random.Random, count: int) -> list[float]:
    """Draw latencies of one mean."""
    return [log_normal(dice, mean, cv) for _ in range(count)]


def drawn(dice: random.Random, _: int) -> list[float]:
    """Draw a mean from 1.5 to 60 s, each octave alike, a size from 200 to 900, and latencies."""
    mean = math.exp(dice.uniform(math.log(1.5), math.log(60)))
    return steady(mean, 0.3, dice, dice.randint(200, 900))


def drawn_evenly(dice: random.Random, _: int) -> list[float]:
    """Draw a mean from 1.5 to 60 s, each second alike, a size from 200 to 900, and latencies."""
    mean = dice.uniform(1.5, 60)
    return steady(mean, 0.3, dice, dice.randint(200, 900))


def two_peaks(dice: random.Random, count: int) -> list[float]:
    """Draw latencies of 3 s and of 30 s, half of each."""
    return [log_normal(dice, dice.choice((3.0, 30.0)), 0.3) for _ in range(count)]


def changing(dice: random.Random, count: int) -> list[float]:
    """Draw latencies of 2 s, of 12 s in the middle third, and of 2 s again."""
    return [
        log_normal(dice, 12.0 if count / 3 <= index < 2 * count / 3 else 2.0, 0.3)
        for index in range(count)
    ]


def cases() -> list[Case]:
    """List all rows."""
    least = dict(zip(MEANS, (0.97, 0.95, 0.94, 0.82, 0.88, 0.94), strict=True))
    rows = [Case(f"{mean:g} s", partial(steady, mean, 0.3), least=least[mean]) for mean in MEANS]
    rows += [
        Case("5 s, cv 0.8", partial(steady, 5.0, 0.8), least=0.92),
        Case("1.5 to 60 s", drawn, sizes=(0,), least=0.92, mean=True),
        Case("1.5 to 60 s, even", drawn_evenly, sizes=(0,), least=0.92, mean=True),
        Case("3 and 30 s", two_peaks, least=0.82),
        Case("3 and 30 s, told", two_peaks, told=True),
        Case("5 s, 100", partial(steady, 5.0, 0.3), sizes=(100,), least=0.90),
        Case("2, 12, 2 s", changing, least=0.85),
    ]
    rows += [
        Case(f"{mean:g} s, webhooks", partial(steady, mean, 0.3), least=share, lost=0.05)
        for mean, share in ((2.0, 0.97), (5.0, 0.97), (8.0, 0.97), (12.0, 0.94), (20.0, 0.94))
    ]
    others = {
        "240/min": Limits(requests=240),
        "5 run": Limits(concurrency=5),
        "60 run": Limits(concurrency=60),
    }
    for name, limits in others.items():
        rows += [
            Case(f"{mean:g} s, {name}", partial(steady, mean, 0.3), limits=limits, least=0.80)
            for mean in MEANS
        ]
    return rows


# --- the server ----------------------------------------------------------------------------------


@define(eq=False)
class Server:
    """Stand in for the transport: answer after a round trip, and count.

    Attributes:
        latencies: How long each prediction takes, in the order of submission.
        limits: What is allowed, each request counted when it arrives.
        round_trip: How long a request and its answer are on their way.
        ready: When each prediction is ready.
        requests: How many requests came.
        refused: How many were beyond the limits.
        lain: For how long answers had lain ready when they were asked for.
        lost: The numbers of the predictions whose webhooks never come.
        doubled: The numbers of those whose webhooks come twice.
        call: Calls a webhook, at a time.
    """

    latencies: list[float]
    limits: Limits
    round_trip: float = ROUND_TRIP
    ready: dict[str, float] = field(factory=dict)
    requests: int = 0
    refused: int = 0
    lain: list[float] = field(factory=list)
    lost: set[int] = field(factory=set)
    doubled: set[int] = field(factory=set)
    call: Callable[[str, float], object] | None = None
    _recent: deque[float] = field(factory=deque)
    _running: set[str] = field(factory=set)

    def wire(self) -> Wire:
        """Know nothing of a wire."""
        return Wire()

    async def send(
        self, method: str, path: str, *, permit: Permit, held: bool = False, **_: Any
    ) -> Answer:
        """Answer one request; one that is held, when its prediction is ready."""
        if held:
            permit.held()
        await anyio.sleep(self.round_trip / 2)
        data = self._answer(method, path, anyio.current_time())
        if held:
            await anyio.sleep_until(self.ready[data["id"]])
            self._running.discard(data["id"])
            data = {**data, "status": "completed", "outputs": ["https://o.test/1.png"]}
        await anyio.sleep(self.round_trip / 2)
        permit.answered()
        return Answer(200, json.dumps({"code": 200, "data": data}).encode(), None)

    def _answer(self, method: str, path: str, now: float) -> dict[str, Any]:
        self._count(now)
        if method == "POST":
            number = len(self.ready)
            name = f"{len(self.ready):032x}"
            self.ready[name] = now + self.latencies[len(self.ready)]
            self._running.add(name)
            running = sum(self.ready[name] > now for name in self._running)
            self.refused += running > self.limits.concurrency
            if self.call is not None and number not in self.lost:
                self.call(name, self.ready[name])
                if number in self.doubled:
                    self.call(name, self.ready[name] + AGAIN)
            return {"id": name, "model": MODEL, "status": "created"}
        name = path.split("/")[-2]
        if self.ready[name] > now:
            return {"id": name, "model": MODEL, "status": "processing"}
        self.lain.append(now - self.ready[name])
        return self.told(name)

    def told(self, name: str) -> dict[str, Any]:
        """Tell of a prediction that has ended."""
        self._running.discard(name)
        took = 1000 * self.latencies[int(name, 16)]
        told = {"timings": {"inference": round(took)}, "outputs": ["https://o.test/1.png"]}
        return {"id": name, "model": MODEL, "status": "completed", **told}

    def _count(self, now: float) -> None:
        while self._recent and self._recent[0] <= now - self.limits.per:
            self._recent.popleft()
        self._recent.append(now)
        self.requests += 1
        self.refused += len(self._recent) > self.limits.requests


# --- one run -------------------------------------------------------------------------------------


class OracleRule(PollRule):
    """Know when each prediction is ready; a poll is worth it from then on, the longest first."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self._server = server
        self.names: dict[Look, str] = {}

    def bid(self, look: Look, now: float, _: Scarcity) -> tuple[float, float]:
        """Answer how long an answer has lain ready."""
        # The limiter's clock and the event loop's go equally fast, but began at different times.
        name = self.names[look]
        if self._server.call is not None and int(name, 16) not in self._server.lost:
            return 0.0, math.inf
        ready = self._server.ready[name] + (now - anyio.current_time())
        return (1 + now - ready, now) if now >= ready - 1e-9 else (0.0, ready)


class OraclePoller(Poller):
    """Tell its rule which prediction a look is of."""

    def _begin(self, prediction: Prediction, *args: Any, **kwargs: Any) -> Any:
        watch = super()._begin(prediction, *args, **kwargs)
        watch.look.not_before, watch.look.new = 0.0, False  # each speaks for itself
        cast("OracleRule", self.rule).names[watch.look] = prediction.id
        return watch


@define
class Runner:
    """Give a batch what it needs."""

    calls: Calls
    poller: Poller
    webhook: str | None = None

    async def submit_and_wait(self, request: Request, submitted: Any) -> Prediction:
        """Submit and wait."""
        turn = Turn(deadline=anyio.current_time() + TIMEOUT)

        def note(prediction: Prediction) -> None:
            if self.webhook is not None:
                self.poller.expect(prediction)
            submitted(prediction)

        prediction = await self.calls.submit(
            request, turn, ask=self.poller.ask, submitted=note, webhook=self.webhook
        )
        return await self.poller.wait(prediction, turn, attended=True)

    async def resume(self, prediction: Prediction) -> Prediction:
        """Wait."""
        return await self.poller.wait(prediction, Turn())


@frozen
class Result:
    """Hold what one run came to.

    Attributes:
        pictures: How many predictions ended.
        seconds: How long it took.
        polls: Polls for each picture.
        lain: For how long answers had lain ready when the poll for them arrived, on average.
        refused: Requests and predictions beyond the limits.
    """

    pictures: int
    seconds: float
    polls: float
    lain: float
    refused: int


async def run(
    latencies: list[float],
    limits: Limits,
    *,
    oracle: bool,
    learned: dict[str, Any] | None = None,
    held: bool = False,
    told: bool = False,
    lost: set[int] | None = None,
    doubled: set[int] | None = None,
    round_trip: float = ROUND_TRIP,
) -> Result:
    """Run one batch on the clock of the running event loop; with `lost`, by webhooks."""
    server = Server(latencies, limits, round_trip)
    limiter, dice = Limiter(limits), random.Random(1)
    calls = Calls(cast("Transport", server), limiter, max_retries=3, observe=None, dice=dice)
    poller = (OraclePoller if oracle else Poller)(calls, max_retries=3, dice=dice)
    started = anyio.current_time()
    request: Request = FluxDev(prompt="p")
    if held:
        request = FluxKontextDevMulti(
            prompt="p", images=["https://o.test/0.png"], enable_sync_mode=True
        )
    if oracle:
        poller.rule = OracleRule(server)
    elif learned is not None:
        poller.rule.restore(learned)
    runner = Runner(calls, poller, None if lost is None else "https://a.test/hook")
    course = Plain(cast("Any", runner))  # without a journal it needs no more
    slow = FluxDev(prompt="p", num_inference_steps=50) if told else request
    items = (slow if latency > SLOW else request for latency in latencies)
    async with anyio.create_task_group() as couriers:

        async def call(name: str, at: float) -> None:
            await anyio.sleep_until(at + round_trip / 2)
            poller.hear(decode_prediction(server.told(name)))

        if lost is not None:
            server.call = lambda name, at: couriers.start_soon(call, name, at)
            server.lost, server.doubled = lost, doubled or set()
        async with Outcomes(course, items, width=limits.concurrency) as outcomes:
            async for outcome in outcomes:
                outcome.unwrap()
        couriers.cancel_scope.cancel()
    seconds = anyio.current_time() - started
    polls = (server.requests - len(latencies)) / len(latencies)
    lain = statistics.fmean(server.lain) if server.lain else 0.0
    return Result(len(latencies), seconds, polls, lain, server.refused)


def simulate(latencies: list[float], limits: Limits, **options: Any) -> Result:
    """Run one batch on a clock of its own."""
    return anyio.run(
        partial(run, latencies, limits, **options),
        backend_options={"loop_factory": VirtualClockLoop},
    )


def compare(job: tuple[Case, int, int]) -> tuple[str, float, Result, Result]:
    """Run one seed of a case, ours and the oracle's; answer the share."""
    case, size, seed = job
    latencies = case.latencies(random.Random(seed), size)
    options: dict[str, Any] = {"told": case.told}
    if case.lost is not None:
        dice = random.Random(f"webhooks {seed}")
        options["lost"] = {n for n in range(size) if dice.random() < case.lost}
        options["doubled"] = {n for n in range(size) if dice.random() < case.lost}
    ours = simulate(latencies, case.limits, oracle=False, **options)
    best = simulate(latencies, case.limits, oracle=True, **options)
    return case.name, best.seconds / ours.seconds, ours, best


# --- one prediction alone, and sync mode ---------------------------------------------------------


def alone(seed: int) -> tuple[Result, Result]:
    """Run one prediction of 5 s after twenty that were seen, and the very first one."""
    dice = random.Random(seed)
    seen = {MODEL: steady(5.0, 0.3, dice, 20)}
    learned: dict[str, Any] = {
        "version": SNAPSHOT_VERSION,
        "cost": None,
        "latencies": seen,
        "kinds": [],
    }
    latencies = steady(5.0, 0.3, dice, 1)
    limits = Limits()
    after = simulate(latencies, limits, oracle=False, learned=learned)
    return after, simulate(latencies, limits, oracle=False)


def bound_of_sync(latencies: list[float], limits: Limits) -> float:
    """Tell the seconds that a batch takes at best when each picture is one held request."""
    starts: list[float] = []
    running: list[float] = []
    for latency in latencies:
        at = starts[-1] if starts else 0.0
        if len(starts) >= limits.requests:
            at = max(at, starts[-limits.requests] + limits.per)
        if len(running) >= limits.concurrency:
            at = max(at, heapq.heappop(running))
        starts.append(at)
        heapq.heappush(running, at + ROUND_TRIP + latency)
    return max(running)


def sync(job: tuple[int, int]) -> tuple[float, Result]:
    """Run one batch of kontext/multi of 5 s in sync mode; answer the share of the bound."""
    seed, size = job
    latencies = steady(5.0, 0.3, random.Random(seed), size)
    ours = simulate(latencies, Limits(), oracle=False, held=True)
    return bound_of_sync(latencies, Limits()) / ours.seconds, ours


# --- what is printed -----------------------------------------------------------------------------


def shares(rows: list[Case], seeds: range, pool: Any) -> Iterator[dict[str, Any]]:
    """Answer a row for each case, as soon as all of its runs are there."""
    for case in rows:
        jobs = [(case, size, seed) for size in case.sizes for seed in seeds]
        found = pool.map(compare, jobs, chunksize=1)
        middle = statistics.fmean if case.mean else statistics.median
        yield {
            "case": case.name,
            "runs": len(found),
            "share": middle(share for _, share, _, _ in found),
            "asked": case.least,
            "pictures_a_minute": middle(60 * ours.pictures / ours.seconds for *_, ours, _ in found),
            "oracle": middle(60 * best.pictures / best.seconds for *_, best in found),
            "polls": statistics.fmean(ours.polls for *_, ours, _ in found),
            "refused": sum(ours.refused + best.refused for *_, ours, best in found),
        }


def others(seeds: range, pool: Any) -> Iterator[dict[str, Any]]:
    """Answer the rows that have no oracle."""
    found = pool.map(alone, range(seeds.start, seeds.start + 40 * len(seeds)), chunksize=10)
    for name, results in zip(
        ("alone, after twenty", "the very first"), zip(*found, strict=True), strict=True
    ):
        yield {
            "case": name,
            "runs": len(results),
            "late": statistics.fmean(result.lain for result in results),
            "polls": statistics.fmean(result.polls for result in results),
        }
    held = pool.map(sync, [(seed, size) for size in SIZES for seed in seeds], chunksize=1)
    yield {
        "case": "sync mode, 5 s",
        "runs": len(held),
        "share": statistics.median(share for share, _ in held),
        "asked": 0.95,
        "polls": statistics.fmean(result.polls for _, result in held),
        "refused": sum(result.refused for _, result in held),
    }


def line(row: dict[str, Any]) -> str:
    """Write a row of the table."""
    if "late" in row:
        late = f"polled {row['late']:.2f} s after it was ready"
        return f"{row['case']:20} {late}, in {row['polls']:.2f} polls"
    asked = f"{row['asked']:.2f}" if row["asked"] else "    "
    a_minute = (
        f"{row['pictures_a_minute']:5.1f} of {row['oracle']:5.1f}" if "oracle" in row else " " * 14
    )
    return (
        f"{row['case']:20} {row['share']:.3f}  {asked}  {a_minute}"
        f"  {row['polls']:.2f} polls  {row['refused']} refused"
    )


def main() -> None:
    """Simulate, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=30, help="runs of each case and size")
    parser.add_argument("--first", type=int, default=None, help="the first seed; drawn by default")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--cases", nargs="*", help="names of rows; all by default")
    parser.add_argument("--json", type=Path, help="where to write the rows")
    options = parser.parse_args()
    first = random.randrange(10**6) if options.first is None else options.first
    seeds = range(first, first + options.seeds)
    rows = [case for case in cases() if not options.cases or case.name in options.cases]
    sys.stdout.write(f"seeds {first} to {seeds[-1]}\n")
    sys.stdout.write(f"{'case':20} share  asked pictures a minute (oracle)\n")
    told = []
    with Pool(options.jobs) as pool:
        for row in chain(shares(rows, seeds, pool), () if options.cases else others(seeds, pool)):
            sys.stdout.write(line(row) + "\n")
            sys.stdout.flush()
            told.append(row)
    if options.json:
        options.json.write_text(json.dumps({"first_seed": first, "rows": told}, indent=1))


if __name__ == "__main__":
    main()
