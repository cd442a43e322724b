"""A large body on its way from the transport into one ring of memory, past the parser: read once, copied nowhere.

Does: take a connection's transport over when the head of an answer was parsed, hold what comes, stop the peer while
the ring is full, give the transport back. Must not know HTTP, files or aiohttp. Invariant: of the connection exactly so
many bytes are taken as were asked for; no byte is written over before it was let go; whatever else the transport tells,
its own protocol hears.

aiohttp's parser and stream copy each byte twice and wake the reader for each 100 KB: a third of the processor time of
a body of 1 GiB.
"""

from __future__ import annotations

import asyncio
import mmap
from collections.abc import Callable
from typing import Any

BULK = 1024 * 1024  # bytes that are worth a ring of their own
# Memory is touched only as far as it is used. Who reads holds less than three pieces: some on their way to the disk,
# the next put together.
_RING = 3 * 1024 * 1024
_PIECE = 1024 * 1024
_SCRAP = 16 * 1024  # bytes at a time, of what nobody reads
_PATIENCE = 0.02  # seconds for a piece to become whole: then what there is must do


class Inflow(asyncio.BufferedProtocol):
    """The next `size` bytes of a connection; `own` is its protocol, which has it again when they came. Then `over` is
    called, and lets it read on; it is told whether nothing came behind them.
    """

    def __init__(
        self, transport: asyncio.Transport, own: asyncio.Protocol, size: int, over: Callable[[bool], None]
    ) -> None:
        self._transport = transport
        self._own = own
        self._size = size
        self._over = over
        self._loop = asyncio.get_running_loop()
        self._length = min(_RING, size)
        # One byte more, so as to see what comes behind the end.
        self._ring = memoryview(mmap.mmap(-1, self._length + 1, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        self._sees_more = False
        # All three count from the first byte: let go <= taken <= came.
        self._came = 0
        self.taken = 0  # by who reads
        self._let_go = 0
        self._least = _PIECE  # worth waking the reader for
        self._waiter: asyncio.Future[None] | None = None
        self._lost = False
        self._dropped = False
        transport.pause_reading()  # a transport asks only when it begins to read how its protocol wants the bytes
        transport.set_protocol(self)
        transport.resume_reading()

    def __repr__(self) -> str:
        return f"<Inflow {self._came} of {self._size}, {self.taken} taken, {self._let_go} let go, lost={self._lost}>"

    @property
    def complete(self) -> bool:
        """All of it was read."""
        return self.taken == self._size

    async def read(self) -> memoryview:
        """The next bytes, which stay as they are until they are let go; none at the end, or when the connection is
        lost. Who holds all that the ring can hold must not read on.
        """
        if not self._ready:
            assert self.taken - self._let_go < self._length, "nothing was let go"
            self._waiter = self._loop.create_future()
            hurry = self._loop.call_later(_PATIENCE, self._hurry)
            try:
                await self._waiter
            finally:
                hurry.cancel()
                self._waiter = None
                self._least = _PIECE
        at = self.taken % self._length
        piece = self._ring[at : min(at + _PIECE, at + self._came - self.taken, self._length)]
        self.taken += len(piece)
        if self.complete or not piece:
            self.drop()
        return piece

    def let_go(self, held: int) -> None:
        """Of what was read only the last `held` bytes are of use still, if it was so much."""
        self._let_go = max(self._let_go, self.taken - held)
        if not (self._lost or self._full or self._came == self._size):
            self._transport.resume_reading()

    def drop(self) -> None:
        """Nobody reads on. The memory goes at once, and not when all who know of this are found to be garbage; pieces
        keep it.
        """
        self._dropped = True
        self._ring = memoryview(bytearray(_SCRAP))

    @property
    def _full(self) -> bool:
        return self._came - self._let_go == self._length

    @property
    def _ready(self) -> bool:
        unread = self._came - self.taken
        return unread >= self._least or self._lost or self._came == self._size or (self._full and unread > 0)

    def _hurry(self) -> None:
        self._least = 1
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done() and self._ready:
            self._waiter.set_result(None)

    # -- what the transport calls -------------------------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        if self._dropped:  # TLS reads on until it is closed
            return self._ring
        at, left = self._came % self._length, self._size - self._came
        room = min(_PIECE, self._length - (self._came - self._let_go))
        self._sees_more = left < room and at + left <= self._length
        return self._ring[at : at + left + 1 if self._sees_more else min(at + min(room, left), self._length)]

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes came."""
        if self._dropped:
            return
        came = self._came + nbytes
        self._came = min(came, self._size)
        if self._came == self._size:  # at once, since the next that comes may be the end of the connection
            self._transport.pause_reading()
            self._transport.set_protocol(self._own)
            self._over(came == self._size and self._sees_more)
        elif self._full:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> Any:
        """The peer sends no more; whether the transport stays open is for its own protocol to say."""
        return self._own.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        self._lost = True
        self._own.connection_lost(exc)
        self._wake()

    def pause_writing(self) -> None:
        """Of what is sent."""
        self._own.pause_writing()

    def resume_writing(self) -> None:
        """Of what is sent."""
        self._own.resume_writing()
