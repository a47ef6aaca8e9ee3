"""A stand-in for the API on this machine: no key, no cost, and pictures that show what was asked.

::

    with Emulator(latency=0.5) as emulator:
        print(emulator.url)

It needs the extra `emulator`: `pip install 'wavespeed-async[emulator]'`. It stands beside the
rest of the package: it shares the words and the request classes, never the reading and writing of
JSON, so that a mistake in one of them cannot agree with itself.
"""

from wavespeed_async._extras import need

with need("emulator", of="the emulator"):
    import python_multipart  # noqa: F401 (starlette wants it for forms, and says so late)

    from wavespeed_async.emulator._emulator import Emulator
    from wavespeed_async.emulator._faults import FAULTS, Faults, Profile
    from wavespeed_async.emulator._records import (
        PredictionRecord,
        RequestRecord,
        UploadRecord,
        WebhookRecord,
    )
    from wavespeed_async.emulator._settings import Settings
    from wavespeed_async.emulator._wishes import OUTCOMES, SHAPES

__all__ = [
    "FAULTS",
    "OUTCOMES",
    "SHAPES",
    "Emulator",
    "Faults",
    "PredictionRecord",
    "Profile",
    "RequestRecord",
    "Settings",
    "UploadRecord",
    "WebhookRecord",
]
