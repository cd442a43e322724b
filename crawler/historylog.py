"""What is known of URLs over all runs, in state.db: a log that each group appends to, folded in when a run is over.

Does: append sightings, fold them into `history`, forget what a finished run did not see, say which runs hold bodies.
Must not decide what a sighting means. Invariant: `history` does not change while requests are under way, so that who
reads it needs no lock; a fold that is cut short is taken up again, and a sighting folded twice is the same as once.

Sightings come in the order in which requests end, which is not that of fingerprints: put into a tree by fingerprint
each would dirty a page of its own. The log costs a blob a group. Rows of `history` keep the order in which they came
first, which is that of the list, so that those of neighbours are read and written together; only the index is random.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import orjson

from crawler.known import Known

TABLES = """
CREATE TABLE history (
    n INTEGER PRIMARY KEY, print INTEGER NOT NULL, seen INTEGER NOT NULL, holder INTEGER NOT NULL, known TEXT NOT NULL
);
CREATE UNIQUE INDEX history_print ON history (print);
CREATE TABLE sightings (n INTEGER PRIMARY KEY, run INTEGER NOT NULL, rows BLOB NOT NULL);
"""
_AT_ONCE = 100  # groups that are folded in one transaction
_FOLD = (
    "INSERT INTO history (print, seen, holder, known) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (print) DO UPDATE SET seen = excluded.seen, holder = excluded.holder, known = excluded.known"
)
_HOLDER = Known._fields.index("holder")
_SEEN = "UPDATE history SET seen = ? WHERE print IN (SELECT value FROM json_each(?))"
_GONE = "DELETE FROM history WHERE print IN (SELECT value FROM json_each(?))"
_FORGOTTEN = "forgotten"  # in meta: how many URLs the run that ends did not see any more


def append(db: sqlite3.Connection, run: int, rows: bytes) -> None:
    """Sightings of one group, a JSON array of what `history.row_of` gives; part of the caller's transaction."""
    if rows:
        db.execute("INSERT INTO sightings (run, rows) VALUES (?, ?)", (run, rows))


def fold(db: sqlite3.Connection) -> Iterator[int]:
    """Bring the log into `history`, a transaction a step; gives the number of rows of each. None may be open."""
    while True:
        groups = db.execute("SELECT n, run, rows FROM sightings ORDER BY n LIMIT ?", (_AT_ONCE,)).fetchall()
        if not groups:
            return
        db.execute("BEGIN IMMEDIATE")
        folded = 0
        for _, run, text in groups:
            rows = orjson.loads(text)
            _fold(db, run, rows)
            folded += len(rows)
        db.execute("DELETE FROM sightings WHERE n <= ?", (groups[-1][0],))
        db.execute("COMMIT")
        yield folded


def _fold(db: sqlite3.Connection, run: int, rows: list[list[Any]]) -> None:
    # As parameters, not as one JSON text: SQLite would look for each value of a row from its start, 34 us instead of 7.
    known = ((row[0], run, row[1][_HOLDER], orjson.dumps(row[1]).decode()) for row in rows if row[1:] and row[1])
    db.executemany(_FOLD, known)
    seen = [row[0] for row in rows if len(row) == 1]
    if seen:
        db.execute(_SEEN, (run, orjson.dumps(seen).decode()))
    gone = [row[0] for row in rows if len(row) == 2 and row[1] is None]
    if gone:
        db.execute(_GONE, (orjson.dumps(gone).decode(),))


def forget_unseen(db: sqlite3.Connection, run: int) -> int:
    """Forget the URLs that a run, which is over, did not see; returns how many those are, also when asked once more."""
    db.execute("BEGIN IMMEDIATE")
    count = db.execute("DELETE FROM history WHERE seen != ?", (run,)).rowcount
    row = db.execute("SELECT value FROM meta WHERE key = ?", (_FORGOTTEN,)).fetchone()
    total = count + (int(row[0]) if row else 0)
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_FORGOTTEN, total))
    db.execute("COMMIT")
    return total


def known_of(db: sqlite3.Connection, print_: int) -> Known | None:
    """What is known of a fingerprint."""
    row = db.execute("SELECT known FROM history WHERE print = ?", (print_,)).fetchone()
    return Known(*orjson.loads(row[0])) if row is not None else None


def is_empty(db: sqlite3.Connection) -> bool:
    """Is nothing known of any URL."""
    return db.execute("SELECT 1 FROM history LIMIT 1").fetchone() is None


def prints(db: sqlite3.Connection, at_once: int = 10_000) -> Iterator[list[int]]:
    """The fingerprints of all URLs that are known, some thousands at a time."""
    first = -(2**63)
    while first < 2**63:
        rows = db.execute("SELECT print FROM history WHERE print >= ? ORDER BY print LIMIT ?", (first, at_once))
        found = [print_ for (print_,) in rows]
        if not found:
            return
        yield found
        first = found[-1] + 1


def holders(db: sqlite3.Connection) -> set[int]:
    """The numbers of the runs whose folders hold what was last fetched of some URL."""
    return {n for (n,) in db.execute("SELECT DISTINCT holder FROM history")}
