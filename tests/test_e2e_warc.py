"""WARC, judged by pywb: python3-doc is crawled from nginx and replayed from our files, by our index and by its own.

pywb lives in an environment of its own, since it pins what we need newer: CRAWLER_PYWB names one ("none": there is
none), else it is made.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from hashlib import sha256
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from crawler.sinks.warc import INDEX
from crawler.warccheck import check
from tests.chaos.warcs import members
from tests.jobs import Results, run
from tests.peers import LOOPBACK, running
from tests.servers import Asked, Nginx, RawSite, free_port, raw_site

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

DOCS = Path("/usr/share/doc/python3.11/html")
PACKAGES = ("pywb==2.10.0", "cdxj-indexer==1.5.0", "setuptools<81")
# All that can be is compressed on the fly; some pages have moved, some have a second name.
EXTRA = f"""
gzip on;
gzip_min_length 0;
gzip_types *;
location /moved/ {{ rewrite ^/moved/(.*)$ /$1 permanent; }}
location /lent/ {{ rewrite ^/lent/(.*)$ /$1 redirect; }}
location /twin/ {{ alias {DOCS}/; }}
"""
AT_ONCE = 8  # connections to pywb, of which each waits 40 ms now and then for an acknowledgement


class Row(NamedTuple):
    """A line of an index."""

    key: str
    moment: str
    fields: dict[str, str]


class Answered(NamedTuple):
    """An answer as nginx or pywb gave it; the body decoded."""

    status: int
    media_type: str | None
    location: str | None
    body: bytes


def ask(port: int, targets: Sequence[str]) -> list[Answered]:
    """The answers of a server on loopback to a GET of each, over several connections, uncompressed if it can."""

    def share(n: int) -> list[Answered]:
        with closing(HTTPConnection(LOOPBACK, port, timeout=30)) as connection:
            return [_ask(connection, target) for target in targets[n::AT_ONCE]]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        shares = list(pool.map(share, range(AT_ONCE)))
    return [shares[n % AT_ONCE][n // AT_ONCE] for n in range(len(targets))]


def _ask(connection: HTTPConnection, target: str) -> Answered:
    connection.request("GET", target)
    answer = connection.getresponse()
    body = answer.read()
    if answer.getheader("Content-Encoding") == "gzip":
        body = zlib.decompress(body, wbits=31)
    return Answered(answer.status, answer.getheader("Content-Type"), answer.getheader("Location"), body)


def rows_of(text: bytes) -> list[Row]:
    """The lines of a CDXJ file, in an order that depends on nobody's way of writing JSON."""
    parts = [line.split(" ", 2) for line in text.decode().splitlines()]
    rows = [Row(key, moment, json.loads(fields)) for key, moment, fields in parts]
    return sorted(rows, key=lambda row: (row.key, row.moment, row.fields["filename"], int(row.fields["offset"])))


