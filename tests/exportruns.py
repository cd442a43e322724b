"""A job's folder with a run in it, as the runs of the real thing leave one: for the tests of `export`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from crawler.durable import EMPTY, Mark
from crawler.entry import Sync
from crawler.folders import JobFolder
from crawler.model import Record
from crawler.schema import open_db
from crawler.sinks.jsonl import JsonlRecords
from crawler.sinks.parquet import ParquetParts

RUN = "20260101T000000Z-aaaaaa"


def record(id: int, data: bytes | None = None, /, **more: Any) -> dict[str, Any]:
    """What a line of the records says of a page that was fetched."""
    said: dict[str, Any] = {
        "id": id,
        "run": RUN,
        "url": f"http://a.example/{id}",
        "final_url": f"http://a.example/{id}",
        "method": "GET",
        "outcome": "fetched",
        "status": 200,
        "attempts": 1,
        "started_at": f"2026-01-02T03:04:{id % 60:02d}.678Z",
        "elapsed_ms": {"dns": None, "connect": 0.5, "ttfb": 1.0, "total": id / 4},
        "content_type": "text/plain",
        "depth": 0,
        "input": {"n": id, "=note": "=1+1"},
    }
    if data is not None:
        said |= {"bytes": len(data), "sha256": sha256(data).hexdigest()}
    return {**{field.name: None for field in fields(Record)}, **said, **more}


def lines_of(records: Iterable[dict[str, Any]]) -> list[bytes]:
    """As they stand in the file."""
    return [orjson.dumps(record) + b"\n" for record in records]


class JobRuns:
    """The folder of job `j` under `output`; runs are added as finished ones unless told otherwise."""

    def __init__(self, output: Path) -> None:
        self.folder = JobFolder(output, "j")
        self.folder.path.mkdir(parents=True)
        self._marks: dict[str, Mark] = {}
        self._run = self.folder.run(RUN)

    def begin(self, run: str = RUN, state: str = "finished") -> Path:
        """A run that comes behind all others; its marks are the ones that the checkpoint knows."""
        self._run = self.folder.run(run)
        self._run.mkdir(parents=True)
        self._marks = {}
        with open_db(self.folder.state) as db:
            db.execute("INSERT INTO runs (id, started, state, job) VALUES (?, 0, ?, '{}')", (run, state))
            db.execute("DELETE FROM segments")
            db.execute("DELETE FROM sinks")
        db.close()
        return self._run

    def commit(self, marks: Iterable[tuple[str, Mark]], states: Iterable[tuple[str, str]] = ()) -> None:
        """What a group's transaction says of outputs."""
        self._marks.update(marks)
        with open_db(self.folder.state) as db:
            rows = [(name, *mark) for name, mark in self._marks.items()]
            db.executemany("INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?)", rows)
            db.executemany("INSERT OR REPLACE INTO sinks VALUES (?, ?)", states)
        db.close()

    def jsonl(self, records: Iterable[dict[str, Any]], *, zstd: bool = False, surplus: bytes = b"") -> None:
        """records.jsonl(.zst); `surplus` stands behind what is committed."""
        sink = JsonlRecords(self._run, EMPTY, zstd=zstd)
        lines = lines_of(records)
        for n in range(0, len(lines), 500):
            sink.append(lines[n : n + 500])
        self.commit(sink.marks())
        path = self._run / sink.marks()[0][0]
        sink.close()
        path.write_bytes(path.read_bytes() + surplus)

    def parquet(self, groups: list[list[dict[str, Any]]], *, rows: int, finished: bool) -> None:
        """Parts, and while the run is not `finished` the journal that they are made of."""
        journal = JsonlRecords(self._run, EMPTY, name="journal.jsonl", zstd=True)
        [(name, _)] = journal.marks()
        sink = ParquetParts(self._run, self._run / name, {}, None, rows, Sync.COMMIT)
        for group in groups:
            sink.compact(dict(journal.marks())[name])
            journal.append(lines_of(group))
            self.commit([*journal.marks(), *sink.marks()], [("parquet", sink.state() or "")])
        if finished:
            sink.compact(dict(journal.marks())[name], last=True)
            self.commit([*sink.marks(), (name, EMPTY)], [("parquet", sink.forgetting())])
            (self._run / name).unlink()
        sink.close()
        journal.close()
