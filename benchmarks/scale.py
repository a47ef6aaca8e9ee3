"""How long very many pictures take, and what they leave on disk: simulated, with shards and deaths.

A run is cut into shards, each with a journal of its own. Each key works on one shard at a time, at
the pace that its limits allow: requests a minute over requests a picture, or what may run at once
over the time that each takes. Workers die at random moments; after DOWN seconds the shard is taken
up again. With its journal nothing is submitted again, and what ran is asked for once more; without
one the shard begins anew, and what it had made is paid for twice. At the end keys stand idle while
the last shards are worked off, so shards should be small beside the run; a job for each prompt
would be the smallest, but then a queue has to keep and hand out each prompt by itself.

The bytes that a request takes in a journal are measured: a batch of MEASURED requests is run in
process, with answers as long as the API's.

    python benchmarks/scale.py [--pictures 1000000] [--keys 1 10 100] [--requests-each 1 2.2]
                               [--shard 1000 10000 100000] [--deaths 4] [--json FILE]
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import random
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx
from attrs import evolve, frozen

from wavespeed_async import AsyncWaveSpeed, FluxDev, Limiter, Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY = 86400.0
MEASURED = 2000
PROMPT = (
    "A lighthouse on a basalt cliff at dusk, storm clouds behind it, long exposure, the sea "
    "smooth as silk, photograph, version {}"
)
ROOT = "https://api.wavespeed.ai/api/v3/predictions"
OUTPUT = "https://d1q70pf5vjeyhc.cloudfront.net/predictions/{name}/1.png"
LIMITS = Limits()
FREE = Limits(requests=10**9, per=0.01, concurrency=20, min_poll_interval=0.0)
"""Nothing waits: only the size of what is written is looked at."""


@frozen
class Plan:
    """Say what is to be made, by whom.

    Attributes:
        pictures: How many.
        keys: How many accounts share the work, each with the limits.
        requests_each: Requests that a picture costs: 1 by webhook or in sync mode, else its polls.
        latency: Seconds that a prediction takes.
        shard: Pictures in a shard.
        deaths: How often a worker dies, in a day.
        down: Seconds until its shard is taken up again.
        journal: Whether a shard has one.
    """

    pictures: int
    keys: int
    requests_each: float
    latency: float
    shard: int
    deaths: float
    down: float
    journal: bool = True

    @property
    def pace(self) -> float:
        """Pictures a second that one key makes at most."""
        by_requests = LIMITS.requests / LIMITS.per / self.requests_each
        return min(by_requests, LIMITS.concurrency / self.latency)


@frozen
class Ended:
    """Hold how a run ended: when, in seconds; pictures paid twice; what was asked for again."""

    seconds: float
    twice: int
    asked_again: int


def simulate(plan: Plan, dice: random.Random) -> Ended:
    """Work off all shards, each by the key that is free first."""
    free = [0.0] * plan.keys
    twice = asked_again = 0
    for begin in range(0, plan.pictures, plan.shard):
        now = heapq.heappop(free)
        left = wanted = min(plan.shard, plan.pictures - begin)
        while True:
            life = dice.expovariate(plan.deaths / DAY) if plan.deaths else math.inf
            if left / plan.pace <= life:
                break
            now += life + plan.down
            if plan.journal:
                left -= int(life * plan.pace)
                running = min(LIMITS.concurrency, plan.pace * plan.latency, left)
                asked_again += round(running)
                now += running / plan.pace * (1 - 1 / max(plan.requests_each, 1.0))
            else:
                twice += int(life * plan.pace)
                left = wanted
        heapq.heappush(free, now + left / plan.pace)
    return Ended(max(free), twice, asked_again)


# --- what a journal takes -------------------------------------------------------------------------


class Instant(httpx.AsyncBaseTransport):
    """Answer each submission with a prediction that is ready at the first poll, in full length."""

    made = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer at once."""
        if request.method == "POST":
            self.made += 1
            name, status = f"{self.made:032x}", "created"
        else:
            name, status = request.url.path.split("/")[-2], "completed"
        data = {
            "id": name,
            "model": "wavespeed-ai/flux-dev",
            "status": status,
            "outputs": [OUTPUT.format(name=name)] if status == "completed" else [],
            "urls": {"get": f"{ROOT}/{name}/result"},
            "has_nsfw_contents": [False],
            "created_at": "2026-01-01T00:00:00.000Z",
            "error": "",
            "timings": {"inference": 5000},
        }
        return httpx.Response(200, json={"code": 200, "message": "success", "data": data})


