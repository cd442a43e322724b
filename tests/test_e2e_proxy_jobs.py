"""Whole jobs through squid, tinyproxy, microsocks and dante: who was asked is read in each proxy's own log."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
import trustme

from tests.peers import LOOPBACK, peer, pem, running, server_tls
from tests.servers import Asked, RawSite, free_port, raw_site, reply
from tests.test_e2e_proxies import PASSWORD, USER, program

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SQUID = """\
http_port {host}:{port}
auth_param basic program {ncsa} {folder}/users
acl known proxy_auth REQUIRED
http_access allow known
http_access deny all
cache deny all
cache_log {folder}/squid.log
logformat seen %>Hs %rm %ru %un
access_log stdio:{log} seen
buffered_logs off
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
LogLevel Connect
Allow 127.0.0.0/8
{auth}
MaxClients 100
"""
DANTE = """\
logoutput: {log}
internal: {host} port = {port}
external: {host}
socksmethod: username
clientmethod: none
user.privileged: root
user.unprivileged: nobody
client pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
socks pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 log: connect }}
"""


class Through(NamedTuple):
    """A running proxy: its URL without credentials, and its own log."""

    url: str
    log: Path

    def asked(self, port: int) -> list[str]:
        """The lines of its log that name this port of loopback."""
        said = (f"{LOOPBACK}:{port}", f"{LOOPBACK}.{port}", f"localhost:{port}")  # the second is dante's way
        return [line for line in self.log.read_text().splitlines() if any(one in line for one in said)]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """For daemons that give up root: they may read it and write to it."""
    with tempfile.TemporaryDirectory(prefix="proxies-") as name:
        path = Path(name)
        path.chmod(0o777)
        yield path


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@contextmanager
def squid(folder: Path) -> Iterator[Through]:
    """With Basic."""
    port, log = free_port(), folder / "squid.access"
    hashed = subprocess.run(["openssl", "passwd", "-apr1", PASSWORD], capture_output=True, text=True, check=True).stdout
    (folder / "users").write_text(f"{USER}:{hashed}")
    ncsa = next(Path("/usr/lib").glob("squid*/basic_ncsa_auth"))
    conf = folder / "squid.conf"
    conf.write_text(SQUID.format(host=LOOPBACK, port=port, folder=folder, ncsa=ncsa, log=log))
    with running([program("squid"), "-N", "-f", str(conf)], [port], folder / "squid.out"):
        yield Through(f"http://{LOOPBACK}:{port}", log)


@contextmanager
def tinyproxy(folder: Path, auth: str = "") -> Iterator[Through]:
    """With what is said of `auth`, or for everybody."""
    port = free_port()
    log, conf = folder / f"tiny{port}.out", folder / f"tiny{port}.conf"
    conf.write_text(TINY.format(host=LOOPBACK, port=port, auth=auth))
    with running([program("tinyproxy"), "-d", "-c", str(conf)], [port], log):
        yield Through(f"http://{LOOPBACK}:{port}", log)


@contextmanager
def microsocks(folder: Path) -> Iterator[Through]:
    """With a user and a password."""
    port, log = free_port(), folder / "micro.out"
    with running([program("microsocks"), "-i", LOOPBACK, "-p", str(port), "-u", USER, "-P", PASSWORD], [port], log):
        yield Through(f"socks5h://{LOOPBACK}:{port}", log)


@contextmanager
def dante(folder: Path) -> Iterator[Through]:
    """Its users are those of the system: it sees one more than there is, in a mount namespace of its own."""
    port, log = free_port(), folder / "danted.log"
    hashed = subprocess.run(["openssl", "passwd", "-6", PASSWORD], capture_output=True, text=True, check=True).stdout
    for name, line in (
        ("passwd", f"{USER}:x:61234:65534::/:/bin/false"),
        ("shadow", f"{USER}:{hashed.strip()}:19000::::::"),
    ):
        (folder / name).write_text(Path("/etc", name).read_text() + line + "\n")
    (folder / "dante.conf").write_text(DANTE.format(host=LOOPBACK, port=port, log=log))
    script = 'mount --bind "$0/passwd" /etc/passwd && mount --bind "$0/shadow" /etc/shadow && exec "$@"'
    command = [program("danted"), "-f", str(folder / "dante.conf"), "-p", str(folder / "dante.pid")]
    with running(["unshare", "--mount", "sh", "-c", script, str(folder), *command], [port], folder / "dante.out"):
        yield Through(f"socks5://{LOOPBACK}:{port}", log)


class Proxies(dict[str, Through]):
    """One of each by its name; danted takes a user that is none of the system's only where we may mount."""

    def __missing__(self, name: str) -> Through:
        pytest.skip(f"{name} needs a mount namespace of its own, which is not allowed here")


