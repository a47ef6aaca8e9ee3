"""The flags of `wavespeed-async emulator`; the emulator itself, which needs an extra, is not read.

A test compares them with the emulator's own settings and faults.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import attrs
from attrs import frozen
from cyclopts import Group, Parameter, validators

from wavespeed_async.limits import Limits

__all__ = ["FaultFlags", "SettingFlags"]

USUAL = Limits()
WEEK = 7 * 24 * 3600.0


@Parameter(name="*", group=Group("How it behaves", sort_key=1))
@frozen(kw_only=True)
class SettingFlags:
    """Hold how the emulator behaves.

    Attributes:
        host: Address to listen at.
        port: Port to listen at; 0 takes a free one.
        requests: Requests that are answered within --per seconds; one more is a 429.
        per: Length of that window, in seconds.
        concurrency: Predictions that may run at once; one more is a 429.
        latency: Mean time of a prediction, in seconds.
        latency_cv: Its coefficient of variation; 0 makes it constant.
        api_key: The only key that is taken; by default any.
        webhook_secret: What webhooks are signed with; by default one that is always the same.
        seed: Where ids, latencies, open seeds and faults are drawn from; by default a random one,
            which is told on stderr.
        window: A sliding window, fixed ones side by side, or a token bucket.
        polls_count: Whether asking for results counts in the window.
        concurrency_counts: What --concurrency is of: predictions that run, or open requests.
        over: What becomes of what is over it: it is refused, or waits.
        retry_after: How a 429 tells when to come again; by default not at all.
        sync_timeout: How long a submission in sync mode is held, in seconds.
        balance: What the account has at first, in USD.
        keep: How long predictions and uploads are kept, in seconds.
        stuck_for: When a prediction that is stuck ends as timeout, in seconds; inf for never.
        upload_limit: How many bytes an upload may have; by default 200 MB.
        list_inputs_as: Where a listed prediction has what was asked.
        webhook_input: Whether a webhook's body has what was asked.
        webhook_pause: Seconds from the first try of a webhook to the second.
        pictures: Whether pictures are drawn; else each output is one tiny PNG.
        base64_prefix: Whether base64 outputs start with `data:`.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))] = 0
    requests: int = USUAL.requests
    per: float = USUAL.per
    concurrency: int = USUAL.concurrency
    latency: float = 5.0
    latency_cv: float = 0.3
    api_key: str | None = None
    webhook_secret: str | None = None
    seed: int | None = None
    window: Literal["sliding", "fixed", "bucket"] = "sliding"
    polls_count: bool = True
    concurrency_counts: Literal["predictions", "requests"] = "predictions"
    over: Literal["refuse", "queue"] = "refuse"
    retry_after: Literal["seconds", "date"] | None = None
    sync_timeout: float = 90.0
    balance: float = 10_000.0
    keep: float = WEEK
    stuck_for: float = 600.0
    upload_limit: int = 200 * 2**20
    list_inputs_as: Literal["inputs", "input"] = "inputs"
    webhook_input: bool = False
    webhook_pause: float = 1.0
    pictures: bool = True
    base64_prefix: bool = False

    def settings(self) -> dict[str, Any]:
        """Answer what the emulator takes."""
        return {a.name: getattr(self, a.name) for a in attrs.fields(SettingFlags)}


@Parameter(name="*", group=Group("What goes wrong: rates from 0 to 1", sort_key=2))
@frozen(kw_only=True)
class FaultFlags:
    """Hold how often things go wrong.

    Attributes:
        faults: Many rates at once: calm has none, busy passing ones, hostile all.
        fault_lost: What was asked is done, and the connection closed instead of an answer.
        fault_refused: After the answer nobody can connect for a moment.
        fault_reset: The connection is closed in the middle of the answer.
        fault_slow: The first byte of the answer comes late.
        fault_trickle: The answer comes in small pieces.
        fault_error_json: A 5xx in the API's envelope.
        fault_error_html: A gateway's 5xx page, behind which what was asked is done.
        fault_storm: 429 for this request and the next few.
        fault_garbage: The answer is no JSON.
        fault_truncated: The answer is half of its JSON.
        fault_null_data: The answer has no data.
        fault_error_under_200: An error envelope under HTTP 200.
        fault_wrong_origin: The address to poll leads to another server.
        fault_failed: The prediction fails, with any of the documented codes.
        fault_stuck: The prediction does not end by itself.
        fault_duplicate_webhook: The webhook is called twice.
        fault_forged_webhook: A webhook with a wrong signature is called as well.
        fault_lost_webhook: The webhook is never called.
        fault_late_webhook: The webhook is called late.
        fault_stale_webhook: The webhook is called again, with what was true before the end.
        fault_clock_skew: The time of creation is wrong by up to an hour.
        fault_seed: Where the dice start; by default at --seed.
        fault_outage: How long nobody can connect then, in seconds.
        fault_slowness: How slow the slow answers are, in seconds.
        fault_lateness: How late the late webhooks are, in seconds.
    """

    faults: Literal["calm", "busy", "hostile"] = "calm"
    fault_lost: float | None = None
    fault_refused: float | None = None
    fault_reset: float | None = None
    fault_slow: float | None = None
    fault_trickle: float | None = None
    fault_error_json: float | None = None
    fault_error_html: float | None = None
    fault_storm: float | None = None
    fault_garbage: float | None = None
    fault_truncated: float | None = None
    fault_null_data: float | None = None
    fault_error_under_200: float | None = None
    fault_wrong_origin: float | None = None
    fault_failed: float | None = None
    fault_stuck: float | None = None
    fault_duplicate_webhook: float | None = None
    fault_forged_webhook: float | None = None
    fault_lost_webhook: float | None = None
    fault_late_webhook: float | None = None
    fault_stale_webhook: float | None = None
    fault_clock_skew: float | None = None
    fault_seed: int | None = None
    fault_outage: float | None = None
    fault_slowness: float | None = None
    fault_lateness: float | None = None

    def changed(self) -> dict[str, Any]:
        """Answer what differs from the profile, by the names that faults have."""
        given = {a.name: getattr(self, a.name) for a in attrs.fields(FaultFlags)}
        del given["faults"]
        return {
            name.removeprefix("fault_"): value for name, value in given.items() if value is not None
        }