def bytes_of_a_request() -> float:
    """Run a batch, and answer how many bytes of its journal each request takes."""

    async def run(folder: str) -> None:
        client = AsyncWaveSpeed("key", transport=Instant(), limiter=Limiter(FREE))
        requests = (FluxDev(prompt=PROMPT.format(number)) for number in range(MEASURED))
        journal = Path(folder) / "journal.sqlite"
        async with client, client.batch(requests, journal=journal) as outcomes:
            async for outcome in outcomes:
                outcome.unwrap()

    with tempfile.TemporaryDirectory() as folder:
        anyio.run(run, folder)
        return sum(file.stat().st_size for file in Path(folder).iterdir()) / MEASURED


# --- the table ------------------------------------------------------------------------------------


def row_of(plan: Plan, seeds: range) -> dict[str, Any]:
    """Simulate a plan with and without journals, and answer the medians."""
    kept = [simulate(plan, random.Random(seed)) for seed in seeds]
    bare = evolve(plan, journal=False)
    lost = [simulate(bare, random.Random(seed)) for seed in seeds]
    return {
        "keys": plan.keys,
        "requests_each": plan.requests_each,
        "shard": plan.shard,
        "shards": math.ceil(plan.pictures / plan.shard),
        "at_best": plan.pictures / plan.pace / plan.keys / DAY,
        "days": statistics.median(ended.seconds for ended in kept) / DAY,
        "asked_again": statistics.median(ended.asked_again for ended in kept),
        "days_without": statistics.median(ended.seconds for ended in lost) / DAY,
        "twice_without": statistics.median(ended.twice for ended in lost),
    }


def table(report: dict[str, Any]) -> Iterator[str]:
    """Word the report."""
    size = report["bytes_of_a_request"]
    yield (
        f"{report['pictures']:,} pictures; journals: {size:,.0f} bytes a request, "
        f"{size * report['pictures'] / 1e9:,.1f} GB in all"
    )
    yield "                                      with journals        |  without"
    yield " keys requests    shard   shards  at best     days polled again |     days   paid twice"
    for row in report["rows"]:
        yield (
            f"{row['keys']:5}{row['requests_each']:9g}{row['shard']:9}{row['shards']:9}"
            f"{row['at_best']:9.2f}{row['days']:9.2f}{row['asked_again']:13,.0f} |"
            f"{row['days_without']:9.2f}{row['twice_without']:13,.0f}"
        )


def main() -> None:
    """Simulate all combinations."""
    about = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    about.add_argument("--pictures", type=int, default=1_000_000, help="how many to make")
    about.add_argument("--keys", type=int, nargs="+", default=[1, 10, 100], help="accounts")
    about.add_argument(
        "--requests-each", type=float, nargs="+", default=[1.0, 2.2], help="requests a picture"
    )
    about.add_argument(
        "--shard", type=int, nargs="+", default=[1000, 10_000, 100_000], help="pictures in a shard"
    )
    about.add_argument("--latency", type=float, default=5.0, help="seconds of a prediction")
    about.add_argument("--deaths", type=float, default=4.0, help="of each worker in a day")
    about.add_argument("--down", type=float, default=60.0, help="seconds after each")
    about.add_argument("--seeds", type=int, default=20, help="runs of each row")
    about.add_argument("--json", type=Path, help="where to write the rows")
    given = about.parse_args()
    plans = [
        Plan(given.pictures, keys, each, given.latency, shard, given.deaths, given.down)
        for keys in given.keys
        for each in given.requests_each
        for shard in given.shard
    ]
    report = {
        "benchmark": "scale",
        "pictures": given.pictures,
        "bytes_of_a_request": bytes_of_a_request(),
        "rows": [row_of(plan, range(given.seeds)) for plan in plans],
    }
    print("\n".join(table(report)))
    if given.json:
        given.json.write_text(json.dumps(report, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
