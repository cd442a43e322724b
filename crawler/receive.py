"""The body of an answer: read, counted, decoded and kept; or cut off where more is not wanted.

Does: lead the pieces through decoder and spool, check length and digest, wait for our own bandwidth and disk. Must not
know which body is wanted, or aiohttp. Invariant: every byte counted was decoded whole; a wanted body that ended early,
or is too large, raises; of one that nobody wants, or a robots.txt, never more than a bound is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from hashlib import sha256
from math import inf
from time import monotonic

from crawler.codings import CodingError, Decoder, decoder
from crawler.errors import Reason
from crawler.hosts import HostRules
from crawler.model import Body, Fetched, Request
from crawler.robotstext import MAX_TEXT
from crawler.session import Answer, TransportError
from crawler.spool import SMALL, Keep, Spool, small_body
from crawler.watch import Phase, Transfer

# Answers whose body nobody wants (errors, redirects) are read up to this, so that the connection can be used again.
_DRAIN = 64 * 1024
_TOLD = 8 * 1024  # of an error's body, for who reads why
# A decoder hands out at most 1 MiB at a time, so no piece of a robots.txt reaches this bound before it is cut off.
_MAX_ROBOTS = MAX_TEXT + 2 * 1024 * 1024
_CRUMB = 64

# Awaited with the size of each piece of a body in bytes, until so much may have come for this request.
Throttle = Callable[[Request, int], Awaitable[None]]


class Receiver:
    """Reads bodies, one after another or many at once."""

    def __init__(self, keep: Keep, throttle: Throttle | None) -> None:
        self._keep = keep
        self._throttle = throttle

    async def body(self, outcome: Fetched, answer: Answer, transfer: Transfer, host: HostRules, first: int) -> bytes:
        """Put the body, whole and decoded, into the outcome; returns its first so many bytes.

        Raises TransportError, CodingError, OSError.
        """
        limit, length = host.max_body, answer.length
        coding = answer.content_encoding if host.decompress else None
        outcome.length_checked = answer.length_checked
        if length is not None and length > limit:
            raise TransportError(Reason.TOO_LARGE, f"Content-Length is {length} bytes, limits.max_body is {limit}")
        if coding is None and length is not None and length <= SMALL and self._throttle is None:
            data = await answer.read()
            while len(data) < length:  # a body that ends early raises; a 204 has none, whatever it declares
                transfer.received(len(data) - transfer.bytes, monotonic())
                if not (piece := await answer.read()):
                    break
                data += piece
            outcome.body = _verified(small_body(data, self._keep), outcome.request)
            return data[:first]
        decode = decoder(coding, limit) if coding else None
        spool = Spool(self._keep, outcome.request_id, first)
        try:
            await self._spooled(outcome.request, answer, spool, decode, transfer, limit)
            outcome.body = _verified(await spool.finish(), outcome.request)
            outcome.warning = decode.warning if decode else None
        except BaseException:
            await spool.discard()
            raise
        return bytes(spool.start)

    async def robots(self, outcome: Fetched, answer: Answer, transfer: Transfer) -> bool:
        """Put the first 500 KiB of a robots.txt into the outcome, in memory whatever else is kept (RFC 9309 2.5).

        What came of a damaged one counts. False: the connection is of no more use. Raises TransportError, CodingError
        where nothing came.
        """
        text = bytearray()
        whole = False
        try:
            whole = await self._first(outcome.request, answer, text, transfer)
            outcome.warning = None if whole else f"cut off after {MAX_TEXT:,} bytes: more of it is not read"
        except (TransportError, CodingError) as trouble:
            if not text:
                raise
            outcome.warning = f"only the first {len(text):,} bytes count: {trouble}"
        data = bytes(text[:MAX_TEXT])
        outcome.length_checked = whole and answer.length_checked
        outcome.body = Body(len(data), sha256(data).hexdigest(), data)
        return whole

    async def drain(self, request: Request, answer: Answer, transfer: Transfer, start: bytearray | None) -> bool:
        """Read a body that nobody wants, so that its connection can serve again; False when that takes too much.

        `start` is filled with its first bytes, where somebody wants at least these. Too many bytes, or too long for the
        watch: the status stands, whatever becomes of the rest.
        """
        size = 0
        try:
            while piece := await answer.read():
                await self._arrived(request, len(piece), transfer)
                size += len(piece)
                if start is not None and len(start) < _TOLD:
                    start += piece[: _TOLD - len(start)]
                if size > _DRAIN:
                    return False
        except TransportError:
            return False
        except asyncio.CancelledError:
            if not stopped_by_watch(transfer):
                raise
            return False
        return True

    async def _spooled(
        self,
        request: Request,
        answer: Answer,
        spool: Spool,
        decode: Decoder | None,
        transfer: Transfer,
        limit: int,
    ) -> None:
        while piece := await answer.read():
            await self._arrived(request, len(piece), transfer)
            for data in decode.feed(piece) if decode else (piece,):
                full = spool.take(data)
                if spool.size > limit:
                    raise TransportError(Reason.TOO_LARGE, f"the body is larger than limits.max_body ({limit} bytes)")
                if full:
                    await _pause(spool.drain(), transfer)
        if decode:
            decode.finish()

    async def _first(self, request: Request, answer: Answer, text: bytearray, transfer: Transfer) -> bool:
        """Fill `text` until it is more than 500 KiB; True if the body ended before. Raises TransportError, CodingError.

        The ratio of a bomb does not matter where so little is read.
        """
        decode = decoder(answer.content_encoding, _MAX_ROBOTS, inf)
        while piece := await answer.read():
            await self._arrived(request, len(piece), transfer)
            for data in _crumbs(piece, decode) if decode else (piece,):
                text += data
                if len(text) > MAX_TEXT:
                    return False
        if decode:
            decode.finish()
        return True

    async def _arrived(self, request: Request, size: int, transfer: Transfer) -> None:
        transfer.received(size, monotonic())
        if self._throttle is not None:
            await _pause(self._throttle(request, size), transfer)


def stopped_by_watch(transfer: Transfer) -> bool:
    """Whether this task, just cancelled, was so by the watch alone; then it goes on as if it had not been."""
    if transfer.overdue is None:
        return False
    task = asyncio.current_task()
    assert task is not None
    if task.uncancel() > 0:  # somebody else wants this task to end as well
        transfer.overdue = None  # asked again on the way out, the answer is the same
        return False
    return True


async def _pause(own_work: Awaitable[object], transfer: Transfer) -> None:
    """Wait for our own disk or limits, which is no fault of the server's."""
    transfer.enter(Phase.STORE, monotonic())
    await own_work
    transfer.enter(Phase.BODY, monotonic())


def _crumbs(piece: bytes, decode: Decoder) -> Iterator[bytes]:
    """What a piece holds, given to the decoder little by little: where it is damaged, all before was handed out."""
    for at in range(0, len(piece), _CRUMB):
        yield from decode.feed(piece[at : at + _CRUMB])


def _verified(body: Body, request: Request) -> Body:
    """The body, if it is the one that its row promises. Raises TransportError."""
    if request.sha256 is not None and body.sha256 != request.sha256:
        error = f"the body's sha256 is {body.sha256}, its row says {request.sha256}"
        raise TransportError(Reason.DIGEST_MISMATCH, error)
    return body
