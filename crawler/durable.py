"""Making written bytes survive: append-only segments with a committed length, whole-folder syncs, safe replacement.

Does: the file-system steps of the crash protocol. Must not know records, requests or SQLite. Invariant: a Segment's
bytes below its committed length never change; what stands above it is dropped by `open_segment`. No result of a
write, sync or close is ignored.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

from crawler.errors import StorageError

_TAIL = 4096  # bytes whose digest vouches that nobody else wrote into a segment


class Mark(NamedTuple):
    """What the checkpoint vouches for: the first `length` bytes of a segment, whose last ones hash to `tail`.

    Nothing is added to one that is `closed`.
    """

    length: int
    tail: str
    closed: bool = False


EMPTY = Mark(0, sha256(b"").hexdigest())


class Segment:
    """An append-only file. One writer (the lock of the job), whole units per `append`."""

    def __init__(self, path: Path, fd: int, mark: Mark, tail: bytes) -> None:
        self.path = path
        self._fd = fd
        self._tail = tail
        self.length = mark.length

    def __repr__(self) -> str:
        return f"<Segment {self.path.name} length={self.length}>"

    def append(self, data: bytes) -> None:
        """Write all of `data` at the end. Raises OSError."""
        view = memoryview(data)
        while view:
            written = os.write(self._fd, view)
            view = view[written:]
        self.length += len(data)
        self._tail = (self._tail + data[-_TAIL:])[-_TAIL:]

    def sync(self) -> None:
        """Make what was appended durable. Raises OSError; then this file descriptor must not be synced again."""
        os.fdatasync(self._fd)

    def mark(self) -> Mark:
        """The state to commit after a `sync`."""
        return Mark(self.length, sha256(self._tail).hexdigest())

    def close(self) -> None:
        """Close the file; nothing is synced. A second time does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def open_segment(path: Path, mark: Mark) -> tuple[Segment, int]:
    """Open for appending at the committed length; returns the segment and how many bytes above it were dropped.

    Raises StorageError when the file is not the one the checkpoint vouches for (shorter, edited, not a regular file).
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_APPEND
    try:
        fd = os.open(path, flags, 0o644)
    except OSError as error:
        raise StorageError(f"{path}: cannot be opened for writing: {error.strerror}") from error
    try:
        tail, surplus = _check(path, fd, mark)
        if surplus:
            os.ftruncate(fd, mark.length)
            os.fsync(fd)
        if mark.length == 0:
            sync_folder(path.parent)  # its name may be new
    except BaseException:
        os.close(fd)
        raise
    return Segment(path, fd, mark, tail), surplus


def _check(path: Path, fd: int, mark: Mark) -> tuple[bytes, int]:
    status = os.fstat(fd)
    if not S_ISREG(status.st_mode):
        raise StorageError(f"{path}: is not a regular file")
    size = status.st_size
    if size < mark.length:
        raise StorageError(f"{path}: has {size} bytes, the checkpoint vouches for {mark.length}: somebody cut it")
    tail = _tail(fd, mark.length)
    if sha256(tail).hexdigest() != mark.tail:
        raise StorageError(
            f"{path}: its bytes before {mark.length} are not those that were written: somebody edited it"
        )
    return tail, size - mark.length


def tail_of(path: Path, length: int) -> str:
    """The `tail` that a Mark of so many bytes would have. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        return sha256(_tail(fd, length)).hexdigest()
    finally:
        os.close(fd)


def _tail(fd: int, length: int) -> bytes:
    return os.pread(fd, min(_TAIL, length), max(0, length - _TAIL))


def make_folder(path: Path) -> None:
    """Make a folder and those above it that are missing, with durable names. Raises OSError."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)


def sync_folder(path: str | Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_file(path: str | Path) -> None:
    """Make a closed file's bytes durable. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


_libc = ctypes.CDLL(None, use_errno=True)


def sync_filesystem(folder: str | Path) -> bool:
    """Make everything on the file system of `folder` durable at once (Linux syncfs); False where that cannot be had.

    For a group of small files this costs about what no sync at all costs; an fsync each costs 2.6 times as much.
    Raises OSError for a write error (reported from Linux 5.8 on).
    """
    call = getattr(_libc, "syncfs", None)
    if call is None:
        return False
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if call(fd) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(fd)
    return True


def start_writeback(fd: int, offset: int, size: int) -> None:
    """Ask the kernel to begin writing a range to disk, without waiting (Linux sync_file_range); a hint, no promise."""
    call = getattr(_libc, "sync_file_range", None)
    if call is not None:
        call(fd, ctypes.c_int64(offset), ctypes.c_int64(size), 2)  # SYNC_FILE_RANGE_WRITE


def sync_many(folder: str | Path, files: Iterable[str], folders: Iterable[str]) -> None:
    """Make files and the folders that name them durable: one syncfs for many, an fsync each for few. Raises OSError."""
    files, folders = list(files), list(folders)
    if len(files) >= 8 and sync_filesystem(folder):
        return
    for file in files:
        sync_file(file)
    for name in folders:
        sync_folder(name)


def replace(path: Path, data: bytes) -> None:
    """Put `data` under `path`, durably, so that a reader sees the old content or the new one. Raises OSError."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)
    with open(temporary, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)
