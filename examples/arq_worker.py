"""Make pictures from a job queue (arq, on Redis), and pay for none of them twice.

Each job is a shard: its name, which is the job's id too, and its prompts. When a worker is killed,
the next one is handed its jobs again, and goes on from their journals.

    python examples/arq_worker.py enqueue prompts.txt    # a job for each 1,000 lines
    WAVESPEED_API_KEY=… python examples/arq_worker.py work pictures/

A shard belongs to the account that has begun it. So each account has a queue and a folder of its
own, and one worker: `--queue second` in both commands, and the second key in the worker's.

Without a key: start `wavespeed-async emulator --port 8765` in another terminal, and put
WAVESPEED_API_KEY=any WAVESPEED_BASE_URL=http://127.0.0.1:8765 before the command of the worker.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

from arq import create_pool, run_worker
from arq.connections import RedisSettings
from arq.constants import in_progress_key_prefix

from wavespeed_async import AsyncWaveSpeed, FluxDev, Limits
from wavespeed_async.backends.shards import Shards

SHARDS_AT_ONCE = 4
"""While one waits for its last pictures, the others go on."""
KEPT = timedelta(days=30)
"""How long a job may wait in the queue: by default arq forgets it after a day."""


async def make_pictures(ctx: dict[str, Any], name: str, prompts: list[str]) -> dict[str, Any]:
    """Make the pictures of a shard, or what is missing of them (a job)."""
    shards: Shards = ctx["shards"]
    outcomes = await shards.run_shard(name, [FluxDev(prompt=prompt) for prompt in prompts])
    failed = {outcome.index: str(outcome.error) for outcome in outcomes if outcome.error}
    return {"made": len(outcomes) - len(failed), "failed": failed}


async def start_up(ctx: dict[str, Any]) -> None:
    """Open the account, and hand out again what a worker had that was killed."""
    given: argparse.Namespace = ctx["given"]
    stack = ctx["stack"] = AsyncExitStack()
    client = await stack.enter_async_context(AsyncWaveSpeed(limits=Limits(**given.limits)))
    ctx["shards"] = await stack.enter_async_context(
        Shards(given.folder, client, resubmit_unconfirmed=given.resubmit_unconfirmed)
    )
    # Now the folder is locked, so that no other worker has a job of this queue. What is marked as
    # in progress was so when a worker was killed; arq itself would wait for `job_timeout`.
    redis = ctx["redis"]
    for job_id in await redis.zrange(given.queue, 0, -1):
        await redis.delete(in_progress_key_prefix + job_id.decode())


async def shut_down(ctx: dict[str, Any]) -> None:
    """Close the account; what runs goes on at the API, and is asked for by the next worker."""
    await ctx["stack"].aclose()


SETTINGS: dict[str, Any] = {
    "functions": [make_pictures],
    "on_startup": start_up,
    "on_shutdown": shut_down,
    "max_jobs": SHARDS_AT_ONCE,
    "job_timeout": KEPT,  # what takes longer is given up for good: by default after 5 minutes
    "max_tries": 1_000_000,  # a delivery after each death: by default the sixth is refused
}


async def enqueue(given: argparse.Namespace) -> None:
    """Put a job for each shard of a file of prompts into the queue; one that is there stays."""
    prompts = given.prompts.read_text("utf-8").splitlines()
    redis = await create_pool(RedisSettings.from_dsn(given.redis), default_queue_name=given.queue)
    for start in range(0, len(prompts), given.shard):
        name = f"{given.prompts.stem}-{start // given.shard:06}"
        some = prompts[start : start + given.shard]
        await redis.enqueue_job("make_pictures", name, some, _job_id=name, _expires=KEPT)
    await redis.aclose()


def work(given: argparse.Namespace) -> None:
    """Work off the queue until it is empty, or for ever."""
    run_worker(
        SETTINGS,
        redis_settings=RedisSettings.from_dsn(given.redis),
        queue_name=given.queue,
        burst=given.burst,
        ctx={"given": given},
    )


def arguments() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--redis", default="redis://localhost:6379")
    parser.add_argument("--queue", default="pictures")
    commands = parser.add_subparsers(required=True)
    adding = commands.add_parser("enqueue")
    adding.add_argument("prompts", type=Path)
    adding.add_argument("--shard", type=int, default=1000)
    adding.set_defaults(run=lambda given: asyncio.run(enqueue(given)))
    working = commands.add_parser("work")
    working.add_argument("folder", type=Path)
    working.add_argument("--burst", action="store_true", help="end when the queue is empty")
    working.add_argument("--resubmit-unconfirmed", action="store_true")
    working.add_argument("--limits", type=json.loads, default={}, help='{"requests": 300}')
    working.set_defaults(run=work)
    return parser


if __name__ == "__main__":
    given = arguments().parse_args()
    given.run(given)
