"""What happened, through `logging`, where the environment asks for it: `WAVESPEED_LOG=debug`."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from wavespeed_async._events import (
    Event,
    LimiterPaused,
    PictureSaved,
    PredictionEnded,
    PredictionLeft,
    PredictionSubmitted,
    RequestFailed,
    RequestUnchecked,
    SubmissionFound,
    SubmissionUnconfirmed,
)
from wavespeed_async.errors import ConfigurationError

if TYPE_CHECKING:
    from wavespeed_async._events import Observer

__all__ = ["VARIABLE", "logged"]

VARIABLE = "WAVESPEED_LOG"
LEVELS = ("debug", "info", "warning", "error")

_log = logging.getLogger("wavespeed_async")
_TROUBLE = (LimiterPaused, RequestFailed, RequestUnchecked, SubmissionUnconfirmed)
_COURSE = (PictureSaved, PredictionEnded, PredictionLeft, PredictionSubmitted, SubmissionFound)


def logged(observe: Observer | None) -> Observer | None:
    """Have every event logged before `observe` is told, where the environment asks for it.

    No event has the key. An application that has set up `logging` keeps its handlers; without any,
    the lines go to stderr.

    Raises:
        ConfigurationError: WAVESPEED_LOG names no level.
    """
    level = os.environ.get(VARIABLE, "").strip().lower()
    if not level:
        return observe
    if level not in LEVELS:
        message = f"{VARIABLE} must be {', '.join(LEVELS[:-1])} or {LEVELS[-1]}, not {level!r}"
        raise ConfigurationError(message)
    _log.setLevel(level.upper())
    if not _log.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        _log.addHandler(handler)

    def log(event: Event) -> None:
        _log.log(_level_of(event), "%r", event)
        if observe is not None:
            observe(event)

    return log


def _level_of(event: Event) -> int:
    if isinstance(event, _TROUBLE):
        return logging.WARNING
    return logging.INFO if isinstance(event, _COURSE) else logging.DEBUG
