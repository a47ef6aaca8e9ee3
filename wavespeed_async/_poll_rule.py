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

Nothing known. Of a model's predictions one at a time is polled, the oldest that was not polled yet,
at ages that grow by a quarter from one to the next: so the first answer costs a few requests, and
not one for each that runs. Those that were polled are polled again as their age doubles; the oldest
of them by quarters, if there is no other.

Webhooks. Where one is to tell the end, a poll is made for one that never comes. Let L be the share
of those, learned too, and F and f those of the age at which webhooks come. Waiting on for dt costs
L·(F(u) - F(a))·dt seconds of lying, and saves a poll with f(u)·dt: because the webhook comes after
all, or because a poll would have missed. So the same rule holds with L·(F(u) - F(a)) / f(u), and
with L = 1 it is the one above. It polls late where L is small, and the later the more a poll costs:
while requests are the bottleneck, the cost rises until the slots that lost webhooks hold are missed
(a picture needs no poll then, where it needed one above). However free requests
are, none is polled before 19 of 20 webhooks have come; with nothing left to submit, when slots are
of no use, before 99 of 100.
One that was found running is polled when its age has doubled at the latest. If no webhook has come
yet, the times that the server told stand in for the ages; without those the oldest is asked for
after half of `per`, then the next.

Constants were chosen once, over all cases of `benchmarks/simulation.py` together; none is per case.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

from attrs import define

from wavespeed_async._latency import SHORTEST, LatencyRecord
from wavespeed_async.errors import ConfigurationError
from wavespeed_async.models import RawRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wavespeed_async._latency import Latency
    from wavespeed_async.limits import AnyLimiter, Limits, Scarcity
    from wavespeed_async.models import Request

__all__ = ["Look", "PollRule", "next_poll"]

Kind: TypeAlias = "tuple[str | int | None, ...]"

