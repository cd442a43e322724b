"""A body on its way out in pieces, as aiohttp's request wants it.

Does: write the pieces of a Sending under its Content-Length, and tell the watch of each. Must not know files or what
the answer means. Invariant: the last byte leaves only when it is sure that it is the last, so a body that is longer or
shorter than was told never looks whole to the server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from time import monotonic

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

from crawler.model import Sending
from crawler.watch import Phase, Transfer


class Unreadable(ValueError):
    """The body cannot be read, or is not as long as it was; the text is a sentence. OSErrors are the wire's."""


class Upload(Payload):
    """One body on its way; `out` when it has left whole, `fault` when it never will."""

    def __init__(self, body: Sending, transfer: Transfer) -> None:
        super().__init__(body)
        self._size = body.length
        self._body = body
        self._transfer = transfer
        self._sent = 0
        self._unwanted = False
        self.out = False
        self.fault: Unreadable | None = None

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """A body in pieces is no text."""
        raise TypeError("a body in pieces is no text")

    def stop(self) -> None:
        """The server has answered: what has not left is not wanted any more."""
        self._unwanted = True

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """As `write`; what was told is what is sent."""
        await self.write(writer)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write all pieces. Raises Unreadable, and what aiohttp's writer raises."""
        pieces, held = self._body.pieces(), b""
        try:
            while not self._unwanted:
                piece = await self._next(pieces)
                left = self._body.length - self._sent - len(held)
                if left < len(piece or b"") or (piece is None and left):
                    raise self._unreadable(
                        f"the body changed while it was sent: not the {self._body.length} bytes told"
                    )
                if held:
                    await self._put(writer, held)
                if piece is None:
                    break
                held = piece
        finally:
            if (close := getattr(pieces, "aclose", None)) is not None:
                await close()
        if not self._unwanted:
            self.out = True
            self._transfer.enter(Phase.ANSWER, monotonic())

    async def _next(self, pieces: AsyncIterator[bytes]) -> bytes | None:
        """The next piece, None at the end; the time that takes is ours. Raises Unreadable."""
        self._transfer.enter(Phase.STORE, monotonic())
        try:
            return await anext(pieces, None)
        except OSError as error:
            raise self._unreadable(f"the body cannot be read: {error}") from error
        finally:
            if not self._unwanted:  # else it is somewhere else by now
                self._transfer.enter(Phase.SEND, monotonic())

    def _unreadable(self, error: str) -> Unreadable:
        self.fault = Unreadable(error)
        return self.fault

    async def _put(self, writer: AbstractStreamWriter, piece: bytes) -> None:
        if self._unwanted:
            return
        await writer.write(piece)
        self._sent += len(piece)
        self._transfer.sent(len(piece), monotonic())
