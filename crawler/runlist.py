"""The runs of a job, how the last of them stands, and how one is named: by its id, the beginning of one, `latest`,
`previous`.

Does: read them from state.db, beside a run or without one. Must not write, nor know what the runs hold. Invariant: a
name that fits no run, or several, is an error that names those that are nearest.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import NamedTuple

from crawler.errors import JobError
from crawler.folders import JobFolder
from crawler.runrows import RunRow, all_runs, last_run, last_success, state_seen
from crawler.schema import COUNT_WAITING, reading
from crawler.tally import Tally

_NAMED = 5  # in an error


class Last(NamedTuple):
    """How the last run of a job stands. `state` is one of RunRow's or killed, `at_work`: some process is, `waiting` of
    its requests have not come to their end, `success` is the wall second at which a run last ended with 0.
    """

    row: RunRow
    state: str
    at_work: bool
    tally: Tally
    waiting: int
    success: float | None


def last_of(folder: JobFolder) -> Last | None:
    """The last run of a job; None where it never ran. Raises StorageError."""
    if not folder.state.exists():
        return None
    with reading(folder.state) as db:
        row = last_run(db)
        success = last_success(db)
        waiting = db.execute(COUNT_WAITING).fetchone()[0]
    if row is None:
        return None
    at_work = folder.held()
    tally = Tally.from_json(row.tally) if row.tally else Tally()
    return Last(row, state_seen(row.state, at_work), at_work, tally, waiting, success)


def runs_of(folder: JobFolder) -> list[RunRow]:
    """All runs that state.db knows, the oldest first. Raises JobError where there is none, StorageError."""
    runs: list[RunRow] = []
    if folder.state.exists():
        with reading(folder.state) as db:
            runs = all_runs(db)
    if not runs:
        raise JobError(f"{folder.path.name}: never run, so there is nothing to show")
    return runs


def named(asked: str, runs: Sequence[RunRow]) -> RunRow:
    """The run that is meant. Raises JobError where none or several are."""
    if asked == "latest":
        return runs[-1]
    if asked == "previous":
        if len(runs) < 2:
            raise JobError(f"there is no previous run: {runs[-1].id} is the only one")
        return runs[-2]
    found = [run for run in runs if run.id == asked] or [run for run in runs if asked and run.id.startswith(asked)]
    if len(found) == 1:
        return found[0]
    ids = [run.id for run in reversed(found or runs)]
    if found:
        raise JobError(f"'{asked[:100]}' is the beginning of {len(found)} runs: {_listed(ids)}")
    near = get_close_matches(asked[:100], [*ids, "latest", "previous"], _NAMED, 0.6)
    said = f"did you mean {' or '.join(near)}?" if near else f"the last are {_listed(ids)}"
    raise JobError(f"there is no run '{asked[:100]}'; {said}")


def _listed(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_NAMED]) + (" and more" if len(ids) > _NAMED else "")
