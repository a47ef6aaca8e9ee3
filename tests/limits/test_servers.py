"""What servers see of 600 requests, each 5 to 400 ms each way: the limit, and little less.

Measured by `_send_all` below in virtual time, with a seed of 1: this limiter puts 120 requests in
the fullest minute and takes 243.6 s, where 240.4 s is the optimum. A token bucket of 120 puts 239
there. A log of the times of sending, the same limiter but for one line, puts 240 there as soon as
the first requests are slower than those after them, as they are while connections are made.
"""

from __future__ import annotations

import random
from itertools import count as count_up
from typing import Any

import anyio
import pytest

from tests.limits.servers import emptiest_bucket, fullest_minute, fullest_window
from tests.limits.test_promise import CountsWhenSent
from wavespeed_async.limits import Limiter, Limits

OPTIMUM = 240.4


async def _send_all(
    limiter: Any, count: int = 600, longest: float = 0.4, slow: int = 0
) -> list[float]:
    """Send requests as fast as a limiter allows; answer when each reached the server.

    The first few, if any are slow, need `longest` each way, and all others the least there is.
    """
    dice = random.Random(1)
    arrivals: list[float] = []
    turns = count_up()

    async def send() -> None:
        permit = await limiter.acquire()
        index = next(turns)
        await anyio.sleep(delay(index))
        arrivals.append(anyio.current_time())
        await anyio.sleep(delay(index))
        permit.answered()

    def delay(index: int) -> float:
        if slow:
            return longest if index < slow else 0.005
        return dice.uniform(0.005, longest)

    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(send)
    return arrivals


class _TokenBucket:
    """The usual rate limiter: a full bucket and its refill."""

    def __init__(self, capacity: float, rate: float) -> None:
        self._level, self._capacity, self._rate = capacity, capacity, rate
        self._then = 0.0

    async def acquire(self) -> _TokenBucket:
        while True:
            now = anyio.current_time()
            self._level = min(self._capacity, self._level + (now - self._then) * self._rate)
            self._then = now
            if self._level >= 1:
                self._level -= 1
                return self
            await anyio.sleep((1 - self._level) / self._rate + 1e-6)

    def answered(self) -> None:
        pass


async def test_600_requests_use_the_limit_up() -> None:
    """They never pass the limit, fill it, and take at most 2 % longer than the optimum."""
    arrivals = await _send_all(Limiter())
    assert fullest_window(arrivals, 60.0) == 120
    assert anyio.current_time() <= 1.02 * OPTIMUM


async def test_a_log_of_sending_times_is_caught() -> None:
    """Where the first requests are slow, counting from sending passes the limit, this does not."""
    assert fullest_window(await _send_all(CountsWhenSent(), slow=120), 60.0) == 240
    assert fullest_window(await _send_all(Limiter(), slow=120), 60.0) == 120


async def test_a_token_bucket_is_caught() -> None:
    """A bucket of 120 with its refill puts nearly twice the limit into one minute."""
    assert fullest_window(await _send_all(_TokenBucket(120, 2), 250), 60.0) > 200


@pytest.mark.parametrize("longest", [0.01, 0.4, 20.0])
async def test_other_servers_of_that_capacity_are_not_passed(longest: float) -> None:
    """Fixed minutes, wherever they begin, and a bucket of 120 that refills by 2 a second hold."""
    arrivals = await _send_all(Limiter(), longest=longest)
    assert max(fullest_minute(arrivals, 60.0, offset) for offset in range(60)) <= 120
    assert emptiest_bucket(arrivals, 120, 2) >= 0


@pytest.mark.parametrize(("burst", "longest"), [(1, 0.4), (10, 0.4), (10, 20.0), (119, 0.4)])
async def test_a_smaller_bucket_is_not_passed(burst: int, longest: float) -> None:
    """With `burst`, a bucket of that size and the same rate never refuses."""
    arrivals = await _send_all(Limiter(Limits(burst=burst)), 300, longest)
    assert emptiest_bucket(arrivals, burst, 2) >= 0


async def test_a_smaller_bucket_would_refuse_without_burst() -> None:
    """The bucket's check can fail: without `burst` a bucket of 10 is emptied."""
    assert emptiest_bucket(await _send_all(Limiter(), 300), 10, 2) < 0
