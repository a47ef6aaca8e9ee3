"""How long a model takes: learned from its last predictions, as one log-normal or as two.

What is learned. The server's own time counts where the answer has it, but a prediction that was
not ready at a poll took longer than that, and one that was ready took no longer, whatever the
server says (it may not count the time in its queue). Without it, the middle between the last two
polls counts: taking the moment of the poll would drive the estimate upward without end. What runs
still and was found running counts as longer than that (censored), so that a model which becomes
slower is known for it before the first slow answer.

Parameters. What sets the time apart (steps, size, count) has a record of its own, which counts from
its fourth prediction on; until then the model's does. Measured: of two kinds of request that take
3 and 30 s, a batch makes 0.88 of the oracle's pictures so, and 0.76 without.

Stragglers. One in a thousand takes far longer, or never ends: P(T > x) = STRAY / (1 + x / median)
beyond the last peak. So what outlives all that was seen is polled at ages that grow, and not at
every interval for ever.

Two peaks. A model may take 3 s for most requests and 30 s for the rest. The times are split in two
where that leaves a fifth of the variance at most: the best split of one normal leaves 0.36.
"""

from __future__ import annotations

import math
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

__all__ = ["Latency", "LatencyRecord", "Part"]

REMEMBERED = 60
"""How many predictions are known of a model."""
SPREAD, TRUST = 0.5, 4
"""The spread that is assumed until enough was seen to tell, and what it is worth in predictions."""
SPREAD_OF_TWO = 0.4
"""The same of each of two peaks."""
LEAST_VARIANCE = 1e-4
FEWEST, LEFT, APART = 3, 0.2, 0.7
"""Two peaks have this many times each, leave this share of the variance, and are as far apart."""
OWN = 4
"""How many predictions of one kind have to be known to go by them, and not by the model's."""
NEWS = 16
"""The latency is worked out anew when more than a sixteenth of what it knows has changed."""
ROUNDS = 3
"""How often what runs still is estimated anew."""
STRAY = 1e-3
"""How many are stragglers."""
SHORTEST = 1e-3
"""Seconds below which no age has a logarithm of use."""
NEVER = 1e-12
UNLIKELY = 1e-3
"""A chance of an answer too small for a poll, whatever it costs."""
HARDLY = 3.0
"""Spreads of the logarithm before which hardly an answer comes."""
MOST, NEARLY_ALL = 1.64, 2.33
"""Spreads of the logarithm by which all but one in twenty, in a hundred answers have come."""

_ROOT_2 = math.sqrt(2)
_ROOT_2_PI = math.sqrt(2 * math.pi)


@frozen
class Part:
    """Describe one peak: its weight, and the mean and deviation of the logarithm."""

    weight: float
    mu: float
    sigma: float

    def beyond(self, x: float) -> float:
        """Answer P(T > x)."""
        return _above((math.log(x) - self.mu) / self.sigma) if x > 0 else 1.0

    def mass_beyond(self, x: float) -> float:
        """Answer E[T; T > x]."""
        mean = math.exp(self.mu + self.sigma**2 / 2)
        return mean * _above((math.log(x) - self.mu) / self.sigma - self.sigma) if x > 0 else mean

    def density(self, x: float) -> float:
        """Answer the density at x > 0."""
        z = (math.log(x) - self.mu) / self.sigma
        return math.exp(-z * z / 2) / (_ROOT_2_PI * self.sigma * x)


