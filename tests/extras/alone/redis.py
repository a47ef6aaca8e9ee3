"""With `redis` alone: a picture through a shared limiter, and arrivals between workers."""

import os

import anyio

from wavespeed_async import AsyncWaveSpeed, Limits
from wavespeed_async.deliveries.redis import RedisDeliveries
from wavespeed_async.errors import ConfigurationError
from wavespeed_async.limits.redis import RedisLimiter


async def main() -> None:
    """Make a picture with a server, or meet a clear error without."""
    url = os.environ.get("REDIS_URL")
    if url is None:
        try:
            RedisLimiter("nowhere", account="studio")
        except ConfigurationError as error:
            assert "redis://" in str(error)  # noqa: PT017 (no pytest here)
        return
    # A Redis that knows nothing may have forgotten a whole window, which is waited for.
    limiter = RedisLimiter(url, account="studio", limits=Limits(per=1.0, grace=0.1))
    async with (
        AsyncWaveSpeed(limiter=limiter) as client,
        RedisDeliveries(url, account="studio"),
    ):
        picture = await client.flux_dev(prompt="a lighthouse", size=(512, 512))
    assert picture.outputs


anyio.run(main)
