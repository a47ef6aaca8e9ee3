"""How fast and how many: the limits of an account, kept for all calls that share a limiter."""

from wavespeed_async.limits._any import AnyLimiter
from wavespeed_async.limits._bids import Bidder, Scarcity
from wavespeed_async.limits._limiter import Limiter
from wavespeed_async.limits._limits import Limits
from wavespeed_async.limits._permit import Ask, Permit
from wavespeed_async.limits._slots import Slot

__all__ = ["AnyLimiter", "Ask", "Bidder", "Limiter", "Limits", "Permit", "Scarcity", "Slot"]
