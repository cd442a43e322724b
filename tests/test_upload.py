"""Bodies in pieces, to real sockets: length and progress, answers before the end, files that change."""

from __future__ import annotations

import asyncio
import resource
import ssl
from collections.abc import AsyncIterator
from time import monotonic

import pytest
import trustme

from crawler.errors import Reason
from crawler.routes import Route, Tls
from crawler.session import Answer, Session, TransportError
from crawler.watch import Phase, Transfer
from tests.descriptors import sockets
from tests.peers import LIMITS, LOOPBACK, OK, SETTINGS, Peer, answer, on_both_loops, peer, server_tls, whole

MIB = 1 << 20


class Pieces:
    """A body of these pieces; `told` is the length it says it has. `asked` counts its readers, `ended` those gone."""

    def __init__(self, *pieces: bytes | OSError, told: int | None = None) -> None:
        self._pieces = pieces
        self.length = sum(len(piece) for piece in pieces if isinstance(piece, bytes)) if told is None else told
        self.asked = self.ended = self.given = 0

    async def pieces(self) -> AsyncIterator[bytes]:
        self.asked += 1
        try:
            for piece in self._pieces:
                if isinstance(piece, OSError):
                    raise piece
                self.given += len(piece)
                yield piece
        finally:
            self.ended += 1


