"""With `ray` alone: what a driver makes before a cluster is there."""

import os

from wavespeed_async import FluxDev
from wavespeed_async.backends.ray import Account, Pictures
from wavespeed_async.errors import ConfigurationError

account = Account("studio", folder="shards")
assert os.environ["WAVESPEED_API_KEY"] not in repr(account)
try:
    Pictures([], lambda row: FluxDev(prompt=row["prompt"]))
except ConfigurationError as error:
    assert "account" in str(error)  # noqa: PT017 (no pytest here)
