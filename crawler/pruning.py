"""Old runs removed: those beyond `run.keep_runs` that hold the last good answer of no URL.

Does: choose, take the folder out of sight, forget the run, remove it, and the contents that no run has any more. Must
not know what the folders hold. Invariant: under the job's lock; a run is either there whole or on its way out under a
name that nobody reads, and a kill leaves nothing that the next call does not finish. What `history` leads to, waits for
an upload, or is not finished, is kept.
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

from crawler.checkpoint import Checkpoint
from crawler.durable import sync_folder
from crawler.folders import JobFolder

log = logging.getLogger("crawler")

_LEAVING = ".leaving-"


def prune(folder: JobFolder, checkpoint: Checkpoint, keep: int, *, bodies: bool) -> list[str]:
    """Remove runs beyond the last `keep`; returns their ids. `bodies`: runs keep bodies, which later ones may lead to.

    Raises sqlite3.Error. What cannot be removed is told, and tried again by the next call.
    """
    runs = folder.path / "runs"
    left = [entry for entry in runs.iterdir() if entry.name.startswith(_LEAVING)] if runs.is_dir() else []
    removed = []
    for run in _superfluous(checkpoint, keep, bodies=bodies):
        leaving = runs / f"{_LEAVING}{run}"
        try:
            if (runs / run).is_dir() and not (runs / run).is_symlink():
                os.rename(runs / run, leaving)
                sync_folder(runs)
                left.append(leaving)
        except OSError as error:
            log.warning("run %s is older than keep_runs lets it be, but cannot be removed: %s", run, error)
            continue
        checkpoint.forget_run(run)
        removed.append(run)
    for path in left:
        shutil.rmtree(path, ignore_errors=True)
    if left:
        _sweep(folder.store)
    return removed


def _superfluous(checkpoint: Checkpoint, keep: int, *, bodies: bool) -> list[str]:
    runs = sorted(checkpoint.run_states())
    needed = checkpoint.holders() if bodies and len(runs) > keep else set()
    waiting = {parcel.run for parcel in checkpoint.to_ship(0, 1_000_000)} if len(runs) > keep else set()
    return [
        run
        for n, run, state in runs[:-keep]
        if state in ("finished", "abandoned") and n not in needed and run not in waiting
    ]


def _sweep(store: Path) -> None:
    """Remove contents that have no other name: no run has them any more."""
    for folder, _, names in os.walk(store):
        for name in names:
            path = os.path.join(folder, name)
            try:
                if os.lstat(path).st_nlink == 1:
                    os.unlink(path)
            except OSError as error:
                log.warning("%s is of no more use, but cannot be removed: %s", path, error)