GAIN = 0.1
"""How far a picture moves the logarithm of the cost, for each poll too many or too few."""
HIT_SHARE = 0.9
"""What share of the polls that a picture can pay for it should use."""
IDLE = 3.0
"""How much the cost falls with what lies free, while something waits."""
TAIL = 6.0
"""The same with nothing left to submit."""
GROWTH, MOST_STEPS = 1.25, 16
"""By what the age grows at which a model is polled of which nothing is known, and how often."""
AGAIN = 2.0
"""The same for those that were polled already, while others have not been."""
URGENT = 2.0
"""What a poll for somebody urgent costs at most, in the time that one request takes."""
TICK, FINEST = 1 / 600, 1 / 6000
"""How often to decide again while the cost moves, and at the most: 0.1 s and 10 ms of a minute."""
LOOK_AHEAD = 0.01
"""How far to look ahead, as a share of the age, to tell when a poll will be worth it."""
TELLING = ("num_inference_steps", "size", "num_images")
"""The fields that set the time of a request apart."""
MOST_KINDS = 32
"""So many kinds of requests of a model are told apart at most."""
UNSURE = 1 / 60
"""How often to look whether it is one's turn, as a share of `per`."""
SILENCE = 1 / 2
"""The age at which one is asked for while no webhook has ever come, as a share of `per`."""
LOST, LOST_TRUST, LOST_MEMORY = 0.05, 20.0, 200.0
"""The share of webhooks that is assumed to be lost until enough was seen to tell, what that is
worth in webhooks, and how many of the last are remembered."""
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
        new: Whether it was submitted just now: those stand in line.
        at_once: Whether nothing is known of its age, so that it is polled as soon as it may be.
        follows: Whether another wait polls for this one.
        model: What is known of its model's own time, where a webhook is to tell its end: then
            `record` is of the ages at which webhooks come. None where only polls tell.
    """

    rule: PollRule
    record: LatencyRecord
    born: float
    not_before: float
    missed: float = 0.0
    polls: int = 0
    new: bool = True
    at_once: bool = False
    follows: bool = False
    model: LatencyRecord | None = None

    @property
    def latency(self) -> Latency | None:
        """What is known of the age at which its end is told."""
        known = self.record.latency
        return self.model.latency if known is None and self.model is not None else known

    @property
    def needed(self) -> int:
        """Polls without which its end is not seen."""
        return 1 if self.model is None else 0

    @property
    def line(self) -> LatencyRecord | None:
        """Those that were not polled yet are worth the more the older they are."""
        stands = self.new and not (self.polls or self.missed or self.at_once)
        return self.record if stands else None

    def bid(self, now: float, scarcity: Scarcity) -> tuple[float, float]:
        """Answer the worth of a poll now, and when to ask again if that is below 1."""
        return self.rule.bid(self, now, scarcity)

    def delay(self, now: float) -> float:
        """Tell for how many seconds its answer is expected to have been ready."""
        latency, age = self.latency, now - self.born
        if latency is None:
            return max(0.0, age - self.missed)
        if self.model is not None:
            return latency.unheard_lying(age, self.missed, self.rule.lost)
        return latency.lying(age, self.missed)

    def poll(self) -> None:
        """Note that it is polled."""
        self.polls += 1
        self.at_once = False

    def miss(self, age: float) -> None:
        """Note that it was still running at an age."""
        self.missed = max(age, SHORTEST)
        self.record.ask(self)
        self.record.miss(self, age)

    def belong(self, record: LatencyRecord, model: LatencyRecord | None = None) -> None:
        """Go by another record from here on: its model has become known."""
        self.record.end(self)
        self.record, self.model = record, model
        record.begin(self)


class PollRule:
    """Decide about the polls of one account, and learn from them."""

    def __init__(self) -> None:
        self._latencies = _Records()
        self._arrivals = _Records()
        self._told, self._untold = 0.0, 0.0
        self._cost: float | None = None  # None: nothing has waited yet
        self._running = 1
        self._loops = 0

    @staticmethod
    def of(limiter: AnyLimiter) -> PollRule:
        """Find or make the rule that all users of a limiter share."""
        return _rules.setdefault(limiter, PollRule())

    def record(self, model: str, request: Request | None = None) -> LatencyRecord:
        """Find or begin what is known of a model, or of requests like this one."""
        return self._latencies.of(model, _kind(request))

    def arrivals(self, model: str, request: Request | None = None) -> LatencyRecord:
        """Find or begin what is known of the ages at which webhooks tell of it."""
        return self._arrivals.of(model, _kind(request))

    @property
    def lost(self) -> float:
        """The share of webhooks that never come, as far as is known."""
        seen = self._told + self._untold
        return (LOST * LOST_TRUST + self._untold) / (LOST_TRUST + seen)

    def bid(self, look: Look, now: float, scarcity: Scarcity) -> tuple[float, float]:
        """Answer what polling a prediction is worth now, 1 being a request, and when to ask again.

        Args:
            look: The prediction.
            now: Time in seconds.
            scarcity: How scarce requests are.
        """
        if look.follows:
            return 0.0, now + scarcity.limits.per * UNSURE
        if now < look.not_before:
            return 0.0, look.not_before
        if look.at_once:
            return math.inf, now
        latency = look.latency
        if latency is None:
            return self._scout(look, now, scarcity.limits)
        not_before = latency.hardly_before
        if look.model is not None:
            not_before = latency.most_by if scarcity.waiting else latency.nearly_all_by
        worth, again = self._weigh(look, latency, not_before, now, scarcity)
        if look.model is None or not look.missed:
            return worth, again
        doubled = look.born + AGAIN * look.missed  # at the latest, however much a poll costs
        return (max(worth, 1.0), now) if now >= doubled else (worth, min(again, doubled))

    def _weigh(
        self, look: Look, latency: Latency, not_before: float, now: float, scarcity: Scarcity
    ) -> tuple[float, float]:
        """Weigh what a poll is worth against its cost; if it is less, tell when to weigh again."""
        age, limits = now - look.born, scarcity.limits
        if look.polls == 0 and age < not_before:
            return 0.0, look.born + not_before
        unheard = 1.0 if look.model is None else self.lost
        cost = self.cost(scarcity)
        worth = latency.worth(age, look.missed, cost, unheard)
        if worth >= cost:
            return worth / cost, now
        step = max(age, SHORTEST) * LOOK_AHEAD
        slope = (latency.worth(age + step, look.missed, cost, unheard) - worth) / step
        tick = max(limits.per * TICK, step if scarcity.waiting else 5 * step)
        if 0 < slope < math.inf:
            tick = min(tick, (cost - worth) / slope / 2)  # half: it may become steeper
        return 0.0, now + max(limits.per * FINEST, tick)

    def _scout(self, look: Look, now: float, limits: Limits) -> tuple[float, float]:
        """Poll one at a time while nothing is known of a model."""
        first = look.record.scout is look
        if look.polls:
            due = look.born + look.missed * (GROWTH if first else AGAIN)
        elif first:
            steps = min(look.record.asked, MOST_STEPS)
            wait = limits.min_poll_interval if look.model is None else limits.per * SILENCE
            due = look.born + wait * GROWTH**steps
        else:
            return 0.0, now + limits.per * UNSURE
        return (1.0, now) if now >= due else (0.0, due)

    def enter(self, loops: int) -> bool:
        """Forget who runs where another event loop has begun, and tell; `loops` counts them."""
        if loops == self._loops:
            return False
        self._loops = loops
        for record in (*self._latencies.all(), *self._arrivals.all()):
            record.forget_running()
        return True

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
        """Learn from a prediction that a poll has found finished.

        Args:
            look: The prediction.
            ready: Its age when it was found ready.
            inference: How long the model took by the server, where it says so.
            limits: What the account is allowed.
        """
        if look.model is None:
            look.record.learn(look.missed, ready, inference)
        else:
            look.model.learn(look.missed, ready, inference)
            self._count(untold=1.0)
        self._balance(look.polls, look.needed, ready, limits)

    def hear(self, look: Look, ready: float, inference: float | None, limits: Limits) -> None:
        """Learn from a prediction whose end came by a webhook; `ready` is its age then."""
        if look.model is None:
            look.record.learn(look.missed if inference else ready, ready, inference)
            return
        look.record.learn(ready, ready, None)
        look.model.learn(look.missed if inference else ready, ready, inference)
        self._count(told=1.0)
        self._balance(look.polls, look.needed, ready, limits)

    def hear_late(self, look: Look, age: float) -> None:
        """Learn of a webhook that came after a poll, so that it was not lost."""
        look.record.learn(age, age, None)
        self._untold = max(0.0, self._untold - 1.0)
        self._count(told=1.0)

    def _count(self, *, told: float = 0.0, untold: float = 0.0) -> None:
        """Count a webhook that came, or did not; the longer ago, the less it weighs."""
        kept = 1 - 1 / LOST_MEMORY
        self._told, self._untold = self._told * kept + told, self._untold * kept + untold

    @staticmethod
    def news(
        look: Look, model: str, request: Request | None, ready: float, inference: float | None
    ) -> list[Any]:
        """Tell what other processes of the account may learn too, as JSON can hold it."""
        kind = _kind(request)
        return [model, kind and [*kind], look.missed, look.polls, ready, inference]

    def take_news(self, news: Sequence[Any], limits: Limits) -> None:
        """Learn from a prediction that another process of the account has seen finished."""
        model, kind, missed, polls, ready, inference = news
        self._latencies.of(model, kind and tuple(kind)).learn(missed, ready, inference)
        self._balance(polls, 1, ready, limits)

    def _balance(self, polls: int, needed: int, ready: float, limits: Limits) -> None:
        """Move the cost towards where requests and slots are both used up.

        A picture had `polls`, and cannot be seen without `needed` of them.
        """
        if self._cost is None:
            return
        paid_for = limits.requests / limits.per * ready / self._running - 1 - needed
        wrong = (polls - needed) / HIT_SHARE - paid_for
        cost = self._cost * math.exp(GAIN * max(-3.0, min(3.0, wrong)))
        least = max(limits.min_poll_interval / 2, limits.per * TICK)
        self._cost = min(max(cost, least), max(least, limits.per * self._running))

    def ask_in(
        self, record: LatencyRecord, age: float, limits: Limits, *, webhook: bool = False
    ) -> float:
        """Tell in how many seconds a prediction that nobody waits for is worth asking for.

        With a webhook `record` is of the ages at which those come.
        """
        latency = record.latency
        if webhook:
            known = limits.per * SILENCE if latency is None else latency.nearly_all_by
            return max(limits.min_poll_interval, known - age if age < known else age * (AGAIN - 1))
        if latency is None:
            return max(limits.min_poll_interval, age * (GROWTH - 1))
        cost = limits.per / limits.requests if self._cost is None else self._cost
        return next_poll(latency, age, cost, limits.min_poll_interval) - age

    @property
    def latencies(self) -> dict[str, float]:
        """How long each model takes, in seconds: the middle of what was seen last."""
        return self._latencies.middles

    def snapshot(self) -> dict[str, Any]:
        """Tell what was learned, as JSON can hold it."""
        return {
            "version": SNAPSHOT_VERSION,
            "cost": self._cost,
            **self._latencies.snapshot(),
            "arrivals": self._arrivals.snapshot(),
            "webhooks": [self._told, self._untold],
        }

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
        self._latencies.restore(snapshot)
        if "arrivals" in snapshot:  # those of before had none
            self._arrivals.restore(snapshot["arrivals"])
            self._told, self._untold = snapshot["webhooks"]


class _Records:
    """Hold what is known of each model, and of each kind of its requests."""

    def __init__(self) -> None:
        self._models: dict[str, LatencyRecord] = {}
        self._kinds: dict[str, dict[Kind, LatencyRecord]] = {}

    def of(self, model: str, kind: Kind | None) -> LatencyRecord:
        """Find or begin the record of a model, or of a kind of its requests."""
        whole = self._models.setdefault(model, LatencyRecord())
        if kind is None:
            return whole
        kinds = self._kinds.setdefault(model, {})
        if kind not in kinds and len(kinds) >= MOST_KINDS:
            return whole
        return kinds.setdefault(kind, LatencyRecord(whole))

    @property
    def middles(self) -> dict[str, float]:
        """Each model's median, in seconds; any thread may ask."""
        seen = {model: sorted(record.seconds) for model, record in [*self._models.items()]}
        return {model: seconds[len(seconds) // 2] for model, seconds in seen.items() if seconds}

    def all(self) -> list[LatencyRecord]:
        """List all records."""
        kinds = [record for kinds in self._kinds.values() for record in kinds.values()]
        return [*self._models.values(), *kinds]

    def snapshot(self) -> dict[str, Any]:
        """Tell what was learned, as JSON can hold it."""
        return {
            "latencies": {model: record.seconds for model, record in self._models.items()},
            "kinds": [
                [model, list(kind), record.seconds]
                for model, kinds in self._kinds.items()
                for kind, record in kinds.items()
            ],
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Know what a snapshot tells, in place of what is known of its models."""
        for model, seconds in snapshot["latencies"].items():
            self.of(model, None).seconds = seconds
        for model, kind, seconds in snapshot["kinds"]:
            self.of(model, tuple(kind)).seconds = seconds


def _kind(request: Request | None) -> Kind | None:
    """Tell what of a request sets its time apart; None where nothing is known of it."""
    if request is None:
        return None
    fields = request.fields if isinstance(request, RawRequest) else {}
    return tuple(
        value
        if isinstance(value := fields.get(name, getattr(request, name, None)), str | int)
        else None
        for name in TELLING
    )


_rules: WeakKeyDictionary[AnyLimiter, PollRule] = WeakKeyDictionary()


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
