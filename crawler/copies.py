"""Bodies of earlier runs, given once more where a server says that nothing changed.

Does: find the file that holds a body, give it as if it had come from the wire: linked where it is large, read where it
is small. Must not know HTTP or which answer it stands for. Invariant: a file that is given is never written to; one
that is not what is known of it is not given, so that it is fetched instead.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from multidict import CIMultiDict

from crawler.known import Known
from crawler.model import Body
from crawler.spool import SMALL, Keep

log = logging.getLogger("crawler")


class Stored(NamedTuple):
    """The head of an answer that did not come now."""

    headers: Mapping[str, str]
    status: int = 304

    def all(self, name: str) -> list[str]:
        """The values of every header of that name."""
        value = self.headers.get(name)
        return [] if value is None else [value]


def known_headers(known: Known, told: Mapping[str, str]) -> Mapping[str, str]:
    """The headers of what is known, updated by those of a 304 (RFC 9111 3.2), whose own length is that of no body."""
    headers = CIMultiDict(told)
    headers.pop("Content-Length", None)
    for name, value in (
        ("Content-Type", known.content_type),
        ("ETag", known.etag),
        ("Last-Modified", known.last_modified),
    ):
        if value is not None and name not in headers:
            headers[name] = value
    return headers


class Copies:
    """The bodies of a job. `folders` are those of its runs by number; `needed`: a body is wanted, else its digest is
    enough.
    """

    def __init__(self, folders: Mapping[int, Path], keep: Keep, *, needed: bool) -> None:
        self._folders = folders
        self._keep = keep
        self._needed = needed

    def __repr__(self) -> str:
        return f"<Copies of {len(self._folders)} runs>"

    def has(self, known: Known) -> bool:
        """Can the body be given, as far as its size tells."""
        if not self._needed:
            return known.sha256 is not None
        path = self._path(known)
        if path is None:
            return False
        try:
            return os.lstat(path).st_size == known.bytes
        except OSError:
            return False

    async def give(self, known: Known, name: str, first: int) -> tuple[Body, bytes] | None:
        """The body, and its first so many bytes; `name` is for a file that nobody else has. None where it cannot be."""
        assert known.sha256 is not None
        if not self._needed:
            return Body(known.bytes or 0, known.sha256), b""
        try:
            return await asyncio.to_thread(self._given, known, name, first)
        except OSError as error:
            log.warning("%s: the copy of an earlier run cannot be read, so it is fetched: %s", known.url, error)
            return None

    def _given(self, known: Known, name: str, first: int) -> tuple[Body, bytes] | None:
        path = self._path(known)
        assert path is not None
        assert known.sha256 is not None
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with open(fd, "rb") as file:
            size = os.fstat(fd).st_size
            if size != known.bytes:
                return None
            if size <= SMALL:
                data = file.read()
                if sha256(data).hexdigest() != known.sha256:
                    log.warning("%s: %s is not what it was, so it is fetched again", known.url, path)
                    return None
                return Body(size, known.sha256, data if self._keep.folder is not None else None), data[:first]
            start = file.read(first)
        if self._keep.folder is None:
            return Body(size, known.sha256), start
        part = os.path.join(self._keep.folder, f"{name}.known.part")
        with suppress(FileNotFoundError):
            os.unlink(part)
        os.link(path, part, follow_symlinks=False)
        return Body(size, known.sha256, part=part), start

    def _path(self, known: Known) -> str | None:
        folder = self._folders.get(known.holder)
        return os.path.join(folder, known.body) if folder is not None and known.body is not None else None
