"""Pictures a minute under the documented limits: ours, the official SDK's, and an oracle's.

All meet the emulator over real sockets: in a process of its own, and as strict as the API is
documented to be, with 120 requests a minute and 20 running. Predictions take 2 to 60 s (cv 0.3).
All times are divided by SCALE, and figures are told in minutes of the account. The official SDK
(package `wavespeed`) is fanned out on threads, as its users do it, with its own pace of polling
(1 s, scaled too); what it makes of the prompts that it does not lose counts. A run that has lost
all others within a minute counts as one: it has used that minute's requests up.

The oracle knows each latency and polls each prediction once, when it is ready: `simulation.py` runs
it on the latencies that the emulator has drawn in our run, and runs our own poller on them too.
Both have the limits of the real run, scaled alike (so the limiter's fixed margin of 20 ms weighs as
much there), and the round trip that was measured in it. The last columns are our share of the
oracle's pictures a minute, real and simulated.

    python benchmarks/throughput.py --json figures.json --plot figure.svg
    python benchmarks/throughput.py --redraw figures.json --plot figure.svg
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import sys
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from _account import POLL, Job, seen_by, server
from _apart import SPAWN
from _drawing import INK, ORACLE, OURS, RIVAL, drawing, plain
from attrs import frozen
from simulation import MEANS, SIZES, simulate

from wavespeed_async import AsyncWaveSpeed, FluxDev, Limiter, RequestAnswered
from wavespeed_async.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

AGREED = 0.03
MODEL = "wavespeed-ai/flux-dev"


@frozen
class Run(Job):
    """Describe one run: on how many threads the official SDK makes it; 0 for ours."""

    threads: int = 0

    @property
    def name(self) -> str:
        """Whose run it is."""
        return f"official SDK, {self.threads} threads" if self.threads else "ours"


# --- the server ----------------------------------------------------------------------------------


def serve(control: Connection, job: Run) -> None:
    """Serve until told to stop; then tell what was seen."""
    with Emulator(**job.settings) as emulator:
        control.send(emulator.url)
        control.recv()
        seen = seen_by(emulator)
    control.send(seen)


# --- who is compared ------------------------------------------------------------------------------


def ours(job: Run) -> dict[str, Any]:
    """Run a batch over real sockets, and simulate it."""
    round_trips: list[float] = []

    def observe(event: object) -> None:
        if isinstance(event, RequestAnswered):
            round_trips.append(event.seconds)

    async def batch(url: str) -> tuple[int, float]:
        client = AsyncWaveSpeed("key", base_url=url, limiter=Limiter(job.limits), observe=observe)
        requests = (FluxDev(prompt=f"{number}") for number in range(job.prompts))
        made = 0
        async with client:
            began = anyio.current_time()
            async with client.batch(requests) as outcomes:
                async for outcome in outcomes:
                    made += outcome.error is None
            return made, anyio.current_time() - began

    with server(serve, job) as (url, seen):
        made, seconds = anyio.run(batch, url)
    latencies, round_trip = seen.pop("latencies"), statistics.median(round_trips)
    same, best = (
        simulate(latencies, job.limits, oracle=oracle, round_trip=round_trip)
        for oracle in (False, True)
    )
    return {
        "pictures_a_minute": job.a_minute(made, seconds),
        "lost": job.prompts - made,
        "simulated": job.a_minute(same.pictures, same.seconds),
        "oracle": job.a_minute(best.pictures, best.seconds),
        "share": best.seconds / seconds * made / best.pictures,
        "share_simulated": best.seconds / same.seconds,
        "round_trip": round_trip * job.scale,
        **seen,
    }


def official(job: Run) -> dict[str, Any]:
    """Fan the official SDK out on threads."""
    from wavespeed import Client  # noqa: PLC0415 (a rival, not a dependency)

    def run(url: str, number: int) -> bool:
        client = Client("key", base_url=url, retry_interval=POLL / job.scale)
        with contextlib.suppress(Exception):
            client.run(MODEL, {"prompt": f"{number}"}, poll_interval=POLL / job.scale)
            return True
        return False

    with server(serve, job) as (url, seen), contextlib.redirect_stdout(io.StringIO()):
        began = time.perf_counter()
        with ThreadPoolExecutor(job.threads) as pool:
            made = sum(pool.map(lambda number: run(url, number), range(job.prompts)))
        seconds = time.perf_counter() - began
    del seen["latencies"]
    return {
        "pictures_a_minute": job.a_minute(made, max(seconds, job.limits.per)),
        "lost": job.prompts - made,
        **seen,
    }


def measure(job: Run) -> dict[str, Any]:
    """Make one run."""
    what = {"name": job.name, "mean": job.mean, "seed": job.seed, "prompts": job.prompts}
    return {**what, **(official if job.threads else ours)(job)}


# --- all of them ----------------------------------------------------------------------------------


def all_jobs(options: argparse.Namespace) -> list[Run]:
    """List the runs, our longest ones first."""
    seeds = range(options.first, options.first + options.seeds)
    jobs = [
        Run(mean, seed, options.prompts[seed % len(options.prompts)], options.scale)
        for mean in sorted(options.latencies, reverse=True)
        for seed in seeds
    ]
    return jobs + [
        Run(mean, options.first, options.official_prompts, options.scale, threads)
        for mean in sorted(options.latencies, reverse=True)
        for threads in options.threads
    ]


def run_all(jobs: list[Run], at_once: int) -> Iterator[dict[str, Any]]:
    """Make all runs, each in a fresh process; tell of each on stderr."""
    with ProcessPoolExecutor(at_once, mp_context=SPAWN, max_tasks_per_child=1) as pool:
        runs = [pool.submit(measure, job) for job in jobs]
        for number, ended in enumerate(as_completed(runs), 1):
            run = ended.result()
            share = f", {run['share']:.3f} of the oracle's" if "share" in run else ""
            pace = f"{run['pictures_a_minute']:.1f} pictures a minute, {run['lost']} lost{share}"
            sys.stderr.write(
                f"{number:3} of {len(jobs)}: {run['name']}, {run['mean']:g} s: {pace}\n"
            )
            yield run


def summary(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Make a row of each latency: medians over the seeds."""
    rows = []
    for mean in sorted({run["mean"] for run in runs}):
        by_name: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for run in runs:
            if run["mean"] == mean:
                by_name[run["name"]].append(run)
        row: dict[str, Any] = {"mean": mean, "official": {}}
        for name, same in by_name.items():
            pace = statistics.median(run["pictures_a_minute"] for run in same)
            lost = sum(run["lost"] for run in same) / sum(run["prompts"] for run in same)
            if name == "ours":
                told = ("simulated", "oracle", "share", "share_simulated", "round_trip")
                row |= {key: statistics.median(run[key] for run in same) for key in told}
                row |= {"ours": pace, "lost": lost}
                row["apart"] = max(abs(run["share"] - run["share_simulated"]) for run in same)
                row["refused"] = sum(run["refused"] for run in same)
            else:
                row["official"][name] = {"pictures_a_minute": pace, "lost": lost}
        rows.append(row)
    return rows


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Write the table, line by line."""
    names = list(rows[0]["official"])
    yield "pictures a minute (share of prompts lost)"
    heads = "".join(f"{name.removeprefix('official SDK, '):>15}" for name in names)
    yield f"{'mean':>6}{'oracle':>8}{'ours':>14}{heads}   share  simulated  apart  round trip"
    for row in rows:
        line = f"{row['mean']:4g} s{row['oracle']:8.1f}{row['ours']:7.1f} ({row['lost']:4.0%})"
        for name in names:
            rival = row["official"][name]
            line += f"{rival['pictures_a_minute']:8.1f} ({rival['lost']:4.0%})"
        line += f"   {row['share']:.3f}      {row['share_simulated']:.3f}  {row['apart']:.3f}"
        yield f"{line}      {row['round_trip']:.3f} s"
    apart = max(row["apart"] for row in rows)
    verdict = "agree" if apart <= AGREED else "do NOT agree"
    refused = sum(row["refused"] for row in rows)
    yield f"real and simulated shares of single runs are {apart:.3f} apart at most: they {verdict}"
    yield f"within {AGREED}; the server refused {refused} of our requests"


# --- the figure -----------------------------------------------------------------------------------


STYLES = ("-", "--", ":")
ORACLE_LABEL = "oracle: knows when each picture will be ready"


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw pictures a minute against latency."""
    means = [row["mean"] for row in rows]
    with drawing(path, 7.6, 4.8) as figure:
        from matplotlib.ticker import FixedLocator, NullLocator  # noqa: PLC0415 (only who draws)

        axes = figure.subplots()
        for name, style in zip(rows[0]["official"], STYLES * len(means), strict=False):
            official = [row["official"][name]["pictures_a_minute"] for row in rows]
            least = min(row["official"][name]["lost"] for row in rows)
            most = max(row["official"][name]["lost"] for row in rows)
            label = f"{name}: loses {least:.0%} to {most:.0%} of the prompts"
            axes.plot(means, official, style, color=RIVAL, lw=1.6, marker="o", ms=3.5, label=label)
        oracle = [row["oracle"] for row in rows]
        axes.plot(means, oracle, "-", color=ORACLE, lw=5, alpha=0.55, label=ORACLE_LABEL)
        ours = [row["ours"] for row in rows]
        label = f"wavespeed-async: loses {max(row['lost'] for row in rows):.0%}"
        axes.plot(means, ours, "-", color=OURS, lw=2.4, marker="o", ms=5, label=label)
        for mean, pace in zip(means, ours, strict=True):
            above = (0, -16)
            axes.annotate(
                f"{pace:.0f}", (mean, pace), above, textcoords="offset points",
                ha="center", color=OURS, weight="bold",
            )  # fmt: skip
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(means))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(means, [f"{mean:g} s" for mean in means])
        axes.set_ylim(0, 72)
        axes.set_xlabel("how long a prediction takes, on average", color=INK)
        axes.set_title("Pictures a minute, at 120 requests a minute and 20 running", color=INK)
        plain(axes)
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(
            handles[::-1], labels[::-1], loc="outside lower center", ncols=1,
            frameon=False, labelcolor=INK, fontsize=9,
        )  # fmt: skip


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--prompts", type=int, nargs="+", default=SIZES, help="of ours, by turns over the seeds")
    add("--official-prompts", type=int, default=120, help="of each run of the official SDK")
    add("--threads", type=int, nargs="*", default=(2, 4, 20), help="of the official SDK")
    add("--latencies", type=float, nargs="+", default=MEANS, help="means, in seconds")
    add("--scale", type=float, default=20.0, help="what all times are divided by")
    add("--seeds", type=int, default=3, help="runs of ours at each latency")
    add("--first", type=int, default=1, help="the first seed")
    add("--jobs", type=int, default=1, help="runs at once; they disturb each other")
    add("--json", type=Path, help="where to write all figures")
    add("--plot", type=Path, help="where to draw pictures a minute against latency")
    add("--redraw", type=Path, help="take the figures from a file written by --json")
    return parser.parse_args(arguments)


def main() -> None:
    """Measure, print, write, draw."""
    options = options_of()
    if options.redraw:
        report = json.loads(options.redraw.read_text(encoding="utf-8"))
    else:
        runs = list(run_all(all_jobs(options), options.jobs))
        report = {"benchmark": "throughput", "scale": options.scale, "rows": summary(runs)}
        report["runs"] = sorted(runs, key=lambda run: (run["name"], run["mean"], run["seed"]))
    sys.stdout.writelines(f"{line}\n" for line in table(report["rows"]))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        draw(report["rows"], options.plot)


if __name__ == "__main__":
    main()