class Pywb:
    """pywb's programs."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs

    def command(self, folder: Path, program: str, *arguments: str | Path) -> bytes:
        """What a program printed; it must not fail."""
        command = [self._programs / program, *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
        return done.stdout

    def collect(self, folder: Path, warc: Path) -> list[Row]:
        """Make the collections `ours`, of our files and index, and `theirs`; the rows of their index."""
        folder.mkdir()
        places = {"index_paths": str(warc / "index.cdxj"), "archive_paths": f"{warc}/"}
        (folder / "config.yaml").write_text(json.dumps({"collections": {"ours": places}}))
        self.command(folder, "wb-manager", "init", "theirs")
        self.command(folder, "wb-manager", "add", "theirs", *sorted(warc.glob("*.warc.gz")))
        return rows_of((folder / "collections/theirs/indexes/index.cdxj").read_bytes())

    def replay(self, folder: Path, collection: str, rows: Sequence[Row]) -> list[Answered]:
        """What was captured at these moments, as it was: nothing is rewritten for browsers."""
        port = free_port()
        command = [str(self._programs / "wayback"), "-b", LOOPBACK, "-p", str(port), "-d", str(folder)]
        with running(command, [port], folder / "wayback.log"):
            return ask(port, [f"/{collection}/{row.moment}id_/{row.fields['url']}" for row in rows])


@pytest.fixture(scope="session")
def pywb(tmp_path_factory: pytest.TempPathFactory) -> Pywb:
    """CRAWLER_PYWB, else it is installed."""
    given = os.environ.get("CRAWLER_PYWB")
    if given == "none":
        pytest.skip("the index of packages is out of reach (.ci/run)")
    if given:
        return Pywb(Path(given) / "bin")
    programs = tmp_path_factory.mktemp("pywb") / "bin"
    subprocess.run([sys.executable, "-m", "venv", programs.parent], check=True, timeout=120)
    done = subprocess.run([programs / "pip", "install", "--quiet", *PACKAGES], capture_output=True, timeout=600)
    if done.returncode:
        pytest.skip(f"pywb cannot be installed: {done.stderr.decode(errors='replace')[-500:]}")
    return Pywb(programs)


class Crawl(NamedTuple):
    """A finished crawl into WARC; `paths` are those of its input."""

    site: Nginx
    paths: list[str]
    run: Path
    code: int

    @property
    def warc(self) -> Path:
        return self.run / "warc"

    @property
    def rows(self) -> list[Row]:
        """Our index."""
        return rows_of((self.run / INDEX).read_bytes())


def crawl(folder: Path, site: Nginx, paths: list[str], **request: Any) -> Crawl:
    """Fetch these paths into WARC files of some MiB."""
    folder.mkdir()
    job = {
        "name": "docs",
        "input": {"urls": [site.url + path for path in paths]},
        "request": request,
        "limits": {"per_host": 32, "adaptive": False},
        "output": {"dir": str(folder / "out"), "bodies": ["warc"], "segment_size": "4MiB"},
    }
    (folder / "job.json").write_text(json.dumps(job))
    command = [sys.executable, "-m", "crawler", "run", folder / "job.json", "--quiet"]
    code = subprocess.run(command, timeout=300, stderr=subprocess.DEVNULL).returncode
    return Crawl(site, paths, (folder / "out/docs/latest").resolve(), code)


PAGES = ["/" + quote(str(file.relative_to(DOCS))) for file in sorted(DOCS.rglob("*")) if file.is_file()]
MOVED = [f"/{place}{page}" for place in ("moved", "lent") for page in PAGES[100:110]]
TWINS = [f"/twin{page}" for page in PAGES[200:230]]
MISSING = [f"/missing/{n}.html" for n in range(20)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crawl]:
    """The whole tree, with pages that have moved, have a second name or are missing."""
    folder = tmp_path_factory.mktemp("whole")
    folder.chmod(0o755)
    with Nginx(DOCS, folder / "nginx", extra=EXTRA) as site:
        yield crawl(folder / "job", site, [*PAGES, *MOVED, *TWINS, *MISSING])


def test_pywb_replays_every_page_as_it_was(
    whole: Crawl, pywb: Pywb, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By our index and by its own: each page equals its file, redirects and missing pages are what they were."""
    assert len(PAGES) > 1000
    assert whole.code == 1  # pages are missing
    files = sorted(whole.warc.glob("*.warc.gz"))
    assert len(files) > 2
    theirs = pywb.collect(tmp_path / "wb", whole.warc)
    # What a redirect leads to is captured once more.
    urls = Counter(row.fields["url"].removeprefix(whole.site.url) for row in whole.rows)
    assert urls == Counter([*whole.paths, *(path.removeprefix("/moved").removeprefix("/lent") for path in MOVED)])
    originals = dict(zip(whole.paths, ask(whole.site.port, whole.paths), strict=True))
    assert all(originals[page].body == (DOCS / page[1:]).read_bytes() for page in PAGES if "%" not in page)
    assert Counter(answer.status for answer in originals.values()) == {200: len(PAGES) + 30, 301: 10, 302: 10, 404: 20}
    for name, rows in (("ours", whole.rows), ("theirs", theirs)):
        began = time.monotonic()
        replayed = pywb.replay(tmp_path / "wb", name, rows)
        seconds = time.monotonic() - began
        for row, answer in zip(rows, replayed, strict=True):
            assert answer == originals[row.fields["url"].removeprefix(whole.site.url)], row
        with capsys.disabled():
            size = sum(len(answer.body) for answer in replayed)
            print(f"\n{name}: {len(rows)} captures replayed as they were, {size:,} bytes in {seconds:.1f} s")


def test_what_is_kept_compressed_is_replayed_as_well(pywb: Pywb, tmp_path: Path) -> None:
    """Bodies that are kept as they came are decoded by the one who asks pywb for them."""
    tmp_path.chmod(0o755)
    paths = [*PAGES[:150], *TWINS[:5], *MOVED[:5]]
    with Nginx(DOCS, tmp_path / "nginx", extra=EXTRA) as site:
        done = crawl(tmp_path / "job", site, paths, decompress=False)
        originals = dict(zip(paths, ask(site.port, paths), strict=True))
    assert done.code == 0
    pywb.collect(tmp_path / "wb", done.warc)
    rows = [row for row in done.rows if row.fields["url"].removeprefix(site.url) in originals]
    assert {row.fields["url"] for row in rows} == {site.url + path for path in paths}
    for row, answer in zip(rows, pywb.replay(tmp_path / "wb", "ours", rows), strict=True):
        assert answer == originals[row.fields["url"].removeprefix(site.url)], row
    assert b"Content-Encoding: gzip" in b"".join(map(gunzip, done.warc.glob("*.warc.gz")))


