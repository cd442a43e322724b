"""The file of a body on its way in: written at any offset, hashed from its beginning, made durable now and then.

Does: write and hash in the executor, keep account of which bytes are there. Must not know HTTP, which bytes are wanted
or names of final files. Invariant: no byte counts as there before its write has returned, and as durable before a sync
that began after it; the digest is that of all bytes in their order; no descriptor is closed while a thread uses it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any, TypeVar

from crawler.durable import start_writeback, sync_folder
from crawler.partial import Hashed, Partial, Span, Version
from crawler.ranges import WORTH_KEEPING, front, joined

# As much is lost by a kill, and the disk has it as long as it needs for so much.
_SYNC_EVERY = 64 * 1024 * 1024
_FLUSH = 32 * 1024 * 1024
_READ = 1024 * 1024  # of the file, to hash what came out of order
_READS = 16  # in one call to the executor
_VECTORS = 512  # in one call to the kernel, which takes 1,024

_NEW = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_NOT_ITS_FAULT = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}

T = TypeVar("T")
Pieces = Sequence[bytes | memoryview]
# What works with the pieces that were given to `write`.
Jobs = tuple[asyncio.Future[None], ...]
# Told of the bytes that are durable now.
Synced = Callable[[tuple[Span, ...]], None]


async def surely(work: Awaitable[T]) -> T:
    """Wait for work that must come to its end, also while this task is cancelled; then it is so afterwards."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        with suppress(Exception):
            task.result()
        raise cancelled
    return task.result()


class PartFile:
    """One open file. `also` is called with every byte in its order, as the digest is; in a thread.

    A fault of any write is raised by the next call that waits.
    """

    def __init__(
        self,
        path: str,
        fd: int,
        spans: tuple[Span, ...] = (),
        hashed: Hashed | None = None,
        also: Callable[[bytes], None] | None = None,
    ) -> None:
        self.path = path
        self.spans = spans
        self.on_sync: Synced | None = None
        self._fd = fd
        known = hashed if also is None else None  # `also` begins anew with each attempt
        self._digest: Any = known.digest.copy() if known is not None else sha256()
        self._hashed = known.size if known is not None else 0
        self._also = also
        self._jobs: set[asyncio.Future[None]] = set()
        self._hashing: asyncio.Future[None] | None = None
        self._buffer: memoryview | None = None
        self._syncing = False
        self._named = bool(spans)  # its name in the folder is durable
        self._fault: BaseException | None = None
        self._flushed = 0
        self._unsynced = 0

    def __repr__(self) -> str:
        return f"<PartFile {self.path} {self.spans} hashed={self._hashed} jobs={len(self._jobs)}>"

    @property
    def size(self) -> int:
        """How many bytes are there."""
        return sum(span.stop - span.start for span in self.spans)

    def write(self, offset: int, pieces: Pieces) -> Jobs:
        """Begin to write pieces at an offset; what is returned is for `done`."""
        stop = offset + sum(map(len, pieces))
        writing = self._begin(_write_all, self._fd, offset, pieces)
        writing.add_done_callback(lambda done: self._written(done, Span(offset, stop)))
        if offset != self._hashed or self._hashing is not None:
            return (writing,)
        return (writing, self._hash(self._hash_pieces, pieces, stop))

    async def done(self, jobs: Jobs, *, in_order: bool = False) -> None:
        """Wait until pieces are there. Raises OSError where something could not be written.

        Who writes from the start to the end does so `in_order`: what is not hashed by then would be read again.
        """
        if waiting := [job for job in jobs if not job.done()]:
            await asyncio.wait(waiting)
        if in_order and self._hashing is not None:
            await asyncio.wait([self._hashing])
        if self._fault is not None:
            raise self._fault

    async def settled(self) -> None:
        """Wait until all that was begun is done. Raises OSError where something could not be written."""
        while self._jobs:
            await asyncio.wait(self._jobs)
        if self._fault is not None:
            raise self._fault

    async def digest(self) -> str:
        """The sha256 of all bytes, which must be there without a gap. Raises OSError."""
        self._catch_up()
        await self.settled()
        assert self._hashed == self.size == front(self.spans), self
        return str(self._digest.hexdigest())

    async def start(self, size: int) -> bytes:
        """The first bytes."""
        return await self._asked(os.pread, self._fd, min(size, front(self.spans)), 0)

    async def sync(self) -> tuple[Span, ...]:
        """Make durable what is there now; returns which bytes that is. Raises OSError."""
        await self.settled()
        spans = self.spans
        await self._asked(_sync, self._fd, None if self._named else os.path.dirname(self.path))
        self._named = True
        return spans

    async def keep(self, url: str, version: Version) -> Partial | None:
        """Close the file, its bytes durable, to be gone on with later; None where they are too few. Raises OSError."""
        await self.settled()
        if self.size < WORTH_KEEPING:
            return None
        spans = await self.sync()
        usable = self._also is None and self._hashed <= front(spans)
        hashed = Hashed(self._digest, self._hashed) if usable else None
        await self.close()
        return Partial(self.path, url, version, spans, hashed)

    async def close(self) -> None:
        """Close the file; a second time does nothing."""
        with suppress(OSError):
            await self.settled()
        fd, self._fd = self._fd, -1
        if fd >= 0:
            await asyncio.to_thread(os.close, fd)

    async def discard(self) -> None:
        """Close and remove the file."""
        await self.close()
        with suppress(OSError):
            await asyncio.to_thread(os.unlink, self.path)

    def _begin(self, work: Callable[..., None], *given: object) -> asyncio.Future[None]:
        job = asyncio.get_running_loop().run_in_executor(None, work, *given)
        self._jobs.add(job)
        job.add_done_callback(self._over)
        return job

    async def _asked(self, work: Callable[..., T], *given: object) -> T:
        """Work on the file that is waited for; the file is not closed before it is done."""
        job = asyncio.get_running_loop().run_in_executor(None, work, *given)
        held: asyncio.Future[Any] = job
        self._jobs.add(held)
        job.add_done_callback(self._jobs.discard)
        return await asyncio.shield(job)

    def _over(self, job: asyncio.Future[None]) -> None:
        self._jobs.discard(job)
        if (fault := job.exception()) is not None:
            self._fault = self._fault or fault

    def _written(self, job: asyncio.Future[None], span: Span) -> None:
        if job.exception() is not None:
            return
        self.spans = joined(self.spans, span)
        self._catch_up()
        self._unsynced += span.stop - span.start
        if self.on_sync is not None:
            self._sync_beside(self.on_sync)
        elif (there := front(self.spans)) - self._flushed >= _FLUSH:
            # The disk begins now with what the commit would wait for at the end.
            at, self._flushed = self._flushed, there
            self._begin(start_writeback, self._fd, at, there - at)

    def _sync_beside(self, tell: Synced) -> None:
        """Make durable what is there, if it is much by now, while more comes."""
        if self._syncing or self._unsynced < _SYNC_EVERY:
            return
        self._syncing, self._unsynced = True, 0
        spans, folder = self.spans, None if self._named else os.path.dirname(self.path)

        def over(job: asyncio.Future[None]) -> None:
            self._syncing = False
            if job.exception() is None:
                self._named = True
                tell(spans)
                self._sync_beside(tell)

        self._begin(_sync, self._fd, folder).add_done_callback(over)

    def _hash(self, work: Callable[..., None], given: object, stop: int) -> asyncio.Future[None]:
        def over(job: asyncio.Future[None]) -> None:
            self._hashing = None
            if job.exception() is None:
                self._hashed = stop
                self._catch_up()

        self._hashing = self._begin(work, given)
        self._hashing.add_done_callback(over)
        return self._hashing

    def _catch_up(self) -> None:
        """Go on with hashing what is there by now."""
        there = min(front(self.spans), self._hashed + _READS * _READ)
        if self._hashing is None and self._fault is None and there > self._hashed:
            self._hash(self._hash_file, Span(self._hashed, there), there)

    def _hash_pieces(self, pieces: Pieces) -> None:
        for piece in pieces:
            self._digest.update(piece)
            if self._also is not None:
                self._also(bytes(piece))

    def _hash_file(self, span: Span) -> None:
        if self._buffer is None:
            self._buffer = memoryview(bytearray(_READ))
        at = span.start
        while at < span.stop:
            view = self._buffer[: span.stop - at]
            size = os.preadv(self._fd, [view], at)
            if not size:
                raise OSError(f"{self.path} was cut while it was written")
            self._digest.update(view[:size])
            if self._also is not None:
                self._also(bytes(view[:size]))
            at += size


