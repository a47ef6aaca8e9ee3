"""What a single request wishes for: a fault, an outcome, a status, a shape. Pure.

By header (`x-emulator-fault: lost`), by a marker in the prompt (`[fault: lost]`), or by
`Emulator.next(fault="lost")`; the last of these counts most, the first least.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs
from attrs import frozen

from wavespeed_async._prediction import Status
from wavespeed_async.emulator._faults import FAILURES, FAULTS
from wavespeed_async.emulator._requests import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["OUTCOMES", "SHAPES", "Wishes", "wishes_of"]

SHAPES = ("null-lists", "object-outputs", "missing-fields")
"""How an answer may look otherwise: lists that are null, outputs that are objects with a `url`,
and no field but id, model, status and outputs."""

_FAILED = tuple(f"failed-{code}" for code in FAILURES)
OUTCOMES = (*(str(status) for status in Status if status.ended), *_FAILED)
"""How a prediction may be wished to end."""

_ALLOWED = {"fault": (*FAULTS, *_FAILED), "outcome": OUTCOMES, "shape": SHAPES}
_MARKER = re.compile(rb"\[(fault|outcome|status|shape): ?([\w-]+)\]")


@frozen(kw_only=True)
class Wishes:
    """Hold what one request wishes for.

    Attributes:
        fault: A fault by its name.
        outcome: How the prediction ends.
        status: Which word stands for its status while it runs, known or not.
        shape: How its answers look.
    """

    fault: str | None = None
    outcome: str | None = None
    status: str | None = None
    shape: str | None = None

    def checked(self) -> Wishes:
        """Answer the same wishes.

        Raises:
            Refusal: One of them cannot be (400).
        """
        for name, allowed in _ALLOWED.items():
            value = getattr(self, name)
            if value is not None and value not in allowed:
                message = f"the emulator has no {name} {value!r}: take one of {', '.join(allowed)}"
                raise Refusal(400, message)
        return self


def wishes_of(headers: Mapping[str, str], body: bytes, scripted: Wishes | None) -> Wishes:
    """Gather what a request wishes for.

    Raises:
        Refusal: One of the wishes cannot be (400).
    """
    if scripted is None and b"[" not in body and not any(h.startswith(_PREFIX) for h in headers):
        return _NONE
    wished: dict[str, str | None] = {}
    for name in _NAMES:
        if (value := headers.get(_PREFIX + name)) is not None:
            wished[name] = value
    wished.update(_marked(body))
    if scripted is not None:
        wished.update({k: v for k, v in attrs.asdict(scripted).items() if v is not None})
    return Wishes(**wished).checked()


def _marked(body: bytes) -> Iterable[tuple[str, str]]:
    return ((name.decode(), value.decode()) for name, value in _MARKER.findall(body))


_NONE = Wishes()
_NAMES = tuple(a.name for a in attrs.fields(Wishes))
_PREFIX = "x-emulator-"
