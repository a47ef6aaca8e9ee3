"""The courier: carries letters to Redis and answers back, one at a time, and hears knocks.

It is one task of the event loop, which its limiter starts and ends. It sends as soon as there is
something urgent, at the alarm that Redis has set, and else often enough to keep the lease. When
another process's exchange has put something into this one's inbox, Redis knocks (a message on this
process's channel); a knock that gets lost is made up for by the next exchange.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import anyio
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from wavespeed_async.errors import ConfigurationError
from wavespeed_async.limits.redis._scripts import exchange_script

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Address", "Courier", "Desk"]

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5
"""Seconds between two tries to reach Redis, from the first to all later ones."""
ANSWER_WITHIN = 5.0
"""Seconds within which Redis has to answer; less where a lease is shorter."""
BEATS = 3
"""So many exchanges keep a lease, if nothing else is told."""
DEAF_BEATS = 30
"""The same while knocks cannot be heard."""


class Address:
    """Hold where Redis is; what it shows has no password in it.

    Raises:
        ConfigurationError: The URL is none of Redis.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        try:
            parts = urlsplit(url)
            where = f":{parts.port}" if parts.port else ""
            self.shown = f"{parts.scheme}://{parts.hostname or ''}{where}{parts.path}"
            self._client(1.0)
        except (ValueError, TypeError, AttributeError):
            text = "the URL of Redis must be like redis://host:6379/0, rediss://… or unix://…"
            raise ConfigurationError(text) from None

    def __repr__(self) -> str:
        return self.shown

    def _client(self, timeout: float | None) -> Redis:
        """Make a client that tries everything once: its caller decides about another try."""
        client: Redis = Redis.from_url(
            self._url,
            protocol=2,
            decode_responses=True,
            socket_timeout=timeout,
            socket_connect_timeout=ANSWER_WITHIN if timeout is None else timeout,
            retry=Retry(NoBackoff(), 0),
        )
        return client

    def client(self, answer_within: float) -> Redis:
        """Make a client for exchanges."""
        return self._client(answer_within)

    def listener(self) -> Redis:
        """Make a client that listens, however long nothing comes."""
        return self._client(None)


class Desk(Protocol):
    """Write the letters and read the answers."""

    def now(self) -> float:
        """Tell the time in seconds."""
        ...

    def letter(self) -> Mapping[str, Any]:
        """Answer what is to be told now."""
        ...

    def due(self) -> float:
        """Tell when the next letter is to be sent at the latest."""
        ...

    def read(self, answer: Mapping[str, Any], sent: float) -> None:
        """Take the answer to a letter that was sent at a time."""
        ...

    def unreachable(self, seconds: float, reason: str) -> None:
        """Hear for how long Redis could not be reached, and why."""
        ...


class Courier:
    """Carry letters for as long as `run` runs.

    Args:
        address: Where Redis is.
        prefix: What the account's keys begin with.
        holder: This process's name.
        lease: Seconds after which Redis takes a process that it has not heard of for dead.
        desk: Writes and reads.
    """

    def __init__(
        self, address: Address, prefix: str, holder: str, lease: float, desk: Desk
    ) -> None:
        self._address, self._prefix, self._holder = address, prefix, holder
        self._lease, self._desk = lease, desk
        self._wake = anyio.Event()
        self._asleep_until = -math.inf
        self._knocked = self._hears = False
        self._closes_by: float | None = None
        self._down_since: float | None = None
        self._tries = 0

    def call_by(self, at: float) -> None:
        """See that a letter is sent by a time."""
        if at < self._asleep_until:
            self._wake.set()

    def close(self, within: float) -> None:
        """Have the last letter sent, and `run` end, within some seconds."""
        self._closes_by = self._desk.now() + within
        self._wake.set()

    @property
    def closes(self) -> bool:
        """Whether the next letter is the last."""
        return self._closes_by is not None

    async def run(self) -> None:
        """Carry letters until closed."""
        client = self._address.client(min(ANSWER_WITHIN, self._lease / 2))
        failures: list[Exception] = []
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._listen)
                try:
                    await self._carry(client)
                except Exception as error:  # noqa: BLE001 (raised below, without a group around it)
                    failures.append(error)
                group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await client.aclose()
        if failures:
            raise failures[0]

    # --- letters and answers ---------------------------------------------------------------------

    async def _carry(self, client: Redis) -> None:
        script = client.register_script(exchange_script())
        while True:
            self._knocked = False
            is_last, sent = self.closes, self._desk.now()
            try:
                text = await script(keys=[self._prefix], args=[json.dumps(self._desk.letter())])
            except (RedisError, OSError) as error:
                if self._gave_up():
                    return
                await self._fail(error)
                continue
            self._down_since, self._tries = None, 0
            self._desk.read(json.loads(text), sent)
            if is_last:
                return
            await self._rest(sent)

    def _gave_up(self) -> bool:
        return self._closes_by is not None and self._desk.now() >= self._closes_by

    async def _fail(self, error: Exception) -> None:
        now = self._desk.now()
        self._down_since = now if self._down_since is None else self._down_since
        self._desk.unreachable(now - self._down_since, type(error).__name__)
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**self._tries)
        self._tries = min(self._tries + 1, 30)
        await anyio.sleep(pause)

    async def _rest(self, sent: float) -> None:
        """Sleep until there is something to tell or to ask."""
        beats = BEATS if self._hears else DEAF_BEATS
        while not (self.closes or self._knocked):
            self._wake = anyio.Event()
            now = self._desk.now()
            self._asleep_until = min(self._desk.due(), sent + self._lease / beats)
            if self._asleep_until <= now:
                break
            with anyio.move_on_after(self._asleep_until - now):
                await self._wake.wait()
        self._asleep_until = -math.inf

    # --- knocks ----------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """Hear knocks; what is missed while Redis cannot be heard is asked for afterwards."""
        client = self._address.listener()
        try:
            while True:
                try:
                    async with client.pubsub() as channel:
                        await channel.subscribe(f"{self._prefix}knock:{self._holder}")
                        while True:
                            await channel.get_message(timeout=None)
                            self._hears = self._knocked = True
                            self._wake.set()
                except (RedisError, OSError):
                    self._hears = False
                    await anyio.sleep(LONGEST_PAUSE)
        finally:
            with anyio.CancelScope(shield=True):
                await client.aclose()