async def create(path: str, also: Callable[[bytes], None] | None = None) -> PartFile:
    """A new file. Raises OSError, where one of that name is there too."""
    opening = asyncio.get_running_loop().run_in_executor(None, os.open, path, _NEW, 0o644)
    try:
        return PartFile(path, await asyncio.shield(opening), also=also)
    except asyncio.CancelledError:
        with suppress(OSError):
            await surely(_undone(path, opening))
        raise


async def reopen(partial: Partial, also: Callable[[bytes], None] | None = None) -> PartFile | None:
    """The file of a partial, cut down to its bytes; None where it is gone, or is not what it was.

    The beginning is hashed anew, unless this process did so. Raises OSError where nothing could be opened now.
    """
    opening = asyncio.get_running_loop().run_in_executor(None, _opened_again, partial.path, partial.spans[-1].stop)
    try:
        fd = await asyncio.shield(opening)
    except asyncio.CancelledError:
        fd = await surely(opening)
        if fd is not None:
            os.close(fd)
        raise
    if fd is None:
        return None
    return PartFile(partial.path, fd, partial.spans, partial.hashed, also)


async def forget(partial: Partial) -> None:
    """Remove the file of a partial that is of no more use."""
    with suppress(OSError):
        await asyncio.to_thread(os.unlink, partial.path)


async def _undone(path: str, opening: asyncio.Future[int]) -> None:
    os.close(await opening)
    os.unlink(path)


def _opened_again(path: str, size: int) -> int | None:
    try:
        fd = os.open(path, _OLD)
    except OSError as error:
        if error.errno in _NOT_ITS_FAULT:
            raise
        return None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size < size:
            os.close(fd)
            return None
        os.ftruncate(fd, size)
    except OSError:
        os.close(fd)
        return None
    return fd


def _write_all(fd: int, offset: int, pieces: Pieces) -> None:
    if len(pieces) > _VECTORS:
        pieces = [b"".join(pieces)]
    written = os.pwritev(fd, pieces, offset)
    if written == sum(map(len, pieces)):
        return
    data = memoryview(b"".join(pieces))
    while written < len(data):  # cut short by a full disk, which the next call tells
        written += os.pwrite(fd, data[written:], offset + written)


def _sync(fd: int, folder: str | None) -> None:
    os.fdatasync(fd)
    if folder is not None:
        sync_folder(folder)
