"""Whole runs against TLS servers of one's own authority: what a job says of TLS holds for its hosts and no other."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import trustme

from crawler.errors import ExitCode, JobError
from tests.jobs import Row, run
from tests.peers import Peer, Script, alerting, peer, pem, polite, saying, server_tls

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
def bundle(tmp_path: Path, authority: trustme.CA) -> str:
    """The job's ca_bundle, by a path relative to the job."""
    pem(tmp_path, "ca.pem", authority.cert_pem)
    return "ca.pem"


def pins(*hosts: str) -> dict[str, str]:
    return dict.fromkeys(hosts, "127.0.0.1")


def digest(certificate: trustme.LeafCert) -> str:
    """The SHA-256 of the leaf, as people write it."""
    der = ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode())
    return sha256(der).hexdigest()


def at_most(context: ssl.SSLContext, version: ssl.TLSVersion) -> ssl.SSLContext:
    context.maximum_version = version
    return context


@asynccontextmanager
async def peers(**contexts: ssl.SSLContext) -> AsyncIterator[dict[str, Peer]]:
    """A server that answers "ok" for each."""
    async with AsyncExitStack() as stack:
        yield {name: await stack.enter_async_context(peer(tls=context)) for name, context in contexts.items()}


async def no_tls(one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers a handshake as a server without TLS does."""
    await reader.read(5)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


async def test_each_fault_has_its_reason(tmp_path: Path, authority: trustme.CA, bundle: str) -> None:
    """One job over servers with a fault each: the right reason, one attempt, and not a byte of the request; the
    sound one is fetched by the same job.
    """
    own, other = authority.issue_cert, trustme.CA()
    alone = trustme.CA()
    pem(tmp_path, "alone.pem", alone.cert_pem, alone.private_key_pem)
    itself = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    itself.load_cert_chain(tmp_path / "alone.pem")
    contexts = {
        "good": server_tls(own("good.test")),
        "over": server_tls(own("over.test", not_before=NOW - 2 * DAY, not_after=NOW - DAY)),
        "early": server_tls(own("early.test", not_before=NOW + DAY, not_after=NOW + 2 * DAY)),
        "name": server_tls(own("elsewhere.test")),
        "unknown": server_tls(other.issue_cert("unknown.test")),
        "itself": itself,
        "pinned": server_tls(own("pinned.test")),
    }
    async with peers(**contexts) as servers, peer(no_tls) as plain:
        with alerting(at_most(server_tls(own("old.test")), ssl.TLSVersion.TLSv1_2)) as old:
            everyone = {**servers, "plain": plain, "old": old}
            results = await run(
                tmp_path,
                [
                    {"case": name, "url": f"https://{name}.test:{one.port}/", "headers": {"X-Secret": "planted"}}
                    for name, one in everyone.items()
                ],
                connection={"ca_bundle": bundle, "resolve": pins(*(f"{name}.test" for name in everyone))},
                hosts={
                    "old.test": {"connection": {"tls_min_version": "1.3"}},
                    "pinned.test": {"connection": {"fingerprints": [digest(own("pinned.test"))]}},
                },
                retry={"attempts": 5, "backoff": {"initial": "1ms", "max": "1ms"}},
            )
    assert results.ends() == {
        "good": "fetched",
        "over": "tls-expired",
        "early": "tls-expired",
        "name": "tls-hostname",
        "unknown": "tls-untrusted",
        "itself": "tls-untrusted",
        "old": "tls-protocol",
        "pinned": "tls-fingerprint",
        "plain": "tls-protocol",
    }
    assert results.exit_code == ExitCode.FAILED
    assert {record["attempts"] for record in results.records} == {1}
    assert (plain.accepted, old.accepted) == (1, 1), "those that count a connection before its handshake"
    assert b"planted" in servers.pop("good").raw
    assert {one.raw for one in (*servers.values(), old)} == {b""}


async def test_a_right_pin_and_an_old_version_pass(tmp_path: Path, authority: trustme.CA, bundle: str) -> None:
    """The counter-proof: what is refused above is let in where the job says so."""
    certificate = authority.issue_cert("pinned.test")
    colons = ":".join(digest(certificate)[at : at + 2].upper() for at in range(0, 64, 2))
    async with peers(
        pinned=server_tls(certificate),
        old=at_most(server_tls(authority.issue_cert("old.test")), ssl.TLSVersion.TLSv1_2),
    ) as servers:
        results = await run(
            tmp_path,
            [{"case": name, "url": f"https://{name}.test:{server.port}/"} for name, server in servers.items()],
            connection={"ca_bundle": bundle, "resolve": pins("pinned.test", "old.test")},
            hosts={"pinned.test": {"connection": {"fingerprints": ["ab" * 32, colons]}}},
        )
    assert results.ends() == {"pinned": "fetched", "old": "fetched"}


@pytest.mark.parametrize("first", ["a", "b"])
async def test_what_is_not_verified_for_one_host_is_for_another(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, first: str
) -> None:
    """verify = false holds for A alone, loudly: B, the same server under another name, still fails, in any order, and
    where A's own answer leads to it.
    """
    stranger = trustme.CA().issue_cert("elsewhere.test")

    async def leading(one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await one.head(reader)
            if "/to-b" in head:
                location = f"Location: https://b.test:{one.port}/led\r\n"
                writer.write(f"HTTP/1.1 302 Found\r\n{location}Content-Length: 0\r\n\r\n".encode())
            else:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with peer(leading, tls=server_tls(stranger)) as server:
        rows: list[Row] = [{"case": host, "url": f"https://{host}.test:{server.port}/"} for host in ("a", "b")]
        rows.sort(key=lambda row: row["case"] != first)
        rows.append({"case": "led", "url": f"https://a.test:{server.port}/to-b"})
        rows.append({"case": "again", "url": f"https://a.test:{server.port}/again"})
        results = await run(
            tmp_path,
            rows,
            limits={"workers": 1},
            connection={"resolve": pins("a.test", "b.test")},
            hosts={"a.test": {"connection": {"verify": False}}},
        )
    assert results.ends() == {"a": "fetched", "b": "tls-untrusted", "led": "tls-untrusted", "again": "fetched"}
    assert all("b.test" not in head for head in server.heads)
    assert 'hosts."a.test".connection.verify = false' in caplog.text


async def test_our_certificate_is_shown_to_its_host_only(
    tmp_path: Path, authority: trustme.CA, clients: trustme.CA, bundle: str
) -> None:
    """The host of the pattern gets it; another that wants one as well does not, nor where the first leads to it."""
    pem(tmp_path, "me.pem", clients.issue_cert("me@client.test").private_key_and_cert_chain_pem)
    mine, theirs = (server_tls(authority.issue_cert(f"{name}.test"), wants=clients) for name in ("mine", "theirs"))
    shown: list[Any] = []

    async def looking(one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        shown.append(writer.get_extra_info("peercert"))
        while True:
            head = await one.head(reader)
            where = f"https://theirs.test:{other.port}/" if "/away" in head else f"https://mine.test:{one.port}/"
            status = "302 Found" if "/away" in head or "/home" in head else "200 OK"
            writer.write(f"HTTP/1.1 {status}\r\nLocation: {where}\r\nContent-Length: 2\r\n\r\nok".encode())

    with alerting(theirs) as other:
        async with peer(looking, tls=mine) as server:
            results = await run(
                tmp_path,
                [
                    {"case": "mine", "url": f"https://mine.test:{server.port}/"},
                    {"case": "home", "url": f"https://mine.test:{server.port}/home"},
                    {"case": "away", "url": f"https://mine.test:{server.port}/away"},
                    {"case": "theirs", "url": f"https://theirs.test:{other.port}/"},
                ],
                connection={"ca_bundle": bundle, "resolve": pins("mine.test", "theirs.test")},
                hosts={"mine.test": {"connection": {"client_cert": "me.pem"}}},
            )
    assert results.ends() == {
        "mine": "fetched",
        "home": "fetched",
        "away": "tls-client-cert",
        "theirs": "tls-client-cert",
    }
    # Not how often: the server's reset may overtake its alert, and a reset is tried again.
    assert other.raw == b""
    assert shown
    assert all(certificate["subject"] for certificate in shown)


async def test_a_wrong_key_stops_the_job_before_it_begins(
    tmp_path: Path, authority: trustme.CA, clients: trustme.CA
) -> None:
    """A key that is not the certificate's, an absent bundle: a sentence with the key of the job, nothing asked."""
    one, two = clients.issue_cert("one@client.test"), clients.issue_cert("two@client.test")
    pem(tmp_path, "one.pem", *one.cert_chain_pems)
    pem(tmp_path, "two.key", two.private_key_pem)
    async with peers(server=server_tls(authority.issue_cert("mine.test"))) as servers:
        with pytest.raises(JobError) as caught:
            await run(
                tmp_path,
                [{"url": f"https://mine.test:{servers['server'].port}/"}],
                connection={"resolve": pins("mine.test"), "ca_bundle": "absent.pem"},
                hosts={"mine.test": {"connection": {"client_cert": {"cert": "one.pem", "key": "two.key"}}}},
            )
    told = "\n".join(caught.value.problems)
    assert "absent.pem cannot be read" in told
    assert not (tmp_path / "out").exists()
    assert servers["server"].accepted == 0


@pytest.mark.parametrize("script", [polite, saying(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")])
async def test_no_credential_goes_to_a_server_that_is_not_proved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: Script
) -> None:
    """Basic, cookies and a body for a host whose certificate nobody vouches for: nothing of them leaves."""
    monkeypatch.setenv("PASSWORD", "planted")
    async with peer(script, tls=server_tls(trustme.CA().issue_cert("a.test"))) as server:
        results = await run(
            tmp_path,
            [{"case": "a", "url": f"https://a.test:{server.port}/", "json": ["planted"], "cookies": {"c": "planted"}}],
            connection={"resolve": pins("a.test")},
            auth={"x": {"type": "basic", "hosts": ["a.test"], "user": "me", "password": "env:PASSWORD"}},
        )
    assert results.ends() == {"a": "tls-untrusted"}
    assert server.raw == b""


async def test_https_to_http_carries_no_credential(
    tmp_path: Path, authority: trustme.CA, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A redirect from https down to http, to the very same host: no Authorization, no key header of job, host or row,
    no cookie that was set by https as Secure, and allow_insecure does not change it.
    """
    monkeypatch.setenv("PASSWORD", "planted-password")
    async with peer() as low:
        location = f"http://a.test:{low.port}/low"
        answer = (
            f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nSet-Cookie: s=planted-cookie; Secure\r\n"
            "Content-Length: 0\r\n\r\n"
        )
        async with peer(saying(answer.encode()), tls=server_tls(authority.issue_cert("a.test"))) as high:
            results = await run(
                tmp_path,
                [
                    {
                        "case": "a",
                        "url": f"https://a.test:{high.port}/high",
                        "headers": {"X-Row-Key": "planted-row", "Accept-Language": "en"},
                        "cookies": {"row": "planted-own"},
                    }
                ],
                request={"headers": {"X-Job-Key": "planted-job"}},
                connection={"ca_bundle": bundle, "resolve": pins("a.test")},
                cookies={"jar": True},
                hosts={"a.test": {"headers": {"X-Host-Key": "planted-host"}}},
                auth={
                    "x": {
                        "type": "basic",
                        "hosts": ["a.test"],
                        "user": "me",
                        "password": "env:PASSWORD",
                        "allow_insecure": True,
                    }
                },
            )
    assert results.ends() == {"a": "fetched"}
    high_seen = high.raw.decode()
    for planted in ("planted-row", "planted-job", "planted-host", "planted-own", "Authorization: Basic"):
        assert planted in high_seen, "the counter-proof"
    low_seen = low.raw.decode()
    assert low_seen.startswith("GET /low ")
    assert "Accept-Language: en" in low_seen
    assert "planted" not in low_seen
    assert "authorization" not in low_seen.lower()
