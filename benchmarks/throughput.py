"""Pictures a minute under the documented limits, beside the official SDK on threads.

Both meet the same strict server: 120 requests a minute, 20 running, predictions of 5 s, with all
times divided by SCALE. The official SDK (package `wavespeed`) is fanned out on 2, 4 and 20 threads,
as its users do it, with its own pace of polling (1 s, scaled too).

    python benchmarks/throughput.py [PROMPTS] [SCALE]
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import anyio

from wavespeed_async import AsyncWaveSpeed, FluxDev, Limiter, Limits
from wavespeed_async.emulator import Emulator

LATENCY, PER, POLL = 5.0, 60.0, 1.0


def serve(scale: float) -> Emulator:
    """Make the server that both meet."""
    return Emulator(per=PER / scale, latency=LATENCY / scale, pictures=False)


def ours(prompts: int, scale: float) -> tuple[float, int]:
    """Answer the seconds that a batch took, and how many prompts it lost."""

    async def run(url: str) -> int:
        limits = Limits(per=PER / scale, min_poll_interval=POLL / scale)
        async with AsyncWaveSpeed("key", base_url=url, limiter=Limiter(limits)) as client:
            outcomes = await client.run_all(FluxDev(prompt=f"{n}") for n in range(prompts))
        return sum(outcome.error is not None for outcome in outcomes)

    with serve(scale) as emulator:
        began = time.perf_counter()
        lost = anyio.run(run, emulator.url)
        return time.perf_counter() - began, lost


def official(prompts: int, scale: float, threads: int) -> tuple[float, int]:
    """The same for the official SDK on so many threads."""
    from wavespeed import Client  # noqa: PLC0415 (a rival, not a dependency)

    def run(url: str, number: int) -> bool:
        client = Client("key", base_url=url, retry_interval=POLL / scale)
        with contextlib.suppress(Exception):
            client.run("wavespeed-ai/flux-dev", {"prompt": f"{number}"}, poll_interval=POLL / scale)
            return True
        return False

    with serve(scale) as emulator, contextlib.redirect_stdout(io.StringIO()):
        began = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            made = sum(pool.map(lambda number: run(emulator.url, number), range(prompts)))
        return time.perf_counter() - began, prompts - made


def main(prompts: int, scale: float) -> None:
    """Print a table, and the same as JSON."""
    runs = {"wavespeed-async, batch": ours(prompts, scale)}
    for threads in (2, 4, 20):
        runs[f"wavespeed, {threads} threads"] = official(prompts, scale, threads)
    rows = []
    for name, (seconds, lost) in runs.items():
        pace = (prompts - lost) / (seconds * scale) * 60
        rows.append({"name": name, "pictures_a_minute": round(pace, 1), "lost": lost})
        print(f"{name:24} {pace:6.1f} pictures a minute, {lost:4} of {prompts} prompts lost")
    print(json.dumps({"benchmark": "throughput", "prompts": prompts, "scale": scale, "runs": rows}))


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 240,
        float(sys.argv[2]) if len(sys.argv) > 2 else 20.0,  # noqa: PLR2004 (the second argument)
    )
