"""End to end, with real servers: the HTML tree of python3-doc behind nginx, fetched by the installed command."""

from __future__ import annotations

import collections
import contextlib
import hashlib
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from tests.servers import Nginx

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

DOCS = Path("/usr/share/doc/python3.11/html")
KILLS = int(os.environ.get("CRAWLER_KILLS", "50"))


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """URL path -> sha256 of its file, for every file of the tree."""
    found = {}
    for file in sorted(DOCS.rglob("*")):
        if file.is_file():
            found["/" + quote(str(file.relative_to(DOCS)))] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


@pytest.fixture
def docs(tmp_path: Path) -> Iterator[Nginx]:
    tmp_path.chmod(0o755)
    with Nginx(DOCS, tmp_path / "nginx", log=True) as server:
        yield server


def write_job(folder: Path, server: Nginx, paths: list[str], **limits: object) -> Path:
    (folder / "urls.txt").write_text("".join(f"{server.url}{path}\n" for path in paths))
    said = "".join(f"{key} = {orjson.dumps(value).decode()}\n" for key, value in limits.items())
    job = folder / "docs.toml"
    job.write_text(
        f'name = "docs"\n[input]\nfiles = ["urls.txt"]\n[limits]\nper_host = 32\n{said}'
        f'[output]\ndir = "{folder}/out"\nlayout = "mirror"\n'
    )
    return job


def start(job: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "crawler", "run", str(job), "--quiet"])


def records_of(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "out/docs/latest/records.jsonl").read_bytes().splitlines()
    return [orjson.loads(line) for line in lines]


def assert_bodies(folder: Path, records: list[dict[str, Any]], server: Nginx, pages: dict[str, str]) -> None:
    """Every record's body is there with the bytes of its page, and no file is there that no record names."""
    run = folder / "out/docs/latest"
    for record in records:
        if record["outcome"] == "fetched":
            body = (run / record["body"]).read_bytes()
            path = record["url"].removeprefix(server.url)
            assert hashlib.sha256(body).hexdigest() == record["sha256"] == pages[path], record["url"]
    named = {record["body"] for record in records if record["body"]}
    there = {str(file.relative_to(run.resolve())) for file in (run.resolve() / "bodies").rglob("*") if file.is_file()}
    assert there == named
    assert not list((folder / "out").rglob("*.part"))


def test_every_page_of_a_real_tree_arrives_whole(tmp_path: Path, docs: Nginx, pages: dict[str, str]) -> None:
    """Over a thousand real files: each body equals its file, each URL stands once in the records, exit 0."""
    assert len(pages) > 1000
    job = write_job(tmp_path, docs, list(pages))
    assert start(job).wait(120) == 0
    records = records_of(tmp_path)
    assert sorted(record["url"] for record in records) == sorted(docs.url + path for path in pages)
    assert all(record["outcome"] == "fetched" for record in records)
    assert_bodies(tmp_path, records, docs, pages)


def test_missing_pages_are_named_and_asked_for_once(tmp_path: Path, docs: Nginx, pages: dict[str, str]) -> None:
    """Fifty missing pages among the real ones: exit 1, each named status-404, one request spent on each."""
    missing = [f"/missing/page-{number}.html" for number in range(50)]
    paths = [*pages, *missing]
    random.Random(7).shuffle(paths)
    job = write_job(tmp_path, docs, paths)
    assert start(job).wait(120) == 1
    records = records_of(tmp_path)
    failed = {record["url"]: record for record in records if record["outcome"] == "failed"}
    assert sorted(failed) == sorted(docs.url + path for path in missing)
    assert {(record["reason"], record["status"], record["attempts"]) for record in failed.values()} == {
        ("status-404", 404, 1)
    }
    asked = collections.Counter(line[2] for line in docs.requests())
    assert [asked[path] for path in missing] == [1] * 50
    assert_bodies(tmp_path, records, docs, pages)


