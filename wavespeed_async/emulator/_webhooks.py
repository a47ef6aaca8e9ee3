"""Webhooks: whom to call, with which signature, and the calling.

Only servers on this machine are called: the emulator never touches the network. The signature is
written here from the API's description, beside the package's own check of it, so that a mistake
in one of them does not agree with itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import hmac
import json
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import httpx
from attrs import evolve, field, frozen

from wavespeed_async._prediction import Status
from wavespeed_async.emulator._records import WebhookRecord

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AbstractContextManager

    from wavespeed_async.emulator._records import PredictionRecord

__all__ = ["Courier", "Errand", "Outbox", "signature", "signed_headers"]

TRIES = 3
GROWTH = 2.0
PATIENCE = 10.0
OUT_OF_RANGE = 300
LOOPBACK = {"127.0.0.1", "::1", "localhost"}
AFTER = {"duplicate-webhook", "stale-webhook"}
"""The faults that are another call after the true one."""
FOREIGN = "not on this machine: never called"
LOST = "lost: never called"
WRONG_SECRET = "whsec_of_somebody_else"  # noqa: S105 (a secret that must be wrong)


def signature(secret: str, webhook_id: str, timestamp: str, body: bytes) -> str:
    """Sign a call: hex of HMAC-SHA256 over id, time and body; the key is the secret as text."""
    key = secret.removeprefix("whsec_")
    signed = b".".join([webhook_id.encode(), timestamp.encode(), body])
    return "v3," + hmac.new(key.encode(), signed, hashlib.sha256).hexdigest()


def signed_headers(secret: str, webhook_id: str, seconds: float, body: bytes) -> dict[str, str]:
    """Answer the headers of a call that is made now, in Unix seconds."""
    timestamp = str(int(seconds))
    return {
        "content-type": "application/json",
        "webhook-id": webhook_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": signature(secret, webhook_id, timestamp, body),
    }


@frozen(kw_only=True)
class Errand:
    """Hold a call that is to be made.

    Attributes:
        url: Whom to call.
        prediction_id: About which prediction.
        webhook_id: The call's id, the same for each try.
        due: When, in seconds of the emulator's clock.
        attempt: The number of the try, from 1.
        fault: The fault that this call is one of, or None.
    """

    url: str
    prediction_id: str
    webhook_id: str
    due: float
    attempt: int = 1
    fault: str | None = None

    @property
    def is_foreign(self) -> bool:
        """Whether it would leave this machine."""
        try:
            parts = urlsplit(self.url)
        except ValueError:
            return True
        return parts.scheme not in {"http", "https"} or parts.hostname not in LOOPBACK

    def record(self, at: float, **told: Any) -> WebhookRecord:
        """Answer what is remembered of it."""
        return WebhookRecord(
            at=at,
            url=self.url,
            prediction_id=self.prediction_id,
            webhook_id=self.webhook_id,
            attempt=self.attempt,
            fault=self.fault,
            **told,
        )


@frozen
class Outbox:
    """Hold the calls that are to be made, and remember those that were. Pure."""

    pause: float
    lateness: float = 0.0
    records: list[WebhookRecord] = field(factory=list)
    _errands: list[tuple[float, int, Errand]] = field(factory=list)
    _numbers: list[int] = field(factory=lambda: [0])

    def expect(self, prediction: PredictionRecord, webhook_id: str, fault: str | None) -> None:
        """Plan what is to be called when a prediction ends."""
        errand = Errand(
            url=prediction.webhook or "",
            prediction_id=prediction.id,
            webhook_id=webhook_id,
            due=prediction.ready,
        )
        if errand.is_foreign:
            self.records.append(errand.record(prediction.created, error=FOREIGN))
            return
        if fault == "lost-webhook":
            self.records.append(evolve(errand, fault=fault).record(prediction.created, error=LOST))
            return
        if fault == "late-webhook":
            errand = evolve(errand, due=errand.due + self.lateness)
        if fault == "forged-webhook":
            self._add(evolve(errand, fault=fault))
        self._add(errand)
        if fault in AFTER:
            self._add(evolve(errand, fault=fault, due=errand.due + self.pause))

    def due(self, now: float) -> tuple[list[Errand], float | None]:
        """Hand out what is due, and say in how many seconds to ask again; None for never."""
        due = []
        while self._errands and self._errands[0][0] <= now:
            due.append(heapq.heappop(self._errands)[2])
        return due, self._errands[0][0] - now if self._errands else None

    def done(self, now: float, errand: Errand, status: int | None, error: str | None) -> None:
        """Remember a call; one that was not taken is tried again, three times at most."""
        self.records.append(errand.record(now, status_code=status, error=error))
        taken = status is not None and status < OUT_OF_RANGE
        if not taken and errand.fault is None and errand.attempt < TRIES:
            pause = self.pause * GROWTH ** (errand.attempt - 1)
            self._add(evolve(errand, attempt=errand.attempt + 1, due=now + pause))

    def _add(self, errand: Errand) -> None:
        self._numbers[0] += 1
        heapq.heappush(self._errands, (errand.due, self._numbers[0], errand))


class Holder(Protocol):
    """Be what holds an outbox."""

    @property
    def outbox(self) -> Outbox:
        """The calls that are to be made."""
        ...


class Courier:
    """Make the calls, in the event loop of the server, for as long as this runs."""

    def __init__(
        self,
        state: Callable[[], AbstractContextManager[tuple[Holder, float]]],
        body_of: Callable[[str], Awaitable[Mapping[str, Any] | None]],
        wall_clock: Callable[[], float],
        secret: str,
    ) -> None:
        """Take the state, what tells a prediction as webhooks do, and the time of day."""
        self._state = state
        self._body_of = body_of
        self._wall_clock = wall_clock
        self._secret = secret
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event

    def wake(self) -> None:
        """Say, from any thread, that there may be something to do."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake.set)

    async def run(self) -> None:
        """Make the calls until cancelled."""
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        try:
            async with (
                httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client,
                asyncio.TaskGroup() as calls,
            ):
                while True:
                    self._wake.clear()
                    with self._state() as (state, now):
                        errands, pause = state.outbox.due(now)
                    for errand in errands:
                        calls.create_task(self._call(client, errand))
                    await _first(self._wake, pause)
        finally:
            self._loop = None

    async def _call(self, client: httpx.AsyncClient, errand: Errand) -> None:
        told = await self._body_of(errand.prediction_id)
        if told is None:  # deleted, or too old
            return
        if errand.fault == "stale-webhook":
            told = {**told, "status": str(Status.PROCESSING), "outputs": []}
        body = json.dumps(told).encode()
        secret = self._secret if errand.fault != "forged-webhook" else WRONG_SECRET
        headers = signed_headers(secret, errand.webhook_id, self._wall_clock(), body)
        status, error = None, None
        try:
            status = (await client.post(errand.url, content=body, headers=headers)).status_code
        except (httpx.HTTPError, httpx.InvalidURL) as failure:
            error = f"{type(failure).__name__}: {failure}"
        with self._state() as (state, now):
            state.outbox.done(now, errand, status, error)
        self.wake()


async def _first(event: asyncio.Event, seconds: float | None) -> None:
    """Wait for an event, but no longer than that."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
