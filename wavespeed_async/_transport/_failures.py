"""What went wrong on the wire, in the terms of this package."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from wavespeed_async._transport._wire import CONNECT_TIMEOUT, Wire
from wavespeed_async.errors import (
    APIConnectionError,
    APIResponseError,
    WaveSpeedError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


__all__ = ["told"]


def told(error: Exception, what: str, wire: Wire | None = None) -> WaveSpeedError:
    """Tell in this package's terms what a transport raised; `wire` notes if nothing has left.

    To be raised outside of the `except` block: an error that is not httpx's may hold the request
    with the key (aiohttp's do), and so must be neither the cause nor the context.
    """
    if isinstance(error, WaveSpeedError):
        return error
    if wire is not None and _never_left(error):
        wire.may_have_left = False
    failure: WaveSpeedError
    if isinstance(error, httpx.DecodingError):
        failure = APIResponseError(f"{what}: it is not encoded as it says: {error}")
    else:
        sent = wire is None or wire.may_have_left
        failure = APIConnectionError(f"{what}: {_reason(error)}", sent=sent)
    if isinstance(error, httpx.HTTPError | TimeoutError):
        failure.__cause__ = error
    return failure


_CONNECTING = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)
"""What httpx raises before the first byte of a request has left."""

_AIOHTTP_CONNECTING = {"ClientConnectorError", "ConnectionTimeoutError", "ClientHttpProxyError"}


def _never_left(error: Exception) -> bool:
    """Tell whether an error is one of connecting, so that no byte has left.

    httpx-aiohttp turns each lost connection into a ConnectTimeout, even where the request was
    sent: there it is aiohttp's own error that decides.
    """
    if not isinstance(error, _CONNECTING):
        return False
    cause = error.__cause__
    if cause is None or not type(cause).__module__.startswith("aiohttp"):
        return True
    return any(kind.__name__ in _AIOHTTP_CONNECTING for kind in type(cause).__mro__)


def _reason(error: Exception) -> str:
    """Say in words what happened; timeouts of httpx often have none."""
    return str(error) or _WORDS.get(type(error), type(error).__name__)


_WORDS: Mapping[type[Exception], str] = {
    httpx.ConnectTimeout: f"not connected within {CONNECT_TIMEOUT:.0f} s",
    httpx.ReadTimeout: "nothing came in time",
    httpx.WriteTimeout: "nothing could be sent in time",
    TimeoutError: "the time for an answer ran out",
}
