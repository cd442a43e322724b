"""The plain GET that most requests are, written by hand: what stays the same for an origin is made once.

Does: connect through the pool and put the head of a request onto the wire. Must not know jobs, trust or what an answer
means. Invariant: byte for byte what aiohttp's own ClientRequest would send (a test holds it); whatever is not plain is
left to that.

Building a ClientRequest, its URL and its headers anew for each page costs a fifth of the whole request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

import aiohttp
from aiohttp.helpers import TimerNoop
from yarl import URL

_REMEMBERED = 10_000  # origins
# The watch keeps time.
_NO_TIMEOUTS = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)
_TIMER = TimerNoop()


class ResponseParams(NamedTuple):
    """How aiohttp's protocol is to read an answer."""

    read_bufsize: int
    max_line_size: int
    max_field_size: int
    max_headers: int


class _Origin(NamedTuple):
    request: aiohttp.ClientRequest  # names the origin to the pool
    middle: str  # between the target and the request id


class _Sent:
    """Stands for the writer of a request that is out already."""

    output_size = 0


class PlainGets:
    """Sends plain GETs with `headers`, which are the same for all, through one connector."""

    def __init__(self, session: aiohttp.ClientSession, headers: Mapping[str, str], params: ResponseParams) -> None:
        assert session.connector is not None
        self._connector = session.connector
        self._session = session
        self._headers = headers
        self._params = params._asdict()
        self._loop = asyncio.get_running_loop()
        self._origins: dict[str, _Origin] = {}

    async def send(self, url: str, request_id: str) -> aiohttp.ClientResponse:
        """Send GET `url` (canonical, without a fragment). Raises what aiohttp raises."""
        start = url.index("/", 8)
        origin = self._origins.get(url[:start]) or self._made(url[:start])
        connection = await self._connector.connect(origin.request, [], _NO_TIMEOUTS)
        try:
            protocol, transport = connection.protocol, connection.transport
            if protocol is None or transport is None or transport.is_closing():
                raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")
            protocol.set_response_params(
                timer=_TIMER,
                skip_payload=False,
                read_until_eof=True,
                auto_decompress=False,
                **self._params,
            )
            transport.write(f"GET {url[start:]}{origin.middle}{request_id}\r\n\r\n".encode("ascii"))
            protocol.start_timeout()
            response = aiohttp.ClientResponse(
                "GET",
                origin.request.url,
                writer=None,
                continue100=None,
                timer=_TIMER,
                request_info=origin.request.request_info,
                traces=[],
                loop=self._loop,
                session=self._session,
                stream_writer=_Sent,  # type: ignore[arg-type]
            )
            try:
                return await response.start(connection)
            except BaseException:
                response.close()
                raise
        except BaseException:
            connection.close()
            raise

    def _made(self, origin: str) -> _Origin:
        request = aiohttp.ClientRequest(
            "GET", URL(origin + "/", encoded=True), headers=self._headers, loop=self._loop, session=self._session
        )
        lines = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        if len(self._origins) >= _REMEMBERED:
            self._origins.clear()
        made = self._origins[origin] = _Origin(request, f" HTTP/1.1\r\n{lines}X-Request-ID: ")
        return made
