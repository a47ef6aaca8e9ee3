"""What hears a client's events: `AsyncWaveSpeed(observe=…)`, one of these, a function, or several.

::

    from wavespeed_async.observe import Logs
    from wavespeed_async.observe.otel import OpenTelemetry  # the extra `otel`

    client = AsyncWaveSpeed(observe=[Logs(), OpenTelemetry()])

Neither tells prompts, the addresses of images, outputs or what the API says in words, unless it is
asked to (`content=True`); none of them knows the key.
"""

from wavespeed_async.observe._logs import Logs
from wavespeed_async.observe._observers import ObservesClients

__all__ = ["Logs", "ObservesClients"]
