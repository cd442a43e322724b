"""The lock of a job's folder: one process at a time works there.

Does: hold two locks of the kernel, one on the file `lock`, one on the folder itself, so that nobody gets in when the
file is deleted. Must not know what is done in the folder. Invariant: the kernel gives both back when the process ends,
however it ends; a file that nobody holds is no lock; who only looks keeps nobody out.
"""

from __future__ import annotations

import fcntl
import os
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import orjson

from crawler.errors import BusyError, StorageError

# Who looks at a lock holds it for some microseconds.
_LOOKS, _LOOK = 5, 0.01  # times, seconds
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class JobLock:
    """The lock of one folder, which must be there when it is taken."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "lock"
        self._fd: int | None = None
        self._folder_fd: int | None = None
        self._text = b""

    def __repr__(self) -> str:
        return f"<JobLock {self._path} {'held' if self._fd is not None else 'not held'}>"

    def take(self, now: float) -> None:
        """Hold the lock; `now` in wall seconds is told to others. Raises BusyError naming the owner, StorageError."""
        for look in range(_LOOKS):
            if look:
                Event().wait(_LOOK)
            if self._try():
                break
        else:
            raise BusyError(f"{self._folder.name} is running already: {self.owner()}")
        started = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
        self._text = orjson.dumps({"pid": os.getpid(), "host": socket.gethostname(), "started": started})
        try:
            self._tell()
        except OSError as error:
            self.release()
            raise StorageError(f"{self._path}: cannot be written: {error.strerror}") from error

    def _try(self) -> bool:
        """Take both locks, or none. Raises StorageError."""
        try:
            self._fd = os.open(self._path, _FLAGS, 0o644)
        except OSError as error:
            raise StorageError(f"{self._folder}: cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _same(self._fd, self._path):  # else it was deleted meanwhile
                self._take_folder()
                return True
        except BlockingIOError:
            pass
        except OSError as error:
            self.release()
            raise StorageError(f"{self._path}: locks do not work on this file system: {error.strerror}") from error
        self.release()
        return False

    def _take_folder(self) -> None:
        """Raises BlockingIOError where another holds it. NFS has no such locks: there the file is all there is."""
        fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise
        except OSError:
            pass
        self._folder_fd = fd

    def check(self) -> None:
        """See to it that the lock is still the one others see. Raises StorageError where another folder is there now.

        A file that was deleted or replaced is made again: as long as the folder is held nobody else can have begun.
        """
        if self._fd is None or self._folder_fd is None:
            return
        if not _same(self._folder_fd, self._folder):
            raise StorageError(f"{self._folder}: was moved or deleted while the run was at work")
        if _same(self._fd, self._path):
            return
        try:
            fd = os.open(self._path, _FLAGS, 0o644)
        except OSError as error:
            raise StorageError(f"{self._path}: was deleted, and cannot be made again: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)  # who tries to start holds it for a moment
            return
        os.close(self._fd)
        self._fd = fd
        with suppress(OSError):
            self._tell()

    def _tell(self) -> None:
        assert self._fd is not None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, self._text, 0)

    def owner(self) -> str:
        """Who holds (or last held) the lock, for people."""
        try:
            said = orjson.loads(self._path.read_bytes())
            return f"pid {said['pid']} on {said['host']}, since {said['started']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "owner unknown"

    def held(self) -> bool:
        """Is some process at work here right now."""
        return any(_held(path) for path in (self._path, self._folder))

    def release(self) -> None:
        """Give the lock back."""
        for fd in (self._folder_fd, self._fd):
            if fd is not None:
                with suppress(OSError):  # whatever is wrong with the disk: the lock is gone
                    os.close(fd)
        self._fd = self._folder_fd = None


def _held(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(fd)
    return False


def _same(fd: int, path: Path) -> bool:
    """Is what is open what stands under that name."""
    try:
        there, here = os.stat(path), os.fstat(fd)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
