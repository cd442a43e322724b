"""A finished crawl of some thousand records with all that a report can show, hostile texts among it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from crawler.folders import JobFolder
from crawler.gathering import host_of
from crawler.model import Elapsed
from crawler.schema import open_db
from crawler.tally import Tally
from tests.exportruns import RUN, JobRuns, record
from tests.fakes import record_of

BEFORE = "20251231T000000Z-999999"
BEGUN = datetime(2026, 1, 2, 3, 0, tzinfo=UTC)
# What a page, a header or a server may put where we show it.
ATTACKS = (
    "<script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)" x=\'',
    "\x1b[2J\x1b]0;title\x07",
    "\u202egnp.exe\u2066",
    "&lt;b&gt; &amp;amp; \ufeff\u200b",
    "]]><!--",
    "line\nbreak\ttab\r",
    "x" * 5000,
)
JOB: dict[str, Any] = {
    "name": "news-archive",
    "input": {"urls": ["https://news0.example/"]},
    "limits": {"rate_per_host": "20/s"},
    "request": {"headers": {"Authorization": "env:TOKEN", "Accept": "text/html"}},
}


def full_run(output: Path, count: int = 4000) -> JobFolder:
    """The folder of job `j` with a finished run behind another one."""
    runs = JobRuns(output)
    runs.begin(BEFORE)
    runs.jsonl([record(1, b"old")])
    place = runs.begin(RUN)
    found = list(records(count))
    runs.jsonl(found)
    tally = _tally(found)
    (place / "progress.jsonl").write_bytes(b"".join(progress(count)))
    (place / "summary.json").write_bytes(orjson.dumps(summary(count)))
    began = BEGUN.timestamp()
    db = open_db(runs.folder.state)
    with db:
        row = (began, began + 400, 400.0, tally.to_json(), orjson.dumps(JOB).decode(), RUN)
        db.execute(
            "UPDATE runs SET started = ?, ended = ?, exit_code = 1, elapsed = ?, tally = ?, job = ? WHERE id = ?", row
        )
    db.close()
    return runs.folder


def records(count: int) -> Iterator[dict[str, Any]]:
    """Many hosts, a long tail of latencies, failures of several reasons, skips, changes and attacks."""
    chance = random.Random(7)
    for n in range(count):
        host = min(int(chance.expovariate(1 / 6)), 40)
        url = f"https://news{host}.example/{2020 + n % 6}/{n % 12 + 1:02}/an-article-of-some-length-{n}.html?ref=front"
        total = round(15 + 6 * host + chance.lognormvariate(3.6, 0.8), 2)
        said = record(
            n + 1,
            b"%d" % n,
            url=url,
            bytes=int(chance.lognormvariate(9.5, 1.2)),
            started_at=(BEGUN + timedelta(milliseconds=100 * n)).isoformat(timespec="milliseconds")[:-6] + "Z",
            elapsed_ms={"dns": None, "connect": None, "ttfb": round(total * 0.7, 2), "total": total},
            request_id=f"{RUN}-{n + 1}-1-0",
            change=("unchanged", "unchanged", "unchanged", "changed", "new")[n % 5],
        )
        yield said | _trouble(n, chance)


def _trouble(n: int, chance: random.Random) -> dict[str, Any]:
    if n < len(ATTACKS):
        text = ATTACKS[n]
        bad = {"url": f"http://evil.example/{text}", "error": text, "request_id": text, "warning": text}
        return bad | {"outcome": "failed", "reason": "bad-response", "status": None, "bytes": None, "change": None}
    if n % 31 == 5:
        status = chance.choice((404, 404, 404, 410, 500, 503))
        gone = "gone" if status in (404, 410) else None
        said = f"the server answered {status}, which [request] accept_status does not take"
        return {"outcome": "failed", "reason": f"status-{status}", "status": status, "error": said, "change": gone}
    if n % 67 == 3:
        said = "no connection within 10.0 s: 192.0.2.7:443 does not answer"
        return {"outcome": "failed", "reason": "connect-timeout", "status": None, "attempts": 4, "error": said,
                "bytes": None, "change": None, "sha256": None}  # fmt: skip
    if n % 53 == 8:
        said = "robots.txt of https://news3.example does not allow it"
        return {"outcome": "skipped", "reason": "robots", "status": None, "attempts": 0, "error": said, "bytes": None,
                "change": None, "elapsed_ms": None, "started_at": None, "request_id": None}  # fmt: skip
    if n % 211 == 9:
        return {"warning": "Content-Type says text/html, the body begins like image/png"}
    return {}


def progress(count: int) -> Iterator[bytes]:
    """Lines of progress.jsonl: a rise, a fall in the middle when a server failed, an end."""
    chance, done, failed, moved = random.Random(3), 0, 0, 0
    for step in range(1, 41):
        share = 0.2 if 18 <= step <= 21 else 1.0
        done = min(count, done + int(count / 36 * share * chance.uniform(0.85, 1.15)))
        failed += 14 if 18 <= step <= 21 else 3
        moved += int(2.4e6 * share * chance.uniform(0.6, 1.4))
        counts = {"fetched": done - failed, "failed": failed, "skipped": 0, "bytes": moved}
        yield orjson.dumps({"event": "progress", "elapsed": step * 10.0, **counts}) + b"\n"


def summary(count: int) -> dict[str, Any]:
    """What summary.json says of it."""
    return {
        "seconds": 400.0,
        "inputs": count,
        "importing": False,
        "warnings": ["request.contact is not set: give an address or a page, so that site owners can reach you"],
        "uploads": {"done": 120, "waiting": 2, "failed": 0, "bytes": 734003200},
        "links": {"links": 120_345, "pages": count, "known": 98_000, "out-of-scope": 17_210, "trap": 812},
        "traps": [
            {"pattern": "https://news4.example/calendar/{n}/{n}", "urls": 640},
            {"pattern": "https://evil.example/<b>{n}</b>", "urls": 172},
        ],
    }


def _tally(found: list[dict[str, Any]]) -> Tally:
    tally = Tally()
    for said in found:
        line = record_of(said["id"], url=said["url"])
        line.outcome, line.reason, line.status = said["outcome"], said["reason"], said["status"]
        line.bytes, line.attempts = said["bytes"], said["attempts"]
        if said["elapsed_ms"]:
            line.elapsed_ms = Elapsed(None, None, said["elapsed_ms"]["ttfb"], said["elapsed_ms"]["total"])
        tally.add(line, host_of(said["url"]), said["change"])
    for host in range(0, 20, 3):
        tally.wait(f"news{host}.example", 4.5 * host)
    tally.retries, tally.forgotten = 173, 12
    return tally
