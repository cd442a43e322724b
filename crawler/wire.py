"""Requests onto the connections of the pool: through aiohttp's own ClientRequest, or by hand where they are plain.

Does: connect through the pool, put a request onto the wire, wait for the head of the answer. Must not know trust,
retries or what an answer means. Invariant: what is written by hand is byte for byte what ClientRequest would send (a
test holds it); after any failure the connection is closed.

A plain GET has no body and no header of its own but its X-Request-ID, as most requests of a list: what stays the same
for an origin is made once. Building a ClientRequest, its URL and its headers for each costs a fifth of a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

import aiohttp
from aiohttp.connector import Connection
from aiohttp.helpers import TimerNoop
from multidict import CIMultiDict
from yarl import URL

from crawler.model import Message

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
_NAMING = frozenset({"user-agent", "accept", "accept-encoding"})

Put = Callable[[Connection], Awaitable[aiohttp.ClientResponse]]


class _Origin(NamedTuple):
    request: aiohttp.ClientRequest  # names the origin to the pool
    middle: str  # between the target and the request id


class _Sent:
    """Stands for the writer of a request that is out already."""

    output_size = 0


class Wire:
    """Sends through the connector of one aiohttp session; `headers` go with every message."""

    def __init__(self, session: aiohttp.ClientSession, headers: CIMultiDict[str]) -> None:
        assert session.connector is not None
        self._connector = session.connector
        self._session = session
        self._headers = headers
        self._naming = CIMultiDict(pair for pair in headers.items() if pair[0].lower() in _NAMING)
        self._loop = asyncio.get_running_loop()
        self._origins: dict[str, _Origin] = {}

    async def send(self, message: Message) -> aiohttp.ClientResponse:
        """Send a message; the response has its head. Raises what aiohttp raises."""
        method, url, headers, body = message[:4]
        plain = method == "GET" and body is None and not message.bare and len(headers) == 1 and "#" not in url
        if plain and (request_id := headers.get("X-Request-ID")) is not None:
            start = url.index("/", 8)
            origin = self._origins.get(url[:start]) or self._made(url[:start])
            head = f"GET {url[start:]}{origin.middle}{request_id}\r\n\r\n".encode("ascii")
            return await self._exchange(origin.request, partial(self._put, origin.request, head))
        all_headers = (self._naming if message.bare else self._headers).copy()
        all_headers.update(headers)
        request = self._request(method, url, all_headers, body)
        return await self._exchange(request, request.send)

    async def _exchange(self, request: aiohttp.ClientRequest, put: Put) -> aiohttp.ClientResponse:
        """Connect for `request`, let `put` write it, and wait for the head of the answer."""
        connection = await self._connector.connect(request, [], _NO_TIMEOUTS)
        try:
            assert connection.protocol is not None
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
        made = self._origins[origin] = _Origin(request, f" HTTP/1.1\r\n{lines}X-Request-ID: ")
        return made

    def _request(self, method: str, url: str, headers: CIMultiDict[str], body: bytes | None) -> aiohttp.ClientRequest:
        return aiohttp.ClientRequest(
            method,
            URL(url, encoded=True),
            headers=headers,
            data=body,
            loop=self._loop,
            session=self._session,
            timer=_TIMER,
        )
