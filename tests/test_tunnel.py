"""Through proxies, real sockets on loopback: what the proxy is told, what each of its faults leads to."""

from __future__ import annotations

import asyncio
import socket
import struct
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

import pytest
import trustme

from crawler.errors import Reason
from crawler.resolver import Address
from crawler.routes import Proxy, Route, Tls
from crawler.session import Session, TransportError
from tests.peers import (
    LOOPBACK,
    SETTINGS,
    Peer,
    Script,
    answer,
    fetch,
    leading_on,
    on_both_loops,
    peer,
    pem,
    saying,
    server_tls,
    whole,
)
from tests.servers import free_port

BASIC = "Basic " + b64encode(b"user:hunter2").decode()
SECRETS = {"Authorization": "Bearer s3cr3t", "Cookie": "c=s3cr3t", "X-Api-Key": "s3cr3t"}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def site(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert(LOOPBACK, "site.test")


@pytest.fixture
def trusting(tmp_path: Path, authority: trustme.CA) -> Tls:
    return Tls(ca_bundle=pem(tmp_path, "ca.pem", authority.cert_pem))


class Known:
    """A name server that knows these alone, and is asked for nothing else by mistake."""

    def __init__(self, **names: str) -> None:
        self._names = {name.replace("_", "."): text.split() for name, text in names.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[Address]:
        self.asked.append(host)
        if host not in self._names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        found = self._names[host]
        return [Address(text, 0, socket.AF_INET6 if ":" in text else socket.AF_INET) for text in found]


def via(server: Peer, tls: Tls | None = None, scheme: str = "http", user: str | None = None) -> Route:
    password = None if user is None else "hunter2"
    proxy = Proxy(scheme, LOOPBACK, server.port, user, password)  # type: ignore[arg-type]
    return Route(proxy, tls or Tls())


async def refusal(session: Session, url: str, route: Route, *, trusted: bool = True) -> TransportError:
    with pytest.raises(TransportError) as caught:
        await fetch(session, url, route, trusted=trusted)
    assert "hunter2" not in caught.value.error
    assert BASIC[6:] not in caught.value.error
    return caught.value


# -- what goes to whom -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "https"])
@on_both_loops
async def test_a_tunnel_to_a_tls_site(site: trustme.LeafCert, trusting: Tls, scheme: str) -> None:
    """The proxy is told host, port and its own credentials, in one CONNECT for both requests; the site gets the rest.

    The proxy's own credentials never reach the site, not even where the job writes them among its headers.
    """
    async with (
        peer(tls=server_tls(site)) as server,
        peer(leading_on, server_tls(site) if scheme == "https" else None) as proxy,
        Session(SETTINGS) as session,
    ):
        route = via(proxy, trusting, scheme, "user")
        for _ in range(2):
            got = await answer(session, server.secure, route, headers={**SECRETS, "Proxy-Authorization": "Basic zzz"})
            assert await whole(got) == b"ok"
    place = f"{LOOPBACK}:{server.port}"
    assert proxy.heads == [f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\nProxy-Authorization: {BASIC}\r\n\r\n"]
    assert b"s3cr3t" not in proxy.raw
    assert server.raw.count(b"s3cr3t") == 6
    assert b"proxy-authorization" not in server.raw.lower()


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("extra", [{}, {"X-More": "1"}], ids=["plain", "with headers"])
@on_both_loops
async def test_a_plain_request_is_passed_on(
    site: trustme.LeafCert, trusting: Tls, scheme: str, extra: dict[str, str]
) -> None:
    """The whole URL is its target, on one connection; without a user there is nothing to say."""
    async with (
        peer(tls=server_tls(site) if scheme == "https" else None) as proxy,
        Session(SETTINGS) as session,
    ):
        for user in ("user", None):
            for _ in range(2):
                got = await answer(
                    session,
                    "http://site.test/a?b=%20",
                    via(proxy, trusting, scheme, user),
                    headers={"X-Request-ID": "r", **extra},
                )
                assert await whole(got) == b"ok"
    firsts = [head.split("\r\n")[:2] for head in proxy.heads]
    assert firsts == [["GET http://site.test/a?b=%20 HTTP/1.1", "Host: site.test"]] * 4
    assert [f"\r\nProxy-Authorization: {BASIC}\r\n" in head for head in proxy.heads] == [True, True, False, False]
    assert proxy.accepted == 2  # one for each route


@on_both_loops
async def test_by_hand_or_not_a_proxy_reads_the_same() -> None:
    """A plain GET, and the same through aiohttp's own request."""
    given = {"User-Agent": "t/1", "Accept": "*/*", "Accept-Encoding": "gzip"}
    async with peer() as proxy, Session(SETTINGS._replace(headers=given)) as session:
        for headers in ({"X-Request-ID": "r"}, {**given, "X-Request-ID": "r"}):
            await whole(await answer(session, "http://site.test/x", via(proxy, user="user"), headers=headers))
    assert proxy.heads[0] == proxy.heads[1]


async def test_names_are_for_the_proxy_to_look_up() -> None:
    """The one of the target is not asked for here; the proxy's own is."""
    known = Known(proxy_test=LOOPBACK)
    async with peer() as proxy, Session(SETTINGS, known) as session:
        route = Route(Proxy("http", "proxy.test", proxy.port))
        assert await fetch(session, "http://nowhere.test/", route) == b"ok"
    assert known.asked == ["proxy.test"]


# -- faults of the proxy -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["http://site.test/", "https://site.test/"])
@pytest.mark.parametrize("scheme", ["http", "https", "socks5h"])
@on_both_loops
async def test_a_dead_proxy(url: str, scheme: str) -> None:
    """It is the proxy's fault, not the host's; the sentence names it."""
    port = free_port()
    async with Session(SETTINGS) as session:
        route = Route(Proxy(scheme, LOOPBACK, port, "user", "hunter2"))  # type: ignore[arg-type]
        error = await refusal(session, url, route)
    assert error.reason is Reason.PROXY_REFUSED
    assert f"{scheme}://{LOOPBACK}:{port}" in error.error


async def test_a_proxy_that_nobody_knows() -> None:
    """Its name has no address."""
    async with Session(SETTINGS, Known()) as session:
        error = await refusal(session, "http://site.test/", Route(Proxy("http", "proxy.test", 1)))
    assert error.reason is Reason.PROXY_REFUSED


WANTED = b"HTTP/1.1 407 No\r\nProxy-Authenticate: Digest realm=x\r\nProxy-Authenticate: Basic realm=x\r\n"


@pytest.mark.parametrize("url", ["http://site.test/", "https://site.test/"])
@on_both_loops
async def test_a_proxy_that_wants_credentials(url: str) -> None:
    """It says which; whether the job gave any makes another sentence."""
    async with peer(saying(WANTED + b"Content-Length: 0\r\n\r\n")) as proxy, Session(SETTINGS) as session:
        errors = [await refusal(session, url, via(proxy, user=user)) for user in (None, "user")]
    assert [error.reason for error in errors] == [Reason.PROXY_AUTH] * 2
    assert "wants Digest or Basic; the job has no user" in errors[0].error
    assert "refuses user and password" in errors[1].error


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"", "closes CONNECT"),
        (b"HTTP/1.1 503 Service\x1b[31m Unavailable\r\n\r\n", "answers CONNECT with 503 Service"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", "answers CONNECT with 403 Forbidden"),
        (b"HTTP/1.0 301\r\nLocation: http://evil.test/\r\n\r\n", "answers CONNECT with 301"),
        (b"HTTP/1.1 200 OK\r\n\r\n<html>plain text", "text of its own after CONNECT"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: y", "closes CONNECT"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000, "does not end its answer"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "led on, but the tunnel was closed"),
    ],
    ids=["closed", "503", "403", "301", "plain text", "ssh", "half", "endless", "closed after"],
)
@on_both_loops
async def test_a_proxy_that_does_not_lead_on(said: bytes, told: str) -> None:
    """Whatever it answers instead, it got no more than the CONNECT and what begins TLS."""
    async with peer(saying(said)) as proxy, Session(SETTINGS) as session:
        with pytest.raises(TransportError) as caught:
            await answer(session, "https://site.test/", via(proxy), headers=SECRETS)
    assert caught.value.reason is Reason.PROXY_FAILED
    assert told in caught.value.error
    assert "\x1b" not in caught.value.error
    assert b"s3cr3t" not in proxy.raw


async def after_the_hello(one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await one.head(reader)
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    await reader.read(1)
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n<html>plain text, a moment later")
    await writer.drain()
    await reader.read()


@on_both_loops
async def test_plain_text_where_tls_should_be() -> None:
    """Also when it comes as an answer to our side of the handshake."""
    async with peer(after_the_hello) as proxy, Session(SETTINGS) as session:
        error = await refusal(session, "https://site.test/", via(proxy))
    assert (error.reason, "what comes is no TLS" in error.error) == (Reason.PROXY_FAILED, True)


@on_both_loops
async def test_the_sites_certificate_is_the_sites_fault(authority: trustme.CA, trusting: Tls) -> None:
    """Through a tunnel as without: nothing of the request leaves."""
    async with (
        peer(tls=server_tls(authority.issue_cert("other.test"))) as wrong,
        peer(tls=server_tls(trustme.CA().issue_cert(LOOPBACK))) as unknown,
        peer(leading_on) as proxy,
        Session(SETTINGS) as session,
    ):
        assert (await refusal(session, wrong.secure, via(proxy, trusting))).reason is Reason.TLS_HOSTNAME
        assert (await refusal(session, unknown.secure, via(proxy, trusting))).reason is Reason.TLS_UNTRUSTED
        pinned = via(proxy, trusting._replace(fingerprints=("0" * 64,), verify=False))
        assert (await refusal(session, wrong.secure, pinned)).reason is Reason.TLS_FINGERPRINT
    assert wrong.raw + unknown.raw == b""


@on_both_loops
async def test_the_proxys_certificate_is_the_proxys_fault(site: trustme.LeafCert, trusting: Tls) -> None:
    """It is verified though the job verifies no site, and gets no credentials before."""
    async with peer(leading_on, server_tls(trustme.CA().issue_cert(LOOPBACK))) as proxy, Session(SETTINGS) as session:
        route = via(proxy, trusting._replace(verify=False), "https", "user")
        errors = [await refusal(session, url, route) for url in ("https://site.test/", "http://site.test/")]
    assert [error.reason for error in errors] == [Reason.PROXY_FAILED] * 2
    assert all("no TLS with the proxy" in error.error for error in errors)
    assert proxy.raw == b""


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"HTTP/1.1 503 X\r\nX-Squid-Error: ERR_DNS_FAIL 0\r\nContent-Length: 2\r\n\r\nno", Reason.PROXY_FAILED),
        (b"HTTP/1.1 502 Bad Gateway\r\nVia: 1.1 tiny\r\nContent-Length: 2\r\n\r\nno", None),
    ],
)
async def test_an_answer_in_the_place_of_the_sites(said: bytes, reason: Reason | None) -> None:
    """Only squid says which are its own; of others' nobody can tell, so the status stands."""
    async with peer(saying(said)) as proxy, Session(SETTINGS) as session:
        if reason is None:
            assert (await answer(session, "http://site.test/", via(proxy))).status == 502
            return
        error = await refusal(session, "http://site.test/", via(proxy))
    assert (error.reason, "503 ERR_DNS_FAIL 0" in error.error) == (reason, True)


