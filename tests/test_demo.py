from __future__ import annotations

import asyncio
import csv
import gzip
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import tomllib
import urllib.request
import zlib
from collections.abc import AsyncIterator, Iterator
from email.utils import parsedate_to_datetime
from hashlib import sha256
from io import BytesIO
from itertools import product
from pathlib import Path
from time import time
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st

from crawler import demo, demofaults, demopages, demosite
from crawler.demo import expected
from crawler.demoapp import TOKEN

PATIENCE = aiohttp.ClientTimeout(total=10)
JOBS = Path(__file__).parent.parent / "jobs"


class Clock:
    """A clock that goes when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def client(clock: Clock) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(demo.make_app(clock=clock)), auto_decompress=False, timeout=PATIENCE) as client:
        yield client


Client = TestClient[Any, Any]
CONTENT = [
    "/",
    "/articles/1",
    "/articles/300",
    "/api/items",
    "/api/items?page=25&per_page=20",
    "/api/items?page=26",
    "/api/items/500",
    "/slow/1",
    "/status/200",
    "/limited/tea",
    "/flaky/0/tea",
    "/large/1.bin",
    "/redirect/4",
    "/redirect-to?url=/articles/9",
]


@pytest.mark.parametrize("path", CONTENT)
async def test_what_is_served_is_what_is_expected(client: Client, path: str) -> None:
    """The body that arrives is the one `expected` foretells, byte for byte."""
    async with client.get(path) as answer:
        assert answer.status == 200
        assert await answer.read() == expected(path)


@pytest.mark.parametrize("path", CONTENT)
async def test_head_promises_the_length_of_the_body(client: Client, path: str) -> None:
    """HEAD answers with the headers of GET, and with no body."""
    async with client.head(path, allow_redirects=True) as answer:
        body = expected(path)
        assert body is not None
        assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(body)))
        assert await answer.read() == b""


MISSING = [
    "/articles/0",
    "/articles/301",
    "/articles/" + "9" * 5000,
    "/api/items/501",
    "/large/0.bin",
    "/large/1025.bin",
    "/compressed/lzma/1",
    "/status/99",
    "/redirect/0",
    "/no",
]


@pytest.mark.parametrize("path", MISSING)
async def test_what_is_not_there_is_404(client: Client, path: str) -> None:
    """A page that does not exist is answered by 404, and nothing is expected of it."""
    async with client.get(path) as answer:
        assert (answer.status, expected(path)) == (404, None)


@pytest.mark.parametrize("path", ["/truncated", "/reset", "/redirect-loop/a", "/compressed/cut/gzip/1", "/status/404"])
def test_nothing_is_expected_of_what_cannot_end_well(path: str) -> None:
    """Errors and streams cut short have no body to compare with."""
    assert expected(path) is None


def test_content_never_changes() -> None:
    """The bytes are the same on every machine: digests in jobs and notes stay right."""
    found = sha256(demopages.article(6) + demosite.items(3, 20) + next(demosite.large(7))).hexdigest()
    assert found == "5650878e69f1c6b33496acc2860a1e5a0acb3ba3b398bac47c2ceb707f38a760"


async def test_every_link_leads_somewhere(client: Client) -> None:
    """From the front page, following links alone, all articles are found and no link is dead."""
    seen, waiting = {"/"}, ["/"]
    while waiting:
        body = expected(waiting.pop())
        links = set(re.findall(r'href="(/(?:articles/\d+)?)"', body.decode())) if body else set()
        assert links
        waiting += links - seen
        seen |= links
    assert seen == {"/", *(f"/articles/{n}" for n in range(1, 301))}


async def test_robots_and_sitemap_name_the_address_they_are_asked_at(client: Client) -> None:
    """Both are written for the host of the request, and the sitemap lists every page."""
    origin = str(client.make_url("")).rstrip("/")
    for path in ("/robots.txt", "/sitemap.xml"):
        async with client.get(path) as answer:
            body = await answer.read()
            assert body == expected(path, origin)
            assert f"{origin}/".encode() in body
    assert body.count(b"<loc>") == 301


async def test_an_unchanged_page_is_not_sent_again(client: Client) -> None:
    """A conditional request with the current ETag is answered by 304."""
    async with client.get("/articles/5") as answer:
        tag = answer.headers["ETag"]
    async with client.get("/articles/5", headers={"If-None-Match": tag}) as answer:
        assert (answer.status, await answer.read()) == (304, b"")


async def test_the_catalogue_is_paged_by_links(client: Client) -> None:
    """Following `next` yields all items once; the Link header says the same."""
    found, path = [], "/api/items?per_page=100"
    while path:
        async with client.get(path) as answer:
            page = await answer.json()
            link = answer.links.get("next")
            assert page["next"] == (
                str(link["url"]).removeprefix(str(client.make_url("")).rstrip("/")) if link else None
            )
        found += [item["id"] for item in page["items"]]
        path = page["next"]
    assert found == list(range(1, page["total"] + 1))


@pytest.mark.parametrize("query", ["page=0", "page=x", "per_page=0", "per_page=101"])
async def test_a_page_that_cannot_be_is_refused(client: Client, query: str) -> None:
    """Numbers out of range are the asker's mistake: 400."""
    async with client.get(f"/api/items?{query}") as answer:
        assert answer.status == 400
        assert "error" in await answer.json()


