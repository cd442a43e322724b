"""One attempt against raw servers that misbehave, each in one way."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from time import monotonic

import pytest

from crawler.errors import Reason
from crawler.fetch import Fetcher, FetchRules
from crawler.model import Failed, Fetched, Request
from crawler.session import Session, SessionSettings
from crawler.spool import Keep
from crawler.watch import Limits, Watch

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
LIMITS = Limits(connect=2, read=0.15, total=2, stall=0.2, min_speed=100)


@asynccontextmanager
async def server(script: Script) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"


async def fetch(url: str, folder: Path, request: Request | None = None, *, max_body: int = 1 << 20) -> Fetched | Failed:
    """One attempt, watched as the pipeline watches it; afterwards nothing is under way and no part is left over."""
    watch = Watch(0.02)
    rules = FetchRules("run", {"X-Api-Key": "k"}, range(200, 300).__contains__, max_body, LIMITS, Keep(str(folder)))

    async def look() -> None:
        while True:
            await asyncio.sleep(watch.tick)
            for transfer in watch.overdue(monotonic()):
                assert isinstance(transfer.owner, asyncio.Task)
                transfer.owner.cancel()

    async with Session(SessionSettings(4, 30, 60, {"Accept": "*/*"})) as session:
        looking = asyncio.create_task(look())
        outcome = await Fetcher(session, rules, watch)(request or Request(1, url, "127.0.0.1"))
        looking.cancel()
    assert not watch.transfers
    kept = {outcome.body.part} if isinstance(outcome, Fetched) and outcome.body.part else set()
    assert {str(path) for path in folder.iterdir()} == kept
    return outcome


def answers(*pieces: bytes, hang: bool = False, reset: bool = False) -> Script:
    """Reads one request, sends the pieces, then closes, hangs or resets."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if hang:
            await reader.read()
        if reset:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    return script