def may_mount() -> bool:
    done = subprocess.run(["unshare", "--mount", "mount", "--bind", "/etc/passwd", "/etc/passwd"], capture_output=True)
    return done.returncode == 0


@pytest.fixture(scope="module")
def proxies(folder: Path) -> Iterator[Proxies]:
    """One of each, all with a user and a password."""
    with ExitStack() as stack:
        found = Proxies(
            squid=stack.enter_context(squid(folder)),
            tinyproxy=stack.enter_context(tinyproxy(folder, f"BasicAuth {USER} {PASSWORD}")),
            microsocks=stack.enter_context(microsocks(folder)),
        )
        if may_mount():
            found["dante"] = stack.enter_context(dante(folder))
        yield found


@pytest.fixture(scope="module")
def pair(folder: Path) -> Iterator[list[Through]]:
    """Two that are open to everybody."""
    with tinyproxy(folder) as one, tinyproxy(folder) as two:
        yield [one, two]


def write_job(folder: Path, urls: Sequence[str], connection: Mapping[str, object], more: str = "") -> Path:
    """A job with this [connection], and short waits between attempts."""
    (folder / "urls.txt").write_text("".join(f"{url}\n" for url in urls))
    said = "".join(f"{key} = {as_toml(value)}\n" for key, value in connection.items())
    job = folder / "p.toml"
    job.write_text(
        f'name = "p"\n[input]\nfiles = ["urls.txt"]\n[output]\ndir = "{folder}/out"\nbodies = "none"\n'
        '[limits]\nworkers = 8\nrobots = "ignore"\n[retry]\nbackoff = { initial = "20ms", max = "100ms" }\n'
        f"[connection]\n{said}{more}"
    )
    return job


