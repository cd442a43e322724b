"""Large bodies past aiohttp: a ring under a transport that does as told, then whole answers over real connections."""

from __future__ import annotations

import asyncio
import gc
import struct
import weakref
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from random import Random
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from crawler import bulk
from crawler.bulk import BULK, Inflow
from crawler.errors import Reason
from crawler.routes import DIRECT, Route, Tls
from crawler.session import Answer, Session, TransportError
from tests.peers import OK, SETTINGS, Peer, Script, answer, on_both_loops, peer, pem, server_tls, whole

MIB = 1024 * 1024
DATA = Random(7).randbytes(6 * MIB + 12_345)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(DATA)
MOST = 3 * MIB  # that is kept in memory of one body

# -- the ring ----------------------------------------------------------------------------------------------------------


class Own(asyncio.Protocol):
    """The protocol of a connection; `told` is what it heard."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def data_received(self, data: bytes) -> None:
        self.told.append(data)

    def eof_received(self) -> bool:
        self.told.append("eof")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append(exc)

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")


class Line(asyncio.Transport):
    """A transport that brings `data` as it is told."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.data = data
        self.at = 0
        self.reading = True
        self.protocol: Any = None

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert not self.reading  # else uvloop goes on as it began
        self.protocol = protocol

    def bring(self, size: int) -> None:
        """At most so many bytes, as a socket would give them: as many as there is room for at a time."""
        stop = min(self.at + size, len(self.data))
        while self.at < stop and self.reading and isinstance(self.protocol, Inflow):
            buffer = self.protocol.get_buffer(-1)
            assert len(buffer) > 0
            size = min(len(buffer), stop - self.at)
            buffer[:size] = self.data[self.at : self.at + size]
            self.at += size
            self.protocol.buffer_updated(size)


@pytest.fixture
def small_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "_RING", 48)
    monkeypatch.setattr(bulk, "_PIECE", 16)
    monkeypatch.setattr(bulk, "_PATIENCE", 0.0)


@given(
    st.integers(1, 400),
    st.binary(max_size=60),
    st.lists(st.integers(1, 40), max_size=60),
    st.randoms(use_true_random=False),
)
@pytest.mark.usefixtures("small_ring")
def test_every_byte_comes_once_and_stays_until_it_is_let_go(
    size: int, more: bytes, chunks: list[int], random: Random
) -> None:
    """However it is cut on its way, and however much of it the reader holds; of what follows nothing is taken."""

    async def run() -> None:
        body = Random(size).randbytes(size)
        line, own, over = Line(body + more), Own(), list[bool]()
        inflow = Inflow(line, own, len(body), over.append)
        held: deque[tuple[memoryview, bytes]] = deque()
        coming, read = deque(chunks), 0

        def bring() -> None:
            line.bring(coming.popleft() if coming else 7)

        while not inflow.complete:
            asyncio.get_running_loop().call_soon(bring)
            bring()
            piece = await inflow.read()
            assert 0 < len(piece) <= 16
            held.append((piece, body[read : read + len(piece)]))
            read += len(piece)
            most = random.randint(0, 31)
            while sum(len(one) for one, _ in held) > most:
                piece, expected = held.popleft()
                assert bytes(piece) == expected
            inflow.let_go(most + 60)  # more than was read is no news
            inflow.let_go(sum(len(one) for one, _ in held))
        assert [bytes(piece) for piece, _ in held] == [expected for _, expected in held]
        assert (read, line.protocol, own.told, len(over)) == (len(body), own, [], 1)
        assert line.at <= len(body) + 1
        assert not (over[0] and line.at > len(body))

    asyncio.run(run())


@pytest.mark.usefixtures("small_ring")
async def test_a_full_ring_stops_the_peer_until_some_of_it_is_let_go() -> None:
    """Also a short piece is given when no more can come."""
    line = Line(bytes(range(200)))
    inflow = Inflow(line, Own(), 200, lambda clean: None)
    line.bring(200)
    assert (line.at, line.reading) == (48, False)
    pieces = [await inflow.read() for _ in range(3)]
    assert b"".join(pieces) == bytes(range(48))
    inflow.let_go(46)
    assert line.reading
    line.bring(200)
    assert (line.at, line.reading) == (50, False)
    assert bytes(await inflow.read()) == b"\x30\x31"
    with pytest.raises(AssertionError, match="nothing was let go"):
        await inflow.read()


