"""Two runs of a job compared, as they stand on disk.

Does: choose the runs, read their records, give the lines. Must not know how they are printed. Invariant: nothing is
written; where the run before is gone, what the newer one says itself is told, and that this is so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from crawler.comparison import Comparison, Line, Verdict, told_by_records
from crawler.errors import JobError
from crawler.folders import JobFolder
from crawler.runlist import named, runs_of
from crawler.runrecords import records_of
from crawler.runrows import RunRow


class Difference(NamedTuple):
    """What differs between two runs: sorted lines, counts of all, sentences about how far that can be told.

    `older` is None where the newer run's own word was taken.
    """

    older: str | None
    newer: str
    lines: Sequence[Line]
    counts: dict[Verdict, int]
    notes: tuple[str, ...]


def difference(folder: JobFolder, asked: Sequence[str], *, unchanged: bool = False) -> Difference:
    """Compare the runs that are named: two, the older first; one with the finished one before it; none: the last
    finished one. `unchanged`: list what is unchanged, too.

    Raises JobError where a run is not there or cannot be compared, StorageError.
    """
    runs = runs_of(folder)
    older, newer = _chosen(folder, asked, runs)
    if older is None:
        lines, counts = told_by_records(_records(folder, newer), unchanged)
        if not any(counts.values()):
            raise JobError(f"{folder.path.name}: there is no run before {newer.id} to compare it with")
        note = f"the run before {newer.id} is not there any more: this is what {newer.id} itself says of it"
        return Difference(None, newer.id, lines, counts, (note,))
    compared = Comparison(older.state == "finished", newer.state == "finished", unchanged)
    compared.before(_records(folder, older))
    compared.after(_records(folder, newer))
    compared.unmet(_records(folder, older))
    notes = tuple(
        f"run {run.id} is not finished: what it does not have yet is unknown"
        for run in (older, newer)
        if run.state != "finished"
    )
    return Difference(older.id, newer.id, list(compared.lines()), compared.counts, notes)


def _chosen(folder: JobFolder, asked: Sequence[str], runs: Sequence[RunRow]) -> tuple[RunRow | None, RunRow]:
    if len(asked) > 2:
        raise JobError("name at most two runs, the older first")
    if len(asked) == 2:
        older, newer = named(asked[0], runs), named(asked[1], runs)
        if older.id == newer.id:
            raise JobError(f"'{asked[0]}' and '{asked[1]}' are the same run, {older.id}")
        return (older if _is_there(folder, older) or _before(folder, newer, runs) else None), newer
    if asked:
        newer = named(asked[0], runs)
    else:
        finished = [run for run in runs if run.state == "finished"]
        if not finished:
            raise JobError(f"{folder.path.name}: no run is finished yet; name two to compare them all the same")
        newer = finished[-1]
    return _before(folder, newer, runs), newer


def _before(folder: JobFolder, newer: RunRow, runs: Sequence[RunRow]) -> RunRow | None:
    """The finished run before this one, if its folder is there."""
    earlier = [run for run in runs[: runs.index(newer)] if run.state == "finished"]
    return earlier[-1] if earlier and _is_there(folder, earlier[-1]) else None


def _is_there(folder: JobFolder, run: RunRow) -> bool:
    return folder.run(run.id).is_dir()


def _records(folder: JobFolder, run: RunRow) -> Iterator[dict[str, Any]]:
    return records_of(folder, run.id).objects
