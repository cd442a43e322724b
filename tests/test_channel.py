"""A WebSocket over the session's own connections, against real servers on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from crawler.capture import LOST
from crawler.channel import KEY, Channel, Closed, Terms, _unproven, handshake, new_key
from crawler.errors import Reason
from crawler.session import Session, SessionSettings, TransportError
from tests.peers import answer
from tests.sockets import Talk, WsSite, counting, cut, until_closed, ws_site

TERMS = Terms((), 1024, 30.0)


@pytest.fixture
async def session() -> AsyncIterator[Session]:
    async with Session(SessionSettings(4, 30.0, 60.0, {})) as one:
        yield one


@asynccontextmanager
async def opened(session: Session, talk: Talk, terms: Terms = TERMS) -> AsyncIterator[tuple[WsSite, Channel]]:
    """A site that does `talk`, and a channel to it."""
    async with ws_site(talk, protocols=("known",)) as site:
        asked = handshake(new_key(), terms.subprotocols)
        head = await answer(session, site.url().replace("ws://", "http://"), headers=asked)
        assert head.status == 101
        channel = Channel(head, asked[KEY], terms)
        try:
            yield site, channel
        finally:
            await channel.close()
            head.close()


async def test_messages_go_both_ways(session: Session) -> None:
    """Texts and bytes arrive as such; the close carries code and words."""

    async def talk(site: WsSite, socket: web.WebSocketResponse) -> None:
        await site.heard(socket)
        await site.heard(socket)
        await socket.send_str("grüß")
        await socket.send_bytes(b"\0\xff")
        await socket.close(code=4001, message=b"enough")

    async with opened(session, talk) as (site, channel):
        await channel.send("a")
        await channel.send(b"\1")
        said = [await channel.receive() for _ in range(3)]
        assert said == ["grüß", b"\0\xff", Closed(4001, "enough")]
        assert site.messages == ["a", b"\1"]


async def test_a_close_without_a_code(session: Session) -> None:
    """An empty close frame is 1005 (RFC 6455 7.1.5)."""

    async def talk(site: WsSite, socket: web.WebSocketResponse) -> None:
        assert socket._writer is not None
        socket._writer.transport.write(b"\x88\x00")
        await until_closed(site, socket)

    async with opened(session, talk) as (_, channel):
        assert await channel.receive() == Closed(1005)


@pytest.mark.parametrize("abort", [True, False])
async def test_a_connection_that_ends_without_a_close(session: Session, abort: bool) -> None:
    """By a reset or by an end in good order: lost is lost."""

    async def talk(site: WsSite, socket: web.WebSocketResponse) -> None:
        await socket.send_str("last")
        if abort:
            await cut(site, socket)
        else:
            assert socket._writer is not None
            socket._writer.transport.close()

    async with opened(session, talk) as (_, channel):
        said = await channel.receive()
        if said == "last":
            said = await channel.receive()
        assert isinstance(said, Closed)
        assert said.code == LOST


async def test_a_server_without_pulse(session: Session) -> None:
    """Who answers no ping within half the time between two is lost, and it is said why."""
    release = asyncio.Event()

    async def deaf(site: WsSite, socket: web.WebSocketResponse) -> None:
        await release.wait()

    try:
        async with opened(session, deaf, TERMS._replace(heartbeat=0.1)) as (_, channel):
            async with asyncio.timeout(20):
                said = await channel.receive()
            assert isinstance(said, Closed)
            assert said.code == LOST
            assert "PONG" in said.reason
    finally:
        release.set()


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\x81\x7e\x04\x01" + b"x" * 1025, Reason.TOO_LARGE),
        (b"\x01\x7e\x02\x00" + b"x" * 512 + b"\x80\x7e\x02\x01" + b"x" * 513, Reason.TOO_LARGE),  # in two pieces
        (b"\x83\x00", Reason.BAD_RESPONSE),  # an opcode that there is not
        (b"\x81\x02\xff\xfe", Reason.BAD_RESPONSE),  # a text that is not UTF-8
        (b"\xc1\x01x", Reason.BAD_RESPONSE),  # compressed, which nobody agreed upon
    ],
)
async def test_what_is_no_message(session: Session, raw: bytes, reason: Reason) -> None:
    """A frame that breaks the protocol or is too large is a fault with its own reason; what came before stays."""

    async def talk(site: WsSite, socket: web.WebSocketResponse) -> None:
        await socket.send_str("x" * 1024)
        assert socket._writer is not None
        socket._writer.transport.write(raw)
        await until_closed(site, socket)

    async with opened(session, talk) as (_, channel):
        assert await channel.receive() == "x" * 1024
        with pytest.raises(TransportError) as trouble:
            await channel.receive()
        assert trouble.value.reason is reason


async def test_a_message_in_pieces(session: Session) -> None:
    """Fragments are one message, with a ping between them (RFC 6455 5.4)."""

    async def talk(site: WsSite, socket: web.WebSocketResponse) -> None:
        assert socket._writer is not None
        socket._writer.transport.write(b"\x01\x01a\x89\x00\x80\x01b")
        await until_closed(site, socket)

    async with opened(session, talk) as (_, channel):
        assert await channel.receive() == "ab"


async def test_a_flood_does_not_delay_our_close(session: Session) -> None:
    """A server that goes on sending and never answers our close is left after a second."""
    stopped = asyncio.Event()

    async def flood(site: WsSite, socket: web.WebSocketResponse) -> None:
        try:
            while True:
                await socket.send_str("x" * 100)
                await asyncio.sleep(0.001)
        except ConnectionError:
            stopped.set()

    async with opened(session, flood) as (_, channel):
        await channel.receive()
        async with asyncio.timeout(3):
            await channel.close()
            await stopped.wait()


async def test_sending_to_who_is_gone(session: Session) -> None:
    """Is a fault of the wire."""
    async with opened(session, counting(1, 1, close=1000)) as (_, channel):
        while not isinstance(await channel.receive(), Closed):
            pass
        with pytest.raises(TransportError) as trouble:
            await channel.send("x")
        assert trouble.value.reason is Reason.CONNECTION_RESET


async def test_only_what_was_offered_may_be_chosen(session: Session) -> None:
    """A subprotocol of ours is fine, so is none."""
    async with opened(session, counting(1, 1), TERMS._replace(subprotocols=("other", "known"))) as (site, channel):
        assert await channel.receive() == "1"
        assert site.handshakes[0]["sec-websocket-protocol"] == "other, known"


Change = Callable[[dict[str, str]], None]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda headers: headers.pop("Upgrade"), "not to WebSocket"),
        (lambda headers: headers.pop("Connection"), "Connection"),
        (lambda headers: headers.update(Connection="close"), "Connection"),
        (lambda headers: headers.pop("Sec-WebSocket-Accept"), "key"),
        (lambda headers: headers.update({"Sec-WebSocket-Accept": "AAAA"}), "key"),
        (lambda headers: headers.update({"Sec-WebSocket-Protocol": "unheard"}), "subprotocol"),
        (lambda headers: headers.update({"Sec-WebSocket-Extensions": "permessage-deflate"}), "extension"),
    ],
)
async def test_a_handshake_must_be_proven(session: Session, change: Change, told: str) -> None:
    """RFC 6455 4.1: each of the server's headers is checked, and a WebSocket made of none that fails."""
    async with ws_site(until_closed) as site:
        asked = handshake(new_key(), ())
        head = await answer(session, site.url().replace("ws://", "http://"), headers=asked)
        headers = dict(head.headers)
        change(headers)
        head.headers = headers
        with pytest.raises(TransportError, match=told) as trouble:
            Channel(head, asked[KEY], TERMS)
        assert trouble.value.reason is Reason.BAD_RESPONSE
        head.close()


def test_the_proof_is_that_of_the_rfc() -> None:
    """The example of RFC 6455 1.3, and a key that is new each time."""
    headers = {"Upgrade": "WebSocket", "Connection": "keep-alive, Upgrade"}
    headers["Sec-WebSocket-Accept"] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert _unproven(headers, "dGhlIHNhbXBsZSBub25jZQ==", ()) is None
    assert new_key() != new_key()