@frozen
class Latency:
    """Describe how long a model takes: one peak, or two in their order."""

    parts: tuple[Part, ...]

    @property
    def hardly_before(self) -> float:
        """The age before which hardly an answer comes."""
        first = self.parts[0]
        return math.exp(first.mu - HARDLY * first.sigma)

    @property
    def most_by(self) -> float:
        """The age by which all but one in twenty answers have come."""
        last = self.parts[-1]
        return math.exp(last.mu + MOST * last.sigma)

    @property
    def nearly_all_by(self) -> float:
        """The age by which all but one in a hundred answers have come."""
        last = self.parts[-1]
        return math.exp(last.mu + NEARLY_ALL * last.sigma)

    def beyond(self, x: float) -> float:
        """Answer P(T > x), stragglers left out."""
        return sum(part.weight * part.beyond(x) for part in self.parts)

    def density(self, x: float) -> float:
        """Answer the density at x > 0, stragglers left out."""
        return sum(part.weight * part.density(x) for part in self.parts)

    def worth(self, age: float, missed: float, cost: float, unheard: float = 1.0) -> float:
        """Tell what polling now is worth, in seconds: see `_poll_rule`.

        Args:
            age: How old the prediction is, in seconds.
            missed: Its age when it was last found running; 0 if it was not polled yet.
            cost: What a poll costs.
            unheard: The share of ends that only a poll tells: all, where no webhook does.
        """
        if age <= missed:
            return -math.inf
        median = math.exp(self.parts[-1].mu)
        stray = median / (median + age)
        now = self.beyond(age) + STRAY * stray
        before = self.beyond(missed) + STRAY * median / (median + missed)
        density = self.density(age) + STRAY * stray * stray / median
        if before - now < UNLIKELY * before:
            return -math.inf
        return unheard * (before - now) / density - math.sqrt(2 * cost * now / density)

    def unheard_lying(self, age: float, missed: float, unheard: float) -> float:
        """Tell the same as `lying` of a prediction whose webhook has not come by now.

        Either it runs still, or its webhook is one of the share that never comes.
        """
        before = max(self.beyond(missed), NEVER)
        lost = unheard * max(0.0, before - self.beyond(age))
        told = lost + self.beyond(age)
        return self.lying(age, missed) * (unheard * before / told if told > NEVER else 1.0)

    def lying(self, age: float, missed: float) -> float:
        """Tell for how long an answer is expected to have been ready, in seconds.

        It is ∫ P(T ≤ x | T > missed) dx from `missed` to `age`.
        """
        before = self.beyond(missed)
        if age <= missed or before < NEVER:
            return max(0.0, age - missed)
        ended = sum(
            part.weight * (part.mass_beyond(missed) - part.mass_beyond(age)) for part in self.parts
        )
        lying = (age * (before - self.beyond(age)) - ended) / before
        return min(max(lying, 0.0), age - missed)  # nothing else, however numbers are rounded


class LatencyRecord:
    """Learn how long one model takes from its last predictions, those that run still included.

    Args:
        model: The model's record, for one of a kind of its requests; it learns with it.
    """

    def __init__(self, model: LatencyRecord | None = None) -> None:
        self._model = model
        self._seen: deque[float] = deque(maxlen=REMEMBERED)  # logarithms of seconds
        self._fresh: dict[Hashable, None] = {}  # in the order of their birth: not polled yet
        self._asked: dict[Hashable, None] = {}  # polled, and still running
        self._missed: dict[Hashable, float] = {}
        self._latency: Latency | None = None
        self._news = 0  # what the latency does not know of yet

    @property
    def scout(self) -> Hashable | None:
        """Who of the model is to be polled next while nothing is known: the oldest not polled yet.

        Where all were polled, it is the oldest of those.
        """
        if self._model is not None:
            return self._model.scout
        return next(iter(self._fresh or self._asked), None)

    @property
    def asked(self) -> int:
        """How many of the model were polled and run still."""
        return len(self._asked) if self._model is None else self._model.asked

    @property
    def seconds(self) -> list[float]:
        """What was seen, in seconds: to be kept. Any thread may look."""
        return [math.exp(value) for value in self._seen.copy()]

    @seconds.setter
    def seconds(self, seconds: Sequence[float]) -> None:
        self._seen.clear()
        self._seen.extend(math.log(max(value, SHORTEST)) for value in seconds)
        self._latency, self._news = None, REMEMBERED

    def begin(self, look: Hashable) -> None:
        """Note that a prediction runs."""
        if self._model is not None:
            self._model.begin(look)
        self._fresh[look] = None

    def ask(self, look: Hashable) -> None:
        """Note that a prediction was polled, whatever came of it."""
        if self._model is not None:
            self._model.ask(look)
        if look in self._fresh:
            del self._fresh[look]
            self._asked[look] = None

    def miss(self, look: Hashable, age: float) -> None:
        """Note that a prediction was found running at an age, in seconds."""
        if self._model is not None:
            self._model.miss(look, age)
        self._missed.pop(look, None)
        self._missed[look] = max(age, SHORTEST)
        self._news += 1

    def end(self, look: Hashable) -> None:
        """Note that a prediction runs no longer, or is no longer waited for."""
        if self._model is not None:
            self._model.end(look)
        self._fresh.pop(look, None)
        self._asked.pop(look, None)
        if self._missed.pop(look, None) is not None:
            self._news += 1

    def forget_running(self) -> None:
        """Forget who runs: nobody is left who waits for them."""
        for looks in (self._fresh, self._asked, self._missed):
            looks.clear()

    def learn(self, missed: float, ready: float, inference: float | None) -> None:
        """Note a prediction: not ready at age `missed`, ready at age `ready`, all in seconds."""
        if self._model is not None:
            self._model.learn(missed, ready, inference)
        if inference is None or inference <= 0:
            seconds = (missed + ready) / 2
        else:
            seconds = min(max(inference, missed), ready)
        self._seen.append(math.log(max(seconds, SHORTEST)))
        self._news += 1

    @property
    def latency(self) -> Latency | None:
        """What is known so far; None before the first prediction of the model has ended."""
        if self._model is not None and len(self._seen) < OWN:
            return self._model.latency
        if self._seen and self._news * NEWS > len(self._seen):
            known = self._latency.parts[-1] if self._latency else None
            known = known if known and known.weight == 1 else None  # what was one peak
            missed = [math.log(age) for age in islice(reversed(self._missed.values()), REMEMBERED)]
            two = _two_peaks(sorted(self._seen), missed)
            self._latency = two or Latency((_one_peak(self._seen, missed, known),))
            self._news = 0
        return self._latency


