"""Many requests: as many at once as the limits allow, and an outcome for each."""

from wavespeed_async.batch._run import Outcomes, Runner

__all__ = ["Outcomes", "Runner"]
