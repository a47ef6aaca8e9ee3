"""When a poll is worth its request: decided in plain functions, for all polls of an account.

The problem. Each poll costs one of `requests` in `per` seconds, each prediction holds one of
`concurrency` slots until it is seen to have ended. So the pictures a second are the smaller of

    (requests / per) / (1 + polls of a picture)    and    running / (slot time of a picture),

and one more poll shortens the slot time. A *poll cost*, in seconds, says how much slot time a poll
has to save. Where it is right, both bounds are equal: each finished picture moves the logarithm of
the cost by how far its polls were from what its slot time pays for.

The rule. T is how long the model takes, F its distribution, f its density; a prediction of age `a`
was not ready at its last poll. The poll that finds it ready has to be made in any case, so waiting
saves polls that miss. At age u, waiting on costs (F(u) - F(a)) / f(u) seconds of lying for each
miss that is saved (Barlow, Hunter and Proschan 1963; Keller, Management Science 21(3), 1974: the
gaps that cost least), and a miss now would be followed by the next poll after √(2·cost·S/f). Poll
when the first is at least the cost and the second together. The greater goes first.

What moves the cost from moment to moment. Requests that lie free lose their worth: of F free ones
F / per are lost a second, shared by the running slots, so that the cost c becomes
1 / (1/c + IDLE·F / (per·running)). With nothing left to submit, only the requests beyond one for
each running prediction are free: per·running / (TAIL·(F - running)). A poll for somebody who does
not wait behind those that do (a lower priority number) delays the others by per / requests.

Nothing known. Only the oldest prediction of a model is polled, at ages that grow by a quarter: so
the first answer costs a few requests, and not one for each that runs.

Constants were chosen once, over all cases of `benchmarks/simulation.py` together; none is per case.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from attrs import define

from wavespeed_async._latency import LatencyRecord
from wavespeed_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wavespeed_async._latency import Latency
    from wavespeed_async.limits import Limiter, Limits, Scarcity

__all__ = ["Look", "PollRule", "next_poll"]

GAIN = 0.1
"""How far a picture moves the logarithm of the cost, for each poll too many or too few."""
HIT_SHARE = 0.9
"""What share of the polls that a picture can pay for it should use."""
IDLE = 3.0
"""How much the cost falls with what lies free, while something waits."""
TAIL = 6.0
"""The same with nothing left to submit."""
GROWTH = 1.25
"""By what the age grows at which a model is polled of which nothing is known."""
URGENT = 2.0
"""What a poll for somebody urgent costs at most, in the time that one request takes."""
TICK, FINEST = 1 / 600, 1 / 6000
"""How often to decide again while the cost moves, and at the most: 0.1 s and 10 ms of a minute."""
LOOK_AHEAD = 0.01
"""How far to look ahead, as a share of the age, to tell when a poll will be worth it."""
UNSURE = 1 / 60
"""How often to look whether the oldest is still there, as a share of `per`."""
EXACT = 1e-3
SNAPSHOT_VERSION = 1


@define(eq=False)
class Look:
    """Be one prediction that is waited for, as the rule sees it. All ages are in seconds.

    Attributes:
        rule: Decides.
        record: What is known of its model.
        born: When it was submitted, by the limiter's clock.
        not_before: When it may be polled next at the earliest.
        missed: Its age when it was last found running.
        polls: How often it was polled.
        at_once: Whether nothing is known of its age, so that it is polled as soon as it may be.
    """

    rule: PollRule
    record: LatencyRecord
    born: float
    not_before: float
    missed: float = 0.0
    polls: int = 0
    at_once: bool = False

    @property
    def line(self) -> LatencyRecord | None:
        """Those that were not polled yet are worth the more the older they are."""
        return None if self.polls or self.at_once else self.record

    def bid(self, now: float, scarcity: Scarcity) -> tuple[float, float]:
        """Answer the worth of a poll now, and when to ask again if that is below 1."""
        return self.rule.bid(self, now, scarcity)

    def delay(self, now: float) -> float:
        """Tell for how many seconds its answer is expected to have been ready."""
        latency = self.record.latency
        return 0.0 if latency is None else latency.lying(now - self.born, self.missed)

    def miss(self, age: float) -> None:
        """Note that it was still running at an age."""
        self.missed = age
        self.record.miss(self, age)


class PollRule:
    """Decide about the polls of one account, and learn from them."""

    def __init__(self) -> None:
        self._records: dict[str, LatencyRecord] = {}
        self._cost: float | None = None  # None: nothing has waited yet
        self._running = 1

    @staticmethod
    def of(limiter: Limiter) -> PollRule:
        """Find or make the rule that all users of a limiter share."""
        return _rules.setdefault(limiter, PollRule())

    def record(self, model: str) -> LatencyRecord:
        """Find or begin what is known of a model."""
        if model not in self._records:
            self._records[model] = LatencyRecord()
        return self._records[model]

    def bid(self, look: Look, now: float, scarcity: Scarcity) -> tuple[float, float]:
        """Answer what polling a prediction is worth now, 1 being a request, and when to ask again.

        Args:
            look: The prediction.
            now: Time in seconds.
            scarcity: How scarce requests are.
        """
        if now < look.not_before:
            return 0.0, look.not_before
        if look.at_once:
            return math.inf, now
        latency, age, limits = look.record.latency, now - look.born, scarcity.limits
        if latency is None:
            return self._scout(look, now, limits)
        if look.polls == 0 and age < latency.hardly_before:
            return 0.0, look.born + latency.hardly_before
        cost = self.cost(scarcity)
        worth = latency.worth(age, look.missed, cost)
        if worth >= cost:
            return worth / cost, now
        step = age * LOOK_AHEAD
        slope = (latency.worth(age + step, look.missed, cost) - worth) / step
        tick = limits.per * TICK if scarcity.waiting else max(limits.per * TICK, 5 * step)
        if 0 < slope < math.inf:
            tick = min(tick, (cost - worth) / slope / 2)  # half: it may become steeper
        return 0.0, now + max(limits.per * FINEST, tick)

    def _scout(self, look: Look, now: float, limits: Limits) -> tuple[float, float]:
        """Poll the oldest alone, at growing ages."""
        if look.record.oldest is not look:
            return 0.0, now + limits.per * UNSURE
        due = look.born + max(limits.min_poll_interval, GROWTH * look.record.longest_miss)
        return (1.0, now) if now >= due else (0.0, due)

    def cost(self, scarcity: Scarcity) -> float:
        """Tell what a poll costs now, in seconds of slot time."""
        limits, running = scarcity.limits, max(1, scarcity.running)
        request = limits.per / limits.requests
        if not limits.polls_count:
            return request
        if scarcity.waiting:
            self._running = running
            if self._cost is None:
                self._cost = request * running
            return 1 / (1 / self._cost + IDLE * scarcity.free / (limits.per * running))
        spare = max(1, scarcity.free - running)
        cost = limits.per * running / (TAIL * spare)
        return min(cost, URGENT * request) if scarcity.behind else cost

    def learn(self, look: Look, ready: float, inference: float | None, limits: Limits) -> None:
        """Learn from a finished prediction.

        Args:
            look: The prediction.
            ready: Its age when it was found ready.
            inference: How long the model took by the server, where it says so.
            limits: What the account is allowed.
        """
        look.record.learn(look.missed, ready, inference)
        if self._cost is None:
            return
        paid_for = limits.requests / limits.per * ready / self._running - 2
        wrong = (look.polls - 1) / HIT_SHARE - paid_for
        cost = self._cost * math.exp(GAIN * max(-3.0, min(3.0, wrong)))
        least = max(limits.min_poll_interval / 2, limits.per * TICK)
        self._cost = min(max(cost, least), max(least, limits.per * self._running))

    def ask_in(self, model: str, age: float, limits: Limits) -> float:
        """Tell in how many seconds a prediction that nobody waits for is worth asking for."""
        latency = self.record(model).latency
        if latency is None:
            return max(limits.min_poll_interval, age * (GROWTH - 1))
        cost = limits.per / limits.requests if self._cost is None else self._cost
        return next_poll(latency, age, cost, limits.min_poll_interval) - age

    def snapshot(self) -> dict[str, Any]:
        """Tell what was learned, as JSON can hold it."""
        latencies = {model: record.seconds for model, record in self._records.items()}
        return {"version": SNAPSHOT_VERSION, "cost": self._cost, "latencies": latencies}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Know what a snapshot tells, in place of what is known of its models.

        Raises:
            ConfigurationError: The snapshot is of another version.
        """
        if snapshot.get("version") != SNAPSHOT_VERSION:
            message = (
                f"the snapshot is of version {snapshot.get('version')}, not {SNAPSHOT_VERSION}"
            )
            raise ConfigurationError(message)
        self._cost = snapshot["cost"]
        for model, seconds in snapshot["latencies"].items():
            self.record(model).seconds = seconds


_rules: WeakKeyDictionary[Limiter, PollRule] = WeakKeyDictionary()


def next_poll(latency: Latency, missed: float, cost: float, interval: float) -> float:
    """Decide at what age to poll a prediction that was not ready at age `missed`, at a fixed cost.

    Args:
        latency: How long the model takes.
        missed: Age at the last poll, in seconds (0: new).
        cost: What a poll costs, in seconds of slot time.
        interval: Least time between two polls.
    """
    low, high = 0.0, max(cost / 8, interval, 1e-3)
    while latency.worth(missed + high, missed, cost) < cost:
        low, high = high, 2 * high
    while high - low > EXACT * high:
        middle = (low + high) / 2
        if latency.worth(missed + middle, missed, cost) < cost:
            low = middle
        else:
            high = middle
    return missed + max(high, interval)