async def test_the_own_protocol_hears_all_but_the_bytes() -> None:
    """What came before the connection was lost is read first."""
    line, own = Line(DATA), Own()
    inflow = Inflow(line, own, len(DATA), lambda clean: None)
    line.bring(5)
    line.protocol.pause_writing()
    line.protocol.resume_writing()
    assert line.protocol.eof_received() is True
    fault = ConnectionResetError()
    line.protocol.connection_lost(fault)
    assert own.told == ["pause", "resume", "eof", fault]
    assert bytes(await inflow.read()) == DATA[:5]
    assert not await inflow.read()
    assert not inflow.complete
    line.reading = False
    inflow.let_go(0)
    assert not line.reading


@pytest.mark.parametrize("ending", ["complete", "lost", "dropped"])
async def test_the_memory_goes_with_the_last_piece(ending: str) -> None:
    """However it ends, and though the transport knows its protocol still; what comes then is nothing to anybody."""
    line, over = Line(DATA[:MIB]), list[bool]()
    inflow = Inflow(line, Own(), MIB, over.append)
    line.bring(MIB if ending == "complete" else MIB - 5)
    piece = await inflow.read()
    memory = weakref.ref(piece.obj)
    if ending == "lost":
        inflow.connection_lost(None)
        assert not await inflow.read()
    elif ending == "dropped":
        inflow.drop()
        line.bring(5)
        assert (line.at, over) == (MIB, [])
    assert bytes(piece) == DATA[: len(piece)]
    assert memory() is not None
    gc.disable()
    try:
        piece.release()
        assert memory() is None
    finally:
        gc.enable()


# -- answers -----------------------------------------------------------------------------------------------------------


def chunked(body: bytes, seed: int) -> list[bytes]:
    """Pieces of any size, some of them tiny."""
    random, pieces, at = Random(seed), [], 0
    while at < len(body):
        size = random.choice([1, 100, 10_000, 700_000, 2_000_000])
        pieces.append(body[at : at + random.randint(1, size)])
        at += len(pieces[-1])
    return pieces


