"""records.csv: whole rows only, and every reader gets the same table."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.csvtext import HEADER, cells
from crawler.durable import EMPTY, open_segment
from crawler.entry import Sync
from crawler.errors import StorageError
from crawler.sinks.csv import NAME, CsvRecords
from crawler.sinks.jsonl import line
from tests.fakes import record_of

NASTY = [
    "=cmd|' /C calc'!A0",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "a\r\nb\nc",
    'say "x", y',
    "\0\x1b[2J",
    "ü\u202e",
    "",
]
ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(NASTY)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / NAME, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


def texts(lines: list[bytes]) -> list[dict[str, str]]:
    """What a reader that knows no types should find."""
    made = [cells(orjson.loads(line)) for line in lines]
    return [{name: "" if cell is None else str(cell) for name, cell in zip(HEADER, row, strict=True)} for row in made]


def written(folder: Path, errors: list[str]) -> list[bytes]:
    """A finished table of failures with these errors."""
    lines = []
    for id, error in enumerate(errors):
        record = record_of(id, None)
        record.error, record.input = error, {error: [error]}
        lines.append(line(record))
    sink = CsvRecords(folder, EMPTY)
    sink.append(lines[:3])
    sink.append(lines[3:])
    sink.finish()
    sink.close()
    return lines


@settings(max_examples=60)
@given(st.lists(ANY, max_size=6))
def test_rows_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, errors: list[str]) -> None:
    """One row for each line, whatever stands in its cells, under one header."""
    folder = tmp_path_factory.mktemp("run")
    lines = written(folder, errors)
    assert rows_of(folder) == texts(lines)
    data = (folder / NAME).read_bytes()
    assert data.startswith(",".join(HEADER).encode() + b"\r\n")  # RFC 4180, section 2
    assert data.endswith(b"\r\n")


@pytest.mark.slow
def test_duckdb_and_polars_read_the_same_table(tmp_path: Path) -> None:
    """Numbers as numbers, texts with quotes and line ends whole, absent ones as null."""
    duckdb, polars = pytest.importorskip("duckdb"), pytest.importorskip("polars")
    lines = written(tmp_path, NASTY)
    wanted = texts(lines)
    found = duckdb.sql(f"SELECT * FROM read_csv('{tmp_path / NAME}', header = true)")
    assert found.columns == list(HEADER)
    numbers = duckdb.sql("SELECT sum(id), sum(status), count(*), count(body), count(warc_offset) FROM found").fetchall()
    assert numbers == [(sum(range(len(NASTY))), 404 * len(NASTY), len(NASTY), 0, 0)]
    assert [row["error"] for row in wanted] == [
        error or "" for (error,) in duckdb.sql("SELECT error FROM found").fetchall()
    ]
    frame = polars.read_csv(tmp_path / NAME, infer_schema_length=None)
    assert frame.columns == list(HEADER)
    assert frame["error"].fill_null("").to_list() == [row["error"] for row in wanted]
    assert frame["input"].to_list() == [row["input"] for row in wanted]
    assert (frame["id"].sum(), frame["body"].null_count()) == (sum(range(len(NASTY))), len(NASTY))


def test_what_was_not_committed_is_dropped(tmp_path: Path) -> None:
    """A new start goes on behind the last committed row, and writes no second header."""
    sink = CsvRecords(tmp_path, EMPTY)
    sink.append([line(record_of(1, b""))])
    [(name, mark)] = sink.marks()
    sink.append([line(record_of(2, b""))])
    sink.close()
    again = CsvRecords(tmp_path, mark)
    assert (name, again.state()) == (NAME, None)
    assert again.dropped > 0
    again.append([line(record_of(3, b""))])
    again.finish()
    again.finish()
    again.close()
    assert [row["id"] for row in rows_of(tmp_path)] == ["1", "3"]


def test_a_header_that_was_not_committed_is_written_again(tmp_path: Path) -> None:
    """A kill before the first commit leaves a file that counts for nothing."""
    sink = CsvRecords(tmp_path, EMPTY)
    sink.append([line(record_of(1, b""))])
    sink.close()
    again = CsvRecords(tmp_path, EMPTY)
    again.append([line(record_of(2, b""))])
    again.close()
    assert [row["id"] for row in rows_of(tmp_path)] == ["2"]


def test_without_records_there_is_a_header(tmp_path: Path) -> None:
    """An empty table has its columns once the run is over; before, and for empty groups, nothing is written."""
    sink = CsvRecords(tmp_path, EMPTY, Sync.NEVER)
    sink.append([])
    assert (sink.marks(), sink.dropped) == ([(NAME, EMPTY)], 0)
    sink.finish()
    sink.close()
    assert (tmp_path / NAME).read_bytes() == ",".join(HEADER).encode() + b"\r\n"


def test_other_columns_are_not_continued(tmp_path: Path) -> None:
    """A file begun by another version, whole and committed, gets no rows of this one."""
    segment, _ = open_segment(tmp_path / NAME, EMPTY)
    segment.append(b"id,url\r\n1,http://h/\r\n")
    mark = segment.mark()
    segment.close()
    with pytest.raises(StorageError, match="other columns"):
        CsvRecords(tmp_path, mark)


def test_a_policy_says_when_rows_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With each group, with the end of the run, or never."""
    synced: list[Any] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    counts = []
    for sync in Sync:
        folder = tmp_path / sync.value
        folder.mkdir()
        sink = CsvRecords(folder, EMPTY, sync)
        before = len(synced)
        sink.append([line(record_of(1, b""))])
        middle = len(synced)
        sink.finish()
        sink.close()
        counts.append((middle - before, len(synced) - middle))
    assert counts == [(1, 1), (0, 2), (0, 0)]
