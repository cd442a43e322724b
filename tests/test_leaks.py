"""The leak hunt on the wire: nine kinds of credential over eight kinds of hop, judged by the second server's bytes."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import ssl
import sys
from base64 import b64encode, urlsafe_b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_to_bytes

import orjson
import pytest
import trustme

from crawler.authenticate import Authenticator
from crawler.logs import Format, mask_with
from crawler.masking import Mask
from tests.jobs import Results, run
from tests.peers import pem

# A secret begins and ends with letters and digits that no encoding changes, so that a part of it is found as well.
HEAD, TAIL = "Kq7Vd3xTz0Wm", "Hb5Yc9RuJ2Ge"
SECRET = f"{HEAD}+/&%={TAIL}"
COOKIE = f"{HEAD}+/&%={TAIL}"


def hits(raw: bytes, secret: str = SECRET) -> list[str]:
    """In which forms a secret, its first or its last twelve characters stand in bytes."""
    plain = [raw, unquote_to_bytes(raw), unquote_to_bytes(unquote_to_bytes(raw))]
    digits = raw.replace(b"-", b"+").replace(b"_", b"/")
    found = []
    for part in (secret.encode()[:12], secret.encode()[-12:]):
        if any(part in text for text in plain):
            found.append(f"{part!r}")
        if part.hex().encode() in raw.lower():
            found.append(f"{part!r} in hexadecimal digits")
        for before in range(3):
            core = b64encode(b"\0" * before + part)[-(-8 * before // 6) : 8 * (before + len(part)) // 6]
            if core in digits or core in unquote_to_bytes(digits):
                found.append(f"{part!r} in Base64, after {before}")
    return found


_SIGNED = re.compile(
    r"^(?:proxy-|x-amz-)?(?:authorization|signature|cookie|date|content-sha256|security-token|x-sign)", re.I
)


def credentials(heads: list[str]) -> list[str]:
    """Headers, and parameters of the target, by which requests are authenticated, whatever their value."""
    lines = [line for head in heads for line in head.split("\r\n")]
    targets = [line for line in lines if line.endswith(" HTTP/1.1")]
    return [line for line in lines if _SIGNED.match(line)] + [
        line for line in targets if re.search(r"x-amz-|key=|sig=|@", line, re.I)
    ]


class Listener:
    """A server that keeps every byte that came (of TLS: what was in it), heads of requests, and client certificates."""

    def __init__(self) -> None:
        self.raw = b""
        self.heads: list[str] = []
        self.certificates: list[bytes] = []
        self.place = ""  # address:port
        self.answer: Callable[[str], bytes] = lambda head: reply(200)

    def asked(self, path: str) -> str:
        """The head of the only request for a path."""
        [head] = [head for head in self.heads if re.split("[ ?]", head)[1] == path]
        return head

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        tls = writer.get_extra_info("ssl_object")
        if tls is not None and (certificate := tls.getpeercert(binary_form=True)):
            self.certificates.append(certificate)
        came = b""
        while piece := await reader.read(65536):
            self.raw += piece
            came += piece
            while (end := came.find(b"\r\n\r\n")) >= 0:
                length = re.search(rb"\r\ncontent-length: *([0-9]+)", came[:end], re.I)
                whole = end + 4 + (int(length[1]) if length else 0)
                if len(came) < whole:
                    break
                head, came = came[:end].decode("latin-1"), came[whole:]
                self.heads.append(head)
                writer.write(self.answer(head))


def reply(status: int, body: bytes = b"ok", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@asynccontextmanager
async def listening(
    address: str, tls: ssl.SSLContext | None = None, serve: Callable[..., Any] | None = None
) -> AsyncIterator[Listener]:
    """A Listener; what is left open is cut at the end."""
    one, tasks = Listener(), set[asyncio.Task[None]]()

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await (serve(one, reader, writer) if serve is not None else one.serve(reader, writer))
        except (OSError, EOFError):
            pass
        finally:
            writer.transport.abort()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(connection(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async with await asyncio.start_server(accept, address, 0, ssl=tls) as server:
        one.place = "{}:{}".format(*server.sockets[0].getsockname())
        yield one
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


FIRST = "www.first.test"


class Site(NamedTuple):
    """Files and TLS of all tests."""

    tls: ssl.SSLContext  # asks for a client certificate, but does not insist
    ca: str
    cert: str  # with its key, which is encrypted with SECRET


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    from cryptography.hazmat.primitives import serialization as pems

    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    names = FIRST, "first.test", "second.test", f"api.{FIRST}", "idp.test"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    context.verify_mode = ssl.CERT_OPTIONAL
    authority.configure_trust(context)
    mine = authority.issue_cert("client.test")
    key = pems.load_pem_private_key(mine.private_key_pem.bytes(), None).private_bytes(
        pems.Encoding.PEM, pems.PrivateFormat.PKCS8, pems.BestAvailableEncryption(SECRET.encode())
    )
    cert = folder / "client.pem"
    cert.write_bytes(key + mine.cert_chain_pems[0].bytes())
    return Site(context, pem(folder, "ca.pem", authority.cert_pem), str(cert))


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED", SECRET)


Section = dict[str, Any]


def _auth(**said: Any) -> Section:
    return {"auth": {"a": {"hosts": [FIRST], "allow_insecure": True, **said}}}


HMAC = {
    "type": "hmac",
    "key": "env:PLANTED",
    "key_id": "me",
    "string": "{method}\n{path}\n{timestamp}",
    "headers": {"X-Date": "{timestamp}", "X-Sign": "{signature}"},
}
SIGV4 = {"type": "sigv4", "access_key": "AKIAPLANTED", "secret_key": "env:PLANTED", "session_token": "env:PLANTED"}
KINDS: dict[str, Section] = {
    "basic": _auth(type="basic", user="me", password="env:PLANTED"),
    "bearer": _auth(type="bearer", token="env:PLANTED"),
    "key": _auth(type="key", headers={"X-Api-Key": "env:PLANTED"}),
    "cookie": {"request": {"cookies": {"said": COOKIE}}, "cookies": {"jar": True}},
    "hmac": _auth(**HMAC),
    "sigv4": _auth(**SIGV4),
    "certificate": {"connection": {"client_cert": {"cert": "client.pem", "password": "env:PLANTED"}}},
    "query": _auth(type="key", params={"key": "env:PLANTED"}),
    "proxy": {"hosts": {FIRST: {"connection": {"proxy": {"url": "", "user": "me", "password": "env:PLANTED"}}}}},
}


class Way(NamedTuple):
    """A hop away from https://www.first.test/: to which URL, by which status, with which request."""

    to: str
    status: int = 302
    body: str | None = None
    paged: bool = False


