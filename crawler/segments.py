"""One body over several connections at once, each bringing some of its bytes into the same part.

Does: read the answers, ask for further ranges as far as the host lends connections, begin anew where one of them
failed. Must not know hosts' pace, how a request is put together or aiohttp. Invariant: only what was checked to be of
the same version is written; whatever ends it, each further connection is over and given back, and the part holds just
what came.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import NamedTuple

from crawler.diskguard import Writing
from crawler.errors import Reason
from crawler.exchange import Refused
from crawler.flow import Throttle, arrived, pause, stopped_by_watch
from crawler.model import Request
from crawler.partfile import Jobs, PartFile, surely
from crawler.partial import Span, Version
from crawler.ranges import Lane, Lanes, continued
from crawler.resumption import head_of
from crawler.session import Answer, TransportError
from crawler.watch import Limits, Phase, Transfer, Watch

log = logging.getLogger("crawler")

_CHUNK = 1024 * 1024


class Helpers(NamedTuple):
    """How further connections come about: at most `ways` in all, the first among them. `lend` asks for one more of the
    host's slots, now, and each that was lent is given back; `ask` sends the request for a span of a version.
    """

    ways: int
    lend: Callable[[Request], bool]
    give_back: Callable[[Request], None]
    ask: Callable[[Version, Span, Transfer], Awaitable[Answer]]
    watch: Watch
    limits: Limits


class Segments:
    """One attempt at the body of `request`, `total` bytes of a version; some of it may be in the part already."""

    def __init__(
        self,
        request: Request,
        part: PartFile,
        version: Version,
        total: int,
        transfer: Transfer,
        helpers: Helpers | None,
    ) -> None:
        self._request = request
        self._part = part
        self._version = version
        self._transfer = transfer
        self._helpers = helpers
        self._lanes = Lanes(total, part.spans)
        self._ways = helpers.ways if helpers is not None else 1
        self._first = True  # the first answer is still read
        self._slots = 1
        self._helping: set[asyncio.Task[None]] = set()
        self._fault: BaseException | None = None
        self.throttle: Throttle | None = None
        self.writing: Writing | None = None
        self._written = 0

    def __repr__(self) -> str:
        return f"<Segments {self._request.url} {self._lanes} helping={len(self._helping)}>"

    async def receive(self, answer: Answer, brought: Span) -> None:
        """Read the first answer, which brings a span, and all else that is missing. Raises TransportError, OSError.

        The end of the first answer before its time ends all.
        """
        try:
            lane = self._lanes.begin(brought)
            self._engage()
            try:
                await self._bring(lane, answer, self._transfer)
            finally:
                self._lanes.end(lane)
            self._first = False
            await pause(self._others(), self._transfer)
            if self._lanes.left:
                error = f"{self._lanes.left} bytes are missing, and the host lends no connection for them now"
                raise TransportError(Reason.TRUNCATED, error)
        except TransportError:
            if self._fault is None:  # else what is missing may be missing for want of a disk
                raise
        finally:
            self._ways = 0
            self._first = False
            if helping := list(self._helping):
                for task in helping:
                    task.cancel()
                await surely(asyncio.wait(helping))  # each gives its slot back
        if self._fault is not None:
            raise self._fault

    async def _others(self) -> None:
        """Wait for the other connections; their own transfers are watched."""
        self._engage()
        while self._helping and self._fault is None:
            await asyncio.wait(self._helping, return_when=asyncio.FIRST_COMPLETED)

    async def _bring(self, lane: Lane, answer: Answer, transfer: Transfer) -> None:
        """Write what an answer brings until its lane is over, or the answer is."""
        part = self._part
        held: list[bytes | memoryview] = []
        size = fresh = 0
        writing: Jobs = ()
        cut = False
        try:
            while lane.at < min(lane.stop, lane.reach) or self._lanes.extend(lane):
                if not (piece := await answer.read_bulk()):
                    raise TransportError(Reason.TRUNCATED, f"the answer ended at byte {lane.at} of {lane.reach}")
                await self._arrived(len(piece), transfer)
                fitting = self._fitting(lane, piece)
                cut = len(fitting) < len(piece)
                held.append(fitting)
                size += len(fitting)
                fresh += len(piece)
                if size >= _CHUNK:
                    self._grows(size)
                    await pause(part.done(writing), transfer)
                    writing = part.write(lane.at - size, held)
                    answer.let_go(fresh)
                    held, size, fresh = [], 0, 0
                    self._engage()
        finally:
            if held:
                part.write(lane.at - size, held)
        if lane.at < lane.reach or cut or await answer.read():
            answer.close()

    def _grows(self, size: int) -> None:
        """So many bytes more are written. Raises NoRoom where the disk is full."""
        self._written += size
        if self.writing is not None:
            self.writing.more(self._written)

    def _fitting(self, lane: Lane, piece: bytes | memoryview) -> bytes | memoryview:
        """As much of a piece as is the lane's to bring."""
        took = 0
        while took < len(piece) and (lane.at < lane.stop or self._lanes.extend(lane)):
            more = min(len(piece) - took, lane.stop - lane.at)
            lane.at += more
            took += more
        if took == len(piece):
            return piece
        # What was cut off is gone: though those behind it come free by and by, this answer cannot bring them any more.
        lane.reach = lane.at
        return piece[:took]

    async def _arrived(self, size: int, transfer: Transfer) -> None:
        if transfer is not self._transfer:  # the speed of all together counts
            self._transfer.received(size, monotonic())
        await arrived(self._request, size, transfer, self.throttle)

    # -- further connections ------------------------------------------------------------------------------------------

    @property
    def _running(self) -> int:
        return len(self._helping) + self._first

    def _engage(self) -> None:
        """Ask for as many further connections as there is work for, and the host lends."""
        self._give_back()
        helpers = self._helpers
        while helpers is not None and self._running < self._ways and self._fault is None:
            lane = self._lanes.take(self._ways)
            if lane is None:
                return
            if not helpers.lend(self._request):
                self._lanes.end(lane)
                return
            self._slots += 1
            task = asyncio.create_task(self._help(helpers, lane))
            self._helping.add(task)
            task.add_done_callback(self._helped)

    def _give_back(self) -> None:
        """Give back the slots of those who are over, but for the one that the request itself has."""
        while self._helpers is not None and self._slots > max(1, self._running):
            self._slots -= 1
            self._helpers.give_back(self._request)

    def _helped(self, task: asyncio.Task[None]) -> None:
        self._helping.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._fault = self._fault or fault
        self._engage()

    async def _help(self, helpers: Helpers, lane: Lane) -> None:
        """Bring a lane over a connection of its own. What fails only costs this connection, and no other is asked for
        in its place.
        """
        now = monotonic()
        transfer = Transfer(self._request.url, helpers.limits._replace(min_speed=0.0), now, asyncio.current_task())
        helpers.watch.transfers.add(transfer)
        answer = None
        try:
            span = Span(lane.at, lane.stop)
            answer = await helpers.ask(self._version, span, transfer)
            transfer.enter(Phase.BODY, monotonic())
            found = continued(self._version, span, span.start, head_of(answer)) if answer.status == 206 else ""
            if isinstance(found, str) or found.span is None:
                self._ways = 1
                why = found or f"status {answer.status}"
                raise TransportError(Reason.BAD_RANGE, f"a range was asked for and not answered with it: {why}")
            lane.reach = found.span.stop
            await self._bring(lane, answer, transfer)
            answer = None
        except (TransportError, Refused) as trouble:
            self._failed(trouble.error)
        except asyncio.CancelledError:
            if not stopped_by_watch(transfer) or transfer.overdue is None:
                raise
            self._failed(transfer.overdue[1])
        finally:
            self._lanes.end(lane)
            helpers.watch.ended(transfer)
            if answer is not None:
                answer.close()

    def _failed(self, error: str) -> None:
        self._ways -= 1
        log.info("%s: a further connection failed: %s", self._request.url, error)
