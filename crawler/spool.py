"""Where a body goes while it arrives: memory while it is small, a `.part` file once it is large.

Does: count, hash and keep the bytes of one body at constant memory. Must not know HTTP, names of final files or the
checkpoint. Invariant: after `finish` a Body describes exactly the bytes given; after `discard` no file is left.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from hashlib import sha256
from typing import Any, NamedTuple

import aiofiles
from aiofiles.threadpool.binary import AsyncBufferedIOBase

from crawler.durable import start_writeback
from crawler.model import Body

# Bodies up to this size travel in memory and are written in batches: one aiofiles round a file costs 630 us, a batch
# of 64 in one executor call 50 us a file.
SMALL = 256 * 1024
# Chunks of 1 MiB to disk: 440 against 180 MB/s with 64 KiB.
_CHUNK = 1024 * 1024
_FLUSH = 32 * 1024 * 1024


EMPTY = Body(0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")


class Keep(NamedTuple):
    """What to do with a body: `folder` for large ones, or None when bodies are only counted and hashed."""

    folder: str | None


def small_body(data: bytes, keep: Keep) -> Body:
    """A body that arrived in one piece."""
    return Body(len(data), sha256(data).hexdigest(), data if keep.folder is not None else None)


async def drop(body: Body) -> None:
    """Remove what is on disk of a body that nobody will store."""
    if body.part is not None:
        await asyncio.to_thread(os.unlink, body.part)


class Spool:
    """One body on its way in; `name` makes the part file's name unique, `start` holds its `first` bytes."""

    def __init__(self, keep: Keep, name: str, first: int = 0) -> None:
        self.start = bytearray()
        self._first = first
        self._path = os.path.join(keep.folder, name + ".part") if keep.folder is not None else None
        self._hash = sha256()
        self._pieces: list[bytes] = []
        self._held = 0
        self._file: AsyncBufferedIOBase | None = None
        self._writing: asyncio.Future[Any] | None = None
        self._spilled = False  # some of it has left memory
        self._opening: asyncio.Future[AsyncBufferedIOBase] | None = None
        self.size = 0
        self._flushed = 0

    def take(self, piece: bytes) -> bool:
        """Accept the next bytes; True when `drain` must be awaited before more are given."""
        if self.size < self._first:
            self.start += piece[: self._first - self.size]
        self.size += len(piece)
        self._held += len(piece)
        self._pieces.append(piece)
        return self._held >= (SMALL if self.size == self._held else _CHUNK)

    async def drain(self) -> None:
        """Move what is held on: hashed, and written where bodies are kept. Overlaps with what arrives next."""
        pieces, self._pieces = self._pieces, []
        self._held = 0
        self._spilled = True
        await self._settle()
        if self._path is not None and self._file is None:
            self._opening = asyncio.ensure_future(_create(self._path))
            self._file = await asyncio.shield(self._opening)
        hashing = asyncio.get_running_loop().run_in_executor(None, self._digest, pieces)
        self._writing = asyncio.gather(hashing, self._file.writelines(pieces)) if self._file is not None else hashing
        if self._file is not None and self.size - self._flushed >= _FLUSH:
            # The disk begins now with what the commit would wait for at the end.
            start_writeback(self._file.fileno(), self._flushed, self.size - self._flushed)
            self._flushed = self.size

    async def finish(self) -> Body:
        """The whole body. Raises OSError where it could not be written."""
        if not self._spilled:
            data = b"".join(self._pieces) if len(self._pieces) != 1 else self._pieces[0]
            digest = sha256(data).hexdigest()
            return Body(self.size, digest, data=data if self._path is not None else None)
        if self._held:
            await self.drain()
        await self._settle()
        if self._file is None:
            return Body(self.size, self._hash.hexdigest())
        await self._file.close()
        self._file = None
        return Body(self.size, self._hash.hexdigest(), part=self._path)

    async def discard(self) -> None:
        """Forget the body and remove its file, also after `finish`, and also one that is being made at this moment."""
        self._pieces.clear()
        opening, self._opening = self._opening, None
        try:
            with suppress(OSError):  # nobody wants these bytes any more
                await self._settle()
        finally:
            if opening is not None and self._path is not None:
                await asyncio.shield(_remove(opening, self._path))

    def _digest(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            self._hash.update(piece)

    async def _settle(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            await writing


async def _create(path: str) -> AsyncBufferedIOBase:
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW
    return await aiofiles.open(path, "wb", opener=lambda name, _: os.open(name, flags, 0o644))


async def _remove(opening: asyncio.Future[AsyncBufferedIOBase], path: str) -> None:
    """Close the file once it is open, and remove it."""
    with suppress(OSError):  # then it was not made, or its last bytes found no room
        file = await opening
        try:
            await file.close()
        finally:
            os.unlink(path)
