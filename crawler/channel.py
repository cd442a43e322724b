"""A WebSocket over a connection of the pool: the handshake's headers, then messages in and out.

Does: make a WebSocket of an answer with status 101, receive, send, close. Must not know jobs, what is captured or
files. Invariant: aiohttp's types and exceptions end here; nothing is received before the handshake is proven (RFC 6455
4.1); the connection never goes back to its pool.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha1
from secrets import token_bytes
from typing import NamedTuple

import aiohttp
from aiohttp import WSMsgType
from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader
from aiohttp.client_ws import ClientWSTimeout
from aiohttp.http_websocket import WebSocketWriter

from crawler.capture import LOST
from crawler.errors import Reason
from crawler.session import Answer, TransportError
from crawler.wirefaults import translate

KEY = "Sec-WebSocket-Key"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TOO_BIG = 1009
_CLOSE_SECONDS = 1.0  # for the server's answer to our close
_READ_BUFFER = 256 * 1024


class Closed(NamedTuple):
    """The connection is over: the server's close code and its words, or LOST."""

    code: int
    reason: str = ""


class Terms(NamedTuple):
    """What is asked of the server: subprotocols, the longest message in bytes, seconds between pings."""

    subprotocols: Sequence[str]
    max_message: int
    heartbeat: float


def new_key() -> str:
    """A nonce for one handshake."""
    return b64encode(token_bytes(16)).decode()


def handshake(key: str, subprotocols: Sequence[str]) -> dict[str, str]:
    """The headers that ask for a WebSocket (RFC 6455 4.1)."""
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        KEY: key,
    }
    if subprotocols:
        headers["Sec-WebSocket-Protocol"] = ", ".join(subprotocols)
    return headers


class Channel:
    """One open WebSocket."""

    def __init__(self, answer: Answer, key: str, terms: Terms) -> None:
        """Of an answer with status 101. Raises TransportError where that is no proof of a WebSocket."""
        if fault := _unproven(answer.headers, key, terms.subprotocols):
            raise TransportError(Reason.BAD_RESPONSE, fault)
        response = answer.response
        connection = response.connection
        if connection is None or connection.protocol is None or connection.transport is None:
            raise TransportError(Reason.CONNECTION_RESET, "connection-reset after the handshake")
        loop = asyncio.get_running_loop()
        protocol = connection.protocol
        queue = WebSocketDataQueue(protocol, _READ_BUFFER, loop=loop)
        # As ClientSession.ws_connect does, whose own way to the server is not ours.
        self._socket: aiohttp.ClientWebSocketResponse = aiohttp.ClientWebSocketResponse(
            queue,
            WebSocketWriter(protocol, connection.transport, use_mask=True),
            None,
            response,
            ClientWSTimeout(),
            True,
            True,
            loop,
            heartbeat=terms.heartbeat,
        )
        # aiohttp refuses what has its limit.
        parser = self._socket._parser = WebSocketReader(queue, terms.max_message + 1, compress=False, decode_text=True)
        protocol.set_parser(parser, queue, data_received_cb=self._socket._on_data_received)

    async def receive(self) -> str | bytes | Closed:
        """The next message, or why there is none. Raises TransportError where what came is no message."""
        while True:
            said = await self._socket.receive()
            match said.type:
                case WSMsgType.TEXT | WSMsgType.BINARY:
                    data: str | bytes = said.data
                    return data
                case WSMsgType.CLOSE:
                    return Closed(said.data or 1005, said.extra or "")
                case WSMsgType.ERROR:
                    return self._fault(said.data)
                case WSMsgType.CLOSING | WSMsgType.CLOSED:
                    return Closed(LOST, self._why())

    async def send(self, message: str | bytes) -> None:
        """Send a message. Raises TransportError."""
        try:
            if isinstance(message, str):
                await self._socket.send_str(message)
            else:
                await self._socket.send_bytes(message)
        except (aiohttp.ClientError, OSError) as error:
            raise translate(error, "while sending a message") from error

    async def close(self, code: int = 1000) -> None:
        """Say that no more is wanted, and wait a second at most for the answer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):  # aiohttp's own begins anew with each message that still comes
                await self._socket.close(code=code)

    def _fault(self, error: BaseException) -> Closed:
        if isinstance(error, aiohttp.WebSocketError):
            reason = Reason.TOO_LARGE if error.code == _TOO_BIG else Reason.BAD_RESPONSE
            told = f"{error} (websocket.max_message)" if reason is Reason.TOO_LARGE else f"no WebSocket frame: {error}"
            raise TransportError(reason, told)
        return Closed(LOST, str(error))

    def _why(self) -> str:
        error = self._socket.exception()
        return str(error) if error is not None else ""


def _unproven(headers: Mapping[str, str], key: str, subprotocols: Sequence[str]) -> str | None:
    """Why a 101 is no WebSocket."""
    if headers.get("Upgrade", "").strip().lower() != "websocket":
        return "the server switched protocols, but not to WebSocket"
    options = [option.strip().lower() for option in headers.get("Connection", "").split(",")]
    if "upgrade" not in options:
        return "the server's handshake has no Connection: Upgrade"
    proof = b64encode(sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()
    if headers.get("Sec-WebSocket-Accept", "").strip() != proof:
        return "the server's Sec-WebSocket-Accept does not belong to our key"
    chosen = headers.get("Sec-WebSocket-Protocol")
    if chosen is not None and chosen.strip() not in subprotocols:
        return "the server chose a subprotocol that was not offered (websocket.subprotocols)"
    if "Sec-WebSocket-Extensions" in headers:
        return "the server uses an extension that was not offered"
    return None
