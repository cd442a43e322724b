"""The monitor as a server: who is let in, what every answer carries, how much of it there may be at once.

Does: put the parts together and serve them until the end. Must not know what is answered. Invariant: nothing is
answered before Host, Origin and Sec-Fetch-Site are ours and, where reading needs one, the token is shown; every answer
has the headers that keep other sites, frames and caches away; at most CONNECTIONS are open, fewer where the process may
not open as many files, and one that does not bring a request within IDLE seconds is closed.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from aiohttp import web

from crawler.errors import StorageError
from crawler.filelimit import open_files, raised_limit
from crawler.monitoraccess import Doors, Keys
from crawler.monitorapi import Api, refused
from crawler.monitorfiles import Tree
from crawler.monitorrecords import Browser
from crawler.monitorsocket import Sockets
from crawler.monitorwatch import Watch

CONNECTIONS = 200
_FILES = 24  # kept for what is read to answer: pages, state.db, records
_FEWEST = 4  # connections
IDLE = 15.0  # seconds
_STALLED = 60_000  # milliseconds in which a client must take something of what was sent
_PAGES = Path(__file__).parent / "monitor_pages"
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; frame-ancestors 'none'; form-action {forms}"
)
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_OPEN = ("/login", "/style.css")  # which hold nothing of any job
_LOGIN = 1024  # bytes
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Wanted(NamedTuple):
    """What is served, to whom. `keys` is given the port only for its cookie."""

    output: Path
    keys: Keys
    bound: tuple[str, ...] = ()


def app_of(wanted: Wanted, port: int) -> web.Application:
    """The whole monitor, to be served at `port`."""
    tree = Tree(wanted.output)
    browser = Browser(tree)
    watch = Watch(tree, browser)
    api = Api(tree, watch, browser, wanted.keys, secrets.token_bytes(32))
    sockets = Sockets(api, watch, wanted.keys)
    guard = _Guard(Doors(port, wanted.bound), wanted.keys, port)
    app = web.Application(middlewares=[guard.middleware], client_max_size=8192)
    app.add_routes([web.get("/ws", sockets.serve), *api.routes(), *guard.routes()])
    for path, name, kind in (
        ("/", "index.html", "text/html; charset=utf-8"),
        ("/app.js", "app.js", "text/javascript; charset=utf-8"),
        ("/style.css", "style.css", "text/css; charset=utf-8"),
    ):
        app.router.add_get(path, _page(name, kind))
    app.on_response_prepare.append(_finish)

    async def close(_: web.Application) -> None:
        await sockets.close()

    app.on_shutdown.append(close)
    return app


@asynccontextmanager
async def served(wanted: Wanted, host: str, port: int) -> AsyncIterator[int]:
    """Serve while inside; gives the port, which is chosen where `port` is 0. Raises StorageError: it is taken."""
    listener = _listener(host, port)
    port = listener.getsockname()[1]
    runner = web.AppRunner(
        app_of(wanted, port), access_log=None, keepalive_timeout=IDLE, max_line_size=8190, max_field_size=8190
    )
    await runner.setup()
    handlers = runner.server
    assert handlers is not None
    at_once = _connections()

    def accept() -> asyncio.BaseProtocol:
        return handlers() if len(handlers.connections) < at_once else _Full()

    server = await asyncio.get_running_loop().create_server(accept, sock=listener, backlog=128)
    try:
        yield port
    finally:
        server.close()
        await runner.cleanup()


def _connections() -> int:
    """As many as leave files to answer with: one that is full of connections could read nothing."""
    in_use = open_files()
    limit = raised_limit(in_use + _FILES + CONNECTIONS)
    return max(_FEWEST, min(CONNECTIONS, limit - in_use - _FILES))


class _Full(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class _Guard:
    """Lets in whom `doors` and `keys` let in."""

    def __init__(self, doors: Doors, keys: Keys, port: int) -> None:
        self._doors = doors
        self._keys = keys
        self._cookie = f"crawler_monitor_{port}"  # the cookies of a host are of all its ports

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse, or go on; a fault of ours is told in one sentence without its innards."""
        headers = request.headers
        no = self._doors.refuse(
            headers.getall("Host", []), headers.getall("Origin", []), headers.getall("Sec-Fetch-Site", [])
        )
        if no is not None:
            raise refused(no.status, no.why)
        if request.path not in _OPEN and not self._keys.may_read(
            headers.get("Authorization"), request.cookies.get(self._cookie)
        ):
            if request.path == "/":
                raise web.HTTPSeeOther("/login")
            raise refused(401, "this monitor needs its token")
        return await handler(request)

    def routes(self) -> list[web.RouteDef]:
        """The form that asks for the token, where reading needs it."""
        return [web.get("/login", self.form), web.post("/login", self.enter)] if self._keys.reading else []

    async def form(self, request: web.Request) -> web.Response:
        """The form."""
        return await _page("login.html", "text/html; charset=utf-8")(request)

    async def enter(self, request: web.Request) -> web.Response:
        """The token comes in, a cookie that is not the token goes out."""
        async with asyncio.timeout(IDLE):
            said = (await request.post()).get("token")
        if not isinstance(said, str) or not self._keys.is_token(said.strip()):
            raise refused(401, "this is not the token; go back and try again")
        response = web.Response(status=303, headers={"Location": "/"})
        response.set_cookie(self._cookie, self._keys.session, httponly=True, samesite="Strict", path="/")
        return response


async def _finish(request: web.Request, response: web.StreamResponse) -> None:
    """What every answer carries."""
    for name, value in _ALWAYS.items():
        response.headers[name] = value
    forms = "'self'" if request.path == "/login" else "'none'"
    response.headers.setdefault("Content-Security-Policy", _CSP.format(forms=forms))
    response.headers.pop("Server", None)


def _page(name: str, kind: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    data = (_PAGES / name).read_bytes()

    async def page(_: web.Request) -> web.Response:
        return web.Response(body=data, headers={"Content-Type": kind})

    return page


def _listener(host: str, port: int) -> socket.socket:
    """Raises StorageError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STALLED)
        listener.bind((host, port))
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise StorageError(f"{host}:{port}: cannot be listened at: {error.strerror}") from error
    return listener
