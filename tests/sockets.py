"""WebSocket servers on loopback, in the test's own loop; each connection does what the test says."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
from aiohttp import WSMsgType, web

Talk = Callable[["WsSite", web.WebSocketResponse], Awaitable[None]]


class WsSite:
    """What a running site saw: the headers of each handshake, in order, and the messages that came."""

    def __init__(self, secure: bool) -> None:
        self.port = 0
        self.scheme = "wss" if secure else "ws"
        self.handshakes: list[dict[str, str]] = []  # names in lower case
        self.messages: list[str | bytes] = []

    def url(self, path: str = "/ws") -> str:
        """The ws(s) URL of a path."""
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"

    @property
    def connected(self) -> int:
        """How many handshakes there were."""
        return len(self.handshakes)

    async def heard(self, socket: web.WebSocketResponse) -> str | bytes:
        """The next message."""
        message: str | bytes = (await socket.receive()).data
        self.messages.append(message)
        return message


async def read_by_client(socket: web.WebSocketResponse) -> None:
    """Wait until the client has taken all that was sent: its pong comes behind that."""
    await socket.ping()
    assert (await socket.receive()).type is WSMsgType.PONG


async def until_closed(site: WsSite, socket: web.WebSocketResponse) -> None:
    """Say nothing more until the client closes."""
    async for _ in socket:
        pass


def counting(first: int, last: int, *, close: int | None = None) -> Talk:
    """Sends "first" to "last" as texts; then closes with a code, or waits for the client to."""

    async def talk(site: WsSite, socket: web.WebSocketResponse) -> None:
        for number in range(first, last + 1):
            await socket.send_str(str(number))
        if close is None:
            await until_closed(site, socket)
        else:
            await socket.close(code=close, message=b"as told")

    return talk


def on_each(*talks: Talk) -> Talk:
    """The first connection does the first, and so on; the last one is done by all that follow."""
    left = list(talks)

    async def talk(site: WsSite, socket: web.WebSocketResponse) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(site, socket)

    return talk


async def cut(site: WsSite, socket: web.WebSocketResponse) -> None:
    """Hangs up without a close frame."""
    assert socket._req is not None
    assert socket._req.transport is not None
    socket._req.transport.abort()


@asynccontextmanager
async def ws_site(
    talk: Talk,
    *,
    tls: ssl.SSLContext | None = None,
    protocols: tuple[str, ...] = (),
    guard: Callable[[web.Request], web.StreamResponse | None] = lambda _: None,
) -> AsyncIterator[WsSite]:
    """A site whose every path is a WebSocket, but where `guard` gives another answer."""
    site = WsSite(tls is not None)

    async def serve(request: web.Request) -> web.StreamResponse:
        site.handshakes.append({name.lower(): value for name, value in request.headers.items()})
        other = guard(request)
        if other is not None:
            return other
        socket = web.WebSocketResponse(protocols=protocols, autoping=False)
        await socket.prepare(request)
        with suppress(ConnectionError):  # the client is gone
            await talk(site, socket)
        return socket

    app = web.Application()
    app.router.add_get("/{path:.*}", serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    listener = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await listener.start()
    site.port = runner.addresses[0][1]
    try:
        yield site
    finally:
        await runner.cleanup()


def frames_of(folder: Path) -> list[dict[str, Any]]:
    """All lines of a run's frames.jsonl; none where there is no such file."""
    path = folder / "frames.jsonl"
    return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []
