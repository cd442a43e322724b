"""records.jsonl: each record a line, whole lines only, whatever a server put into its headers."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.durable import EMPTY
from crawler.model import Elapsed, Record
from crawler.sinks.jsonl import NAME, JsonlRecords, line
from tests.fakes import record_of

ANY_TEXT = st.text(st.characters() | st.characters(categories=["Cs"]), max_size=20)
CLEAN = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def lines_of(folder: Path) -> list[Any]:
    return [orjson.loads(line) for line in (folder / NAME).read_bytes().splitlines()]


def test_each_record_is_a_line_in_field_order(tmp_path: Path) -> None:
    """A line holds every field of the record, nested ones too, in the order of the class."""
    record = record_of(7, b"x")
    record.elapsed_ms = Elapsed(0.5, None, 12.25, 13.0)
    record.headers, record.input = {"etag": '"a"'}, {"column": ["any", 1, None]}
    records = JsonlRecords(tmp_path, EMPTY)
    records.append(map(line, [record, record_of(8, None)]))
    records.close()
    first, second = lines_of(tmp_path)
    assert first == asdict(record)
    assert list(first) == [field.name for field in fields(Record)]
    assert (second["outcome"], second["reason"]) == ("failed", "status-404")


@settings(max_examples=50)
@given(st.lists(st.tuples(CLEAN, st.dictionaries(CLEAN, CLEAN, max_size=3)), max_size=5))
def test_text_comes_back_as_it_was(tmp_path_factory: Any, texts: list[tuple[str, dict[str, str]]]) -> None:
    """Line ends, controls and any script inside values break no line and change no character."""
    folder = tmp_path_factory.mktemp("records")
    records = JsonlRecords(folder, EMPTY)
    for error, headers in texts:
        record = record_of(1, None)
        record.error, record.headers = error, headers
        records.append(map(line, [record]))
    records.close()
    data = (folder / NAME).read_bytes()
    assert [(line["error"], line["headers"]) for line in map(orjson.loads, data.split(b"\n")[:-1])] == texts
    assert data == b"" or data.endswith(b"\n")


@settings(max_examples=50)
@given(ANY_TEXT, st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=3))
def test_bytes_that_are_no_text_cannot_stop_the_run(tmp_path_factory: Any, etag: str, headers: dict[str, str]) -> None:
    """Header bytes beyond UTF-8 (lone surrogates) are written as U+FFFD, all else as it is."""
    folder = tmp_path_factory.mktemp("records")
    record = record_of(1, b"")
    record.etag, record.headers = etag, headers
    records = JsonlRecords(folder, EMPTY)
    records.append(map(line, [record_of(0, b""), record]))
    records.close()
    second = lines_of(folder)[1]
    shown = "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in etag)
    assert (second["id"], second["etag"]) == (1, shown)


def test_numbers_beyond_json_are_written_as_text(tmp_path: Path) -> None:
    """A column with an integer of more than 64 bits does not stop the run."""
    record = record_of(1, b"")
    record.input = {"n": 10**30, "m": -(2**63), "deep": [{"n": -(10**30)}]}
    records = JsonlRecords(tmp_path, EMPTY)
    records.append(map(line, [record]))
    records.close()
    assert lines_of(tmp_path)[0]["input"] == {"n": str(10**30), "m": -(2**63), "deep": [{"n": str(-(10**30))}]}


def test_what_was_not_committed_is_dropped(tmp_path: Path) -> None:
    """A new start at the committed mark tells how many bytes went, and goes on behind the last committed line."""
    records = JsonlRecords(tmp_path, EMPTY)
    records.append(map(line, [record_of(1, b"")]))
    records.sync()
    name, mark = records.mark()
    records.append(map(line, [record_of(2, b"")]))
    records.close()
    again = JsonlRecords(tmp_path, mark)
    assert name == NAME
    assert again.dropped > 0
    again.append(map(line, [record_of(3, b"")]))
    again.close()
    assert [line["id"] for line in lines_of(tmp_path)] == [1, 3]


def test_an_empty_group_writes_nothing(tmp_path: Path) -> None:
    """A group of retries only leaves the records as they are."""
    records = JsonlRecords(tmp_path, EMPTY)
    records.append([])
    assert records.mark() == (NAME, EMPTY)
    records.close()
