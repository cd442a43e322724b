"""Connections as routes want them: from an address, of a family, over a unix socket; and what may not be used again."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
import trustme

from crawler.errors import Reason
from crawler.model import Message, Timing
from crawler.routes import Proxy, Route, Tls
from crawler.session import Session, TransportError
from crawler.watch import Transfer
from tests.peers import (
    LIMITS,
    LOOPBACK,
    OK,
    SETTINGS,
    Peer,
    answer,
    fetch,
    leading_on,
    on_both_loops,
    peer,
    pem,
    polite,
    server_tls,
)
from tests.test_tunnel import Known, refusal


def telling(into: list[str]) -> object:
    """A script that notes where its connections come from."""

    async def script(one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        into.append(writer.get_extra_info("peername")[0])
        await polite(one, reader, writer)

    return script


@on_both_loops
async def test_connections_come_from_the_local_address() -> None:
    """To a site and to a proxy alike; other routes come from elsewhere."""
    sources: list[str] = []
    async with peer(telling(sources)) as server, Session(SETTINGS) as session:  # type: ignore[arg-type]
        for address in ("127.0.0.7", "127.0.0.8", None):
            assert await fetch(session, server.url, Route(local_address=address)) == b"ok"
            proxied = Route(Proxy("http", LOOPBACK, server.port), local_address=address)
            assert await fetch(session, "http://site.test/", proxied) == b"ok"
    assert sources == ["127.0.0.7", "127.0.0.7", "127.0.0.8", "127.0.0.8", LOOPBACK, LOOPBACK]


async def test_an_address_that_is_not_ours() -> None:
    """Nothing can be sent from it."""
    async with peer() as server, Session(SETTINGS) as session:
        error = await refusal(session, server.url, Route(local_address="203.0.113.9"))
        proxied = Route(Proxy("http", LOOPBACK, server.port), local_address="203.0.113.9")
        assert (await refusal(session, "http://site.test/", proxied)).reason is Reason.PROXY_REFUSED
    assert error.reason is Reason.CONNECT_FAILED
    assert server.accepted == 0


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
async def test_only_addresses_of_the_family_are_tried(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a name that has both."""
    tried: list[str] = []
    loop = asyncio.get_running_loop()

    async def sock_connect(sock: socket.socket, address: tuple[str, int]) -> None:
        tried.append(address[0])
        raise OSError("not reachable")

    monkeypatch.setattr(loop, "sock_connect", sock_connect)
    names = Known(both_test="2606:4700::1111 93.184.215.14 2606:4700::1112")
    async with Session(SETTINGS, names) as session:
        await refusal(session, "http://both.test/", Route(family=family))  # type: ignore[arg-type]
        proxied = Route(Proxy("http", "both.test", 1), family=family)  # type: ignore[arg-type]
        await refusal(session, "http://site.test/", proxied)
    assert set(tried) == ({"93.184.215.14"} if family == "ipv4" else {"2606:4700::1111", "2606:4700::1112"})


@pytest.mark.parametrize(("host", "reason"), [("four.test", Reason.DNS_NOT_FOUND), (LOOPBACK, Reason.CONNECT_FAILED)])
async def test_a_host_without_an_address_of_the_family(host: str, reason: Reason) -> None:
    """A name has none, or the URL holds one of the other family; the sentence names the key."""
    async with peer() as server, Session(SETTINGS, Known(four_test=LOOPBACK)) as session:
        route = Route(family="ipv6")
        error = await refusal(session, f"http://{host}:{server.port}/", route)
        assert await fetch(session, f"http://{host}:{server.port}/", Route(family="ipv4")) == b"ok"
    assert (error.reason, "connection.family" in error.error) == (reason, True)
    assert server.accepted == 1


@on_both_loops
async def test_over_a_unix_socket(tmp_path: Path) -> None:
    """The Host header is the URL's, which nobody looks up; one connection serves each host."""
    path = str(tmp_path / "s")
    async with peer(path=path) as server, Session(SETTINGS, Known()) as session:
        for host in ("site.test", "site.test:8080", "10.0.0.1"):
            for _ in range(2):
                assert await fetch(session, f"http://{host}/x", Route(unix_socket=path), trusted=False) == b"ok"
    assert server.accepted == 3
    assert [head.split("\r\n")[:2] for head in server.heads[::2]] == [
        ["GET /x HTTP/1.1", f"Host: {host}"] for host in ("site.test", "site.test:8080", "10.0.0.1")
    ]


