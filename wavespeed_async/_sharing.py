"""Limiters that clients share: those of one origin and key have one, and so one window."""

from __future__ import annotations

import hashlib
import os
import warnings
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from weakref import WeakSet

from wavespeed_async.errors import ConfigurationError
from wavespeed_async.limits import Limiter, Limits

if TYPE_CHECKING:
    from wavespeed_async._client import AsyncWaveSpeed

__all__ = ["begin_anew", "forget", "identity_of", "shared_limiter"]

_limiters: dict[str, tuple[Limiter, WeakSet[AsyncWaveSpeed]]] = {}
_inherited: set[str] = set()
"""The accounts that had open clients in the process that this one was forked off from."""


def begin_anew() -> None:
    """Share nothing with the process that this one was forked off from."""
    _inherited.update(name for name, (_, clients) in _limiters.items() if clients)
    _limiters.clear()


if hasattr(os, "register_at_fork"):  # pragma: no branch  # Windows does not fork
    os.register_at_fork(after_in_child=begin_anew)


def shared_limiter(client: AsyncWaveSpeed, root: str, key: str, limits: Limits | None) -> Limiter:
    """Find or make the limiter of an origin and a key; it outlives its clients, with its window.

    Raises:
        ConfigurationError: Another open client of this key was given other limits.
    """
    name = identity_of(root, key)
    if limits is None and name in _inherited:
        message = (
            "the process that this one was forked off from has a client of this key, too, and each "
            "keeps the limits for itself: share a RedisLimiter, or give each a part as limits=…"
        )
        warnings.warn(message, RuntimeWarning, stacklevel=3)
    limiter, clients = _limiters.setdefault(name, (Limiter(limits), WeakSet()))
    if limits is None and not clients:
        limits = Limits()
    if limits is not None and limits != limiter.limits:
        if clients:
            message = (
                f"another open client of this key has {limiter.limits}, this one has {limits}: "
                f"an account has one set of limits"
            )
            raise ConfigurationError(message)
        limiter.limits = limits
    clients.add(client)
    return limiter


def identity_of(root: str, key: str) -> str:
    """Name an account by its origin and key; the key cannot be told from it."""
    origin = urlsplit(root.lower())
    name = f"{origin.scheme}://{origin.netloc} {key}"
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def forget(client: AsyncWaveSpeed) -> None:
    """Note that a client is closed: it no longer has a say in the limits."""
    for _, clients in _limiters.values():
        clients.discard(client)