def gunzip(path: Path) -> bytes:
    """What gzip makes of a file."""
    return subprocess.run(["gzip", "-dc", path], capture_output=True, check=True, timeout=60).stdout


@pytest.mark.parametrize("program", ["cdxj-indexer", "cdx-indexer"])
def test_other_indexers_find_what_ours_found(whole: Crawl, pywb: Pywb, tmp_path: Path, program: str) -> None:
    """Each line is theirs: key, moment, URL, media type, status, digest, and where the record is."""
    files = sorted(whole.warc.glob("*.warc.gz"))
    # One writes an older form unless it is told, and one has the status of a revisit, too.
    theirs = rows_of(pywb.command(tmp_path, program, *(["-j"] if program == "cdx-indexer" else []), *files))
    revisits = [row for row in theirs if row.fields["mime"] == "warc/revisit"]
    assert len(revisits) >= 20
    assert {row.fields.pop("status", "200") for row in revisits} == {"200"}
    assert theirs == whole.rows


# -- hostile answers, by four readers --------------------------------------------------------------------------------


class Record(NamedTuple):
    """A record as a reader gives it back; of an HTTP message `payload` is what stands behind its head."""

    kind: str
    url: str | None
    payload: str  # its sha256


def by_warcio(path: Path) -> list[Record]:
    """warcio, which compares digests."""
    from warcio.archiveiterator import ArchiveIterator  # type: ignore[import-untyped]

    with path.open("rb") as file:
        return [
            Record(
                record.rec_type,
                record.rec_headers.get_header("WARC-Target-URI"),
                sha256(record.raw_stream.read()).hexdigest(),
            )
            for record in ArchiveIterator(file, check_digests="raise")
        ]


def by_fastwarc(path: Path) -> list[Record]:
    """FastWARC, which is asked to compare digests."""
    from fastwarc.warc import ArchiveIterator

    found = []
    with path.open("rb") as file:
        for record in ArchiveIterator(file, parse_http=False):
            headers = dict(record.headers)
            assert record.verify_block_digest(), headers
            if record.is_http:
                record.parse_http()
                told = "WARC-Payload-Digest" in headers and headers["WARC-Type"] != "revisit"
                assert not told or record.verify_payload_digest(), headers
            payload = sha256(record.reader.read()).hexdigest()
            found.append(Record(headers["WARC-Type"], headers.get("WARC-Target-URI"), payload))
    return found


def by_hand(path: Path) -> list[Record]:
    """The strict reader of the chaos tests; digests are compared here."""
    found = []
    for one in members(path.read_bytes()):
        assert one.header["warc-block-digest"] == f"sha256:{sha256(one.block).hexdigest()}", one.header
        http = one.header["content-type"].startswith("application/http")
        payload = sha256(one.block.partition(b"\r\n\r\n")[2] if http else one.block).hexdigest()
        assert one.header["warc-type"] != "response" or is_framed(one.block), one.header
        if one.header["warc-type"] != "revisit":
            assert one.header.get("warc-payload-digest", f"sha256:{payload}") == f"sha256:{payload}", one.header
        found.append(Record(one.header["warc-type"], one.header.get("warc-target-uri"), payload))
    return found


class Wire(NamedTuple):
    """A block in the place of a socket."""

    block: bytes

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self.block)


def is_framed(block: bytes) -> bool:
    """Does an HTTP client that believes the head find all of the body, and what it is said to be coded in."""
    answer = HTTPResponse(Wire(block))  # type: ignore[arg-type]
    answer.begin()
    body = block.partition(b"\r\n\r\n")[2]
    packed = answer.getheader("Content-Encoding") == "gzip"
    return answer.read() == body and (not packed or zlib.decompress(body, wbits=31) is not None)


BY_NODE = """
import {WARCParser} from "%s/warcio/dist/index.js";
import {createHash} from "node:crypto";
import {createReadStream} from "node:fs";
for await (const record of new WARCParser(createReadStream(process.argv[1]))) {
  const payload = await record.readFully(false);
  const sha256 = createHash("sha256").update(payload).digest("hex");
  console.log(JSON.stringify([record.warcType, record.warcTargetURI ?? null, sha256]));
}
"""


