"""`crawler retry` killed at its system calls: whatever stands there is whole, and the next start ends what it began."""

from __future__ import annotations

import asyncio
import csv
import shutil
import sqlite3
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from crawler.errors import ExitCode
from crawler.jobfile import LoadedJob, build
from crawler.opening import Options
from crawler.picking import Picked
from crawler.run import Ended, run_job
from crawler.verify import Verifier
from tests.jobs import Unseen
from tests.servers import Asked, raw_site, reply

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

COUNT = 300
# Copies made durable, the commit, files moved, what is left removed. The signal comes
# when the call is about to be made.
SHOTS = [("fdatasync", 1), ("fdatasync", 9)]
SHOTS += [("rename", 1), ("rename", 2), ("rename", 4), ("rmdir", 1)]


def said(folder: Path, urls: list[str]) -> dict[str, Any]:
    return {
        "name": "t",
        "input": {"urls": urls},
        "output": {
            "dir": str(folder / "out"),
            "records": ["jsonl", "csv", "parquet"],
            "part_rows": 100,
            "bodies": ["files", "warc"],
        },
        "retry": {"attempts": 1},
        "breaker": {"failures": 1000},
    }


async def start(loaded: LoadedJob, **options: Any) -> Ended:
    return await run_job(loaded, Options(**options), lambda _: Unseen())


async def killed(folder: Path, call: str, nth: int) -> bool:
    """`crawler retry`, ended by SIGKILL at the nth call of a kind; False where it was over before."""
    inject = f"inject={call}:signal=SIGKILL:when={nth}"
    wrap = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject]
    process = await asyncio.create_subprocess_exec(
        *wrap, sys.executable, "-m", "crawler", "retry", "job.json", "-q", cwd=folder
    )
    return await asyncio.wait_for(process.wait(), 60) == -9


def state_of(folder: Path) -> tuple[str, bool]:
    """Of the run, and whether files are still to be moved."""
    with sqlite3.connect(folder / "out/t/state.db") as db:
        [(state,)] = db.execute("SELECT state FROM runs").fetchall()
        found = state, bool(db.execute("SELECT 1 FROM meta WHERE key = 'replace'").fetchone())
    db.close()
    return found


def ids(folder: Path) -> list[list[int]]:
    """Of the records in each form."""
    import pyarrow.dataset as ds

    run = folder / "out/t/latest"
    with open(run / "records.csv", newline="") as file:
        rows = [int(row["id"]) for row in csv.DictReader(file)]
    lines = [orjson.loads(line)["id"] for line in (run / "records.jsonl").read_bytes().splitlines()]
    return [sorted(lines), sorted(rows), sorted(ds.dataset(run / "records").to_table().column("id").to_pylist())]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
async def test_a_retry_may_be_killed_anywhere(tmp_path: Path) -> None:
    """Nothing is lost, nothing is there twice, and what had succeeded is not asked for again."""

    def ill(asked: Asked) -> bytes:
        return reply(503 if int(asked.path[1:]) % 7 == 0 else 200, asked.path.encode() * 50)

    async with raw_site(ill) as site:
        data = said(tmp_path, [site.url(f"/{n}") for n in range(COUNT)])
        (tmp_path / "job.json").write_bytes(orjson.dumps(data))
        loaded = build(data, tmp_path)
        first = await start(loaded)
        failed = first.tally.failed
        assert failed > 40
        shutil.copytree(tmp_path / "out", tmp_path / "before", symlinks=True)
        site.answer = lambda asked: reply(200, asked.path.encode() * 50)
        site.asked.clear()
        states = set()
        for call, nth in SHOTS:
            shutil.rmtree(tmp_path / "out")
            shutil.copytree(tmp_path / "before", tmp_path / "out", symlinks=True)
            assert await killed(tmp_path, call, nth), (call, nth)
            state = state_of(tmp_path)
            states.add(state)
            assert list(Verifier(loaded.job).faults()) == [], (call, nth)
            ended = await start(loaded, again=Picked() if state[0] == "finished" else None)
            assert (ended.exit_code, ended.run_folder) == (ExitCode.OK, first.run_folder), (call, nth)
            assert (ended.tally.fetched, ended.tally.failed) == (COUNT, 0)
            assert list(Verifier(loaded.job).faults()) == []
            assert ids(tmp_path) == [list(range(1, COUNT + 1))] * 3
        assert {int(path[1:]) % 7 for path in site.paths()} == {0}
    assert states == {("finished", False), ("running", True), ("running", False)}
