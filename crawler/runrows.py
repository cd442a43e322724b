"""The rows of runs in state.db: their columns, and which of them is the last, or was the last to succeed.

Does: read them by a connection that is given. Must not write, open a database, or know what the runs hold. Invariant:
runs are ordered by their number, never by a time: the clock may have been set back between two.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple


class RunRow(NamedTuple):
    """One run as the checkpoint knows it; times are wall-clock seconds, `elapsed` counts seconds at work.

    `state` is running | finished | stopped | abandoned; `tally` the text of Tally.to_json, `job` the job as JSON.
    """

    id: str
    started: float
    ended: float | None
    state: str
    exit_code: int | None
    elapsed: float
    tally: bytes | None
    job: str


_ROWS = f"SELECT {', '.join(RunRow._fields)} FROM runs"


def all_runs(db: sqlite3.Connection) -> list[RunRow]:
    """Every run, the oldest first."""
    return [RunRow(*row) for row in db.execute(f"{_ROWS} ORDER BY n")]


def last_run(db: sqlite3.Connection) -> RunRow | None:
    """The run begun last, finished or not."""
    return _first(db.execute(f"{_ROWS} ORDER BY n DESC LIMIT 1"))


def finished_before(db: sqlite3.Connection, run: str) -> RunRow | None:
    """The last finished run before this one."""
    before = "n < (SELECT n FROM runs WHERE id = ?) AND state = 'finished'"
    return _first(db.execute(f"{_ROWS} WHERE {before} ORDER BY n DESC LIMIT 1", (run,)))


def last_success(db: sqlite3.Connection) -> float | None:
    """The wall second at which the last run that ended with 0 did so."""
    row = db.execute(
        "SELECT ended FROM runs WHERE exit_code = 0 AND state = 'finished' ORDER BY n DESC LIMIT 1"
    ).fetchone()
    return row[0] if row else None


def state_seen(state: str, at_work: bool) -> str:
    """How a run stands by what is written of it and whether a process is at work on it: a killed one wrote nothing."""
    return "killed" if state == "running" and not at_work else state


def _first(rows: sqlite3.Cursor) -> RunRow | None:
    row = rows.fetchone()
    return RunRow(*row) if row else None
