"""The table of what waits to be uploaded, in state.db.

Does: SQL on a connection that is lent; begins and commits nothing itself, so that a file waits from the transaction on
that commits it. Must not know targets or runs. Invariant: a row goes only with the news that its file arrived; rows
outlive the run they came with, and are read in the order in which they came.

What arrived is counted, not kept: with 10^7 bodies the table stays as small as what waits.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from crawler.parcels import Counts, Delivered, Parcel, Thing, Undeliverable

TABLES = """
CREATE TABLE IF NOT EXISTS uploads (
    n INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL, sha256 TEXT,
    attempts INTEGER NOT NULL DEFAULT 0, error TEXT
);
CREATE TABLE IF NOT EXISTS uploaded (
    run TEXT PRIMARY KEY, files INTEGER NOT NULL, bytes INTEGER NOT NULL
) WITHOUT ROWID;
"""

_ADD = "INSERT INTO uploads (run, name, size, sha256) VALUES (?, ?, ?, ?)"
_WAITING = "SELECT n, run, name, size, sha256, attempts, attempts > 0 FROM uploads WHERE n > ? ORDER BY n LIMIT ?"
_DONE = "DELETE FROM uploads WHERE n = ?"
_COUNT = (
    "INSERT INTO uploaded VALUES (?, 1, ?) ON CONFLICT DO UPDATE SET files = files + 1, bytes = bytes + excluded.bytes"
)
_FAILED = "UPDATE uploads SET attempts = ?, error = ? WHERE n = ?"


def create(db: sqlite3.Connection) -> None:
    """Make the tables where they are missing. Raises sqlite3.Error."""
    for statement in filter(str.strip, TABLES.split(";")):
        db.execute(statement)


def add(db: sqlite3.Connection, run: str, things: Iterable[Thing]) -> None:
    """Files that will not change any more wait from now on. Raises sqlite3.Error."""
    db.executemany(_ADD, ((run, *thing) for thing in things))


def withdraw(db: sqlite3.Connection, run: str, names: Sequence[str]) -> None:
    """Files that changed after all wait no longer as they were. Raises sqlite3.Error."""
    db.executemany("DELETE FROM uploads WHERE run = ? AND name = ?", ((run, name) for name in names))


def waiting(db: sqlite3.Connection, after: int, limit: int) -> list[Parcel]:
    """What waits, by the order of commits, from behind the parcel with the number `after`. Raises sqlite3.Error."""
    return [Parcel(*row) for row in db.execute(_WAITING, (after, limit))]


def settle(db: sqlite3.Connection, ends: Sequence[Delivered | Undeliverable]) -> None:
    """What arrived waits no longer; what did not waits on, with what is wrong. Raises sqlite3.Error."""
    for end in ends:
        parcel = end.parcel
        if isinstance(end, Undeliverable):
            db.execute(_FAILED, (parcel.attempts, end.error, parcel.n))
        elif db.execute(_DONE, (parcel.n,)).rowcount:  # news that come twice count once
            db.execute(_COUNT, (parcel.run, parcel.size))


def counts(db: sqlite3.Connection, run: str) -> Counts:
    """Of what arrived, only that of `run` counts; what waits is of all runs. Raises sqlite3.Error."""
    done = db.execute("SELECT files, bytes FROM uploaded WHERE run = ?", (run,)).fetchone() or (0, 0)
    waits, failed = db.execute("SELECT COUNT(*), COUNT(error) FROM uploads").fetchone()
    return Counts(done[0], waits - failed, failed, done[1])
