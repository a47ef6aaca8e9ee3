"""What a webhook's route does, whatever framework calls it: read, verify, hand over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import anyio.to_thread

from wavespeed_async.backends._problems import Problem
from wavespeed_async.errors import ConfigurationError
from wavespeed_async.webhooks import verify

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Mapping

    from wavespeed_async._prediction import Prediction

__all__ = ["LARGEST", "PATH", "TOO_LARGE", "TooLargeError", "Waiting", "arrived", "check_secret"]

PATH = "/webhooks/wavespeed"
LARGEST = 64 * 1024 * 1024
"""Bytes of one call: four pictures of 1536x1536 in base64 are about 40 million."""
AT_ONCE = 256 * 1024
"""Bytes that are verified on the event loop: in about a millisecond. More goes to a thread."""
HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")

TOO_LARGE = Problem(status=413, kind="too-large", title="The body is larger than it may be.")


class TooLargeError(Exception):
    """Say that a call's body is larger than it may be."""


class Waiting(Protocol):
    """Be who waits for predictions: a client."""

    def arrive(self, prediction: Prediction) -> bool:
        """Take a prediction that has arrived; tell whether somebody here waited for it."""
        ...


def check_secret(secret: str) -> str:
    """Refuse an empty secret where the application is put together, not at the first call.

    Raises:
        ConfigurationError: There is none.
    """
    if not secret.removeprefix("whsec_"):
        message = "the webhook secret is empty: it is the account's whsec_…"
        raise ConfigurationError(message)
    return secret


async def arrived(
    client: Waiting,
    headers: Mapping[str, str],
    parts: AsyncIterable[bytes],
    secret: str,
    largest: int,
) -> None:
    """Read a call, verify it, and hand its prediction to whoever waits for it.

    A call without the headers of a webhook is refused before its body is read.

    Raises:
        WebhookVerificationError: It is not shown to be from the API.
        TooLargeError: Its body has more than `largest` bytes.
    """
    if not all(headers.get(name) for name in HEADERS):
        verify(b"", headers, secret)  # raises, and says which one is missing
    body = await _read(headers, parts, largest)
    if len(body) <= AT_ONCE:
        prediction = verify(body, headers, secret)
    else:
        prediction = await anyio.to_thread.run_sync(verify, body, headers, secret)
    client.arrive(prediction)


async def _read(headers: Mapping[str, str], parts: AsyncIterable[bytes], largest: int) -> bytes:
    announced = headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > largest:
        raise TooLargeError
    body = bytearray()
    async for part in parts:
        body += part
        if len(body) > largest:
            raise TooLargeError
    return bytes(body)
