"""Whole sites crawled by the command: what wget reaches, what kills leave whole, what traps and hostile pages cost."""

from __future__ import annotations

import asyncio
import csv
import gzip
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import closing
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from benchmarks.measure import Watched
from tests import hostilepages, trapsite
from tests.crawlsite import html
from tests.servers import Asked, Nginx, raw_site, reply

pytestmark = [pytest.mark.e2e]

SITE = Path("/usr/share/doc/python3-doc/html")
JOB = """
name = "site"
[input]
urls = ["{seed}"]
[crawl]
{crawl}
[limits]
workers = 8
per_host = 8
robots = "ignore"
[retry]
attempts = 1
[output]
dir = "{out}"
{output}
"""
MIRROR = 'layout = "mirror"'
DROPPED = 'bodies = "none"'
PATIENCE = 300.0  # seconds that no run takes


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """The documentation as its package has it."""
    if not SITE.is_dir():
        pytest.skip("python3-doc is not installed")
    with Nginx(SITE, tmp_path_factory.mktemp("nginx"), log=True) as server:
        yield server


def command(folder: Path, seed: str, crawl: str = "", output: str = MIRROR) -> list[str]:
    """A job over the site, and what runs it."""
    job = folder / "site.toml"
    job.write_text(JOB.format(seed=seed, crawl=crawl, out=folder / "out", output=output))
    return [sys.executable, "-m", "crawler", "run", str(job), "--quiet"]


def records(folder: Path) -> list[dict[str, Any]]:
    """Of the last run."""
    lines = (folder / "out/site/latest/records.jsonl").read_bytes().splitlines()
    return [orjson.loads(line) for line in lines]


def summary(folder: Path) -> dict[str, Any]:
    """Of the last run."""
    return dict(orjson.loads((folder / "out/site/latest/summary.json").read_bytes()))


def target(url: str) -> str:
    """Path and query of a URL."""
    parts = urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")


def fetched(found: Iterable[dict[str, Any]]) -> list[str]:
    """What of a site was fetched."""
    return [target(record["url"]) for record in found if record["outcome"] == "fetched"]


def committed(folder: Path) -> set[str]:
    """What of a site came to an end that a killed run will not forget, by its checkpoint."""
    job, copy = folder / "out/site", folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for file in job.glob("state.db*"):
        shutil.copy(file, copy)
    with closing(sqlite3.connect(copy / "state.db")) as db:
        found = db.execute("SELECT length FROM segments WHERE name = 'records.jsonl'").fetchone()
    if found is None:
        return set()
    lines = (next((job / "runs").iterdir()) / "records.jsonl").read_bytes()[: found[0]].splitlines()
    return {target(orjson.loads(line)["url"]) for line in lines}


# -- a real site ------------------------------------------------------------------------------------------------------

# What is fetched by one of the two alone, and why.
ONLY_OURS: set[str] = set()
ONLY_THEIRS = {
    "/_static/opensearch.xml",  # <link rel=search>: it describes a form to browsers, and leads to no page
}
# Pages of the package to which no page links.
UNLINKED = {
    "/distutils/_setuptools_disclaimer.html",
    "/distutils/packageindex.html",
    "/distutils/uploading.html",
    "/includes/wasm-notavail.html",
}


def reached_by_wget(site: Nginx, folder: Path) -> set[str]:
    """What `wget --recursive` asks of the site, by its access log, but for what is not there."""
    before = len(site.requests())
    options = ["--recursive", "--level=inf", "--execute=robots=off", "--quiet", f"--directory-prefix={folder}"]
    # It ends with 8 where a link is dead.
    subprocess.run(["wget", *options, f"{site.url}/index.html"], check=False, timeout=PATIENCE)
    return {uri for _, status, uri, *_ in site.requests()[before:] if status == "200"}


def test_a_site_is_reached_as_wget_reaches_it(site: Nginx, tmp_path: Path) -> None:
    """With what its pages need, the same set as `wget --recursive`: what differs is named here, one by one."""
    theirs = reached_by_wget(site, tmp_path / "wget")
    run = command(tmp_path, f"{site.url}/index.html", "requisites = true")
    assert subprocess.run(run, timeout=PATIENCE, check=False).returncode == 0
    ours = fetched(records(tmp_path))
    assert len(ours) == len(set(ours))
    assert set(ours) - theirs == ONLY_OURS
    assert theirs - set(ours) == ONLY_THEIRS
    assert len(theirs) > 500


