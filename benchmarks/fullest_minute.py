"""The fullest minute at the server, for this package's limiter and for rules that people use.

600 requests are sent as soon as a rule allows, each 5 to 400 ms on its way and as long back. The
server counts a request as it arrives; what is told is how many it counted in its fullest minute,
where 120 are allowed, and when the last answer was there. The rules:

    ours            fewer than 120 earlier ones unanswered, or answered within the last minute:
                    the package's own window
    token bucket    120 tokens at first, two more each second
    log of sendings fewer than 120 were sent within the last minute
    one each 0.5 s  evenly

    python benchmarks/fullest_minute.py [--seeds 20] [--plot docs/fullest-minute.svg]
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
from bisect import bisect_right
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from _drawing import INK, OURS, RIVALS, drawing, plain

from wavespeed_async.limits import Limits
from wavespeed_async.limits._window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMITS = Limits()
REQUESTS, SHORTEST, LONGEST = 600, 0.005, 0.4


class Rule(Protocol):
    """Say when to send."""

    def next_at(self, now: float) -> float:
        """Tell when the next request may be sent; infinity: an answer must come first."""

    def send(self, now: float) -> Any:
        """Hear that one is sent."""

    def answer(self, sent: Any, now: float) -> None:
        """Hear that it was answered."""


class Ours:
    """Ask the window of the package."""

    def __init__(self) -> None:
        self._window = Window(LIMITS)

    def next_at(self, now: float) -> float:
        """Tell when the window has room."""
        return self._window.next_free(now)

    def send(self, now: float) -> Any:
        """Take a token."""
        del now
        return self._window.take()

    def answer(self, sent: Any, now: float) -> None:
        """Count the token."""
        self._window.count(sent, now)


class TokenBucket:
    """Begin full, and refill evenly."""

    def __init__(self) -> None:
        self._tokens, self._at = float(LIMITS.requests), 0.0

    def next_at(self, now: float) -> float:
        """Tell when a whole token is there."""
        lacking = 1.0 - self._tokens - (now - self._at) * LIMITS.requests / LIMITS.per
        return now + max(0.0, lacking) * LIMITS.per / LIMITS.requests

    def send(self, now: float) -> None:
        """Take a token."""
        refilled = self._tokens + (now - self._at) * LIMITS.requests / LIMITS.per
        self._tokens, self._at = min(refilled, LIMITS.requests) - 1.0, now

    def answer(self, sent: Any, now: float) -> None:
        """Care for no answer."""


class LogOfSendings:
    """Count what was sent within the last minute."""

    def __init__(self) -> None:
        self._sent: list[float] = []

    def next_at(self, now: float) -> float:
        """Tell when the oldest that counts was sent a minute ago."""
        if len(self._sent) < LIMITS.requests:
            return now
        return max(now, self._sent[-LIMITS.requests] + LIMITS.per)

    def send(self, now: float) -> None:
        """Note the time."""
        self._sent.append(now)

    def answer(self, sent: Any, now: float) -> None:
        """Care for no answer."""


class Evenly(LogOfSendings):
    """Keep a distance."""

    def next_at(self, now: float) -> float:
        """Tell when the last was sent half a second ago."""
        return max(now, self._sent[-1] + LIMITS.per / LIMITS.requests) if self._sent else now


RULES: dict[str, Callable[[], Rule]] = {
    "ours": Ours,
    "token bucket": TokenBucket,
    "log of sendings": LogOfSendings,
    "one each 0.5 s": Evenly,
}


def simulate(rule: Rule, dice: random.Random) -> tuple[list[float], float]:
    """Answer when the server had each request, sorted, and when the last was answered."""
    now = 0.0
    arrivals: list[float] = []
    on_their_way: list[tuple[float, int, Any]] = []
    while len(arrivals) < REQUESTS:
        at = rule.next_at(now)
        if on_their_way and on_their_way[0][0] <= at:
            now, _, sent = heapq.heappop(on_their_way)
            rule.answer(sent, now)
            continue
        now = at
        arrivals.append(now + dice.uniform(SHORTEST, LONGEST))
        answered = arrivals[-1] + dice.uniform(SHORTEST, LONGEST)
        heapq.heappush(on_their_way, (answered, len(arrivals), rule.send(now)))
    return sorted(arrivals), max(answered for answered, _, _ in on_their_way)


def counted(arrivals: list[float]) -> tuple[list[float], list[int]]:
    """Answer when the count of the minute before changes, and what it is from then on."""
    ends = (at + LIMITS.per for at in arrivals)
    moments = sorted([*arrivals, *(end for end in ends if end < arrivals[-1])])
    return moments, [
        bisect_right(arrivals, at) - bisect_right(arrivals, at - LIMITS.per) for at in moments
    ]


def table(seeds: range) -> Iterator[str]:
    """Write a line for each rule: the fullest minute of all runs, and the longest run."""
    yield f"{'rule':16}  fullest minute  last answer"
    for name, rule in RULES.items():
        runs = [simulate(rule(), random.Random(seed)) for seed in seeds]
        fullest = max(max(counted(arrivals)[1]) for arrivals, _ in runs)
        yield f"{name:16}  {fullest:14}  {max(end for _, end in runs):9.1f} s"


def draw(seed: int, path: Path) -> None:
    """Draw how many requests the server has counted in the minute before each moment."""
    with drawing(path, 7.6, 4.2) as figure:
        axes = figure.subplots()
        axes.axhline(LIMITS.requests, color=INK, lw=1, ls=":")
        axes.annotate("the limit: 120", (244, 124), color=INK)
        for (name, rule), color in zip(RULES.items(), (OURS, *RIVALS), strict=True):
            arrivals, _ = simulate(rule(), random.Random(seed))
            width = 2.4 if name == "ours" else 1.4
            axes.plot(*counted(arrivals), color=color, lw=width, label=name, drawstyle="steps-post")
        axes.set_xlim(-5, 305)
        axes.set_ylim(0, 250)
        axes.set_xlabel("seconds", color=INK)
        axes.set_title("Requests that the server has counted in the minute before", color=INK)
        plain(axes)
        axes.legend(loc="upper right", frameon=False, labelcolor=INK)


def main() -> None:
    """Simulate, print, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20, help="runs of each rule")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--plot", type=Path, help="where to draw the run of the first seed")
    options = parser.parse_args()
    for line in table(range(options.first, options.first + options.seeds)):
        sys.stdout.write(line + "\n")
    if options.plot:
        draw(options.first, options.plot)


if __name__ == "__main__":
    main()
