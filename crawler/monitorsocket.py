"""The monitor's WebSocket: what changed, once a second, to each page that looks.

Does: take what a page wants to watch, send it what changed. Must not know how numbers are come by. Invariant: at most
CLIENTS at once; to each one message a PERIOD unless it asks for something else, and none while nothing changed; whoever
does not read for SLOW seconds, or talks too much, is dropped.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Any

import orjson
from aiohttp import WSCloseCode, WSMsgType, web

from crawler.monitoraccess import Keys
from crawler.monitorapi import Api, joined, refused
from crawler.monitorwatch import Watch

CLIENTS = 50
PERIOD = 1.0  # seconds
SLOW = 10.0  # seconds
_SAID = 2048  # bytes of a message of the page
_OFTEN = 20  # messages of the page in a period


class Sockets:
    """The pages that watch."""

    def __init__(self, api: Api, watch: Watch, keys: Keys) -> None:
        self._api = api
        self._watch = watch
        self._keys = keys
        self._clients: set[web.WebSocketResponse] = set()

    def __repr__(self) -> str:
        return f"<Sockets {len(self._clients)} clients>"

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """One page, until it goes. It says {"watch": "overview"} or {"watch": "job", "job": NAME}."""
        if len(self._clients) >= CLIENTS:
            raise refused(503, f"{CLIENTS} pages watch already")
        socket = web.WebSocketResponse(heartbeat=20.0, max_msg_size=_SAID, compress=False, timeout=2.0)
        await socket.prepare(request)
        self._clients.add(socket)
        client = _Client(socket, request.transport, self._api, self._watch, self._keys)
        pushing = asyncio.create_task(client.push())
        try:
            await client.listen()
        finally:
            pushing.cancel()
            with suppress(asyncio.CancelledError):
                await pushing
            self._clients.discard(socket)
        return socket

    async def close(self) -> None:
        """The monitor ends: pages are told, and poll until there is another."""
        for socket in list(self._clients):
            await socket.close(code=WSCloseCode.GOING_AWAY)


class _Client:
    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        api: Api,
        watch: Watch,
        keys: Keys,
    ) -> None:
        self._socket = socket
        self._transport = transport
        self._api = api
        self._watch = watch
        self._keys = keys
        self._asked = asyncio.Event()
        self._job: str | None = None
        self._watching = False
        self._said: deque[float] = deque(maxlen=_OFTEN)
        self._sent: dict[str, bytes] = {}

    async def listen(self) -> None:
        """Until the page goes, or says what nobody understands."""
        async for message in self._socket:
            if message.type is not WSMsgType.TEXT or self._often() or not self._take(message.data):
                await self._socket.close(code=WSCloseCode.POLICY_VIOLATION)
                return

    def _often(self) -> bool:
        now = asyncio.get_running_loop().time()
        full = len(self._said) == _OFTEN and now - self._said[0] < PERIOD
        self._said.append(now)
        return full

    def _take(self, text: str) -> bool:
        with suppress(ValueError):
            said: Any = orjson.loads(text)
            if isinstance(said, dict) and said.get("watch") in ("overview", "job"):
                self._job = str(said.get("job")) if said["watch"] == "job" else None
                self._watching, self._sent = True, {}
                self._asked.set()
                return True
        return False

    async def push(self) -> None:
        """Once a period, or at once where something else is asked for."""
        while not self._socket.closed:
            with suppress(TimeoutError):
                async with asyncio.timeout(PERIOD):
                    await self._asked.wait()
            self._asked.clear()
            if self._watching and (text := await self._news()):
                try:
                    async with asyncio.timeout(SLOW):
                        await self._socket.send_str(text.decode())
                except (TimeoutError, ConnectionError, RuntimeError):
                    self._drop()
                    return

    async def _news(self) -> bytes:
        """What changed since the last message; b"" where nothing did."""
        if self._job is None:
            text = await self._api.overview_json()
            return self._only_new({"": text}).get("", b"")
        job, sent = self._job, self._sent
        try:
            parts = await self._watch.parts(job)
        except KeyError:
            return self._only_new({"": orjson.dumps({"kind": "gone", "name": job})}).get("", b"")
        if sent is not self._sent:  # something else was asked for meanwhile
            return b""
        new = self._only_new(parts)
        return joined(job, new, control=self._keys.control) if new else b""

    def _only_new(self, parts: dict[str, bytes]) -> dict[str, bytes]:
        new = {name: text for name, text in parts.items() if self._sent.get(name) != text}
        self._sent.update(new)
        return new

    def _drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()