async def test_echo_tells_what_it_was_sent(client: Client) -> None:
    """Method, target, headers and body come back as JSON."""
    async with client.put("/api/echo?a=1", data=b"h\xc3\xa9", headers={"X-One": "two"}) as answer:
        told = await answer.json()
    assert (told["method"], told["target"], told["body"]) == ("PUT", "/api/echo?a=1", "hé")
    assert told["headers"]["X-One"] == "two"


async def test_an_item_can_be_posted(client: Client) -> None:
    """A posted object comes back with an id and 201; what is no JSON object is refused."""
    async with client.post("/api/items", json={"name": "kite"}) as answer:
        assert (answer.status, (await answer.json())["name"]) == (201, "kite")
    for wrong in (b"[1]", b"{"):
        async with client.post("/api/items", data=wrong) as answer:
            assert answer.status == 400


@pytest.mark.parametrize("coding", demosite.CODINGS)
async def test_compressed_articles_say_how(client: Client, coding: str) -> None:
    """The body is the article in the coding that the header names."""
    async with client.get(f"/compressed/{coding}/7") as answer:
        assert answer.headers["Content-Encoding"] == coding
        assert await answer.read() == demosite.CODINGS[coding](demopages.article(7))
    assert expected(f"/compressed/{coding}/7") == demopages.article(7)


async def test_a_stream_cut_short_has_a_right_length(client: Client) -> None:
    """Content-Length agrees with what is sent: only the decoder can tell that the end is missing."""
    async with client.get("/compressed/cut/gzip/7") as answer:
        body = await answer.read()
        assert len(body) == int(answer.headers["Content-Length"])
    with pytest.raises(EOFError):
        gzip.decompress(body)
    start = zlib.decompressobj(31).decompress(body)
    assert start
    assert demopages.article(7).startswith(start)


async def test_flaky_works_after_its_failures(client: Client) -> None:
    """503 the first n times for each key, then 200 for ever."""
    for key in ("tea", "milk"):
        seen = [(await client.get(f"/flaky/2/{key}")).status for _ in range(4)]
        assert seen == [503, 503, 200, 200]


async def test_limited_asks_for_patience(client: Client, clock: Clock) -> None:
    """Over the limit 429 with Retry-After; who waits as long as told is served again. Keys do not share."""
    seen = [(await client.get("/limited/tea")).status for _ in range(demofaults.LIMIT + 1)]
    assert seen == [200] * demofaults.LIMIT + [429]
    async with client.get("/limited/tea") as answer:
        assert answer.headers["Retry-After"] == "1"
    assert (await client.get("/limited/milk")).status == 200
    clock.now += 1.0
    assert (await client.get("/limited/tea")).status == 200


async def test_limited_can_name_a_date(client: Client) -> None:
    """With ?date the wait is an HTTP-date, never before the window ends."""
    before = time()
    for _ in range(demofaults.LIMIT + 1):
        answer = await client.get("/limited/tea?date=1")
    until = parsedate_to_datetime(answer.headers["Retry-After"]).timestamp()
    assert before + demofaults.WINDOW <= until <= time() + demofaults.WINDOW + 1


@pytest.mark.parametrize("code", [200, 204, 304, 404, 503, 999])
async def test_any_status_can_be_had(client: Client, code: int) -> None:
    """The status is the one in the path, the body what HTTP allows for it."""
    async with client.get(f"/status/{code}") as answer:
        assert (answer.status, await answer.read()) == (code, demosite.status(code) or b"")


