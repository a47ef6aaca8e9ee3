"""What webhooks have told, and are still to tell: bounded in time, number and size. Pure.

A webhook may come before the answer to its own submission, twice, after a poll has seen the end, or
never. Early ones are kept until somebody waits for them. What has ended is remembered, so that
another call about it is not kept for nobody, and one that comes late is known not to be lost.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from wavespeed_async._poll_rule import Look
    from wavespeed_async._prediction import Prediction

__all__ = ["Arrivals", "Kept"]

KEPT, KEPT_FOR, KEPT_CHARACTERS = 1024, 600.0, 64 * 2**20
"""How many that nobody waits for (yet) are kept, for how many seconds, and how large in all."""
EXPECTED = 16_384
"""How many predictions are known at most whose webhook is to come."""
ENDED = 1024
"""How many of those that have ended are remembered."""


@frozen
class Kept:
    """Hold the end of a prediction that nobody waited for, and when it came."""

    prediction: Prediction
    at: float

    @property
    def characters(self) -> int:
        """How large it is: base64 outputs are all that counts."""
        return sum(map(len, self.prediction.outputs))


class Arrivals:
    """Remember the webhooks of an account; every method that needs the time takes `now`."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._characters = 0
        self._expected: OrderedDict[str, None] = OrderedDict()
        self._ended: OrderedDict[str, Look | None] = OrderedDict()

    def expect(self, prediction_id: str) -> None:
        """Note that a webhook is to tell the end of a prediction."""
        self._expected[prediction_id] = None
        if len(self._expected) > EXPECTED:
            self._expected.popitem(last=False)

    def expects(self, prediction_id: str) -> bool:
        """Tell whether a webhook is to tell the end of a prediction."""
        return prediction_id in self._expected

    def end(self, prediction_id: str) -> None:
        """Note that the end of a prediction is known, be it by a webhook or not."""
        if prediction_id in self._expected:
            del self._expected[prediction_id]
            self._ended.setdefault(prediction_id)
            if len(self._ended) > ENDED:
                self._ended.popitem(last=False)

    def overtake(self, prediction_id: str, look: Look) -> None:
        """Note that a poll has seen an end of which a webhook may still tell."""
        self._ended[prediction_id] = look

    def overtaken(self, prediction_id: str) -> Look | None:
        """Answer, once, the look of a prediction whose end a poll has seen before its webhook."""
        look = self._ended.get(prediction_id)
        if look is not None:
            self._ended[prediction_id] = None
        return look

    def keep(self, prediction: Prediction, now: float) -> None:
        """Keep an end that nobody waits for, unless it was known before; the oldest go first."""
        if prediction.id in self._ended:
            return
        self.take(prediction.id, now)
        kept = Kept(prediction, now)
        self._kept[prediction.id] = kept
        self._characters += kept.characters
        while len(self._kept) > KEPT or self._characters > KEPT_CHARACTERS:
            self._drop(next(iter(self._kept)))

    def find(self, prediction_id: str, now: float) -> Kept | None:
        """Show the end of a prediction, if it is kept."""
        while self._kept and next(iter(self._kept.values())).at < now - KEPT_FOR:
            self._drop(next(iter(self._kept)))
        return self._kept.get(prediction_id)

    def take(self, prediction_id: str, now: float) -> Kept | None:
        """Hand out the end of a prediction that is kept; it is kept no longer."""
        found = self.find(prediction_id, now)
        return None if found is None else self._drop(prediction_id)

    def _drop(self, prediction_id: str) -> Kept:
        kept = self._kept.pop(prediction_id)
        self._characters -= kept.characters
        return kept
