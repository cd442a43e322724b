"""The leak hunt on disk: planted secrets, every feature on, every cheap failure; no byte that is written holds one.

A server that means ill gives each host's secrets back wherever an answer has room: headers, Locations, challenges,
Links, robots.txt, errors of a token endpoint and of proxies; raw, percent-encoded and in Base64.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import stat
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest
import trustme
from cryptography.hazmat.primitives import serialization as pems

from tests.peers import pem
from tests.servers import free_port
from tests.test_leaks import Listener, both_ways, hits, listening, reply

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def secret(number: int) -> str:
    """Two halves of twelve letters and digits, which hits() looks for, around what encoders change."""
    letters = "abcdefghijkmnpqrstuvwxyz"
    first, second = letters[number], letters[-1 - number]
    return f"Kx{first}7{second}Wq3{first}Zt{number % 10}+/&%=~Hv{second}5{first}Yr8{second}Uj{number % 10}"


PLANTED = {
    name: secret(number)
    for number, name in enumerate(
        [
            "basic",
            "bearer",
            "key",
            "query",
            "hmac",
            "sigv4",
            "session",
            "cookie",
            "client",
            "access",
            "refresh",
            "proxy",
            "proxyurl",
            "command",
            "plugin",
            "netrc",
            "certificate",
            "row",
        ]
    )
}
# By the first label of a host: what it gives back.
OF_HOST = {
    **{name: [name] for name in ("basic", "bearer", "key", "query", "hmac", "proxy", "proxyurl", "command", "plugin")},
    "sigv4": ["sigv4", "session"],
    "presigned": ["sigv4", "session"],
    "oauth": ["client", "access", "refresh"],
    "broken": ["client"],
    "netrc": ["netrc"],
    "certificate": ["certificate"],
    "cookie": [],
    "row": ["row"],
    "digest": ["basic"],
}
PATHS = [
    "ok",
    "401",
    "403",
    "429",
    "500",
    "503",
    "404",
    "redirect",
    "redirect-path",
    "redirect-elsewhere",
    "bad-location",
    "ftp",
    "loop",
    "echo",
    "next",
    "hang",
    "reset",
    "gzip",
    "type",
    "short",
    "unexpected",
]


def forms(names: list[str]) -> str:
    """Secrets in the forms in which servers give them back."""
    values = [PLANTED[name] for name in names]
    encoded = [b64encode(f"{before}{value}".encode()).decode() for value in values for before in ("", "x", "me:")]
    return " ".join([*values, *(quote(value, safe="") for value in values), *encoded])


def answer(head: str) -> bytes | None:
    """What the hostile server says; None is silence, and b"" hangs up."""
    target = head.split(" ")[1]
    path, _, query = target.partition("?")
    host = re.search(r"(?im)^host: ([^\r\n:]+)", head)
    assert host is not None
    name = host[1].partition(".")[0]
    # Of tokens it hears with its first page only.
    heard = [one for one in OF_HOST.get(name, []) if path != "/robots.txt" or one not in ("access", "refresh")]
    said = forms(heard)
    packed = quote(said, safe="")
    echo = {
        "X-Echo": said,
        "X-Head": quote(re.sub("(?im)^cookie: .*", "", head), safe=""),
        "ETag": f'"{said}"',
        "Last-Modified": said,
    }
    if name == "cookie":
        echo["Set-Cookie"] = f"session={PLANTED['cookie']}; Path=/; Max-Age=3600"

    def answered(status: int, body: bytes = said.encode(), **headers: str) -> bytes:
        return reply(status, body, **{**echo, **headers})

    match path[1:]:
        case "robots.txt":
            return reply(
                200, f"# {said}\nUser-agent: *\nDisallow: /private/{packed}\nSitemap: https://s/{said}".encode()
            )
        case "401":
            return answered(401, WWW_Authenticate=f'Basic realm="{said}", Bearer error_description="{said}"')
        case "429" | "503":
            return answered(int(path[1:]), Retry_After=f"0; {said}")
        case "403" | "404" | "500":
            return answered(int(path[1:]))
        case "redirect":
            return answered(302, Location=f"/ok?again={packed}&{query}")
        case "redirect-path":
            return answered(302, Location=f"/ok/{packed}")
        case "redirect-elsewhere":
            return answered(302, Location=f"https://me:{packed}@elsewhere.test/ok?again={packed}&{query}")
        case "bad-location":
            return answered(302, Location=f"https://[{said}")
        case "ftp":
            return answered(302, Location=f"ftp://elsewhere.test/{packed}")
        case "loop":
            return answered(302, Location=f"/loop?{query}")
        case "next":
            return answered(200, Link=f'<https://{host[1]}/ok?cursor={packed}&{query}>; rel=next; title="{said}"')
        case "hang":
            return None
        case "reset":
            return b""
        case "gzip":
            return answered(200, Content_Encoding="gzip")
        case "type" | "unexpected":
            return answered(200, Content_Type=f"text/html; charset={said}")
        case "short":
            return answered(200).replace(b"Content-Length: ", b"Content-Length: 9")
    return answered(200)


def endpoint(head: str) -> bytes:
    """The token endpoint: one client is known, the other is refused with all that it said."""
    if "/robots.txt" in head:
        return reply(404)
    if "/broken" in head:
        said = forms(["client"])
        fault = {"error": "invalid_client", "error_description": said, "error_uri": f"https://e/{said}"}
        return reply(400, orjson.dumps(fault), WWW_Authenticate=f'Basic realm="{said}"', X_Echo=said)
    token = {
        "access_token": PLANTED["access"],
        "token_type": "Bearer",
        "expires_in": 3600,
        "refresh_token": PLANTED["refresh"],
        "scope": forms(["client", "access"]),
    }
    return reply(200, orjson.dumps(token), Content_Type="application/json")


async def hostile(one: Listener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A Listener that may be silent, or hang up."""
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")[:-4]
        one.heads.append(head)
        length = re.search(r"(?im)^content-length: *([0-9]+)", head)
        await reader.readexactly(int(length[1]) if length else 0)
        said = one.answer(head)
        if said is None:
            await asyncio.Event().wait()
        if not said:
            return
        writer.write(said)


