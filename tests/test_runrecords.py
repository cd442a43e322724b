"""The records of a run from each of their forms."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from crawler.csvtext import HEADER, cells
from crawler.errors import StorageError
from crawler.runrecords import records_of
from tests.exportruns import RUN, JobRuns, record

RECORDS = [
    record(1, b"one", change="new"),
    record(2, outcome="failed", reason="status-404", status=404, error='a, b\n"c"', elapsed_ms=None),
    record(3, outcome="skipped", reason="robots", status=None, attempts=0, started_at=None, elapsed_ms=None),
]
KEYS = ("url", "method", "outcome", "reason", "status", "attempts", "bytes", "sha256", "error", "started_at", "change")


def _csv(runs: JobRuns) -> None:
    with open(runs.folder.run(RUN) / "records.csv", "w", newline="") as file:
        csv.writer(file).writerows([HEADER, *(cells(one) for one in RECORDS)])


FORMS: dict[str, Callable[[JobRuns], None]] = {
    "jsonl": lambda runs: runs.jsonl(RECORDS),
    "zstd": lambda runs: runs.jsonl(RECORDS, zstd=True),
    "parquet": lambda runs: runs.parquet([RECORDS], rows=2, finished=True),
    "csv": _csv,
}


@pytest.mark.parametrize("form", FORMS)
def test_records_are_read_from_any_form(form: str, tmp_path: Path) -> None:
    """What a report or a diff looks at is the same, whatever the job wrote."""
    runs = JobRuns(tmp_path)
    runs.begin()
    FORMS[form](runs)
    note, objects = records_of(runs.folder, RUN)
    found = list(objects)
    assert note is None
    assert [{key: one.get(key) for key in KEYS} for one in found] == [
        {key: one.get(key) for key in KEYS} for one in RECORDS
    ]
    assert found[0]["elapsed_ms"]["total"] == 0.25
    assert not found[1].get("elapsed_ms")


def test_what_is_not_committed_is_not_read(tmp_path: Path) -> None:
    """Of a run that goes on, what stands behind the mark is not there yet; the note says that more will come."""
    runs = JobRuns(tmp_path)
    runs.begin(state="stopped")
    runs.jsonl(RECORDS, surplus=b'{"id":4,"outc')
    note, objects = records_of(runs.folder, RUN)
    assert [one["id"] for one in objects] == [1, 2, 3]
    assert note is not None
    assert "is not finished" in note


@pytest.mark.parametrize("line", [b"null\n", b"[]\n", b"{\n"])
def test_a_line_that_is_no_record_is_damage(line: bytes, tmp_path: Path) -> None:
    """It is said where, not skipped."""
    runs = JobRuns(tmp_path)
    place = runs.begin()
    runs.jsonl(RECORDS)
    path = place / "records.jsonl"
    whole = path.read_bytes()
    path.write_bytes(line.rjust(len(whole)))
    with pytest.raises(StorageError, match="records are damaged"):
        list(records_of(runs.folder, RUN).objects)


def test_a_run_whose_folder_is_gone_is_said_so(tmp_path: Path) -> None:
    """Pruned or moved away."""
    runs = JobRuns(tmp_path)
    runs.begin().rmdir()
    with pytest.raises(StorageError, match="is gone"):
        records_of(runs.folder, RUN)


def test_a_csv_is_read_only_where_there_is_nothing_else(tmp_path: Path) -> None:
    """Of several forms the one that tells most is taken."""
    runs = JobRuns(tmp_path)
    runs.begin()
    _csv(runs)
    runs.jsonl(RECORDS[:2])
    assert [one["id"] for one in records_of(runs.folder, RUN).objects] == [1, 2]
    assert next(records_of(runs.folder, RUN).objects)["input"] == {"n": 1, "=note": "=1+1"}


def test_the_row_that_a_kill_cut_off_ends_a_csv(tmp_path: Path) -> None:
    """Its request is made again; those before it are told."""
    runs = JobRuns(tmp_path)
    place = runs.begin()
    _csv(runs)
    path = place / "records.csv"
    path.write_bytes(path.read_bytes() + b"9," + RUN.encode() + b",http://a")
    assert [one["id"] for one in records_of(runs.folder, RUN).objects] == [one["id"] for one in RECORDS]


def test_a_cell_that_is_no_number_is_damage(tmp_path: Path) -> None:
    """Said with the file."""
    runs = JobRuns(tmp_path)
    (runs.begin() / "records.csv").write_text("id,url\nx,http://a/\n")
    with pytest.raises(StorageError, match=r"records\.csv: cannot be read"):
        list(records_of(runs.folder, RUN).objects)
