"""The folder of a job: its lock, its state, its runs.

Does: name and make the places of DESIGN's disk layout. Must not know what is written there.
Invariant: one process at a time holds a job's lock; the kernel gives it back when the process ends, however it ends.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from crawler.durable import make_folder, sync_folder
from crawler.errors import StorageError
from crawler.joblock import JobLock

_STAMP = "%Y%m%dT%H%M%SZ"


class JobFolder:
    """`<output.dir>/<job name>`; nothing is created before `lock`."""

    def __init__(self, output: Path, job: str) -> None:
        self.path = output / job
        self.state = self.path / "state.db"
        self.parts = self.path / "parts"  # bodies on their way in
        self.store = self.path / "store"  # each content once
        self._lock = JobLock(self.path)

    def run(self, run: str) -> Path:
        """The folder of one run."""
        return self.path / "runs" / run

    def check_writable(self) -> None:
        """Raise StorageError where the folder cannot be made or written, naming the nearest existing one."""
        nearest = self.path.absolute()
        while not nearest.exists() and nearest != nearest.parent:
            nearest = nearest.parent
        if not nearest.is_dir():
            raise StorageError(f"{nearest}: is not a folder, so {self.path} cannot be made there")
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise StorageError(f"{nearest}: no right to write there")

    def lock(self, now: float) -> None:
        """Make the folder and hold its lock. Raises BusyError naming the owner, StorageError."""
        self.check_writable()
        try:
            make_folder(self.path)
        except OSError as error:
            raise StorageError(f"{self.path}: cannot be written: {error.strerror}") from error
        self._lock.take(now)

    def check_lock(self) -> None:
        """See to it that the lock still holds. Raises StorageError where the folder was moved away or deleted."""
        self._lock.check()

    def owner(self) -> str:
        """Who holds (or last held) the lock, for people."""
        return self._lock.owner()

    def held(self) -> bool:
        """Is some process at work here right now."""
        return self._lock.held()

    def unlock(self) -> None:
        """Give the lock back."""
        self._lock.release()

    def make_run(self, run: str) -> Path:
        """Make the folder of a run and point `latest` at it, durably. Raises StorageError."""
        folder = self.run(run)
        try:
            make_folder(folder)
            link = self.path / ".latest"
            link.unlink(missing_ok=True)
            link.symlink_to(Path("runs") / run)
            link.replace(self.path / "latest")
            sync_folder(folder.parent)
            sync_folder(self.path)
        except OSError as error:
            raise StorageError(f"{folder}: cannot be made: {error.strerror}") from error
        return folder


def new_run_id(now: float, after: str | None = None) -> str:
    """A run's id: sorts by time, unique also when two begin in one second; behind `after`, the id of the run before,
    also when the clock was set back.
    """
    if after is not None:
        with suppress(ValueError):  # of another form: nothing to sort behind
            before = datetime.strptime(after.partition("-")[0], _STAMP).replace(tzinfo=UTC)
            now = max(now, before.timestamp() + 1)
    return f"{datetime.fromtimestamp(now, UTC):{_STAMP}}-{secrets.token_hex(3)}"
