"""The programs of the page about processes run, with a real Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.docs.blocks import DOCS, blocks_of, ran_program
from tests.limits.redis.server import require_redis
from tests.servers import redis_server
from wavespeed_async.emulator import Emulator

if TYPE_CHECKING:
    from pathlib import Path

SHARED, OWNED, PARTS = (
    block.code for block in blocks_of("docs/processes.md") if block.language == "python"
)


def test_a_limiter_is_shared_through_redis(tmp_path: Path) -> None:
    """Its program makes a picture; a window of a second spares the wait for a new store."""
    require_redis()
    assert "Limits()" in SHARED
    with redis_server() as server, Emulator(latency=0.1, pictures=False) as emulator:
        code = SHARED.replace("redis://localhost:6379/0", server.url)
        code = code.replace("Limits()", "Limits(per=1.0, grace=0.2)")
        told = ran_program(code, tmp_path, emulator)
    assert told.startswith("('http")


def test_a_share_is_what_it_says(tmp_path: Path) -> None:
    """The limiter with a share is made, and the page tells what Redis keeps and what each owns."""
    check = "\nprint(limiter._rest.requests, limiter._rest.concurrency, limiter._own.requests)\n"
    with Emulator(pictures=False) as emulator:
        rest, running, own = map(int, ran_program(OWNED + check, tmp_path, emulator).split())
    page = " ".join((DOCS / "processes.md").read_text(encoding="utf-8").split())
    assert f"Redis keeps {rest} a minute, {running} running" in OWNED
    assert f"make {4 * own} requests a minute" in page
    assert f"alone has {rest + own} requests" in page


def test_parts_are_as_large_as_it_says(tmp_path: Path) -> None:
    """A fourth of the limits is 30 requests a minute, and 5 running."""
    assert "30 a minute, 5 running" in PARTS
    check = "\nprint(client.limiter.limits.requests, client.limiter.limits.concurrency)\n"
    with Emulator(pictures=False) as emulator:
        assert ran_program(PARTS + check, tmp_path, emulator) == "30 5\n"
