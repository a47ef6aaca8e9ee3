"""Pictures a minute by webhooks, under the documented limits, where some are lost and some doubled.

The emulator runs in a process of its own, as strict as the API is documented to be: 120 requests a
minute and 20 running. It calls a server in this process over real sockets, which hands each call to
`client.receive`. All times are divided by SCALE, and figures are told in minutes of the account.

Each picture costs a request, each webhook that is lost one more, so that at best 120 / 1.05
pictures a minute are made where 5 % are lost: the share of that bound is told. A batch
gains a little by its beginning (the window is empty), and loses at its end (the last lost webhook
has to be late). So the same run is simulated beside (`simulation.py`), by ours and by an oracle
that knows which webhooks are lost and polls those alone, at the moment they are ready.

    python benchmarks/webhooks.py --json figures.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from _account import Job, seen_by, server
from anyio.abc import SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream
from attrs import frozen
from simulation import SIZES, simulate

from wavespeed_async import (
    AsyncWaveSpeed,
    FluxDev,
    Limiter,
    PredictionPolled,
    RequestAnswered,
    WebhookReceived,
)
from wavespeed_async.emulator import Emulator, Faults

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from multiprocessing.connection import Connection

    from anyio.abc import SocketStream

REQUESTS = 120
SECRET = "whsec_of_the_benchmark"  # noqa: S105 (everybody may know it)
TAKEN = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
LONGEST_HEAD = 16_384


@frozen
class Run(Job):
    """Describe one run.

    Attributes:
        lost: The share of webhooks that never come.
        doubled: The share of those that come twice.
    """

    lost: float
    doubled: float


# --- the API --------------------------------------------------------------------------------------


def serve(control: Connection, job: Run) -> None:
    """Serve until told to stop; then tell what was seen."""
    faults = Faults(seed=job.seed, lost_webhook=job.lost, duplicate_webhook=job.doubled)
    with Emulator(
        **job.settings,
        faults=faults,
        webhook_secret=SECRET,
        webhook_pause=1.0 / job.scale,
    ) as emulator:
        control.send(emulator.url)
        control.recv()
        numbers = {made.id: number for number, made in enumerate(emulator.predictions)}
        found: dict[str, list[int]] = {"lost-webhook": [], "duplicate-webhook": []}
        for call in emulator.webhooks:
            if call.fault in found:
                found[call.fault].append(numbers[call.prediction_id])
        seen = {
            **seen_by(emulator),
            "lost": found["lost-webhook"],
            "doubled": found["duplicate-webhook"],
        }
    control.send(seen)


# --- the application that is called ---------------------------------------------------------------


@asynccontextmanager
async def called(client: AsyncWaveSpeed) -> AsyncIterator[str]:
    """Be called by webhooks on behalf of a client; answers where."""

    async def take(stream: SocketStream) -> None:
        async with stream:
            arriving = BufferedByteReceiveStream(stream)
            with suppress(anyio.IncompleteRead, anyio.EndOfStream, anyio.BrokenResourceError):
                while True:
                    head = await arriving.receive_until(b"\r\n\r\n", LONGEST_HEAD)
                    lines = [line.partition(": ") for line in head.decode().split("\r\n")[1:]]
                    headers = {name.lower(): value for name, _, value in lines}
                    body = await arriving.receive_exactly(int(headers["content-length"]))
                    await client.receive(body, headers, SECRET)
                    await stream.send(TAKEN)

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listening,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listening.serve, take)
        port = listening.extra(SocketAttribute.local_port)  # noqa: S610 (anyio's, not Django's)
        yield f"http://127.0.0.1:{port}/hook"
        tasks.cancel_scope.cancel()


# --- one run --------------------------------------------------------------------------------------


async def batch(job: Run, url: str) -> dict[str, Any]:
    """Make a batch by webhooks; answer what was seen."""
    round_trips: list[float] = []
    polls: list[bool] = []
    awaited: list[bool] = []

    def observe(event: object) -> None:
        if isinstance(event, RequestAnswered):
            round_trips.append(event.seconds)
        elif isinstance(event, PredictionPolled):
            polls.append(event.prediction.status.ended)
        elif isinstance(event, WebhookReceived):
            awaited.append(event.awaited)

    limiter = Limiter(job.limits)
    client = AsyncWaveSpeed("key", base_url=url, limiter=limiter, observe=observe)
    requests = (FluxDev(prompt=f"{number}") for number in range(job.prompts))
    made = 0
    async with client, called(client) as hook:
        began = anyio.current_time()
        async with client.batch(requests, webhook=hook) as outcomes:
            async for outcome in outcomes:
                made += outcome.error is None
        seconds = anyio.current_time() - began
    return {
        "made": made,
        "seconds": seconds,
        "round_trip": statistics.median(round_trips),
        "polls": len(polls),
        "misses": polls.count(False),
        "calls": len(awaited),
    }


def measure(job: Run) -> dict[str, Any]:
    """Make one run, and simulate it by ours and by the oracle."""
    with server(serve, job) as (url, seen):
        ours = anyio.run(batch, job, url)
    options: dict[str, Any] = {
        "lost": set(seen["lost"]),
        "doubled": set(seen["doubled"]),
        "round_trip": ours["round_trip"],
    }
    same, best = (
        simulate(seen["latencies"], job.limits, oracle=oracle, **options)
        for oracle in (False, True)
    )
    pace = job.a_minute(ours["made"], ours["seconds"])
    return {
        "mean": job.mean,
        "seed": job.seed,
        "prompts": job.prompts,
        "pictures_a_minute": pace,
        "share_of_bound": pace / (REQUESTS / (1 + job.lost)),
        "oracle": job.a_minute(best.pictures, best.seconds),
        "share": best.seconds / ours["seconds"] * ours["made"] / best.pictures,
        "share_simulated": best.seconds / same.seconds,
        "unmade": job.prompts - ours["made"],
        "polls": ours["polls"],
        "misses": ours["misses"],
        "calls": ours["calls"],
        "lost": len(seen["lost"]),
        "doubled": len(seen["doubled"]),
        "round_trip": ours["round_trip"] * job.scale,
        **{name: seen[name] for name in ("requests", "refused", "most_in_window", "most_running")},
    }


# --- all of them ----------------------------------------------------------------------------------


def summary(runs: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Make a row of each latency: medians over the seeds, sums of what must not happen."""
    for mean in sorted({run["mean"] for run in runs}):
        same = [run for run in runs if run["mean"] == mean]
        told = ("pictures_a_minute", "share_of_bound", "oracle", "share", "share_simulated")
        row: dict[str, Any] = {"mean": mean, "runs": len(same)}
        row |= {name: statistics.median(run[name] for run in same) for name in told}
        row["least_share_of_bound"] = min(run["share_of_bound"] for run in same)
        row |= {name: sum(run[name] for run in same) for name in ("unmade", "refused")}
        pictures = sum(run["prompts"] for run in same)
        row |= {
            f"{name}_of_pictures": sum(run[name] for run in same) / pictures
            for name in ("polls", "misses", "lost", "doubled")
        }
        yield row


