"""Whole runs whose outputs must hold together: records that nobody keeps, names, bodies within records, open files."""

from __future__ import annotations

import errno
import gc
import os
import sqlite3
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from crawler import durable
from crawler.entry import LARGEST_INLINE
from crawler.errors import ExitCode, StorageError
from crawler.jobfile import build
from crawler.opening import Options
from crawler.partial import Partial, Span, Version
from crawler.pipeline import Pipeline
from crawler.run import Ended, run_job
from crawler.verify import Fault, Verifier
from tests.descriptors import open_files
from tests.jobs import Unseen, run
from tests.ranged import MIB, ranged
from tests.servers import RawSite, raw_site, reply

pytestmark = pytest.mark.slow


def said(folder: Path, site: RawSite, paths: list[str], **output: Any) -> dict[str, Any]:
    return {
        "name": "t",
        "input": {"urls": [f"http://127.0.0.1:{site.port}/{path}" for path in paths]},
        "output": {"dir": str(folder / "out"), **output},
    }


async def ended_of(folder: Path, data: dict[str, Any], **options: Any) -> tuple[Ended, list[Fault]]:
    """A run, and what is wrong with it."""
    loaded = build(data, folder)
    ended = await run_job(loaded, Options(**options), lambda _: Unseen())
    return ended, list(Verifier(loaded.job).faults())


@pytest.mark.parametrize("records", ["parquet", "csv"])
async def test_uploads_are_committed_when_the_journal_is_gone(tmp_path: Path, records: str) -> None:
    """What arrives after the end of the crawl is noted, and the checkpoint vouches for no journal again."""
    (tmp_path / "target").mkdir()
    upload = {"to": f"file://{tmp_path}/target"}
    async with raw_site() as site:
        ended, faults = await ended_of(tmp_path, said(tmp_path, site, ["a", "b"], records=records, upload=upload))
    assert (ended.exit_code, faults) == (ExitCode.OK, [])
    assert ended.uploads is not None
    assert (ended.uploads.done > 0, ended.uploads.left) == (True, 0)


@pytest.mark.parametrize("records", ["parquet", "csv"])
async def test_partials_are_forgotten_when_the_journal_is_gone(tmp_path: Path, records: str) -> None:
    """A body that came in part, and that the next run does not ask for, keeps nothing from ending well."""
    old = Partial("x.part", "http://127.0.0.1/old", Version('"v"', None, 10), (Span(0, 5),))
    async with raw_site() as site:
        data = said(tmp_path, site, ["a"], records=records)
        await ended_of(tmp_path, data)
        with sqlite3.connect(tmp_path / "out" / "t" / "state.db") as db:
            db.execute("INSERT INTO partials VALUES (?, ?)", (old.url, old.dumps()))
        db.close()
        ended, faults = await ended_of(tmp_path, data)
    assert (ended.exit_code, faults) == (ExitCode.OK, [])


@pytest.mark.parametrize("records", ["parquet", "csv", "jsonl"])
async def test_a_run_that_has_committed_nothing_has_no_fault(tmp_path: Path, records: str) -> None:
    """Whatever form its records will have."""
    async with raw_site() as site:
        ended, faults = await ended_of(tmp_path, said(tmp_path, site, ["a"], records=records), held=Pipeline.stop)
    assert (ended.exit_code, faults) == (ExitCode.STOPPED, [])


async def test_a_file_named_like_a_secret_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password that is a word of the URL is taken out of the URL, but the record's path is that of the file."""
    monkeypatch.setenv("WORD", "manual")
    auth = {"a": {"type": "basic", "user": "u", "password": "env:WORD", "hosts": ["127.0.0.1"]}}
    async with raw_site(lambda asked: reply(body=b"hello")) as site:
        rows = [{"url": f"http://127.0.0.1:{site.port}/manual/page", "case": "x"}]
        found = await run(tmp_path, rows, output={"dir": str(tmp_path / "out"), "layout": "mirror"}, auth=auth)
    assert found.body("x") == b"hello"
    assert "manual" not in found.of("x")["url"]


async def test_a_body_in_its_record_is_what_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that an answer repeats stands there, as in a file: else its digest would be that of another."""
    monkeypatch.setenv("WORD", "sesame-open-1234")
    auth = {"a": {"type": "bearer", "token": "env:WORD", "hosts": ["127.0.0.1"]}}
    async with raw_site(lambda asked: reply(body=b'{"token": "sesame-open-1234"}')) as site:
        data = said(tmp_path, site, ["a"], bodies="inline")
        ended, _ = await ended_of(tmp_path, {**data, "auth": auth})
    record = orjson.loads((ended.run_folder / "records.jsonl").read_bytes())
    assert sha256(record["content"].encode()).hexdigest() == record["sha256"]


@pytest.mark.parametrize("forms", [["inline"], ["inline", "files"]])
async def test_what_is_too_large_for_a_record_stands_elsewhere_or_fails(tmp_path: Path, forms: list[str]) -> None:
    """Memory is not to hold bodies of any size: beyond a bound one needs another form."""
    large = bytes(LARGEST_INLINE + 1)
    async with raw_site(lambda asked: reply(body=large)) as site:
        ended, _ = await ended_of(tmp_path, said(tmp_path, site, ["a"], bodies=forms))
    record = orjson.loads((ended.run_folder / "records.jsonl").read_bytes())
    assert (record["content"], record["content_base64"]) == (None, None)
    if "files" in forms:
        assert (ended.run_folder / record["body"]).read_bytes() == large
    else:
        assert (record["outcome"], record["reason"]) == ("failed", "too-large")


async def test_what_was_kept_of_a_body_is_forgotten_at_a_mirror(tmp_path: Path) -> None:
    """It was of the first URL, which is the one that the checkpoint knows it by."""
    large = Random(5).randbytes(24 * MIB)
    async with ranged(large) as first, ranged(large) as mirror:
        first.cut = lambda seen: 8 * MIB if seen.number == 1 else 0
        retry = {"attempts": 2, "backoff": {"initial": "1ms", "max": "5ms"}}
        found = await run(tmp_path, [{"url": first.url, "mirrors": [mirror.url], "case": "x"}], retry=retry)
    assert found.of("x")["final_url"] == mirror.url
    with sqlite3.connect(tmp_path / "out" / "t" / "state.db") as db:
        assert db.execute("SELECT url FROM partials").fetchall() == []
    db.close()


async def test_a_run_that_fails_closes_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that goes on after it has none of them open."""

    def broken(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async with raw_site() as site:
        data = said(tmp_path, site, ["a"], records=["csv", "parquet"], bodies=["warc", "tar"])
        with monkeypatch.context() as patched:
            patched.setattr(durable.os, "fdatasync", broken)
            with pytest.raises(StorageError):
                await ended_of(tmp_path, data)
    gc.collect()
    assert not [path for path in open_files() if str(tmp_path) in path]
