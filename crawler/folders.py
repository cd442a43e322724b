"""The folder of a job: its lock, its state, its runs.

Does: name and make the places of DESIGN's disk layout, hold the lock. Must not know what is written there.
Invariant: one process at a time holds a job's lock; the kernel gives it back when the process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
from datetime import UTC, datetime
from pathlib import Path

import orjson

from crawler.durable import make_folder, sync_folder
from crawler.errors import BusyError, StorageError


class JobFolder:
    """`<output.dir>/<job name>`; nothing is created before `lock`."""

    def __init__(self, output: Path, job: str) -> None:
        self.path = output / job
        self.state = self.path / "state.db"
        self._lock_path = self.path / "lock"
        self._lock: int | None = None

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
            fd = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise StorageError(f"{self.path}: cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = self.owner()
            os.close(fd)
            raise BusyError(f"{self.path.name} is running already: {owner}") from None
        except OSError as error:
            os.close(fd)
            raise StorageError(f"{self._lock_path}: locks do not work on this file system: {error.strerror}") from error
        self._lock = fd
        started = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, orjson.dumps({"pid": os.getpid(), "host": socket.gethostname(), "started": started}), 0)
        except OSError as error:
            self.unlock()
            raise StorageError(f"{self._lock_path}: cannot be written: {error.strerror}") from error

    def owner(self) -> str:
        """Who holds (or last held) the lock, for people."""
        try:
            said = orjson.loads(self._lock_path.read_bytes())
            return f"pid {said['pid']} on {said['host']}, since {said['started']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "owner unknown"

    def held(self) -> bool:
        """Is some process at work here right now."""
        try:
            fd = os.open(self._lock_path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def unlock(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

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


def new_run_id(now: float) -> str:
    """A run's id: sorts by time, unique also when two begin in one second or the clock is set back."""
    return f"{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
