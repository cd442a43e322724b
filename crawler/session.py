"""The wire: one pool of connections for each route, behind a seam that a second transport could fill as well.

Does: send one request (one hop), hand back status, headers and pieces of the body as they came (not decoded).
Must not know jobs, retries, files or what a status means. Invariant: aiohttp's types and exceptions end here; every
trouble of the wire leaves as TransportError with a Reason, only bugs and cancellation pass as they are. No connection
serves two routes; credentials, cookies and redirects are decided per hop, above; where it may connect to, by guard.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

import aiohttp
from aiohttp import http_exceptions
from multidict import CIMultiDict

from crawler.errors import Reason
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


class Answer:
    """The head of a response; `read` gives the body in pieces, b"" at its end. Close it unless read to the end."""

    __slots__ = ("_content", "headers", "length", "length_checked", "response", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response  # for who goes on with its connection (channel)
        self._content = response.content
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        length = self.headers.get("Content-Length")
        # A length that is not a number does not get past aiohttp's parser, nor one beside Transfer-Encoding.
        self.length = int(length) if length is not None else None
        self.length_checked = length is not None or "Transfer-Encoding" in self.headers

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
        """The next piece of the body. Raises TransportError."""
        try:
            return await self._content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise translate(error, "while reading the body") from error

    def close(self) -> None:
        """Drop the connection: the rest of the body is not wanted."""
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
        self._pools = Pools(self._guard, settings.connections, settings.keepalive, CIMultiDict(settings.headers))
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
            raise translate(error, "before the answer") from error
        finally:
            pool.users -= 1
        if pool.wire.proxy is not None and pool.wire.asks_proxy(message.url):
            _check_proxy(pool.wire.proxy, response)
        if (response.version is not None and response.version.major != 1) or not 100 <= response.status <= 999:
            response.close()
            raise TransportError(Reason.BAD_RESPONSE, f"not a status line of HTTP/1.x: status {response.status}")
        return Answer(response)


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
