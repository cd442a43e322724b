"""Record lines as rows of Parquet, and back."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.errors import JobError
from crawler.jobextract import Extract, column_types
from crawler.model import Record
from crawler.parquetrows import batch_of, check_available, records_of, schema

NAMES = [field.name for field in fields(Record)]
RECORD: dict[str, Any] = {
    **dict.fromkeys(NAMES),
    "id": 7,
    "run": "20260101T000000Z-abcdef",
    "url": "http://a.example/ü?q=1",
    "status": 200,
    "started_at": "2026-01-02T03:04:05.678Z",
    "elapsed_ms": {"dns": None, "connect": 1.25, "ttfb": 3.0, "total": 7.5},
    "headers": {"Content-Type": "text/html", "X-Empty": ""},
    "length_checked": True,
    "depth": 0,
    "input": {"sku": "x", "n": [1, 2.5, None]},
    "body": "bodies/ab/cd",
}
LATE = {
    "change": "changed",
    "warc": {"file": "warc/a.warc.gz", "offset": 2**40, "length": 99},
    "tar": {"file": "tar/a.tar", "offset": 512, "length": 1024},
    "content": "text",
    "content_base64": "AA==",
}


def lines_of(records: Iterable[dict[str, Any]]) -> list[bytes]:
    return [orjson.dumps(record) + b"\n" for record in records]


def back(*records: dict[str, Any]) -> list[dict[str, Any]]:
    return list(records_of(batch_of(lines_of(records), schema())))


def without_nulls(record: dict[str, Any]) -> dict[str, Any]:
    """An absent value and null are one, in the record and in its phases and places."""
    kept = {key: value for key, value in record.items() if value is not None}
    for name in ("elapsed_ms", "warc", "tar", "fields"):
        if isinstance(kept.get(name), dict):
            kept[name] = {key: value for key, value in kept[name].items() if value is not None}
    return kept


def test_every_field_of_a_record_is_a_column() -> None:
    """What a Record has, a reader of Parquet finds under its name; keys that sinks add come behind."""
    assert schema().names == [*NAMES, *LATE, "more"]


def test_columns_have_the_types_that_readers_calculate_with() -> None:
    """Times are times, counts are integers, phases are numbers; nothing is a text that need not be one."""
    columns = schema()
    assert {n for n in columns.names if columns.field(n).type == pa.int64()} == {
        *("id", "status", "attempts", "bytes", "frames", "depth", "page")
    }
    assert columns.field("started_at").type == pa.timestamp("ms", "UTC")
    assert columns.field("elapsed_ms").type.field("total").type == pa.float64()
    assert columns.field("headers").type == pa.map_(pa.string(), pa.string())
    assert columns.field("length_checked").type == pa.bool_()
    assert columns.field("warc").type.field("offset").type == pa.int64()


def test_a_record_comes_back_as_it_was() -> None:
    """Each value stands in its column, and none of a usual record in `more`."""
    record = {**RECORD, **LATE}
    batch = batch_of(lines_of([record]), schema())
    row = batch.to_pylist()[0]
    assert row["more"] is None
    assert row["started_at"].isoformat() == "2026-01-02T03:04:05.678000+00:00"
    assert json.loads(row["input"]) == record["input"]
    assert dict(row["headers"]) == record["headers"]
    assert list(records_of(batch)) == [record]


def test_a_line_without_the_keys_of_sinks_gets_none() -> None:
    """`warc`, `tar` and `content` stand in a record that comes back only where they stood in it."""
    assert back(RECORD) == [RECORD]


def test_nulls_alone_and_columns_that_come_late_change_no_schema() -> None:
    """The first batch has nulls only, the next a key for the first time: both have the columns of all runs."""
    empty = batch_of(lines_of([dict.fromkeys(NAMES)]), schema())
    late = batch_of(lines_of([{**RECORD, **LATE}]), schema())
    assert empty.schema == late.schema == batch_of([], schema()).schema == schema()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "200"),
        ("status", True),
        ("status", 1.5),
        ("id", 2**63),
        ("url", 5),
        ("headers", {"a": 1}),
        ("headers", ["a"]),
        ("elapsed_ms", {"dns": "x"}),
        ("elapsed_ms", {"tcp": 1.0}),
        ("elapsed_ms", {"dns": 2**53 + 1}),
        ("started_at", "yesterday"),
        ("started_at", "2026-02-30T00:00:00.000Z"),
        ("started_at", "2026-02-03T00:00:00.000+02:00"),
        ("length_checked", 1),
        ("warc", {"file": 1}),
        ("content", {"a": None}),
        ("novel", {"a": None}),
        ("more", "a key of this very name"),
    ],
)
def test_what_fits_no_column_stands_in_more(name: str, value: object) -> None:
    """Drift of a type and unknown keys fail nothing: the column is null, the value is in `more` as it was."""
    batch = batch_of(lines_of([RECORD, {**RECORD, name: value}]), schema())
    plain, drifted = batch.to_pylist()
    assert plain["more"] is None
    assert json.loads(drifted["more"]) == {name: value}
    if name in NAMES:
        assert drifted[name] is None
    assert next(iter([*records_of(batch)][1:]))[name] == value


def test_bytes_that_are_no_text_become_replacement_characters() -> None:
    """A lone surrogate as an escape, bytes that are not UTF-8 and numbers beyond JSON end no run."""
    lines = [b'{"id":1,"error":"a\\ud800b"}\n', b'{"id":2,"error":"a\xffb"}\n', b'{"id":3,"odd":[1e999]}\n']
    rows = batch_of(lines, schema()).to_pylist()
    assert [row["id"] for row in rows] == [1, 2, 3]
    assert [row["error"] for row in rows] == ["a\ufffdb", "a\ufffdb", None]
    assert json.loads(rows[2]["more"]) == {"odd": ["inf"]}


@pytest.mark.parametrize("line", [b"[]\n", b"7\n", b'{"id":\n', b"\n", b"\0\0\0\n"])
def test_a_line_that_is_no_object_is_told(line: bytes) -> None:
    """That is no drift but damage."""
    with pytest.raises(ValueError):
        batch_of([line], schema())


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    # without "Cs" since orjson writes none
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
            | st.sampled_from(["dns", "total", "file", "offset"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
KEYS = st.sampled_from([*NAMES, *LATE, "more", "fields", "else"])


@settings(max_examples=150)  # the first example loads pyarrow
@given(st.lists(st.dictionaries(KEYS, JSON, max_size=8), max_size=4))
def test_whatever_json_comes_nothing_of_it_is_lost(records: list[dict[str, Any]]) -> None:
    """Any objects become rows of the one schema, and the rows the objects again."""
    batch = batch_of(lines_of(records), schema())
    batch.validate(full=True)
    assert batch.schema == schema()
    assert list(map(without_nulls, records_of(batch))) == list(map(without_nulls, records))


def test_extracted_fields_are_typed_columns_of_a_struct() -> None:
    """A job that extracts says the types; a value of another type stands in `more`, the others in their columns."""
    columns = schema({"price": pa.float64(), "name": pa.string(), "tags": pa.list_(pa.string())})
    good = {"price": 9.5, "name": "chair", "tags": ["a", "b"]}
    bad = {"price": "9,50", "name": "table", "tags": None}
    batch = batch_of(lines_of([{**RECORD, "fields": good}, {**RECORD, "fields": bad}, RECORD]), columns)
    rows = batch.to_pylist()
    assert rows[0]["fields"] == good
    assert rows[1]["fields"] is None
    assert json.loads(rows[1]["more"]) == {"fields": bad}
    assert rows[2]["fields"] is None
    assert [record.get("fields") for record in records_of(batch)] == [good, bad, None]


def test_metadata_is_no_part_of_the_columns() -> None:
    """Parts of different runs have the same schema but for what they say of their origin."""
    said = schema(said={"crawler.run": "a"})
    assert said.metadata == {b"crawler.run": b"a"}
    assert said == schema()
    assert schema().metadata is None


def test_without_pyarrow_the_cure_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that asks for Parquet where pyarrow is missing is told what to install."""
    check_available()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(JobError, match=r"needs pyarrow: pip install 'crawler\[parquet\]'"):
        check_available()


def test_moments_and_json_among_extracted_fields_have_columns_they_fit() -> None:
    """A time is a timestamp, several are a list of them; JSON is its text, whatever its shape; nulls are null."""
    said = Extract.model_validate(
        {
            "at": {"css": "time", "type": "time"},
            "all": {"css": "time", "type": "time", "list": True},
            "data": "jmespath:data",
        }
    )
    columns = schema(column_types(said))
    moment = "2026-11-21T10:00:00.000Z"
    full = {"at": moment, "all": [moment, moment], "data": {"a": [1, None]}}
    empty = {"at": None, "all": [], "data": None}
    batch = batch_of(lines_of([{**RECORD, "fields": full}, {**RECORD, "fields": empty}, RECORD]), columns)
    rows = batch.to_pylist()
    assert rows[0]["more"] is None
    assert rows[0]["fields"]["at"] == datetime(2026, 11, 21, 10, tzinfo=UTC)
    assert rows[0]["fields"]["all"] == [rows[0]["fields"]["at"]] * 2
    assert json.loads(rows[0]["fields"]["data"]) == full["data"]
    assert rows[1]["fields"] == empty
    assert rows[2]["fields"] is None