HOPS = {
    "host": Way("https://second.test/landing"),
    "port": Way(f"https://{FIRST}:8443/landing"),
    "subdomain": Way(f"https://api.{FIRST}/landing"),
    "downgrade": Way(f"http://{FIRST}/landing"),
    "parent": Way("https://first.test/landing"),
    "post": Way("https://second.test/landing", 307, body=f"a body {SECRET}"),
    "next": Way("https://second.test/landing", paged=True),
    "userinfo": Way("https://evil:pw@second.test/landing"),
}


def leading(way: Way) -> Callable[[str], bytes]:
    """The first server: sends everything on, with the query it was asked with, and takes it back at /back."""

    def answer(head: str) -> bytes:
        path, _, query = head.split(" ")[1].partition("?")
        if path == "/back":
            return reply(200)
        if way.paged and path == "/":
            link = f"<https://{FIRST}/page2{'?' * bool(query)}{query}>; rel=next"
            return reply(200, Link=link, Set_Cookie=f"jar={COOKIE}; Path=/")
        where = f"{way.to}{'?' * bool(query)}{query}"
        return reply(way.status, Location=where, Set_Cookie=f"jar={COOKIE}; Path=/")

    return answer


async def hop(folder: Path, site: Site, kind: str, way: Way) -> tuple[Listener, Listener, Results]:
    """One run with a kind of credential over a kind of hop: both servers, and what was recorded."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(listening("127.0.0.2", site.tls))
        tls = None if way.to.startswith("http:") else site.tls
        second = await stack.enter_async_context(listening("127.0.0.3", tls))
        first.answer = leading(way)
        second.answer = lambda head: reply(302, Location=f"https://{FIRST}/back")
        place = re.sub(r"^.*//(?:[^@/]*@)?|/.*", "", way.to)
        pins = {
            f"{FIRST}:443": first.place,
            place if ":" in place else f"{place}:{80 if tls is None else 443}": second.place,
        }
        said = sections(kind, site)
        connection = {"resolve": pins, "allow_private": True, "ca_bundle": site.ca, **said.pop("connection", {})}
        if kind == "proxy":
            proxy = await stack.enter_async_context(listening("127.0.0.4", None, leading_proxy(pins)))
            said["hosts"][FIRST]["connection"]["proxy"]["url"] = f"http://{proxy.place}"
        if way.paged:
            said["paging"] = {"next": "link"}
        row = {"url": f"https://{FIRST}/"} | ({"method": "POST", "body": way.body} if way.body else {})
        results = await run(folder, [row], connection=connection, **said)
        if kind == "proxy":
            assert "Proxy-Authorization" in proxy.heads[0]
    return first, second, results


def sections(kind: str, site: Site) -> Section:
    """A copy of what the job says for a kind of credential."""
    said = deepcopy(KINDS[kind])
    if kind == "certificate":
        said["connection"]["client_cert"]["cert"] = site.cert
    return {"limits": {"robots": "ignore"}, **said}


def leading_proxy(places: Mapping[str, str]) -> Callable[..., Any]:
    """A proxy that takes CONNECT and whole URLs to where names are; it passes a request on without what is its own."""

    async def serve(one: Listener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came = await reader.readuntil(b"\r\n\r\n")
        one.raw += came
        head = came.decode("latin-1")
        one.heads.append(head)
        method, target = head.split(" ")[:2]
        host = re.sub(r"^http://|/.*", "", target)
        address, _, port = places[host if ":" in host else f"{host}:80"].rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(address, int(port))
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            passed_on = re.sub(rb"(?im)^proxy-authorization: [^\r]*\r\n", b"", came)
            far_writer.write(re.sub(rb"\A(\w+ )http://[^/]+", rb"\1", passed_on))
        await both_ways(one, (reader, writer), (far_reader, far_writer))

    return serve


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def both_ways(one: Listener, near: Streams, far: Streams) -> None:
    """Pass bytes on in both directions; those of the client are kept."""

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, kept: bool) -> None:
        try:
            while piece := await source.read(65536):
                one.raw += piece if kept else b""
                sink.write(piece)
        finally:
            sink.transport.abort()

    await asyncio.gather(pump(near[0], far[1], kept=True), pump(far[0], near[1], kept=False), return_exceptions=True)


def shows(kind: str, server: Listener, path: str) -> bool:
    """Did a request for a path carry the credential."""
    head = server.asked(path)
    match kind:
        case "certificate":
            return bool(server.certificates)
        case "proxy":
            return True  # looked at where it goes to
        case "cookie":
            return f"said={COOKIE}" in head
        case "hmac" | "sigv4":
            return bool(credentials([head]))
    return bool(hits(head.encode("latin-1")))


@pytest.mark.parametrize("hop_of", HOPS)
@pytest.mark.parametrize("kind", KINDS)
async def test_no_credential_leaves_by_a_hop(tmp_path: Path, site: Site, kind: str, hop_of: str) -> None:
    """A credential stands in no byte of the second server, and goes along again when a hop leads back."""
    way = HOPS[hop_of]
    first, second, results = await hop(tmp_path, site, kind, way)
    assert shows(kind, first, "/"), first.heads
    assert hits(second.raw) == []
    assert credentials(second.heads) == []
    assert second.certificates == []
    record = results.records[-1]
    if way.body is not None:
        assert (record["reason"], second.raw) == ("cannot-replay", b"")
        return
    assert record["outcome"] == "fetched", record
    assert len(second.heads) == 1
    assert shows(kind, first, "/back")
    if kind == "cookie":
        assert f"jar={COOKIE}" in first.asked("/back")
    assert hits((results.folder / "records.jsonl").read_bytes()) == []


# -- what a query carries ---------------------------------------------------------------------------------------------

QUERIES: dict[str, Section] = {
    "sigv4": _auth(**SIGV4, form="query"),
    "hmac": _auth(**{**HMAC, "headers": {}, "params": {"ts": "{timestamp}", "sig": "{signature}"}}),
    "hmac in base64": _auth(
        **{**HMAC, "encoding": "base64", "headers": {}, "params": {"ts": "{timestamp}", "sig": "{signature}"}}
    ),
}


def signatures(head: str) -> list[str]:
    """The values of a request's query that are long enough for a signature."""
    values = re.findall(r"=([^& ]{32,})", head.partition("\r\n")[0])
    assert values
    return [value for text in values for value in (text, unquote_to_bytes(text).decode("latin-1"))]


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("kind", QUERIES)
async def test_a_signed_query_that_a_server_gives_back_goes_no_further(
    tmp_path: Path, site: Site, kind: str, *, nested: bool
) -> None:
    """By a Location, a Link to the next page or another header: not to the second server, not into record or store."""

    def answer(head: str) -> bytes:
        target = head.split(" ")[1]
        path, _, query = target.partition("?")
        back = f"to=https%3A%2F%2F{FIRST}{quote(target, safe='')}" if nested else f"lang=en&{query}"
        if path == "/":
            link = f"<https://{FIRST}/page2?{back}>; rel=next"
            return reply(200, Link=link, Content_Location=f"https://{FIRST}/?{back}")
        return reply(200) if path == "/back" else reply(302, Location=f"https://second.test/landing?{back}")

    async with listening("127.0.0.2", site.tls) as first, listening("127.0.0.3", site.tls) as second:
        first.answer = answer
        second.answer = lambda head: reply(302, Location=f"https://{FIRST}/back?{head.split(' ')[1].partition('?')[2]}")
        results = await run(
            tmp_path,
            [{"url": f"https://{FIRST}/"}],
            connection=connection(site, {f"{FIRST}:443": first.place, "second.test:443": second.place}),
            output={"dir": str(tmp_path / "out"), "headers_in_record": True},
            paging={"next": "link"},
            limits={"robots": "ignore"},
            **QUERIES[kind],
        )
    assert [record["outcome"] for record in results.records] == ["fetched", "fetched"]
    assert len(second.heads) == 1
    assert len(signatures(first.heads[-1])) == len(signatures(first.heads[0])), "signed anew, and once"
    written = b"".join(file.read_bytes() for file in sorted((tmp_path / "out").rglob("*")) if file.is_file())
    for value in {value for head in first.heads for value in signatures(head)}:
        for text in (value, quote(value, safe="")):
            assert text.encode() not in second.raw
            assert text.encode() not in written


