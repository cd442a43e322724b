"""Where a job stands, read from its checkpoint without disturbing a run.

Does: open state.db read-only and word what it says. Must not write, lock or create anything. Invariant: works beside
a running process and after any kill.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import orjson

from crawler.folders import JobFolder
from crawler.job import Job
from crawler.progress import duration, size
from crawler.schema import COUNT_WAITING, reading
from crawler.tally import Tally


def status_of(job: Job, *, as_json: bool) -> str:
    """The state of the running or last run, as lines or one JSON object."""
    folder = JobFolder(Path(job.output.dir), job.name)
    if not folder.state.exists():
        return orjson.dumps({"job": job.name, "state": "never run"}).decode() if as_json else f"{job.name}: never run"
    with reading(folder.state) as db:
        row = db.execute(
            "SELECT id, started, ended, state, exit_code, elapsed, tally FROM runs ORDER BY n DESC LIMIT 1"
        ).fetchone()
        waiting = db.execute(COUNT_WAITING).fetchone()[0]
    if row is None:
        return f"{job.name}: never run"
    return _worded(folder, row, waiting, as_json)


def _worded(
    folder: JobFolder,
    row: tuple[str, float, float | None, str, int | None, float, bytes | None],
    waiting: int,
    as_json: bool,
) -> str:
    run, started, _, state, code, elapsed, counted = row
    tally = Tally.from_json(counted) if counted else Tally()
    known, settled = tally.done + waiting, tally.done
    running = folder.held()
    if state == "running" and not running:
        state = "killed"  # its process is gone, its place is kept
    if as_json:
        data = {
            "job": folder.path.name,
            "run": run,
            "state": state,
            "owner": folder.owner() if running else None,
            "started": started,
            "elapsed": elapsed,
            "known": known,
            "settled": settled,
            "fetched": tally.fetched,
            "failed": tally.failed,
            "skipped": tally.skipped,
            "bytes": tally.bytes,
            "reasons": tally.reasons,
            "exit_code": code,
        }
        return orjson.dumps(data).decode()
    began = datetime.fromtimestamp(started, UTC).isoformat(sep=" ", timespec="seconds").removesuffix("+00:00")
    share = f"{100 * settled // known}%" if known else "0%"
    lines = [
        f"{folder.path.name}: {state}, run {run} begun {began} UTC, {duration(elapsed)} at work",
        f"  {settled:,} of {known:,} inputs settled ({share}): {tally.fetched:,} fetched, {tally.failed:,} failed, "
        f"{tally.skipped:,} skipped; {size(tally.bytes)}",
    ]
    if tally.reasons:
        lines.append("  why: " + ", ".join(f"{slug} {count:,}" for slug, count in tally.reasons.items()))
    if running:
        lines.append(f"  at work: {folder.owner()}")
    elif state in ("killed", "stopped"):
        lines.append("  run it again to go on where it stood")
    lines.append(f"  results: {folder.run(run)}")
    return "\n".join(lines)
