"""Is this call really from the API? Pure: no I/O; `now` may be given.

The signature is an HMAC-SHA256 in hex over `{webhook-id}.{webhook-timestamp}.{raw body}`. Its key
is the secret without `whsec_`, taken as text: verifiers of the common standard decode it as base64,
and so reject valid calls. The body has to be the bytes as they came: parsed and written again, it
has another signature.
"""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable
from urllib.parse import urlsplit

from wavespeed_async._codec import decode_prediction
from wavespeed_async.errors import (
    APIResponseError,
    ConfigurationError,
    InvalidRequestError,
    WebhookVerificationError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wavespeed_async._prediction import Prediction

__all__ = ["Headers", "check_url", "verify"]

PREFIX = "whsec_"
SCHEME = "v3"
LONGEST_URL = 2048
"""Characters of a URL that is to be called: what every server on the way takes."""
TOLERANCE = 300.0
"""Seconds by which a call may be old, or ahead of this machine's clock (webhook documentation)."""


@runtime_checkable
class _Headers(Protocol):
    """Be headers as web frameworks hand them over: mappings, and what only looks like one."""

    def items(self) -> Iterable[tuple[str, str]]: ...


Headers: TypeAlias = _Headers | Iterable[tuple[str | bytes, str | bytes]]
"""The headers of a call: a mapping, what looks like one, or pairs."""


def verify(
    body: bytes | str,
    headers: Headers,
    secret: str,
    *,
    now: float | None = None,
    tolerance: float = TOLERANCE,
) -> Prediction:
    """Check that a call is from the API, and answer the prediction that it tells of.

    The API repeats a call until it is answered: the same prediction may arrive more than once.

    Args:
        body: The raw body, as it came.
        headers: The call's headers in any case, as a mapping or as pairs.
        secret: The account's webhook secret, `whsec_…`.
        now: Unix seconds; by default the machine's clock.
        tolerance: Seconds by which the call may be old, or early.

    Raises:
        WebhookVerificationError: The signature is missing, wrong or too old, or what it signs is
            no prediction.
        ConfigurationError: The secret is empty.
    """
    key = secret.removeprefix(PREFIX)
    if not key:
        message = "the webhook secret is empty: it is the account's whsec_…"
        raise ConfigurationError(message)
    raw = _bytes(body)
    given = _lowered(headers)
    identity, timestamp = _header(given, "webhook-id"), _header(given, "webhook-timestamp")
    signatures = _header(given, "webhook-signature")
    _check_age(timestamp, time.time() if now is None else now, tolerance)
    digest = hmac.new(_bytes(key), _bytes(f"{identity}.{timestamp}.") + raw, "sha256")
    expected = f"{SCHEME},{digest.hexdigest()}".encode()
    # Several may stand side by side while a secret is being changed; each is compared in full.
    matches = [hmac.compare_digest(expected, _bytes(other)) for other in signatures.split()]
    if not any(matches):
        message = (
            "the webhook's signature is wrong: a forged call, a changed body or another secret"
        )
        raise WebhookVerificationError(message)
    return _prediction(raw)


def _bytes(text: bytes | str) -> bytes:
    """Write text as UTF-8; no surrogate, which only a broken call has, is an error here."""
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text


def _text(value: bytes | str) -> str:
    """Read a header as servers do, where they do not."""
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _lowered(headers: Headers) -> Mapping[str, str]:
    """Find headers by lower-case name; what is told twice stands side by side."""
    pairs = headers.items() if isinstance(headers, _Headers) else headers
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(_text(name).lower(), []).append(_text(value))
    return {name: " ".join(values) for name, values in found.items()}


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    if not value:
        message = f"the call has no {name} header"
        raise WebhookVerificationError(message)
    return value


def _check_age(timestamp: str, now: float, tolerance: float) -> None:
    if not (timestamp.isascii() and timestamp.isdigit()):
        message = "the webhook-timestamp header is not in Unix seconds"
        raise WebhookVerificationError(message)
    # Python refuses to read thousands of digits; twenty are far in the future already.
    if not abs(now - int(timestamp[:20])) <= tolerance:  # a `now` that is NaN is refused, too
        message = f"the webhook's time is more than {tolerance:g} s away from now"
        raise WebhookVerificationError(message)


def _prediction(raw: bytes) -> Prediction:
    try:
        data = json.loads(raw)
        if isinstance(data, dict):
            return decode_prediction(data)
    except (ValueError, RecursionError, APIResponseError) as error:
        message = f"the webhook's body is signed, but no prediction: {error}"
        raise WebhookVerificationError(message) from error
    message = "the webhook's body is signed, but no prediction: it is no JSON object"
    raise WebhookVerificationError(message)


def check_url(url: object) -> None:
    """Check a URL that the API is to call, before anything is sent.

    Raises:
        InvalidRequestError: It cannot be called. A query, and who logs in, are not told.
    """
    if not (isinstance(url, str) and len(url) <= LONGEST_URL and _can_be_called(url)):
        shown = _bare(url) if isinstance(url, str) else url
        allowed = f"an http(s) URL of at most {LONGEST_URL} characters"
        raise InvalidRequestError.of(
            owner="a request", field="webhook", value=shown, allowed=allowed
        )


def _can_be_called(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    is_clean = url.isprintable() and " " not in url
    return is_clean and parts.scheme in {"http", "https"} and bool(parts.hostname) and port != 0


def _bare(url: str) -> str:
    """Show a URL without what may be secret."""
    address = url.partition("#")[0].partition("?")[0]
    scheme, mark, rest = address.rpartition("://")
    host, slash, path = rest.partition("/")
    shown = scheme + mark + host.rpartition("@")[2] + slash + path
    return shown if address == url else shown + "?…"