def _one_peak(seen: Sequence[float], missed: Sequence[float], known: Part | None) -> Part:
    """Fit one log-normal to the logarithms of what was seen, and of what took longer than this."""
    total, squares = sum(seen), sum(value * value for value in seen)
    mu, sigma = (known.mu, known.sigma) if known else (total / len(seen), SPREAD)
    count = len(seen) + len(missed)
    for _ in range(ROUNDS if missed else 1):
        sum_, sum_of_squares = total, squares
        for value in missed:
            z = (value - mu) / sigma
            excess = math.exp(-z * z / 2) / _ROOT_2_PI / _above(z) if z < 8 else z + 1 / z  # noqa: PLR2004 (beyond it both underflow; this is the asymptote)
            expected = mu + sigma * excess
            sum_ += expected
            sum_of_squares += expected**2 + sigma**2 * max(0.0, 1 + z * excess - excess**2)
        mu = sum_ / count
        sigma = _spread(sum_of_squares - count * mu * mu, count, SPREAD)
    return Part(1.0, mu, sigma)


def _two_peaks(seen: Sequence[float], missed: Sequence[float]) -> Latency | None:
    """Split the sorted logarithms of what was seen in two, if they are two."""
    count, total = len(seen), sum(seen)
    between, at = _best_split(seen, total)
    if at == 0:
        return None
    low, high = seen[:at], seen[at:]
    means = sum(low) / at, sum(high) / (count - at)
    whole = sum(value * value for value in seen) - total * total / count
    if means[1] - means[0] < APART or whole - between > LEFT * whole:
        return None
    parts = [_peak(low, means[0]), _peak(high, means[1])]
    counts = [float(at), float(count - at)]
    for value in missed:  # of what runs still, each peak has the part that it may be
        chances = [part.weight * part.beyond(math.exp(value)) for part in parts]
        for index, chance in enumerate(chances):
            counts[index] += chance / (sum(chances) or 1.0)
    weights = [number / sum(counts) for number in counts]
    return Latency(tuple(Part(w, p.mu, p.sigma) for w, p in zip(weights, parts, strict=True)))


def _best_split(seen: Sequence[float], total: float) -> tuple[float, int]:
    """Answer the greatest variance between two sides, times the count, and where it is; or 0."""
    count, best, at, low = len(seen), 0.0, 0, 0.0
    for index in range(1, count):
        low += seen[index - 1]
        if FEWEST <= index <= count - FEWEST:
            between = low**2 / index + (total - low) ** 2 / (count - index) - total**2 / count
            if between > best:
                best, at = between, index
    return best, at


def _peak(seen: Sequence[float], mean: float) -> Part:
    variance = sum((value - mean) ** 2 for value in seen)
    return Part(float(len(seen)), mean, _spread(variance, len(seen), SPREAD_OF_TWO))


def _spread(squares: float, count: int, assumed: float) -> float:
    variance = (TRUST * assumed**2 + squares) / (TRUST + count - 1)
    return math.sqrt(max(variance, LEAST_VARIANCE))


def _above(z: float) -> float:
    """Answer P(Z > z) of the normal distribution; `statistics` would take 2 ms to import."""
    return 0.5 * math.erfc(z / _ROOT_2)