class Proxying:
    """A proxy that leads on, or fails with its user's password in its words, as its host says."""

    def __init__(self, place: str) -> None:
        self._place = place

    async def __call__(self, one: Listener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        one.heads.append(head)
        said = forms(["proxy"])
        if "CONNECT failing" in head:
            writer.write(reply(407, Proxy_Authenticate=f'Basic realm="{said}"', X_Echo=said))
        elif "CONNECT worse" in head:
            writer.write(reply(502, said.encode(), X_Squid_Error=f"ERR {said}"))
        elif "CONNECT worst" in head:
            writer.write(f"HTTP/1.1 {said}\r\n\r\n".encode())
        else:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            address, _, port = self._place.rpartition(":")
            await both_ways(one, (reader, writer), await asyncio.open_connection(address, int(port)))


SIGNERS = """
class Raising:
    def __init__(self, options):
        self.key = options["key"]

    def sign(self, draft, now):
        if draft.url.endswith("ok"):
            raise ValueError(f"the key is {self.key}")
        if draft.url.endswith("404"):
            return {"X-Bad": f"{self.key}\\n"}
        return {"X-Plugin-Key": self.key}

    def accept(self, draft, answered):
        raise RuntimeError(self.key)
"""
# All loggers at DEBUG, whatever anybody says, and what has no handler goes to stderr.
VERBOSE = """
import logging, sys
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
logging.captureWarnings(True)
logging.Logger.setLevel = lambda self, level: None
logging.Logger.isEnabledFor = lambda self, level: True
"""


class Planted:
    """A folder with all that a job needs, and its environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.commands: set[bytes] = set()
        self.said: list[bytes] = []
        for name in ("tmp", "home", "path", "job", "out"):
            (folder / name).mkdir()
        (folder / "path" / "sitecustomize.py").write_text(VERBOSE)
        (folder / "job" / "signers.py").write_text(SIGNERS)
        kept = folder / "secret.txt"
        kept.write_text(PLANTED["command"])
        kept.chmod(0o600)
        netrc = folder / "netrc"
        netrc.write_text(f"machine netrc.test login me password {PLANTED['netrc']}\n")
        netrc.chmod(0o600)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "PYTHONPATH": str(folder / "path"),
            "PYTHONASYNCIODEBUG": "1",
            "PYTHONWARNINGS": "default",
            **{f"PLANTED_{name.upper()}": value for name, value in PLANTED.items()},
        }

    async def command(self, *arguments: str, codes: tuple[int, ...] = (0, 1)) -> bytes:
        """Run `crawler`; what it printed, on either side."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "crawler",
            *arguments,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        watching = asyncio.create_task(self._watch(process.pid))
        out, _ = await asyncio.wait_for(process.communicate(), 120)
        watching.cancel()
        assert process.returncode in codes, out.decode(errors="replace")[-4000:]
        self.said.append(out)
        return out

    async def _watch(self, pid: int) -> None:
        """What `ps` shows of a process and of what it starts."""
        while True:
            for one in (pid, *_children(pid)):
                try:
                    self.commands.add(
                        Path(f"/proc/{one}/cmdline").read_bytes() + Path(f"/proc/{one}/comm").read_bytes()
                    )
                except OSError:
                    continue
            await asyncio.sleep(0.02)

    def written(self) -> Iterator[tuple[str, bytes]]:
        """Every file of the output, the home and the folder for temporary ones; names of files as well."""
        for place in ("out", "tmp", "home"):
            for file in sorted((self.folder / place).rglob("*")):
                yield f"name of {file.name}", str(file.relative_to(self.folder)).encode()
                if file.is_file():
                    yield str(file.relative_to(self.folder)), file.read_bytes()


def _children(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def rows(upload: Path) -> list[dict[str, Any] | str]:
    """All paths at all hosts, and rows that cannot be sent, or fail without an answer."""
    found: list[dict[str, Any] | str] = [
        {"url": f"https://{name}.test/{path}", "note": f"{name} {path}"} for name in OF_HOST for path in PATHS
    ]
    basic, row = PLANTED["basic"], PLANTED["row"]
    found += [
        {"url": "https://basic.test/upload", "method": "PUT", "body_file": str(upload)},
        {"url": "https://basic.test/post", "method": "POST", "json": {"a": 1}},
        {"url": "https://refused.test/"},
        {"url": "https://wrong-name.test/"},
        {"url": "https://failing.test/"},
        {"url": "https://worse.test/"},
        {"url": "https://worst.test/"},
        {"url": "https://nowhere.invalid/"},
        {"url": f"https://me:{row}@basic.test/ok"},
        {"url": f"https://me:{quote(basic, safe='')}@basic.test/ok"},
        {"url": f"htps://me:{row}@basic.test/ok"},
        {"url": "https://basic.test/ok", "method": f"bad {row}"},
        {"url": "https://basic.test/ok", "headers": {f"bad {row}": "x", "X": f"{row}\r\n"}},
        f'{{"url": "https://basic.test/", "password": "{row}"',
    ]
    return found


def job(folder: Path, pins: dict[str, str], proxy: str, ca: str, cert: str) -> dict[str, Any]:
    """Every feature that has anything to do with secrets."""
    sigv4 = {
        "type": "sigv4",
        "access_key": "AKIAPLANTED",
        "secret_key": "env:PLANTED_SIGV4",
        "session_token": "env:PLANTED_SESSION",
    }
    oauth = {"type": "oauth2", "client_id": "me", "client_secret": "env:PLANTED_CLIENT"}
    auth: dict[str, dict[str, Any]] = {
        "basic": {"type": "basic", "user": "me", "password": "env:PLANTED_BASIC"},
        "row": {"type": "basic", "user": "me", "password": "env:PLANTED_ROW"},
        "digest": {"type": "digest", "user": "me", "password": "env:PLANTED_BASIC"},
        "bearer": {"type": "bearer", "token": "env:PLANTED_BEARER"},
        "key": {"type": "key", "headers": {"X-Api-Key": "env:PLANTED_KEY"}},
        "query": {"type": "key", "params": {"token": "env:PLANTED_QUERY"}},
        "hmac": {
            "type": "hmac",
            "key": "env:PLANTED_HMAC",
            "string": "{method}\n{path}\n{timestamp}",
            "headers": {"X-Sign": "{timestamp} {signature}"},
        },
        "sigv4": sigv4,
        "presigned": {**sigv4, "form": "query"},
        "oauth": {**oauth, "token_url": "https://idp.test/token", "cache": "../out/token.json"},
        "broken": {**oauth, "token_url": "https://idp.test/broken"},
        "command": {"type": "bearer", "token": f"cmd:cat {folder / 'secret.txt'}"},
        "netrc": {"type": "netrc", "file": str(folder / "netrc")},
        "plugin": {"type": "plugin", "callable": "signers:Raising", "options": {"key": "env:PLANTED_PLUGIN"}},
    }
    by_proxy = {"connection": {"proxy": {"url": proxy, "user": "me", "password": "env:PLANTED_PROXY"}}}
    return {
        "name": "hunt",
        "input": {"files": ["rows.jsonl"], "dedupe": False},
        "limits": {"robots": "obey", "per_host": 8, "max_redirects": 3, "adaptive": False},
        "timeouts": {"connect": "5s", "read": "1s", "total": "2s"},
        "retry": {"attempts": 2, "backoff": {"initial": "10ms", "max": "50ms"}},
        "breaker": {"failures": 1000},
        "connection": {"resolve": pins, "allow_private": True, "ca_bundle": ca},
        "cookies": {"jar": True, "persist": True},
        "paging": {"next": "link", "max_pages": 3},
        "auth": {name: {"hosts": [f"{name}.test"], **said} for name, said in auth.items()},
        "output": {"dir": str(folder / "out"), "bodies": "none", "headers_in_record": True},
        "hosts": {
            "proxy.test": by_proxy,
            **{f"{name}.test": {"robots": "ignore", **by_proxy} for name in ("failing", "worse", "worst")},
            **{name: {"robots": "ignore"} for name in ("refused.test", "wrong-name.test", "nowhere.invalid")},
            "proxyurl.test": {"connection": {"proxy": "env:PLANTED_PROXY_URL"}},
            "certificate.test": {
                "connection": {"client_cert": {"cert": cert, "password": "env:PLANTED_CERTIFICATE"}},
                "expect": {"content_type": ["application/json"]},
            },
        },
    }


def keys(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext, str, str]:
    """TLS of the servers, of one with a wrong name; the CA's file, and that of our certificate with its locked key."""
    authority = trustme.CA()
    contexts = []
    for names in ([f"{name}.test" for name in (*OF_HOST, "elsewhere", "idp")], ["other.example"]):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*names).configure_cert(context)
        contexts.append(context)
    contexts[0].verify_mode = ssl.CERT_OPTIONAL
    authority.configure_trust(contexts[0])
    mine = authority.issue_cert("client.test")
    key = pems.load_pem_private_key(mine.private_key_pem.bytes(), None).private_bytes(
        pems.Encoding.PEM,
        pems.PrivateFormat.PKCS8,
        pems.BestAvailableEncryption(PLANTED["certificate"].encode()),
    )
    cert = folder / "client.pem"
    cert.write_bytes(key + mine.cert_chain_pems[0].bytes())
    return contexts[0], contexts[1], pem(folder, "ca.pem", authority.cert_pem), str(cert)


# What is kept on purpose, in files for their owner's eyes alone: the store knows the list as it is.
EXEMPT = {"cookies.json": {"cookie"}, "token.json": {"access", "refresh"}, "state.db": {"row"}}


def leaks(found: Iterator[tuple[str, bytes]]) -> list[str]:
    """Where which secret stands in which form, but where it must."""
    told = []
    for where, data in found:
        for name, value in PLANTED.items():
            if name not in EXEMPT.get(Path(where).name, ()):
                told += [f"{where}: {name}: {form}" for form in hits(data, value)]
    return told


async def test_no_planted_secret_is_written_anywhere(tmp_path: Path) -> None:
    """Over all commands, with all loggers at DEBUG: none in output, logs, records, store, temporary files or `ps`."""
    planted = Planted(tmp_path)
    tls, wrong, ca, cert = keys(tmp_path)
    upload = tmp_path / "upload.bin"
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(listening("127.0.0.2", tls, hostile))
        site.answer = answer  # type: ignore[assignment]
        idp = await stack.enter_async_context(listening("127.0.0.3", tls))
        idp.answer = endpoint
        bad = await stack.enter_async_context(listening("127.0.0.5", wrong))
        proxy = await stack.enter_async_context(listening("127.0.0.4", None, Proxying(site.place)))
        names = [*OF_HOST, "elsewhere"]
        pins = {f"{name}.test:443": site.place for name in names}
        pins |= {"idp.test:443": idp.place, "wrong-name.test:443": bad.place}
        pins["refused.test:443"] = f"127.0.0.1:{free_port()}"
        secret_url = f"http://me:{quote(PLANTED['proxyurl'], safe='')}@{proxy.place}"
        planted.environment["PLANTED_PROXY_URL"] = secret_url
        text = b"\n".join(row.encode() if isinstance(row, str) else orjson.dumps(row) for row in rows(upload))
        (tmp_path / "job" / "rows.jsonl").write_bytes(text)
        path = tmp_path / "job" / "hunt.json"
        path.write_bytes(orjson.dumps(job(tmp_path, pins, f"http://{proxy.place}", ca, cert)))
        await commands(planted, str(path))
    records = [
        orjson.loads(line)
        for file in (tmp_path / "out").rglob("records.jsonl")
        for line in file.read_bytes().splitlines()
    ]
    assert_provoked(records, site, idp, proxy)
    found = [*planted.written(), *(("ps", command) for command in planted.commands)]
    found += [(f"printed by command {number}", said) for number, said in enumerate(planted.said)]
    assert leaks(iter(found)) == []
    for name in EXEMPT:
        files = list((tmp_path / "out").rglob(name))
        assert files
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}, name
    assert not list((tmp_path / "tmp").iterdir())


