"""Which records of a run an export takes, and from where."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from crawler.durable import EMPTY
from crawler.errors import ExitCode, JobError, StorageError
from crawler.exportsource import Source, find
from tests.exportruns import RUN, JobRuns, lines_of, record

LATER = "20260102T000000Z-bbbbbb"
RECORDS = [record(n) for n in range(10)]
CUT = b'{"id": 99'


@pytest.fixture
def job(tmp_path: Path) -> JobRuns:
    return JobRuns(tmp_path)


def read(source: Source) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in source.lines()]


@pytest.mark.parametrize("zstd", [False, True])
def test_what_is_committed_is_read_and_no_more(job: JobRuns, zstd: bool) -> None:
    """Lines that a kill left behind the mark are no records, whole or cut."""
    job.begin(state="stopped")
    job.jsonl(RECORDS, zstd=zstd, surplus=b"".join(lines_of([record(10)])) + CUT)
    assert list(find(job.folder, None).lines()) == lines_of(RECORDS)


def test_parts_are_read_where_there_is_nothing_else(job: JobRuns) -> None:
    """A finished run that asked for Parquet alone: its records come back from it, in their order."""
    job.begin()
    job.parquet([RECORDS[:4], RECORDS[4:8], RECORDS[8:]], rows=3, finished=True)
    source = find(job.folder, None)
    assert len(source.parts) == 3
    assert read(source) == RECORDS


@pytest.mark.parametrize("rows", [3, 100])
def test_of_a_run_on_its_way_parts_and_journal_are_one(job: JobRuns, rows: int) -> None:
    """What stands in no part yet comes from the journal, and nothing comes twice."""
    job.begin(state="stopped")
    job.parquet([RECORDS[:4], RECORDS[4:8], RECORDS[8:]], rows=rows, finished=False)
    assert read(find(job.folder, None)) == RECORDS


def test_a_part_without_a_mark_is_not_read(job: JobRuns) -> None:
    """It holds records that stand in the journal as well."""
    place = job.begin(state="stopped")
    job.parquet([RECORDS[:4], RECORDS[4:]], rows=3, finished=False)
    (place / "records" / "part-00001.parquet").write_bytes(b"of a commit that never was")
    assert read(find(job.folder, None)) == RECORDS


def test_many_parts_keep_their_order(job: JobRuns) -> None:
    """Also where their numbers have different lengths."""
    place = job.begin("20260101T000000Z-cccccc")
    job.parquet([RECORDS[:1], RECORDS[1:2]], rows=1, finished=True)
    os.rename(place / "records" / "part-00001.parquet", place / "records" / "part-100000.parquet")
    os.rename(place / "records" / "part-00000.parquet", place / "records" / "part-99999.parquet")
    job.begin(LATER)
    assert read(find(job.folder, "20260101T000000Z-cccccc")) == RECORDS[:2]


@pytest.mark.parametrize("zstd", [False, True])
def test_an_earlier_run_is_read_from_its_files(job: JobRuns, zstd: bool) -> None:
    """The checkpoint has forgotten its marks, but a finished run is whole."""
    job.begin()
    job.jsonl(RECORDS, zstd=zstd)
    job.begin(LATER)
    job.jsonl([record(77)])
    source = find(job.folder, RUN)
    assert (read(source), source.note) == (RECORDS, None)
    assert [told["id"] for told in read(find(job.folder, None))] == [77]


@pytest.mark.parametrize("size", [0, 1, 70_000])
def test_an_earlier_run_that_was_killed_gives_its_whole_lines(job: JobRuns, size: int) -> None:
    """And it is told that this is all there is to go by."""
    job.begin(state="abandoned")
    records = RECORDS if size else []
    job.jsonl(records, surplus=CUT + b"x" * size)
    job.begin(LATER)
    source = find(job.folder, RUN)
    assert read(source) == records
    assert source.note is not None
    assert "left unfinished" in source.note


def test_an_earlier_run_with_a_journal_is_read_from_that(job: JobRuns) -> None:
    """Its parts are made of the journal, and it cannot be told any more how far."""
    job.begin(state="abandoned")
    job.parquet([RECORDS[:4], RECORDS[4:]], rows=3, finished=False)
    job.begin(LATER)
    assert read(find(job.folder, RUN)) == RECORDS


@pytest.mark.parametrize(
    ("state", "held", "said"),
    [
        ("finished", False, None),
        ("stopped", False, "is not finished: these are the records committed so far"),
        ("running", False, "is not finished: these are the records committed so far"),
        ("running", True, "is going on: these are the records committed by now"),
    ],
)
def test_it_is_said_what_a_run_is_not(job: JobRuns, state: str, held: bool, said: str | None) -> None:
    """Whoever exports a run that is not over, or was killed, learns so."""
    job.begin(state=state)
    job.jsonl(RECORDS)
    if held:
        job.folder.lock(time.time())
    note = find(job.folder, None).note
    job.folder.unlock()
    assert note == (f"run {RUN} {said}" if said else None)


def test_a_run_without_records_has_none(job: JobRuns) -> None:
    """Killed before its first commit."""
    job.begin(state="running")
    assert read(find(job.folder, None)) == []


def test_nothing_is_made_of_csv(job: JobRuns) -> None:
    """Its cells are for people; the sentence names the file."""
    place = job.begin()
    (place / "records.csv").write_bytes(b"id\r\n")
    job.commit([("records.csv", EMPTY._replace(length=4)), ("journal.jsonl.zst", EMPTY)])
    with pytest.raises(JobError, match=r"CSV only \(.*records\.csv\)"):
        find(job.folder, None)


def test_a_run_that_is_not_there_is_named_with_those_that_are(job: JobRuns) -> None:
    """Exit 2, and the ids to choose from."""
    with pytest.raises(JobError, match="never run"):
        find(job.folder, None)
    job.begin()
    job.begin(LATER)
    with pytest.raises(JobError, match=f"no run 'x'; the last are {LATER}, {RUN}"):
        find(job.folder, "x")


def test_what_is_gone_is_told(job: JobRuns) -> None:
    """Exit 4: a folder, the records, a part, or some of their bytes."""
    place = job.begin()
    job.jsonl(RECORDS)
    source = find(job.folder, None)
    (place / "records.jsonl").write_bytes(b"".join(lines_of(RECORDS[:5])))
    with pytest.raises(StorageError, match=r"records\.jsonl"):
        read(source)
    (place / "records.jsonl").unlink()
    with pytest.raises(StorageError, match=r"records\.jsonl: cannot be read"):
        read(source)
    place.rmdir()
    with pytest.raises(StorageError, match="is gone") as told:
        find(job.folder, None)
    assert told.value.code == ExitCode.NO_ROOM


@pytest.mark.parametrize(("harm", "said"), [("gone", "is gone"), ("cut", "cannot be read")])
def test_a_part_that_cannot_be_read_is_told(job: JobRuns, harm: str, said: str) -> None:
    """Exit 4, with the part's name."""
    place = job.begin()
    job.parquet([RECORDS], rows=3, finished=True)
    part = place / "records" / "part-00000.parquet"
    part.unlink() if harm == "gone" else part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(StorageError, match=rf"part-00000\.parquet: {said}"):
        read(find(job.folder, None))


def test_reading_changes_nothing(job: JobRuns) -> None:
    """Neither state.db nor any output is written, made or removed (SQLite has its own helper files beside it)."""
    job.begin(state="running")
    job.parquet([RECORDS[:4], RECORDS[4:]], rows=3, finished=False)

    def seen() -> dict[Path, bytes]:
        files = [path for path in job.folder.path.rglob("*") if path.is_file()]
        return {path: path.read_bytes() for path in files if not path.name.startswith("state.db-")}

    before = seen()
    read(find(job.folder, None))
    assert seen() == before
