"""What an extra brings: the one place that says how to install it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from wavespeed_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["need"]

OURS = __name__.partition(".")[0]


@contextmanager
def need(extra: str, *, of: str) -> Iterator[None]:
    """Import what an extra brings; `of` is what needs it, in the words of who uses it.

    Raises:
        ConfigurationError: It is not installed, or not wholly; it names the line for pip. A module
            of this package that is missing is a bug, and raised as it is.
    """
    try:
        yield
    except ImportError as error:
        name = error.name or str(error)
        if name.partition(".")[0] == OURS:
            raise
        lacks = isinstance(error, ModuleNotFoundError)
        what = f"{name}, which is not installed" if lacks else f"what cannot be imported ({error})"
        message = f"{of} needs {what}: pip install 'wavespeed-async[{extra}]'"
        raise ConfigurationError(message) from error