async def test_a_secret_in_place_of_a_reference_is_not_shown(tmp_path: Path) -> None:
    """Who writes the secret itself into a job is told so, without any of it."""
    planted = Planted(tmp_path)
    value = PLANTED["basic"]
    auth = {"type": "basic", "hosts": ["a.test"], "user": "me", "password": "env:PLANTED_BASIC"}
    wrong: list[dict[str, Any]] = [
        {"auth": {"a": {**auth, "password": value}}},
        {"auth": {"a": {**auth, "password": f"evn:{value}"}}},
        {"auth": {"a": {**auth, "pasword": value}}},
        {"auth": {"a": {**auth, "password": {"value": value}}}},
        {"auth": {"a": {**auth, "password": [value]}}},
        {"auth": {"a": {"type": "key", "hosts": ["a.test"], "headers": {"X-Key": value}}}},
        {"connection": {"proxy": f"http://me:{quote(value, safe='')}@127.0.0.1:3128"}},
        {"connection": {"proxy": f"http://me:{value}@127.0.0.1:3128"}},
        {"connection": {"proxy": {"url": "http://127.0.0.1:3128", "user": "me", "password": value}}},
        {"connection": {"client_cert": {"cert": "a.pem", "password": value}}},
    ]
    for number, said in enumerate(wrong):
        path = tmp_path / "job" / f"{number}.json"
        path.write_bytes(orjson.dumps({"name": "wrong", "input": {"urls": ["https://a.test/"]}, **said}))
        for command in ("check", "run", "status"):
            await planted.command(command, str(path), codes=(2,))
        path.with_suffix(".toml").write_text(f'name = "wrong"\n[auth.a]\npassword = "{value}\n')
        await planted.command("check", str(path.with_suffix(".toml")), codes=(2,))
    assert leaks(("printed", said) for said in planted.said) == []


