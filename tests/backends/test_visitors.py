"""Two hundred visitors of the example at once, half of whom leave: nothing of them stays behind."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from tests.backends.serving import Watched, example, maker, read_until, serving
from wavespeed_async import Limits
from wavespeed_async.emulator import Emulator

if TYPE_CHECKING:
    import uvicorn

VISITORS = 200
LIMITS = {"requests": 2000, "per": 60.0, "concurrency": 60}


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on asyncio: uvicorn does."""
    return "asyncio", {}


def tasks() -> Counter[str]:
    """Count what runs by what it is; sse-starlette's own watcher is one for the whole loop."""
    coroutines = [task.get_coro() for task in asyncio.all_tasks()]
    found = Counter(getattr(one, "__qualname__", type(one).__name__) for one in coroutines)
    found.pop("_shutdown_watcher", None)
    return found


async def settled(before: Counter[str], server: uvicorn.Server) -> None:
    """Wait until the server has seen that everybody is gone."""
    with anyio.move_on_after(20.0):
        while tasks() != before or server.server_state.connections:  # noqa: ASYNC110 (no event)
            await anyio.sleep(0.02)


async def visit(port: int, number: int, leaves_at: str | None, seen: Counter[str]) -> None:
    """Ask for a picture on a connection of one's own; leave at a step, or wait for the end."""
    url = f"http://127.0.0.1:{port}/pictures"
    async with (
        httpx.AsyncClient(timeout=60.0) as visitor,
        visitor.stream("POST", url, json={"prompts": [f"picture {number}"]}) as answer,
    ):
        assert answer.status_code == 200
        names = await read_until(answer, leaves_at or "finished")
        seen[names[-1]] += 1


async def test_nothing_stays_behind_of_visitors_who_leave() -> None:
    """After 200 at once no task, slot, waiting call or connection is left but what still runs."""
    seed = random.randrange(10**6)
    dice = random.Random(seed)
    leaving: list[str | None] = [dice.choice(["queued", "submitted"]) for _ in range(VISITORS // 2)]
    plans = [*leaving, *[None] * (VISITORS // 2)]
    dice.shuffle(plans)
    seen: Counter[str] = Counter()
    emulator = Emulator(pictures=False, latency=0.5, window="sliding", **LIMITS)  # type: ignore[arg-type]  # numbers all
    limits = Limits(min_poll_interval=0.1, **LIMITS)  # type: ignore[arg-type]  # as above
    async with emulator:
        make, made = maker(emulator.url, limits=limits)
        async with serving(example("fastapi_app").create_app(make)) as (_, server):
            before = tasks()
            port = server.servers[0].sockets[0].getsockname()[1]
            async with anyio.create_task_group() as group:
                for number, leaves_at in enumerate(plans):
                    group.start_soon(visit, port, number, leaves_at, seen)
            await settled(before, server)
            assert tasks() == before, f"seed {seed}"
            assert not server.server_state.connections, f"seed {seed}"
            assert seen["finished"] == VISITORS // 2, f"seed {seed}"
            await all_that_runs_is_known(made[0], emulator)
    assert emulator.refused == 0, f"seed {seed}"
    assert emulator.most_running <= LIMITS["concurrency"], f"seed {seed}"


async def all_that_runs_is_known(client: Watched, emulator: Emulator) -> None:
    """Each slot that is held is of a prediction that was told as left, and comes back."""
    limiter = client.limiter
    assert limiter.waiting == 0
    assert limiter.running == len(limiter.running_ids)
    assert {*limiter.running_ids} <= {*client.left}
    made = {prediction.id for prediction in emulator.predictions}
    assert {*client.left} <= made
    for prediction_id in limiter.running_ids:
        assert (await client.wait(prediction_id)).outputs
    assert limiter.running == 0
    pool: Any = client._stack.transport._pool
    connections = pool.transport._pool.connections
    assert all(connection.is_idle() for connection in connections)