OK = b"HTTP/1.1 200 OK\r\n"
GZIP = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
CUT_GZIP = gzip.compress(b"x" * 5000)[:-9]
BOMB = gzip.compress(b"\0" * (8 << 20))


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (answers(), Reason.CONNECTION_RESET),
        (answers(reset=True), Reason.CONNECTION_RESET),
        (answers(OK + b"Content-Length: 10\r\n\r\nabc"), Reason.TRUNCATED),
        (answers(OK + b"Content-Length: 10\r\n\r\nabc", reset=True), Reason.TRUNCATED),
        (answers(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n"), Reason.TRUNCATED),
        (answers(OK + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\nabcde\r\n"), Reason.BAD_RESPONSE),
        (answers(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), Reason.BAD_RESPONSE),
        (answers(OK + b"Content-Length: -1\r\n\r\nab"), Reason.BAD_RESPONSE),
        (answers(b"SSH-2.0-OpenSSH_9.2\r\n"), Reason.BAD_RESPONSE),
        (answers(b"HTTP/2.0 200 OK\r\nContent-Length: 1\r\n\r\na"), Reason.BAD_RESPONSE),
        (answers(OK + b"X: " + b"y" * 1_000_000 + b"\r\n\r\n"), Reason.BAD_RESPONSE),
        (answers(OK + b"X: y\r\n" * 1000 + b"\r\n"), Reason.BAD_RESPONSE),
        (answers(hang=True), Reason.READ_TIMEOUT),
        (answers(OK + b"Content-Length: 10\r\n\r\nabc", hang=True), Reason.READ_TIMEOUT),
        (answers(OK + b"Content-Length: 9999999\r\n\r\n"), Reason.TOO_LARGE),
        (answers(OK + b"\r\n" + b"x" * (2 << 20)), Reason.TOO_LARGE),
        (
            answers(OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(CUT_GZIP) + CUT_GZIP),
            Reason.BAD_ENCODING,
        ),
        (answers(OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB), Reason.TOO_LARGE),
        (answers(OK + b"Content-Encoding: rot13\r\nContent-Length: 1\r\n\r\na"), Reason.BAD_ENCODING),
    ],
)
async def test_each_fault_has_its_reason(tmp_path: Path, script: Script, reason: Reason) -> None:
    """Nothing raises, nothing is kept, and the class of the fault is named."""
    async with server(script) as url:
        outcome = await fetch(url, tmp_path)
    assert isinstance(outcome, Failed), outcome
    assert outcome.reason is reason, outcome.error


async def test_a_204_has_no_body_whatever_it_declares(tmp_path: Path) -> None:
    """The outcome is by the status, and nothing is waited for."""
    async with server(answers(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n")) as url:
        outcome = await fetch(url, tmp_path)
    assert isinstance(outcome, Fetched)
    assert outcome.body.size == 0


async def test_a_closed_port_is_refused(tmp_path: Path) -> None:
    """Nobody listens: connect-refused."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        outcome = await fetch(f"http://127.0.0.1:{probe.getsockname()[1]}/", tmp_path)
    assert isinstance(outcome, Failed)
    assert outcome.reason is Reason.CONNECT_REFUSED


async def test_a_drip_is_a_stall(tmp_path: Path) -> None:
    """A byte now and then resets no clock of ours: the body counts as stalled."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"Content-Length: 100\r\n\r\n")
        for _ in range(100):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with server(drip) as url:
        outcome = await fetch(url, tmp_path)
    assert isinstance(outcome, Failed)
    assert outcome.reason is Reason.STALL


async def test_a_large_body_goes_to_a_part_file(tmp_path: Path) -> None:
    """What does not fit into memory's share is streamed, counted and hashed."""
    data = bytes(range(256)) * 3000
    async with server(answers(OK + b"Content-Length: %d\r\n\r\n" % len(data), data)) as url:
        outcome = await fetch(url, tmp_path)
    assert isinstance(outcome, Fetched)
    assert outcome.body.part is not None
    assert Path(outcome.body.part).read_bytes() == data
    assert (outcome.body.size, outcome.body.sha256) == (len(data), sha256(data).hexdigest())


async def test_a_body_that_differs_from_its_row_is_refused(tmp_path: Path) -> None:
    """The sha256 of the row is compared, and the wrong body not kept."""
    async with server(answers(OK + b"Content-Length: 1\r\n\r\na")) as url:
        outcome = await fetch(url, tmp_path, Request(1, url, "h", sha256="0" * 64))
    assert isinstance(outcome, Failed)
    assert outcome.reason is Reason.DIGEST_MISMATCH


@pytest.mark.parametrize("foreign", [False, True])
async def test_headers_stay_with_their_origin(tmp_path: Path, foreign: bool) -> None:
    """After a hop to another origin no custom header of job or row is on the wire; the request id always is."""
    seen: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK + b"Content-Length: 0\r\n\r\n")

    async with server(note) as url:
        request = Request(7, url, "h", headers={"X-Mine": "m", "Accept": "text/html"})
        request.foreign = foreign
        await fetch(url, tmp_path, request)
    wire = seen[0].lower()
    assert b"x-request-id: run-7-1-0" in wire
    assert b"accept: text/html" in wire
    assert (b"x-api-key" in wire, b"x-mine" in wire) == (not foreign, not foreign)


@pytest.mark.parametrize(("method", "sent"), [("GET", 2), ("POST", 1)])
async def test_a_connection_closed_before_the_answer_is_tried_once_more(tmp_path: Path, method: str, sent: int) -> None:
    """An idempotent request is sent again on a fresh connection, within the same attempt; a POST is not."""
    count = 0

    async def first_closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        await reader.readuntil(b"\r\n\r\n")
        if count > 1:
            writer.write(OK + b"Content-Length: 2\r\n\r\nok")

    async with server(first_closes) as url:
        outcome = await fetch(url, tmp_path, Request(1, url, "h", method=method))
    assert count == sent
    assert isinstance(outcome, Fetched) == (method == "GET")
