"""Where a body goes while it arrives: memory while it is small, a `.part` file once it is large.

Does: count, hash and keep the bytes of one body at constant memory. Must not know HTTP, names of final files or the
checkpoint. Invariant: after `finish` a Body describes exactly the bytes given; after `discard` no file is left.
After `keep` a Partial describes a beginning of them, and they are durable.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from typing import NamedTuple

from crawler.model import Body
from crawler.partfile import Jobs, PartFile, Pieces, Synced, create
from crawler.partial import Partial, Version

# Bodies up to this size travel in memory and are written in batches: one aiofiles round a file costs 630 us, a batch
# of 64 in one executor call 50 us a file.
SMALL = 256 * 1024
# Chunks of 1 MiB to disk: 440 against 180 MB/s with 64 KiB.
_CHUNK = 1024 * 1024

Also = Callable[[bytes], None]
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
    """One body on its way in; `name` makes the part file's name unique, `start` holds its `first` bytes.

    `also` is called with every byte of a body that leaves memory, in their order; in a thread.
    """

    def __init__(self, keep: Keep, name: str, first: int = 0, also: Also | None = None) -> None:
        self.start = bytearray()
        self._first = first
        self._folder = keep.folder
        self.rename(name)
        self._also = also
        self._hash = sha256()
        self._pieces: list[bytes | memoryview] = []
        self._held = 0
        self._writing: Jobs = ()
        self._spilled = False  # some of it has left memory
        self._part: PartFile | None = None
        self._hashing: asyncio.Future[None] | None = None
        self.on_spill: Callable[[], None] | None = None  # told before the part is made
        self.on_sync: Synced | None = None  # of the part, once there is one
        self.size = 0

    def rename(self, name: str) -> None:
        """Another name for the part; before there is one."""
        self.path = os.path.join(self._folder, name + ".part") if self._folder is not None else ""

    def take(self, piece: bytes | memoryview) -> bool:
        """Accept the next bytes; True when `drain` must be awaited before more are given."""
        if self.size < self._first:
            self.start += piece[: self._first - self.size]
        self.size += len(piece)
        self._held += len(piece)
        self._pieces.append(piece)
        return self._held >= (SMALL if self.size == self._held else _CHUNK)

    async def drain(self) -> int:
        """Move what is held on: hashed, and written where bodies are kept. Overlaps with what arrives next.

        Returns of how many bytes, the last ones, the memory is in use still.
        """
        self._spilled = True
        if self._folder is None:
            return await self._count()
        if self._part is None:
            if self.on_spill is not None:
                self.on_spill()
            self._part = await create(self.path, self._also)
            self._part.on_sync = self.on_sync
        await self._part.done(self._writing, in_order=True)
        pieces, self._pieces, held, self._held = self._pieces, [], self._held, 0
        self._writing = self._part.write(self.size - held, pieces)
        return held

    async def finish(self) -> Body:
        """The whole body. Raises OSError where it could not be written."""
        if not self._spilled:
            first = self._pieces[0] if len(self._pieces) == 1 else None
            data = first if isinstance(first, bytes) else b"".join(self._pieces)
            if self._also is not None:
                self._also(data)
            return Body(self.size, sha256(data).hexdigest(), data=data if self._folder is not None else None)
        if self._held:
            await self.drain()
        if self._part is None:
            await self._settle()
            return Body(self.size, self._hash.hexdigest())
        body = Body(self.size, await self._part.digest(), part=self.path)
        await self._part.close()
        return body

    async def keep(self, url: str, version: Version) -> Partial | None:
        """What came, durable, to be gone on with later; None where it is too little. Raises OSError.

        Nothing more can be done with it here, but to `discard` it.
        """
        if self._part is None:
            return None
        if self._held:
            await self.drain()
        return await self._part.keep(url, version)

    async def discard(self) -> None:
        """Forget the body and remove its file, also after `finish`."""
        self._pieces.clear()
        with suppress(OSError):  # nobody wants these bytes any more
            await self._settle()
        if self._part is not None:
            await self._part.discard()

    async def _count(self) -> int:
        """Hash what is held, in a thread."""
        await self._settle()
        pieces, self._pieces, held, self._held = self._pieces, [], self._held, 0
        self._hashing = asyncio.get_running_loop().run_in_executor(None, self._digest, pieces)
        return held

    def _digest(self, pieces: Pieces) -> None:
        for piece in pieces:
            self._hash.update(piece)
            if self._also is not None:
                self._also(bytes(piece))

    async def _settle(self) -> None:
        hashing = self._hashing
        if hashing is not None and not hashing.done():
            await asyncio.wait([hashing])
            hashing.result()
