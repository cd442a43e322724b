"""A site without end: each page links to so many new ones and to as many that others link to as well.

Usage: python -m benchmarks.endlesssite NEW, which prints its port. /given tells how many URLs it has named by now.
"""

from __future__ import annotations

import asyncio
import sys
from random import Random

_WORDS = ("amber", "basin", "cedar", "delta", "ember", "fjord", "grove", "heath", "islet", "knoll", "larch", "marsh")


class Site(asyncio.Protocol):
    """Answers one request after another; the page at /p/N links to the next that nobody linked to yet."""

    new = 500
    given = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what to answer on."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._head = b""

    def data_received(self, data: bytes) -> None:
        """Answer all requests that are whole."""
        self._head += data
        while (end := self._head.find(b"\r\n\r\n")) >= 0:
            path = self._head[: self._head.index(b"\r")].split()[1].decode()
            self._head = self._head[end + 4 :]
            page = self._page(path)
            self._transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %d\r\n\r\n" % len(page)
            )
            self._transport.write(page)

    def _page(self, path: str) -> bytes:
        if path == "/given":
            return b"%d" % Site.given
        start = Site.given
        Site.given += Site.new
        rng = Random(path)
        lines = [f"<!doctype html><title>{' '.join(rng.choices(_WORDS, k=8))}</title>"]
        lines += [f'<p><a href="/p/{number}">page {number}</a>' for number in range(start, start + Site.new)]
        lines += [f'<li><a href="/p/{rng.randrange(start + 1)}">before</a>' for _ in range(Site.new)]
        return "\n".join(lines).encode()


async def main() -> None:
    """Serve until killed."""
    Site.new = int(sys.argv[1])
    server = await asyncio.get_running_loop().create_server(Site, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
