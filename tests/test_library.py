"""Runs inside the loop of another program, against real servers on loopback."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic
from typing import Any

import orjson
import pytest

import crawler
import crawler.library
from crawler.errors import BusyError, ExitCode, JobError, StorageError
from crawler.folders import JobFolder
from crawler.jobfile import build
from crawler.logs import mask_with
from crawler.masking import Mask
from crawler.status import status_of
from tests.peers import on_both_loops
from tests.servers import Asked, RawSite, raw_site, reply

pytestmark = pytest.mark.slow

SECRET = "sesame-0451"


def data(folder: Path, site: RawSite, count: int, **sections: Any) -> dict[str, Any]:
    return {
        "name": "t",
        "input": {"urls": [site.url(f"/{n}") for n in range(count)]},
        "limits": {"workers": 8, "adaptive": False},
        "output": {"dir": str(folder / "out")},
        **sections,
    }


def written(folder: Path) -> list[str]:
    """The URLs of all committed records, in their order; of the latest run."""
    lines = (folder / "out/t/latest/records.jsonl").read_bytes().splitlines()
    return [orjson.loads(line)["url"] for line in lines]


def free(folder: Path) -> bool:
    """Is the lock given back, and nothing alive but the test."""
    return not JobFolder(folder / "out", "t").held() and not [
        task for task in asyncio.all_tasks() if task.get_name() == "crawler run"
    ]


async def take(job: crawler.library.AnyJob, **options: bool) -> list[crawler.Record]:
    """All records of a whole run."""
    async with crawler.open(job, **options) as run:
        return [record async for record in run]


async def first(job: crawler.library.AnyJob) -> crawler.Run:
    """The run, left by a break after its first record."""
    async with crawler.open(job) as run:
        async for _ in run:
            break
    return run


async def extend(taken: list[str], run: crawler.Run) -> None:
    async for record in run:
        taken.append(record.url)


async def idle(run: crawler.Run) -> None:
    """Wait until nothing is under way, since nobody listens, though something waits.

    Looked at ten times in a row: all workers may stand between two requests at one look.
    """
    looks = 0
    while looks < 10:
        await asyncio.sleep(0.02)
        looks = looks + 1 if "behind" in repr(run) and not run.snapshot().in_flight else 0
    assert run.snapshot().waiting


@on_both_loops
async def test_each_record_is_given_once_and_in_the_order_of_the_file(tmp_path: Path) -> None:
    """What iterating gives are the lines of records.jsonl, with their bodies; afterwards the run says how it ended."""
    async with (
        raw_site(lambda asked: reply(404 if asked.path == "/7" else 200, asked.path.encode())) as site,
        crawler.open(data(tmp_path, site, 50)) as run,
    ):
        records = [record async for record in run]
        assert [record.url for record in records] == written(tmp_path)
        assert {record.url for record in records} == {site.url(f"/{n}") for n in range(50)}
        for record in records:
            path = record.url.rpartition("/")[2]
            assert await run.body(record) == (None if path == "7" else f"/{path}".encode())
        assert run.ended is not None
        assert (run.ended.exit_code, run.ended.run_folder) == (ExitCode.FAILED, run.folder)
        assert (run.snapshot().fetched, run.snapshot().failed) == (49, 1)
        summary = orjson.loads((run.folder / "summary.json").read_bytes())
        assert summary["outcomes"] == {"fetched": 49, "failed": 1, "skipped": 0}
    assert free(tmp_path)


async def test_nothing_is_given_before_its_commit(tmp_path: Path) -> None:
    """Whenever a record comes, the checkpoint counts as many and its line stands in the file."""
    async with raw_site(latency=0.05) as site:
        job = build(data(tmp_path, site, 200), tmp_path).job
        seen = 0
        async with crawler.open(job) as run:
            async for record in run:
                seen += 1
                assert orjson.loads(status_of(job, as_json=True))["settled"] >= seen
                assert written(tmp_path)[seen - 1] == record.url
        assert seen == 200


async def test_an_early_break_stops_the_run_and_the_next_goes_on(tmp_path: Path) -> None:
    """After a break all that was committed is in the file, the lock is free, and the rest comes from the next start."""
    async with raw_site(latency=0.02) as site:
        job = data(tmp_path, site, 1000)
        run = await first(job)
        assert free(tmp_path)
        assert run.ended is not None
        assert run.ended.exit_code == ExitCode.STOPPED
        early = written(tmp_path)
        assert 0 < len(early) < 1000
        assert len(site.asked) == len(early)  # what was in flight came to its end
        rest = [record.url for record in await take(job)]
        assert written(tmp_path) == early + rest
        assert sorted(early + rest) == sorted(job["input"]["urls"])
        assert len(site.asked) == 1000


async def test_rows_that_left_the_list_are_given_as_well(tmp_path: Path) -> None:
    """What the next start records before it fetches anything comes first, in the order of the file."""
    async with raw_site(latency=0.02) as site:
        job = data(tmp_path, site, 1000)
        await first(job)
        early = written(tmp_path)
        left = next(url for url in job["input"]["urls"] if url not in early)
        job["input"]["urls"].remove(left)
        records = await take(job)
        assert [records[0].url, records[0].outcome, records[0].reason] == [left, "skipped", "removed"]
        assert early + [record.url for record in records] == written(tmp_path)
        assert len(written(tmp_path)) == 1000


@on_both_loops
async def test_an_exception_inside_comes_out_as_it_is(tmp_path: Path) -> None:
    """The run is stopped and the lock free, and whoever iterated sees the exception that it raised."""
    async with raw_site(latency=0.02) as site:

        async def failing() -> None:
            async with crawler.open(data(tmp_path, site, 1000)) as run:
                async for record in run:
                    assert record.depth / 0

        with pytest.raises(ZeroDivisionError):
            await failing()
        assert free(tmp_path)
        assert 0 < len(written(tmp_path)) < 1000


@on_both_loops
async def test_a_cancellation_cuts_what_is_in_flight(tmp_path: Path) -> None:
    """Whoever cancels does not wait for a server that says nothing; the next start asks that one again."""
    stuck = [True]

    async def silence() -> AsyncIterator[bytes]:
        await asyncio.sleep(3600)
        yield b""

    def answer(asked: Asked) -> bytes | AsyncIterator[bytes]:
        return silence() if stuck[0] and asked.path == "/3" else reply()

    async with raw_site(answer) as site:
        job, first = data(tmp_path, site, 6), []

        async def collect() -> None:
            async with crawler.open(job) as run:
                async for record in run:
                    first.append(record.url)

        collecting = asyncio.create_task(collect())
        while len(first) < 5:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
        began = monotonic()
        collecting.cancel()
        await asyncio.wait({collecting})
        assert collecting.cancelled()
        assert monotonic() - began < 10
        assert free(tmp_path)
        assert sorted(first) == sorted(set(job["input"]["urls"]) - {site.url("/3")})
        stuck[0] = False
        assert [record.url for record in await take(job)] == [site.url("/3")]


async def test_a_cancellation_in_the_midst_of_a_drain_cuts(tmp_path: Path) -> None:
    """Whoever breaks out waits for what is in flight, but no longer than he is allowed to."""

    async def silence() -> AsyncIterator[bytes]:
        await asyncio.sleep(3600)
        yield b""

    async with raw_site(lambda asked: silence() if asked.path == "/1" else reply()) as site:
        began = monotonic()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(first(data(tmp_path, site, 2)), 2)
        assert monotonic() - began < 10
        assert free(tmp_path)


async def test_who_is_cancelled_before_the_run_began_leaves_nothing(tmp_path: Path) -> None:
    """A time-out that is over while `async with` is entered ends the run as well."""
    async with raw_site() as site:
        job = data(tmp_path, site, 3)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0), crawler.open(job):
                pytest.fail("it was entered")
        assert free(tmp_path)
        assert len(await take(job)) == 3


async def test_a_generator_over_a_run_may_be_closed(tmp_path: Path) -> None:
    """A run within an async generator is stopped when that is closed early."""

    async def urls(job: dict[str, Any]) -> AsyncIterator[str]:
        async with crawler.open(job) as run:
            async for record in run:
                yield record.url

    async with raw_site(latency=0.02) as site:
        generator = urls(data(tmp_path, site, 1000))
        assert (await anext(generator)).startswith(site.url())
        await generator.aclose()  # type: ignore[attr-defined]
        assert free(tmp_path)


async def test_who_takes_slowly_holds_up_the_fetching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing is taken the servers are left alone; afterwards nothing is missing or there twice."""
    monkeypatch.setattr("crawler.listening._MOST", 50)
    async with raw_site() as site:
        job = data(tmp_path, site, 3000)
        async with crawler.open(job) as run:
            taken = [(await anext(run)).url]
            await idle(run)
            asked = len(site.asked)
            await asyncio.sleep(1.0)  # more than the time between two commits
            assert len(site.asked) == asked < 3000
            assert "behind" in repr(run)
            taken += [record.url async for record in run]
        assert taken == written(tmp_path)
        assert sorted(taken) == sorted(job["input"]["urls"])


async def test_a_run_that_is_held_up_can_be_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that wait for whoever listens do not wait for one who has gone."""
    monkeypatch.setattr("crawler.listening._MOST", 50)
    async with raw_site() as site:
        async with crawler.open(data(tmp_path, site, 3000)) as run:
            await idle(run)
        assert free(tmp_path)
        assert len(written(tmp_path)) == len(site.asked) < 3000


@on_both_loops
async def test_two_jobs_run_beside_each_other(tmp_path: Path) -> None:
    """In one loop each run gives its own records; the same job a second time is busy, and harms the first one not."""
    async with raw_site(latency=0.01) as site:
        one, other = data(tmp_path, site, 200), {**data(tmp_path, site, 150), "name": "other"}
        async with crawler.open(one) as run:
            with pytest.raises(BusyError, match=f"pid {os.getpid()}"):
                await take(one)
            beside = asyncio.create_task(take(other))
            mine = [record.url async for record in run]
            theirs = [record.url for record in await beside]
        assert sorted(mine) == sorted(one["input"]["urls"])
        assert sorted(theirs) == sorted(other["input"]["urls"])


async def test_two_tasks_share_one_run(tmp_path: Path) -> None:
    """Each record goes to one of them, and both come to the end."""
    async with raw_site() as site, crawler.open(data(tmp_path, site, 300)) as run:

        async def consume() -> list[str]:
            return [record.url async for record in run]

        shares = await asyncio.gather(consume(), consume())
        assert sorted(shares[0] + shares[1]) == sorted(written(tmp_path))
        assert len(written(tmp_path)) == 300


async def test_a_job_may_be_a_file_data_or_loaded(tmp_path: Path) -> None:
    """All of them lead to the same records; `fresh` begins anew what was not finished."""
    async with raw_site(latency=0.02) as site:
        job = data(tmp_path, site, 20)
        (tmp_path / "t.json").write_bytes(orjson.dumps(job))
        loaded = build(job, tmp_path)
        for given in (job, tmp_path / "t.json", str(tmp_path / "t.json"), loaded, loaded.job):
            assert len(await take(given)) == 20
        await first({**job, "output": {"dir": str(tmp_path / "other")}})
        job["output"] = {"dir": str(tmp_path / "other"), "layout": "mirror"}  # not to be mixed into the unfinished run
        with pytest.raises(JobError, match=r"output\.layout"):
            await take(job)
        assert len(await take(job, fresh=True)) == 20


async def test_a_wrong_job_is_told_as_a_whole(tmp_path: Path) -> None:
    """Every problem stands in the JobError, and nothing is created."""
    with pytest.raises(JobError) as caught:
        await take({"name": "t", "input": {"urls": ["http://e.org/"]}, "limits": {"wokers": 3}, "outptu": {}})
    assert sorted(problem.split(":")[0] for problem in caught.value.problems) == ["limits.wokers", "outptu"]
    with pytest.raises(JobError, match=r"nope\.toml"):
        await take(tmp_path / "nope.toml")
    assert list(tmp_path.iterdir()) == []


async def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    """It comes out of entering, where the command line would end with 4."""
    (tmp_path / "out").write_text("in the way")
    async with raw_site() as site:
        with pytest.raises(StorageError):
            async with crawler.open(data(tmp_path, site, 1)):
                pytest.fail("it was entered")


async def test_storage_trouble_comes_out_of_iterating_after_what_is_safe(tmp_path: Path) -> None:
    """Records that were committed before are given; then the error, once: leaving is quiet."""
    async with raw_site(latency=0.02) as site:
        async with crawler.open(data(tmp_path, site, 1000)) as run:
            taken = [(await anext(run)).url]
            shutil.rmtree(run.folder / "bodies")
            with pytest.raises(StorageError):
                await extend(taken, run)
        assert taken == written(tmp_path)[: len(taken)]
        assert free(tmp_path)


async def test_storage_trouble_that_nobody_met_comes_out_of_leaving(tmp_path: Path) -> None:
    """A break does not hide that the last group could not be written."""
    async with raw_site(latency=0.02) as site:

        async def breaking() -> None:
            async with crawler.open(data(tmp_path, site, 1000)) as run:
                await anext(run)
                shutil.rmtree(run.folder / "bodies")

        with pytest.raises(StorageError):
            await breaking()
        assert free(tmp_path)


async def test_secrets_are_masked_in_records_and_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that gives a credential back finds it neither in what is given out nor in the program's own log."""
    monkeypatch.setenv("CRAWLER_TEST_TOKEN", SECRET)
    seen = []

    def answer(asked: Asked) -> bytes:
        seen.append(asked.headers.get("authorization"))
        target = {"/0": f"/{SECRET}", "/1": f"ftp://e.org/{SECRET}"}.get(asked.path)
        return reply(404) if target is None else reply(302, b"", {"Location": target})

    async with raw_site(answer) as site:
        auth = {"a": {"type": "bearer", "token": "env:CRAWLER_TEST_TOKEN", "hosts": ["127.0.0.1"]}}
        with caplog.at_level(logging.DEBUG):
            records = await take(data(tmp_path, site, 2, auth=auth))
    assert seen[0] == f"Bearer {SECRET}"
    said = {record.url: (record.final_url, record.error or "") for record in records}
    assert said[site.url("/0")][0] == site.url("/***")
    assert "ftp://e.org/***" in said[site.url("/1")][1]
    assert "ftp://e.org/***" in caplog.text
    assert SECRET not in caplog.text