def table(rows: list[dict[str, Any]], bound: float) -> Iterator[str]:
    """Write the table, line by line."""
    yield f"pictures a minute; the bound is {bound:.1f}; lost, doubled, polls of all pictures"
    yield (
        f"{'mean':>6}{'ours':>8}{'of bound':>10}{'least':>7}{'oracle':>8}{'share':>7}"
        f"{'simulated':>11}{'lost':>7}{'doubled':>9}{'polls':>7}{'misses':>8}{'refused':>9}"
    )
    for row in rows:
        yield (
            f"{row['mean']:4g} s{row['pictures_a_minute']:8.1f}{row['share_of_bound']:10.3f}"
            f"{row['least_share_of_bound']:7.3f}{row['oracle']:8.1f}{row['share']:7.3f}"
            f"{row['share_simulated']:11.3f}{row['lost_of_pictures']:7.3f}"
            f"{row['doubled_of_pictures']:9.3f}{row['polls_of_pictures']:7.3f}"
            f"{row['misses_of_pictures']:8.3f}{row['refused']:9}"
        )
    yield f"{sum(row['unmade'] for row in rows)} pictures were not made"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--prompts", type=int, nargs="+", default=SIZES, help="by turns over the seeds")
    add("--latencies", type=float, nargs="+", default=(2.0, 5.0, 8.0), help="means, in seconds")
    add("--scale", type=float, default=20.0, help="what all times are divided by")
    add("--lost", type=float, default=0.05, help="share of webhooks that never come")
    add("--doubled", type=float, default=0.05, help="share of webhooks that come twice")
    add("--seeds", type=int, default=3, help="runs at each latency")
    add("--first", type=int, default=1, help="the first seed")
    add("--json", type=Path, help="where to write all figures")
    options = parser.parse_args()
    make = partial(Run, scale=options.scale, lost=options.lost, doubled=options.doubled)
    runs = []
    for mean in options.latencies:
        for seed in range(options.first, options.first + options.seeds):
            run = measure(make(mean, seed, options.prompts[seed % len(options.prompts)]))
            runs.append(run)
            told = f"{run['pictures_a_minute']:.1f} pictures a minute, {run['polls']} polls"
            sys.stderr.write(f"{mean:g} s, {run['prompts']} prompts: {told}\n")
    rows = list(summary(runs))
    lines = table(rows, REQUESTS / (1 + options.lost))
    sys.stdout.writelines(f"{line}\n" for line in lines)
    if options.json:
        report = {"benchmark": "webhooks", "scale": options.scale, "rows": rows, "runs": runs}
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