@pytest.mark.parametrize("turn", range(3))
def test_a_crawl_that_is_killed_ends_with_the_same_pages(site: Nginx, tmp_path: Path, turn: int) -> None:
    """SIGKILL in the middle, twice: each page of the site is there, once, and none whose end was committed is asked
    for again.
    """
    run = command(tmp_path, f"{site.url}/index.html")
    for kill in (1, 2):
        process = subprocess.Popen(run)
        before, had = len(site.requests()), committed(tmp_path) if kill > 1 else set()
        deadline = time.monotonic() + PATIENCE
        while len(site.requests()) < before + 80 * kill + 40 * turn:  # of 528 pages
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not had & {uri for _, _, uri, *_ in site.requests()[before:]}
    before, had = len(site.requests()), committed(tmp_path)
    assert subprocess.run(run, timeout=PATIENCE, check=False).returncode == 0
    assert not had & {uri for _, _, uri, *_ in site.requests()[before:]}
    found = records(tmp_path)
    on_disk = {f"/{path.relative_to(SITE)}" for path in SITE.rglob("*.html")}
    assert max(Counter(record["url"] for record in found).values()) == 1
    assert {path for path in fetched(found) if path.endswith(".html")} == on_disk - UNLINKED


# -- kills at a request of one's choice -------------------------------------------------------------------------------


class Killer:
    """A site of a few hundred pages, each with links to many others; it kills who asks at some of the requests."""

    def __init__(self) -> None:
        self.process: asyncio.subprocess.Process | None = None
        self.left = 0

    def __call__(self, asked: Asked) -> bytes:
        self.left -= 1
        if self.left == 0 and self.process is not None:
            self.process.kill()
        number = int(asked.path.strip("/") or 0)
        return html(*(f"/{(number * 7 + step) % 400}" for step in range(1, 40)), text=f"Page {number}")


async def ended(run: list[str], killer: Killer, at: int = 0) -> int:
    """Let a crawl run until its end, or its request of that number; its exit code."""
    killer.left = at
    killer.process = await asyncio.create_subprocess_exec(*run)
    return await asyncio.wait_for(killer.process.wait(), PATIENCE)


@pytest.mark.parametrize("bound", ["max_pages", "max_pages_per_host"])
async def test_bounds_are_exact_over_kills(tmp_path: Path, bound: str) -> None:
    """Killed at three of its requests, a crawl ends with exactly as many pages as it may have, each once in all that
    is written of it.
    """
    killer = Killer()
    (tmp_path / "killed_items.py").write_text('def page(page):\n    yield {"title": page.css_first("title").text()}\n')
    output = f'{DROPPED}\nrecords = ["jsonl", "csv"]\n[extract]\nfunction = "killed_items:page"'
    async with raw_site(killer) as site:
        run = command(tmp_path, site.url("/"), f"{bound} = 250", output)
        for at in (5, 90, 60):
            assert await ended(run, killer, at) == -signal.SIGKILL
        assert await ended(run, killer) == 0
    found, folder = records(tmp_path), tmp_path / "out/site/latest"
    assert len(set(fetched(found))) == len(found) == 250
    items = [orjson.loads(line) for line in (folder / "items.jsonl").read_bytes().splitlines()]
    assert sorted(item["page"] for item in items) == sorted(record["id"] for record in found)
    assert {item["item"]["title"] for item in items} == {f"Page {path.strip('/') or 0}" for path in fetched(found)}
    rows = csv.DictReader(StringIO((folder / "records.csv").read_text(), newline=""))
    assert sorted(row["url"] for row in rows) == sorted(record["url"] for record in found)
    assert summary(tmp_path)["outcomes"]["fetched"] == 250


async def test_the_traceback_of_a_function_is_in_the_log(tmp_path: Path) -> None:
    """With the page at which it raised; the crawl goes on, and its exit code is that of the seeds."""
    (tmp_path / "raising.py").write_text(
        "def page(page):\n    if page.depth == 1:\n        return 1 / (page.depth - 1)\n"
    )
    async with raw_site(lambda asked: html("/1")) as site:
        run = command(tmp_path, site.url("/"), "", f'{DROPPED}\n[extract]\nfunction = "raising:page"')
        process = await asyncio.create_subprocess_exec(*run)
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
    log = (tmp_path / "out/site/latest/run.log").read_text()
    assert f"{site.url('/1')}" in log
    assert "ZeroDivisionError" in log
    assert "raising.py" in log
    assert "return 1 / (page.depth - 1)" in log
    assert [record["reason"] for record in records(tmp_path)] == [None, "extract-failed"]


