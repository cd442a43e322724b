"""Whole runs of one large body: cut, changed, killed, shared; against a raw server on loopback."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from crawler.errors import ExitCode
from crawler.jobfile import LoadedJob, build
from crawler.opening import Options
from crawler.pipeline import Pipeline
from crawler.run import Ended, run_job
from crawler.tally import Snapshot
from tests.ranged import MIB, Ranged, Seen, ranged, until

pytestmark = pytest.mark.slow
DATA = Random(5).randbytes(24 * MIB)
NEW = Random(6).randbytes(24 * MIB)


class Silent:
    def update(self, snapshot: Snapshot) -> None:
        """Nobody looks."""


@pytest.fixture
async def site() -> AsyncIterator[Ranged]:
    async with ranged(DATA) as one:
        yield one


def said(folder: Path, site: Ranged, **sections: dict[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = {
        "name": "t",
        "input": {"urls": [site.url]},
        "retry": {"backoff": {"initial": "1ms", "max": "5ms"}},
        "output": {"dir": str(folder / "out"), "sync": "commit"},
    }
    for section, table in sections.items():
        data[section] = {**data.get(section, {}), **table}
    return data


def job(folder: Path, site: Ranged, **sections: dict[str, Any]) -> LoadedJob:
    return build(said(folder, site, **sections), folder)


async def run(loaded: LoadedJob, **options: Any) -> Ended:
    return await run_job(loaded, Options(**options), lambda _: Silent())


def record_of(ended: Ended) -> dict[str, Any]:
    (line,) = (ended.run_folder / "records.jsonl").read_bytes().splitlines()
    record: dict[str, Any] = orjson.loads(line)
    return record


def assert_whole(ended: Ended, folder: Path, data: bytes = DATA) -> dict[str, Any]:
    """One record, its body right, and nothing left over."""
    record = record_of(ended)
    assert ended.exit_code == ExitCode.OK, record
    assert (record["outcome"], record["status"], record["bytes"]) == ("fetched", 200, len(data))
    assert record["sha256"] == sha256(data).hexdigest()
    assert (ended.run_folder / record["body"]).read_bytes() == data
    assert not list((folder / "out" / "t" / "parts").glob("*"))
    with sqlite3.connect(folder / "out" / "t" / "state.db") as db:
        assert db.execute("SELECT count(*) FROM partials").fetchone() == (0,)
    return record


async def test_a_body_that_is_cut_again_and_again_comes_whole(tmp_path: Path, site: Ranged) -> None:
    """More cuts than attempts are allowed; few bytes come twice, and an attempt that gains is not counted."""
    site.cut = lambda seen: MIB + 100_000
    record = assert_whole(await run(job(tmp_path, site, retry={"attempts": 2})), tmp_path)
    assert len(site.seen) > 20
    assert site.sent <= 1.1 * len(DATA)
    assert record["attempts"] == 1


async def test_a_server_without_ranges_is_tried_as_often_as_any(tmp_path: Path, site: Ranged) -> None:
    """To begin at the start each time is no gain, so it comes to an end."""
    site.headers = {"ETag": '"v1"'}
    site.know_no_ranges()
    site.cut = lambda seen: 5 * MIB
    ended = await run(job(tmp_path, site, retry={"attempts": 3}))
    record = record_of(ended)
    assert (record["outcome"], record["reason"], record["attempts"]) == ("failed", "truncated", 3)
    assert len(site.seen) == 4


async def test_a_body_that_changes_half_way_is_the_new_one(tmp_path: Path, site: Ranged) -> None:
    """Whole, and of one version."""

    def change(seen: Seen) -> None:
        if seen.number == 3:
            site.data, site.headers["ETag"] = NEW, '"v2"'

    site.answer = change
    site.cut = lambda seen: 5 * MIB if seen.number in (1, 2, 3) else None
    assert_whole(await run(job(tmp_path, site)), tmp_path, NEW)


async def stopped(loaded: LoadedJob, size: int) -> Ended:
    """A run that is cut once so many bytes came."""
    held: list[Pipeline] = []
    running = asyncio.create_task(run(loaded, held=held.append))
    await until(lambda: bool(held) and sum(transfer.bytes for transfer in held[0].watch.transfers) >= size)
    held[0].stop()
    held[0].stop()
    return await running


async def test_a_run_that_is_cut_goes_on(tmp_path: Path, site: Ranged) -> None:
    """The next one asks for the rest alone."""
    site.cut, site.hang = lambda seen: 9 * MIB if seen.number == 1 else None, True
    loaded = job(tmp_path, site)
    ended = await stopped(loaded, 9 * MIB)
    assert ended.exit_code == ExitCode.STOPPED
    assert_whole(await run(loaded), tmp_path)
    assert site.ranges == [None, f"bytes={9 * MIB}-"]


async def test_the_next_run_goes_on_with_what_failed(tmp_path: Path, site: Ranged) -> None:
    """What a finished run kept of a body is of use to one that begins anew."""
    site.cut = lambda seen: 9 * MIB if seen.number == 1 else None
    loaded = job(tmp_path, site, retry={"attempts": 1})
    assert (await run(loaded)).exit_code == ExitCode.FAILED
    assert_whole(await run(loaded, fresh=True), tmp_path)
    assert site.ranges == [None, f"bytes={9 * MIB}-"]


CHILD = """
import asyncio, sys, orjson
from pathlib import Path
import crawler.partfile
from crawler.jobfile import build
from crawler.opening import Options
from crawler.run import run_job