def test_secrets_are_masked_in_tracebacks(caplog: pytest.LogCaptureFixture) -> None:
    """A fault of ours that a program logs tells where it was, without the secret."""
    mask = Mask([SECRET])
    mask_with(mask)
    try:
        raise ValueError(f"no {SECRET}")
    except ValueError:
        crawler.library.log.exception("here")
    assert "ValueError: no ***" in caplog.text
    assert "test_secrets_are_masked_in_tracebacks" in caplog.text
    assert SECRET not in caplog.text


def test_a_program_without_logging_prints_nothing(tmp_path: Path) -> None:
    """Neither a failure nor the missing contact reaches stderr, and the log of the program has both once it wants."""
    code = (
        "import asyncio, logging, sys, crawler\n"
        "if sys.argv[1:]: logging.basicConfig()\n"
        "print([result.error for result in asyncio.run(crawler.fetch_all(['nope']))])"
    )
    quiet, told = (
        subprocess.run([sys.executable, "-c", code, *more], cwd=tmp_path, capture_output=True, timeout=60, check=True)
        for more in ([], ["log"])
    )
    assert b"has no scheme" in quiet.stdout
    assert quiet.stderr == b""
    assert b"WARNING:crawler:failed nope" in told.stderr


def test_the_signals_of_a_program_stay_its_own(tmp_path: Path) -> None:
    """SIGINT cancels the program's own task, as asyncio does: the run is ended in order."""
    code = (
        "import asyncio, os, signal, sys, crawler\n"
        "async def main():\n"
        "    async with crawler.open({'name': 't', 'input': {'urls': [sys.argv[1]]}}):\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        await asyncio.sleep(60)\n"
        "try: asyncio.run(main())\n"
        "except KeyboardInterrupt: print('interrupted')"
    )
    url = "http://127.0.0.1:9/"
    ended = subprocess.run([sys.executable, "-c", code, url], cwd=tmp_path, capture_output=True, timeout=60, check=True)
    assert (ended.stdout, ended.stderr) == (b"interrupted\n", b"")
    assert not JobFolder(tmp_path / "output", "t").held()
