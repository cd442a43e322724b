"""A run's records in another form, whole or not at all."""

from __future__ import annotations

import csv
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import orjson
import polars
import pyarrow.parquet as pq
import pytest
from backports import zstd

from crawler.csvtext import HEADER
from crawler.errors import ExitCode, JobError, StorageError
from crawler.exporting import Form, Wanted, export
from crawler.job import Job
from crawler.parquetrows import schema
from tests.exportruns import RUN, JobRuns, lines_of, record

RECORDS = [record(n, headers={"ETag": f'"{n}"'}) for n in range(2500)]


@pytest.fixture
def runs(tmp_path: Path) -> JobRuns:
    return JobRuns(tmp_path / "out")


@pytest.fixture
def job(runs: JobRuns) -> Job:
    said = {"name": "j", "input": {"urls": ["http://a.example/"]}, "output": {"dir": str(runs.folder.path.parent)}}
    return Job.model_validate(said)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_jsonl_is_what_was_committed(runs: JobRuns, job: Job) -> None:
    """Line by line the same bytes, without what no commit vouches for."""
    place = runs.begin(state="stopped")
    runs.jsonl(RECORDS, surplus=b'{"id":')
    made = export(job, Wanted("jsonl"))
    assert made.path == place / "export" / "records.jsonl"
    assert made.path.read_bytes() == b"".join(lines_of(RECORDS))
    assert (made.rows, made.size) == (2500, made.path.stat().st_size)
    assert made.notes == (f"run {RUN} is not finished: these are the records committed so far",)


def test_zstd_is_read_by_others(runs: JobRuns, job: Job) -> None:
    """A frame with its checksum, as usual tools decompress it."""
    runs.begin()
    runs.jsonl(RECORDS, zstd=True)
    made = export(job, Wanted("jsonl", zstd=True))
    assert made.path.name == "records.jsonl.zst"
    data = made.path.read_bytes()
    assert zstd.decompress(data) == b"".join(lines_of(RECORDS))
    assert made.size == len(data) < sum(map(len, lines_of(RECORDS))) / 4
    with pytest.raises(zstd.ZstdError):
        zstd.decompress(data[:-5] + bytes([data[-5] ^ 1]) + data[-4:])


@pytest.mark.parametrize("packed", [False, True])
def test_csv_has_the_columns_of_the_sink(runs: JobRuns, job: Job, packed: bool) -> None:
    """One row a record under the usual header; no cell is a formula."""
    runs.begin()
    runs.jsonl(RECORDS)
    made = export(job, Wanted("csv", zstd=packed))
    data = made.path.read_bytes()
    text = (zstd.decompress(data) if packed else data).decode()
    header, *rows = csv.reader(text.splitlines())
    assert tuple(header) == HEADER
    assert [int(row[header.index("id")]) for row in rows] == [*range(2500)]
    assert json.loads(rows[7][header.index("input")]) == RECORDS[7]["input"]
    assert rows[7][header.index("elapsed_ms_total")] == "1.75"


def test_parquet_is_read_by_all(runs: JobRuns, job: Job) -> None:
    """pyarrow, duckdb and polars agree on rows, types and sums; metadata say where it is from."""
    runs.begin()
    runs.jsonl(RECORDS)
    made = export(job, Wanted("parquet"))
    table, total = pq.read_table(made.path), sum(range(2500))
    assert table.schema.equals(schema())
    assert table.schema.metadata[b"crawler.run"] == RUN.encode()
    assert table.column("id").to_pylist() == [*range(2500)]
    assert duckdb.sql(f"SELECT count(*), sum(id), sum(elapsed_ms.total) FROM '{made.path}'").fetchall() == [
        (2500, total, total / 4)
    ]
    frame = polars.read_parquet(made.path)
    assert (frame["id"].sum(), frame["started_at"].dtype) == (total, polars.Datetime("ms", "UTC"))


def test_from_parquet_and_back_is_the_same(runs: JobRuns, job: Job) -> None:
    """A run that kept Parquet alone gives the JSONL that it would have written."""
    runs.begin()
    runs.parquet([RECORDS[:1500], RECORDS[1500:]], rows=1000, finished=True)
    made = export(job, Wanted("jsonl"))
    assert [orjson.loads(line) for line in made.path.read_bytes().splitlines()] == RECORDS


def test_a_run_is_chosen_by_its_id(runs: JobRuns, job: Job, tmp_path: Path) -> None:
    """An earlier one as well, to a file that is named."""
    runs.begin()
    runs.jsonl(RECORDS[:3])
    runs.begin("20260102T000000Z-bbbbbb")
    runs.jsonl(RECORDS[3:])
    made = export(job, Wanted("jsonl", run=RUN, output=tmp_path / "mine.txt"))
    assert (made.path, made.rows) == (tmp_path / "mine.txt", 3)
    with pytest.raises(JobError, match="no run 'other'"):
        export(job, Wanted("jsonl", run="other"))