async def commands(planted: Planted, path: str) -> None:
    """Each command that has to do with a job."""
    await planted.command("check", path)
    for name in OF_HOST:
        await planted.command("check", path, "--for", f"https://{name}.test/")
    await planted.command("plan", path)
    await planted.command("plan", path, "--json")
    await planted.command("run", path, "--log-format", "json")
    await planted.command("status", path)
    await planted.command("status", path, "--json")
    await planted.command("retry", path, "--log-format", "text", "--set", "retry.attempts=1")
    said = ["auth.a.type=bearer", "auth.a.token=env:PLANTED_BEARER", 'auth.a.hosts=["bearer.test"]']
    sets = [part for one in said for part in ("--set", one)]
    await planted.command(
        "fetch", "https://bearer.test/ok", *sets, "--save-job", str(planted.folder / "out/saved.toml")
    )


def assert_provoked(records: list[dict[str, Any]], site: Listener, idp: Listener, proxy: Listener) -> None:
    """The run was as bad as it was meant to be, and secrets did go out."""
    reasons = {record["reason"] for record in records}
    assert reasons >= {
        None,
        "auth-rejected",
        "bad-input",
        "bad-redirect",
        "blocked-scheme",
        "connect-refused",
        "connection-reset",
        "proxy-auth",
        "read-timeout",
        "redirect-loop",
        "status-500",
        "tls-hostname",
        "unexpected-content",
        "upload-unreadable",
    }, reasons
    for name, sent in (("bearer", site), ("session", site), ("cookie", site), ("access", site), ("proxy", proxy)):
        assert hits("\n".join(sent.heads).encode(), PLANTED[name]), name
    assert hits("\n".join(idp.heads).encode(), PLANTED["client"])
    assert sum("***" in orjson.dumps(record).decode() for record in records) > 100
