"""A finished file on its way to a target: opened safely, hashed, and read in pieces.

Does: open, check, hash, read, blocking. Must not know targets. Invariant: what is not the file that was committed (by
its size, and by its sha256 where that is known) is never sent; memory does not grow with the file.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from crawler.parcels import Parcel, Trouble, Undelivered

_PIECE = 1024 * 1024  # bytes


class Hashes(NamedTuple):
    """Raw digests of some bytes; MD5 is what S3's ETags are made of, and guards against accidents only."""

    md5: bytes
    sha256: bytes


class Abandoned(Exception):
    """Nobody waits for this any more."""


class Cargo:
    """The open file of a parcel. `abandoned` is asked before each piece."""

    def __init__(self, fd: int, size: int, abandoned: Callable[[], bool]) -> None:
        self._fd = fd
        self._abandoned = abandoned
        self.size = size
        self.hashes = self.hash(0, size)

    def __repr__(self) -> str:
        return f"<Cargo size={self.size}>"

    @property
    def sha256(self) -> str:
        """Of the whole file, in hex."""
        return self.hashes.sha256.hex()

    def hash(self, start: int, length: int) -> Hashes:
        """Digests of a range. Raises Undelivered."""
        md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
        for piece in self.pieces(start, length):
            md5.update(piece)
            sha256.update(piece)
        return Hashes(md5.digest(), sha256.digest())

    def pieces(self, start: int, length: int) -> Iterator[bytes]:
        """A range, a MiB at a time. Raises Undelivered where it cannot be read, Abandoned."""
        end = start + length
        while start < end:
            piece = self.read(start, min(_PIECE, end - start))
            if not piece:
                raise Undelivered(Trouble.GONE, "the local file was cut while it was read")
            yield piece
            start += len(piece)

    def read(self, start: int, length: int) -> bytes:
        """At most so many bytes from there on. Raises Undelivered where it cannot be read, Abandoned."""
        if self._abandoned():
            raise Abandoned
        try:
            return os.pread(self._fd, length, start)
        except OSError as error:
            raise Undelivered(Trouble.GONE, f"the local file cannot be read: {error.strerror}") from None


class Slice(io.RawIOBase):
    """A range of a cargo as a file, for libraries that want one."""

    def __init__(self, cargo: Cargo, start: int, length: int) -> None:
        self._cargo = cargo
        self._start = start
        self._length = length
        self._at = 0

    def __len__(self) -> int:
        return self._length

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Bytes from its start."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place in it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes, b"" at its end; a cut file is Undelivered, so that it is never taken for a whole one."""
        left = max(0, self._length - self._at)
        wanted = left if size is None or size < 0 else min(size, left)
        data = b"".join(self._cargo.pieces(self._start + self._at, wanted))
        self._at += len(data)
        return data


@contextmanager
def opened(path: Path, parcel: Parcel, abandoned: Callable[[], bool]) -> Iterator[Cargo]:
    """The file of a parcel. Raises Undelivered where it is gone or not the one that was committed, Abandoned."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Undelivered(Trouble.GONE, f"the local file cannot be opened: {error.strerror}") from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise Undelivered(Trouble.GONE, "the local file is no regular file any more")
        if status.st_size != parcel.size:
            raise Undelivered(
                Trouble.GONE, f"the local file has {status.st_size} bytes, not the {parcel.size} committed"
            )
        cargo = Cargo(fd, parcel.size, abandoned)
        if parcel.sha256 is not None and cargo.sha256 != parcel.sha256:
            raise Undelivered(Trouble.GONE, "the local file is not the one that was committed: its sha256 is another")
        yield cargo
    finally:
        os.close(fd)