def connection(site: Site, pins: Mapping[str, str]) -> Section:
    return {"resolve": dict(pins), "allow_private": True, "ca_bundle": site.ca}


# -- what is said as it is, and what may go on ------------------------------------------------------------------------


@pytest.mark.parametrize("way", [HOPS["host"], HOPS["port"], HOPS["downgrade"]], ids=["host", "port", "downgrade"])
@pytest.mark.parametrize("section", ["request", "hosts"])
async def test_headers_of_job_and_host_stay_with_their_origin(
    tmp_path: Path, site: Site, section: str, way: Way
) -> None:
    """Any header may be a key: one of [request] or [hosts] is not for another host, another port or plain http."""
    said = {"headers": {"X-Api-Key": SECRET, "Referer": f"https://{FIRST}/?key={SECRET}"}}
    tls = None if way.to.startswith("http:") else site.tls
    async with listening("127.0.0.2", site.tls) as first, listening("127.0.0.3", tls) as second:
        first.answer = leading(way)
        place = re.sub(r"^.*//|/.*", "", way.to)
        pins = {f"{FIRST}:443": first.place, place if ":" in place else f"{place}:{443 if tls else 80}": second.place}
        row = {"url": f"https://{FIRST}/", "headers": {"X-Row-Key": SECRET}}
        sections: Section = {section: said if section == "request" else {FIRST: said}}
        await run(tmp_path, [row], connection=connection(site, pins), limits={"robots": "ignore"}, **sections)
    assert SECRET in first.heads[0].partition("X-Api-Key: ")[2]
    assert len(second.heads) == 1
    assert hits(second.raw) == []