def as_toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {as_toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return orjson.dumps(value).decode()


def with_user(proxy: Through) -> dict[str, str]:
    """How a job says it."""
    return {"url": proxy.url, "user": USER, "password": "env:PROXY_PASSWORD"}


async def run(job: Path, password: str = PASSWORD, **environment: str) -> int | None:
    """The exit code of `crawler run`; the loop goes on, since the sites are in it."""
    command = [sys.executable, "-m", "crawler", "run", str(job), "--quiet"]
    clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    process = await asyncio.create_subprocess_exec(
        *command, env={**clean, "PROXY_PASSWORD": password, **environment}, stderr=asyncio.subprocess.DEVNULL
    )
    return await asyncio.wait_for(process.wait(), 60)


def records_of(folder: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (folder / "out/p/latest/records.jsonl").read_bytes().splitlines()]


def ends(folder: Path) -> dict[str, int]:
    """How many rows ended how."""
    return dict(Counter(record["reason"] or record["outcome"] for record in records_of(folder)))


def retried(folder: Path, slug: str) -> int:
    """How many attempts failed so, and were made again."""
    return (folder / "out/p/latest/run.log").read_text().count(f" after {slug}: ")


def written(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in (folder / "out").rglob("*") if file.is_file())


@pytest.mark.parametrize("name", ["squid", "tinyproxy", "microsocks", "dante"])
async def test_a_job_goes_through_each(
    tmp_path: Path, proxies: dict[str, Through], authority: trustme.CA, name: str
) -> None:
    """Plain and by TLS: all rows arrive, the proxy's log tells of both sites, and the sites hear of no credentials."""
    proxy = proxies[name]
    ca = pem(tmp_path, "ca.pem", authority.cert_pem)
    async with peer() as plain, peer(tls=server_tls(authority.issue_cert(LOOPBACK))) as secure:
        urls = [f"{site}{number}" for site in (plain.url, secure.secure) for number in range(20)]
        assert await run(write_job(tmp_path, urls, {"proxy": with_user(proxy), "ca_bundle": ca})) == 0
    assert ends(tmp_path) == {"fetched": 40}
    assert len(plain.heads) == len(secure.heads) == 20
    assert len(proxy.asked(plain.port)) >= (1 if name in ("microsocks", "dante") else 20)
    assert len(proxy.asked(secure.port)) >= 1
    if name == "squid":
        assert {line.split()[1] for line in proxy.asked(secure.port)} == {"CONNECT"}
    assert b"proxy-authorization" not in (plain.raw + secure.raw).lower()
    assert PASSWORD.encode() not in written(tmp_path)


async def test_of_three_the_dead_one_is_passed_over_and_the_others_take_turns(
    tmp_path: Path, pair: list[Through]
) -> None:
    """A closed port among two living proxies: every row arrives, few attempts are lost, the load is shared evenly."""
    dead = f"http://{LOOPBACK}:{free_port()}"
    async with raw_site() as site:
        urls = [site.url(f"/{number}") for number in range(300)]
        assert await run(write_job(tmp_path, urls, {"proxy": [pair[0].url, dead, pair[1].url]})) == 0
        assert sorted(site.paths()) == sorted(f"/{number}" for number in range(300))
        shares = [len([line for line in proxy.asked(site.port) if "Request" in line]) for proxy in pair]
    assert ends(tmp_path) == {"fetched": 300}
    assert 1 <= retried(tmp_path, "proxy-refused") <= 8  # at most what was under way at once
    assert sum(shares) == 300
    assert abs(shares[0] - shares[1]) <= 12, shares


async def test_one_that_swallows_connections_is_passed_over_and_the_site_is_not_blamed(
    tmp_path: Path, pair: list[Through]
) -> None:
    """No refusal, only silence: the timeout counts against the proxy, and the next attempt takes another."""
    with silent() as port:
        async with raw_site() as site:
            urls = [site.url(f"/{number}") for number in range(200)]
            said = {"proxy": [f"http://{LOOPBACK}:{port}", pair[0].url]}
            assert await run(write_job(tmp_path, urls, said, '[timeouts]\nconnect = "500ms"\n')) == 0
    assert ends(tmp_path) == {"fetched": 200}
    assert 1 <= retried(tmp_path, "proxy-failed") <= 8 + 2  # what was under way at once, and the two that put it out
    assert retried(tmp_path, "connect-timeout") == 0


@contextmanager
def silent() -> Iterator[int]:
    """A port at which connections are never made: its queue is full."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server((LOOPBACK, 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield server.getsockname()[1]


async def test_when_all_are_dead_that_is_said(tmp_path: Path) -> None:
    """proxy-refused after the attempts that the job allows; the site is never asked past its proxies."""
    dead = [f"http://{LOOPBACK}:{free_port()}", f"socks5h://{LOOPBACK}:{free_port()}"]
    async with raw_site() as site:
        urls = [site.url(f"/{number}") for number in range(20)]
        assert await run(write_job(tmp_path, urls, {"proxy": dead})) == 1
        assert site.asked == []
    assert ends(tmp_path) == {"proxy-refused": 20}
    assert {record["attempts"] for record in records_of(tmp_path)} == {5}


@pytest.mark.parametrize("name", ["squid", "microsocks", "dante"])
async def test_a_wrong_password_is_named(tmp_path: Path, proxies: dict[str, Through], name: str) -> None:
    """proxy-auth, tried once more since another proxy might take us; the password that was tried is nowhere."""
    async with raw_site() as site:
        said = {"proxy": with_user(proxies[name])}
        assert await run(write_job(tmp_path, [site.url()], said), "wr0ngpassword") == 1
        assert site.asked == []
    [record] = records_of(tmp_path)
    assert (record["reason"], record["attempts"]) == ("proxy-auth", 2)
    assert b"wr0ngpassword" not in written(tmp_path)


async def test_of_several_proxies_one_may_refuse_our_password(tmp_path: Path, proxies: dict[str, Through]) -> None:
    """Its rows go to the next one, and it is left out: nothing fails."""
    wrong = {**with_user(proxies["squid"]), "password": "env:OTHER_PASSWORD"}
    async with raw_site() as site:
        urls = [site.url(f"/{number}") for number in range(40)]
        said = {"proxy": [wrong, with_user(proxies["microsocks"])]}
        assert await run(write_job(tmp_path, urls, said), OTHER_PASSWORD="wr0ngpassword") == 0
    assert ends(tmp_path) == {"fetched": 40}
    assert 0 < retried(tmp_path, "proxy-auth") <= 10


async def test_a_host_may_be_reached_directly(tmp_path: Path, pair: list[Through]) -> None:
    """[hosts] lays a way of its own over the job's: only the other site is in the proxy's log."""
    async with raw_site(addresses=[LOOPBACK, "127.0.0.2"]) as site:
        urls = [site.url(f"/{number}", address) for number in range(5) for address in (LOOPBACK, "127.0.0.2")]
        more = '[hosts."127.0.0.2".connection]\nproxy = "direct"\n'
        assert await run(write_job(tmp_path, urls, {"proxy": pair[0].url}, more)) == 0
        assert len(site.paths("127.0.0.2")) == len(site.paths(LOOPBACK)) == 5
        assert_log_of_5(pair[0], site)


@pytest.mark.parametrize("trusted", [True, False])
async def test_the_environment_is_heard_where_it_is_trusted(tmp_path: Path, pair: list[Through], trusted: bool) -> None:
    """HTTP_PROXY for all but what NO_PROXY names; without trust_env nothing goes through it."""
    async with raw_site(addresses=[LOOPBACK, "127.0.0.2"]) as site:
        urls = [site.url(f"/{number}", address) for number in range(5) for address in (LOOPBACK, "127.0.0.2")]
        job = write_job(tmp_path, urls, {"trust_env": trusted})
        assert await run(job, HTTP_PROXY=pair[0].url, NO_PROXY="127.0.0.2") == 0
        assert len(site.paths("127.0.0.2")) == len(site.paths(LOOPBACK)) == 5
        if trusted:
            assert_log_of_5(pair[0], site)
        else:
            assert pair[0].asked(site.port) == []


def assert_log_of_5(proxy: Through, site: RawSite) -> None:
    """The proxy was asked for the five pages of 127.0.0.1 and for none of 127.0.0.2."""
    log = proxy.log.read_text()
    assert len([line for line in proxy.asked(site.port) if "Request" in line]) == 5
    assert f"127.0.0.2:{site.port}" not in log


async def test_a_proxy_that_dies_in_mid_run_costs_no_row(tmp_path: Path, folder: Path, pair: list[Through]) -> None:
    """One of two is killed while it is at work: what was under way is sent again, the other takes all that follow."""
    with ExitStack() as stack:
        dying = stack.enter_context(tinyproxy(folder))
        async with raw_site(latency=0.01) as site:

            def answer(asked: Asked) -> bytes:
                if len(site.asked) == 150:
                    stack.close()
                return reply()

            site.answer = answer
            urls = [site.url(f"/{number}") for number in range(400)]
            assert await run(write_job(tmp_path, urls, {"proxy": [dying.url, pair[0].url]})) == 0
            assert {asked.path for asked in site.asked} == {f"/{number}" for number in range(400)}
            assert len(dying.asked(site.port)) >= 50
    assert ends(tmp_path) == {"fetched": 400}
    assert sum(record["attempts"] for record in records_of(tmp_path)) <= 400 + 20
