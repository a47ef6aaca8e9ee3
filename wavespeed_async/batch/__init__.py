"""Many requests: as many at once as the limits allow, and an outcome for each."""

from wavespeed_async.batch._run import Items, Outcomes, Runner

__all__ = ["Items", "Outcomes", "Runner"]
