"""The tables of a journal. Pure.

`requests` has one row for each entry: what was asked, and when what became of it. Its columns tell
where it stands: without `intended` nothing was sent; with it and without `prediction` it is
unconfirmed (or on its way, in a run that goes on), and `absent` where the API's list was found not
to have it; without `ended` it runs; `saved` has files.

`sent` has one row for each request of the API, polls and lists included: `answered` is NULL where
no answer came. Those that `counts` are in the limiter's window until `per` after their answer.

`runs` has one row for each process's turn, with its limits, a name for the account that pays, and
what it has learned of how long models take; `ended` is NULL where it was killed, or still goes on.
The run that submitted an entry last is its `payer`.

An entry that is asked for again gets the number of the run that asks. So of equal requests those
that this run has not asked for are found by one look into the index, however many there are.

Times are Unix seconds: the wall clock at the start of the run, steady from then on.
"""

from __future__ import annotations

__all__ = ["APPLICATION", "TABLES", "VERSION"]

APPLICATION = 0x57534A31
"""What marks a SQLite file as a journal of this package (`WSJ1`)."""

VERSION = 2

TABLES = """
CREATE TABLE runs (
  run INTEGER PRIMARY KEY,
  started REAL NOT NULL,
  steady REAL NOT NULL,
  owner TEXT NOT NULL,
  requests INTEGER NOT NULL,
  per REAL NOT NULL,
  concurrency INTEGER NOT NULL,
  identity TEXT NOT NULL DEFAULT '',
  learned TEXT,
  ended REAL
);
CREATE TABLE requests (
  entry INTEGER PRIMARY KEY,
  digest BLOB NOT NULL,
  number INTEGER NOT NULL,
  run INTEGER NOT NULL,
  position INTEGER NOT NULL,
  model TEXT NOT NULL,
  fields TEXT NOT NULL,
  seed INTEGER,
  queued REAL NOT NULL,
  intended REAL,
  payer INTEGER,
  absent REAL,
  submitted REAL,
  prediction TEXT,
  ended REAL,
  status TEXT,
  inference_ms INTEGER,
  answer TEXT,
  saved REAL,
  paths TEXT,
  error TEXT
);
CREATE INDEX requests_asked ON requests (digest, run, number);
CREATE TABLE sent (
  number INTEGER PRIMARY KEY,
  run INTEGER NOT NULL,
  at REAL NOT NULL,
  kind TEXT NOT NULL,
  counts INTEGER NOT NULL,
  answered REAL
);
"""
