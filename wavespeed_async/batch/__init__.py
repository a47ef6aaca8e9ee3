"""Many requests: as many at once as the limits allow, an outcome for each, and a journal."""

from wavespeed_async.batch._course import Items, Journaled, Plain, Runner
from wavespeed_async.batch._entries import in_short, wanted
from wavespeed_async.batch._reader import (
    EntryRecord,
    JournalReader,
    RequestSentRecord,
    RunRecord,
    State,
)
from wavespeed_async.batch._run import Outcomes
from wavespeed_async.batch._sqlite import SqliteStore

__all__ = [
    "EntryRecord",
    "Items",
    "JournalReader",
    "Journaled",
    "Outcomes",
    "Plain",
    "RequestSentRecord",
    "RunRecord",
    "Runner",
    "SqliteStore",
    "State",
    "in_short",
    "wanted",
]
