"""How long files hold up the event loop: images that requests share, images of their own, none.

A batch of REQUESTS runs over loopback against an emulator in another process, with limits that do
not bind. Each request has an image of so many MEGABYTES: an address, the same file, the same bytes,
or a file of its own. Meanwhile a task wakes up every millisecond; by how much it comes too late is
how long the loop was held up, by whatever it was. So the first row, which has no files, says what
the machine and the requests themselves take, and the others what files add. A last row saves the
outputs, with metadata.

Busy processes beside it make any loop late. So the table also tells the most CPU that the loop's
own thread took between two wake-ups: what it did itself, whoever else was busy.

Rounds are interleaved; the table has the median over the rounds of each round's longest stall, of
its 99.9th percentile, and of that CPU. Garbage collection is left as it is.

    python benchmarks/files.py [--requests 200] [--megabytes 8] [--rounds 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import asdict, frozen

from wavespeed_async import AsyncWaveSpeed, FluxReduxDev, Folder, ImageUploaded, Limiter, Limits
from wavespeed_async.emulator import Emulator

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from wavespeed_async import Event

TICK = 0.001
UNBOUND = Limits(requests=10**6, concurrency=50, min_poll_interval=0.05)
PNG = b"\x89PNG\r\n\x1a\n"
KINDS = ("addresses", "one file", "one in memory", "files of their own", "saved")


@frozen
class Row:
    """Hold what one run took: stalls in milliseconds, and what was done meanwhile."""

    kind: str
    longest: float
    rare: float
    busy: float
    seconds: float
    uploads: int
    lost: int


def serve(control: Connection) -> None:
    """Serve an emulator until told to stop."""
    with Emulator(
        latency=0.2, pictures=False, requests=10**6, concurrency=1000, balance=10**6
    ) as emulator:
        control.send(emulator.url)
        control.recv()


async def ticks(late: list[float], busy: list[float]) -> None:
    """Wake up every millisecond; note how late that was, and the CPU of the thread."""
    while True:
        due, before = time.perf_counter() + TICK, time.thread_time()
        await asyncio.sleep(TICK)
        late.append(max(0.0, time.perf_counter() - due))
        busy.append(time.thread_time() - before)


def requests_of(kind: str, count: int, size: int, folder: Path) -> list[FluxReduxDev]:
    """Make requests with images of a kind; files are written before the clock starts."""
    shared = PNG + os.urandom(size)
    file = folder / "shared.png"
    file.write_bytes(shared)
    images: list[Any] = []
    for number in range(count):
        if kind == "files of their own":
            own = folder / f"{number}.png"
            own.write_bytes(PNG + number.to_bytes(4, "big") + shared)
            images.append(own)
        elif kind == "one in memory":
            images.append(shared)
        elif kind == "one file":
            images.append(file)
        else:
            images.append("https://example.com/room.png")
    return [FluxReduxDev(image=image) for image in images]


async def measured(kind: str, url: str, count: int, size: int, folder: Path) -> Row:
    """Run a batch, and watch the loop."""
    requests = requests_of(kind, count, size, folder)
    await asyncio.sleep(0.5)  # the disk is still writing
    uploads, late, busy = 0, list[float](), list[float]()

    def observe(event: Event) -> None:
        nonlocal uploads
        uploads += isinstance(event, ImageUploaded)

    save_to = Folder(folder / "out", metadata=True) if kind == "saved" else None
    limiter = Limiter(UNBOUND)
    async with AsyncWaveSpeed("key", base_url=url, limiter=limiter, observe=observe) as client:
        await client.run_all(requests_of("addresses", 5, 1, folder))  # imports and the like
        ticking = asyncio.create_task(ticks(late, busy))
        began = time.perf_counter()
        outcomes = await client.run_all(requests, save_to=save_to)
        seconds = time.perf_counter() - began
        ticking.cancel()
    lost = sum(outcome.error is not None for outcome in outcomes)
    rare = statistics.quantiles(late, n=1000)[-1] if len(late) > 1 else 0.0
    return Row(kind, max(late) * 1000, rare * 1000, max(busy) * 1000, seconds, uploads, lost)


def rounds_of(url: str, arguments: argparse.Namespace) -> list[Row]:
    """Run all kinds by turns."""
    rows = []
    for _ in range(arguments.rounds):
        for kind in KINDS:
            with tempfile.TemporaryDirectory() as folder:
                size = round(arguments.megabytes * 10**6)
                work = measured(kind, url, arguments.requests, size, Path(folder))
                rows.append(asyncio.run(work))
    return rows


def print_table(rows: list[Row]) -> None:
    """Print the medians."""
    print(
        f"{'images':20}{'longest stall':>15}{'99.9 %':>10}{'its CPU':>11}"
        f"{'seconds':>9}{'uploads':>9}"
    )
    for kind in KINDS:
        of_kind = [row for row in rows if row.kind == kind]
        longest, rare, busy, seconds = (
            statistics.median(getattr(row, name) for row in of_kind)
            for name in ("longest", "rare", "busy", "seconds")
        )
        stalls = f"{kind:20}{longest:12.1f} ms{rare:7.1f} ms{busy:8.1f} ms"
        print(f"{stalls}{seconds:9.1f}{of_kind[0].uploads:9}")


def main() -> None:
    """Measure, print, and write the figures down where asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--megabytes", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=serve, args=(theirs,))
    server.start()
    try:
        rows = rounds_of(ours.recv(), arguments)
    finally:
        ours.send(None)
        server.join()
    print_table(rows)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"rows": [asdict(row) for row in rows]}, indent=1))


if __name__ == "__main__":
    main()
