"""One connection of a capture, with a recorder in memory and a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import monotonic

import orjson
import pytest
from aiohttp import web

from crawler.capture import METHOD, WebSocket
from crawler.capturing import Capturing, handshake_limits
from crawler.errors import Reason
from crawler.model import Captured, Failed, Fetched, Messages, Request, Timing
from crawler.session import Session, SessionSettings, TransportError
from crawler.spool import EMPTY
from crawler.watch import Limits, Transfer
from tests.peers import answer
from tests.sockets import WsSite, counting, until_closed, ws_site

LIMITS = Limits(5.0, 5.0, 10.0, 5.0, 10.0)


class Kept:
    """A recorder that keeps all in memory, and is crowded after `most` frames until it is told `room`."""

    def __init__(self, most: int | None = None, wanted: int = 1) -> None:
        self.lines: list[bytes] = []
        self._wanted = wanted
        self.there = asyncio.Event()  # so many as were wanted
        self.progress = Captured()
        self._most = most
        self.free = asyncio.Event()

    @property
    def crowded(self) -> bool:
        return self._most is not None and len(self.lines) >= self._most and not self.free.is_set()

    def frames(self, request: Request, lines: list[bytes], progress: Captured) -> None:
        self.lines += lines
        if len(self.lines) >= self._wanted:
            self.there.set()
        self.progress = progress
        assert progress.frames == (request.captured or Captured()).frames

    async def room(self) -> None:
        await self.free.wait()

    @property
    def texts(self) -> list[str]:
        return [orjson.loads(line)["data"] for line in self.lines]


@pytest.fixture
async def session() -> AsyncIterator[Session]:
    async with Session(SessionSettings(4, 30.0, 60.0, {})) as one:
        yield one


async def captured(
    session: Session,
    site: WsSite,
    capturing: Capturing,
    request: Request | None = None,
    transfer: Transfer | None = None,
) -> Fetched | Failed:
    """One connection, as a fetch makes it."""
    url = site.url().replace("ws://", "http://")
    request = request or Request(1, url, "127.0.0.1", method=METHOD)
    transfer = transfer or Transfer(url, handshake_limits(LIMITS), monotonic())
    asked = capturing.handshake()
    head = await answer(session, url, headers=asked, transfer=transfer)
    outcome = Fetched(request, "id", head.status, head.headers, EMPTY, Timing(0.0))
    try:
        return await capturing.capture(outcome, head, asked, transfer)
    finally:
        head.close()


async def test_what_came_is_with_the_recorder(session: Session) -> None:
    """Every frame up to the end, with its count, and the URL as the job names it."""
    kept = Kept()
    async with ws_site(counting(1, 9)) as site:
        outcome = await captured(session, site, Capturing(WebSocket(count=3), "run-1", kept))
    assert isinstance(outcome, Fetched)
    assert kept.texts == ["1", "2", "3"]
    assert (kept.progress.frames, kept.progress.bytes) == (3, 3)
    assert orjson.loads(kept.lines[0])["url"] == site.url()


async def test_it_goes_on_where_it_was(session: Session) -> None:
    """What an earlier connection brought counts, for numbers and for the end."""
    kept = Kept()
    async with ws_site(counting(1, 9)) as site:
        request = Request(1, site.url().replace("ws://", "http://"), "127.0.0.1", method=METHOD)
        request.captured = Captured(5, 50, 1.0)
        await captured(session, site, Capturing(WebSocket(count=7), "run-1", kept), request)
    assert [orjson.loads(line)["n"] for line in kept.lines] == [6, 7]
    assert (kept.progress.bytes, request.captured.frames) == (52, 7)
    assert kept.progress.seconds > 1.0


async def test_a_lost_connection_says_what_it_brought(session: Session) -> None:
    """A close that is not the end is a failure that may be tried again; one for good is final."""
    for code, final in ((1011, False), (1008, True)):
        kept = Kept()
        async with ws_site(counting(1, 2, close=code)) as site:
            outcome = await captured(session, site, Capturing(WebSocket(), "run-1", kept))
        assert isinstance(outcome, Failed)
        assert (outcome.reason, outcome.final, outcome.frames) == (Reason.WEBSOCKET_CLOSED, final, 2)
        assert str(code) in outcome.error


async def test_the_servers_end_is_kept_as_such(session: Session) -> None:
    """A start after a kill knows that nothing more is to come, and does not connect again."""
    kept = Kept()
    capturing = Capturing(WebSocket(), "run-1", kept)
    async with ws_site(counting(1, 1, close=1000)) as site:
        outcome = await captured(session, site, capturing)
    assert kept.progress.over
    assert capturing.over(outcome.request)
    assert not capturing.over(Request(2, "http://a.example/", "a.example", method=METHOD))


async def test_cancelled_it_keeps_all_and_closes(session: Session) -> None:
    """However it is cut off, what was taken is kept and the server is told."""
    kept, closed = Kept(wanted=3), asyncio.Event()

    async def talk(site: WsSite, socket: web.WebSocketResponse) -> None:
        await counting(1, 3)(site, socket)
        assert socket.close_code == 1001
        closed.set()

    async with ws_site(talk) as site:
        task = asyncio.create_task(captured(session, site, Capturing(WebSocket(), "run-1", kept)))
        async with asyncio.timeout(20):
            await kept.there.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await closed.wait()
    assert kept.progress.frames == 3
    assert kept.progress.seconds > 0


async def test_a_crowded_recorder_is_waited_for(session: Session) -> None:
    """No frame is taken while the recorder would rather have none."""
    kept, said = Kept(most=10, wanted=10), asyncio.Event()

    async def talk(site: WsSite, socket: web.WebSocketResponse) -> None:
        for number in range(200):
            await socket.send_str(str(number))
        said.set()
        await until_closed(site, socket)

    async with ws_site(talk) as site:
        task = asyncio.create_task(captured(session, site, Capturing(WebSocket(count=200), "run-1", kept)))
        async with asyncio.timeout(20):
            await kept.there.wait()
            await said.wait()
            assert len(kept.lines) == 10
            kept.free.set()
            await task
    assert len(kept.lines) == 200


async def test_the_handshake_alone_has_time_limits(session: Session) -> None:
    """Once it is open no look of the watch ends it, however much later."""
    kept = Kept()
    async with ws_site(counting(1, 1)) as site:
        url = site.url().replace("ws://", "http://")
        transfer = Transfer(url, handshake_limits(LIMITS), monotonic())
        task = asyncio.create_task(captured(session, site, Capturing(WebSocket(), "run-1", kept), transfer=transfer))
        async with asyncio.timeout(20):
            await kept.there.wait()
        assert transfer.judge(monotonic() + 1e6) is None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert Transfer(url, handshake_limits(LIMITS), 0.0).judge(5.0) is not None


async def test_an_echo_of_much_is_no_deadlock(session: Session) -> None:
    """What is sent and what comes back are on their way at the same time."""
    kept = Kept()

    async def echo(site: WsSite, socket: web.WebSocketResponse) -> None:
        async for message in socket:
            await socket.send_str(message.data)

    async with ws_site(echo) as site:
        url = site.url().replace("ws://", "http://")
        sent = tuple(str(number) + "x" * 1_000_000 for number in range(24))
        request = Request(1, url, "127.0.0.1", method=METHOD, body=Messages(sent))
        wanted = WebSocket(count=24, max_message=2_000_000)
        async with asyncio.timeout(20):
            await captured(session, site, Capturing(wanted, "run-1", kept), request)
    assert kept.texts == list(sent)


async def test_the_throttle_is_told_of_each_frame(session: Session) -> None:
    """The bandwidth of the job holds for frames as well."""
    kept, sizes = Kept(), list[int]()

    async def throttle(request: Request, size: int) -> None:
        sizes.append(size)

    async with ws_site(counting(9, 11)) as site:
        url = site.url().replace("ws://", "http://")
        capturing = Capturing(WebSocket(count=3), "run-1", kept)
        asked = capturing.handshake()
        transfer = Transfer(url, handshake_limits(LIMITS), monotonic())
        head = await answer(session, url, headers=asked, transfer=transfer)
        request = Request(1, url, "127.0.0.1", method=METHOD)
        outcome = Fetched(request, "id", head.status, head.headers, EMPTY, Timing(0.0))
        await capturing.capture(outcome, head, asked, transfer, throttle)
        head.close()
    assert sizes == [1, 2, 2]


async def test_no_proof_no_capture(session: Session) -> None:
    """A 101 for another key is refused, and nothing is kept."""
    kept = Kept()
    async with ws_site(until_closed) as site:
        url = site.url().replace("ws://", "http://")
        capturing = Capturing(WebSocket(), "run-1", kept)
        head = await answer(session, url, headers=capturing.handshake())
        outcome = Fetched(Request(1, url, "h", method=METHOD), "id", 101, head.headers, EMPTY, Timing(0.0))
        with pytest.raises(TransportError):
            await capturing.capture(outcome, head, capturing.handshake(), Transfer(url, LIMITS, monotonic()))
        head.close()
    assert kept.lines == []
