"""An output folder with jobs as runs leave them, for the tests of the monitor."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from crawler.folders import JobFolder
from crawler.model import Elapsed, Record
from crawler.monitor import Wanted, served
from crawler.monitoraccess import Keys
from crawler.schema import open_db
from crawler.tally import Tally

RUN = "20260101T000000Z-aaaaaa"
OPEN = Keys(None, "s" * 43, reading=False, control=False)


def record(id: int, **more: Any) -> dict[str, Any]:
    """A line of the records, fetched unless told otherwise."""
    said: dict[str, Any] = {
        "id": id,
        "run": RUN,
        "url": f"http://a.example/{id}",
        "final_url": f"http://a.example/{id}",
        "method": "GET",
        "outcome": "fetched",
        "reason": None,
        "status": 200,
        "attempts": 1,
        "started_at": "2026-01-01T00:00:00.000Z",
        "elapsed_ms": {"dns": None, "connect": None, "ttfb": 1.0, "total": 2.0},
        "bytes": 10,
        "change": "new",
        "body": None,
    }
    return said | more


def failed(id: int, status: int = 404, **more: Any) -> dict[str, Any]:
    """A line of one that failed."""
    return record(id, outcome="failed", reason=f"status-{status}", status=status, change=None, **more)


class Job:
    """The folder of one job; `root` is the output folder."""

    def __init__(self, root: Path, name: str = "almanac") -> None:
        self.folder = JobFolder(root, name)
        self.folder.path.mkdir(parents=True)
        open_db(self.folder.state).close()

    def run(
        self, records: Sequence[dict[str, Any]] = (), *, id: str = RUN, state: str = "finished", code: int | None = 0
    ) -> Path:
        """A run that comes behind all others, with its records as JSON lines."""
        folder = self.folder.run(id)
        folder.mkdir(parents=True)
        lines = b"".join(orjson.dumps(line) + b"\n" for line in records)
        (folder / "records.jsonl").write_bytes(lines)
        tally = Tally()
        for line in records:
            tally.add(_counted(line), "a.example")
        with open_db(self.folder.state) as db:
            db.execute(
                "INSERT INTO runs (id, started, ended, state, exit_code, elapsed, tally, job)"
                " VALUES (?, 1000, 1010, ?, ?, 10, ?, '{}')",
                (id, state, code, tally.to_json()),
            )
            db.execute("DELETE FROM segments")
            db.execute("INSERT INTO segments VALUES ('records.jsonl', ?, '', 0)", (len(lines),))
        db.close()
        return folder


@asynccontextmanager
async def monitor(root: Path, keys: Keys = OPEN) -> AsyncIterator[int]:
    """The monitor of a folder; gives its port."""
    async with served(Wanted(root, keys), "127.0.0.1", 0) as port:
        yield port


def _counted(line: dict[str, Any]) -> Record:
    empty = dict.fromkeys(Record.__dataclass_fields__)
    known = {key: value for key, value in line.items() if key in empty}
    elapsed = Elapsed(**line["elapsed_ms"]) if line.get("elapsed_ms") else None
    return Record(**{**empty, "depth": 0, **known, "elapsed_ms": elapsed})
