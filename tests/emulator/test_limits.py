"""Windows, slots, queues, and when to come again."""

from __future__ import annotations

import threading
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from tests.emulator.account import FLUX, KEY, call, made, poll, submission, submitted, until
from wavespeed_async.emulator import Emulator

HELD = {"prompt": "p", "images": ["https://example.com/a.png"], "enable_sync_mode": True}
KONTEXT = "/api/v3/wavespeed-ai/flux-kontext-dev/multi"


def statuses(times: list[float], **settings: Any) -> list[int]:
    state = made(**{"requests": 2, "per": 60.0, **settings})
    return [state.receive(now, submission()).status for now in times]


def test_fixed_windows_begin_anew_with_each_minute() -> None:
    """In fixed windows twice as many requests may come around the turn of a minute."""
    times = [59.0, 59.0, 59.0, 60.0, 60.0, 60.0, 119.9, 120.0]
    assert statuses(times, window="fixed") == [200, 200, 429, 200, 200, 429, 429, 200]


def test_a_bucket_fills_evenly() -> None:
    """A bucket starts full, and gives one token back each time its share has passed."""
    times = [0.0, 0.0, 0.0, 29.9, 30.0, 30.0, 60.0, 300.0, 300.0, 300.0]
    expected = [200, 200, 429, 429, 200, 429, 200, 200, 200, 429]
    assert statuses(times, window="bucket") == expected


@pytest.mark.parametrize("window", ["fixed", "bucket"])
def test_the_most_in_a_window_is_measured_by_a_sliding_one(window: str) -> None:
    """Whatever the window, the most that fell into any `per` seconds is measured."""
    state = made(requests=2, per=60.0, window=window)
    for now in (59.0, 59.0, 119.0, 120.0, 120.0):
        state.receive(now, submission())
    assert state.most_requests_in_window == 2 + (window == "fixed")


# --- concurrency -------------------------------------------------------------------------------


def test_over_the_limit_predictions_can_queue() -> None:
    """A queued prediction starts when a slot is free, and takes its time from then on."""
    state = made(concurrency=1, over="queue")
    first, second, third = (submitted(state, 0.0) for _ in range(3))
    assert [p.status for p in (first, second, third)] == ["created", "queued", "queued"]
    assert [(p.started, p.ready) for p in (first, second, third)] == [
        (0.0, 10.0),
        (10.0, 20.0),
        (20.0, 30.0),
    ]
    seen = [str(p.status) for p in state.predictions(15.0)]
    assert seen == ["completed", "processing", "queued"]
    assert state.most_running == 1


def test_open_requests_can_be_what_is_counted() -> None:
    """Where requests count, predictions run without end, but only so many answers are open."""
    state = made(concurrency=2, concurrency_counts="requests")
    replies = [state.receive(0.0, submission()) for _ in range(3)]
    assert [reply.status for reply in replies] == [200, 200, 429]
    for _ in range(3):
        state.answered()
    assert state.receive(0.0, submission()).status == 200
    assert len(state.predictions(0.0)) == 3


def test_open_requests_can_queue() -> None:
    """Over the limit a request waits, neither done nor remembered, until there is room."""
    state = made(concurrency=1, concurrency_counts="requests", over="queue")
    state.receive(0.0, submission())
    assert state.receive(0.0, submission()).waits
    assert len(state.requests) == 1
    state.answered()
    assert not state.receive(0.0, submission()).waits


@pytest.mark.parametrize("over", ["refuse", "queue"])
def test_a_held_submission_is_an_open_request(over: Any) -> None:
    """While sync mode holds one submission, another is refused, or answered after it."""
    done: list[str] = []
    with Emulator(
        latency=0.2,
        latency_cv=0.0,
        pictures=False,
        concurrency=1,
        concurrency_counts="requests",
        over=over,
    ) as emulator:

        def post(name: str) -> None:
            answer = httpx.post(emulator.url + KONTEXT, json=HELD, headers=KEY)
            done.append(f"{name} {answer.status_code}")

        held = threading.Thread(target=post, args=["held"])
        held.start()
        until(lambda: emulator.requests)
        post("other")
        held.join()
    assert done == (["held 200", "other 200"] if over == "queue" else ["other 429", "held 200"])


def test_who_leaves_the_queue_asked_nothing() -> None:
    """A client that leaves while its request waits has made none."""
    with Emulator(
        latency=0.6,
        latency_cv=0.0,
        pictures=False,
        concurrency=1,
        concurrency_counts="requests",
        over="queue",
    ) as emulator:
        held = threading.Thread(
            target=lambda: httpx.post(emulator.url + KONTEXT, json=HELD, headers=KEY)
        )
        held.start()
        until(lambda: emulator.requests)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(emulator.url + FLUX, json={}, headers=KEY, timeout=0.05)
        held.join()
    assert len(emulator.requests) == 1


# --- when to come again ------------------------------------------------------------------------


def retry_after(**settings: Any) -> str | None:
    state = made(**{"requests": 1, "per": 60.0, **settings})
    state.receive(100.0, submission())
    reply = state.receive(120.5, call("POST", FLUX, {}, epoch=1_760_000_000.0))
    assert reply.status == 429
    return reply.headers.get("retry-after")


def test_a_429_says_nothing_by_default() -> None:
    """Without the setting there is no Retry-After."""
    assert retry_after() is None


def test_a_429_tells_seconds() -> None:
    """In seconds, Retry-After is when the window has room again."""
    assert retry_after(retry_after="seconds") == "40"
    assert retry_after(retry_after="seconds", window="bucket") == "40"
    assert retry_after(retry_after="seconds", window="fixed", per=130.0) == "10"


def test_a_429_tells_a_date() -> None:
    """As a date, Retry-After is the same moment by the wall clock."""
    told = retry_after(retry_after="date")
    assert told is not None
    assert parsedate_to_datetime(told).timestamp() == 1_760_000_000.0 + 121 + 40


def test_a_429_for_want_of_slots_tells_when_one_is_free() -> None:
    """Over the concurrency, Retry-After is when the first prediction ends."""
    state = made(concurrency=1, retry_after="seconds")
    identity = submitted(state, 0.0).id
    assert state.receive(3.5, submission()).headers == {"retry-after": "7"}
    assert state.receive(3.5, poll(identity)).headers == {}


@pytest.mark.parametrize(
    "wrong",
    [{"window": "none"}, {"over": "x"}, {"retry_after": "x"}, {"concurrency_counts": "x"}],
)
def test_settings_that_do_not_exist_are_refused(wrong: dict[str, Any]) -> None:
    """A switch that is set to an unknown word is no setting."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        made(**wrong)
