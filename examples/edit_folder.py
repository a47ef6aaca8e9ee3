"""Edit every picture of a folder in the same way.

    python examples/edit_folder.py photos/ edited/ "as a pencil sketch"

Each result is named after its source: `photos/cat.jpg` becomes `edited/cat-6488….jpeg`, with the
prediction's id behind. Stopped or killed, the same command goes on where it was; pictures that have
come into the folder since are edited, too. A submission whose answer was lost is looked for in the
API's list; what is not there is told, and made again with `--resubmit-unconfirmed`.

Without a key: start `wavespeed-async emulator --port 8765` in another terminal, and put
WAVESPEED_API_KEY=any WAVESPEED_BASE_URL=http://127.0.0.1:8765 before the command.
"""

from __future__ import annotations

import argparse
import re
import sys
from functools import partial
from pathlib import Path

import anyio

from wavespeed_async import AsyncWaveSpeed, FluxKontextDevMulti

KINDS = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def pictures_in(folder: Path) -> list[Path]:
    """List the pictures of a folder."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in KINDS)


def name_after(source: Path) -> str:
    """Name a result; a file with the {id} in its name is that very picture, and never replaced."""
    stem = re.sub(r"[^\w-]+", "_", source.stem)  # as every system takes it
    return f"{stem}-{{id}}"


async def edit(sources: list[Path], target: Path, prompt: str, *, resubmit: bool) -> int:
    """Edit what is not edited yet, and answer how many pictures could not be."""
    requests = [FluxKontextDevMulti(prompt=prompt, images=[source]) for source in sources]
    failed = 0
    async with (
        AsyncWaveSpeed() as client,
        client.batch(
            requests, journal=target / "journal.sqlite", resubmit_unconfirmed=resubmit
        ) as outcomes,
    ):
        async for outcome in outcomes:
            source = sources[outcome.index]
            if outcome.error is None:
                name = name_after(source)
                for path in await client.save(outcome, target, name=name, existing="keep"):
                    print(path)
            else:
                failed += 1
                print(f"{source}: {outcome.error}", file=sys.stderr)
    return failed


def main() -> None:
    """Read the command line; exit with 1 where a picture could not be edited."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", type=Path, help="a folder of pictures")
    parser.add_argument("target", type=Path, help="a folder for the results")
    parser.add_argument("prompt", help="what to make of each")
    parser.add_argument(
        "--resubmit-unconfirmed",
        action="store_true",
        help="submit again what the API does not know",
    )
    given = parser.parse_args()
    work = partial(edit, resubmit=given.resubmit_unconfirmed)
    sys.exit(1 if anyio.run(work, pictures_in(given.source), given.target, given.prompt) else 0)


if __name__ == "__main__":
    main()
