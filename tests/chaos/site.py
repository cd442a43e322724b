"""A loopback site whose every body can be known without asking it, and which notes each request and when it was over.

Paths are `/<space>/<kind>/<n>`: a space for each run, so that one site serves many at a time; the content depends on
kind and number alone. Times are those of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from random import Random
from time import monotonic
from types import TracebackType
from typing import NamedTuple

ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
_KIB = 1024
_CHUNK = 64 * _KIB
_PAUSE = 0.004  # seconds between chunks, so that kills meet large bodies half-way
# How many of each kind a space has: small pages, few contents under many names, redirects, targets, missing, gzip
# coded, empty, large, large with one content, huge.
KINDS = {"s": 200, "d": 12, "r": 12, "m": 12, "z": 8, "e": 3, "l": 5, "x": 2, "h": 1}


class Answer(NamedTuple):
    """What the site says to a path: status, more header lines, the body on the wire, and what it is when decoded."""

    status: int
    headers: tuple[str, ...]
    wire: bytes
    body: bytes


class Page(NamedTuple):
    """What the record of a URL must say: `sha256` and `size` of its body, None where it is no success."""

    url: str
    final_url: str
    status: int
    sha256: str | None
    size: int | None


class Hit(NamedTuple):
    """One request: when it was read, when the last byte of its answer was given away (if it was), and its URL."""

    began: float
    ended: float | None
    url: str


def _noise(name: str, size: int) -> bytes:
    return Random(name).randbytes(size)


def _text(name: str, size: int) -> bytes:
    return f"<title>{name}</title>\n".encode() + _noise(name, size // 2).hex().encode()


@cache
def answer_of(kind: str, n: int) -> Answer | None:
    """What stands at a path below its space; None where nothing does. A redirect's target is of kind "t"."""
    if kind in ("s", "t"):
        body = _text(f"{kind}{n}", 200 + 37 * n % 6000)
    elif kind == "d":
        body = _text(f"d{n % 4}", 3000)
    elif kind == "z":
        body = _text(f"z{n}", 9000)
        return Answer(200, ("Content-Encoding: gzip",), gzip.compress(body, mtime=0), body)
    elif kind == "e":
        body = b""
    elif kind == "l":
        body = _noise(f"l{n}", (270 + 90 * n) * _KIB + n)
    elif kind == "x":
        body = _noise("x", 300 * _KIB)
    elif kind == "h":
        body = _noise(f"h{n}", 3 * _KIB * _KIB + 7)
    else:
        return None
    return Answer(200, (f'ETag: "{kind}{n}"',), body, body)


class Site:
    """The site, in a thread of its own; `with Site() as site`."""

    def __init__(self) -> None:
        self.port = 0
        self._hits: dict[str, list[Hit]] = defaultdict(list)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="site")
        self._ready = threading.Event()

    def __enter__(self) -> Site:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def pages(self, space: str, kinds: Mapping[str, int] = KINDS) -> list[Page]:
        """All that a run of this space has to bring: so many of each kind."""
        found = []
        for kind, count in kinds.items():
            for n in range(count):
                url = self.url(space, kind, n)
                final = self.url(space, "t", n) if kind == "r" else url
                answer = answer_of("t" if kind == "r" else kind, n)
                if answer is None:
                    found.append(Page(url, url, 404, None, None))
                else:
                    digest = sha256(answer.body).hexdigest()
                    found.append(Page(url, final, 200, digest, len(answer.body)))
        return found

    def url(self, space: str, kind: str, n: int) -> str:
        """The URL of a page; the pages of a space are spread over some addresses."""
        address = ADDRESSES[n % len(ADDRESSES)]
        return f"http://{address}:{self.port}/{space}/{kind}/{n}.{'bin' if kind in 'lxh' else 'html'}"

    def hits(self, space: str) -> list[Hit]:
        """The requests of a space so far, in the order in which they were over."""
        return list(self._hits[space])

    def forget(self, space: str) -> None:
        """The hits of a space are of no more use."""
        self._hits.pop(space, None)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._connection, ADDRESSES[0], 0))
        self.port = server.sockets[0].getsockname()[1]
        others = [
            self._loop.run_until_complete(asyncio.start_server(self._connection, address, self.port))
            for address in ADDRESSES[1:]
        ]
        self._ready.set()
        self._loop.run_forever()
        for each in (server, *others):
            each.close()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                await self._answer(head, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # killed
        finally:
            writer.close()

    async def _answer(self, head: str, writer: asyncio.StreamWriter) -> None:
        began = monotonic()
        lines = head.split("\r\n")
        path = lines[0].split(" ")[1]
        host = next(line.split(" ", 1)[1] for line in lines if line.lower().startswith("host:"))
        _, space, kind, name = path.split("/")
        n, url = int(name.partition(".")[0]), f"http://{host}{path}"
        ended = None
        try:
            await _write(writer, self._said(space, kind, n))
            ended = monotonic()
        finally:
            self._hits[space].append(Hit(began, ended, url))

    def _said(self, space: str, kind: str, n: int) -> bytes:
        status, more, body = 404, tuple[str, ...](), b"nothing here\n"
        if kind == "r":
            status, more, body = 302, (f"Location: {self.url(space, 't', n)}",), b""
        elif (found := answer_of(kind, n)) is not None:
            status, more, body = found.status, found.headers, found.wire
        kind_of = "application/octet-stream" if kind in "lxh" else "text/html; charset=utf-8"
        head = (f"HTTP/1.1 {status} -", f"Content-Type: {kind_of}", f"Content-Length: {len(body)}", *more)
        return "\r\n".join((*head, "", "")).encode() + body


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    for first in range(0, len(data), _CHUNK):
        if first:
            await asyncio.sleep(_PAUSE)
        writer.write(data[first : first + _CHUNK])
        await writer.drain()
