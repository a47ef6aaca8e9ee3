"""Arrivals through Redis: every worker of an account finds them, however late it listens.

An arrival is stored under the prediction's id for a while, and its id is published, in one
transaction. A worker that hears the id of a prediction that it awaits fetches it. One that begins
to await a prediction looks whether it is there already, and one that was disconnected looks for all
that it awaits as soon as it listens again: so no arrival is missed, unless Redis itself loses it.
What is lost nevertheless, a late poll finds.

Nothing is checked again on the way: only what was verified is published, and whoever can write to
this Redis is trusted. Ids and answers of predictions are in it, no keys.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakSet

import anyio
from anyio.lowlevel import current_token

from wavespeed_async._codec import decode_prediction
from wavespeed_async._extras import need
from wavespeed_async.errors import APIResponseError, ConfigurationError, DeliveryError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable
    from types import TracebackType

    from redis.asyncio import Redis

    from wavespeed_async._deliveries import Awaiter
    from wavespeed_async._prediction import Prediction

__all__ = ["RedisDeliveries"]

KEEP = 600.0
"""Seconds for which an arrival can be found."""
LARGEST = 256 * 1024
"""Bytes of an arrival that is carried; a larger one (base64 pictures) is left to the poll."""
OUTBOX = 1024
"""How many arrivals wait at most to be carried while Redis cannot be reached."""
WANTED = 16_384
"""How many are looked for at most while Redis is away; later, all that are awaited then."""
AT_ONCE = 100
"""How many are looked for in one request."""
PATIENCE = 5.0
"""Seconds that Redis is given to connect and to answer."""
HEARTBEAT = 5.0
"""Seconds after which a connection that tells nothing is tried."""
AGAIN, AGAIN_AT_MOST = 0.1, 5.0
"""Seconds until Redis is tried again: they double each time."""

_log = logging.getLogger("wavespeed_async")


class RedisDeliveries:
    """Carry arrivals between all workers of an account through Redis.

    Use it as an async context manager around the clients that it is given to. Needs the extra
    `redis`, and asyncio.

    Args:
        url: Where Redis is, such as `redis://user:password@host:6379/0`; it is never shown.
        account: A name for the account, the same in all workers; not its key.
        keep: Seconds for which an arrival can be found.

    Raises:
        ConfigurationError: The extra is missing, or an argument cannot work.
    """

    def __init__(self, url: str, *, account: str, keep: float = KEEP) -> None:
        self._redis = _client(url)
        if not account or not isinstance(account, str):
            message = f"account must be a name, the same in all workers, not {account!r}"
            raise ConfigurationError(message)
        if not keep >= 1:
            message = f"keep must be a number of seconds of at least 1, not {keep!r}"
            raise ConfigurationError(message)
        self._account, self._keep = account, keep
        self._name = f"wavespeed-async:{account}:arrivals"
        self._awaiters: WeakSet[Awaiter] = WeakSet()
        self._wanted: dict[str, None] = {}
        self._outbox: deque[tuple[str, bytes]] = deque(maxlen=OUTBOX)
        self._asked, self._posted = anyio.Event(), anyio.Event()
        self._group: Any = None

    def __repr__(self) -> str:
        return f"<RedisDeliveries {self._account!r}>"

    async def __aenter__(self) -> Self:
        if self._group is not None:
            message = "these deliveries are in use: make others"
            raise ConfigurationError(message)
        if not hasattr(current_token().native_token, "call_soon"):
            message = "RedisDeliveries works under asyncio only: its client does"
            raise ConfigurationError(message)
        self._group = await anyio.create_task_group().__aenter__()
        for task in (self._listen, self._look, self._send):
            self._group.start_soon(task)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The tasks raise nothing, so that what the body raised goes on without a group around it.
        self._group.cancel_scope.cancel()
        try:
            await self._group.__aexit__(None, None, None)
        finally:
            with anyio.CancelScope(shield=True):
                await self._redis.aclose()

    # --- what clients ask ------------------------------------------------------------------------

    def attach(self, awaiter: Awaiter) -> None:
        """Hand to this client, from here on, the ends that it awaits."""
        self._awaiters.add(awaiter)

    def detach(self, awaiter: Awaiter) -> None:
        """Hand it nothing any more."""
        self._awaiters.discard(awaiter)

    def look_for(self, prediction_id: str) -> None:
        """Look, soon, for the end of a prediction that may have come before it was awaited."""
        self._want([prediction_id])

    def post(self, prediction: Prediction) -> None:
        """Carry an arrival to all workers, soon; a worker that never learns of it polls."""
        body = _body(prediction)
        if body is not None:
            self._outbox.append((prediction.id, body))
            self._posted.set()

    async def publish(self, prediction: Prediction) -> None:
        """Carry an arrival to all workers; when this returns, each of them will find it.

        Raises:
            DeliveryError: It could not be carried.
        """
        body = _body(prediction)
        if body is None:
            return
        try:
            await self._carry([(prediction.id, body)])
        except _failures() as error:
            text = f"the end of {prediction.id} was not handed on: Redis: {type(error).__name__}"
            raise DeliveryError(text, prediction_id=prediction.id) from error

    # --- the tasks -------------------------------------------------------------------------------

    async def _carry(self, arrivals: Iterable[tuple[str, bytes]]) -> None:
        async with self._redis.pipeline(transaction=True) as pipeline:
            for prediction_id, body in arrivals:
                pipeline.set(self._key(prediction_id), body, px=round(1000 * self._keep))
                pipeline.publish(self._name, prediction_id)
            await pipeline.execute()

    async def _send(self) -> None:
        """Carry what was posted, in its order; again and again where Redis cannot be reached."""
        pause = AGAIN
        while True:
            await self._posted.wait()
            self._posted = anyio.Event()
            while self._outbox:
                arrivals = [self._outbox[n] for n in range(min(len(self._outbox), AT_ONCE))]
                try:
                    await self._carry(arrivals)
                except _failures() as error:
                    pause = await _bear("webhooks wait to be handed on", error, pause)
                    continue
                pause = AGAIN
                for arrival in arrivals:
                    if self._outbox and self._outbox[0] is arrival:  # else it was too old to keep
                        self._outbox.popleft()

    async def _listen(self) -> None:
        """Hear of arrivals; after a disconnection look for all that may have been missed."""
        pause = AGAIN
        while True:
            try:
                async with self._channel() as channel:
                    pause = AGAIN
                    self._want(self._awaited())
                    while True:
                        told = await channel.get_message(
                            ignore_subscribe_messages=True, timeout=HEARTBEAT
                        )
                        if told is None:
                            await channel.ping()
                        elif told["type"] == "message":
                            self._heard(told["data"].decode("utf-8", "replace"))
            except _failures() as error:
                pause = await _bear("webhooks of other workers are not heard", error, pause)

    @asynccontextmanager
    async def _channel(self) -> AsyncGenerator[Any]:
        channel = self._redis.pubsub()
        try:
            await channel.subscribe(self._name)
            yield channel
        finally:
            with anyio.CancelScope(shield=True):
                await channel.aclose()  # type: ignore[no-untyped-call]  # redis has no types there

    def _awaited(self) -> list[str]:
        return [name for awaiter in self._awaiters for name in awaiter.awaited]

    def _heard(self, prediction_id: str) -> None:
        if any(awaiter.awaits(prediction_id) for awaiter in self._awaiters):
            self._want([prediction_id])

    def _want(self, ids: Iterable[str]) -> None:
        self._wanted |= dict.fromkeys(ids)
        while len(self._wanted) > WANTED:
            del self._wanted[next(iter(self._wanted))]
        self._asked.set()

    async def _look(self) -> None:
        """Fetch what is wanted, if it is there."""
        pause = AGAIN
        while True:
            await self._asked.wait()
            self._asked = anyio.Event()
            while self._wanted:
                ids = list(self._wanted)[:AT_ONCE]
                try:
                    found = await self._redis.mget([self._key(one) for one in ids])
                except _failures() as error:
                    pause = await _bear("webhooks of other workers are not seen", error, pause)
                    continue
                pause = AGAIN
                for prediction_id, body in zip(ids, found, strict=True):
                    self._wanted.pop(prediction_id, None)
                    if body is not None:
                        self._hand_over(prediction_id, body)

    def _hand_over(self, prediction_id: str, body: bytes | str) -> None:
        try:
            prediction = decode_prediction(json.loads(body))
        except (ValueError, TypeError, AttributeError, RecursionError, APIResponseError):
            _log.warning("what Redis has of %s is no prediction", prediction_id)
            return
        for awaiter in tuple(self._awaiters):
            if prediction.id == prediction_id and awaiter.awaits(prediction_id):
                awaiter.hear(prediction)

    def _key(self, prediction_id: str) -> str:
        return f"{self._name}:{prediction_id}"


def _client(url: str) -> Redis:
    """Make the client; it connects when it is used."""
    with need("redis", of="RedisDeliveries"):
        from redis.asyncio import Redis  # noqa: PLC0415 (an extra)
        from redis.asyncio.retry import Retry  # noqa: PLC0415 (as above)
        from redis.backoff import NoBackoff  # noqa: PLC0415 (as above)
    try:
        client: Redis = Redis.from_url(
            url,
            socket_timeout=PATIENCE,
            socket_connect_timeout=PATIENCE,
            health_check_interval=HEARTBEAT,
            retry=Retry(NoBackoff(), 1),  # once, on a connection that was closed meanwhile
        )
    except (ValueError, TypeError, AttributeError):
        message = "url must be one of Redis, such as redis://host:6379/0 (it is not shown here)"
        raise ConfigurationError(message) from None
    return client


def _failures() -> tuple[type[Exception], ...]:
    """Name what Redis's client raises where Redis cannot be reached, or refuses."""
    from redis.exceptions import RedisError  # noqa: PLC0415 (an extra)

    return RedisError, OSError


async def _bear(what: str, error: Exception, pause: float) -> float:
    """Log a failure, wait, and answer the next pause."""
    _log.warning("%s: Redis: %s; again in %.1f s", what, type(error).__name__, pause)
    await anyio.sleep(pause)
    return min(2 * pause, AGAIN_AT_MOST)


def _body(prediction: Prediction) -> bytes | None:
    """Write a prediction as the API told it; None for one that is too large."""
    told = prediction.raw
    if told.get("id") != prediction.id:  # somebody made it by hand
        told = {
            "id": prediction.id,
            "model": prediction.model,
            "status": str(prediction.status),
            "outputs": list(prediction.outputs),
            "error": prediction.error or "",
            "code": prediction.error_code,
        }
    body = json.dumps(told, separators=(",", ":")).encode()
    return body if len(body) <= LARGEST else None
