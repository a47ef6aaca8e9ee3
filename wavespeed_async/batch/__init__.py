"""Many requests: as many at once as the limits allow, an outcome for each, and a journal."""

from wavespeed_async.batch._cost import Budget, Estimate, Prices, estimate
from wavespeed_async.batch._course import Items
from wavespeed_async.batch._entries import in_short, wanted
from wavespeed_async.batch._journaled import Journaled
from wavespeed_async.batch._order import (
    Order,
    Price,
    priced,
    read_order,
    write_order,
    write_whole,
)
from wavespeed_async.batch._page import Page, write_page
from wavespeed_async.batch._place import folder_of, is_address, store_of
from wavespeed_async.batch._plain import Plain
from wavespeed_async.batch._reader import JournalReader
from wavespeed_async.batch._records import EntryRecord, RequestSentRecord, RunRecord, State
from wavespeed_async.batch._report import Report, read_report
from wavespeed_async.batch._run import Outcomes
from wavespeed_async.batch._runner import Runner
from wavespeed_async.batch._sqlite import SqliteStore
from wavespeed_async.batch._store import Store

__all__ = [
    "Budget",
    "EntryRecord",
    "Estimate",
    "Items",
    "JournalReader",
    "Journaled",
    "Order",
    "Outcomes",
    "Page",
    "Plain",
    "Price",
    "Prices",
    "Report",
    "RequestSentRecord",
    "RunRecord",
    "Runner",
    "SqliteStore",
    "State",
    "Store",
    "estimate",
    "folder_of",
    "in_short",
    "is_address",
    "priced",
    "read_order",
    "read_report",
    "store_of",
    "wanted",
    "write_order",
    "write_page",
    "write_whole",
]