async def reading(one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes bodies by their Content-Length and answers "ok"."""
    while True:
        head = (await one.head(reader)).lower()
        if "expect: 100-continue" in head:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        while length:
            piece = await reader.read(min(length, 65536))
            if not piece:
                return
            length -= len(piece)
            one.raw += piece if len(one.raw) < MIB else b""
        writer.write(OK)


async def deaf(one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes no body, and stays."""
    await one.head(reader)
    await asyncio.Event().wait()


async def _until_full(body: Pieces, sending: asyncio.Task[Answer]) -> None:
    """Nobody takes more of it."""
    given = 0
    while not body.given or given != body.given:
        given = body.given
        await asyncio.wait({sending}, timeout=0.05)


class Noted(Transfer):
    """Notes the phases it goes through."""

    __slots__ = ("phases",)

    def __init__(self) -> None:
        super().__init__("http://a.test/", LIMITS, monotonic())
        self.phases: list[Phase] = []

    def enter(self, phase: Phase, now: float) -> None:
        super().enter(phase, now)
        self.phases.append(phase)


@on_both_loops
async def test_a_body_in_pieces() -> None:
    """With its Content-Length, not in chunks; each piece is told when it has left, and the connection used again."""
    transfer = Noted()
    async with peer(reading) as server, Session(SETTINGS) as session:
        for pieces in ([b"one", b"", b"two"], [b""], []):
            body = Pieces(*pieces)
            got = await answer(session, server.url, method="PUT", body=body, transfer=transfer)
            assert await whole(got) == b"ok"
            assert (body.asked, body.ended) == (1, 1)
    heads = [head.lower() for head in server.heads]
    assert ["content-length: 6\r\n" in heads[0], "content-length: 0\r\n" in heads[1]] == [True, True]
    assert not any("chunked" in head for head in heads)
    assert b"onetwo" in server.raw
    assert server.accepted == 1
    assert transfer.uploaded == 6


@on_both_loops
async def test_the_phases_of_an_upload() -> None:
    """Connect, send, and the wait for the answer; while a piece is read it is our own time that passes."""
    transfer = Noted()
    sent: list[float] = []
    transfer.on_sent = sent.append
    async with peer(reading) as server, Session(SETTINGS) as session:
        await answer(session, server.url, method="PUT", body=Pieces(b"one", b"two"), transfer=transfer)
    assert transfer.phases == [Phase.CONNECT, Phase.SEND, *[Phase.STORE, Phase.SEND] * 3, Phase.ANSWER]
    assert len(sent) == 1


@pytest.mark.slow
@on_both_loops
async def test_a_large_body_takes_no_memory() -> None:
    """A quarter GiB at a slow reader: what is not taken is not read."""

    class Large:
        length = 256 * MIB

        async def pieces(self) -> AsyncIterator[bytes]:
            for _ in range(1024):
                yield bytes(MIB // 4)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with peer(reading) as server, Session(SETTINGS) as session:
        transfer = Noted()
        assert await whole(await answer(session, server.url, method="PUT", body=Large(), transfer=transfer)) == b"ok"
    assert transfer.uploaded == Large.length
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024  # KiB


@on_both_loops
async def test_what_is_not_taken_is_not_read() -> None:
    """Back-pressure: of 64 MiB only what fits into the buffers on the way."""
    body = Pieces(*[bytes(MIB // 4)] * 256)
    async with peer(deaf) as server, Session(SETTINGS) as session:
        sending = asyncio.create_task(answer(session, server.url, method="PUT", body=body))
        await _until_full(body, sending)
        sending.cancel()
        await asyncio.wait({sending})
    assert 0 < body.given < 32 * MIB
    assert body.ended == 1


@pytest.mark.parametrize("secure", [False, True])
@on_both_loops
async def test_what_is_not_taken_holds_no_connection(secure: bool) -> None:
    """A transport that is closed waits for its peer to take what was written, which may be for ever."""
    body = Pieces(*[bytes(MIB // 4)] * 256)
    async with peer(deaf, _tls() if secure else None) as server, Session(SETTINGS) as session:
        sending = _sending(session, server, secure, body)
        await _until_full(body, sending)
        before = sockets()
        sending.cancel()
        await asyncio.wait({sending})
        while sockets() == before:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
        assert sockets() == before - 1


@pytest.mark.parametrize("secure", [False, True])
@on_both_loops
async def test_a_session_is_closed_under_an_upload(secure: bool) -> None:
    """Though its peer takes nothing, and stays."""
    body = Pieces(*[bytes(MIB // 4)] * 256)
    async with peer(deaf, _tls() if secure else None) as server:
        async with Session(SETTINGS) as session:
            sending = _sending(session, server, secure, body)
            await _until_full(body, sending)
        with pytest.raises(TransportError):
            await sending
    assert body.ended == 1


def _sending(session: Session, server: Peer, secure: bool, body: Pieces) -> asyncio.Task[Answer]:
    url = server.secure if secure else server.url
    return asyncio.create_task(answer(session, url, Route(tls=Tls(verify=False)), method="PUT", body=body))


def _tls() -> ssl.SSLContext:
    return server_tls(trustme.CA().issue_cert(LOOPBACK))


@pytest.mark.parametrize("status", [b"413 Too Large", b"401 Who", b"307 There"])
@pytest.mark.parametrize("close", [b"", b"Connection: close\r\n"])
@on_both_loops
async def test_an_answer_before_the_end_counts(status: bytes, close: bytes) -> None:
    """The rest stays here, and the connection is not used again."""
    body = Pieces(*[bytes(MIB)] * 64)

    async def early(one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await one.head(reader)
        writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 4\r\n" + close + b"\r\n")
        await writer.drain()
        await reader.read(65536)
        writer.write(b"soon")
        await asyncio.Event().wait()

    async with peer(early) as server, Session(SETTINGS) as session:
        for _ in range(2):
            transfer = Noted()
            got = await answer(session, server.url, method="PUT", body=body, transfer=transfer)
            transfer.enter(Phase.BODY, monotonic())
            assert got.status == int(status[:3])
            assert await whole(got) == b"soon"
            assert transfer.phase is Phase.BODY
    assert server.accepted == 2
    assert (body.asked, body.ended) == (2, 2)
    assert body.given < 2 * 64 * MIB


@on_both_loops
async def test_after_an_early_answer_no_more_is_sent() -> None:
    """Though the server would take it; what comes next goes over another connection, not into the rest of this one."""
    body, came = Pieces(*[bytes(MIB // 16)] * 4096), [0]

    async def patient(one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await one.head(reader)
        writer.write(OK[:-2])
        while piece := await _soon(reader):
            came[0] += len(piece)
        writer.write(OK[-2:])
        await one.head(reader)
        writer.write(OK)

    async with peer(patient) as server, Session(SETTINGS) as session:
        for _ in range(2):
            assert await whole(await answer(session, server.url, method="PUT", body=body)) == b"ok"
    assert server.accepted == 2
    assert came[0] < 2 * 128 * MIB


@on_both_loops
async def test_an_answer_while_our_own_disk_is_slow() -> None:
    """The piece that comes then is of no more interest, and the transfer is where the answer put it."""
    arrived = asyncio.Event()

    class Slow:
        length = 9
        left = asyncio.Event()

        async def pieces(self) -> AsyncIterator[bytes]:
            try:
                yield b"one"
                yield b"two"
                await arrived.wait()
                yield b"six"
            finally:
                self.left.set()

    async def early(one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await one.head(reader)
        writer.write(OK[:-2])
        one.raw += await reader.read()

    body, transfer = Slow(), Noted()
    async with peer(early) as server, Session(SETTINGS) as session:
        got = await answer(session, server.url, method="PUT", body=body, transfer=transfer)
        transfer.enter(Phase.BODY, monotonic())
        arrived.set()
        await asyncio.wait_for(body.left.wait(), 20)
        assert (transfer.phase, transfer.uploaded) == (Phase.BODY, 3)
        got.close()
    assert b"two" not in server.raw


async def _soon(reader: asyncio.StreamReader) -> bytes:
    """The next piece, or none where none comes for a while."""
    try:
        return await asyncio.wait_for(reader.read(MIB), 0.1)
    except TimeoutError:
        return b""


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (Pieces(b"one", OSError("the disk is gone")), "the disk is gone"),
        (Pieces(OSError("no such file")), "no such file"),
        (Pieces(b"one", told=4), "changed while it was sent"),
        (Pieces(told=1), "changed while it was sent"),
        (Pieces(b"one", b"two", told=3), "changed while it was sent"),
        (Pieces(b"one", b"two", told=4), "changed while it was sent"),
        (Pieces(b"one", told=0), "changed while it was sent"),
    ],
    ids=["fails", "fails at once", "short", "empty", "long", "longer", "not empty"],
)
@on_both_loops
async def test_a_body_that_cannot_be_read_or_is_another(body: Pieces, told: str) -> None:
    """The server never has a whole request, and gets no second one."""
    answered: list[str] = []

    async def noting(one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await one.head(reader)).lower()
        await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r\n")[0]) or 1)
        answered.append(head)
        writer.write(OK)

    async with peer(noting) as server, Session(SETTINGS) as session:
        with pytest.raises(TransportError) as caught:
            await answer(session, server.url, method="PUT", body=body)
    assert caught.value.reason is Reason.UPLOAD_UNREADABLE
    assert told in caught.value.error
    assert answered == []


@on_both_loops
async def test_a_stale_connection_costs_one_more_reading() -> None:
    """The pooled connection was closed as we took it: the body goes out anew from its start."""

    async def once(one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await one.head(reader)
        await reader.read(3)
        writer.write(OK)
        if one.accepted == 1:
            await one.head(reader)

    body = Pieces(b"one")
    async with peer(once) as server, Session(SETTINGS) as session:
        for _ in range(2):
            assert await whole(await answer(session, server.url, method="PUT", body=body)) == b"ok"
    assert (server.accepted, body.asked, body.ended) == (2, 3, 3)


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@on_both_loops
async def test_what_may_have_had_an_effect_is_not_sent_twice(method: str) -> None:
    """Also not on a stale connection."""

    async def once(one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await one.head(reader)
        await reader.read(3)
        writer.write(OK)
        await one.head(reader)

    body = Pieces(b"one")
    async with peer(once) as server, Session(SETTINGS) as session:
        assert await whole(await answer(session, server.url, method=method, body=body)) == b"ok"
        with pytest.raises(TransportError) as caught:
            await answer(session, server.url, method=method, body=body)
    assert caught.value.reason is Reason.CONNECTION_RESET
    assert (server.accepted, body.asked) == (1, 2)


@on_both_loops
async def test_a_body_waits_for_leave() -> None:
    """Expect: 100-continue (RFC 9110 10.1.1): sent when the server says so, not at all where it refuses."""

    async def refusing(one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await one.head(reader)
        writer.write(b"HTTP/1.1 401 Who\r\nContent-Length: 0\r\n\r\n")
        one.raw += await reader.read()

    expect = {"Expect": "100-continue"}
    async with peer(reading) as server, peer(refusing) as other, Session(SETTINGS) as session:
        body = Pieces(b"one")
        assert (await answer(session, server.url, method="PUT", headers=expect, body=body)).status == 200
        assert server.raw.endswith(b"one")
        body = Pieces(b"one")
        got = await answer(session, other.url, method="PUT", headers=expect, body=body)
        assert (got.status, await whole(got), body.asked) == (401, b"", 0)
    assert b"one" not in other.raw


@on_both_loops
async def test_a_length_of_the_jobs_own_does_not_stand() -> None:
    """What is told is the body's."""
    async with peer(reading) as server, Session(SETTINGS) as session:
        got = await answer(session, server.url, method="PUT", headers={"content-length": "99"}, body=Pieces(b"one"))
        assert got.status == 200
    assert server.heads[0].lower().count("content-length") == 1
