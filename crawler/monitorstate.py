"""The runs of a job, read from its checkpoint beside whatever process is at work there.

Does: read state.db when it changed since it was read, tell a killed run from a running one. Must not write, nor keep
a transaction open, nor hold the lock of a job that may be about to start. Invariant: one state.db is read at most once
for each change; counts of a run that is over are read once.
"""

from __future__ import annotations

import os
import socket
import sqlite3
from contextlib import closing, suppress
from typing import NamedTuple

import orjson

from crawler.folders import JobFolder
from crawler.monitorfiles import NONE, Sign, Tree
from crawler.monitorviews import RunSeen
from crawler.runrows import last_success
from crawler.schema import COUNT_WAITING, reading_uri
from crawler.tally import Tally

RUNS = 200  # listed at most
_WAIT = 2.0  # seconds for whoever locks the database
_OVER = ("finished", "abandoned")
_NOTHING = Tally()
_COLUMNS = ", ".join(RunSeen._fields[:-1])  # the tally is read where it is not known yet


class Known(NamedTuple):
    """The runs of a job, the last one first, and how many requests wait in the last; `error` where neither is known."""

    runs: tuple[RunSeen, ...] = ()
    waiting: int = 0
    last_success: float | None = None
    error: str | None = None

    def run(self, id: str | None) -> RunSeen | None:
        """A run, the last one if None; None where there is no such."""
        if id is None:
            return self.runs[0] if self.runs else None
        return next((row for row in self.runs if row.id == id), None)


class JobState:
    """What one job's state.db says."""

    def __init__(self, tree: Tree, job: str) -> None:
        self._tree = tree
        self._job = job
        self._folder = JobFolder(tree.root, job)
        self._signs: tuple[Sign, Sign] | None = None
        self._known = Known()
        self._over: dict[str, RunSeen] = {}

    def __repr__(self) -> str:
        return f"<JobState {self._job} {len(self._known.runs)} runs>"

    def read(self) -> Known:
        """What is known now; blocks for some milliseconds where state.db changed."""
        signs = (self._tree.sign(self._job, "state.db"), self._tree.sign(self._job, "state.db-wal"))
        if signs != self._signs:
            try:
                self._known = self._read() if signs[0] != NONE else Known()
            except (sqlite3.Error, ValueError, TypeError) as error:
                self._known = Known(error=f"state.db cannot be read: {error}")
            self._signs = signs
        runs = self._known.runs
        if runs and runs[0].state == "running" and not self._alive():
            return self._known._replace(runs=(runs[0]._replace(state="killed"), *runs[1:]))
        return self._known

    def _read(self) -> Known:
        # A change meanwhile is seen by the next sign.
        uri = reading_uri(self._folder.state, wal=self._tree.sign(self._job, "state.db-wal") != NONE)
        with closing(sqlite3.connect(uri, uri=True, timeout=_WAIT)) as db:
            db.execute("BEGIN")  # all of one moment
            rows = db.execute(f"SELECT {_COLUMNS} FROM runs ORDER BY n DESC LIMIT ?", (RUNS,)).fetchall()
            runs = []
            for row in rows:
                kept = self._over.get(row[0])
                if kept is None:
                    kept = RunSeen._make((*row, _tally(db, row[0])))
                    if kept.state in _OVER:
                        self._over[kept.id] = kept
                runs.append(kept)
            waiting = db.execute(COUNT_WAITING).fetchone()[0]
            success = last_success(db)
        self._over = {row.id: row for row in runs if row.id in self._over}
        return Known(tuple(runs), max(0, waiting), success)

    def _alive(self) -> bool:
        """Is the process of a run that says it is running still there. Its lock is tried only where that is not told by
        its process id, for a start at this very moment would find it held.
        """
        with suppress(OSError, ValueError, KeyError, TypeError):
            with self._tree.open(self._job, "lock") as fd:
                owner = orjson.loads(os.read(fd, 4096))
            if owner["host"] == socket.gethostname() and not os.path.exists(f"/proc/{int(owner['pid'])}"):
                return False
        return self._folder.held()


def _tally(db: sqlite3.Connection, run: str) -> Tally:
    row = db.execute("SELECT tally FROM runs WHERE id = ?", (run,)).fetchone()
    return Tally.from_json(row[0]) if row and row[0] else _NOTHING