def by_node(path: Path, modules: Path) -> list[Record]:
    """warcio of npm."""
    command = ["node", "--input-type=module", "-e", BY_NODE % modules, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [Record(*json.loads(line)) for line in done.stdout.splitlines()]


def node_modules() -> Path | None:
    """Where warcio of npm is, if it is anywhere."""
    modules = Path(os.environ.get("CRAWLER_NODE_MODULES", "none"))
    return modules if (modules / "warcio").is_dir() else None


class Case(NamedTuple):
    """A row, what is said to it, and the body: None where there can be no answer."""

    row: dict[str, str]
    said: Callable[[Asked], bytes | AsyncIterator[bytes]]
    body: bytes | None
    asked: str  # the path as the server sees it
    kept: bytes | None = None  # the body as it came, where that is another


def head(*lines: bytes, status: bytes = b"200 OK") -> bytes:
    """The head of an answer."""
    return b"\r\n".join([b"HTTP/1.1 " + status, *lines, b"", b""])


def case(path: str, body: bytes | None, *said: bytes, method: str = "GET", kept: bytes | None = None) -> Case:
    """A path of which nothing is changed, and an answer in these pieces."""
    return Case({"url": path, "method": method}, lambda asked: b"".join(said), body, path, kept)


def page(path: str, *lines: bytes, status: bytes = b"200 OK", asked: str | None = None, before: bytes = b"") -> Case:
    """A text of its own with these header lines."""
    body = TEXT + path.encode()
    told = head(*lines, b"Content-Length: %d" % len(body), status=status)
    return case(path, body, before, told, body)._replace(asked=asked or path)


def chunked(data: bytes, size: int) -> bytes:
    """In chunks of this size, with an extension each, and a trailer."""
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x;x=y\r\n%b\r\n" % (len(one), one) for one in chunks) + b"0\r\nX-Trailer: t\r\n\r\n"


def cut_once(asked: Asked) -> bytes | AsyncIterator[bytes]:
    """CUT, broken off after 3 MiB; then what is asked for of it."""
    common = (b'ETag: "v1"', b"Accept-Ranges: bytes")
    if (wanted := asked.headers.get("range")) is None:

        async def beginning() -> AsyncIterator[bytes]:
            yield head(*common, b"Content-Length: %d" % len(CUT)) + CUT[: 3 << 20]

        return beginning()
    start = int(wanted.removeprefix("bytes=").partition("-")[0])
    assert 1 << 20 <= start <= 3 << 20
    place = b"Content-Range: bytes %d-%d/%d" % (start, len(CUT) - 1, len(CUT))
    status = b"206 Partial Content"
    return head(*common, place, b"Content-Length: %d" % (len(CUT) - start), status=status) + CUT[start:]


TEXT = "Grüße, 世界\r\n\r\nWARC/1.1\r\n".encode() * 40
PACKED = gzip.compress(TEXT, mtime=0)
CUT = Random(5).randbytes(5 << 20)
LARGE = CUT[::-1]
PRELOAD = head(b"Link: </a.css>; rel=preload", status=b"103 Early Hints")
ANSWERS = ("response", "revisit")
BYTES = (b"X-Latin: caf\xe9", "X-UTF: 世界".encode(), b"X-All: " + bytes(range(0x80, 0x100)))
CASES = [
    page("/space/a b  c?d e=f g", asked="/space/a%20b%20%20c?d%20e=f%20g"),
    page("/letters/ä/世界?q=é", asked="/letters/%C3%A4/%E4%B8%96%E7%95%8C?q=%C3%A9"),
    page("/odd/%zz%ff|^`{}<>\"'", asked="/odd/%zz%ff|^%60%7B%7D%3C%3E%22'"),
    page("/bytes", *BYTES),
    page("/type", b"Content-Type: t\xe9xt/h\xfft\xe4; charset=\xff"),
    page("/phrase", status=b"200 D\xe9j\xe0 vu \xff"),
    page("/wordless", status=b"200"),
    page("/long", b"X-Long: " + b"l" * 30_000),  # FastWARC reads heads of up to 32 KiB
    page("/early", before=PRELOAD + PRELOAD),
    page("/found"),
    page("/found")._replace(row={"url": "/twin", "method": "GET"}, asked="/twin"),
    case("/empty", b"", head(b"Content-Length: 0")),
    case("/nothing", b"", head(status=b"204 No Content")),
    case("/head", b"", head(b"Content-Length: 12345"), method="HEAD"),
    case(
        "/packed",
        TEXT,
        head(b"Content-Encoding: gzip", b"Transfer-Encoding: chunked"),
        chunked(PACKED, 7),
        kept=PACKED,
    ),
    case("/large", LARGE, head(b"Content-Length: %d" % len(LARGE)), LARGE),
    case("/cut", CUT)._replace(said=cut_once),
    case("/nul", None, head(b"X-Nul: a\0b", b"Content-Length: 0")),
]
MOVING = head("Location: /found?ä b".encode(), b"Content-Length: 0", status=b"302 Found")


async def hostile(folder: Path, **request: bool) -> tuple[RawSite, Results]:
    """A run over all of it, a redirect that says what no URL may say, and an input that is none."""
    said = {one.asked.partition("?")[0]: one.said for one in CASES} | {"/moved": lambda asked: MOVING}
    async with raw_site(lambda asked: said[asked.path.partition("?")[0]](asked)) as site:
        rows = [{**one.row, "url": site.url(one.row["url"]), "case": one.asked} for one in CASES]
        rows += [{"url": site.url("/moved"), "case": "moved"}, {"url": site.url("/line\r\nWARC-Type: x")}]
        output = {"dir": str(folder / "out"), "bodies": ["warc", "files"]}
        return site, await run(folder, rows, request=request, output=output)


@pytest.mark.parametrize("decompress", [True, False], ids=["decoded", "as it came"])
async def test_hostile_answers_are_records_that_everybody_reads(tmp_path: Path, decompress: bool) -> None:
    """Whatever stands in URLs and heads, whatever way a body came: all readers see the same, with right digests."""
    site, done = await hostile(tmp_path, decompress=decompress)
    assert any("range" in asked.headers for asked in site.asked)
    ends = Counter(record["reason"] or record["outcome"] for record in done.records)
    assert ends == {"fetched": len(CASES), "bad-response": 1, "bad-input": 1}
    answers = [(site.url("/moved"), b""), (site.url("/found?%C3%A4%20b"), TEXT + b"/found")]
    for one in CASES:
        if one.body is not None:
            kept = one.body if decompress or one.kept is None else one.kept
            assert one.asked == "/head" or done.body(one.asked) == kept
            answers.append((site.url(one.asked), kept))
    [path] = (done.folder / "warc").glob("*.warc.gz")
    await asyncio.to_thread(subprocess.run, ["gzip", "-t", path], check=True, timeout=60)
    found = by_hand(path)
    assert sorted(record.url or "" for record in found if record.kind in ANSWERS) == sorted(url for url, _ in answers)
    wanted = {(url, sha256(body).hexdigest()) for url, body in answers}
    assert {(record.url, record.payload) for record in found if record.kind == "response"} <= wanted
    # The same text under three URLs is kept once.
    revisits = [(record.url or "", record.payload) for record in found if record.kind == "revisit"]
    assert {url.partition("?")[0] for url, _ in revisits} <= {site.url("/found"), site.url("/twin")}
    assert [payload for _, payload in revisits] == [sha256(b"").hexdigest()] * 2
    for reader in (by_warcio, by_fastwarc):
        assert reader(path) == found
    if (modules := node_modules()) is not None:
        assert by_node(path, modules) == found
    assert list(check(path)) == []
    archive = await asyncio.to_thread(gunzip, path)
    for line in (*BYTES, b"HTTP/1.1 200 D\xe9j\xe0 vu \xff", b"Content-Type: t\xe9xt/h\xfft\xe4; charset=\xff"):
        assert b"\r\n" + line + b"\r\n" in archive


async def test_pywb_finds_and_replays_hostile_answers(pywb: Pywb, tmp_path: Path) -> None:
    """Its keys of hostile URLs are ours, and behind each is the body that was sent."""
    site, done = await hostile(tmp_path)
    # Of what is no GET it makes keys of its own, and letters beyond ASCII in a media type are read differently.
    plain = [one for one in CASES if one.row["method"] == "GET"]
    bodies = {site.url(one.asked): one.body for one in plain}
    indexes = pywb.collect(tmp_path / "wb", done.folder / "warc"), rows_of((done.folder / INDEX).read_bytes())
    theirs, rows = ([row for row in index if row.fields["url"] in bodies] for index in indexes)
    assert theirs == rows
    assert len(rows) == len(bodies) - 1
    replayed = await asyncio.to_thread(pywb.replay, tmp_path / "wb", "ours", rows)
    assert [answer.body for answer in replayed] == [bodies[row.fields["url"]] for row in rows]