def test_killed_at_random_moments_it_goes_on_where_it_stood(
    tmp_path: Path, docs: Nginx, pages: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """SIGKILL again and again: in the end each URL once, all bodies right, nothing left over, little fetched twice."""
    seed = int(os.environ.get("CRAWLER_SEED", "20261121"))
    rng = random.Random(seed)
    # Slow enough that most kills hit a run at work: about as long as the pages at this rate.
    job = write_job(tmp_path, docs, list(pages), rate=120)
    job.write_text(job.read_text().replace("rate = 120", 'rate = "120/s"'))
    killed = 0
    for _ in range(KILLS):
        process = start(job)
        wait = math.exp(rng.uniform(math.log(0.001), math.log(3.0)))
        try:
            code = process.wait(wait)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
            continue
        assert code == 0
        break
    job.write_text(job.read_text().replace('rate = "120/s"\n', ""))
    if len(records_of(tmp_path)) < len(pages) or code_of_last(tmp_path) != "finished":
        assert start(job).wait(120) == 0
    records = records_of(tmp_path)
    twice = len(docs.requests()) - len(pages)
    with capsys.disabled():
        print(
            f"\nseed {seed}: {killed} kills, {len(pages)} pages, "
            f"{twice} fetched again, {twice / max(killed, 1):.1f} a kill"
        )
    assert killed >= KILLS * 0.6
    assert sorted(record["url"] for record in records) == sorted(docs.url + path for path in pages)
    assert_bodies(tmp_path, records, docs, pages)
    # At most one second of work is uncommitted at a kill, and the rate bounds what a second holds.
    assert twice <= killed * 130


def code_of_last(folder: Path) -> str:
    """The state of the last run, as `crawler status` tells it."""
    said = subprocess.run(
        [sys.executable, "-m", "crawler", "status", str(folder / "docs.toml"), "--json"],
        capture_output=True,
        check=True,
    )
    return str(orjson.loads(said.stdout)["state"])


def test_a_slow_host_at_the_head_of_the_list_delays_nobody(tmp_path: Path) -> None:
    """1,000 URLs on one host at 5/s, listed first, do not slow 10,000 URLs on 200 other hosts by more than 5 %."""
    tmp_path.chmod(0o755)
    root = tmp_path / "www"
    root.mkdir()
    (root / "one.html").write_bytes(b"x" * 1024)
    with Nginx(root, tmp_path / "nginx", address="0.0.0.0", extra="location / { try_files /one.html =404; }") as server:
        others = [
            f"http://127.0.{host // 100 + 1}.{host % 100 + 1}:{server.port}/{page}"
            for host in range(200)
            for page in range(50)
        ]
        slow = [f"http://127.0.0.2:{server.port}/{page}" for page in range(1000)]
        alone = finish_of_others(tmp_path, "alone", others, server.port)
        beside = finish_of_others(tmp_path, "beside", slow + others, server.port)
    assert beside <= alone * 1.05, f"{beside:.2f} s beside the slow host, {alone:.2f} s without"


def finish_of_others(folder: Path, name: str, urls: list[str], port: int) -> float:
    """Seconds from the first to the last request to hosts other than 127.0.0.2, at 5/s each."""
    (folder / f"{name}.txt").write_text("".join(f"{url}\n" for url in urls))
    job = folder / f"{name}.toml"
    job.write_text(
        f'name = "{name}"\n[input]\nfiles = ["{name}.txt"]\n[limits]\nrate_per_host = "5/s"\n'
        f'[output]\ndir = "{folder}/out"\nbodies = "none"\n'
    )
    process = subprocess.Popen([sys.executable, "-m", "crawler", "run", str(job), "--quiet"])
    wanted = sum(f"//127.0.0.2:{port}" not in url for url in urls)
    records = folder / "out" / name / "latest" / "records.jsonl"
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline and len(starts_of_others(records)) < wanted:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
    process.terminate()
    process.wait(40)
    stamps = starts_of_others(records)
    assert len(stamps) == wanted
    return seconds(max(stamps)) - seconds(min(stamps))


def starts_of_others(records: Path) -> list[str]:
    """When the requests that are recorded so far began, but for those to 127.0.0.2."""
    lines = records.read_bytes().splitlines() if records.exists() else []
    found = [orjson.loads(line) for line in lines if line.endswith(b"}")]
    return [record["started_at"] for record in found if "//127.0.0.2:" not in record["url"]]


def seconds(stamp: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(stamp).timestamp()
