"""What a batch is in all, and at what price: the part that its journal does not tell.

The journal of a batch has an entry for what was taken from the input so far. How many requests the
input has, and what each costs, stands beside it in `order.json`. It is for readers: a batch goes on
without it.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from attrs import asdict, frozen

from wavespeed_async.batch._entries import is_kept

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["Order", "Price", "priced", "read_order", "write_order", "write_whole"]

NAME = "order.json"
FREE = {"seed", "guidance_scale", "strength", "prompt", "negative_prompt"}
"""Fields that no price depends on."""
LOST = 60.0
"""Seconds after which what a process had begun to write is removed."""
TEXT = "text"
"""What stands for prose, an address or a picture where requests of one price are told apart."""


@frozen
class Price:
    """Say what one request of a kind costs.

    Attributes:
        model: The model's id.
        inputs: What a price may depend on, as `priced` answers it.
        amount: What one request costs.
        currency: In what, such as `USD`.
    """

    model: str
    inputs: str
    amount: float
    currency: str = "USD"


@frozen(kw_only=True)
class Order:
    """Say what a batch is in all.

    Attributes:
        total: How many requests its input has; None where nobody wrote it down.
        prices: What each kind of them costs, as far as it was asked for.
    """

    total: int | None = None
    prices: tuple[Price, ...] = ()

    def cost(self, requests: Iterable[tuple[str, Mapping[str, Any]]]) -> float | None:
        """Add up what requests cost, each a model and its fields; None where a price is missing."""
        known = {(price.model, price.inputs): price.amount for price in self.prices}
        if not known:
            return None
        amounts = [known.get((model, priced(fields))) for model, fields in requests]
        return None if None in amounts else sum(filter(None, amounts))

    @property
    def currency(self) -> str:
        """The currency of the prices."""
        return self.prices[0].currency if self.prices else ""


def priced(fields: Mapping[str, Any]) -> str:
    """Say what a price may depend on: numbers, flags and words, and how many of what is listed."""
    kinds = {name: _kind(value) for name, value in fields.items() if name not in FREE}
    return json.dumps(kinds, sort_keys=True, separators=(",", ":"))


def _kind(value: Any) -> Any:
    if isinstance(value, list):
        return [_kind(item) for item in value]
    if isinstance(value, dict):
        return {name: _kind(item) for name, item in value.items() if name != "scale"}
    if not isinstance(value, str):
        return value
    is_word = is_kept(value) and not any(mark in value for mark in " /:<")
    return value if is_word else TEXT


def read_order(folder: Path) -> Order:
    """Read what stands beside a journal; what is missing or not ours tells nothing."""
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        found = json.loads((folder / NAME).read_text("utf-8"))
        prices = tuple(Price(**price) for price in found["prices"])
        return Order(total=found["total"], prices=prices)
    return Order()


def write_order(folder: Path, order: Order) -> None:
    """Write it beside the journal.

    Raises:
        OSError: It cannot be written.
    """
    write_whole(folder / NAME, json.dumps(asdict(order)))


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all: whoever reads it meanwhile sees the one before.

    Raises:
        OSError: It cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    for lost in path.parent.glob(f".{path.name}.*.part"):  # left by a process that was killed
        with suppress(FileNotFoundError):
            if time.time() - lost.stat().st_mtime > LOST:
                lost.unlink()
    try:
        part.write_text(text, "utf-8", errors="replace")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
