"""What runs in a process of its own, so that it neither costs nor warms what is measured."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["SPAWN", "alone", "serving"]

SPAWN = multiprocessing.get_context("spawn")

T = TypeVar("T")


@contextmanager
def serving(serve: Callable[..., None], *arguments: float) -> Iterator[str]:
    """Run a server; answer its address.

    `serve` is given a connection and the arguments: it sends its address, and waits for a word.
    """
    control, other = SPAWN.Pipe()
    process = SPAWN.Process(target=serve, args=(other, *arguments))
    process.start()
    try:
        yield control.recv()
    finally:
        control.send(None)
        process.join()


def alone(measure: Callable[..., T], *arguments: Any) -> T:
    """Measure in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool:
        return pool.submit(measure, *arguments).result()
