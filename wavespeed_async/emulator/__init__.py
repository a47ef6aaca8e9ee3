"""A stand-in for the API on this machine: no key, no cost, and pictures that show what was asked.

::

    with Emulator(latency=0.5) as emulator:
        print(emulator.url)

It needs the extra `emulator`: `pip install 'wavespeed-async[emulator]'`. It stands beside the
rest of the package: it shares the words and the request classes, never the reading and writing of
JSON, so that a mistake in one of them cannot agree with itself.
"""

from wavespeed_async.errors import ConfigurationError

try:
    from wavespeed_async.emulator._emulator import Emulator
    from wavespeed_async.emulator._state import PredictionRecord, RequestRecord, Settings
except ModuleNotFoundError as _error:
    if (_error.name or "").partition(".")[0] not in {"PIL", "starlette", "uvicorn"}:
        raise
    _message = (
        f"the emulator needs {_error.name}, which is not installed: "
        "pip install 'wavespeed-async[emulator]'"
    )
    raise ConfigurationError(_message) from _error

__all__ = ["Emulator", "PredictionRecord", "RequestRecord", "Settings"]
