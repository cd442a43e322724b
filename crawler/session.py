"""The wire: one pool of connections for each route, behind a seam that a second transport could fill as well.

Does: send one request (one hop), hand back status, headers and pieces of the body as they came (not decoded).
Must not know jobs, retries, files or what a status means. Invariant: aiohttp's types and exceptions end here; every
trouble of the wire leaves as TransportError with a Reason, only bugs and cancellation pass as they are. No connection
serves two routes; credentials, cookies and redirects are decided per hop, above; where it may connect to, by guard.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

import aiohttp
from aiohttp import http_exceptions
from multidict import CIMultiDict

from crawler.bulk import BULK, Inflow
from crawler.errors import Reason
from crawler.filelimit import OutOfFiles, out_of_files
from crawler.guard import Attempt, Guard, current
from crawler.handshakes import refused
from crawler.model import Message, Timing
from crawler.pools import Pools
from crawler.resolver import Lookup
from crawler.retry import REPEATABLE
from crawler.routes import DIRECT, Proxy
from crawler.urls import printable
from crawler.watch import Phase, Transfer
from crawler.wirefaults import TransportError, translate

__all__ = ["Answer", "Session", "SessionSettings", "Transport", "TransportError"]


class SessionSettings(NamedTuple):
    """What the pools need to know: connections open at once in each, seconds an idle one is kept, seconds a name is
    cached.

    `headers` go to whatever origin, so none of them may be a credential. `pins` as `addresses.parse_pins` reads them;
    `allow_private` lifts the guard from all addresses.
    """

    connections: int
    keepalive: float
    dns_ttl: float
    headers: Mapping[str, str]
    pins: Mapping[str, str] = MappingProxyType({})
    allow_private: bool = False
    idle: int = 1 << 30


class Answer:
    """The head of a response; `read` gives the body in pieces, b"" at its end. Close it unless read to the end."""

    __slots__ = ("_content", "_inflow", "_sent", "headers", "length", "length_checked", "response", "status", "whole")

    def __init__(self, response: aiohttp.ClientResponse, sent: Mapping[str, str] = MappingProxyType({})) -> None:
        """`sent`: the request's own headers, beside those of all."""
        self._sent = sent
        self.whole = False  # known to be the whole body, though a part was asked for
        self.response = response  # for who goes on with its connection (channel)
        self._content = response.content
        self._inflow: Inflow | None = None
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        length = self.headers.get("Content-Length")
        # A length that is not a number does not get past aiohttp's parser, nor one beside Transfer-Encoding.
        self.length = int(length) if length is not None else None
        self.length_checked = length is not None or "Transfer-Encoding" in self.headers

    @property
    def told(self) -> Mapping[str, str]:
        """The headers as they came, whatever this stands for."""
        return self.response.headers

    @property
    def phrase(self) -> str:
        """What stands behind the status."""
        return self.response.reason or ""

    @property
    def content_encoding(self) -> str | None:
        """All Content-Encoding lines as one list (RFC 9110 5.3)."""
        if "Content-Encoding" not in self.headers:
            return None
        return ", ".join(self.response.headers.getall("Content-Encoding")) or None

    def all(self, name: str) -> list[str]:
        """The values of every header of that name, in their order."""
        return list(self.response.headers.getall(name, ()))

    async def read(self) -> bytes:
        """The next piece of the body; what came before a trouble is given first. Raises TransportError."""
        if self._inflow is not None:
            return bytes(await self.read_bulk())
        try:
            return await self._content.readany()
        except (aiohttp.ClientError, OSError) as error:
            return self._left(error)

    async def read_large(self) -> bytes:
        """As `read`, of a body that is known to be large: without a copy of what came in several parts."""
        try:
            return (await self._content.readchunk())[0] if self.length is not None else await self._content.readany()
        except (aiohttp.ClientError, OSError) as error:
            return self._left(error)

    async def read_bulk(self) -> bytes | memoryview:
        """As `read_large`, past aiohttp where that can be: a piece stays as it is until it is let go."""
        if self._inflow is None:
            self._inflow = self._taken_over()
        inflow = self._inflow
        if inflow is None:
            return await self.read_large()
        if piece := await inflow.read():
            self._inflow = None if inflow.complete else inflow
            return piece
        self._inflow = None
        try:
            return await self.read()
        except TransportError as error:  # which counts what aiohttp saw of the body
            seen = self._content.total_bytes
            told = error.error.replace(f"received {seen} of", f"received {seen + inflow.taken} of")
            raise TransportError(error.reason, told) from error

    def let_go(self, held: int) -> None:
        """Of all that `read_bulk` gave only the last `held` bytes are of use still."""
        if self._inflow is not None:
            self._inflow.let_go(held)

    def _taken_over(self) -> Inflow | None:
        """The rest of the body from the connection itself, if it is much and nothing of it waits in aiohttp."""
        content, connection = self._content, self.response.connection
        own = connection.protocol if connection is not None else None
        if own is None or content.is_eof() or content._buffer:  # while there is none aiohttp holds nothing up
            return None
        transport, left = own.transport, (self.response.content_length or 0) - content.total_bytes
        if transport is None or transport.is_closing() or left < BULK:
            return None

        def over(clean: bool) -> None:  # for aiohttp as well, which gives the connection back to the pool
            own._parser = None  # it waits for the body still; without it what comes unasked ends the connection
            if not clean:
                own.force_close()
            content.feed_eof()

        return Inflow(transport, own, left, over)

    def _left(self, error: Exception) -> bytes:
        """What waits to be read when a connection is lost: aiohttp gives it to nobody. Raises TransportError."""
        waiting = self._content._buffer
        if not waiting:
            raise translate(error, "while reading the body") from error
        piece = b"".join(waiting)[self._content._buffer_offset :]
        waiting.clear()
        return piece

    def asked(self, name: str) -> bool:
        """Whether the request had this header, of its own or as all have it."""
        return name in self.response.request_info.headers or any(name.lower() == own.lower() for own in self._sent)

    def stand_for(self, status: int, headers: Mapping[str, str], length: int | None) -> None:
        """From now on this speaks for the whole body, of which it brings a part."""
        self.status, self.headers, self.length = status, headers, length

    def close(self) -> None:
        """Drop the connection: the rest of the body is not wanted."""
        inflow, self._inflow = self._inflow, None
        if inflow is not None:
            inflow.drop()
        self.response.close()


