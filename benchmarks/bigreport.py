"""report.html and `crawler diff` of runs of 1,000,000 records: seconds, peak memory, size of the page.

The records are generated, in the layout and of the size of a real run's; each figure is that of a process of its own,
its start included.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from benchmarks.measure import cost
from benchmarks.site import folder
from benchmarks.table import Line
from crawler.errors import ExitCode
from crawler.folders import JobFolder
from crawler.model import Elapsed, Record
from crawler.report import Summary, summarize, write_summary
from crawler.schema import open_db
from crawler.tally import Tally
from tests.fakes import SNAPSHOT

RUNS = ("20260101T000000Z-aaaaaa", "20260102T000000Z-bbbbbb")
_BEGUN = datetime(2026, 1, 2, 3, 0, tzinfo=UTC)
_RATE = 500  # a second
_FAILED = (("status-404", 404), ("status-503", 503), ("connect-timeout", None), ("dns-not-found", None), ("stall", 200))


def run(*, quick: bool, full: bool) -> list[Line]:
    """1,000,000 records; quick: 100,000."""
    count = 100_000 if quick else 1_000_000
    with folder() as where:
        job = make_job(where, count)
        command = [sys.executable, "-m", "crawler"]
        page = where / "report.html"
        spent = cost([*command, "report", str(job), "-o", str(page)], log=str(where / "said"))
        assert spent.code == 0, (where / "said").read_text()[-2000:]
        compared = cost([*command, "diff", str(job)], log=str(where / "differences"))
        assert compared.code == 0, (where / "differences").read_text()[-2000:]
        lines = (where / "differences").read_bytes().count(b"\n") - 1  # and one of counts
        size = page.stat().st_size
    return [
        Line(f"report of {count:,} records", f"{spent.wall:.1f} s, {spent.rss / 1e6:.0f} MB", "< 20 s, < 300 MB"),
        Line("  size of report.html", f"{size / 1e6:.2f} MB", "< 5 MB"),
        Line(
            f"diff of two such runs, {lines:,} lines",
            f"{compared.wall:.1f} s, {compared.rss / 1e6:.0f} MB",
            "beside it",
        ),
    ]


def make_job(where: Path, count: int) -> Path:
    """A job file whose folder holds two finished runs of so many records, of which a tenth changed."""
    job = where / "big.toml"
    job.write_text(f'name = "big"\n[input]\nurls = ["http://a.example/"]\n[output]\ndir = "{where}"\n')
    place = JobFolder(where, "big")
    for n, run_id in enumerate(RUNS):
        make_run(place, run_id, count, changes=n > 0)
    return job


def make_run(place: JobFolder, run_id: str, count: int, *, changes: bool) -> None:
    """The folder of one run, and what state.db says of it."""
    run_folder = place.run(run_id)
    run_folder.mkdir(parents=True)
    tally = Tally()
    with (
        open(run_folder / "records.jsonl", "wb", buffering=1 << 20) as file,
        open(run_folder / "progress.jsonl", "wb") as told,
    ):
        for n, record in enumerate(records(run_id, count, changes=changes)):
            change = record.pop("change")
            line = Record(**record)
            tally.add(line, record["url"].split("/")[2], change)
            file.write(orjson.dumps({**record, "change": change}) + b"\n")
            if n % (_RATE * 10) == 0:
                told.write(_moment(tally, n / _RATE))
        for host in range(20):
            tally.wait(f"host{host}.example", host * 3.5)
        told.write(_moment(tally, count / _RATE))
    begun = _BEGUN.timestamp()
    last = SNAPSHOT._replace(job="big", run=run_id, state="finished", at=begun + count / _RATE, elapsed=count / _RATE)
    summary: Summary = summarize(tally, last._replace(known=count), begun, ExitCode.FAILED)
    write_summary(run_folder, summary)
    _tell_state(place, run_id, tally, begun, count)


def records(run_id: str, count: int, *, changes: bool) -> Iterator[dict[str, Any]]:
    """Records as a run writes them: 300 hosts of very different size, one failure in 25, latencies of a long tail."""
    chance = random.Random(1)  # both runs have the same URLs
    blank: dict[str, Any] = {field.name: None for field in fields(Record)}
    for n in range(count):
        host = min(int(chance.expovariate(1 / 40)), 299)
        url = f"https://host{host}.example/section-{n % 97}/article-{n}.html?page={n % 7}"
        moment = (_BEGUN + timedelta(seconds=n / _RATE)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        waited = 20 + host + chance.lognormvariate(3.5, 0.9)
        record = blank | {
            "id": n + 1,
            "run": run_id,
            "url": url,
            "final_url": url,
            "method": "GET",
            "attempts": 1,
            "depth": 0,
            "started_at": moment,
            "request_id": f"{run_id}-{n + 1}-1-0",
            "place": f"urls.txt:{n + 1}",
            "elapsed_ms": Elapsed(None, None, round(waited, 2), round(waited * 1.3, 2)),
        }
        changed = changes and n % 10 == 0
        yield _ended(record, n, chance, changed) | {
            "change": ("changed" if changed else "unchanged") if changes else "new"
        }


def _ended(record: dict[str, Any], n: int, chance: random.Random, changed: bool) -> dict[str, Any]:
    if n % 25 == 7:
        reason, status = _FAILED[chance.randrange(len(_FAILED))]
        error = f"{reason}: the answer was not what was asked for"
        return record | {"outcome": "failed", "reason": reason, "status": status, "attempts": 3, "error": error}
    size = int(chance.lognormvariate(9.3, 1.1))
    return record | {
        "outcome": "fetched", "status": 200, "bytes": size, "content_type": "text/html; charset=utf-8",
        "charset": "utf-8", "sha256": sha256(b"%d %d" % (n, changed)).hexdigest(), "etag": f'"{n:x}"',
        "last_modified": "Fri, 02 Jan 2026 03:00:00 GMT", "length_checked": True,
        "body": f"bodies/ab/cd/{n:064x}.html",
    }  # fmt: skip


def _moment(tally: Tally, elapsed: float) -> bytes:
    counts = {name: getattr(tally, name) for name in ("fetched", "failed", "skipped", "bytes")}
    return orjson.dumps({"event": "progress", "elapsed": elapsed, **counts}) + b"\n"


def _tell_state(place: JobFolder, run_id: str, tally: Tally, begun: float, count: int) -> None:
    spent = count / _RATE
    row = (run_id, begun, begun + spent, "finished", 1, spent, tally.to_json(), "{}")
    length = (place.run(run_id) / "records.jsonl").stat().st_size
    db = open_db(place.state)
    with db:
        names = "id, started, ended, state, exit_code, elapsed, tally, job"
        db.execute(f"INSERT INTO runs ({names}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        db.execute("DELETE FROM segments")
        db.execute("INSERT INTO segments (name, length, tail) VALUES ('records.jsonl', ?, '')", (length,))
    db.close()
