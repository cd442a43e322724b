"""The file in which concurrent jobs share OAuth 2 tokens, and its lock.

Does: the file-system steps of reading, replacing and locking it. Must not know what stands in it beyond whether it is
a cache at all. Invariant: the file is at every instant the old one or the new one; it and all that is made beside it
have mode 0600 from their first instant; what others can read, or lead us to by a link, is never taken for a cache.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
from pathlib import Path
from stat import S_IMODE, S_ISREG
from threading import Thread

from crawler.durable import sync_folder
from crawler.tokentext import is_cache

log = logging.getLogger("crawler")

_MAX_SIZE = 8 * 2**20  # bytes

Seen = tuple[int, int, int] | None  # tells one state of a file from another; None: no file


class FileLock:
    """A lock that one process, and one opener in it, holds at a time; the kernel frees it when the process ends."""

    def __init__(self, path: Path) -> None:
        """Waits until it is free. Raises OSError."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
        except BaseException:
            os.close(self._fd)
            raise

    def release(self) -> None:
        """Give it back, once; said to the kernel, since a forked child may have the file open too."""
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        os.close(self._fd)


class CacheFile:
    """`path`, with `NAME.lock` and for an instant `NAME.tmp` beside it. Each kind of trouble is logged once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._warned: set[str] = set()
        self._waiting = False  # does a thread wait for the lock
        self._granted: asyncio.Future[FileLock | None] | None = None  # who wants it

    def __repr__(self) -> str:
        return f"<CacheFile {self.path}{' waiting' if self._waiting else ''}>"

    def look(self) -> Seen:
        """Its state; quick."""
        try:
            status = os.lstat(self.path)
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    def read(self) -> tuple[Seen, bytes]:
        """Its state before, and its text; b"" where there is none to be trusted."""
        seen = self.look()
        if seen is None:
            return None, b""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(fd, "rb") as file:
                if why := _distrusted(os.fstat(fd)):
                    return seen, self._ignored(why)
                text = file.read(_MAX_SIZE + 1)
        except OSError as error:
            return seen, self._ignored(
                "is a link" if error.errno == errno.ELOOP else f"cannot be read: {error.strerror}"
            )
        if len(text) > _MAX_SIZE or not is_cache(text):
            return seen, self._ignored("is damaged, or no token cache")
        return seen, text

    def write(self, lock: FileLock, text: bytes) -> None:
        """Put `text` in its place, durably, and give the lock back; that it cannot be written is logged."""
        temporary = self.path.with_name(self.path.name + ".tmp")
        try:
            temporary.unlink(missing_ok=True)
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with open(fd, "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(fd)
            os.replace(temporary, self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            self._warn(f"{self.path}: the token cache cannot be written: {error.strerror}")
        finally:
            lock.release()

    async def lock(self, wait: float) -> FileLock | None:
        """The lock; None, logged, where there can be none. Raises TimeoutError when it was held for `wait` seconds.

        A thread of its own is blocked in the kernel: one in a pool would keep the process from ending.
        """
        loop = asyncio.get_running_loop()
        granted = self._granted = loop.create_future()
        if not self._waiting:
            self._waiting = True
            Thread(target=self._take, args=(loop,), name=f"lock of {self.path}", daemon=True).start()
        try:
            async with asyncio.timeout(wait):
                return await asyncio.shield(granted)
        except BaseException:
            # Granted in the very moment in which we were told to stop.
            if not granted.cancel() and (lock := granted.result()) is not None:
                lock.release()
            raise

    def _take(self, loop: asyncio.AbstractEventLoop) -> None:
        lock = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path.with_name(self.path.name + ".lock"))
        except OSError as error:
            self._warn(f"{self.path}: the token cache cannot be locked, so it is not written: {error.strerror}")
        try:
            loop.call_soon_threadsafe(self._grant, lock)
        except RuntimeError:  # the loop is closed
            self._waiting = False
            if lock is not None:
                lock.release()

    def _grant(self, lock: FileLock | None) -> None:
        self._waiting = False
        if self._granted is not None and not self._granted.done():
            self._granted.set_result(lock)
        elif lock is not None:
            lock.release()  # they gave up

    def _ignored(self, why: str) -> bytes:
        self._warn(f"{self.path}: {why}; it is ignored, and replaced by the next token")
        return b""

    def _warn(self, sentence: str) -> None:
        if sentence not in self._warned:
            self._warned.add(sentence)
            log.warning("%s", sentence)


def _distrusted(status: os.stat_result) -> str:
    """Why a file cannot be our cache; "" where it can."""
    if not S_ISREG(status.st_mode):
        return "is no regular file"
    if status.st_uid != os.geteuid():
        return "belongs to another user"
    if status.st_mode & 0o077:
        return f"can be read or written by others (mode {S_IMODE(status.st_mode):04o}, not 0600)"
    return ""
