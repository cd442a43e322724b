"""Copies of record files: what is asked for is gone, and of the rest not a byte is another."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.csvtext import HEADER
from crawler.durable import EMPTY, Mark, tail_of
from crawler.entry import Sync
from crawler.errors import StorageError
from crawler.recordfiles import copy_csv, copy_lines, copy_part, csv_records
from crawler.recordlines import lines
from crawler.sinks.csv import CsvRecords
from crawler.sinks.jsonl import JsonlRecords
from crawler.sinks.parquet import ParquetParts
from tests.exportruns import lines_of, record

GONE = {2, 5, 6, 9}


def some(count: int = 10) -> list[dict[str, Any]]:
    """Every third of them failed, with an error over two lines."""
    failed = {"outcome": "failed", "reason": "status-503", "status": 503, "bytes": None, "error": 'a "b",\r\nc'}
    return [record(id, b"x" * id, **(failed if id % 3 == 2 else {})) for id in range(1, count + 1)]


def vouched(path: Path) -> Mark:
    return Mark(path.stat().st_size, tail_of(path, path.stat().st_size))


@pytest.mark.parametrize("zstd", [False, True])
@pytest.mark.parametrize("name", ["records.jsonl", "items.jsonl"])
def test_lines_go_by_the_number_of_their_request(tmp_path: Path, zstd: bool, name: str) -> None:
    """Also where the number is not the first that a line says; the copy is one that the sink goes on with."""
    said = some() if name != "items.jsonl" else [{"page": n, "url": "u", "item": {"id": 5}} for n in range(1, 11)]
    said[0] = dict(reversed(said[0].items())) if name != "items.jsonl" else said[0]
    texts = lines_of(said)
    with_sink = JsonlRecords(tmp_path, EMPTY, name=name, zstd=zstd)
    with_sink.append(texts[:4])
    with_sink.append(texts[4:])
    ((stored, mark),) = with_sink.marks()
    with_sink.append([b"{}\n"])  # nobody vouched for it
    with_sink.close()
    (tmp_path / "new").mkdir()
    out: list[Any] = []
    made = copy_lines(tmp_path / stored, mark.length, tmp_path / "new" / stored, GONE, out.append)
    assert made == vouched(tmp_path / "new" / stored)
    kept = [text for n, text in enumerate(texts, 1) if n not in GONE]
    assert list(lines(tmp_path / "new" / stored, 0, made.length)) == kept
    assert [orjson.dumps(record) + b"\n" for record in out] == [texts[n - 1] for n in sorted(GONE)]
    further = JsonlRecords(tmp_path / "new", made, name=name, zstd=zstd)
    assert further.dropped == 0
    further.close()


def test_many_lines_are_copied_in_several_frames(tmp_path: Path) -> None:
    """Memory holds one of them, not the file."""
    sink = JsonlRecords(tmp_path, EMPTY, zstd=True, sync=Sync.NEVER)
    texts = lines_of([record(id, note="y" * 100_000) for id in range(1, 40)])
    sink.append(texts)
    ((name, mark),) = sink.marks()
    sink.close()
    (tmp_path / "new").mkdir()
    made = copy_lines(tmp_path / name, mark.length, tmp_path / "new" / name, {1}, lambda _: None)
    data = (tmp_path / "new" / name).read_bytes()
    assert data.count(b"\x28\xb5\x2f\xfd") >= 3
    assert list(lines(tmp_path / "new" / name, 0, made.length)) == texts[1:]


@pytest.mark.parametrize("damage", [b"no JSON\n", b'["id"]\n', b"{}\n"])
def test_what_is_no_record_is_damage(tmp_path: Path, damage: bytes) -> None:
    """Nothing is copied as if it were one."""
    path = tmp_path / "records.jsonl"
    path.write_bytes(b"".join(lines_of(some(3))) + damage)
    (tmp_path / "new").mkdir()
    with pytest.raises(StorageError, match="damaged"):
        copy_lines(path, path.stat().st_size, tmp_path / "new" / path.name, GONE, lambda _: None)


CELLS = st.text(alphabet='ab",\r\n;é', max_size=6)


@given(rows=st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=12), gone=st.sets(st.integers(1, 12)))
def test_a_table_keeps_every_byte_of_the_rows_that_stay(rows: Sequence[Sequence[str]], gone: set[int]) -> None:
    """Whatever stands in its cells."""
    head = row_of(HEADER)
    said = [row_of([str(n), *cells, *[""] * (len(HEADER) - 4)]) for n, cells in enumerate(rows, 1)]
    out: list[int] = []
    with TemporaryDirectory() as folder:
        path = Path(folder) / "records.csv"
        path.write_bytes(b"".join([head, *said, b"9,torn"]))
        length = path.stat().st_size - len(b"9,torn")
        made = copy_csv(path, length, Path(folder) / "new.csv", gone, lambda record: out.append(record["id"]))
        copied = (Path(folder) / "new.csv").read_bytes()
        assert made == vouched(Path(folder) / "new.csv")
        assert [record["id"] for record in csv_records(path, length)] == list(range(1, len(said) + 1))
    assert copied == b"".join([head, *(row for n, row in enumerate(said, 1) if n not in gone)])
    assert out == [n for n in range(1, len(said) + 1) if n in gone]


def row_of(cells: Sequence[str]) -> bytes:
    text = StringIO(newline="")
    csv.writer(text).writerow(cells)
    return text.getvalue().encode()


def test_rows_that_go_say_what_the_record_said(tmp_path: Path) -> None:
    """Numbers as numbers, what was null as null."""
    sink = CsvRecords(tmp_path, EMPTY)
    sink.append(lines_of(some()))
    ((name, mark),) = sink.marks()
    sink.close()
    out: list[Any] = []
    copy_csv(tmp_path / name, mark.length, tmp_path / "new.csv", GONE, out.append)
    keys = ("id", "outcome", "reason", "status", "bytes", "depth", "body")
    assert [{key: row[key] for key in keys} for row in out] == [
        {key: said[key] for key in keys} for said in some() if said["id"] in GONE
    ]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"id,url\r\n1,a\r\n2,b", "whole rows"),
        (b'id,url\r\n1,"a\r\n', "whole rows"),
        (b"id,other\r\n1,a\r\n", "other columns"),
        (b"url,id\r\na,1\r\n", "other columns"),
        (b"", "other columns"),
        (b"id,url\r\nx,a\r\n", "damaged"),
        (b"id,url\r\n1,a,b\r\n", "damaged"),
    ],
)
def test_a_table_that_is_none_of_ours_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    """Cut, with columns that nobody knows, or with a row that is none."""
    path = tmp_path / "records.csv"
    path.write_bytes(data)
    length = len(data) + (said == "whole rows" and not data.endswith(b"\n"))
    with pytest.raises(StorageError, match=said):
        copy_csv(path, length, tmp_path / "new.csv", {1}, lambda _: None)


def test_a_table_with_fewer_columns_gets_the_others(tmp_path: Path) -> None:
    """At their places, empty."""
    path = tmp_path / "records.csv"
    path.write_bytes(b'id,url,outcome,error\r\n1,a,failed,"x,\ny"\r\n2,b,failed,"z\r\n"\r\n')
    copy_csv(path, path.stat().st_size, tmp_path / "new.csv", {1}, lambda _: None)
    with open(tmp_path / "new.csv", newline="") as file:
        [row] = csv.DictReader(file)
    assert tuple(row) == HEADER
    assert {key: value for key, value in row.items() if value} == {
        "id": "2",
        "url": "b",
        "outcome": "failed",
        "error": "z\r\n",
    }


def part(folder: Path, count: int) -> Path:
    """A run's one part of Parquet."""
    run = folder / "t" / "runs" / "r"
    run.mkdir(parents=True)
    sink = JsonlRecords(run, EMPTY)
    sink.append(lines_of(some(count)))
    ((name, mark),) = sink.marks()
    sink.close()
    parts = ParquetParts(run, run / name, {}, None, 10**6, Sync.NEVER)
    parts.compact(mark, last=True)
    ((name, _),) = parts.marks()
    return run / name


