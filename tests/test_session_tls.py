"""Real handshakes on loopback: each fault of a certificate has its reason, and no byte of the request leaves."""

from __future__ import annotations

import asyncio
import ssl
import warnings
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Literal

import pytest
import trustme

from crawler.errors import Reason
from crawler.routes import ClientCert, Route, Tls
from crawler.session import Session, TransportError
from tests.peers import SETTINGS, Peer, alerting, answer, fetch, on_both_loops, peer, pem, polite, server_tls

_VERSIONS = {"1.1": ssl.TLSVersion.TLSv1_1, "1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def clients() -> trustme.CA:
    """Whom the servers trust for client certificates."""
    return trustme.CA()


@pytest.fixture
def trusting(tmp_path: Path, authority: trustme.CA) -> Tls:
    """The authority of the test's servers."""
    return Tls(ca_bundle=pem(tmp_path, "ca.pem", authority.cert_pem))


async def refusal(url: str, tls: Tls) -> TransportError:
    async with Session(SETTINGS) as session:
        with pytest.raises(TransportError) as caught:
            await fetch(session, url, Route(tls=tls))
    return caught.value


async def refused(certificate: trustme.LeafCert, tls: Tls, host: str = "127.0.0.1") -> Reason:
    """The reason for a server with this certificate, which sees no byte of the request."""
    async with peer(tls=server_tls(certificate)) as server:
        error = await refusal(f"https://{host}:{server.port}/", tls)
    assert server.raw == b""
    return error.reason


@on_both_loops
async def test_a_good_certificate_passes(authority: trustme.CA, trusting: Tls) -> None:
    """The way the other tests go is open when nothing is wrong; its connection is used again."""
    async with peer(tls=server_tls(authority.issue_cert("127.0.0.1"))) as server, Session(SETTINGS) as session:
        assert [await fetch(session, server.secure, Route(tls=trusting)) for _ in range(3)] == [b"ok"] * 3
    assert (server.accepted, len(server.heads)) == (1, 3)


@pytest.mark.parametrize(
    ("begin", "end"),
    [(NOW - 2 * DAY, NOW - DAY), (NOW + DAY, NOW + 2 * DAY)],
    ids=["over", "not yet begun"],
)
@on_both_loops
async def test_a_certificate_out_of_its_time_is_expired(
    authority: trustme.CA, trusting: Tls, begin: datetime, end: datetime
) -> None:
    """Before and after its time alike: often it is the clock that is wrong."""
    certificate = authority.issue_cert("127.0.0.1", not_before=begin, not_after=end)
    assert await refused(certificate, trusting) is Reason.TLS_EXPIRED


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@on_both_loops
async def test_a_certificate_for_another_host_is_the_wrong_name(
    authority: trustme.CA, trusting: Tls, host: str
) -> None:
    """By address and by name."""
    assert await refused(authority.issue_cert("other.test", "127.0.0.2"), trusting, host) is Reason.TLS_HOSTNAME


@on_both_loops
async def test_an_unknown_authority_is_untrusted(trusting: Tls) -> None:
    """Signed by somebody, but by nobody we know: by the bundle, or by the system's where there is none."""
    certificate = trustme.CA().issue_cert("127.0.0.1")
    assert await refused(certificate, trusting) is Reason.TLS_UNTRUSTED
    assert await refused(certificate, Tls()) is Reason.TLS_UNTRUSTED


@on_both_loops
async def test_a_certificate_signed_by_itself_is_untrusted(trusting: Tls) -> None:
    """An authority's own certificate, say."""
    own = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with own.private_key_pem.tempfile() as key, own.cert_pem.tempfile() as cert:
        context.load_cert_chain(cert, key)
    async with peer(tls=context) as server:
        assert (await refusal(server.secure, trusting)).reason is Reason.TLS_UNTRUSTED
    assert server.raw == b""


@on_both_loops
async def test_a_port_without_tls_is_a_fault_of_the_protocol(trusting: Tls) -> None:
    """It answers the handshake with HTTP in plain text."""

    async def plain(one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    async with peer(plain) as server:
        assert (await refusal(server.secure, trusting)).reason is Reason.TLS_PROTOCOL


@on_both_loops
async def test_plain_text_to_a_tls_port_is_no_answer(authority: trustme.CA, trusting: Tls) -> None:
    """The other way round: what comes back is not HTTP, or nothing comes back."""
    async with peer(tls=server_tls(authority.issue_cert("127.0.0.1"))) as server:
        assert (await refusal(server.url, trusting)).reason in (Reason.CONNECTION_RESET, Reason.BAD_RESPONSE)


@pytest.mark.parametrize(("server_most", "our_least"), [("1.1", "1.2"), ("1.2", "1.3")])
@on_both_loops
async def test_too_old_a_version_is_a_fault_of_the_protocol(
    authority: trustme.CA, trusting: Tls, server_most: str, our_least: Literal["1.2", "1.3"]
) -> None:
    """Below TLS 1.2 always, and below what the job demands."""
    context = server_tls(authority.issue_cert("127.0.0.1"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TLS 1.1, which is meant here
        context.minimum_version = context.maximum_version = _VERSIONS[server_most]
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with alerting(context) as server:
        error = await refusal(server.secure, trusting._replace(min_version=our_least))
        assert (error.reason, server.raw, server.accepted) == (Reason.TLS_PROTOCOL, b"", 1)
        if server_most == "1.2":
            async with Session(SETTINGS) as session:
                assert await fetch(session, server.secure, Route(tls=trusting)) == b"ok"


@on_both_loops
async def test_a_handshake_that_is_broken_off_is_a_reset(trusting: Tls) -> None:
    """Without an alert nobody says why."""

    async def closing(one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)

    async with peer(closing) as server:
        assert (await refusal(server.secure, trusting)).reason is Reason.CONNECTION_RESET


# -- verification off, and pins ----------------------------------------------------------------------------------------


@on_both_loops
async def test_what_is_not_verified_for_one_is_verified_for_the_other(trusting: Tls) -> None:
    """Before and after: neither connections nor decisions go over (CVE-2024-35195)."""
    certificate = trustme.CA().issue_cert("other.test")
    careless = Route(tls=trusting._replace(verify=False))
    async with peer(tls=server_tls(certificate)) as server, Session(SETTINGS) as session:
        for _ in range(2):
            assert await fetch(session, server.secure, careless) == b"ok"
            with pytest.raises(TransportError) as caught:
                await fetch(session, server.secure, Route(tls=trusting))
            assert caught.value.reason is Reason.TLS_UNTRUSTED
    assert len(server.heads) == 2


def fingerprint(certificate: trustme.LeafCert) -> str:
    return sha256(ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode())).hexdigest()


@pytest.mark.parametrize("verify", [True, False])
@on_both_loops
async def test_a_pinned_certificate_passes_and_another_does_not(
    authority: trustme.CA, trusting: Tls, verify: bool
) -> None:
    """Though the other one is as good; no byte of the request is sent to it."""
    mine, another = authority.issue_cert("127.0.0.1"), authority.issue_cert("127.0.0.1")
    tls = trusting._replace(fingerprints=(fingerprint(mine), "0" * 64), verify=verify)
    async with peer(tls=server_tls(mine)) as server, Session(SETTINGS) as session:
        assert await fetch(session, server.secure, Route(tls=tls)) == b"ok"
    async with peer(tls=server_tls(another)) as server:
        error = await refusal(server.secure, tls)
    assert error.reason is Reason.TLS_FINGERPRINT
    assert "not one of those pinned" in error.error
    assert server.raw == b""


@on_both_loops
async def test_a_pin_does_not_take_the_place_of_verification(trusting: Tls) -> None:
    """Unless that is off: then a certificate of nobody's passes by its pin alone."""
    stranger = trustme.CA().issue_cert("other.test")
    tls = trusting._replace(fingerprints=(fingerprint(stranger),))
    assert await refused(stranger, tls) is Reason.TLS_UNTRUSTED
    async with peer(tls=server_tls(stranger)) as server, Session(SETTINGS) as session:
        assert await fetch(session, server.secure, Route(tls=tls._replace(verify=False))) == b"ok"


# -- our own certificate -----------------------------------------------------------------------------------------------


def demanding(authority: trustme.CA, clients: trustme.CA, version: str) -> AbstractContextManager[Peer]:
    context = server_tls(authority.issue_cert("127.0.0.1"), wants=clients)
    context.maximum_version = _VERSIONS[version]
    return alerting(context)


def certified(folder: Path, tls: Tls, by: trustme.CA, name: str = "me.pem") -> Tls:
    leaf = by.issue_cert("me@client.test")
    return tls._replace(client_cert=ClientCert(pem(folder, name, leaf.private_key_and_cert_chain_pem)))


async def without_luck(server: Peer, tls: Tls) -> Reason:
    """The reason, where now and then the server's RST overtakes its alert: then a run would try again as well."""
    for _ in range(10):
        reason = (await refusal(server.secure, tls)).reason
        if reason is not Reason.CONNECTION_RESET:
            break
    return reason


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@on_both_loops
async def test_our_certificate_opens_the_door(
    tmp_path: Path, authority: trustme.CA, clients: trustme.CA, trusting: Tls, version: str
) -> None:
    """Where the server demands one of its authority's; each route has its own connections."""
    tls = certified(tmp_path, trusting, clients)
    with demanding(authority, clients, version) as server:
        async with Session(SETTINGS) as session:
            assert await fetch(session, server.secure, Route(tls=tls)) == b"ok"
            with pytest.raises(TransportError):
                await fetch(session, server.secure, Route(tls=trusting))
    assert (server.accepted, len(server.heads)) == (2, 1)


@on_both_loops
async def test_without_a_certificate_the_door_stays_closed(
    authority: trustme.CA, clients: trustme.CA, trusting: Tls
) -> None:
    """In TLS 1.3 the server says so only after the handshake, when our request is on its way."""
    with demanding(authority, clients, "1.3") as server:
        assert await without_luck(server, trusting) is Reason.TLS_CLIENT_CERT
    assert server.heads == []


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@on_both_loops
async def test_a_certificate_of_another_authority_is_refused(
    tmp_path: Path, authority: trustme.CA, clients: trustme.CA, trusting: Tls, version: str
) -> None:
    """The server names it unknown."""
    tls = certified(tmp_path, trusting, trustme.CA())
    with demanding(authority, clients, version) as server:
        assert await without_luck(server, tls) is Reason.TLS_CLIENT_CERT
    assert server.heads == []


@on_both_loops
async def test_a_certificate_of_ours_is_no_hindrance(tmp_path: Path, authority: trustme.CA, trusting: Tls) -> None:
    """A server that wants none is not given it."""
    tls = certified(tmp_path, trusting, authority)
    seen: list[object] = []

    async def looking(one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("peercert"))
        await polite(one, reader, writer)

    async with peer(looking, server_tls(authority.issue_cert("127.0.0.1"))) as server, Session(SETTINGS) as session:
        assert (await answer(session, server.secure, Route(tls=tls))).status == 200
    assert not seen[0]