@on_both_loops
async def test_tls_over_a_unix_socket(tmp_path: Path) -> None:
    """Verified for the URL's host, as everywhere."""
    path, authority = str(tmp_path / "s"), trustme.CA()
    tls = Tls(ca_bundle=pem(tmp_path, "ca.pem", authority.cert_pem))
    async with peer(tls=server_tls(authority.issue_cert("site.test")), path=path), Session(SETTINGS) as session:
        assert await fetch(session, "https://site.test/", Route(unix_socket=path, tls=tls)) == b"ok"
        error = await refusal(session, "https://other.test/", Route(unix_socket=path, tls=tls))
    assert error.reason is Reason.TLS_HOSTNAME


@pytest.mark.parametrize(("name", "reason"), [("absent", Reason.CONNECT_FAILED), ("dead", Reason.CONNECT_REFUSED)])
async def test_a_unix_socket_without_a_server(tmp_path: Path, name: str, reason: Reason) -> None:
    """Not there, or left over."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "dead"))
    async with Session(SETTINGS) as session:
        error = await refusal(session, "http://site.test/", Route(unix_socket=str(tmp_path / name)))
    assert error.reason is reason


@on_both_loops
async def test_words_that_nobody_asked_for_end_a_connection() -> None:
    """A second answer that comes late would be taken for that to the next request."""
    told = asyncio.Event()

    async def talkative(one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await one.head(reader)
        writer.write(OK)
        await told.wait()
        writer.write(OK.replace(b"ok", b"no"))
        await polite(one, reader, writer)

    async with peer(talkative) as server, Session(SETTINGS) as session:
        assert await fetch(session, server.url) == b"ok"
        told.set()
        await asyncio.wait_for(_readable(session), 20)
        assert await fetch(session, server.url) == b"ok"
    assert server.accepted == 2


async def _readable(session: Session) -> None:
    """Until the unasked words have come to the connection that waits in the pool."""
    connector = session._pools.direct.connector
    ((protocol, _),) = next(iter(connector._conns.values()))
    while not protocol.should_close:
        turn = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.001, turn.set_result, None)
        await turn


@on_both_loops
async def test_a_connection_through_a_tunnel_is_timed() -> None:
    """From the first packet to the proxy to the end of the handshake; once it is kept, not at all."""
    authority = trustme.CA()
    async with (
        peer(tls=server_tls(authority.issue_cert(LOOPBACK))) as server,
        peer(leading_on) as proxy,
        Session(SETTINGS) as session,
    ):
        route = Route(Proxy("http", LOOPBACK, proxy.port), Tls(verify=False))
        timings = [await _timed(session, server.secure, route) for _ in range(2)]
    assert [timing.connect is not None for timing in timings] == [True, False]


async def _timed(session: Session, url: str, route: Route) -> Timing:
    timing = Timing(0.0)
    loop_time = asyncio.get_running_loop().time()
    got = await session.send(
        Message("GET", url, {}, trusted=True, route=route), Transfer(url, LIMITS, loop_time), timing
    )
    while await got.read():
        pass
    return timing


async def test_credentials_for_a_proxy_stay_here() -> None:
    """A job's own Proxy-Authorization header goes to no site."""
    async with peer() as server, Session(SETTINGS) as session:
        for route in (Route(), Route(local_address="127.0.0.1")):
            await answer(session, server.url, route, headers={"proxy-authorization": "Basic zzz"})
    assert [b"zzz" in server.raw, len(server.heads)] == [False, 2]


async def test_trouble_is_of_one_kind() -> None:
    """Only TransportError leaves, whatever the route."""
    async with Session(SETTINGS) as session:
        for route in (Route(), Route(Proxy("http", LOOPBACK, 1)), Route(unix_socket="/nowhere")):
            with pytest.raises(TransportError):
                await fetch(session, f"http://{LOOPBACK}:1/", route)
