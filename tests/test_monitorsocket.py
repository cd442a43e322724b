"""What pages are sent that watch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import crawler.monitorsocket
from tests.monitored import RUN, Job, monitor, record


@pytest.fixture
def root(tmp_path: Path) -> Path:
    run = Job(tmp_path / "out").run([record(1)])
    (run / "run.log").write_text("first\n")
    return tmp_path / "out"


@pytest.fixture
async def session(root: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[aiohttp.ClientSession]:
    monkeypatch.setattr(crawler.monitorsocket, "PERIOD", 0.05)
    async with monitor(root) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        yield session


async def test_a_page_sees_what_it_asks_for(session: aiohttp.ClientSession) -> None:
    """All jobs, then one, then a job that is not there."""
    async with session.ws_connect("/ws") as socket:
        await socket.send_json({"watch": "overview"})
        said = await socket.receive_json(timeout=20)
        assert (said["kind"], said["jobs"][0]["job"]) == ("overview", "almanac")
        await socket.send_json({"watch": "job", "job": "almanac"})
        said = await socket.receive_json(timeout=20)
        assert (said["kind"], said["parts"]["job"]["run"]) == ("job", RUN)
        await socket.send_json({"watch": "job", "job": "../almanac"})
        assert await socket.receive_json(timeout=20) == {"kind": "gone", "name": "../almanac"}


@pytest.mark.slow
async def test_only_what_changed_is_sent(session: aiohttp.ClientSession, root: Path) -> None:
    """Nothing while nothing does."""
    async with session.ws_connect("/ws") as socket:
        await socket.send_json({"watch": "job", "job": "almanac"})
        await socket.receive_json(timeout=20)
        with pytest.raises(TimeoutError):
            await socket.receive(timeout=0.3)
        (root / "almanac" / "runs" / RUN / "run.log").write_text("first\nsecond\n")
        said = await socket.receive_json(timeout=20)
        assert said["parts"] == {"log": ["first", "second"]}


@pytest.mark.parametrize(
    "said", ["", "[]", "{}", '{"watch":"x"}', "x" * 5000, "\ud800".encode("utf-8", "surrogatepass")]
)
async def test_who_says_nonsense_is_dropped(session: aiohttp.ClientSession, said: str | bytes) -> None:
    """What is no wish, is too long, or is no text."""
    async with session.ws_connect("/ws") as socket:
        await (socket.send_str(said) if isinstance(said, str) else socket.send_bytes(said))
        message = await socket.receive(timeout=20)
        assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)


async def test_who_talks_too_much_is_dropped(session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page asks now and then."""
    monkeypatch.setattr(crawler.monitorsocket, "PERIOD", 60.0)
    async with session.ws_connect("/ws") as socket:
        for _ in range(30):
            await socket.send_json({"watch": "overview"})
        kinds = set()
        while not socket.closed:
            kinds.add((await socket.receive(timeout=20)).type)
        assert aiohttp.WSMsgType.CLOSE in kinds


async def test_watchers_are_bounded(session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """One too many is refused, and may come when another has gone."""
    monkeypatch.setattr(crawler.monitorsocket, "CLIENTS", 2)
    first, second = await session.ws_connect("/ws"), await session.ws_connect("/ws")
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await session.ws_connect("/ws")
    assert caught.value.status == 503
    await first.close()
    third: Any = None
    async with asyncio.timeout(20):
        while third is None:
            try:
                third = await session.ws_connect("/ws")
            except aiohttp.WSServerHandshakeError:
                continue
    await third.close()
    await second.close()


@pytest.mark.slow
async def test_a_page_that_does_not_read_is_dropped(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are not kept waiting by it."""
    monkeypatch.setattr(crawler.monitorsocket, "PERIOD", 0.02)
    monkeypatch.setattr(crawler.monitorsocket, "SLOW", 0.3)
    log = root / "almanac" / "runs" / RUN / "run.log"
    async with monitor(root) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        head = f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        head += "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        writer.write(head.encode())
        await reader.readuntil(b"\r\n\r\n")
        payload = b'{"watch":"job","job":"almanac"}'
        writer.write(bytes([0x81, 0x80 | len(payload), 0, 0, 0, 0]) + payload)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session, asyncio.timeout(30):
            for n in range(10_000):
                log.write_bytes(b"%d %s\n" % (n, b"x" * 3900) * 60)
                async with session.get("/api/jobs/almanac") as answer:
                    assert answer.status == 200
                try:
                    writer.write(bytes([0x89, 0x80, 0, 0, 0, 0]))  # a ping
                    await writer.drain()
                except ConnectionError:
                    break
            else:
                pytest.fail("it is still there")
        writer.close()
