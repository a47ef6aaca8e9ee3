"""How the API behaves, where that is a choice or not known."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs
from attrs import field, frozen, validators

from wavespeed_async.emulator._faults import Faults

__all__ = [
    "MEGABYTE",
    "WEBHOOK_SECRET",
    "WEEK",
    "Counted",
    "InputsName",
    "Over",
    "RetryAfter",
    "Settings",
    "WindowKind",
]

WindowKind: TypeAlias = Literal["sliding", "fixed", "bucket"]
Counted: TypeAlias = Literal["predictions", "requests"]
Over: TypeAlias = Literal["refuse", "queue"]
RetryAfter: TypeAlias = Literal["seconds", "date"]
InputsName: TypeAlias = Literal["inputs", "input"]

WEEK = 7 * 24 * 3600.0
MEGABYTE = 2**20
WEBHOOK_SECRET = "whsec_6d7a5b2f0c9e4d18a3f6"  # noqa: S105 (everybody may know it)


def _above_zero(settings: object, attribute: attrs.Attribute[float], value: float | None) -> None:
    if value is not None:
        validators.gt(0.0)(settings, attribute, value)


@frozen(kw_only=True)
class Settings:
    """Say how the API behaves; times are seconds.

    Attributes:
        requests: How many requests are answered in any window.
        per: Length of the window.
        concurrency: How many predictions may run at once.
        latency: Mean time from the start of a prediction to its completion.
        latency_cv: Its coefficient of variation; 0 makes it constant.
        api_key: The only key that is known; with None any key will do.
        seed: Where ids, latencies and seeds that were left open are drawn from.
        polls_count: Whether asking for results counts in the window.
        sync_timeout: How long a submission is held in sync mode.
        pictures: Whether pictures are drawn; else every output is one tiny PNG.
        base64_prefix: Whether base64 outputs start with `data:`.
        window: A `sliding` window, `fixed` ones side by side, or a token `bucket`.
        concurrency_counts: What `concurrency` is of: `predictions` that run, or open `requests`.
        over: What becomes of a submission over it: `refuse` it (429), or `queue` it.
        retry_after: How a 429 tells when to come again: not at all, in `seconds`, or as a `date`.
        balance: What the account has at first, in USD.
        keep: How long predictions and files are kept.
        stuck_for: How long a prediction that is stuck runs until it ends as `timeout`; for ever
            with None.
        upload_limit: How many bytes an upload may have.
        list_inputs_as: Where a listed prediction has what was asked: `inputs` or `input`.
        webhook_secret: What webhooks are signed with.
        webhook_input: Whether a webhook's body has what was asked, as `input`.
        webhook_pause: Time from the first try of a webhook to the second; later ones grow.
        faults: What goes wrong.
    """

    requests: int = field(default=120, validator=validators.ge(1))
    per: float = field(default=60.0, validator=validators.gt(0.0))
    concurrency: int = field(default=20, validator=validators.ge(1))
    latency: float = field(default=5.0, validator=validators.ge(0.0))
    latency_cv: float = field(default=0.3, validator=validators.ge(0.0))
    api_key: str | None = field(default=None, repr=False)
    seed: int = 0
    polls_count: bool = True
    sync_timeout: float = field(default=90.0, validator=validators.ge(0.0))
    pictures: bool = True
    base64_prefix: bool = False
    window: WindowKind = field(
        default="sliding", validator=validators.in_(("sliding", "fixed", "bucket"))
    )
    concurrency_counts: Counted = field(
        default="predictions", validator=validators.in_(("predictions", "requests"))
    )
    over: Over = field(default="refuse", validator=validators.in_(("refuse", "queue")))
    retry_after: RetryAfter | None = field(
        default=None, validator=validators.in_((None, "seconds", "date"))
    )
    balance: float = field(default=10_000.0, validator=validators.ge(0.0))
    keep: float = field(default=WEEK, validator=validators.gt(0.0))
    stuck_for: float | None = field(default=600.0, validator=_above_zero)
    upload_limit: int = field(default=200 * MEGABYTE, validator=validators.ge(1))
    list_inputs_as: InputsName = field(
        default="inputs", validator=validators.in_(("inputs", "input"))
    )
    webhook_secret: str = field(default=WEBHOOK_SECRET, repr=False)
    webhook_input: bool = False
    webhook_pause: float = field(default=1.0, validator=validators.ge(0.0))
    faults: Faults = field(factory=Faults, validator=validators.instance_of(Faults))
