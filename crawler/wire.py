"""Requests onto the connections of the pool: through aiohttp's own ClientRequest, or by hand where they are plain.

Does: connect through the pool, put a request onto the wire, wait for the head of the answer. Must not know trust,
retries or what an answer means. Invariant: what is written by hand is byte for byte what ClientRequest would send (a
test holds it); after any failure the connection is closed.

A plain GET has no body, and its own headers (its X-Request-ID, a credential) only add to those of all: what stays the
same for an origin is made once. Building a ClientRequest, its URL and headers for each costs a fifth of a request.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import NamedTuple

import aiohttp
from aiohttp.connector import Connection
from aiohttp.helpers import TimerNoop
from multidict import CIMultiDict
from yarl import URL

from crawler.connector import Connector
from crawler.model import Message, Sending
from crawler.proxytext import authorization
from crawler.routes import Proxy, Route
from crawler.tls import context_of
from crawler.upload import Upload
from crawler.watch import Transfer

_REMEMBERED = 10_000  # origins
# The watch keeps time.
_NO_TIMEOUTS = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)
_TIMER = TimerNoop()
# aiohttp's own bounds (8,190 bytes, 128 headers) refuse real sites with a long Content-Security-Policy.
_MAX_LINE = 64 * 1024
_MAX_HEADERS = 256
# The stream's high-water mark is twice this: large enough that a 1 GiB body is not throttled by pauses (440 against
# 180 MB/s with 64 KiB), and small bodies never fill it.
_READ_BUFFER = 1024 * 1024
# Headers that say how a message is framed, or whose place or number is not for the message to say.
_FRAMING = frozenset(
    {"connection", "content-encoding", "content-length", "expect", "host", "keep-alive", "proxy-authorization"}
    | {"te", "trailer", "transfer-encoding", "upgrade"}
)
_NAMING = frozenset({"user-agent", "accept", "accept-encoding"})

_CREDENTIALS = "Proxy-Authorization"

Put = Callable[[Connection], Awaitable[aiohttp.ClientResponse]]


class _Origin(NamedTuple):
    request: aiohttp.ClientRequest  # names the origin to the pool
    cut: int  # where in the URL the target begins
    middle: str  # between the target and the message's own headers


class _Sent:
    """Stands for the writer of a request that is out already."""

    output_size = 0


class Wire:
    """Sends through the connector of one route; `headers` go with every message. `session` only lends its name."""

    def __init__(
        self, connector: Connector, session: aiohttp.ClientSession, headers: CIMultiDict[str], route: Route
    ) -> None:
        self._connector = connector
        self._session = session
        self._headers = headers
        self._naming = CIMultiDict(pair for pair in headers.items() if pair[0].lower() in _NAMING)
        self._not_added = _FRAMING | {name.lower() for name in headers}
        self._loop = asyncio.get_running_loop()
        self._origins: dict[str, _Origin] = {}
        self._tls = route.tls
        self._context: ssl.SSLContext | None = None
        # The one that plain http is asked of: there the whole URL is the target (RFC 9112 3.2.2).
        self.proxy: Proxy | None = None
        self._place: URL | None = None
        self._for_proxy: list[tuple[str, str]] = []
        if route.proxy is not None and not route.leads_on and route.unix_socket is None:
            self.proxy = route.proxy
            self._place = URL(str(route.proxy))
            if (credentials := authorization(route.proxy)) is not None:
                self._for_proxy = [(_CREDENTIALS, credentials)]

    def asks_proxy(self, url: str) -> bool:
        """Does a request for this URL go to a proxy itself, which passes it on."""
        return self.proxy is not None and url.startswith("http:")

    async def send(self, message: Message, transfer: Transfer) -> aiohttp.ClientResponse:
        """Send a message; the response has its head. Raises what aiohttp raises."""
        method, url, headers, body = message[:4]
        plain = method == "GET" and body is None and not message.bare and "#" not in url
        if plain and (lines := self._lines(headers)) is not None:
            start = url.index("/", 8)
            origin = self._origins.get(url[:start]) or self._made(url[:start])
            head = f"GET {url[origin.cut :]}{origin.middle}{lines}\r\n".encode()
            return await self._exchange(origin.request, partial(self._put, origin.request, head), transfer)
        all_headers = (self._naming if message.bare else self._headers).copy()
        all_headers.update(headers)
        if not self.asks_proxy(url):
            all_headers.popall(_CREDENTIALS, None)  # whatever the job says, this is for proxies alone
        if body is None or isinstance(body, bytes):
            request = self._request(method, url, all_headers, body)
            return await self._exchange(request, partial(self._send, request), transfer)
        return await self._upload(message, body, all_headers, transfer)

    def _lines(self, headers: Mapping[str, str]) -> str | None:
        """A message's own headers as they stand on the wire; None where one of them is not simply added."""
        if len(headers) == 1 and (request_id := headers.get("X-Request-ID")) is not None:
            return f"X-Request-ID: {request_id}\r\n"
        if any(name.lower() in self._not_added for name in headers):
            return None
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        broken = lines.count("\r") + lines.count("\n") != 2 * len(headers) or "\0" in lines
        return None if broken else lines  # aiohttp says what is wrong with it

    async def _upload(
        self, message: Message, body: Sending, headers: CIMultiDict[str], transfer: Transfer
    ) -> aiohttp.ClientResponse:
        """Send a body in pieces; where the answer comes before its end, the rest stays here. Raises Unreadable too."""
        upload = Upload(body, transfer)
        headers["Content-Length"] = str(body.length)
        request = self._request(message.method, message.url, headers, upload)
        try:
            response = await self._exchange(request, partial(self._send, request), transfer)
        except aiohttp.ClientError:
            if upload.fault is not None:  # which aiohttp may have lost
                raise upload.fault from None
            raise
        if not upload.out:
            upload.stop()
            if response.connection is not None and response.connection.protocol is not None:
                response.connection.protocol.force_close()
        return response

    async def _send(self, request: aiohttp.ClientRequest, connection: Connection) -> aiohttp.ClientResponse:
        if self.proxy is not None and not request.is_ssl():
            request.proxy = self._place  # by now it only makes the target the whole URL
        return await request.send(connection)

    async def _exchange(self, request: aiohttp.ClientRequest, put: Put, transfer: Transfer) -> aiohttp.ClientResponse:
        """Connect for `request`, let `put` write it, and wait for the head of the answer."""
        connection = await self._connector.connect(request, [], _NO_TIMEOUTS)
        try:
            assert connection.protocol is not None
            if transfer.peer is not None:  # later it may have been given back
                transfer.peer = _address(connection)
            connection.protocol.set_response_params(
                timer=_TIMER,
                skip_payload=request.method == "HEAD",
                read_until_eof=True,
                auto_decompress=False,
                read_bufsize=_READ_BUFFER,
                max_line_size=_MAX_LINE,
                max_field_size=_MAX_LINE,
                max_headers=_MAX_HEADERS,
            )
            response = await put(connection)
            try:
                return await response.start(connection)
            except BaseException:
                response.close()
                raise
        except BaseException:
            connection.close()
            raise

    async def _put(self, request: aiohttp.ClientRequest, head: bytes, connection: Connection) -> aiohttp.ClientResponse:
        """Write the head of a plain GET; what ClientRequest.send does where there is no body."""
        protocol, transport = connection.protocol, connection.transport
        if protocol is None or transport is None or transport.is_closing():
            raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")
        transport.write(head)
        protocol.start_timeout()
        return aiohttp.ClientResponse(
            "GET",
            request.url,
            writer=None,
            continue100=None,
            timer=_TIMER,
            request_info=request.request_info,
            traces=[],
            loop=self._loop,
            session=self._session,
            stream_writer=_Sent,  # type: ignore[arg-type]
        )

    def _made(self, origin: str) -> _Origin:
        request = self._request("GET", origin + "/", self._headers, None)
        lines = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        if lines.count("\r") + lines.count("\n") != 2 * len(request.headers) or "\0" in lines:
            raise ValueError("a header of the job has a line break or NUL")  # as aiohttp would when it writes them
        if len(self._origins) >= _REMEMBERED:
            self._origins.clear()
        cut = 0 if self.asks_proxy(origin) else len(origin)
        made = self._origins[origin] = _Origin(request, cut, f" HTTP/1.1\r\n{lines}")
        return made

    def _request(
        self, method: str, url: str, headers: CIMultiDict[str], body: bytes | Upload | None
    ) -> aiohttp.ClientRequest:
        if self._for_proxy and self.asks_proxy(url):
            headers = CIMultiDict([*self._for_proxy, *headers.items()])
        return aiohttp.ClientRequest(
            method,
            URL(url, encoded=True),
            headers=headers,
            data=body,
            loop=self._loop,
            session=self._session,
            timer=_TIMER,
            ssl=self._tls_context() if url.startswith("https:") else True,
        )

    def _tls_context(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = context_of(self._tls)
        return self._context


def _address(connection: Connection) -> str:
    """Of the peer, where it has one."""
    peer = connection.transport.get_extra_info("peername") if connection.transport is not None else None
    return str(peer[0]) if isinstance(peer, tuple) else ""
