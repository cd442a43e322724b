"""Through proxies that nobody here wrote: squid with Basic, tinyproxy, microsocks, dante."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from time import monotonic

import pytest
import trustme

from crawler.errors import Reason
from crawler.proxies import ProxyPool
from crawler.routes import Proxy, Route, Tls
from crawler.session import Session, TransportError
from tests.peers import LOOPBACK, SETTINGS, answer, fetch, on_both_loops, peer, pem, running, server_tls, whole
from tests.servers import free_port
from tests.test_upload import reading

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
BODY = b"0123456789abcdef" * 16_384
USER, PASSWORD = "user", "hunter2"

SQUID = """\
http_port {host}:{port}
https_port {host}:{secure} tls-cert={folder}/cert.pem tls-key={folder}/cert.pem
auth_param basic program {ncsa} {folder}/users
acl known proxy_auth REQUIRED
http_access allow known
http_access deny all
cache deny all
cache_log {folder}/squid.log
access_log none
pid_filename {folder}/squid.pid
netdb_filename none
coredump_dir {folder}
pinger_enable off
visible_hostname localhost
max_filedescriptors 1024
shutdown_lifetime 0 seconds
"""
TINY = """\
Port {port}
Listen {host}
Timeout 20
LogLevel Critical
Allow {host}
BasicAuth user hunter2
MaxClients 20
"""
DANTE = """\
logoutput: {folder}/danted.log
internal: {host} port = {port}
external: {host}
socksmethod: none
clientmethod: none
user.privileged: root
user.unprivileged: nobody
client pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
socks block {{ from: 127.0.0.0/8 to: 127.0.0.2/32 }}
socks pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
"""


def program(name: str) -> str:
    """Its path, wherever packages put daemons."""
    return shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin") or pytest.fail(
        f"no {name} here"
    )


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """For daemons that give up root: they may read it."""
    with tempfile.TemporaryDirectory(prefix="proxies-") as name:
        path = Path(name)
        path.chmod(0o777)
        yield path


@pytest.fixture(scope="module")
def trusting(folder: Path, authority: trustme.CA) -> Tls:
    return Tls(ca_bundle=pem(folder, "ca.pem", authority.cert_pem))


@pytest.fixture(scope="module")
def squid(folder: Path, authority: trustme.CA) -> Iterator[dict[str, Proxy]]:
    """One squid, spoken to in plain text and by TLS."""
    port, secure = free_port(), free_port()
    pem(folder, "cert.pem", authority.issue_cert(LOOPBACK).private_key_and_cert_chain_pem)
    hashed = subprocess.run(["openssl", "passwd", "-apr1", PASSWORD], capture_output=True, text=True, check=True).stdout
    (folder / "users").write_text(f"{USER}:{hashed}")
    ncsa = next(Path("/usr/lib").glob("squid*/basic_ncsa_auth"))
    conf = folder / "squid.conf"
    conf.write_text(SQUID.format(host=LOOPBACK, port=port, secure=secure, folder=folder, ncsa=ncsa))
    with running([program("squid"), "-N", "-f", str(conf)], [port, secure], folder / "squid.out"):
        yield {
            "squid": Proxy("http", LOOPBACK, port, USER, PASSWORD),
            "squid by TLS": Proxy("https", LOOPBACK, secure, USER, PASSWORD),
        }


@pytest.fixture(scope="module")
def others(folder: Path) -> Iterator[dict[str, Proxy]]:
    tiny, micro, dante = free_port(), free_port(), free_port()
    (folder / "tiny.conf").write_text(TINY.format(host=LOOPBACK, port=tiny))
    (folder / "dante.conf").write_text(DANTE.format(host=LOOPBACK, port=dante, folder=folder))
    socks = [program("microsocks"), "-i", LOOPBACK, "-p", str(micro), "-u", USER, "-P", PASSWORD]
    danted = [program("danted"), "-f", str(folder / "dante.conf"), "-p", str(folder / "dante.pid")]
    with (
        running([program("tinyproxy"), "-d", "-c", str(folder / "tiny.conf")], [tiny], folder / "tiny.out"),
        running(socks, [micro], folder / "micro.out"),
        running(danted, [dante], folder / "dante.out"),
    ):
        yield {
            "tinyproxy": Proxy("http", LOOPBACK, tiny, USER, PASSWORD),
            "microsocks": Proxy("socks5h", LOOPBACK, micro, USER, PASSWORD),
            "microsocks, looked up here": Proxy("socks5", LOOPBACK, micro, USER, PASSWORD),
            "dante": Proxy("socks5h", LOOPBACK, dante),
        }


@pytest.fixture
def proxies(squid: dict[str, Proxy], others: dict[str, Proxy]) -> dict[str, Proxy]:
    return squid | others


NAMES = ["squid", "squid by TLS", "tinyproxy", "microsocks", "microsocks, looked up here", "dante"]
WITH_USER = [name for name in NAMES if name != "dante"]


class Large:
    """A body of 4 MiB."""

    length = 256 * len(BODY) // 16

    async def pieces(self) -> AsyncIterator[bytes]:
        for _ in range(16):
            yield BODY


@pytest.mark.parametrize("name", NAMES)
@on_both_loops
async def test_each_leads_to_a_site(proxies: dict[str, Proxy], authority: trustme.CA, trusting: Tls, name: str) -> None:
    """Plain and by TLS, three GETs and an upload; the site never hears of the proxy's credentials."""
    async with (
        peer() as plain,
        peer(tls=server_tls(authority.issue_cert("localhost"))) as secure,
        peer(reading, server_tls(authority.issue_cert("localhost"))) as storing,
        Session(SETTINGS) as session,
    ):
        route = Route(proxies[name], trusting)
        for url in (f"http://localhost:{plain.port}/", f"https://localhost:{secure.port}/"):
            assert [await fetch(session, url, route) for _ in range(3)] == [b"ok"] * 3
        storage = f"https://localhost:{storing.port}/"
        assert await whole(await answer(session, storage, route, method="PUT", body=Large())) == b"ok"
    assert (len(plain.heads), len(secure.heads), secure.accepted) == (3, 3, 1)
    assert b"proxy-authorization" not in (plain.raw + secure.raw).lower()