# -- traps ------------------------------------------------------------------------------------------------------------


async def test_a_site_of_traps_comes_to_an_end(tmp_path: Path) -> None:
    """All its real pages are fetched, each once, with a bounded number of requests; what was stopped is told."""

    def answer(asked: Asked) -> bytes:
        status, headers, body = trapsite.answer(asked.path)
        return reply(status, body, headers)

    async with raw_site(answer) as site:
        run = command(tmp_path, site.url("/"), "traps = { combinations = 300 }", DROPPED)[:-1]
        process = await asyncio.create_subprocess_exec(*run, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        said, told = await asyncio.wait_for(process.communicate(), PATIENCE)
        assert process.returncode == 0
        asked = site.paths()
    assert len(asked) == len(set(asked))
    assert {re.sub(r"\?sid=.*", "", path) for path in asked} >= trapsite.REAL
    assert len(asked) < 15_000  # the patterns that never end are left after some 250 pages each
    traps = summary(tmp_path)["traps"]
    text = (said + told).decode()
    for trap in traps[:5]:
        assert f"stopped {trap['urls']:,} URLs of pattern {trap['pattern']}" in text
    patterns = " ".join(trap["pattern"] for trap in traps)
    for part in ("/calendar/", "/endless/", "/loop/", "/shop", "/old/", "/members/"):
        assert part in patterns


# -- hostile pages ----------------------------------------------------------------------------------------------------


async def pieces(kind: str, parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    """An answer whose end is the end of its connection."""
    yield f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n".encode()
    for part in parts:
        yield part


def hostile(asked: Asked) -> bytes | AsyncIterator[bytes]:
    """A site of such pages alone."""
    text = "text/html; charset=utf-8"
    lie, kind = hostilepages.lying_charset()
    streams: dict[str, tuple[str, Iterable[bytes]]] = {
        "/large": (text, hostilepages.large()),
        "/many": (text, hostilepages.many_links()),
        "/sitemap": ("application/xml", hostilepages.sitemap(200_000)),
        "/bomb": ("application/xml", [hostilepages.entity_bomb()]),
        "/gzip.xml.gz": ("application/gzip", hostilepages.gzip_bomb(256 * 1024**2)),
        "/nested": (text, [hostilepages.nested()]),
        "/formatted": (text, [hostilepages.formatted()]),
        "/attributed": (text, [hostilepages.attributed()]),
        "/nuls": (text, [hostilepages.with_nuls()]),
        "/charset": (kind, [lie]),
        "/schemes": (text, [hostilepages.strange_schemes()]),
    }
    if asked.path == "/":
        return html(*streams, "/packed")
    if asked.path == "/packed":
        return reply(200, gzip.compress(b" " * 50 * 1024**2), {"Content-Encoding": "gzip"})
    return pieces(*streams[asked.path]) if asked.path in streams else reply(404)


async def test_hostile_pages_cost_little(tmp_path: Path) -> None:
    """Together they cost bounded memory, whatever could be read of them is followed, and the rest is told."""
    async with raw_site(hostile, addresses=("127.0.0.1", "127.0.0.2")) as site:
        watched = Watched(command(tmp_path, site.url("/"), 'scope = "any"\ndeny = ["/n/", "/page/"]', DROPPED))
        code = await asyncio.to_thread(watched.wait, PATIENCE)
        assert site.connections["127.0.0.2"] == 0
    found = {target(record["url"]): record for record in records(tmp_path)}
    print(f"peak {watched.peak / 2**20:.0f} MiB")
    assert code == 0
    assert watched.peak < 512 * 1024**2
    assert "first 16 MiB" in found["/large"]["warning"]
    assert "more than 100,000 links" in found["/many"]["warning"]
    assert "200 times its size" in found["/gzip.xml.gz"]["warning"]
    assert found["/packed"]["reason"] == "too-large"
    assert {"/first", "/deep", "/formatted", "/attributed", "/after", "/good"} <= found.keys()
    assert not {"/last", "/no"} & found.keys()
    assert {urlsplit(record["url"]).scheme for record in found.values()} == {"http"}
    assert found["/latest/meta-data/"]["reason"] == "blocked-address"
    assert summary(tmp_path)["links"]["denied"] == 300_000
