"""Between workers: a webhook that one of them receives ends the wait of another."""

from wavespeed_async._deliveries import Awaiter, Deliveries

__all__ = ["Awaiter", "Deliveries"]
