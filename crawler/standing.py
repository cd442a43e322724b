"""How a job stands, read from its checkpoint, and the file that Prometheus reads of it.

Does: read the last run and the last success, write the textfile whole. Must not know the format of the file.
Invariant: a reader sees the old file or the new one, never half of one; no trouble with it ends a run.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from crawler.errors import StorageError
from crawler.folders import JobFolder
from crawler.metrics import Standing, textfile
from crawler.runlist import last_of


def standing_of(folder: JobFolder) -> Standing:
    """The standing by what is committed, beside a run or without one. Raises StorageError."""
    never = Standing(folder.path.name, "", "never", 0.0, None, None, 0, 0, 0, 0, 0, 0, 0, 0.0, {}, None)
    last = last_of(folder)
    if last is None:
        return never
    row, tally = last.row, last.tally
    return never._replace(
        run=row.id,
        state="stopped" if last.state == "abandoned" else last.state,
        started=row.started,
        ended=row.ended,
        exit_code=row.exit_code if row.ended is not None else None,
        fetched=tally.fetched,
        failed=tally.failed,
        skipped=tally.skipped,
        bytes=tally.bytes,
        retries=tally.retries,
        waiting=last.waiting,
        rate=tally.done / row.elapsed if row.elapsed > 0 else 0.0,
        reasons=tally.reasons,
        last_success=last.success,
    )


def write_textfile(said: str, standing: Standing) -> str | None:
    """Write what Prometheus reads; `said` is a file, or a folder where it ends in "/". Returns what went wrong."""
    path = Path(said) / f"crawler_{standing.job}.prom" if said.endswith("/") else Path(said)
    # Not *.prom, which the collector would read; not one name for all, since two jobs may write there.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        with open(fd, "wb") as file:
            os.fchmod(fd, 0o644)  # the collector is another user, whatever our umask
            file.write(textfile([standing]).encode())
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        return f"{path}: cannot be written: {error.strerror}"
    return None


def refresh_textfile(said: str, folder: JobFolder, exit_code: int | None, now: float) -> str | None:
    """Write it by the checkpoint; `exit_code` is that of a start that has ended, at wall second `now`. Returns what
    went wrong, or None.
    """
    try:
        standing = standing_of(folder)
    except (StorageError, sqlite3.Error, ValueError):  # as damaged as it may be, the exit code counts
        standing = Standing(folder.path.name, "", "stopped", 0.0, None, None, 0, 0, 0, 0, 0, 0, 0, 0.0, {}, None)
    if exit_code is not None:
        state = "stopped" if standing.state in ("running", "killed") else standing.state
        standing = standing._replace(exit_code=exit_code, ended=now, state=state)
    return write_textfile(said, standing)
