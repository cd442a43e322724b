"""Where a job stands, read from its checkpoint without disturbing a run.

Does: open state.db read-only and word what it says; ask a run at work what it waits for. Must not write, lock or create
anything. Invariant: works beside a running process and after any kill, also where a run does not answer.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import orjson

from crawler.control import ask
from crawler.errors import CrawlerError
from crawler.folders import JobFolder
from crawler.job import Job
from crawler.progress import duration, size
from crawler.runlist import Last, last_of
from crawler.urls import printable

_PATIENCE = 2.0  # seconds for a run at work to say how it stands


def status_of(job: Job, *, as_json: bool) -> str:
    """The state of the running or last run, as lines or one JSON object."""
    folder = JobFolder(Path(job.output.dir), job.name)
    last = last_of(folder)
    if last is None:
        return orjson.dumps({"job": job.name, "state": "never run"}).decode() if as_json else f"{job.name}: never run"
    return _worded(folder, last, as_json)


class _Live(NamedTuple):
    """What a run at work says of itself, where it answers."""

    paused: bool = False
    waits: str | None = None


def _live(folder: JobFolder) -> _Live:
    try:
        answer = ask(folder.path, {"do": "state"}, _PATIENCE)
        return _Live(answer["snapshot"]["paused"] is True, printable(str(answer["waits"]), 500))
    except (CrawlerError, KeyError, TypeError):
        return _Live()


def _worded(folder: JobFolder, last: Last, as_json: bool) -> str:
    row, state, running, tally = last.row, last.state, last.at_work, last.tally
    known, settled = tally.done + last.waiting, tally.done
    # One that runs in this very process could not answer while it waits for us.
    live = _live(folder) if running and not folder.owner().startswith(f"pid {os.getpid()} ") else _Live()
    if live.paused:
        state = "paused"
    if as_json:
        data = {
            "job": folder.path.name,
            "run": row.id,
            "state": state,
            "owner": folder.owner() if running else None,
            "started": row.started,
            "elapsed": row.elapsed,
            "known": known,
            "settled": settled,
            "fetched": tally.fetched,
            "failed": tally.failed,
            "skipped": tally.skipped,
            "bytes": tally.bytes,
            "reasons": tally.reasons,
            "exit_code": row.exit_code,
            "waits": live.waits,
        }
        return orjson.dumps(data).decode()
    began = datetime.fromtimestamp(row.started, UTC).isoformat(sep=" ", timespec="seconds").removesuffix("+00:00")
    share = f"{100 * settled // known}%" if known else "0%"
    lines = [
        f"{folder.path.name}: {state}, run {row.id} begun {began} UTC, {duration(row.elapsed)} at work",
        f"  {settled:,} of {known:,} inputs settled ({share}): {tally.fetched:,} fetched, {tally.failed:,} failed, "
        f"{tally.skipped:,} skipped; {size(tally.bytes)}",
    ]
    if tally.reasons:
        lines.append("  why: " + ", ".join(f"{slug} {count:,}" for slug, count in tally.reasons.items()))
    if running:
        lines.append(f"  at work: {folder.owner()}")
        if live.waits:
            lines.append(f"  {live.waits}")
        if live.paused:
            lines.append(f"  go on: crawler resume {printable(str(folder.path))}")
    elif state in ("killed", "stopped"):
        lines.append("  run it again to go on where it stood")
    lines.append(f"  results: {folder.run(row.id)}")
    return "\n".join(lines)
