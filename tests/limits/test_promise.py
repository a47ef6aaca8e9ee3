"""The limiter's promise over random worlds, and that broken limiters are caught by the same check.

With delays of any length, lost and refused requests, cancelled and impatient callers and restarts,
the limits hold at the server, everybody is served in turn, and nothing is lost.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from tests.limits.world import Job, Restart, World
from wavespeed_async.limits import Limiter, Limits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wavespeed_async.limits import Permit, Slot

NEVER = st.just(math.inf)
DELAYS = st.sampled_from([0.0, 0.01, 0.1, 0.5, 2.0, 9.9, 10.0, 12.0, 30.0, 100.0])
JOBS = st.builds(
    Job,
    at=st.sampled_from([1000.0, 1000.0, 1000.0, 1001.0, 1005.0, 1009.5, 1010.0, 1015.0, 1030.0]),
    submits=st.booleans(),
    out=DELAYS,
    back=DELAYS,
    fate=st.sampled_from(["answered", "answered", "answered", "limited", "given up", "withdrawn"]),
    retry_after=st.none() | st.floats(0, 40),
    priority=st.sampled_from([0, 0, 0, -1, 1]),
    timeout=NEVER | NEVER | DELAYS | st.floats(-1, 60),
    cancel_after=NEVER | NEVER | DELAYS | st.floats(0, 60),
    work=st.floats(0, 30),
)
RESTARTS = st.builds(
    Restart,
    after=st.floats(0, 40),
    gap=st.sampled_from([0.0, 0.5, 5.0, 9.0, 30.0]),
    process=st.booleans(),
    settles=st.booleans(),
)
WORLDS = st.fixed_dictionaries(
    {
        "limits": st.builds(
            Limits,
            requests=st.integers(1, 6),
            per=st.just(10.0),
            concurrency=st.integers(1, 4),
            polls_count=st.just(True),
            grace=st.just(2.0),
            abandon_after=st.just(40.0),
        ),
        "jobs": st.lists(JOBS, min_size=1, max_size=24),
        "restarts": st.lists(RESTARTS, max_size=2),
    }
)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(
    max_examples=1000, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
@given(options=WORLDS)
def test_no_world_makes_it_pass_the_limits_or_forget_anyone(
    backend: Literal["asyncio", "trio"], options: dict[str, Any]
) -> None:
    """Whatever happens, the limits hold at the server and everybody is served in turn."""
    world = World(**options)
    world.play(backend)
    world.check()


class CountsWhenSent(Limiter):
    """A log of the times of sending."""

    def _grant(self, waiter: Any, now: float) -> None:
        super()._grant(waiter, now)
        if waiter.outcome.token is not None:
            self._window.count(waiter.outcome.token, now)


class TakesGivingUpForAnAnswer(Limiter):
    def _settle(self, permit: Permit, *, lost: bool = False, **report: Any) -> float | None:
        return super()._settle(permit, **report)


class TakesGivingUpForUnsent(Limiter):
    def _settle(self, permit: Permit, *, lost: bool = False, **report: Any) -> float | None:
        return super()._settle(permit, **{**report, "unsent": lost or report.get("unsent", False)})


class ForgetsTheWindow(Limiter):
    def restore(self, snapshot: Mapping[str, Any]) -> None:
        super().restore({**snapshot, "requests": []})


class ForgetsWhatRuns(Limiter):
    def restore(self, snapshot: Mapping[str, Any]) -> None:
        super().restore({**snapshot, "running": [], "unnamed_until": []})


class FreesUnconfirmedSlots(Limiter):
    def abandon(self, slot: Slot) -> None:
        self.release(slot)


class KeepsUnconfirmedSlots(Limiter):
    def abandon(self, slot: Slot) -> None:
        pass


class ServesTheLastFirst(Limiter):
    async def acquire(self, **wish: Any) -> Permit:
        return await super().acquire(**{**wish, "front": True})


class SetsNoAlarm(Limiter):
    def _set_alarm(self, now: float) -> None:
        pass


class LosesWhatTheCancelledGot(Limiter):
    def _cancel(self, waiter: Any) -> None:
        if waiter.queued:
            super()._cancel(waiter)


class LosesItsTimekeeper(Limiter):
    def _resign(self, waiter: Any) -> None:
        pass


BROKEN = [
    CountsWhenSent,
    TakesGivingUpForAnAnswer,
    TakesGivingUpForUnsent,
    ForgetsTheWindow,
    ForgetsWhatRuns,
    FreesUnconfirmedSlots,
    KeepsUnconfirmedSlots,
    ServesTheLastFirst,
    SetsNoAlarm,
    LosesWhatTheCancelledGot,
    LosesItsTimekeeper,
]


def _is_caught(limiter_class: type[Limiter], options: dict[str, Any]) -> bool:
    world = World(**options, limiter_class=limiter_class)
    try:
        world.play("asyncio")
        world.check()
    except (Exception, BaseExceptionGroup):  # noqa: BLE001 (any failure is what is looked for)
        return True
    return False


@pytest.mark.parametrize("limiter_class", BROKEN)
def test_a_broken_limiter_is_caught(limiter_class: type[Limiter]) -> None:
    """The check above can fail: each limiter that breaks one rule fails it in some world."""
    find(
        WORLDS,
        lambda options: _is_caught(limiter_class, options),
        settings=settings(
            max_examples=6000,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
