"""Many requests: as many at once as the limits allow, an outcome for each, and a journal of them."""

from wavespeed_async.batch._reader import (
    EntryRecord,
    JournalReader,
    RequestSentRecord,
    RunRecord,
    State,
)
from wavespeed_async.batch._run import Items, Outcomes, Runner

__all__ = [
    "EntryRecord",
    "Items",
    "JournalReader",
    "Outcomes",
    "RequestSentRecord",
    "RunRecord",
    "Runner",
    "State",
]
