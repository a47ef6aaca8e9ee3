"""The same limits over many processes, kept in Redis.

::

    limiter = RedisLimiter("redis://localhost", account="studio")
    async with AsyncWaveSpeed(limiter=limiter) as client:
        ...

Every process that is given the same Redis, account and limits shares them. It needs the extra
`redis`: `pip install 'wavespeed-async[redis]'`, a server of version 6.2 or later, and asyncio.
"""

from __future__ import annotations

from wavespeed_async._extras import need

with need("redis", of="RedisLimiter"):
    from wavespeed_async.limits.redis._limiter import RedisLimiter
    from wavespeed_async.limits.redis._share import Share

__all__ = ["RedisLimiter", "Share"]
