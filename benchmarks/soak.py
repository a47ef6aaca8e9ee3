"""A long run on a bad day: no picture lost, none paid twice, memory flat, no connection left open.

The emulator runs in a process of its own with every fault at once (profile `hostile`), and is as
strict as the API about its limits; times of limits and predictions are divided by SCALE. In the end
it is asked what it has made (the API's own list), and that is held against what the client knows.

    python benchmarks/soak.py [MINUTES] [SCALE] [SEED]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx

from wavespeed_async import (
    AsyncWaveSpeed,
    FluxDev,
    Limiter,
    Limits,
    PredictionFailedError,
    PredictionTimeoutError,
    SubmissionUnconfirmedError,
    WaveSpeedError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

PER, LATENCY, POLL, TIMEOUT, ABANDON, STUCK = 60.0, 5.0, 1.0, 120.0, 90.0, 600.0
CALM = {"Authorization": "Bearer key"}


def start_emulator(scale: float, seed: int) -> tuple[subprocess.Popen[str], str]:
    """Start the emulator on its worst day; answer the process and its address."""
    command = [sys.executable, "-m", "wavespeed_async", "emulator", "--faults", "hostile"]
    command += ["--no-pictures", "--per", f"{PER / scale}", "--latency", f"{LATENCY / scale}"]
    command += ["--stuck-for", f"{STUCK / scale}", "--seed", f"{seed}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 (our own command)
    assert process.stdout is not None  # noqa: S101 (it was asked for)
    return process, process.stdout.readline().split()[-1]


def resident() -> float:
    """Tell this process's memory in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def open_files() -> int:
    """Count what this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def listed(url: str) -> list[dict[str, Any]]:
    """Ask the emulator for all that it has made, as often as its faults make necessary."""
    found: list[dict[str, Any]] = []
    page = 1
    while True:
        asked = {"page": page, "page_size": 100, "include_inputs": True}
        try:
            answer = httpx.post(f"{url}/api/v3/predictions", json=asked, headers=CALM, timeout=10)
            items = answer.json()["data"]["items"]
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            time.sleep(0.05)
            continue
        if not items:
            return found
        found += items
        page += 1


async def run(url: str, scale: float, seconds: float, folder: Path) -> dict[str, Any]:
    """Feed a batch for so long; answer what became of each prompt, and what was in use."""
    limits = Limits(
        per=PER / scale,
        min_poll_interval=POLL / scale,
        grace=5.0,
        abandon_after=ABANDON / scale,
    )
    ends: dict[str, str] = {}
    memory: list[float] = []
    running = 0
    until = time.monotonic() + seconds

    def prompts() -> Iterator[FluxDev]:
        number = 0
        while time.monotonic() < until:
            yield FluxDev(prompt=f"prompt {number}")
            number += 1

    client = AsyncWaveSpeed("key", base_url=url, limiter=Limiter(limits), timeout=TIMEOUT / scale)
    async with client, client.batch(prompts(), save_to=folder) as outcomes:
        async for outcome in outcomes:
            assert isinstance(outcome.request, FluxDev)  # noqa: S101 (nothing else was fed)
            running = max(running, client.limiter.running)
            ends[outcome.request.prompt] = fate(outcome.error, saved=bool(outcome.paths))
            for path in outcome.paths:
                path.unlink()
            if len(ends) % 50 == 0:
                memory.append(resident())
    return {"ends": ends, "memory": memory, "running": running}


def fate(error: Exception | None, *, saved: bool) -> str:
    """Name what became of a prompt."""
    if error is None:
        return "saved" if saved else "no file"
    if isinstance(error, SubmissionUnconfirmedError):
        return "unconfirmed"
    if isinstance(error, PredictionFailedError):
        return "failed at the server"
    if isinstance(error, PredictionTimeoutError):
        return "still runs, id known"
    known = isinstance(error, WaveSpeedError) and error.prediction_id is not None
    return f"{type(error).__name__}, {'id known' if known else 'nothing runs'}"


def main(minutes: float, scale: float, seed: int) -> None:
    """Run, hold both sides against each other, and print what was found."""
    process, url = start_emulator(scale, seed)
    before = open_files()
    try:
        with tempfile.TemporaryDirectory() as folder:
            found = anyio.run(run, url, scale, minutes * 60, Path(folder))
        left = open_files() - before
        time.sleep(PER / scale)  # the client's requests have left the window
        made = listed(url)
    finally:
        process.terminate()
        process.wait()
    ends: dict[str, str] = found["ends"]
    times = Counter(item["inputs"]["prompt"] for item in made)
    twice = [prompt for prompt, count in times.items() if count > 1]
    # A prompt may have a prediction only if its outcome says so or leaves it open.
    lost = [prompt for prompt in times if ends.get(prompt, "").endswith("nothing runs")]
    lost += [prompt for prompt in times if prompt not in ends]
    empty = [
        p for p, end in ends.items() if end in {"saved", "failed at the server"} and not times[p]
    ]
    memory = found["memory"]
    grown = memory[-1] - memory[len(memory) // 4] if memory else 0.0
    print(f"seed {seed}: {len(ends)} prompts, {len(made)} predictions at the server")
    for end, count in Counter(ends.values()).most_common():
        print(f"  {count:6} {end}")
    print(f"paid twice {len(twice)}, lost {len(lost)}, without a prediction {len(empty)}")
    print(f"at most {found['running']} running, {left} files and connections left open")
    print(f"memory grown by {grown:.1f} MB after the first quarter")
    report = {"benchmark": "soak", "seed": seed, "minutes": minutes, "ends": Counter(ends.values())}
    report |= {"made": len(made), "running": found["running"], "grown_mb": grown, "open": left}
    print(json.dumps({**report, "twice": twice, "lost": lost, "empty": empty}))
    if twice or lost or empty or left:
        sys.exit(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("minutes", type=float, nargs="?", default=10.0, help="how long to feed it")
    parser.add_argument(
        "scale", type=float, nargs="?", default=20.0, help="what times are divided by"
    )
    parser.add_argument("seed", type=int, nargs="?", default=1, help="of the faults")
    main(**vars(parser.parse_args()))
