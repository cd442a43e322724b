"""The body of an answer: read, counted, decoded and kept; or cut off where more is not wanted.

Does: lead the pieces through decoder and spool, check length and digest, wait for our own bandwidth and disk. Must not
know which body is wanted, or aiohttp. Invariant: every byte counted was decoded whole; a wanted body that ended early,
or is too large, raises; of one that nobody wants, or a robots.txt, never more than a bound is read.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from hashlib import sha256
from math import inf
from time import monotonic
from typing import NamedTuple

from crawler.checks import Checks, checks_for
from crawler.codings import CodingError, Decoder, decoder
from crawler.diskguard import DiskGuard, Writing
from crawler.errors import Reason
from crawler.flow import Throttle, arrived, pause, stopped_by_watch
from crawler.hosts import HostRules
from crawler.model import Body, Fetched, Request
from crawler.partfile import create
from crawler.partial import Span, Version
from crawler.ranges import SEGMENTED, in_segments
from crawler.resumption import Brought, Resumption, version_by
from crawler.robotstext import MAX_TEXT
from crawler.segments import Helpers, Segments
from crawler.session import Answer, TransportError
from crawler.spool import SMALL, Keep, Spool, small_body
from crawler.watch import Phase, Transfer

# Answers whose body nobody wants (errors, redirects) are read up to this, so that the connection can be used again.
DRAINED = 64 * 1024
TOLD = 8 * 1024  # of an error's body, for who reads why
# A decoder hands out at most 1 MiB at a time, so no piece of a robots.txt reaches this bound before it is cut off.
_MAX_ROBOTS = MAX_TEXT + 2 * 1024 * 1024
_CRUMB = 64

_PIECE = 1024 * 1024
_OF_PART = ("Content-Digest", "Content-MD5")
_ANYWHERE = DiskGuard(None)  # of bodies that are not written

# How a body of this request may be fetched over several connections, if it may.
Sharing = Callable[[Request, HostRules, str, Answer], Helpers | None]


class _Pieces(NamedTuple):
    """What is done with the pieces of a body on their way to the spool."""

    decode: Decoder | None
    checks: Checks | None
    limit: int  # bytes, decoded
    writing: Writing


class _Filling(NamedTuple):
    """What goes along while a part is filled."""

    helpers: Helpers | None
    checks: Checks | None
    writing: Writing


class Receiver:
    """Reads bodies, one after another or many at once."""

    def __init__(
        self,
        keep: Keep,
        throttle: Throttle | None,
        resumption: Resumption | None = None,
        sharing: Sharing | None = None,
        disk: DiskGuard | None = None,
    ) -> None:
        self._keep = keep
        self._disk = disk or DiskGuard(None)
        self._throttle = throttle
        self._resumption = resumption or Resumption(None)
        self._sharing = sharing

    async def body(self, outcome: Fetched, answer: Answer, transfer: Transfer, host: HostRules, first: int) -> bytes:
        """Put the body, whole and decoded, into the outcome; returns its first so many bytes.

        Raises TransportError, CodingError, OSError.
        """
        limit, length = host.max_body, answer.length
        coding = answer.content_encoding if host.decompress else None
        outcome.length_checked = answer.length_checked
        if length is not None and length > limit:
            raise TransportError(Reason.TOO_LARGE, f"Content-Length is {length} bytes, limits.max_body is {limit}")
        checks = checks_for(outcome.request.promised, answer.headers, answer.all, coded=coding is not None)
        if checks is not None and (fault := checks.early(length)) is not None:
            raise TransportError(*fault)
        if coding is None and length is not None and length <= SMALL and self._throttle is None:
            data = await answer.read()
            while len(data) < length:  # a body that ends early raises; a 204 has none, whatever it declares
                transfer.received(len(data) - transfer.bytes, monotonic())
                if not (piece := await answer.read()):
                    break
                data += piece
            body = small_body(data, self._keep)
            if checks is not None:
                checks.raw(data)
                checks.body(data)
                outcome.warning = _held(checks, body, None)
            outcome.body = body
            return data[:first]
        if outcome.request.partial is not None:
            await self._resumption.drop(outcome.request)
        with self._writing(length if coding is None else None) as writing:
            if coding is None and length is not None and length >= SEGMENTED and self._keep.folder is not None:
                version, helpers = self._segmented(outcome, answer, host)
                if version is not None and helpers is not None:
                    filling = _Filling(helpers, checks, writing)
                    return await self._shared(outcome, answer, transfer, version, first, filling)
            return await self._alone(outcome, answer, transfer, host, first, checks, writing)

    def _writing(self, length: int | None) -> AbstractContextManager[Writing]:
        """The disk's consent to a body of so many bytes."""
        return self._disk.writing(length) if self._keep.folder is not None else _ANYWHERE.writing(None)

    async def _alone(
        self,
        outcome: Fetched,
        answer: Answer,
        transfer: Transfer,
        host: HostRules,
        first: int,
        checks: Checks | None,
        writing: Writing,
    ) -> bytes:
        """A large body, or one of unknown length, from its start over one connection."""
        request, resumption = outcome.request, self._resumption
        coding = answer.content_encoding if host.decompress else None
        decode = decoder(coding, host.max_body, host.max_ratio) if coding else None
        spool = Spool(self._keep, outcome.request_id, first)
        version: Version | None = None

        def spilled() -> None:  # of most there is no need to know it
            nonlocal version
            version = version_by(request, answer) if decode is None else None
            if version is not None:
                spool.rename(resumption.part_name(outcome.request_id))
                spool.on_sync = resumption.synced(request, spool.path, version)

        spool.on_spill = spilled
        try:
            pieces = _Pieces(decode, checks, host.max_body, writing)
            await self._spooled(request, answer, spool, pieces, transfer)
            body = await spool.finish()
            outcome.warning = decode.warning if decode else None
            if checks is not None:
                outcome.warning = _held(checks, body, outcome.warning)
            outcome.body = body
        except BaseException as trouble:
            await resumption.broke_off(request, spool, version, trouble)
            raise
        start, spool.start = bytes(spool.start), bytearray()  # it is in a cycle with `spilled`, and may live for long
        return start

    def _segmented(self, outcome: Fetched, answer: Answer, host: HostRules) -> tuple[Version | None, Helpers | None]:
        version = version_by(outcome.request, answer)
        if version is None or self._sharing is None or not in_segments(version, answer.headers):
            return None, None
        return version, self._sharing(outcome.request, host, outcome.request_id, answer)

    async def _shared(
        self,
        outcome: Fetched,
        answer: Answer,
        transfer: Transfer,
        version: Version,
        first: int,
        filling: _Filling,
    ) -> bytes:
        """A large body from its start, over several connections."""
        assert self._keep.folder is not None
        assert version.total is not None
        name = self._resumption.part_name(outcome.request_id)
        part = await create(os.path.join(self._keep.folder, name + ".part"))
        part.on_sync = self._resumption.synced(outcome.request, part.path, version)
        brought = Brought(Span(0, version.total), version, part)
        return await self._filled(outcome, answer, transfer, brought, first, filling)

    async def rest(
        self, outcome: Fetched, answer: Answer, transfer: Transfer, host: HostRules, brought: Brought, first: int
    ) -> bytes:
        """Put a body into the outcome of which the answer brings what is missing, or the next of it.

        Returns its first so many bytes. Raises TransportError, OSError.
        """
        promised = outcome.request.promised
        checks = checks_for(promised, outcome.headers, lambda name: _of_whole(outcome.headers, name), coded=False)
        helpers = None
        with ExitStack() as stack:
            try:
                _check_rest(brought.version.total, host.max_body, checks)
                total = brought.version.total
                missing = total - brought.part.size if total is not None else None
                writing = stack.enter_context(self._writing(missing))
                if self._sharing is not None and brought.version.coding is None:
                    helpers = self._sharing(outcome.request, host, outcome.request_id, answer)
            except BaseException as trouble:
                await self._resumption.broke_off(outcome.request, brought.part, None, trouble)
                raise
            filling = _Filling(helpers, checks, writing)
            return await self._filled(outcome, answer, transfer, brought, first, filling)

    async def _filled(
        self,
        outcome: Fetched,
        answer: Answer,
        transfer: Transfer,
        brought: Brought,
        first: int,
        filling: _Filling,
    ) -> bytes:
        """The body of a part, once all that is missing has come."""
        span, version, part = brought
        helpers, checks, writing = filling
        assert version.total is not None
        request, total = outcome.request, version.total
        try:
            if span is None:
                answer.close()
            else:
                segments = Segments(request, part, version, total, transfer, helpers)
                segments.throttle = self._throttle
                segments.writing = writing
                await segments.receive(answer, span)
            transfer.enter(Phase.STORE, monotonic())
            start = await part.start(first)
            body = Body(total, await part.digest(), part=part.path)
            if checks is not None:
                await asyncio.to_thread(_hashed, checks, part.path)
                outcome.warning = _held(checks, body, outcome.warning)
            outcome.body = body
            await part.close()
        except BaseException as trouble:
            await self._resumption.broke_off(request, part, version, trouble)
            raise
        return start

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

    async def drain(
        self, request: Request, answer: Answer, transfer: Transfer, start: bytearray | None, first: int = TOLD
    ) -> bool:
        """Read a body that nobody wants, so that its connection can serve again; False when that takes too much.

        `start` is filled with its `first` bytes, where somebody wants at least these. Too many bytes, or too long for
        the watch: the status stands, whatever becomes of the rest.
        """
        size = 0
        try:
            while piece := await answer.read():
                await arrived(request, len(piece), transfer, self._throttle)
                size += len(piece)
                if start is not None and len(start) < first:
                    start += piece[: first - len(start)]
                if size > DRAINED:
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
        pieces: _Pieces,
        transfer: Transfer,
    ) -> None:
        decode, checks, limit, writing = pieces
        while piece := await (answer.read_large() if decode else answer.read_bulk()):
            await arrived(request, len(piece), transfer, self._throttle)
            if checks is not None and checks.needs_raw:
                checks.raw(piece)
            for data in decode.feed(bytes(piece)) if decode else (piece,):
                if checks is not None and checks.needs_body:
                    checks.body(data)
                full = spool.take(data)
                if spool.size > limit:
                    raise TransportError(Reason.TOO_LARGE, f"the body is larger than limits.max_body ({limit} bytes)")
                if full:
                    writing.more(spool.size)
                    answer.let_go(await pause(spool.drain(), transfer))
        if decode:
            decode.finish()

    async def _first(self, request: Request, answer: Answer, text: bytearray, transfer: Transfer) -> bool:
        """Fill `text` until it is more than 500 KiB; True if the body ended before. Raises TransportError, CodingError.

        The ratio of a bomb does not matter where so little is read.
        """
        decode = decoder(answer.content_encoding, _MAX_ROBOTS, inf)
        while piece := await answer.read():
            await arrived(request, len(piece), transfer, self._throttle)
            for data in _crumbs(piece, decode) if decode else (piece,):
                text += data
                if len(text) > MAX_TEXT:
                    return False
        if decode:
            decode.finish()
        return True


