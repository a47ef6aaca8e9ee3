"""Bodies that come, bounded in size and in time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import httpx

from wavespeed_async._transport._failures import told
from wavespeed_async.errors import (
    APIConnectionError,
    APIResponseError,
    WaveSpeedError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


__all__ = ["Download", "bounded", "unwind"]

DOWNLOAD_TIMEOUT = 1800.0
"""Seconds to wait for the parts of one output, however steadily it trickles."""


class Download(AsyncIterator[bytes]):
    """Iterate over the bytes of one output as they come.

    Raises:
        APIConnectionError: The connection broke before the end.
        APIResponseError: The output is not encoded as it says.
    """

    def __init__(self, response: httpx.Response) -> None:
        self.status_code: int = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._parts = response.aiter_bytes()
        self._waited = 0.0

    async def __anext__(self) -> bytes:
        started = anyio.current_time()
        try:
            part = await anext(self._parts)
            self._waited += anyio.current_time() - started
            if self._waited <= DOWNLOAD_TIMEOUT:
                return part
            failure: WaveSpeedError = APIConnectionError("the output trickled for too long")
        except StopAsyncIteration:
            raise
        except Exception as error:  # noqa: BLE001 (a transport may raise anything)
            failure = told(error, "the output broke off")
        raise failure

    async def aclose(self) -> None:
        """Close its connection, wherever the reader stopped."""
        await unwind(self._parts)
        await self._response.aclose()


async def bounded(response: httpx.Response, largest: int) -> bytes:
    """Read a body up to the bound."""
    parts: list[bytes] = []
    room = largest
    packed = "content-encoding" in response.headers
    stream = response.aiter_bytes() if packed else aiter(response.stream)  # type: ignore[arg-type]  # it is async
    async for part in stream:
        room -= len(part)
        if room < 0:
            await unwind(stream)
            text = f"the answer is larger than {largest} bytes"
            raise APIResponseError(text, status_code=response.status_code)
        parts.append(part)
    return b"".join(parts)


async def unwind(stream: AsyncIterator[bytes]) -> None:
    """End a stream before its end, from its innermost generator on.

    Closing the outermost would leave the others to the garbage collector, which trio resents.
    """
    with anyio.CancelScope(shield=True) as scope, suppress(httpx.HTTPError, httpx.StreamError):
        scope.cancel()
        async for _ in stream:
            pass