def giving(*said: bytes, stay: bool = True) -> Script:
    """Answers each request with these, one write after another; then the end, unless it may `stay`."""

    async def script(one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await one.head(reader)
            for piece in said:
                writer.write(piece)
                await writer.drain()
            if not stay:
                return

    return script


@pytest.fixture(params=["plain", "tls"])
def secured(request: pytest.FixtureRequest) -> trustme.CA | None:
    return trustme.CA() if request.param == "tls" else None


@asynccontextmanager
async def site(script: Script, secured: trustme.CA | None, tmp_path: Any) -> AsyncIterator[tuple[Peer, Session, Any]]:
    """A server, a session, and what gives the next answer of one to the other."""
    tls = server_tls(secured.issue_cert("127.0.0.1")) if secured is not None else None
    route = Route(tls=Tls(ca_bundle=pem(tmp_path, "ca.pem", secured.cert_pem))) if secured is not None else DIRECT
    async with peer(script, tls) as one, Session(SETTINGS) as session:

        async def next_answer() -> Answer:
            return await answer(session, one.secure if secured is not None else one.url, route)

        yield one, session, next_answer


async def bulky(one: Answer, held: int = 0) -> bytes:
    """All of a body, which is let go but for its last pieces; not a byte of it through aiohttp from the second on."""
    body, pieces, views = bytearray(), deque[bytes | memoryview](), 0
    while piece := await one.read_bulk():
        pieces.append(piece)
        views += isinstance(piece, memoryview)
        while len(pieces) > held:
            body += pieces.popleft()
        one.let_go(sum(map(len, pieces)))
    assert views > 2
    return bytes(body + b"".join(pieces))


@on_both_loops
async def test_a_large_body_comes_whole_and_its_connection_is_used_again(
    secured: trustme.CA | None, tmp_path: Any
) -> None:
    """Whatever its pieces on the wire, in plain and in TLS."""
    bodies = [chunked(DATA, seed) for seed in range(3)]

    async def script(one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for body in bodies:
            await giving_once(one, reader, writer, body)

    async def giving_once(
        one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: list[bytes]
    ) -> None:
        await one.head(reader)
        for piece in (HEAD, *body):
            writer.write(piece)
            await writer.drain()

    async with site(script, secured, tmp_path) as (one, _, next_answer):
        for held in range(3):
            assert await bulky(await next_answer(), held) == DATA
        assert one.accepted == 1


@on_both_loops
async def test_a_reader_that_waits_stops_the_peer(secured: trustme.CA | None, tmp_path: Any) -> None:
    """Of what is not let go no more comes than the ring holds; then all of it."""
    async with site(giving(HEAD, DATA), secured, tmp_path) as (_, _, next_answer):
        one, start, held = await next_answer(), b"", b""
        while len(held) < MOST:
            piece = await one.read_bulk()
            if isinstance(piece, bytes):  # what came with the head
                start += piece
            else:
                held += piece
        assert len(held) == MOST
        with pytest.raises(AssertionError, match="nothing was let go"):
            await one.read_bulk()
        one.let_go(0)
        assert start + held + await bulky(one) == DATA


@on_both_loops
async def test_a_body_with_the_end_of_its_connection_right_after_it_is_whole(
    secured: trustme.CA | None, tmp_path: Any
) -> None:
    """Its end is heard before the connection's."""
    async with site(giving(HEAD + DATA, stay=False), secured, tmp_path) as (one, _, next_answer):
        for _ in range(3):
            assert await bulky(await next_answer()) == DATA
        assert one.accepted == 3


@on_both_loops
async def test_what_comes_after_the_end_belongs_to_no_answer(secured: trustme.CA | None, tmp_path: Any) -> None:
    """The connection on which the server spoke unasked serves no other request."""
    async with site(giving(HEAD + DATA + OK + b"and more"), secured, tmp_path) as (one, _, next_answer):
        for _ in range(3):
            assert await bulky(await next_answer()) == DATA
        assert one.accepted == 3


@pytest.mark.parametrize("reset", [False, True])
@on_both_loops
async def test_a_body_that_is_cut_is_given_as_far_as_it_came(reset: bool) -> None:
    """Then the same is told of it as by aiohttp alone."""
    size = 4 * MIB + 77

    async def script(one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await one.head(reader)
        writer.transport.set_write_buffer_limits(0)
        writer.write(HEAD + DATA[:size])
        await writer.drain()
        if reset:
            await reader.read(1)  # the client has it all
            writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))

    async def read_all(got: Answer, read: Callable[[Answer], Awaitable[bytes | memoryview]]) -> None:
        assert got.response.connection is not None
        transport = got.response.connection.transport
        while piece := await read(got):
            body.extend(piece)
            got.let_go(0)
            if reset and len(body) == size:
                assert transport is not None
                transport.write(b"x")

    found = []
    async with peer(script) as one, Session(SETTINGS) as session:
        for read in (Answer.read_bulk, Answer.read):
            body = bytearray()
            got = await answer(session, one.url)
            with pytest.raises(TransportError) as caught:
                await read_all(got, read)
            assert body == DATA[:size]
            found.append((caught.value.reason, caught.value.error))
            got.close()
    assert found[0] == found[1]
    assert found[0][0] is Reason.TRUNCATED
    assert f"received {size} of {len(DATA)} bytes" in found[0][1]
    assert ("Connection reset by peer" in found[0][1]) is reset


@on_both_loops
async def test_what_came_is_not_kept_back_when_the_rest_stalls(secured: trustme.CA | None, tmp_path: Any) -> None:
    """So that who watches the flow sees it; who stops then ends the connection."""
    ended = asyncio.Event()

    async def script(one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await one.head(reader)
        writer.write(HEAD + DATA[:10])
        with suppress(OSError):
            await reader.read()
        ended.set()

    async with site(script, secured, tmp_path) as (_, _, next_answer):
        one, body = await next_answer(), b""
        while len(body) < 10:
            body += await one.read_bulk()
        reading = asyncio.create_task(one.read_bulk())
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        one.close()
        await ended.wait()
    assert body == DATA[:10]


@on_both_loops
async def test_a_reader_may_go_on_with_small_pieces() -> None:
    """The rest comes over the same way, and is bytes."""
    async with peer(giving(HEAD, DATA)) as one, Session(SETTINGS) as session:
        got = await answer(session, one.url)
        start = bytes(await got.read_bulk())
        got.let_go(0)
        while len(start) < MIB:
            start += await got.read_bulk()
            got.let_go(0)
        rest = await got.read()
        assert isinstance(rest, bytes)
        got.let_go(0)
        assert start + rest + await bulky(got) == DATA


@on_both_loops
async def test_a_body_without_a_length_or_a_small_one_comes_as_ever() -> None:
    """Nothing is taken over for it."""
    ends = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + DATA
    short = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (BULK - 1) + DATA[: BULK - 1]
    for said, body in ((ends, DATA), (short, DATA[: BULK - 1])):
        async with peer(giving(said, stay=False)) as one, Session(SETTINGS) as session:
            got, came = await answer(session, one.url), b""
            while piece := await got.read_bulk():
                assert isinstance(piece, bytes)
                came += piece
            assert came == body


@on_both_loops
async def test_a_head_has_no_body_to_take_over() -> None:
    """Though its length is told."""
    async with peer(giving(HEAD)) as one, Session(SETTINGS) as session:
        for _ in range(2):
            got = await answer(session, one.url, method="HEAD")
            assert await got.read_bulk() == b""
            assert await whole(got) == b""
        assert one.accepted == 1
