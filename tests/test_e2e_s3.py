"""S3 end to end: AWS's published vectors, moto, s3rver, and a site that checks signatures as AWS's documents say.

What each peer proves: moto (its authentication switched on) checks the signature of a head, by botocore; s3rver checks
the key's name and the clock of SigV4, not the signature ("Signature version 4 calculation is unimplemented"), and
stores streamed pieces as they came off the wire; our own site shares no code with botocore and checks every signature.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.parser import Parser
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import aiohttp
import orjson
import pytest
from multidict import CIMultiDict
from yarl import URL

from crawler.auth.scheme import AGAIN, FINE, Answered, Draft, Judgement, Step
from crawler.auth.sigv4 import Keys, Settings, SigV4
from tests.motoserver import moto_server
from tests.peers import running
from tests.servers import free_port
from tests.test_auth_sigv4 import Verifier, dated

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

GIB = 1 << 30
MIB = 1 << 20
MOST = 150_000_000  # bytes that an upload may take
S3RVER = Keys("S3RVER", "S3RVER")
RNG = Random(1)
VECTORS = 34


class Server(NamedTuple):
    """A running S3 server with the bucket `files`; `folder` where it keeps objects, if on disk."""

    url: str
    keys: Keys
    folder: Path | None = None

    def object(self, key: str) -> str:
        return f"{self.url}/files/{key}"


@pytest.fixture(scope="session")
def vectors(pytestconfig: pytest.Config) -> Path:
    """AWS's test-suite out of botocore's source distribution, of the version that signs here; kept between runs."""
    wanted = f"botocore=={version('botocore')}"
    assert pytestconfig.cache is not None
    folder = pytestconfig.cache.mkdir(wanted.replace("==", "-"))
    if found := sorted(folder.glob("*/tests/unit/auth/aws4_testsuite")):
        return found[0]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", wanted]
    done = subprocess.run([*command, "--dest", folder], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, f"{wanted} cannot be had: {done.stderr[-2000:]}"
    with tarfile.open(next(folder.glob("botocore-*.tar.gz"))) as archive:
        inside = [member for member in archive.getmembers() if "/aws4_testsuite/" in member.name]
        archive.extractall(folder, inside, filter="data")
    return next(folder.glob("*/tests/unit/auth/aws4_testsuite"))


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where s3rver is: CRAWLER_NODE_MODULES, else it is installed."""
    if given := os.environ.get("CRAWLER_NODE_MODULES"):
        if given == "none":
            pytest.skip("npm's registry is out of reach (.ci/run)")
        assert (Path(given) / "s3rver").is_dir(), f"there is no s3rver in CRAWLER_NODE_MODULES={given}"
        return Path(given)
    folder = tmp_path_factory.mktemp("npm")
    command = ["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--loglevel=error", "s3rver@3.7.1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"s3rver cannot be installed: {done.stderr[-2000:]}"
    return folder / "node_modules"


@pytest.fixture
def s3rver(node_modules: Path, tmp_path: Path) -> Iterator[Server]:
    folder, port = tmp_path / "s3rver", free_port()
    program = str(node_modules / "s3rver/bin/s3rver.js")
    where = ["-d", str(folder), "-a", "127.0.0.1", "-p", str(port), "--silent"]
    with running(
        ["node", program, *where, "--no-vhost-buckets", "--configure-bucket", "files"],
        [port],
        tmp_path / "s3rver.log",
        patience=60,
    ):
        yield Server(f"http://127.0.0.1:{port}", S3RVER, folder)
    shutil.rmtree(folder)


@pytest.fixture
def moto(tmp_path: Path) -> Iterator[Server]:
    """With one user who may do everything."""
    with moto_server(tmp_path) as made:
        yield Server(made.url, Keys(made.access_key, made.secret_key))


class Site:
    """Takes PUT and GET of a few objects, and only with the right signature; bodies are hashed, not kept."""

    def __init__(self, keys: Keys) -> None:
        self.verifier = Verifier(keys)
        self.url = ""
        self.hashes: dict[str, str] = {}  # by path
        self.heads: list[str] = []
        self.ahead = 0.0  # seconds that its clock is ahead of ours
        self.tells = True  # and its Date says so
        self.busy = False  # it answers 503 to whatever it sees for the first time

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                status, body = await self._one(head.decode("latin-1"), reader)
                date = dated(time.time() + (self.ahead if self.tells else self.ahead / 2))
                lines = [f"HTTP/1.1 {status} Whatever", f"Date: {date}", f"Content-Length: {len(body)}"]
                lines += ["Location: /b/there?x=1"] if status == 302 else []
                writer.write("\r\n".join([*lines, "", ""]).encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _one(self, head: str, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        line, _, rest = head.partition("\r\n")
        method, target, _ = line.split(" ")
        new = not any(seen.startswith(f"{line}\r\n") for seen in self.heads)
        self.heads.append(head)
        headers = CIMultiDict(Parser().parsestr(rest).items())
        if "X-Amz-Signature=" not in target and "authorization" not in headers:
            return 403, b"<Error><Code>AccessDenied</Code><Message>Anonymous</Message></Error>"
        sent, right = self.verifier.head(method, target, headers)
        hashed = await self._body(reader, headers, right)
        said = headers.get("x-amz-content-sha256", "")
        if sent != right or (len(said) == 64 and said != hashed) or not hashed:
            return 403, b"<Error><Code>SignatureDoesNotMatch</Code><Message>It does not match.</Message></Error>"
        stamp = re.search("[0-9]{8}T[0-9]{6}Z", headers.get("x-amz-date", target))
        assert stamp is not None
        signed_at = datetime.strptime(stamp[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        if abs(signed_at - time.time() - self.ahead) > 300:
            return 403, b"<Error><Code>RequestTimeTooSkewed</Code><Message>Too far apart.</Message></Error>"
        if new and self.busy:
            return 503, b"<Error><Code>SlowDown</Code></Error>"
        if method == "PUT":
            self.hashes[target.partition("?")[0]] = hashed
        return 302 if target == "/b/moved" else 200, b"content"

    async def _body(self, reader: asyncio.StreamReader, headers: CIMultiDict[str], seed: str) -> str:
        """The SHA-256 of the body; "" where the signature of a piece is not the right one."""
        whole, left = hashlib.sha256(), int(headers.get("content-length", "0"))
        if not headers.get("x-amz-content-sha256", "").startswith("STREAMING"):
            while left:
                data = await reader.readexactly(min(left, 65536))
                whole.update(data)
                left -= len(data)
            return whole.hexdigest()
        scope = re.search(r"Credential=[^/]+/(\S+?),", headers["authorization"])
        assert scope is not None
        size, before, good = 1, seed, True
        while size:
            line = await reader.readuntil(b"\r\n")
            text, _, sent = line.strip().partition(b";chunk-signature=")
            size = int(text, 16)
            data = (await reader.readexactly(size + 2))[:-2]
            whole.update(data)
            left -= len(line) + size + 2
            before = self.verifier.chunk(data, before, headers["x-amz-date"], scope[1])
            good = good and sent.decode() == before
        assert left == 0
        return whole.hexdigest() if good else ""


@asynccontextmanager
async def checking_site(keys: Keys) -> AsyncIterator[Site]:
    site = Site(keys)
    server = await asyncio.start_server(site.answer, "127.0.0.1", 0, limit=1 << 18)
    site.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield site


class Heard(NamedTuple):
    status: int
    body: bytes
    judgement: Judgement


async def send(
    scheme: SigV4, method: str, url: str, body: bytes = b"", *, now: float | None = None, round: int = 0
) -> Heard:
    """One request, signed by the scheme alone, its pieces framed, and what the scheme makes of the answer."""
    now = time.time() if now is None else now
    made = Draft(method, url, {}, {"sha256": hashlib.sha256(body).digest()}, len(body), round)
    signed = scheme.sign(made, now, RNG)
    data = body
    if signed.framing is not None:
        pieces = [body[start : start + signed.piece] for start in range(0, len(body), signed.piece)]
        data = b"".join(map(signed.framing.frame, [*pieces, b""]))
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30)) as session,
        session.request(
            method, URL(signed.url or url, encoded=True), headers=signed.headers, data=data or None
        ) as response,
    ):
        answer = await response.read()
        answered = Answered(response.status, response.headers, (), answer[:1024])
        return Heard(response.status, answer, scheme.accept(made, signed, answered, now))


def requests_of(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.req"))


def vector_draft(text: str) -> Draft:
    """The request of a vector as a draft; raw text stays in the path, and dots, which our own URLs cannot hold."""
    head, _, body = text.partition("\n\n")
    line, _, lines = head.partition("\n")
    method, _, target = line.removesuffix(" HTTP/1.1").partition(" ")
    headers = CIMultiDict(Parser().parsestr(lines).items())
    url = f"https://{headers.pop('Host')}{target}"
    for name in ("X-Amz-Date", "X-Amz-Security-Token"):
        headers.popall(name, None)  # ours to say
    return Draft(method, url, headers, {"sha256": hashlib.sha256(body.encode()).digest()}, len(body))


def test_every_published_vector_gets_its_signature(vectors: Path) -> None:
    """All 34 .req lead to their .authz, those four too that botocore's own tests leave out (repeated names of a query,
    a blank in the path).
    """
    files = requests_of(vectors)
    assert len(files) == VECTORS
    wrong = []
    for file in files:
        token = re.search("^x-amz-security-token:(.*)$", file.with_suffix(".creq").read_text(), re.MULTILINE)
        keys = Keys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token[1] if token else None)
        scheme = SigV4(Settings("us-east-1", "service"), keys)
        signed = scheme.sign(vector_draft(file.read_text()), 1440938160.0, RNG)  # 20150830T123600Z
        if signed.headers["Authorization"] != file.with_suffix(".authz").read_text().strip():
            wrong.append(file.stem)
    assert wrong == []


@pytest.mark.parametrize("form", ["header", "query"])
@pytest.mark.parametrize("payload", ["signed", "unsigned"])
async def test_s3rver_takes_what_is_signed(s3rver: Server, form: Any, payload: Any) -> None:
    """An upload and a download in the header and in the query; without the key's name there is no way in."""
    scheme = SigV4(Settings("us-east-1", form=form, payload=payload), s3rver.keys)
    body = bytes(range(256)) * 1000
    heard = await send(scheme, "PUT", s3rver.object("a b/(1)=é.bin"), body)
    assert (heard.status, heard.judgement) == (200, FINE)
    heard = await send(scheme, "GET", s3rver.object("a%20b/(1)=%C3%A9.bin"))
    assert (heard.status, heard.body) == (200, body)
    unknown = SigV4(Settings("us-east-1", form=form, payload=payload), Keys("AKIAUNKNOWN", "x"))
    heard = await send(unknown, "GET", s3rver.object("x"))
    assert heard.status == 403
    assert heard.judgement.step is Step.REJECTED
    assert "InvalidAccessKeyId" in heard.judgement.error
    assert "AKIAUNKNOWN" not in heard.judgement.error


async def test_the_pieces_on_the_wire_are_those_that_were_signed(s3rver: Server) -> None:
    """s3rver keeps a streamed body as it came: each piece in it bears the signature that a verifier works out."""
    scheme = SigV4(Settings("us-east-1", payload="streaming"), s3rver.keys)
    body, now = bytes(range(256)) * 1000, time.time()
    made = Draft("PUT", s3rver.object("pieces"), {}, {}, len(body))
    headers = CIMultiDict(scheme.sign(made, now, RNG).headers)
    assert (await send(scheme, "PUT", made.url, body, now=now)).status == 200
    stored = (await send(scheme, "GET", made.url)).body
    assert Verifier(s3rver.keys).body(stored, headers) == body


@pytest.mark.parametrize("off", [1200.0, -1200.0])
async def test_s3rver_tells_the_time(s3rver: Server, off: float) -> None:
    """With a clock twenty minutes off the first answer is a refusal, and the second try is by the server's time."""
    scheme = SigV4(Settings("us-east-1"), s3rver.keys)
    now = time.time() + off
    heard = await send(scheme, "PUT", s3rver.object("clock"), b"x", now=now)
    assert (heard.status, heard.judgement) == (403, AGAIN)
    heard = await send(scheme, "PUT", s3rver.object("clock"), b"x", now=now, round=1)
    assert (heard.status, heard.judgement) == (200, FINE)


@pytest.mark.parametrize("payload", ["signed", "unsigned", "streaming"])
async def test_moto_takes_the_right_signature_and_no_other(moto: Server, payload: Any) -> None:
    """Its checks being on: up and down; a wrong secret is SignatureDoesNotMatch, a wrong name InvalidAccessKeyId."""
    scheme = SigV4(Settings("us-east-1", payload=payload), moto.keys)
    body = bytes(range(256)) * 1000
    heard = await send(scheme, "PUT", moto.object("dir/(1)=x.bin"), body)
    assert (heard.status, heard.judgement) == (200, FINE)
    heard = await send(scheme, "GET", moto.object("dir%2F(1)=x.bin"))
    assert (heard.status, heard.body) == (200, body)
    for keys, code in (
        (moto.keys._replace(secret_key="wrong"), "SignatureDoesNotMatch"),
        (Keys("AKIAUNKNOWN", "x"), "InvalidAccessKeyId"),
    ):
        heard = await send(SigV4(Settings("us-east-1", payload=payload), keys), "GET", moto.object("x"))
        assert heard.judgement.step is Step.REJECTED
        assert code in heard.judgement.error
        assert keys.access_key not in heard.judgement.error


@pytest.mark.parametrize("form", ["header", "query"])
@pytest.mark.parametrize("payload", ["signed", "unsigned", "streaming"])
async def test_a_verifier_of_another_make_takes_what_is_signed(form: Any, payload: Any) -> None:
    """Written from AWS's documents alone: every signature on the wire is right, and none of a wrong secret is."""
    keys, settings = Keys("AKIAME", "secret", "to/ken"), Settings("eu-west-1", form=form, payload=payload)
    body = bytes(range(256)) * 1000
    async with checking_site(keys) as site:
        for url in (f"{site.url}/b/(1)=x?tag=a&tag=b+c", f"{site.url}/b/empty"):
            sent = b"" if url.endswith("empty") else body
            heard = await send(SigV4(settings, keys), "PUT", url, sent)
            assert (heard.status, heard.judgement) == (200, FINE)
            assert hashlib.sha256(sent).hexdigest() in site.hashes.values()
        wrong = SigV4(settings, keys._replace(secret_key="wrong"))
        assert (await send(wrong, "PUT", url, body)).judgement.step is Step.REJECTED


# From here on: jobs, run by the command.


def write_job(folder: Path, rows: list[dict[str, object]], **auth: object) -> Path:
    """A job of these rows in a folder of its own, signed by [auth.s3]; its keys stand in the environment."""
    folder.mkdir(exist_ok=True)
    (folder / "rows.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    said = {
        "type": "sigv4",
        "hosts": ["127.0.0.1"],
        "region": "us-east-1",
        "access_key": "env:S3_KEY",
        "secret_key": "env:S3_SECRET",
        **auth,
    }
    lines = "".join(f"{key} = {orjson.dumps(value).decode()}\n" for key, value in said.items() if value is not None)
    job = folder / "s3.toml"
    job.write_text(
        f'name = "s3"\n[input]\nfiles = ["rows.jsonl"]\n[output]\ndir = "{folder}/out"\nlayout = "mirror"\n'
        f"[auth.s3]\n{lines}"
    )
    return job


def put(url: str, file: Path) -> dict[str, object]:
    """A row that uploads a file."""
    return {"method": "PUT", "url": url, "body_file": str(file)}


def environment(keys: Keys) -> dict[str, str]:
    return {**os.environ, "S3_KEY": keys.access_key, "S3_SECRET": keys.secret_key, "S3_TOKEN": keys.session_token or ""}


async def run(job: Path, keys: Keys, **more: str) -> int:
    """The exit code of `crawler run`; the loop goes on, since a site may run in it."""
    command = [sys.executable, "-m", "crawler", "run", str(job), "--quiet"]
    process = await asyncio.create_subprocess_exec(*command, env={**environment(keys), **more})
    return await asyncio.wait_for(process.wait(), 300)


def records_of(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "out/s3/latest/records.jsonl").read_bytes().splitlines()
    return sorted(map(orjson.loads, lines), key=lambda record: record["id"])


def written(folder: Path) -> bytes:
    """All that the runs left on disk, beside the bodies."""
    return b"".join(
        file.read_bytes() for file in (folder / "out").rglob("*") if file.is_file() and "bodies" not in file.parts
    )


@pytest.mark.parametrize("payload", ["signed", "unsigned", "streaming"])
async def test_a_job_uploads_files_and_another_gets_them(moto: Server, tmp_path: Path, payload: str) -> None:
    """Twenty files go up by rows of {method, body_file, url}; what comes down is what went up."""
    content = {f"{number} (x)=y.bin": Random(number).randbytes(number * 20_000) for number in range(20)}
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    rows: list[dict[str, object]] = [{"method": "PUT", "url": moto.object(name), "body_file": name} for name in content]
    assert await run(write_job(tmp_path, rows, payload=payload), moto.keys) == 0
    assert {record["status"] for record in records_of(tmp_path)} == {200}
    assert await run(write_job(tmp_path, [{"url": moto.object(name)} for name in content]), moto.keys) == 0
    hashes = [record["sha256"] for record in records_of(tmp_path)]
    assert hashes == [hashlib.sha256(data).hexdigest() for data in content.values()]


@pytest.mark.parametrize("form", ["header", "query"])
async def test_a_job_goes_up_and_down_at_s3rver(s3rver: Server, tmp_path: Path, form: str) -> None:
    """In the header and presigned; the signature of a presigned URL is in no file that the run leaves."""
    (tmp_path / "file").write_bytes(b"content")
    up, down = tmp_path / "up", tmp_path / "down"
    assert await run(write_job(up, [put(s3rver.object("k"), tmp_path / "file")], form=form), s3rver.keys) == 0
    assert await run(write_job(down, [{"url": s3rver.object("k")}], form=form), s3rver.keys) == 0
    record = records_of(down)[0]
    assert (record["status"], record["sha256"]) == (200, hashlib.sha256(b"content").hexdigest())
    assert record["final_url"] == s3rver.object("k")
    assert b"X-Amz-Signature" not in written(up) + written(down)


@pytest.mark.parametrize("wrong", ["secret_key", "access_key"])
async def test_a_wrong_key_is_rejected_and_named(moto: Server, tmp_path: Path, wrong: str) -> None:
    """auth-rejected with AWS's own code, once for each row and no retries; no key is in any file."""
    keys = moto.keys._replace(**{wrong: "WRONGVALUE"})
    assert await run(write_job(tmp_path, [{"url": moto.object("x")}]), keys) == 1
    record = records_of(tmp_path)[0]
    code = "SignatureDoesNotMatch" if wrong == "secret_key" else "InvalidAccessKeyId"
    assert (record["reason"], record["attempts"]) == ("auth-rejected", 1)
    assert code in record["error"]
    for secret in ("WRONGVALUE", moto.keys.secret_key):
        assert secret.encode() not in written(tmp_path)


async def peak_of(job: Path, keys: Keys) -> int:
    """The most bytes that `crawler run` had in memory; it has to end well."""
    code = (
        "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
    )
    command = [sys.executable, "-c", code, sys.executable, "-m", "crawler", "run", str(job), "--quiet"]
    process = await asyncio.create_subprocess_exec(*command, env=environment(keys), stdout=subprocess.PIPE)
    out, _ = await asyncio.wait_for(process.communicate(), 300)
    assert process.returncode == 0
    return int(out.split()[-1]) * 1024


def gibibyte(folder: Path) -> Path:
    """A file of zeros that takes no room."""
    path = folder / "big"
    with path.open("wb") as file:
        file.truncate(GIB)
    return path


def hash_of_gibibyte(whole: Any) -> str:
    for _ in range(GIB // MIB):
        whole.update(bytes(MIB))
    return str(whole.hexdigest())


@pytest.mark.parametrize("payload", ["signed", "streaming"])
async def test_a_gibibyte_goes_up_at_constant_memory(tmp_path: Path, payload: str) -> None:
    """The whole process stays below 150 MB, and every signature on the way is right, of each piece too."""
    big, keys = gibibyte(tmp_path), Keys("AKIAME", "secret")
    async with checking_site(keys) as site:
        assert await peak_of(write_job(tmp_path, [put(f"{site.url}/b/big", big)], payload=payload), keys) < MOST
        assert site.hashes == {"/b/big": hash_of_gibibyte(hashlib.sha256())}


async def test_a_gibibyte_goes_up_to_s3rver(s3rver: Server, tmp_path: Path) -> None:
    """Unsigned, in as little memory; it is there whole by the server's own MD5."""
    rows = [put(s3rver.object("big"), gibibyte(tmp_path))]
    assert await peak_of(write_job(tmp_path, rows, payload="unsigned"), s3rver.keys) < MOST
    assert records_of(tmp_path)[0]["etag"].strip('"') == hash_of_gibibyte(hashlib.md5(usedforsecurity=False))


@pytest.mark.parametrize(("form", "payload"), [("header", "signed"), ("header", "streaming"), ("query", "unsigned")])
async def test_what_a_job_puts_on_the_wire_is_what_was_signed(tmp_path: Path, form: str, payload: str) -> None:
    """Head, query and body as a job sends them, by a verifier that knows nothing of botocore: every name goes through,
    and of a wrong secret nothing does.
    """
    keys, names = Keys("AKIAME", "secret", "to/ken"), ["a b", "(1)=x", "é?tag=a&tag=b+c&empty=", "x%2Fy", "!'*~.bin"]
    content = {name: Random(number).randbytes(70_000 * number) for number, name in enumerate(names)}
    said = {"form": form, "payload": payload, "session_token": "env:S3_TOKEN"}
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    async with checking_site(keys) as site:
        rows = []
        for number, (name, data) in enumerate(content.items()):
            (tmp_path / str(number)).write_bytes(data)
            rows.append(put(f"{site.url}/b/{name}", tmp_path / str(number)))
        assert await run(write_job(right, rows, **said), keys) == 0
        expected = sorted(hashlib.sha256(data).hexdigest() for data in content.values())
        assert sorted(site.hashes.values()) == expected
        site.hashes.clear()
        assert await run(write_job(wrong, rows, **said), keys._replace(secret_key="wrong")) == 1
        assert site.hashes == {}
    reasons = [record["reason"] for record in records_of(wrong)]
    assert reasons == ["auth-rejected"] * len(rows)
    assert b"to/ken" not in written(right) + written(wrong)


def dates_of(site: Site) -> dict[str, list[str]]:
    """The times with which the requests of each request line were signed."""
    found: dict[str, list[str]] = {}
    for head in site.heads:
        date = re.search("x-amz-date: ([0-9TZ]+)", head, re.IGNORECASE)
        found.setdefault(head.partition("\r\n")[0], []).append(date[1] if date else "")
    return found


async def test_every_attempt_and_every_hop_is_signed_anew(tmp_path: Path) -> None:
    """A second attempt bears a later time, a redirect the signature of where it leads; no token is in any file."""
    keys = Keys("AKIAME", "secret", "to/ken")
    async with checking_site(keys) as site:
        site.busy = True
        job = write_job(
            tmp_path, [{"url": f"{site.url}/b/{name}"} for name in (1, 2, "moved")], session_token="env:S3_TOKEN"
        )
        job.write_text(job.read_text() + '[retry]\nbackoff = { initial = "1.5s", jitter = "none" }\n')
        assert await run(job, keys) == 0
        dates = dates_of(site)
    assert sorted(line.split()[1] for line in dates) == ["/b/1", "/b/2", "/b/moved", "/b/there?x=1"]
    assert all(len(times) == 2 and times[0] < times[1] for line, times in dates.items() if "moved" not in line)
    assert b"to/ken" not in written(tmp_path)


@pytest.mark.parametrize("ahead", [1200.0, -1200.0])
async def test_a_clock_that_is_off_is_corrected_in_a_run(tmp_path: Path, ahead: float) -> None:
    """Twenty minutes between the clocks: refused once, learned, and all arrive, each in one attempt."""
    keys = Keys("AKIAME", "secret")
    (tmp_path / "file").write_bytes(b"content")
    async with checking_site(keys) as site:
        site.ahead = ahead
        job = write_job(tmp_path, [put(f"{site.url}/b/{number}", tmp_path / "file") for number in range(200)])
        job.write_text(job.read_text() + "[limits]\nper_host = 4\n")
        assert await run(job, keys) == 0
        assert len(site.hashes) == 200
        assert len(site.heads) <= 204  # of each connection the first
    assert {(record["status"], record["attempts"]) for record in records_of(tmp_path)} == {(200, 1)}


async def test_a_clock_that_cannot_be_corrected_is_named(tmp_path: Path) -> None:
    """The Date tells half the difference only: auth-clock, with the gap that was seen, and no endless trying."""
    keys = Keys("AKIAME", "secret")
    async with checking_site(keys) as site:
        site.ahead, site.tells = 2400.0, False
        assert await run(write_job(tmp_path, [{"url": f"{site.url}/b/k"}]), keys) == 1
        assert len(site.heads) == 2
    record = records_of(tmp_path)[0]
    assert (record["reason"], record["attempts"]) == ("auth-clock", 1)
    assert "our clock is 20 minutes behind" in record["error"]


async def test_keys_come_from_a_profile(s3rver: Server, tmp_path: Path) -> None:
    """No key in the job: botocore's chain finds the profile that the job names."""
    (tmp_path / "credentials").write_text("[up]\naws_access_key_id=S3RVER\naws_secret_access_key=S3RVER\n")
    (tmp_path / "file").write_bytes(b"content")
    rows = [put(s3rver.object("k"), tmp_path / "file")]
    job = write_job(tmp_path, rows, access_key=None, secret_key=None, profile="up")
    chain = {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"), "AWS_EC2_METADATA_DISABLED": "true"}
    assert await run(job, s3rver.keys, **chain) == 0
    assert records_of(tmp_path)[0]["status"] == 200


async def test_no_keys_anywhere_is_said_by_where_they_were_looked_for(s3rver: Server, tmp_path: Path) -> None:
    """auth-unavailable: the profile is named in the sentence, and nothing goes to the server unsigned."""
    job = write_job(tmp_path, [{"url": s3rver.object("k")}], access_key=None, secret_key=None, profile="nobody")
    job.write_text(job.read_text() + "[retry]\nattempts = 1\n")
    assert await run(job, s3rver.keys, AWS_EC2_METADATA_DISABLED="true", AWS_CONFIG_FILE=str(tmp_path / "none")) == 1
    record = records_of(tmp_path)[0]
    assert record["reason"] == "auth-unavailable"
    assert "'nobody'" in record["error"]