class Transport(Protocol):
    """The seam to the wire: `Session` fills it, and so might a second transport."""

    async def send(self, message: Message, transfer: Transfer, timing: Timing) -> Answer: ...


class Session:
    """The pools of all routes. An async context manager; must be entered in a running loop.

    Requests go out through `Wire`, without the detour through `ClientSession.request`: its cookies, redirects, proxies
    and timers are all decided elsewhere here, and passing through them costs 23 of 77 us a request. `test_session`
    holds what an upgrade of aiohttp must keep.
    """

    def __init__(self, settings: SessionSettings, lookup: Lookup | None = None) -> None:
        """`lookup` stands in for the system's name lookup."""
        self._settings = settings
        self._lookup = lookup

    async def __aenter__(self) -> Session:
        settings = self._settings
        self._guard = Guard(settings.connections, settings.dns_ttl, settings.pins, self._lookup)
        self._pools = Pools(
            self._guard, settings.connections, settings.keepalive, CIMultiDict(settings.headers), idle=settings.idle
        )
        self._direct = self._pools.direct
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pools.close()
        await self._guard.close()

    async def address_of(self, host: str) -> str | None:
        """The first address of a canonical host; None where it has none, or nobody says."""
        return await self._guard.first(host)

    async def send(self, message: Message, transfer: Transfer, timing: Timing) -> Answer:
        """Send one message and wait for the head of the answer. Raises TransportError."""
        body = message.body
        then = Phase.ANSWER if body is None or isinstance(body, bytes) else Phase.SEND
        attempt = Attempt(transfer, timing, message.trusted or self._settings.allow_private, then)
        current.set(attempt)
        pool = self._direct if message.route is DIRECT else await self._pools.opened(message.route)
        pool.users += 1
        try:
            try:
                response = await pool.wire.send(message, transfer)
            except aiohttp.ClientConnectorError:  # nothing was sent
                raise
            except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError, aiohttp.ClientConnectionResetError):
                if attempt.fresh or message.method not in REPEATABLE:
                    raise
                # The pooled connection was closed by the server as we took it (RFC 9112 9.3.1): once more, on another.
                response = await pool.wire.send(message, transfer)
        except (aiohttp.ClientError, OSError, ValueError, http_exceptions.HttpProcessingError) as error:
            if out_of_files(error):
                raise OutOfFiles(errno.EMFILE, "no connection: too many open files") from error
            raise translate(error, "before the answer") from error
        finally:
            pool.users -= 1
        if pool.wire.proxy is not None and pool.wire.asks_proxy(message.url):
            _check_proxy(pool.wire.proxy, response)
        if (response.version is not None and response.version.major != 1) or not 100 <= response.status <= 999:
            response.close()
            raise TransportError(Reason.BAD_RESPONSE, f"not a status line of HTTP/1.x: status {response.status}")
        return Answer(response, message.headers)


def _check_proxy(proxy: Proxy, response: aiohttp.ClientResponse) -> None:
    """Raise TransportError where the answer to a request that a proxy should pass on is surely the proxy's own.

    Other failures of its own (502, 504) cannot be told from the site's, and stay statuses.
    """
    headers = response.headers
    if response.status == 407:
        schemes = [value.split(" ")[0] for value in headers.getall("Proxy-Authenticate", [])]
        reason, told = Reason.PROXY_AUTH, refused(proxy, schemes)
    elif (cause := headers.get("X-Squid-Error")) is not None:
        reason, told = Reason.PROXY_FAILED, f"the proxy {proxy} says {response.status} {printable(cause, 100)}"
    else:
        return
    response.close()
    raise TransportError(reason, told)
