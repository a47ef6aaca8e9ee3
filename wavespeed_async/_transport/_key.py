"""The key: on a request to the API's own origin for as long as that is under way, nowhere else."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator


__all__ = ["Key"]

SHORTEST_KEY = 8
"""Characters from which on a key is blotted out of good answers too, not of refusals alone."""


class Key:
    """Put the key on a request to the API's own origin, for just as long as it is under way."""

    def __init__(self, api_key: str, root: httpx.URL) -> None:
        self._key = api_key.encode()
        self._header = f"Bearer {api_key}"
        self._origin = (root.scheme, root.host, root.port)

    def __repr__(self) -> str:
        return "<the key>"

    @contextmanager
    def on(self, request: httpx.Request) -> Iterator[None]:
        """Put it on, and take it off again."""
        bare, url = request.headers, request.url
        if (url.scheme, url.host, url.port) == self._origin:
            request.headers = httpx.Headers(bare)
            request.headers["Authorization"] = self._header
        try:
            yield
        finally:
            request.headers = bare

    def blotted(self, body: bytes, *, good: bool) -> bytes:
        """Blot it out of an answer that says it back; a short one only of what is not good."""
        return body if good and len(self._key) < SHORTEST_KEY else body.replace(self._key, b"***")
