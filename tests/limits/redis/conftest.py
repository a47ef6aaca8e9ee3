"""A real Redis, and the real clock: sockets need it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.limits.redis.server import RedisServer, require_redis

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on asyncio alone: Redis's own client does."""
    return "asyncio", {}


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Run one Redis for the tests that leave it alive."""
    require_redis()
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def redis(shared_redis: RedisServer) -> RedisServer:
    """Hand out a Redis with nothing in it."""
    with shared_redis.client() as client:
        client.flushall()
    return shared_redis


@pytest.fixture
def own_redis(tmp_path: Any) -> Iterator[RedisServer]:
    """Hand out a Redis that the test may kill."""
    require_redis()
    server = RedisServer(tmp_path / "redis")
    server.start()
    yield server
    server.kill()