@pytest.mark.parametrize("name", WITH_USER)
@pytest.mark.parametrize("user", [None, "mallory"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_each_refuses_a_stranger(
    proxies: dict[str, Proxy], trusting: Tls, name: str, user: str | None, scheme: str
) -> None:
    """Without a user and with a wrong one; the sentence shows no password.

    A plain request with a wrong password tinyproxy answers with 401, as if it were the site: the status stands then.
    """
    route = Route(proxies[name]._replace(user=user, password=user and "hunter3"), trusting)
    async with peer() as site, Session(SETTINGS) as session:
        if (name, user, scheme) == ("tinyproxy", "mallory", "http"):
            assert (await answer(session, site.url, route)).status == 401
            return
        with pytest.raises(TransportError) as caught:
            await fetch(session, f"{scheme}://localhost:{site.port}/", route)
    assert caught.value.reason is Reason.PROXY_AUTH
    assert "hunter3" not in caught.value.error
    assert site.accepted == 0


@pytest.mark.parametrize("name", NAMES)
async def test_each_says_that_a_site_is_not_there(proxies: dict[str, Proxy], trusting: Tls, name: str) -> None:
    """Through a tunnel it is the proxy that failed; of plain requests only squid's answers are known as its own."""
    port = free_port()
    async with Session(SETTINGS) as session:
        with pytest.raises(TransportError) as caught:
            await fetch(session, f"https://localhost:{port}/", Route(proxies[name], trusting))
        assert caught.value.reason is Reason.PROXY_FAILED
        if name == "tinyproxy":
            got = await answer(session, f"http://localhost:{port}/", Route(proxies[name], trusting))
            assert got.status >= 500
            return
        with pytest.raises(TransportError) as caught:
            await fetch(session, f"http://localhost:{port}/", Route(proxies[name], trusting))
        assert caught.value.reason is Reason.PROXY_FAILED


async def test_a_rule_of_the_proxy_is_named(proxies: dict[str, Proxy]) -> None:
    """What dante's ruleset blocks."""
    async with Session(SETTINGS) as session:
        with pytest.raises(TransportError) as caught:
            await fetch(session, "http://127.0.0.2:80/", Route(proxies["dante"]))
    assert caught.value.reason is Reason.PROXY_FAILED
    assert "not allowed by ruleset" in caught.value.error


@on_both_loops
async def test_the_faults_of_a_certificate_are_the_sites(
    proxies: dict[str, Proxy], authority: trustme.CA, trusting: Tls
) -> None:
    """Through each of them; no byte of the request arrives."""
    async with (
        peer(tls=server_tls(authority.issue_cert("other.test"))) as wrong,
        peer(tls=server_tls(trustme.CA().issue_cert("localhost"))) as unknown,
        Session(SETTINGS) as session,
    ):
        for name in NAMES:
            for site, reason in ((wrong, Reason.TLS_HOSTNAME), (unknown, Reason.TLS_UNTRUSTED)):
                with pytest.raises(TransportError) as caught:
                    await fetch(session, f"https://localhost:{site.port}/", Route(proxies[name], trusting))
                assert (name, caught.value.reason) == (name, reason)
    assert wrong.raw + unknown.raw == b""


async def test_dead_proxies_are_passed_over(proxies: dict[str, Proxy]) -> None:
    """Two of three do not answer: each costs two failures, then the living one has all of the next half minute."""
    alive = proxies["microsocks"]
    dead = [Proxy("http", LOOPBACK, free_port()), Proxy("socks5h", LOOPBACK, free_port())]
    pool = ProxyPool([dead[0], alive, dead[1]])
    reasons: list[Reason] = []
    began = monotonic()
    async with peer() as site, Session(SETTINGS) as session:
        for _ in range(50):
            proxy = pool.choose(LOOPBACK, monotonic())
            try:
                assert await fetch(session, site.url, Route(proxy)) == b"ok"
                pool.worked(proxy, monotonic())
            except TransportError as trouble:
                pool.failed(proxy, monotonic())
                reasons.append(trouble.reason)
    assert monotonic() - began < 20
    assert (reasons, len(site.heads)) == ([Reason.PROXY_REFUSED] * 4, 46)