FORMS: list[Form] = ["jsonl", "csv", "parquet", "warc"]


@pytest.mark.parametrize("form", FORMS)
def test_no_records_are_a_file_too(runs: JobRuns, job: Job, form: Form) -> None:
    """With a header or a schema where the form has one."""
    runs.begin()
    made = export(job, Wanted(form))
    assert made.rows == 0
    match form:
        case "jsonl":
            assert made.size == 0
        case "csv":
            assert made.path.read_text().strip().split(",") == [*HEADER]
        case "parquet":
            assert pq.read_schema(made.path).equals(schema())
        case "warc":
            assert b"WARC-Type: warcinfo" in gzip.decompress(made.path.read_bytes())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("there", ["file", "folder", "dangling link"])
def test_nothing_is_overwritten(runs: JobRuns, job: Job, tmp_path: Path, form: Form, there: str) -> None:
    """Whatever stands there stays, and nothing stands beside it."""
    runs.begin()
    runs.jsonl(RECORDS[:3])
    target = tmp_path / "to" / "x"
    target.parent.mkdir()
    match there:
        case "file":
            target.write_bytes(b"mine")
        case "folder":
            target.mkdir()
        case _:
            target.symlink_to("nowhere")
    with pytest.raises(JobError, match="exists already; nothing was written"):
        export(job, Wanted(form, output=target))
    assert names(target.parent) == ["x"]
    assert there != "file" or target.read_bytes() == b"mine"


@pytest.mark.parametrize("form", FORMS)
def test_a_file_made_meanwhile_stays(
    runs: JobRuns, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Form
) -> None:
    """Whoever came first has it."""
    runs.begin()
    runs.jsonl(RECORDS[:3])
    target = tmp_path / "to" / "x"
    target.parent.mkdir()
    real = os.fsync

    def other(fd: int) -> None:
        target.write_bytes(b"other")
        real(fd)

    monkeypatch.setattr(os, "fsync", other)
    with pytest.raises(JobError, match="somebody else"):
        export(job, Wanted(form, output=target))
    assert target.read_bytes() == b"other"
    assert names(target.parent) == ["x"]


@pytest.mark.parametrize("form", FORMS)
def test_damage_leaves_no_file(runs: JobRuns, job: Job, form: Form) -> None:
    """Exit 4 in the middle: no file with a name that promises all, and no temporary one."""
    place = runs.begin()
    runs.jsonl(RECORDS)
    data = (place / "records.jsonl").read_bytes()
    half = data.index(b"\n", len(data) // 2) + 1
    (place / "records.jsonl").write_bytes(data[:half])
    with pytest.raises(StorageError, match=r"records\.jsonl") as told:
        export(job, Wanted(form))
    assert told.value.code == ExitCode.NO_ROOM
    assert names(place / "export") == []
    (place / "records.jsonl").write_bytes(data[:half] + b"[" * (len(data) - half - 1) + b"\n")
    if form != "jsonl":  # which looks at no line
        with pytest.raises(StorageError, match="damaged"):
            export(job, Wanted(form))
        assert names(place / "export") == []


@pytest.mark.parametrize("form", FORMS)
def test_a_full_disk_leaves_no_file(runs: JobRuns, job: Job, monkeypatch: pytest.MonkeyPatch, form: Form) -> None:
    """An error of the system is a sentence with exit 4; what was begun is gone."""
    place = runs.begin()
    runs.jsonl(RECORDS)

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(StorageError, match=r"export/records\..*No space left"):
        export(job, Wanted(form))
    assert names(place / "export") == []


def test_a_folder_that_is_not_there_is_no_place(runs: JobRuns, job: Job, tmp_path: Path) -> None:
    """A slip of the pen makes no folders."""
    runs.begin()
    with pytest.raises(JobError, match="is no folder"):
        export(job, Wanted("csv", output=tmp_path / "no" / "x.csv"))
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("form", ["parquet", "warc"])
def test_what_is_compressed_is_not_compressed_again(runs: JobRuns, job: Job, form: Form) -> None:
    """`--zstd` beside them is a mistake that is told."""
    runs.begin()
    with pytest.raises(JobError, match="--zstd is for csv and jsonl"):
        export(job, Wanted(form, zstd=True))


def test_a_job_that_never_ran_has_nothing(job: Job) -> None:
    """Exit 2, and no folder is made."""
    with pytest.raises(JobError, match="never run"):
        export(job, Wanted("csv"))


def test_all_of_it_is_imported_only_when_it_is_used() -> None:
    """`crawler --help` and an export to CSV do not load pyarrow."""
    modules = "crawler.exporting, crawler.exportcommand, crawler.sinks.parquet"
    code = f"import {modules}, sys; assert 'pyarrow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
