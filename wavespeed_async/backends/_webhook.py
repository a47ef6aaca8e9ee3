"""What a webhook's route does, whatever framework calls it: read, verify, hand over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wavespeed_async.backends._problems import Problem
from wavespeed_async.errors import ConfigurationError
from wavespeed_async.webhooks import verify

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Mapping

    from wavespeed_async._client import AsyncWaveSpeed

__all__ = ["LARGEST", "PATH", "TOO_LARGE", "TooLargeError", "arrived", "check_secret"]

PATH = "/webhooks/wavespeed"
LARGEST = 64 * 1024 * 1024
"""Bytes of one call: four pictures of 1536x1536 in base64 are about 40 million."""
HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")

TOO_LARGE = Problem(status=413, kind="too-large", title="The body is larger than it may be.")


class TooLargeError(Exception):
    """Say that a call's body is larger than it may be."""


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
    client: AsyncWaveSpeed,
    headers: Mapping[str, str],
    parts: AsyncIterable[bytes],
    secret: str,
    largest: int,
) -> None:
    """Read a call whole, and have the client take it: it verifies it, and ends who waits for it.

    A call without the headers of a webhook is refused before its body is read.

    Raises:
        WebhookVerificationError: It is not shown to be from the API.
        TooLargeError: Its body has more than `largest` bytes.
        DeliveryError: It could not be handed on to the other workers.
    """
    if not all(headers.get(name) for name in HEADERS):
        verify(b"", headers, secret)  # raises, and says which one is missing
    body = await _read(headers, parts, largest)
    await client.receive(body, headers, secret)


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
