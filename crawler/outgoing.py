"""From a Content to what goes onto the wire: bytes, or a body read from files while it is sent; its length and digests.

Does: open files, read them in pieces at constant memory, hash them. Must not know HTTP, credentials or retries.
Invariant: `length` is that of the pieces, and the digests are those of the very bytes that are sent; of a file that
changed after it was looked at, the last piece is never given, so that no server takes a mix of two versions for whole.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from copy import copy
from secrets import token_hex
from typing import Any, NamedTuple

import aiofiles

from crawler.auth.scheme import Framing
from crawler.digests import Digests
from crawler.model import Content, FileBody, Messages, Sending
from crawler.multipart import clashes, media_type, segments
from crawler.urls import printable

_PIECE = 256 * 1024
# A body up to this size is read at once: opening, reading and closing with aiofiles are four trips to a thread.
_SMALL = 64 * 1024
_KNOWN = Digests()


class UploadUnreadable(OSError):
    """A file to be sent is not there, cannot be read, or changed meanwhile; the text is a sentence."""


class Outgoing(NamedTuple):
    """A body ready to be sent: `length` in bytes, raw `digests` by hashlib's name, the `headers` that belong to it."""

    body: bytes | Sending | None
    length: int
    digests: Mapping[str, bytes]
    headers: Mapping[str, str]


async def open_content(
    content: Content | None,
    wants: frozenset[str],
    *,
    typed: bool = False,
    draw: Callable[[], str] = lambda: token_hex(16),
    known: Digests = _KNOWN,
) -> Outgoing:
    """Make a body ready; `wants` names digests as hashlib does, `typed`: a header says its Content-Type already.

    The Content-Type of a multipart is always given, and must stand over any other: it alone names the boundary, which
    `draw` makes. Raises UploadUnreadable.
    """
    if isinstance(content, Messages):  # these go over the WebSocket, once there is one
        content = None
    if content is None or isinstance(content, bytes):
        return _held(content, wants, {})
    if isinstance(content, FileBody):
        said: list[bytes | FileBody] = [content]
        headers = {} if typed else {"Content-Type": media_type(content.path)}
    else:
        while clashes(content, boundary := draw()):
            pass
        said = segments(content, boundary)
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    if len(said) == 1 and isinstance(said[0], bytes):  # a multipart of texts alone
        return _held(said[0], wants, headers)
    body = await asyncio.to_thread(_looked_at, said)
    if isinstance(body, bytes):
        return _held(body, wants, headers)
    return Outgoing(body, body.length, await _digests(body, wants, known), headers)


def _held(body: bytes | None, wants: Iterable[str], headers: Mapping[str, str]) -> Outgoing:
    """Of a body in memory."""
    data = body or b""
    return Outgoing(body, len(data), {name: hashlib.new(name, data).digest() for name in wants}, headers)


class _File(NamedTuple):
    """A file as it was when it was looked at; equal ones have the same content."""

    path: str
    size: int
    changed: int  # ns
    inode: tuple[int, int]


class _Assembled:
    """A body of bytes and files, a Sending."""

    def __init__(self, parts: Sequence[bytes | _File]) -> None:
        self.parts = parts
        self.length = sum(part.size if isinstance(part, _File) else len(part) for part in parts)

    def __repr__(self) -> str:
        return f"<Assembled parts={len(self.parts)} length={self.length}>"

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """From the start, each time anew. Raises UploadUnreadable."""
        for part in self.parts:
            if isinstance(part, bytes):
                yield part
                continue
            async with aclosing(_read(part)) as pieces:
                async for piece in pieces:
                    yield piece


async def _read(file: _File) -> AsyncGenerator[bytes, None]:
    try:
        async with aiofiles.open(file.path, "rb") as opened:
            left = file.size
            while left:
                piece = await opened.read(min(_PIECE, left))
                left -= len(piece)
                if not piece or (not left and _file(file.path, os.fstat(opened.fileno())) != file):
                    raise _changed(file)
                yield piece
    except UploadUnreadable:
        raise
    except (OSError, ValueError) as error:
        raise _unreadable(file.path, error) from error