async def test_the_word_of_a_site_is_not_the_proxys(site: trustme.LeafCert, trusting: Tls) -> None:
    """A 407 that comes through the tunnel is a status, and without a proxy too."""
    said = saying(WANTED + b"X-Squid-Error: x\r\nContent-Length: 0\r\n\r\n")
    async with (
        peer(said, server_tls(site)) as server,
        peer(leading_on) as proxy,
        Session(SETTINGS) as session,
    ):
        assert (await answer(session, server.secure, via(proxy, trusting))).status == 407
        assert (await answer(session, server.secure, Route(tls=trusting))).status == 407


async def test_a_cancelled_attempt_leaves_nothing_open() -> None:
    """A proxy that never answers CONNECT is let go of, and its place in the pool is free again."""
    asked, hung_up = asyncio.Event(), asyncio.Event()

    async def silent(one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await one.head(reader)
        asked.set()
        await reader.read()
        hung_up.set()

    async with peer(silent) as proxy, Session(SETTINGS._replace(connections=1)) as session:
        for _ in range(2):
            waiting = asyncio.create_task(fetch(session, "https://site.test/", via(proxy)))
            await asyncio.wait_for(asked.wait(), 20)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await asyncio.wait_for(hung_up.wait(), 20)
            asked.clear()
            hung_up.clear()


# -- SOCKS -------------------------------------------------------------------------------------------------------------


class Socks:
    """A SOCKS5 proxy (RFC 1928) that asks for a user if `user` is given, and leads on or answers with `reply`."""

    def __init__(self, *, user: bool = False, reply: int = 0, takes: bytes | None = None) -> None:
        self._user = user
        self._reply = reply
        self._takes = takes  # the credentials, as RFC 1929 frames them
        self.targets: list[tuple[int, bytes, int]] = []

    async def __call__(self, one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, count = await reader.readexactly(2)
        methods = await reader.readexactly(count)
        method = 2 if self._user else 0
        if method not in methods:
            writer.write(b"\x05\xff")
            return
        writer.write(bytes([5, method]))
        if self._user and not await self._credentials(one, reader, writer):
            return
        kind = (await reader.readexactly(4))[3]
        size = {1: 4, 4: 16}.get(kind) or (await reader.readexactly(1))[0]
        host = await reader.readexactly(size)
        (port,) = struct.unpack(">H", await reader.readexactly(2))
        self.targets.append((kind, host, port))
        writer.write(bytes([5, self._reply, 0, 1, 0, 0, 0, 0, 0, 0]))
        if not self._reply:
            await lead(one, reader, writer, port)

    async def _credentials(self, one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        said = b""
        for _ in range(2):
            head = await reader.readexactly(2 if not said else 1)
            said += head + await reader.readexactly(head[-1])
        good = said == self._takes
        writer.write(b"\x01\x00" if good else b"\x01\x01")
        return good


async def lead(one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """To this port on loopback, whatever the name was."""
    far_reader, far_writer = await asyncio.open_connection(LOOPBACK, port)

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while piece := await source.read(65536):
            sink.write(piece)
        sink.close()

    await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer), return_exceptions=True)


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("user", [None, "user"])
@on_both_loops
async def test_through_socks(site: trustme.LeafCert, trusting: Tls, secure: bool, user: str | None) -> None:
    """With and without a user, plain and TLS; the connection is used again, and the site hears nothing of the proxy."""
    socks = Socks(user=user is not None, takes=b"\x01\x04user\x07hunter2")
    async with (
        peer(tls=server_tls(site) if secure else None) as server,
        peer(socks) as proxy,
        Session(SETTINGS) as session,
    ):
        url = f"http{'s' if secure else ''}://site.test:{server.port}/"
        route = via(proxy, trusting, "socks5h", user)
        assert [await fetch(session, url, route) for _ in range(2)] == [b"ok", b"ok"]
    assert socks.targets == [(3, b"site.test", server.port)]
    assert proxy.accepted == server.accepted == 1
    assert b"hunter2" not in server.raw
    assert server.heads[0].startswith("GET / HTTP/1.1\r\n")


@on_both_loops
async def test_who_looks_the_name_up() -> None:
    """socks5 here, by the job's own names and family; socks5h over there."""
    known = Known(site_test="::1 127.0.0.9 127.0.0.1")
    socks = Socks()
    async with peer() as server, peer(socks) as proxy, Session(SETTINGS, known) as session:
        url = f"http://site.test:{server.port}/"
        route = via(proxy, scheme="socks5")
        assert await fetch(session, url, route) == b"ok"
        assert await fetch(session, url, via(proxy, scheme="socks5h")) == b"ok"
        assert await fetch(session, server.url, route) == b"ok"
    assert [target[:2] for target in socks.targets] == [
        (1, socket.inet_aton("127.0.0.9")),
        (3, b"site.test"),
        (1, socket.inet_aton(LOOPBACK)),
    ]
    assert known.asked == ["site.test"]


@on_both_loops
async def test_a_name_that_only_we_must_know() -> None:
    """It does not exist: that is the name's fault."""
    async with peer(Socks()) as proxy, Session(SETTINGS, Known()) as session:
        error = await refusal(session, "http://site.test/", via(proxy, scheme="socks5"))
    assert error.reason is Reason.DNS_NOT_FOUND
    assert proxy.accepted == 0


@pytest.mark.parametrize(
    ("code", "told"),
    [(1, "General"), (2, "not allowed"), (3, "Network unreachable"), (5, "refused by destination"), (99, "0X63")],
)
@on_both_loops
async def test_a_socks_proxy_that_does_not_lead_on(code: int, told: str) -> None:
    """Its reply is named."""
    async with peer(Socks(reply=code)) as proxy, Session(SETTINGS) as session:
        error = await refusal(session, "http://site.test/", via(proxy, scheme="socks5h"))
    assert error.reason is Reason.PROXY_FAILED
    assert told in error.error


@pytest.mark.parametrize(("user", "told"), [(None, "wants a user"), ("user", "refuses user and password")])
@on_both_loops
async def test_a_socks_proxy_that_refuses_us(user: str | None, told: str) -> None:
    """Without a user where it wants one, and with one that it does not take."""
    async with peer(Socks(user=True, takes=b"another")) as proxy, Session(SETTINGS) as session:
        error = await refusal(session, "http://site.test/", via(proxy, scheme="socks5h", user=user))
    assert error.reason is Reason.PROXY_AUTH
    assert told in error.error


@pytest.mark.parametrize("script", [saying(b"HTTP/1.1 400 Bad\r\n\r\n"), None], ids=["http", "closed"])
@on_both_loops
async def test_what_is_no_socks_proxy(script: Script | None) -> None:
    """It speaks something else, or hangs up."""

    async def closing(one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(2)
        writer.write(b"" if script is None else b"HTTP/1.1 400 Bad\r\n\r\n")

    async with peer(closing) as proxy, Session(SETTINGS) as session:
        error = await refusal(session, "http://site.test/", via(proxy, scheme="socks5h"))
    assert error.reason is Reason.PROXY_FAILED


async def test_credentials_that_socks_cannot_carry() -> None:
    """They are not sent in part, and not shown."""
    async with peer(Socks(user=True)) as proxy, Session(SETTINGS) as session:
        route = Route(Proxy("socks5h", LOOPBACK, proxy.port, "user", "hunter2ü"))
        error = await refusal(session, "http://site.test/", route)
    assert error.reason is Reason.PROXY_AUTH


# -- the guard ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h"])
@pytest.mark.parametrize("target", ["http://{}/", "https://{}/"])
@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "[::1]", "169.254.169.254", "in.test", "both.test"])
async def test_an_inner_host_is_refused_before_the_proxy_hears_of_it(scheme: str, target: str, host: str) -> None:
    """By its literal, or by what its name stands for here; one inner address is enough, as it is not us who choose."""
    known = Known(in_test="10.0.0.7", both_test="10.0.0.7" if scheme == "socks5" else "93.184.215.14 10.0.0.7")
    async with peer(leading_on) as proxy, Session(SETTINGS, known) as session:
        error = await refusal(session, target.format(host), via(proxy, scheme=scheme), trusted=False)
    assert error.reason is Reason.BLOCKED_ADDRESS
    assert proxy.accepted == 0


@pytest.mark.parametrize("host", ["localhost", "a.localhost", "127.1", "0x7f.1", "2130706433", "127.0.0.1."])
@pytest.mark.parametrize("scheme", ["http", "socks5h"])
async def test_what_a_proxy_could_read_as_an_inner_host_is_refused(scheme: str, host: str) -> None:
    """Canonical URLs have most of them not; should one come, nobody here knows what the proxy would make of it."""
    async with peer() as proxy, Session(SETTINGS, Known()) as session:
        error = await refusal(session, f"http://{host}/", via(proxy, scheme=scheme), trusted=False)
    assert error.reason is Reason.BLOCKED_ADDRESS
    assert proxy.accepted == 0


async def test_what_is_public_or_unknown_goes_to_the_proxy() -> None:
    """A name that nobody here knows may be known to it; the address of the proxy is the job's wish."""
    async with peer() as proxy, Session(SETTINGS, Known(out_test="93.184.215.14")) as session:
        for host in ("out.test", "unknown.test", "93.184.215.14", "[2606:4700::1111]"):
            assert await fetch(session, f"http://{host}/", via(proxy), trusted=False) == b"ok"
    assert len(proxy.heads) == 4


async def test_socks_is_told_a_public_address_only() -> None:
    """Where we look the name up, the inner ones are left out."""
    socks = Socks(reply=3)
    async with peer(socks) as proxy, Session(SETTINGS, Known(both_test="10.0.0.7 93.184.215.14")) as session:
        await refusal(session, "http://both.test/", via(proxy, scheme="socks5"), trusted=False)
    assert [target[1] for target in socks.targets] == [socket.inet_aton("93.184.215.14")]


async def test_the_trusted_the_allowed_and_the_pinned_go_anywhere() -> None:
    """The job named the host itself, allows all, or says where its name leads."""
    async with peer() as proxy:
        async with Session(SETTINGS, Known(in_test="10.0.0.7")) as session:
            for host in ("127.0.0.1", "in.test"):
                assert await fetch(session, f"http://{host}/", via(proxy)) == b"ok"
        async with Session(SETTINGS._replace(allow_private=True), Known(in_test="10.0.0.7")) as session:
            assert await fetch(session, "http://in.test/", via(proxy), trusted=False) == b"ok"
        async with Session(SETTINGS._replace(pins={"in.test": "10.0.0.7"}), Known()) as session:
            assert await fetch(session, "http://in.test/", via(proxy), trusted=False) == b"ok"
            assert (await refusal(session, "http://10.0.0.7/", via(proxy), trusted=False)).reason is (
                Reason.BLOCKED_ADDRESS
            )


async def test_ipv6_stands_in_brackets() -> None:
    """In CONNECT as in the Host header."""
    async with peer(saying(b"HTTP/1.1 503 X\r\n\r\n")) as proxy, Session(SETTINGS) as session:
        await refusal(session, "https://[2606:4700::1111]/", via(proxy))
    assert proxy.heads == ["CONNECT [2606:4700::1111]:443 HTTP/1.1\r\nHost: [2606:4700::1111]:443\r\n\r\n"]
