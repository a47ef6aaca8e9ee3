"""What goes wrong: how often, and by which dice. Pure.

A request meets one fault at most. What each does:

- `lost`: the request is done, and the connection closed instead of an answer.
- `refused`: the request is done and answered, and then nobody can connect for a moment (`outage`):
  what is asked meanwhile never arrives. A request that has arrived cannot be refused any more.
- `reset`: the connection is closed in the middle of the answer's body.
- `slow`: the first byte of the answer comes late.
- `trickle`: the answer comes in small pieces.
- `error-json`: a 5xx in the API's envelope; nothing was done.
- `error-html`: a gateway's 5xx page; what was asked for was done behind it.
- `storm`: this request and the next few are answered 429.
- `garbage`, `truncated`, `null-data`: the request is done, and its answer is no JSON, half of its
  JSON, or an envelope without data.
- `error-under-200`: an error envelope under HTTP 200; nothing was done.
- `wrong-origin`: `urls.get` leads to another server.
- `failed`: the prediction fails, with a code of the documented ones; `failed-1200` with that one.
- `stuck`: the prediction does not end by itself; the API ends it much later, as `timeout`.
- `duplicate-webhook`: the webhook is called twice.
- `forged-webhook`: a call with a wrong signature comes as well.
- `lost-webhook`: the webhook is never called.
- `late-webhook`: the webhook is called late, by `lateness`.
- `stale-webhook`: a call comes after the end that tells of the time before: it is `processing`.
- `clock-skew`: `created_at` is told by a clock that is wrong by up to an hour.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import attrs
from attrs import field, frozen, validators

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FAILURES", "FAULTS", "Dice", "Faults", "Profile", "mangled"]

Profile: TypeAlias = Literal["calm", "busy", "hostile"]
"""How bad the day is."""

FAILURES: Mapping[int, str] = {
    1200: "content moderation: the request was refused",
    1400: "a parameter is missing",
    1401: "a parameter is invalid",
    1402: "media access failed",
    1403: "execution failed",
    1405: "execution failed",
    1406: "retries exhausted",
    1407: "Insufficient credits. Please top up your account to continue.",
    5000: "internal error",
    5003: "service unavailable",
    5004: "the prediction timed out",
}
"""Why a prediction fails: the documented numbers; their words are not known."""

SERVER_ERRORS = (500, 502, 503, 504)
BURST = (3, 8)
SKEW = (60.0, 3600.0)
SLOWNESS = 2.0
OUTAGE = 0.2
LATENESS = 10.0


def _rate() -> Any:
    return field(default=0.0, validator=[validators.ge(0.0), validators.le(1.0)])


@frozen(kw_only=True)
class Faults:
    """Say how often each fault happens, from 0 (never) to 1 (to every request it can befall).

    Attributes:
        seed: Where the dice start.
        outage: How long nobody can connect after `refused`, in seconds.
        slowness: How late a slow first byte is and how long an answer trickles, in seconds.
        lateness: How late a webhook is, in seconds.
    """

    lost: float = _rate()
    refused: float = _rate()
    reset: float = _rate()
    slow: float = _rate()
    trickle: float = _rate()
    error_json: float = _rate()
    error_html: float = _rate()
    storm: float = _rate()
    garbage: float = _rate()
    truncated: float = _rate()
    null_data: float = _rate()
    error_under_200: float = _rate()
    wrong_origin: float = _rate()
    failed: float = _rate()
    stuck: float = _rate()
    duplicate_webhook: float = _rate()
    forged_webhook: float = _rate()
    lost_webhook: float = _rate()
    late_webhook: float = _rate()
    stale_webhook: float = _rate()
    clock_skew: float = _rate()
    seed: int = 0
    outage: float = field(default=OUTAGE, validator=validators.ge(0.0))
    slowness: float = field(default=SLOWNESS, validator=validators.ge(0.0))
    lateness: float = field(default=LATENESS, validator=validators.ge(0.0))

    @classmethod
    def profile(cls, name: Profile, **changed: Any) -> Self:
        """Answer what belongs to a day: `calm` has no faults, `busy` passing ones, `hostile` all.

        Args:
            name: The day.
            changed: Rates of one's own instead of the day's, or the seed.
        """
        try:
            rates = _PROFILES[name]
        except KeyError:
            message = f"there is no profile {name!r}: take one of {', '.join(_PROFILES)}"
            raise ValueError(message) from None
        return cls(**{**rates, **changed})


_NO_RATES = {"seed", "outage", "slowness", "lateness"}
FAULTS = tuple(a.name.replace("_", "-") for a in attrs.fields(Faults) if a.name not in _NO_RATES)
"""The name of each, as headers, markers and flags have it."""

_PROFILES: Mapping[str, Mapping[str, float]] = {
    "calm": {},
    "busy": {
        "slow": 0.03,
        "trickle": 0.01,
        "error_json": 0.02,
        "error_html": 0.005,
        "storm": 0.01,
        "failed": 0.01,
        "duplicate_webhook": 0.05,
    },
    "hostile": {
        **{name.replace("-", "_"): 0.02 for name in FAULTS},
        "storm": 0.01,
        "stuck": 0.005,
        "duplicate_webhook": 0.2,
        "forged_webhook": 0.2,
        "clock_skew": 0.1,
    },
}

_OF_SUBMISSIONS = {"lost", "failed", "stuck", "clock-skew"}
_OF_WEBHOOKS = {name for name in FAULTS if name.endswith("-webhook")}
_OF_PREDICTIONS = {"wrong-origin"}


class Dice:
    """Decide which fault befalls a request, and how badly."""

    def __init__(self, faults: Faults) -> None:
        self._random = random.Random(f"faults {faults.seed}")
        rates = ((name, getattr(faults, name.replace("-", "_"))) for name in FAULTS)
        self._rates = [(name, rate) for name, rate in rates if rate]

    def fault(self, kind: str, *, has_webhook: bool) -> str | None:
        """Answer the fault that befalls a request of this kind, or None."""
        for name, rate in self._rates:
            if _befalls(name, kind, has_webhook=has_webhook) and self._random.random() < rate:
                return name
        return None

    def server_error(self) -> int:
        """Draw a status for a server's error."""
        return self._random.choice(SERVER_ERRORS)

    def burst(self) -> int:
        """Draw how many requests a storm hits."""
        return self._random.randint(*BURST)

    def failure_code(self) -> int:
        """Draw why a prediction fails."""
        return self._random.choice([*FAILURES])

    def skew(self) -> float:
        """Draw by how many seconds a clock is wrong."""
        return self._random.choice((-1, 1)) * self._random.uniform(*SKEW)


def _befalls(name: str, kind: str, *, has_webhook: bool) -> bool:
    if name in _OF_WEBHOOKS:
        return has_webhook
    if name in _OF_PREDICTIONS:
        return kind in {"submit", "result"}
    return kind == "submit" or name not in _OF_SUBMISSIONS


def mangled(fault: str | None, body: bytes) -> bytes:
    """Answer the body as a fault leaves it: any but the three of bodies leaves it as it is."""
    if fault == "garbage":
        return b"\x00\xff{]" + body[::-1]
    if fault == "truncated":
        return body[: len(body) // 2]
    if fault == "null-data":
        return b'{"code":200,"message":"success","data":null}'
    return body
