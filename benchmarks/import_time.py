"""How long the import takes beside httpx alone, and with the first client made.

Run it with the package installed (an import from a source tree without byte code is slower):

    python benchmarks/import_time.py [ROUNDS]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

STATEMENTS = {
    "import httpx": "import httpx",
    "import wavespeed_async": "import wavespeed_async",
    "import and first client": "import wavespeed_async; wavespeed_async.AsyncWaveSpeed('k')",
    "import wavespeed (official)": "import wavespeed",
}
TIMED = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"


def milliseconds(statement: str) -> float | None:
    """Time one statement in a fresh interpreter; None where the package is missing."""
    command = [sys.executable, "-P", "-c", TIMED.format(statement)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (our own statements)
    return float(ended.stdout) * 1000 if ended.returncode == 0 else None


def main(rounds: int) -> None:
    """Take the statements in turn, so that noise meets them all; print medians and a ratio."""
    times: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for _ in range(rounds):
        for name, statement in STATEMENTS.items():
            taken = milliseconds(statement)
            if taken is not None:
                times[name].append(taken)
    medians = {name: statistics.median(taken) for name, taken in times.items() if taken}
    for name, median in medians.items():
        print(f"{name:30} {median:7.1f} ms   {median / medians['import httpx']:5.2f} x httpx")
    print(json.dumps({"benchmark": "import_time", "rounds": rounds, "median_ms": medians}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rounds", type=int, nargs="?", default=15, help="of each statement")
    main(**vars(parser.parse_args()))
