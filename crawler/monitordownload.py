"""A file, or a piece of one, as a download that can be gone on with.

Does: send bytes from a descriptor, all or the Range that is asked for (RFC 9110 14). Must not know which file it is,
nor who may have it. Invariant: a part is sent only of the file that the asker has the beginning of (If-Range); of
several ranges, or what is none, the whole is sent.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from aiohttp import web

_PIECE = 256 * 1024  # bytes
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})\Z", re.ASCII | re.IGNORECASE)


def as_download(path: str) -> dict[str, str]:
    """The headers of a file of which no browser shows anything."""
    name = _UNSAFE.sub("_", PurePosixPath(path).name).strip("._")[-100:] or "body"
    return {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f'attachment; filename="{name}"',
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }


async def send(
    request: web.Request, fd: int, headers: Mapping[str, str], start: int = 0, length: int | None = None
) -> web.StreamResponse:
    """Bytes from `start`, `length` of them or all that follow, as far as there are so many. Closes the descriptor."""
    try:
        said = os.fstat(fd)
        size = max(0, said.st_size - start)
        size = size if length is None else min(size, length)
        tag = f'"{said.st_ino:x}-{said.st_size:x}-{said.st_mtime_ns:x}-{start:x}"'
        part = _part(request.headers, size, tag)
        response = web.StreamResponse(headers={**headers, "Accept-Ranges": "bytes", "ETag": tag})
        if part is not None:
            response.set_status(206 if part else 416)
            shown = f"{part.start}-{part.stop - 1}" if part else "*"
            response.headers["Content-Range"] = f"bytes {shown}/{size}"
        part = range(size) if part is None else part
        response.content_length = len(part)
        await response.prepare(request)
        if request.method != "HEAD":
            await _copy(response, fd, start + part.start, start + part.stop)
        await response.write_eof()
        return response
    finally:
        os.close(fd)


async def _copy(response: web.StreamResponse, fd: int, at: int, end: int) -> None:
    while at < end:
        piece = await asyncio.to_thread(os.pread, fd, min(_PIECE, end - at), at)
        if not piece:
            raise ConnectionResetError("the file was cut while it was sent")
        await response.write(piece)
        at += len(piece)


def _part(headers: Mapping[str, str], size: int, tag: str) -> range | None:
    """The bytes that are asked for, none where there are none of them; None: all."""
    found = _RANGE.match(headers.get("Range", "").strip())
    if found is None or headers.get("If-Range", tag).strip() != tag:
        return None
    first, last = found.groups()
    if not first:
        return range(max(0, size - int(last)), size) if last else None
    if last and int(last) < int(first):
        return None
    stop = min(int(last) + 1, size) if last else size
    return range(int(first), stop) if int(first) < stop else range(0)