@pytest.mark.parametrize("kind", ["basic", "bearer", "key", "hmac", "sigv4", "query"])
async def test_a_hop_up_to_https_keeps_the_credential(tmp_path: Path, site: Site, kind: str) -> None:
    """From http to https at the same host, whatever the ports: the credential goes along."""
    async with listening("127.0.0.2") as plain, listening("127.0.0.3", site.tls) as secure:
        plain.answer = lambda head: reply(302, Location=f"https://{FIRST}:8443/landing")
        pins = {f"{FIRST}:8080": plain.place, f"{FIRST}:8443": secure.place}
        row = {"url": f"http://{FIRST}:8080/"}
        await run(tmp_path, [row], connection=connection(site, pins), limits={"robots": "ignore"}, **KINDS[kind])
    assert shows(kind, secure, "/landing")


async def test_a_host_that_is_named_for_it_learns_the_certificate(tmp_path: Path, site: Site) -> None:
    """What [hosts] says for a host holds for a hop to it as well."""
    async with listening("127.0.0.2", site.tls) as first, listening("127.0.0.3", site.tls) as second:
        first.answer = lambda head: reply(302, Location="https://second.test/landing")
        pins = {f"{FIRST}:443": first.place, "second.test:443": second.place}
        cert = {"connection": {"client_cert": {"cert": site.cert, "password": "env:PLANTED"}}}
        await run(
            tmp_path, [{"url": f"https://{FIRST}/"}], connection=connection(site, pins), hosts={"second.test": cert}
        )
    assert (len(first.certificates), len(second.certificates)) == (0, 1)