def test_a_part_keeps_its_columns_and_its_origin(tmp_path: Path) -> None:
    """Also over several batches; the rest of its rows are as they were."""
    import pyarrow.parquet as pq

    source, target = part(tmp_path, 2500), tmp_path / "new.parquet"
    gone = {1, 2, 1000, 1001, 2500}
    out: list[Any] = []
    made = copy_part(source, target, gone, out.append)
    assert made == vouched(target)._replace(closed=True)
    before, after = pq.read_table(source), pq.read_table(target)
    assert after.schema.equals(before.schema, check_metadata=True)
    assert after.schema.metadata[b"crawler.run"] == b"r"
    assert after.to_pylist() == [row for row in before.to_pylist() if row["id"] not in gone]
    assert [(row["id"], row["outcome"], row["input"]["n"]) for row in out] == [
        (row["id"], row["outcome"], row["id"]) for row in some(2500) if row["id"] in gone
    ]


def test_a_part_of_which_nothing_goes_is_not_written(tmp_path: Path) -> None:
    """It stays where it is."""
    assert copy_part(part(tmp_path, 20), tmp_path / "new.parquet", {21, 22}, lambda _: None) is None
    assert not (tmp_path / "new.parquet").exists()


def test_a_part_may_lose_all_its_rows(tmp_path: Path) -> None:
    """It stays a part, with its columns: those behind it keep their numbers."""
    import pyarrow.parquet as pq

    source = part(tmp_path, 20)
    assert copy_part(source, tmp_path / "new.parquet", range(100), lambda _: None) is not None
    assert pq.read_table(tmp_path / "new.parquet").schema.equals(pq.read_table(source).schema)
    assert pq.read_metadata(tmp_path / "new.parquet").num_rows == 0


def test_a_damaged_part_is_told(tmp_path: Path) -> None:
    """As trouble with what is stored."""
    source = part(tmp_path, 20)
    source.write_bytes(source.read_bytes()[:-30] + bytes(30))
    with pytest.raises(StorageError, match="damaged"):
        copy_part(source, tmp_path / "new.parquet", {1}, lambda _: None)
