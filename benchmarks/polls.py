"""What a poll costs: when one prediction is polled, how often, and how long its picture lies ready.

A model takes 12 s on average (cv 0.3, log-normal), and 60 of its predictions were seen. The
package's own rule says at which ages one more is polled if a poll costs so many seconds of slot
time. Then many predictions are drawn, and polled at those ages: how many polls each needs, and for
how long its picture lies ready before it is seen. Beside it what a poll at fixed intervals does.

    python benchmarks/polls.py [--draws 20000] [--plot docs/polls.svg]
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
from bisect import bisect_left
from itertools import count, takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from _drawing import INK, OURS, RIVAL, drawing, plain

from wavespeed_async._latency import LatencyRecord
from wavespeed_async._poll_rule import next_poll

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wavespeed_async._latency import Latency

MEAN, CV, SEEN = 12.0, 0.3, 60
INTERVAL = 1.0
"""Least seconds between two polls of one prediction."""
COSTS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
INTERVALS = (1.0, 2.0, 5.0)
SHOWN = (0.5, 2.0, 8.0)
LAST = 40.0
UNSHOWN = 0.01
"""A poll is shown while the chance is larger that the picture is not ready yet."""


def drawn(dice: random.Random, times: int) -> list[float]:
    """Draw how long predictions take."""
    variance = math.log(1 + CV**2)
    return [
        dice.lognormvariate(math.log(MEAN) - variance / 2, math.sqrt(variance))
        for _ in range(times)
    ]


def learned(dice: random.Random) -> Latency:
    """Learn from predictions that were seen."""
    record = LatencyRecord()
    for seconds in drawn(dice, SEEN):
        record.learn(0.0, LAST, seconds)
    latency = record.latency
    if latency is None:
        sys.exit("nothing was learned")
    return latency


def ages(latency: Latency, cost: float) -> list[float]:
    """Answer the ages at which the rule polls what is not ready yet."""
    told = [0.0]
    while told[-1] < 4 * LAST:
        told.append(next_poll(latency, told[-1], cost, INTERVAL))
    return told[1:]


def outcome(polled: list[float], latencies: list[float]) -> tuple[float, float]:
    """Answer the mean polls of a prediction, and how long its picture lies ready."""
    found = [bisect_left(polled, latency) for latency in latencies]
    lying = statistics.fmean(
        polled[poll] - latency for poll, latency in zip(found, latencies, strict=True)
    )
    return statistics.fmean(found) + 1, lying


def table(latency: Latency, latencies: list[float]) -> Iterator[str]:
    """Write a line for each cost, then one for each fixed interval."""
    yield f"{'':22} first poll  ready by then  polls  lies ready"
    for cost in COSTS:
        polled = ages(latency, cost)
        polls, lying = outcome(polled, latencies)
        ready = sum(value <= polled[0] for value in latencies) / len(latencies)
        name = f"a poll costs {cost:g} s"
        yield f"{name:22} {polled[0]:8.1f} s  {ready:13.0%}  {polls:5.2f}  {lying:8.2f} s"
    for interval in INTERVALS:
        polled = list(takewhile(lambda age: age < 4 * LAST, count(interval, interval)))
        polls, lying = outcome(polled, latencies)
        name = f"each {interval:g} s"
        yield f"{name:22} {polled[0]:8.1f} s  {0:13.0%}  {polls:5.2f}  {lying:8.2f} s"


def draw(latency: Latency, path: Path) -> None:
    """Draw the chance that a picture is ready against its age, and the polls of the rule."""
    with drawing(path, 7.6, 4.2) as figure:
        axes = figure.subplots()
        moments = [tenth / 10 for tenth in range(1, 260)]
        ready = [1 - latency.beyond(age) for age in moments]
        axes.plot(moments, ready, color=INK, lw=2, label="chance that it is ready")
        for cost, marker, color in zip(SHOWN, "osD", (OURS, "#8a3ffc", RIVAL), strict=True):
            polled = [age for age in ages(latency, cost) if latency.beyond(age) > UNSHOWN]
            heights = [1 - latency.beyond(age) for age in polled]
            label = f"polls, if one costs {cost:g} s"
            axes.plot(polled, heights, marker, color=color, ms=7, alpha=0.85, label=label)
        axes.set_ylim(0, 1.05)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
        axes.set_xlabel("age of the prediction, in seconds", color=INK)
        axes.set_title("When to poll for a picture that takes 12 s on average", color=INK)
        plain(axes)
        axes.legend(loc="lower right", frameon=False, labelcolor=INK)


def main() -> None:
    """Learn, draw, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=20_000, help="predictions that are polled")
    parser.add_argument("--seed", type=int, default=1, help="of all that is drawn")
    parser.add_argument("--plot", type=Path, help="where to draw the polls")
    options = parser.parse_args()
    dice = random.Random(options.seed)
    latency = learned(dice)
    for line in table(latency, drawn(dice, options.draws)):
        sys.stdout.write(line + "\n")
    if options.plot:
        draw(latency, options.plot)


if __name__ == "__main__":
    main()
