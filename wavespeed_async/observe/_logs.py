"""What happened, through `logging`: in code by `Logs`, from outside by `WAVESPEED_LOG=debug`.

Levels. Trouble is a warning; the course of predictions and files is information; calls, turns,
requests and polls are for debugging. A call that ends with an error is a warning, too.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from wavespeed_async._events import (
    CallEnded,
    Event,
    ImageUploaded,
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
from wavespeed_async.observe._fields import fields_of

if TYPE_CHECKING:
    from typing import Any

__all__ = ["VARIABLE", "Logs", "asked_for_logs", "level_of"]

VARIABLE = "WAVESPEED_LOG"
LEVELS = ("debug", "info", "warning", "error")
NAME = "wavespeed_async"

_TROUBLE = (LimiterPaused, RequestFailed, RequestUnchecked, SubmissionUnconfirmed)
_COURSE = (
    ImageUploaded,
    PictureSaved,
    PredictionEnded,
    PredictionLeft,
    PredictionSubmitted,
    SubmissionFound,
)


class Logs:
    """Log every event, each value as a field of the record (`extra`) and in its message.

    The handlers and the level are the logger's: `logging.getLogger("wavespeed_async")`.

    Args:
        logger: The logger, or its name.
        content: Log prompts, addresses, outputs and the API's own words, too.
    """

    def __init__(self, logger: logging.Logger | str = NAME, *, content: bool = False) -> None:
        self._log = logging.getLogger(logger) if isinstance(logger, str) else logger
        self._content = content

    def __call__(self, event: Event) -> None:
        """Log an event."""
        level = level_of(event)
        if self._log.isEnabledFor(level):
            fields = fields_of(event, content=self._content)
            self._log.log(level, "%s", _line(fields), extra=fields)


def level_of(event: Event) -> int:
    """Tell the level of an event."""
    if isinstance(event, _TROUBLE) or (isinstance(event, CallEnded) and event.error is not None):
        return logging.WARNING
    return logging.INFO if isinstance(event, _COURSE) else logging.DEBUG


def asked_for_logs() -> bool:
    """Tell whether the environment asks for logs, and set up what they need.

    An application that has set up `logging` keeps its handlers; without any, the lines go to
    stderr.

    Raises:
        ConfigurationError: WAVESPEED_LOG names no level.
    """
    level = os.environ.get(VARIABLE, "").strip().lower()
    if not level:
        return False
    if level not in LEVELS:
        message = f"{VARIABLE} must be {', '.join(LEVELS[:-1])} or {LEVELS[-1]}, not {level!r}"
        raise ConfigurationError(message)
    log = logging.getLogger(NAME)
    log.setLevel(level.upper())
    if not log.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        log.addHandler(handler)
    return True


def _line(fields: dict[str, Any]) -> str:
    """Write fields as one line: the event's name, then `name=value` for each."""
    told = [f"{name}={_word(value)}" for name, value in fields.items() if name != "event"]
    return " ".join([fields["event"], *told])


def _word(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    return repr(text) if any(char.isspace() for char in text) or '"' in text else text