def _crumbs(piece: bytes, decode: Decoder) -> Iterator[bytes]:
    """What a piece holds, given to the decoder little by little: where it is damaged, all before was handed out."""
    for at in range(0, len(piece), _CRUMB):
        yield from decode.feed(piece[at : at + _CRUMB])


def _held(checks: Checks, body: Body, warning: str | None) -> str | None:
    """The warnings of a body that is the one that was meant. Raises TransportError."""
    fault = checks.fault(body.size, body.sha256)
    if fault is not None:
        raise TransportError(*fault)
    return "; ".join(filter(None, [warning, checks.warning])) or None


def _check_rest(total: int | None, limit: int, checks: Checks | None) -> None:
    """Raise TransportError where a body of so many bytes in all is not wanted, or not the one that was meant."""
    if total is not None and total > limit:
        raise TransportError(Reason.TOO_LARGE, f"the body has {total} bytes, limits.max_body is {limit}")
    fault = checks.early(total) if checks is not None else None
    if fault is not None:
        raise TransportError(*fault)


def _hashed(checks: Checks, path: str) -> None:
    """Give a body to its checks that came in parts, and in whatever order."""
    if not (checks.needs_raw or checks.needs_body):
        return
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            checks.raw(piece)
            checks.body(piece)


def _of_whole(headers: Mapping[str, str], name: str) -> list[str]:
    """The values of a header field that speaks of the whole body, not of the part that came with it."""
    return [] if name in _OF_PART or name not in headers else [headers[name]]
