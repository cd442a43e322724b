"""A run's report.html: everything that is known of it, gathered, drawn and written.

Does: read state.db, summary.json, progress.jsonl and the records of a run, and put the page where it belongs. Must not
disturb a run, nor know how the page looks. Invariant: the page is complete or absent; what a run of an earlier version
does not tell is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from time import time as wall_clock
from typing import Any

import orjson

from crawler.curve import Stretch, of_progress
from crawler.durable import replace
from crawler.errors import StorageError
from crawler.folders import JobFolder
from crawler.gathering import gather
from crawler.jobshown import job_shown
from crawler.logs import masked
from crawler.reportdata import Facts, Report, put_together
from crawler.reportpage import page
from crawler.runlist import named, runs_of
from crawler.runrecords import records_of
from crawler.runrows import RunRow, state_seen
from crawler.schema import COUNT_WAITING, reading
from crawler.stamps import stamp_to_second
from crawler.tally import Tally

NAME = "report.html"


def write_report(job_folder: Path, run: str, output: Path | None = None) -> Path:
    """Write the report of a run, into its folder unless told otherwise, and return its path.

    Raises JobError where there is no such run, StorageError.
    """
    folder = JobFolder(job_folder.parent, job_folder.name)
    path = output or folder.run(run) / NAME
    text = page(report_of(folder, run)).encode("utf-8", "backslashreplace")
    try:
        replace(path, text)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from error
    return path


def report_of(folder: JobFolder, run: str) -> Report:
    """All that the report of a run shows. Raises JobError where there is no such run, StorageError."""
    runs = runs_of(folder)
    n = runs.index(named(run, runs))
    records = records_of(folder, run)
    gathered = gather(records.objects)
    facts = _facts(folder, runs[n], runs[n - 1].id if n else None)._replace(note=records.note)
    if n == len(runs) - 1 and facts.inputs is None and facts.state in ("running", "killed"):
        facts = facts._replace(inputs=gathered.done + _waiting(folder), importing=True)  # lists may not be read yet
    return put_together(facts, gathered, _progress(folder.run(run)))


def _facts(folder: JobFolder, run: RunRow, previous: str | None) -> Facts:
    summary = _summary(folder.run(run.id))
    tally = Tally.from_json(run.tally) if run.tally else None
    told = (
        summary if run.state in ("finished", "stopped") else {}
    )  # of a run that was taken up again it tells of an earlier stop
    seconds = told.get("seconds")
    return Facts(
        job=folder.path.name,
        run=run.id,
        state=state_seen(run.state, folder.held()),
        made=stamp_to_second(wall_clock()),
        started=stamp_to_second(run.started),
        ended=stamp_to_second(run.ended) if run.ended is not None else None,
        seconds=seconds if isinstance(seconds, int | float) else run.elapsed or None,
        exit_code=run.exit_code,
        inputs=_count(told.get("inputs")),
        importing=told.get("importing") is True,
        retries=tally.retries if tally is not None else _count(told.get("retries")),
        uploads=_counts(told.get("uploads")),
        warnings=[text for text in _list(told.get("warnings")) if isinstance(text, str)],
        links=_counts(told.get("links")),
        traps=_traps(told.get("traps")),
        blocked=_blocked(tally, told),
        previous=previous,
        forgotten=tally.forgotten if tally is not None else 0,
        settings=masked(job_shown(run.job)),
    )


def _waiting(folder: JobFolder) -> int:
    """Inputs of the last run that state.db knows and that have not come to their end."""
    with reading(folder.state) as db:
        return int(db.execute(COUNT_WAITING).fetchone()[0])


def _summary(place: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        told = orjson.loads((place / "summary.json").read_bytes())
        if isinstance(told, dict):
            return told
    return {}


def _progress(place: Path) -> list[Stretch]:
    try:
        with open(place / "progress.jsonl", "rb") as file:
            return of_progress(file)
    except OSError:
        return []


def _blocked(tally: Tally | None, summary: Mapping[str, Any]) -> dict[str, float] | None:
    """Seconds by host, where they were counted."""
    if tally is not None:
        return {host: counts[-1] / 1000 for host, counts in tally.hosts.items()}
    hosts = summary.get("hosts")
    rows = hosts.items() if isinstance(hosts, dict) else ()
    return {host: row["blocked_s"] for host, row in rows if isinstance(row, dict) and "blocked_s" in row} or None


def _traps(said: object) -> list[tuple[str, int]]:
    rows = (row for row in _list(said) if isinstance(row, dict))
    return [(str(row.get("pattern")), _count(row.get("urls")) or 0) for row in rows]


def _counts(said: object) -> dict[str, int] | None:
    """Counts by name; None where nothing was said."""
    if not isinstance(said, dict) or not said:
        return None
    return {str(key): value for key, value in said.items() if isinstance(value, int)}


def _count(said: object) -> int | None:
    return said if isinstance(said, int) and not isinstance(said, bool) else None


def _list(said: object) -> list[Any]:
    return said if isinstance(said, list) else []