async def test_redirects_are_counted_down(client: Client) -> None:
    """A chain of n takes n hops to the first article; a loop has no end."""
    async with client.get("/redirect/3") as answer:
        assert (len(answer.history), answer.url.path) == (3, "/articles/1")
    for here, there in ("ab", "ba"):
        async with client.get(f"/redirect-loop/{here}", allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (302, f"/redirect-loop/{there}")


@pytest.mark.parametrize("query", ["", "?url=", "?url=/a%0d%0aX:%20y"])
async def test_a_redirect_to_nowhere_is_refused(client: Client, query: str) -> None:
    """No target, or one that would break the header: 400."""
    async with client.get(f"/redirect-to{query}", allow_redirects=False) as answer:
        assert answer.status == 400


async def test_truncated_ends_early(client: Client) -> None:
    """The connection is closed in order, but before the declared length."""
    async with client.get("/truncated") as answer:
        assert answer.content_length == 64 * 1024
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


RANGES = [
    ("bytes=0-9", 206, range(10)),
    ("bytes=262140-262150", 206, range(262_140, 262_151)),
    ("bytes=1048570-", 206, range(1_048_570, 1 << 20)),
    ("bytes=-5", 206, range((1 << 20) - 5, 1 << 20)),
    ("bytes=1000000-9999999", 206, range(1_000_000, 1 << 20)),
    ("bytes=1048576-", 416, range(0)),
    ("bytes=-0", 416, range(0)),
    ("bytes=9-3", 200, range(1 << 20)),
    ("bytes=0-1,5-6", 200, range(1 << 20)),
    ("lines=0-1", 200, range(1 << 20)),
]


@pytest.mark.parametrize(("header", "status", "span"), RANGES)
async def test_large_files_know_ranges(client: Client, header: str, status: int, span: range) -> None:
    """A single range is served as such, one outside is 416, anything else is ignored (RFC 9110, section 14.2)."""
    whole = expected("/large/1.bin")
    assert whole is not None
    async with client.get("/large/1.bin", headers={"Range": header}) as answer:
        assert answer.status == status
        assert await answer.read() == whole[span.start : span.stop]
        told = {206: f"bytes {span.start}-{span.stop - 1}/1048576", 416: "bytes */1048576"}.get(status)
        assert answer.headers.get("Content-Range") == told


VALIDATORS = [
    ('"large-1"', 206),
    ('W/"large-1"', 200),
    ('"large-2"', 200),
    ("Mon, 06 Jan 2025 09:00:00 GMT", 206),
    ("Mon, 06 Jan 2025 09:00:01 GMT", 200),
]


@pytest.mark.parametrize(("condition", "status"), VALIDATORS)
async def test_if_range_guards_the_version(client: Client, condition: str, status: int) -> None:
    """A part is sent only if the validator is strong and right, else the whole file (RFC 9110, section 13.1.5)."""
    async with client.get("/large/1.bin", headers={"Range": "bytes=5-", "If-Range": condition}) as answer:
        assert answer.status == status


WHOLE = b"".join(demosite.large(2))


@given(st.integers(0, 3 << 18), st.integers(0, 3 << 18))
def test_a_part_of_a_large_file_is_that_part(start: int, length: int) -> None:
    """Any piece asked for alone equals the same piece of the whole."""
    assert b"".join(demosite.large(2, start, start + length)) == WHOLE[start : start + length]


def test_no_two_blocks_of_large_files_are_alike() -> None:
    """A block stored at the wrong place, or of another file, does not pass for the right one."""
    blocks = [*demosite.large(2), *demosite.large(3)]
    assert len(set(blocks)) == len(blocks)


async def test_members_need_a_token_or_its_cookie(client: Client) -> None:
    """Nobody gets a login page with status 200, a wrong token 401, the right one an order and a cookie."""
    async with client.get("/members/orders/7") as answer:
        assert (answer.status, answer.content_type) == (200, "text/html")
    async with client.get("/members/orders/7", headers={"Authorization": "Bearer no"}) as answer:
        assert (answer.status, answer.headers["WWW-Authenticate"].split()[0]) == (401, "Bearer")
    async with client.get("/members/orders/7", headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
        assert (answer.status, await answer.read()) == (200, demosite.item(7))
        cookie = answer.cookies["session"]
    async with client.get("/members/orders/8", headers={"Cookie": f"session={cookie.value}"}) as answer:
        assert await answer.read() == demosite.item(8)
    async with client.get("/members/orders/501", headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
        assert answer.status == 404


async def test_uploads_are_answered_by_their_digest(client: Client) -> None:
    """Of any size, also beyond what the site takes of a form."""
    data = b"".join(demosite.large(20))
    async with client.put("/uploads/a.bin", data=BytesIO(data), headers={"Content-Type": "a/b"}) as answer:
        told = {"name": "a.bin", "bytes": len(data), "sha256": sha256(data).hexdigest(), "content_type": "a/b"}
        assert (answer.status, await answer.json()) == (201, told)


async def test_stats_count_requests_and_concurrency(client: Client) -> None:
    """Requests are counted by first path segment, in-flight ones at their peak; looking does not count."""
    await asyncio.gather(*(client.get(path) for path in ["/slow/50"] * 4), client.get("/articles/1?x=1"))
    await client.get("/nowhere")
    for _ in range(2):
        told = await (await client.get("/stats")).json()
    assert told["requests"] == {"/articles": 1, "/nowhere": 1, "/slow": 4}
    assert (told["total"], told["in_flight"]) == (6, 0)
    assert 4 <= told["peak"] <= 5


async def _until_in_flight(session: aiohttp.ClientSession, site: demo.DemoSite, count: int) -> None:
    async with asyncio.timeout(20):
        told = None
        while told != count:
            async with session.get(site.at("/stats")) as answer:
                told = (await answer.json())["in_flight"]


async def test_a_client_that_leaves_is_forgotten() -> None:
    """Giving up on a slow page ends its handler: nothing stays in flight."""
    async with demo.serve() as site, aiohttp.ClientSession() as session:
        waiting = asyncio.ensure_future(session.get(site.at("/slow/10000")))
        await _until_in_flight(session, site, 1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await _until_in_flight(session, site, 0)
        assert site.stats.hits == {"/slow/10000": 1}


async def test_two_sites_share_nothing() -> None:
    """Each site has a port, a memory and statistics of its own; leaving it closes the port."""
    async with demo.serve() as one, demo.serve() as two, aiohttp.ClientSession() as session:
        for site in (one, two):
            async with session.get(site.at("/flaky/1/tea")) as answer:
                assert answer.status == 503
        assert one.url != two.url
        assert one.stats.hits == two.stats.hits == {"/flaky/1/tea": 1}
        assert one.expected("/sitemap.xml") != two.expected("/sitemap.xml")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", _port(one)))


async def test_a_taken_port_is_told() -> None:
    """In the caller's loop, an address in use raises OSError."""
    async with demo.serve() as site:
        with pytest.raises(OSError, match="in use"):
            async with demo.serve(port=_port(site)):
                pass


@pytest.fixture(scope="module")
def site() -> Iterator[demo.DemoSite]:
    with demo.serve_in_thread() as site:
        yield site


_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever the environment says


def _port(site: demo.DemoSite) -> int:
    return int(site.url.rpartition(":")[2])


def _read_to_the_end(port: int) -> bytes:
    """What comes after asking for /reset; raises what the socket raises."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as wire:
        wire.sendall(b"GET /reset HTTP/1.1\r\nHost: demo\r\n\r\n")
        return b"".join(iter(lambda: wire.recv(65536), b""))


def test_reset_is_a_reset(site: demo.DemoSite) -> None:
    """The connection is torn down (RST) in the middle of the body."""
    with pytest.raises(ConnectionResetError):
        _read_to_the_end(_port(site))


async def test_reset_is_a_reset_in_asyncios_own_loop() -> None:
    """The same where the site is served without uvloop."""
    async with demo.serve() as site:
        with pytest.raises(ConnectionResetError):
            await asyncio.to_thread(_read_to_the_end, _port(site))


def test_a_thread_serves_beside_blocking_code(site: demo.DemoSite) -> None:
    """A blocking client in this thread is answered, and the statistics can be read here."""
    with _direct.open(site.at("/articles/2")) as answer:
        assert answer.read() == site.expected("/articles/2")
    assert site.stats.hits["/articles/2"] == 1


def test_a_thread_takes_another_port_where_its_own_is_taken(site: demo.DemoSite) -> None:
    """The second site stands elsewhere, and its url says where."""
    with demo.serve_in_thread(_port(site)) as other:
        assert other.url != site.url
        with _direct.open(other.at("/status/200")) as answer:
            assert answer.read() == b"status 200\n"


def test_an_impossible_address_is_told() -> None:
    """Any trouble but a taken port reaches the caller, and no thread stays behind."""
    before = threading.active_count()
    with pytest.raises(OSError), demo.serve_in_thread(host="192.0.2.1"):
        pass
    assert threading.active_count() == before


@pytest.mark.slow
def test_serving_for_ever_ends_with_ctrl_c() -> None:
    """It says where it stands, serves, and ends well when interrupted."""
    # Started in the background of a shell, this process ignores SIGINT and its children inherit that.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "from crawler.demo import serve_forever; serve_forever(0)"
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = re.fullmatch(r"demo site on (http://127.0.0.1:\d+) \(Ctrl-C ends it\)\n", process.stderr.readline())
        assert said
        with _direct.open(said[1] + "/articles/1") as answer:
            assert answer.read() == expected("/articles/1")
        process.send_signal(signal.SIGINT)
        assert (process.wait(10), process.stderr.read()) == (0, "")


def _job(name: str) -> dict[str, Any]:
    return tomllib.loads((JOBS / name).read_text())


def _rows(name: str) -> list[dict[str, Any]]:
    """All rows that a job names: its urls, tables and templates."""
    given = _job(name)["input"]
    rows: list[dict[str, Any]] = [{"url": url} for url in given.get("urls", [])]
    for file in given.get("files", []):
        lines = (JOBS / file).read_text().splitlines()
        rows += csv.DictReader(lines) if file.endswith(".csv") else map(json.loads, lines)
    names, choices = [], []
    for variable, values in given.get("vars", {}).items():
        names.append(variable)
        first, _, last = values.partition("..") if isinstance(values, str) else ("", "", "")
        choices.append(range(int(first), int(last) + 1) if last else values)
    if "template" in given:
        rows += [{"url": given["template"].format(**dict(zip(names, each, strict=True)))} for each in product(*choices)]
    return rows


JOB_FILES = sorted(path.name for path in JOBS.glob("*.toml"))


def test_the_example_jobs_are_there() -> None:
    """The quickstart and its companions stand in the folder, each under its own name."""
    assert {"quickstart.toml", "api-pages.toml", "mirror-rows.toml", "polite.toml"} <= set(JOB_FILES)
    assert all(_job(name)["name"] == name.removesuffix(".toml") for name in JOB_FILES)


@pytest.mark.parametrize("name", JOB_FILES)
async def test_every_url_of_a_job_is_on_the_site(client: Client, name: str) -> None:
    """Asked again where it is flaky or limited, each row of a job ends with success; other hosts are pinned to it."""
    job, site = _job(name), f"127.0.0.1:{demo.DEFAULT_PORT}"
    base = job["request"].get("base_url", "")
    for row in _rows(name):
        parts = urlsplit(urljoin(base, row["url"]))
        assert job.get("connection", {}).get("resolve", {}).get(parts.netloc, parts.netloc) == site
        kind = parts.path.split("/")[1]
        url = "/slow/1" if kind == "slow" else parts._replace(scheme="", netloc="").geturl()
        sent: dict[str, Any] = {key: row[key] for key in ("params", "json", "headers") if key in row} | {
            "data": row.get("body")
        }
        if "json" in sent:
            del sent["data"]
        for _ in range(5 if kind == "flaky" else 1):
            async with client.request(row.get("method", "GET"), url, **sent) as answer:
                status = answer.status
        assert status in ((200, 201, 429) if kind == "limited" else (200, 201)), row


@pytest.mark.parametrize("name", JOB_FILES)
def test_digests_in_tables_are_those_of_the_site(name: str) -> None:
    """A row's sha256 is that of the decoded body at its URL."""
    for row in _rows(name):
        if "sha256" in row:
            query = "&".join(f"{k}={v}" for k, v in row.get("params", {}).items())
            body = expected(f"{row['url']}?{query}" if query else row["url"])
            assert body is not None
            assert sha256(body).hexdigest() == row["sha256"]


def test_the_quickstart_shows_the_main_things() -> None:
    """A few hundred requests at a pace that ends within ten seconds, with each kind of trouble among them."""
    job, urls = _job("quickstart.toml"), {row["url"] for row in _rows("quickstart.toml")}
    assert {"input", "request", "limits", "timeouts", "retry", "output"} <= set(job)
    assert 200 <= len(urls) <= int(job["limits"]["rate_per_host"].removesuffix("/s")) * 6
    for kind in ("/flaky/", "/limited/", "/redirect/", "/compressed/", "/slow/", "/large/", "/api/"):
        assert any(url.startswith(kind) for url in urls)
    assert all(expected(url) is not None for url in urls)