# -- proxies, robots.txt and token endpoints --------------------------------------------------------------------------

PROXY_SECRET = "Pw4Lz8Nq1Xe7Ud2Ks6Bv9Mt3"


async def socks(
    pins: Mapping[str, str], one: Listener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """A SOCKS5 proxy that wants user and password (RFC 1928, RFC 1929), and looks names up."""

    async def take(count: int) -> bytes:
        came = await reader.readexactly(count)
        one.raw += came
        return came

    await take((await take(2))[1])
    writer.write(b"\x05\x02")
    await take((await take(2))[1])
    await take((await take(1))[0])
    writer.write(b"\x01\x00")
    assert (await take(4))[:2] == b"\x05\x01"
    host = (await take((await take(1))[0])).decode()
    port = int.from_bytes(await take(2), "big")
    writer.write(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x01")
    address, _, at = pins[f"{host}:{port}"].rpartition(":")
    await both_ways(one, (reader, writer), await asyncio.open_connection(address, int(at)))


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
@pytest.mark.parametrize("target", ["https", "http"])
@pytest.mark.parametrize("kind", ["basic", "key", "hmac", "cookie", "query"])
async def test_proxy_and_target_do_not_learn_of_each_others_credentials(
    tmp_path: Path, site: Site, kind: str, target: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a tunnel the proxy sees nothing for the target; the target never sees anything for the proxy."""
    monkeypatch.setenv("PROXY_PASSWORD", PROXY_SECRET)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(listening("127.0.0.2", site.tls if target == "https" else None))
        pins = {f"{FIRST}:{443 if target == 'https' else 80}": first.place}
        serve = leading_proxy(pins) if scheme == "http" else partial(socks, pins)
        proxy = await stack.enter_async_context(listening("127.0.0.4", None, serve))
        said = {**sections(kind, site)}
        said["connection"] = {
            "allow_private": True,
            "ca_bundle": site.ca,
            "proxy": {"url": f"{scheme}://{proxy.place}", "user": "me", "password": "env:PROXY_PASSWORD"},
        }
        results = await run(tmp_path, [{"url": f"{target}://{FIRST}/"}], **said)
    assert results.records[0]["outcome"] == "fetched", results.records
    assert hits(proxy.raw, PROXY_SECRET)
    assert shows(kind, first, "/")
    assert hits(first.raw, PROXY_SECRET) == []
    assert "proxy-" not in first.heads[0].lower()
    if target == "https":
        assert hits(proxy.raw) == []


async def test_robots_and_token_endpoint_see_nothing_of_the_others(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """robots.txt is asked for bare; a token endpoint gets its own client's secret, no cookie, no other section's."""
    monkeypatch.setenv("CLIENT_SECRET", PROXY_SECRET)
    key = {"type": "key", "headers": {"X-Api-Key": "env:PLANTED"}, "params": {"key": "env:PLANTED"}}
    async with listening("127.0.0.2", site.tls) as first, listening("127.0.0.3", site.tls) as idp:
        first.answer = lambda head: reply(
            404 if "/robots.txt" in head else 200, Set_Cookie=f"jar={COOKIE}; Path=/", Location="/"
        )
        token = b'{"access_token": "Tk1Tk2Tk3Tk4Tk5", "token_type": "Bearer", "expires_in": 3600}'
        idp.answer = lambda head: reply(
            404 if "/robots.txt" in head else 200, token, Content_Type="application/json", Set_Cookie=f"jar={COOKIE}"
        )
        oauth = {
            "type": "oauth2",
            "hosts": [FIRST],
            "token_url": "https://idp.test/token",
            "client_id": "me",
            "client_secret": "env:CLIENT_SECRET",
        }
        results = await run(
            tmp_path,
            [{"url": f"https://{FIRST}/{number}"} for number in range(3)] + [{"url": "https://idp.test/page"}],
            connection=connection(site, {f"{FIRST}:443": first.place, "idp.test:443": idp.place}),
            auth={"a": oauth, "b": {"hosts": ["idp.test"], **key}},
            request={"cookies": {"said": COOKIE}, "headers": {"X-Job-Key": SECRET}},
            cookies={"jar": True},
            limits={"robots": "obey", "workers": 1},
        )
    assert [record["outcome"] for record in results.records] == ["fetched"] * 4
    robots = [head for one in (first, idp) for head in one.heads if "/robots.txt" in head]
    tokens = [head for head in idp.heads if head.startswith("POST /token")]
    assert (len(robots), len(tokens)) == (2, 1)
    for head in (*robots, *tokens):
        assert hits(head.encode("latin-1")) == []
        assert "cookie" not in head.lower()
    assert credentials(robots) == []
    assert "Bearer Tk1Tk2Tk3Tk4Tk5" in first.heads[-1]
    assert hits(first.raw, PROXY_SECRET) == []


async def test_a_password_of_the_environments_proxy_is_masked(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job does not know it, and no record shows it where a server gives it back."""
    async with listening("127.0.0.2") as proxy:
        proxy.answer = lambda head: reply(200, X_Echo=PROXY_SECRET)
        monkeypatch.setenv("http_proxy", f"http://me:{PROXY_SECRET}@{proxy.place}")
        results = await run(
            tmp_path,
            [{"url": f"http://{FIRST}/"}],
            connection={"trust_env": True, "allow_private": True},
            output={"dir": str(tmp_path / "out"), "headers_in_record": True},
            limits={"robots": "ignore"},
        )
    assert hits(proxy.raw, PROXY_SECRET)
    assert results.records[0]["headers"]["x-echo"] == "***"


# -- objects, tracebacks ----------------------------------------------------------------------------------------------


async def test_no_object_of_a_run_shows_a_secret(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The repr of whatever the package has made, looked at in the middle of a run with all its credentials."""
    secret = "Pn3Yx8Lc5Rg1Zk7Dt9Wh2Jm4"  # of other tests something may be about
    monkeypatch.setenv("PLANTED", secret)
    monkeypatch.setenv("KEY_PASSWORD", SECRET)
    shown: dict[str, str] = {}
    seen: set[str] = set()

    def look() -> None:
        for one in gc.get_objects():
            if str(getattr(type(one), "__module__", "")).startswith("crawler."):
                seen.add(type(one).__qualname__)
                if hits(repr(one).encode("utf-8", "backslashreplace"), secret):
                    shown[type(one).__qualname__] = repr(one)

    def answer(head: str) -> bytes:
        look()
        return reply(200, Set_Cookie=f"jar={secret}; Path=/")

    token = {"access_token": secret, "token_type": "Bearer", "expires_in": 3600, "refresh_token": secret}
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(listening("127.0.0.2", site.tls))
        first.answer = answer
        idp = await stack.enter_async_context(listening("127.0.0.3", site.tls))
        idp.answer = lambda head: (look(), reply(200, orjson.dumps(token)))[1]
        hosts = [f"{kind}.first.test" for kind in ("basic", "digest", "bearer", "key", "hmac", "sigv4", "oauth2")]
        pins = {f"{host}:443": first.place for host in hosts} | {"idp.test:443": idp.place}
        proxy = await stack.enter_async_context(listening("127.0.0.4", None, leading_proxy(pins)))
        auth: Section = {
            "basic": {"type": "basic", "user": "me", "password": "env:PLANTED"},
            "digest": {"type": "digest", "user": "me", "password": "env:PLANTED"},
            "bearer": {"type": "bearer", "token": "env:PLANTED"},
            "key": {"type": "key", "headers": {"X-K": "env:PLANTED"}, "params": {"k": "env:PLANTED"}},
            "hmac": HMAC,
            "sigv4": SIGV4,
            "oauth2": {
                "type": "oauth2",
                "token_url": "https://idp.test/token",
                "client_id": "me",
                "client_secret": "env:PLANTED",
                "cache": "token.json",
            },
        }
        results = await run(
            tmp_path,
            [{"url": f"https://{host}/"} for host in hosts for _ in range(3)],
            connection={
                **connection(site, pins),
                "verify": False,
                "client_cert": {"cert": site.cert, "password": "env:KEY_PASSWORD"},
                "proxy": {"url": f"http://{proxy.place}", "user": "me", "password": "env:PLANTED"},
            },
            auth={name: {**said, "hosts": [f"{name}.first.test"]} for name, said in auth.items()},
            cookies={"jar": True},
            limits={"robots": "ignore", "workers": 4},
        )
    assert all(record["outcome"] == "fetched" for record in results.records), results.records
    assert {"Message", "Proxy", "ClientCert", "Cookie", "Mask", "Given", "Means", "Section", "Exchange"} <= seen, seen
    assert shown == {}


@pytest.mark.parametrize("as_json", [False, True])
def test_a_traceback_shows_no_variables(as_json: bool) -> None:
    """Not those of its frames; and what the exception itself says is masked."""

    def fails(token: str) -> None:
        raise RuntimeError(f"the server said {SECRET}")

    mask = Mask([SECRET])
    mask_with(mask)
    try:
        fails("variable of a frame"[::-1])
    except RuntimeError:
        line = Format(as_json).format(logging.makeLogRecord({"msg": "it failed", "exc_info": sys.exc_info()}))
    assert "the server said ***" in line
    assert "variable of a frame"[::-1] not in line
    assert hits(line.encode()) == []


@pytest.mark.parametrize(
    "form",
    [SECRET, quote(SECRET, safe=""), quote(quote(SECRET, safe=""), safe=""), quote(SECRET, safe="").lower()]
    + [b64encode(f"{before}{SECRET}".encode()).decode() for before in ("", "x", "me:")]
    + [urlsafe_b64encode(SECRET.encode()).decode(), quote(b64encode(SECRET.encode()).decode(), safe="")],
)
def test_a_cut_leaves_no_part_of_a_secret(form: str) -> None:
    """Wherever texts are cut, before or behind: of what is left no eight characters show."""
    mask, form = Mask([SECRET]), form.replace(HEAD.lower(), HEAD).replace(TAIL.lower(), TAIL)
    for length in range(10, len(form)):
        head, tail = mask(f"said {form[:length]}… on"), mask(f"said …{form[-length:]} on")
        assert head.startswith("said ")
        assert tail.endswith(" on")
        assert not any(form[at : at + 8] in head or form[at : at + 8] in tail for at in range(len(form) - 8)), length


# -- is the hunt any good ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        SECRET.encode(),
        f"x{SECRET[:-1]}…".encode(),
        quote(SECRET, safe="").encode(),
        quote(quote(SECRET, safe=""), safe="").lower().replace("kq7vd3xtz0wm", HEAD).encode(),
        b"".join(b"%%%02x" % octet for octet in SECRET.encode()),
        *(b64encode(b"me:p"[:before] + SECRET.encode() + b"tail") for before in range(5)),
        urlsafe_b64encode(SECRET.encode()),
        SECRET.encode().hex().upper().encode(),
        orjson.dumps({"a": SECRET}),
    ],
)
def test_the_hunt_knows_a_secret_in_every_form(text: bytes) -> None:
    """Raw, cut, percent-encoded, in Base64 wherever it begins, in hexadecimal digits."""
    assert hits(b"before " + text + b" behind")
    assert not hits(b"before and behind")


@pytest.mark.parametrize("kind", ["basic", "bearer", "key", "hmac", "sigv4", "query"])
async def test_the_hunt_finds_a_credential_that_goes_anywhere(
    tmp_path: Path, site: Site, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were hosts not asked, the second server would have it, and these tests would see it."""
    monkeypatch.setattr(Authenticator, "section", lambda self, request: self.sections[0])
    _, second, _ = await hop(tmp_path, site, kind, HOPS["host"])
    assert hits(second.raw) or credentials(second.heads)


@pytest.mark.parametrize(
    ("kind", "name"), [("cookie", "compose.harmless"), ("certificate", "exchange.Exchange._identified")]
)
async def test_the_hunt_finds_what_else_goes_anywhere(
    tmp_path: Path, site: Site, kind: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for a cookie that was said, and for a client certificate."""
    monkeypatch.setattr(f"crawler.{name}", lambda said: said)
    _, second, _ = await hop(tmp_path, site, kind, HOPS["host"])
    assert hits(second.raw) or second.certificates
