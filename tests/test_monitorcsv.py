"""records.csv read back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from crawler.durable import EMPTY
from crawler.monitorcsv import records_in_csv
from crawler.sinks.csv import CsvRecords
from tests.exportruns import lines_of, record


def read(path: Path) -> list[Any]:
    return list(records_in_csv(os.open(path, os.O_RDONLY)))


def test_a_row_says_what_its_record_said(tmp_path: Path) -> None:
    """Numbers, nothing, and a text that was kept from being a formula."""
    said = record(7, url='http://a.example/",\n', error="=1+1", warc={"file": "a.warc", "offset": 3, "length": 5})
    sink = CsvRecords(tmp_path, EMPTY)
    sink.append(lines_of([said]))
    sink.close()
    [found] = read(tmp_path / "records.csv")
    for key in ("id", "url", "status", "outcome", "error", "warc", "reason", "body"):
        assert found[key] == said[key], key
    assert found["elapsed_ms"]["total"] == said["elapsed_ms"]["total"]


def test_a_row_that_is_being_written_ends_the_reading(tmp_path: Path) -> None:
    """And an empty file has none."""
    path = tmp_path / "records.csv"
    path.write_text("id,url\n1,http://a/\n2")
    assert [one["id"] for one in read(path)] == [1]
    path.write_text("")
    assert read(path) == []


def test_a_number_that_is_none_is_a_text(tmp_path: Path) -> None:
    """Nobody's file ends the reading."""
    path = tmp_path / "records.csv"
    path.write_bytes(b"id,url\nx,\xff\n")
    assert read(path) == [{"id": "x", "url": "\ufffd"}]