class Silent:
    def update(self, snapshot): pass

crawler.partfile._SYNC_EVERY = 1024 * 1024
loaded = build(orjson.loads(sys.argv[1]), Path(sys.argv[2]))
asyncio.run(run_job(loaded, Options(), lambda _: Silent()))
"""


def kept(folder: Path) -> int:
    """Bytes of the body that a row vouches for."""
    try:
        with sqlite3.connect(f"file:{folder / 'out' / 't' / 'state.db'}?mode=ro", uri=True) as db:
            rows = db.execute("SELECT state FROM partials").fetchall()
    except sqlite3.Error:
        return 0
    return sum(stop - start for (text,) in rows for start, stop in orjson.loads(text)["spans"])


async def killed(folder: Path, site: Ranged, at_least: int, **sections: dict[str, Any]) -> int:
    """A run in a process of its own, killed once so much is vouched for; how much that is."""
    text = orjson.dumps(said(folder, site, **sections)).decode()
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", CHILD, text, str(folder))
    try:
        async with asyncio.timeout(60):
            while kept(folder) < at_least:
                assert child.returncode is None
                await asyncio.sleep(0.02)
    finally:
        if child.returncode is None:
            os.kill(child.pid, signal.SIGKILL)
        await child.wait()
    return kept(folder)


async def test_a_killed_run_goes_on_twice(tmp_path: Path, site: Ranged) -> None:
    """From what was durable; bytes beyond, and a part that was damaged there, are not trusted."""
    site.cut, site.hang = lambda seen: 7 * MIB, True
    first = await killed(tmp_path, site, 5 * MIB)
    (part,) = (tmp_path / "out" / "t" / "parts").iterdir()
    part.write_bytes(part.read_bytes()[:first] + b"?" * 3 * MIB)
    second = await killed(tmp_path, site, first + 5 * MIB)
    assert second > first
    site.cut = lambda seen: None
    assert_whole(await run(job(tmp_path, site)), tmp_path)
    starts = [seen.start for seen in site.seen]
    assert starts[0] is None
    assert starts[1:] == [first, second]


async def test_a_killed_run_begins_anew_where_the_body_changed(tmp_path: Path, site: Ranged) -> None:
    """The validator of the row is asked for, and no old byte is in the new body."""
    site.cut, site.hang = lambda seen: 7 * MIB, True
    await killed(tmp_path, site, 5 * MIB)
    site.data, site.headers["ETag"], site.cut = NEW, '"v2"', lambda seen: None
    assert_whole(await run(job(tmp_path, site)), tmp_path, NEW)
    assert site.seen[1].headers["if-range"] == '"v1"'


@pytest.mark.parametrize("per_host", [1, 2, 4])
async def test_segments_stay_within_the_hosts_concurrency(tmp_path: Path, site: Ranged, per_host: int) -> None:
    """limits.segments_per_file never leads to more connections than limits.per_host."""
    limits = {"segments_per_file": 8, "per_host": per_host, "workers": 16}
    assert_whole(await run(job(tmp_path, site, limits=limits)), tmp_path)
    assert site.most_at_once == min(per_host, 3)  # of 24 MiB no more than three parts are made


async def test_a_killed_run_of_segments_goes_on(tmp_path: Path, site: Ranged) -> None:
    """Its gaps alone are asked for."""
    limits = {"segments_per_file": 3, "workers": 16}
    site.cut, site.hang = lambda seen: 3 * MIB, True
    there = await killed(tmp_path, site, 5 * MIB, limits=limits)
    site.cut, before = lambda seen: None, site.sent
    assert_whole(await run(job(tmp_path, site, limits=limits)), tmp_path)
    assert site.sent - before <= len(DATA) - there + 8 * MIB
    assert all(seen.start is not None for seen in site.seen[1:])
