"""A server of one body that gives ranges of it, and misbehaves as a test says."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import NamedTuple

MIB = 1024 * 1024
LONG_AGO = "Sat, 21 Nov 2015 13:54:00 GMT"
TODAY = "Sat, 21 Nov 2026 13:54:01 GMT"


class Seen(NamedTuple):
    """One request, its headers with names in lower case; `number` counts from 1."""

    number: int
    path: str
    headers: MutableMapping[str, str]

    @property
    def start(self) -> int | None:
        """Of the range that was asked for, if one was."""
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        return int(match[1]) if match else None

    def span(self, size: int) -> tuple[int, int]:
        """The bytes that were asked for, of so many."""
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        if match is None:
            return 0, size
        return int(match[1]), int(match[2]) + 1 if match[2] else size


class Ranged:
    """The server; everything may be exchanged while it runs.

    `cut` says after how many bytes of its body the answer to a request breaks off (None: never), `answer` gives another
    answer instead of its own (None: its own; it is sent whole, and the connection stays). `held` is waited for before
    the last byte of an answer of which it says so.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.headers: dict[str, str] = {"ETag": '"v1"', "Accept-Ranges": "bytes", "Content-Type": "text/css"}
        self.cut: Callable[[Seen], int | None] = lambda seen: None
        self.answer: Callable[[Seen], bytes | None] = lambda seen: None
        self.held: Callable[[Seen], asyncio.Event | None] = lambda seen: None
        self.hang = False  # what is cut hangs instead
        self.chunked = False
        self.seen: list[Seen] = []
        self.sent = 0  # bytes of bodies
        self.at_once = 0
        self.most_at_once = 0
        self.url = ""

    def know_no_ranges(self) -> None:
        """From now on each answer is the whole body."""

        def forget(seen: Seen) -> None:
            seen.headers.pop("range", None)

        self.answer = forget

    @property
    def ranges(self) -> list[str | None]:
        """The Range header of each request."""
        return [seen.headers.get("range") for seen in self.seen]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:] if line)}
        seen = Seen(len(self.seen) + 1, lines[0].split(" ")[1], headers)
        self.seen.append(seen)
        if (said := self.answer(seen)) is not None:
            writer.write(said)
            await writer.drain()
            return True
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            return await self._answer(seen, reader, writer)
        finally:
            self.at_once -= 1

    async def _answer(self, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head, body = self.head(seen)
        cut, event = self.cut(seen), self.held(seen)
        whole = cut is None or cut >= len(body)
        writer.write(head)
        last = 1 if event is not None else 0
        await self._write(writer, body[: len(body) - last if whole else cut])
        if event is not None and whole:
            await event.wait()
            await self._write(writer, body[-1:])
        if whole and self.chunked:
            writer.write(b"0\r\n\r\n")
        if not whole and self.hang:
            await reader.read()
        return whole

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        for at in range(0, len(data), MIB // 4):
            piece = data[at : at + MIB // 4]
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if self.chunked else piece)
            await writer.drain()
            self.sent += len(piece)

    def head(self, seen: Seen) -> tuple[bytes, bytes]:
        """The head of its own answer, as RFC 9110 has it, and its body."""
        size, condition = len(self.data), seen.headers.get("if-range")
        headers = {"Date": TODAY, **self.headers}
        same = condition in (None, headers.get("ETag"), headers.get("Last-Modified"))
        start, stop = seen.span(size)
        status = "200 OK"
        if seen.start is not None and same and start >= size:
            return f"HTTP/1.1 416 No\r\nContent-Range: bytes */{size}\r\nContent-Length: 0\r\n\r\n".encode(), b""
        if seen.start is not None and same:
            status = "206 Partial"
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        else:
            start, stop = 0, size
        headers |= {"Transfer-Encoding": "chunked"} if self.chunked else {"Content-Length": str(stop - start)}
        lines = [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode(), self.data[start:stop]


@asynccontextmanager
async def ranged(data: bytes) -> AsyncIterator[Ranged]:
    """A server on loopback; afterwards each of its connections has ended, which is for the client to see to."""
    site = Ranged(data)
    async with asyncio.TaskGroup() as open_ones:

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            open_ones.create_task(site.serve(reader, writer))

        async with await asyncio.start_server(accept, "127.0.0.1", 0) as listening:
            site.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/large"
            yield site


async def until(so: Callable[[], bool]) -> None:
    """Wait for something that nobody tells of."""
    async with asyncio.timeout(30):
        while not so():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def reply(status: str, body: bytes = b"", **headers: str) -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
