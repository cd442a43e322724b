"""One connection of a capture: messages go out, frames are kept, until no more is wanted or the server is gone.

Does: drive a Channel by the rules of `capture`, hand lines and progress to the recorder as they come. Must not know
retries, stores or how a connection is made. Invariant: whatever ends it, cancellation too, each frame that was taken is
with the recorder together with its count, and the connection is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from math import inf
from time import monotonic
from time import time as wall_clock
from typing import NamedTuple, Protocol

from crawler.capture import Capture, Head, Meaning, WebSocket, meaning_of, told
from crawler.channel import KEY, Channel, Closed, Terms, handshake, new_key
from crawler.errors import Reason
from crawler.flow import Throttle
from crawler.model import Captured, Failed, Fetched, Messages, Request
from crawler.session import Answer, TransportError
from crawler.urls import as_websocket
from crawler.watch import Limits, Phase, Transfer

_LOOK = 5.0  # seconds after which the time that passed is kept, though no frame came
_OVER, _GOING_AWAY = 1000, 1001


class Recorder(Protocol):
    """Who keeps frames; `crowded` while it would rather get none before `room`."""

    @property
    def crowded(self) -> bool: ...

    def frames(self, request: Request, lines: list[bytes], progress: Captured) -> None: ...

    async def room(self) -> None: ...


class Capturing(NamedTuple):
    """What all captures of a run share."""

    wanted: WebSocket
    run: str
    recorder: Recorder

    def over(self, request: Request) -> bool:
        """Was all that is wanted kept already, before a kill."""
        return request.captured is not None and self.wanted.over(request.captured)

    def handshake(self) -> dict[str, str]:
        """The headers of one handshake."""
        return handshake(new_key(), self.wanted.subprotocols)

    async def capture(
        self,
        outcome: Fetched,
        answer: Answer,
        asked: Mapping[str, str],
        transfer: Transfer,
        throttle: Throttle | None = None,
    ) -> Fetched | Failed:
        """Keep frames of an answer with status 101 to a handshake with the headers `asked`. Raises TransportError.

        The answer is left to be closed.
        """
        wanted, request = self.wanted, outcome.request
        terms = Terms(wanted.subprotocols, wanted.max_message, wanted.heartbeat)
        channel = Channel(answer, asked[KEY], terms)
        now = monotonic()
        transfer.enter(Phase.STORE, now)  # a dead server is found by the heartbeat
        before = request.captured or Captured()
        capture = Capture(wanted, Head(request.id, self.run, as_websocket(request.seed)), before, now)
        closed = await self._connected(request, capture, channel, throttle)
        if closed is None or capture.over:
            return outcome
        meaning = meaning_of(closed.code, wanted)
        if meaning is Meaning.OVER:
            self._keep(request, [], capture.finish(monotonic()))
            return outcome
        return Failed(
            request,
            outcome.request_id,
            Reason.WEBSOCKET_CLOSED,
            told(closed.code, closed.reason),
            outcome.timing,
            final=meaning is Meaning.FAILED,
            frames=capture.done.frames - before.frames,
        )

    async def _connected(
        self, request: Request, capture: Capture, channel: Channel, throttle: Throttle | None
    ) -> Closed | None:
        """Send and receive; None when no more is wanted, else what the server said at the end."""
        sending = asyncio.create_task(_send(request, channel))
        code = _GOING_AWAY
        try:
            closed = await self._frames(request, capture, channel, throttle)
            code = _OVER
        finally:
            self._keep(request, [], capture.passed(monotonic()))
            sending.cancel()
            await channel.close(code)
        return closed

    async def _frames(
        self, request: Request, capture: Capture, channel: Channel, throttle: Throttle | None
    ) -> Closed | None:
        recorder = self.recorder
        while not capture.over:
            until = capture.until
            left = None if until is None else min(_LOOK, max(0.0, until - monotonic()))
            try:
                async with asyncio.timeout(left):
                    while not capture.over:
                        said = await channel.receive()
                        if isinstance(said, Closed):
                            return said
                        line = capture.take(said, monotonic(), wall_clock())
                        self._keep(request, [line], capture.done)
                        if recorder.crowded:
                            await recorder.room()
                        if throttle is not None:
                            await throttle(request, len(said))
            except TimeoutError:
                self._keep(request, [], capture.passed(monotonic()))
        return None

    def _keep(self, request: Request, lines: list[bytes], progress: Captured) -> None:
        request.captured = progress
        self.recorder.frames(request, lines, progress)


def handshake_limits(limits: Limits) -> Limits:
    """The time limits of a capture: those of its handshake."""
    return limits._replace(total=inf)


async def _send(request: Request, channel: Channel) -> None:
    """Send what is to be sent; that the server is gone is seen by who receives."""
    messages = request.body.parts if isinstance(request.body, Messages) else ()
    try:
        for message in messages:
            await channel.send(message)
    except TransportError:
        return
