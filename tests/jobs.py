"""Whole runs in this process: a job as plain data in; records and bodies out, by the `case` column of their rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from crawler.errors import ExitCode
from crawler.jobfile import build
from crawler.opening import Options
from crawler.run import Ended, run_job
from crawler.tally import Snapshot

Record = dict[str, Any]
Row = dict[str, Any]


class Unseen:
    """Nobody watches."""

    def update(self, snapshot: Snapshot) -> None:
        """Nothing."""


class Results:
    """What a run left behind."""

    def __init__(self, ended: Ended) -> None:
        self.ended = ended
        self.folder = ended.run_folder
        self.records: list[Record] = records_of(ended.run_folder)

    @property
    def exit_code(self) -> ExitCode:
        return self.ended.exit_code

    def of(self, case: str) -> Record:
        """The one record of that case."""
        [record] = [record for record in self.records if (record["input"] or {}).get("case") == case]
        return record

    def ends(self) -> dict[str, str]:
        """By case: "fetched", or the reason why not."""
        return {record["input"]["case"]: record["reason"] or record["outcome"] for record in self.records}

    def body(self, case: str) -> bytes:
        """Its stored body, as long as its record says."""
        record = self.of(case)
        assert record["outcome"] == "fetched", record
        data = (self.folder / record["body"]).read_bytes()
        assert len(data) == record["bytes"]
        return data

    def echo(self, case: str) -> Any:
        """Its stored body as JSON."""
        return orjson.loads(self.body(case))


def records_of(folder: Path) -> list[Record]:
    """All records of a run's folder."""
    return [orjson.loads(line) for line in (folder / "records.jsonl").read_bytes().splitlines()]


async def run(folder: Path, rows: Sequence[Row], **sections: Any) -> Results:
    """Run a job over these rows; `name`, `input` and `output` need not be said."""
    (folder / "rows.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    data = {
        "name": "t",
        "input": {"files": ["rows.jsonl"], "dedupe": False},
        "output": {"dir": str(folder / "out")},
        "retry": {"backoff": {"initial": "10ms", "max": "50ms"}},
        **sections,
    }
    return Results(await run_job(build(data, folder), Options(), lambda _: Unseen()))
