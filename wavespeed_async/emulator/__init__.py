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
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in {"PIL", "jinja2", "starlette", "uvicorn"}:
        raise
    message = (
        f"the emulator needs {error.name}, which is not installed: "
        "pip install 'wavespeed-async[emulator]'"
    )
    raise ConfigurationError(message) from error

__all__ = ["Emulator", "PredictionRecord", "RequestRecord", "Settings"]
