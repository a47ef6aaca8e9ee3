"""Make pictures from Parquet to Parquet with `ray.data`, through as many accounts as there are.

Each file of the input is a shard: with a journal and its pictures in a folder of its own. Killed at
any moment, the same command goes on from the journals, and pays for nothing twice.

    export WAVESPEED_API_KEY=…             # and WAVESPEED_API_KEY_2 … for further accounts
    python examples/ray_parquet.py prompts/ done/ --pictures pictures/

The files of the input have the column `prompt`; those of the output have that, and what `Pictures`
adds.

Without a key: start `wavespeed-async emulator --port 8765` in another terminal, and put
WAVESPEED_API_KEY=any WAVESPEED_BASE_URL=http://127.0.0.1:8765 before the command.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import ray
import ray.data
from ray.data import SaveMode

from wavespeed_async import FluxDev, Limits
from wavespeed_async.backends.ray import Account, Pictures

KEY = "WAVESPEED_API_KEY"


def request_of(row: dict[str, Any]) -> FluxDev:
    """Make the request of a row."""
    return FluxDev(prompt=row["prompt"])


def accounts(given: argparse.Namespace) -> list[Account]:
    """Name an account for each key of the environment: WAVESPEED_API_KEY, …_2, …_3 and so on."""
    variables = sorted(name for name in os.environ if name == KEY or name.startswith(f"{KEY}_"))
    return [
        Account(
            name.lower(),
            folder=given.pictures.absolute() / name.lower(),
            key_variable=name,
            limits=Limits(**given.limits),
            resubmit_unconfirmed=given.resubmit_unconfirmed,
        )
        for name in variables
    ]


def make_pictures(source: Path, target: Path, among: list[Account]) -> None:
    """Read prompts, make pictures, write what became of them."""
    files = [
        {"shard": path.stem, "path": str(path)} for path in source.absolute().glob("*.parquet")
    ]
    done = ray.data.from_items(files).map_batches(
        Pictures,
        fn_constructor_args=(among, request_of),
        batch_size=1,
        batch_format="pyarrow",
        concurrency=len(among),
        num_cpus=0.1,  # it waits
    )
    done.write_parquet(str(target), mode=SaveMode.OVERWRITE)


def arguments() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="a folder of Parquet files")
    parser.add_argument("target", type=Path, help="a folder for others")
    parser.add_argument("--pictures", type=Path, default=Path("pictures"))
    parser.add_argument("--resubmit-unconfirmed", action="store_true")
    parser.add_argument("--limits", type=json.loads, default={}, help='{"requests": 300}')
    return parser


if __name__ == "__main__":
    given = arguments().parse_args()
    # A cluster of its own on this machine, unless RAY_ADDRESS names one.
    ray.init(address=os.environ.get("RAY_ADDRESS", "local"), include_dashboard=False)
    make_pictures(given.source, given.target, accounts(given))
