"""Parquet parts made of the committed journal: each record once, whatever the instant of a kill."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import duckdb
import orjson
import polars
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler import __version__
from crawler.durable import EMPTY, Mark, open_segment
from crawler.entry import Sync
from crawler.errors import StorageError
from crawler.model import Record
from crawler.sinks.parquet import ParquetParts


def record(id: int, **more: Any) -> dict[str, Any]:
    said = {
        "id": id,
        "url": f"http://a.example/{id}",
        "status": 200 + id % 3,
        "started_at": "2026-01-02T03:04:05.678Z",
        "elapsed_ms": {"dns": None, "connect": None, "ttfb": 1.0, "total": id / 4},
        "headers": {"ETag": f'"{id}"'} if id % 2 else None,
        "input": {"n": id},
    }
    return {**{field.name: None for field in fields(Record)}, **said, **more}


class Job:
    """What the commits of a run do with the sink: journal first, then one step that keeps marks and state."""

    def __init__(self, folder: Path, rows: int = 10, sync: Sync = Sync.COMMIT) -> None:
        self.run = folder / "job" / "runs" / "r1"
        self.run.mkdir(parents=True)
        self.rows = rows
        self.sync = sync
        self.marks: dict[str, Mark] = {}
        self.state: str | None = None
        self.written = 0  # records that are committed
        self.start()

    def start(self) -> None:
        """A new process, after whatever happened to the one before."""
        path = self.run / "records.jsonl"
        self.journal, _ = open_segment(path, self.marks.get(path.name, EMPTY))
        self.sink = ParquetParts(self.run, path, self.marks, self.state, self.rows, self.sync)

    def group(self, records: list[dict[str, Any]]) -> None:
        """One group commit."""
        lines = [orjson.dumps(record) + b"\n" for record in records]
        self.sink.compact(self.journal.mark())
        self.journal.append(b"".join(lines))
        self.sink.append(lines)
        self._commit(len(lines))

    def finish(self) -> None:
        """The last commit."""
        self.sink.finish()
        self.sink.compact(self.journal.mark(), last=True)
        self._commit(0)
        self.sink.close()

    def _commit(self, count: int) -> None:
        new = dict([*self.sink.marks(), ("records.jsonl", self.journal.mark())])
        state = self.sink.state()
        os.stat(self.run)  # where a kill strikes right before the transaction, or right behind it
        self.marks, self.state, self.written = {**self.marks, **new}, state, self.written + count
        os.stat(self.run)

    def parts(self) -> list[str]:
        """What stands in the folder."""
        return sorted(path.name for path in (self.run / "records").iterdir())

    def ids(self) -> list[int]:
        """The ids of all parts, in the order of the parts."""
        rows = duckdb.sql(
            f"SELECT id FROM '{self.run}/records/*.parquet' ORDER BY filename, file_row_number"
        ).fetchall()
        return [id for (id,) in rows]

    def go_on(self, until: int, size: int = 4) -> None:
        """Groups up to a number of records, and the end."""
        while self.written < until:
            self.group([record(n) for n in range(self.written, min(self.written + size, until))])
        self.finish()


def test_parts_hold_each_record_once_in_order(tmp_path: Path) -> None:
    """A part is closed once it has so many rows, and the rest at the end."""
    job = Job(tmp_path, rows=10)
    job.go_on(33)
    assert job.parts() == [f"part-0000{n}.parquet" for n in range(3)]
    assert job.ids() == list(range(33))
    assert [pq.read_metadata(job.run / "records" / name).num_rows for name in job.parts()] == [12, 12, 9]
    assert job.sink.dropped == 0


def test_all_readers_see_the_same_rows_types_and_sums(tmp_path: Path) -> None:
    """pyarrow, duckdb and polars agree, over parts of which one has nulls only where another has values."""
    job = Job(tmp_path, rows=4)
    job.group([record(n) for n in range(4)])
    job.group([record(n, content="x" * 100_000, warc={"file": "w", "offset": n, "length": 9}) for n in range(4, 7)])
    job.finish()
    pattern, ids = f"{job.run}/records/*.parquet", range(7)
    arrow = pq.read_table(job.run / "records")
    assert arrow.column("id").to_pylist() == [*ids]
    assert arrow.schema.equals(pq.read_schema(job.run / "records" / "part-00001.parquet"))
    said = duckdb.sql(
        "SELECT count(*), sum(status), sum(elapsed_ms.total),"
        " max(started_at) = '2026-01-02 03:04:05.678Z'::TIMESTAMPTZ,"
        " sum(warc.offset), sum(length(content)), max(headers['ETag']), sum((input->>'n')::INT)"
        f" FROM (SELECT * REPLACE (input::JSON AS input) FROM '{pattern}')"
    ).fetchall()
    wanted = (7, sum(200 + n % 3 for n in ids), sum(ids) / 4, True, 4 + 5 + 6, 300_000, '"5"', sum(ids))
    assert said == [wanted]
    frame = polars.read_parquet(pattern)
    assert frame["status"].sum() == wanted[1]
    assert frame["elapsed_ms"].struct.field("total").sum() == wanted[2]
    assert frame["started_at"].dtype == polars.Datetime("ms", "UTC")
    assert frame["warc"].struct.field("offset").sum() == wanted[4]
    assert frame["content"].str.len_bytes().sum() == wanted[5]


def test_a_part_says_where_it_is_from_and_what_is_in_it(tmp_path: Path) -> None:
    """Metadata name job, run and version; zstd within; statistics let a reader pass over row groups."""
    job = Job(tmp_path)
    job.go_on(5)
    metadata = pq.read_metadata(job.run / "records" / "part-00000.parquet")
    said = {key.decode(): value.decode() for key, value in metadata.metadata.items() if key.startswith(b"crawler.")}
    assert said == {"crawler.version": __version__, "crawler.job": "job", "crawler.run": "r1"}
    column = metadata.row_group(0).column(0)
    assert (column.compression, column.statistics.min, column.statistics.max) == ("ZSTD", 0, 4)


def test_a_run_without_records_has_a_part_without_rows(tmp_path: Path) -> None:
    """So that whoever reads `records/*.parquet` finds the columns."""
    job = Job(tmp_path)
    job.finish()
    assert job.ids() == []
    assert pq.read_schema(job.run / "records" / "part-00000.parquet").names[0] == "id"


def test_nothing_uncommitted_gets_into_a_part(tmp_path: Path) -> None:
    """Lines that stand in the journal above the mark may be dropped yet: no part has them."""
    job = Job(tmp_path, rows=1)
    job.group([record(0)])
    mark = job.journal.mark()
    job.journal.append(orjson.dumps(record(1)) + b"\n")
    job.sink.compact(mark)
    assert job.ids() == [0]


def test_the_end_may_come_twice(tmp_path: Path) -> None:
    """A run killed behind its last commit finds nothing more to do, and changes nothing."""
    job = Job(tmp_path)
    job.go_on(15)
    before = {name: (job.run / "records" / name).read_bytes() for name in job.parts()}
    job.start()
    job.finish()
    assert {name: (job.run / "records" / name).read_bytes() for name in job.parts()} == before


def test_a_journal_that_goes_may_begin_anew(tmp_path: Path) -> None:
    """Where nobody asked for the journal it is removed at the end; a run that goes on even so begins another."""
    job = Job(tmp_path)
    job.go_on(15)
    job.state = job.sink.forgetting()
    job.marks["records.jsonl"] = EMPTY
    job.start()
    job.go_on(22)
    assert job.ids() == list(range(22))


@pytest.mark.parametrize("sync", list(Sync))
def test_a_part_is_durable_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: Sync) -> None:
    """Bytes, then the name, then the folder that has the name, then the mark; none of it where nobody wants it so."""
    job = Job(tmp_path, sync=sync)
    job.group([record(0)])
    calls: list[str] = []

    def seen(name: str) -> None:
        real: Callable[..., Any] = getattr(os, name)

        def call(*arguments: Any) -> Any:
            calls.append(name)
            return real(*arguments)

        monkeypatch.setattr(os, name, call)

    for name in ("fdatasync", "rename", "fsync"):
        seen(name)
    job.sink.compact(job.marks["records.jsonl"], last=True)
    folder = ["fsync"]  # makes the name of the .part durable as it is made
    order = ["rename"] if sync is Sync.NEVER else ["fdatasync", "rename", "fsync"]
    assert calls in ([*folder, *order], order)


def test_a_stop_leaves_no_half_of_a_part(tmp_path: Path) -> None:
    """A run that stops gives up what is under way; the next process makes it again before anything is fetched."""
    job = Job(tmp_path, rows=10)
    for first in range(0, 24, 4):
        job.group([record(n) for n in range(first, first + 4)])
    assert job.parts() == ["part-00000.parquet", "part-00001.parquet.part"]
    job.sink.close()
    assert job.parts() == ["part-00000.parquet"]
    job.start()
    assert job.parts() == ["part-00000.parquet", "part-00001.parquet.part"]
    job.go_on(27)
    assert job.ids() == list(range(27))


def test_what_no_mark_names_is_removed(tmp_path: Path) -> None:
    """Parts of a commit that never was, and those under way, go; files that are not ours stay."""
    job = Job(tmp_path)
    for name in ("part-00000.parquet", "part-00007.parquet", "part-00001.parquet.part"):
        (job.run / "records" / name).write_bytes(b"12345")
    (job.run / "records" / "mine.parquet").write_bytes(b"1")
    job.start()
    assert job.parts() == ["mine.parquet"]
    assert job.sink.dropped == 15


@pytest.mark.parametrize("harm", ["gone", "cut", "grown", "mark", "state"])
def test_a_part_that_is_not_the_marked_one_is_told(tmp_path: Path, harm: str) -> None:
    """Nothing goes on over a part that somebody removed or changed, nor over a checkpoint that contradicts itself."""
    job = Job(tmp_path)
    job.go_on(5)
    path = job.run / "records" / "part-00000.parquet"
    match harm:
        case "gone":
            path.unlink()
        case "cut":
            path.write_bytes(path.read_bytes()[:-1])
        case "grown":
            path.write_bytes(path.read_bytes() + b"1")
        case "mark":
            del job.marks["records/part-00000.parquet"]
        case "state":
            job.state = None
    with pytest.raises(StorageError, match="vouches for"):
        job.start()


def test_a_mark_is_that_of_a_closed_segment(tmp_path: Path) -> None:
    """What the commit vouches for is what stands in the file, as every other output is vouched for."""
    job = Job(tmp_path)
    job.go_on(5)
    mark = job.marks["records/part-00000.parquet"]
    assert mark.closed
    segment, surplus = open_segment(job.run / "records" / "part-00000.parquet", mark)
    segment.close()
    assert surplus == 0


def test_a_damaged_line_of_the_journal_is_told(tmp_path: Path) -> None:
    """What was committed and is no record any more is damage on disk, not a row."""
    job = Job(tmp_path)
    job.group([record(0)])
    path = job.run / "records.jsonl"
    path.write_bytes(b"[" * (path.stat().st_size - 1) + b"\n")
    with pytest.raises(StorageError, match=r"records.jsonl: a line of bytes 0-\d+ is no JSON object"):
        job.sink.compact(job.marks["records.jsonl"])


class Killed(BaseException):
    """The process is gone."""


_STRUCK = ("write", "fdatasync", "fsync", "rename", "unlink", "ftruncate", "stat")


class Killer:
    """Ends the process at its nth call of the system, before it or right after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int | None, *, after: bool) -> None:
        self.calls = 0
        self._writes = 0
        self._at = at
        self._after = after
        self._write = os.write
        for name in _STRUCK:
            monkeypatch.setattr(os, name, self._struck(getattr(os, name)))

    def _struck(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if real is self._write:
                self._writes += 1
                if self._writes % 8:  # most are pages of one part, and alike
                    return real(*arguments, **named)
            self.calls += 1
            if self.calls == self._at and not self._after:
                raise Killed
            result = real(*arguments, **named)
            if self.calls == self._at and self._after:
                raise Killed
            return result

        return call


SOME = 7  # records of a run that is killed: two parts


def _calls_of_a_run(folder: Path) -> int:
    with pytest.MonkeyPatch.context() as patch:
        job = Job(folder, rows=4)
        killer = Killer(patch, None, after=False)
        job.go_on(SOME)
    return killer.calls


def _killed_at(folder: Path, at: int, *, after: bool) -> Iterator[Job]:
    """The job as a kill leaves it, and again as a kill at the same place of the next process does."""
    job = Job(folder, rows=4)
    for _ in range(2):
        with pytest.MonkeyPatch.context() as patch:
            Killer(patch, at, after=after)
            try:
                job.go_on(SOME)
            except Killed:
                yield job
                job.start()


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
def test_a_kill_at_any_call_leaves_each_record_once(tmp_path: Path, after: bool) -> None:
    """Before and after each write, sync, rename and commit of a run: what follows makes every part whole."""
    calls = _calls_of_a_run(tmp_path / "whole")
    assert calls > 20
    for at in range(1, calls + 1):
        struck = 0
        for job in _killed_at(tmp_path / str(at), at, after=after):
            struck += 1
            for name in job.marks:
                assert (job.run / name).stat().st_size >= job.marks[name].length
        assert struck
        job.start()
        job.go_on(SOME)
        assert job.ids() == list(range(SOME))
        assert all(name.endswith(".parquet") for name in job.parts())


@settings(max_examples=40)
@given(
    steps=st.lists(
        st.one_of(st.integers(0, 9), st.sampled_from(["kill", "stop", "lose"])),
        max_size=14,
    ),
    rows=st.integers(1, 12),
)
def test_groups_stops_and_kills_in_any_order_lose_and_double_nothing(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int | str], rows: int
) -> None:
    """Groups of any size, ends of the process with and without notice, and bytes that no commit vouched for."""
    job = Job(tmp_path_factory.mktemp("job"), rows=rows)
    for step in steps:
        match step:
            case int():
                job.group([record(job.written + n) for n in range(step)])
            case "stop":
                job.sink.close()
                job.start()
            case "lose":
                job.journal.append(orjson.dumps(record(-1)) + b"\n")
                job.start()
            case _:
                job.start()
    job.finish()
    assert job.ids() == list(range(job.written))
