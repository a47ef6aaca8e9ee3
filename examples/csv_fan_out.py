"""Make a picture from each row of a CSV file, as fast as the account allows.

    python examples/csv_fan_out.py prompts.csv pictures/

The file has the column `prompt`, and may have `size`. The pictures are named by their row, from 0;
`pictures/results.csv` says what became of each. Stopped or killed, the same command goes on where
it was: nothing is paid for twice. A submission whose answer was lost is looked for in the API's
list; what is not there is told, and made again with `--resubmit-unconfirmed`.

Without a key: start `wavespeed-async emulator --port 8765` in another terminal, and put
WAVESPEED_API_KEY=any WAVESPEED_BASE_URL=http://127.0.0.1:8765 before the command.
"""

from __future__ import annotations

import argparse
import csv
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from wavespeed_async import AsyncWaveSpeed, FluxDev, Folder

if TYPE_CHECKING:
    from collections.abc import Iterator


def requests_of(source: Path) -> Iterator[FluxDev]:
    """Make the request of each row; one that cannot be raises, and names field and value."""
    with source.open(newline="", encoding="utf-8-sig") as file:
        for row in csv.DictReader(file):
            yield FluxDev(prompt=row["prompt"], size=row.get("size") or "1024*1024")


async def make_pictures(source: Path, target: Path, *, resubmit: bool) -> int:
    """Make the pictures that are missing, and answer how many could not be made."""
    rows = sum(1 for _ in requests_of(source))  # one bad row, and nothing is sent
    made = 0
    async with (
        AsyncWaveSpeed() as client,
        client.batch(
            requests_of(source),  # read as the limits allow: a file of any length will do
            journal=target / "journal.sqlite",
            resubmit_unconfirmed=resubmit,
            save_to=Folder(target, name="{index:05}", existing="keep"),
        ) as outcomes,
    ):
        with (target / "results.csv").open("w", newline="", encoding="utf-8") as file:
            results = csv.writer(file)
            results.writerow(["row", "id", "files", "error"])
            async for outcome in outcomes:
                made += outcome.error is None
                id_ = outcome.prediction.id if outcome.prediction else ""
                files = " ".join(path.name for path in outcome.paths)
                results.writerow([outcome.index, id_, files, outcome.error])
                print(f"{made} of {rows}", file=sys.stderr)
    return rows - made


def main() -> None:
    """Read the command line; exit with 1 where a picture could not be made."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", type=Path, help="a CSV file")
    parser.add_argument("target", type=Path, help="a folder for the pictures")
    parser.add_argument(
        "--resubmit-unconfirmed",
        action="store_true",
        help="submit again what the API does not know",
    )
    given = parser.parse_args()
    given.target.mkdir(parents=True, exist_ok=True)
    work = partial(make_pictures, resubmit=given.resubmit_unconfirmed)
    sys.exit(1 if anyio.run(work, given.source, given.target) else 0)


if __name__ == "__main__":
    main()
