"""What a client is given, checked before anything else."""

from __future__ import annotations

import math
import os

from wavespeed_async.errors import ConfigurationError
from wavespeed_async.webhooks import check_url

__all__ = [
    "KEY_VARIABLE",
    "base_url_or_default",
    "check_settings",
    "check_timeout",
    "checked_key",
    "checked_url",
]

DEFAULT_BASE_URL = "https://api.wavespeed.ai"
KEY_VARIABLE = "WAVESPEED_API_KEY"
URL_VARIABLE = "WAVESPEED_BASE_URL"


def base_url_or_default(base_url: str | None) -> str:
    """Answer where the API is: as told, as the environment says, or where it always was."""
    return base_url or os.environ.get(URL_VARIABLE, "").strip() or DEFAULT_BASE_URL


def checked_key(api_key: str | None) -> str:
    """Answer the key that is told, or that of the environment.

    Raises:
        ConfigurationError: There is none, or it cannot be one.
    """
    key = (api_key if api_key is not None else os.environ.get(KEY_VARIABLE, "")).strip()
    if not key:
        message = f"there is no API key: pass api_key, or set {KEY_VARIABLE}"
        raise ConfigurationError(message)
    if not (key.isascii() and key.isprintable()):
        message = f"the API key (api_key or {KEY_VARIABLE}) has characters that no key has"
        raise ConfigurationError(message)
    return key


def checked_url(webhook: str) -> str:
    """Answer the address of a webhook, where the API can call it; else raise what is wrong."""
    check_url(webhook)
    return webhook


def check_timeout(timeout: object) -> None:
    """Raise ConfigurationError for what is no time that a call may take."""
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if not number or not 0 < timeout < math.inf:  # type: ignore[operator]  # it is a number
        message = f"timeout must be a number of seconds above 0, not {timeout!r}"
        raise ConfigurationError(message)


def check_settings(timeout: object, max_retries: object, transport: object) -> None:
    """Raise ConfigurationError for the first of a client's settings that cannot be."""
    check_timeout(timeout)
    if not isinstance(max_retries, int) or isinstance(max_retries, bool) or max_retries < 0:
        message = f"max_retries must be a whole number of at least 0, not {max_retries!r}"
        raise ConfigurationError(message)
    if isinstance(transport, str) and transport != "aiohttp":
        message = f'transport must be an httpx transport or "aiohttp", not {transport!r}'
        raise ConfigurationError(message)