def _looked_at(said: Sequence[bytes | FileBody]) -> bytes | _Assembled:
    """Each file opened once to see that it can be read; the bytes themselves where they are few."""
    body = _Assembled([part if isinstance(part, bytes) else _stat(part.path) for part in said])
    if body.length > _SMALL:
        return body
    return b"".join(part if isinstance(part, bytes) else _whole(part) for part in body.parts)


def _stat(path: str) -> _File:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for its writer
            raise UploadUnreadable(f"the file to send, '{printable(path)}', is no regular file")
        with open(path, "rb") as file:
            return _file(path, os.fstat(file.fileno()))
    except UploadUnreadable:
        raise
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _whole(file: _File) -> bytes:
    try:
        with open(file.path, "rb") as opened:
            data = opened.read(file.size + 1)
            after = _file(file.path, os.fstat(opened.fileno()))
    except OSError as error:
        raise _unreadable(file.path, error) from error
    if len(data) != file.size or after != file:
        raise _changed(file)
    return data


def _file(path: str, status: os.stat_result) -> _File:
    return _File(path, status.st_size, status.st_mtime_ns, (status.st_dev, status.st_ino))


def _changed(file: _File) -> UploadUnreadable:
    return UploadUnreadable(f"the file to send, '{printable(file.path)}', changed meanwhile")


def _unreadable(path: str, error: Exception) -> UploadUnreadable:
    why = getattr(error, "strerror", None) or str(error)
    return UploadUnreadable(f"the file to send, '{printable(path)}', cannot be read: {why}")


async def _digests(body: _Assembled, wants: frozenset[str], known: Digests) -> dict[str, bytes]:
    """Those of the whole body. A file that is sent alone is read once for all requests that send it."""
    file = body.parts[0]
    if not isinstance(file, _File):  # a multipart begins with its boundary
        return await _hashed(body, wants)
    found = known.of(file, wants)
    if len(found) < len(wants):
        found |= await _hashed(body, wants - found.keys())
        known.learn(file, found)
    return found


async def _hashed(body: _Assembled, wants: frozenset[str]) -> dict[str, bytes]:
    hashes = {name: hashlib.new(name) for name in wants}
    if hashes:
        async with aclosing(body.pieces()) as pieces:
            async for piece in pieces:
                await asyncio.to_thread(_update, tuple(hashes.values()), piece)
    return {name: found.digest() for name, found in hashes.items()}


def _update(hashes: Sequence[Any], piece: bytes) -> None:
    for each in hashes:
        each.update(piece)


class Framed:
    """A body cut into pieces of exactly `piece` bytes (the last may be shorter), each framed, and then the end.

    The framing is copied for each time the body is sent, so that every one begins with the first signature.
    """

    def __init__(self, body: bytes | Sending, framing: Framing, piece: int) -> None:
        self._body = body
        self._framing = framing
        self._piece = piece
        self.length = framing.length(len(body) if isinstance(body, bytes) else body.length)

    def __repr__(self) -> str:
        return f"<Framed length={self.length} piece={self._piece}>"

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """From the start. Raises UploadUnreadable."""
        framing = copy(self._framing)
        async with aclosing(self._cut()) as cut:
            async for data in cut:
                yield framing.frame(data)
        yield framing.frame(b"")

    async def _cut(self) -> AsyncGenerator[bytes, None]:
        held, size = bytearray(), self._piece
        async with aclosing(_given(self._body)) as pieces:
            async for data in pieces:
                held += data
                while len(held) >= size:
                    yield bytes(held[:size])
                    del held[:size]
        if held:
            yield bytes(held)


async def _given(body: bytes | Sending) -> AsyncGenerator[bytes, None]:
    if isinstance(body, bytes):
        yield body
        return
    pieces = body.pieces()
    try:
        async for piece in pieces:
            yield piece
    finally:
        if isinstance(pieces, AsyncGenerator):
            await pieces.aclose()
