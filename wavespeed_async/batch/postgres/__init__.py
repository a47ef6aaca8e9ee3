"""A journal in a PostgreSQL database, which workers on several hosts can take up in turn.

It needs psycopg 3: `pip install 'wavespeed-async[postgres]'`.
"""

from wavespeed_async.batch.postgres._address import Address
from wavespeed_async.batch.postgres._source import PostgresSource
from wavespeed_async.batch.postgres._store import PostgresStore

__all__ = ["Address", "PostgresSource", "PostgresStore"]
