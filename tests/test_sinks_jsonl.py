"""records.jsonl: each record a line, whole lines only, whatever a server put into its headers."""

from __future__ import annotations

import os
import subprocess
import sys
from base64 import b64decode
from dataclasses import asdict, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.durable import EMPTY
from crawler.entry import Entry, Spot, Sync
from crawler.model import Body, Elapsed, Record
from crawler.sinks.jsonl import NAME, PATH_ONLY, Beside, JsonlRecords, line, with_places
from tests.fakes import record_of

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

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
    records.append([line(record), line(record_of(8, None))])
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
        records.append([line(record)])
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
    records.append([line(record_of(0, b"")), line(record)])
    records.close()
    second = lines_of(folder)[1]
    shown = "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in etag)
    assert (second["id"], second["etag"]) == (1, shown)


def test_numbers_beyond_json_are_written_as_text(tmp_path: Path) -> None:
    """A column with an integer of more than 64 bits does not stop the run."""
    record = record_of(1, b"")
    record.input = {"n": 10**30, "m": -(2**63), "deep": [{"n": -(10**30)}]}
    records = JsonlRecords(tmp_path, EMPTY)
    records.append([line(record)])
    records.close()
    assert lines_of(tmp_path)[0]["input"] == {"n": str(10**30), "m": -(2**63), "deep": [{"n": str(-(10**30))}]}


def test_what_was_not_committed_is_dropped(tmp_path: Path) -> None:
    """A new start at the committed mark tells how many bytes went, and goes on behind the last committed line."""
    records = JsonlRecords(tmp_path, EMPTY)
    records.append([line(record_of(1, b""))])
    [(name, mark)] = records.marks()
    records.append([line(record_of(2, b""))])
    records.close()
    again = JsonlRecords(tmp_path, mark)
    assert name == NAME
    assert again.dropped > 0
    again.append([line(record_of(3, b""))])
    again.close()
    assert [line["id"] for line in lines_of(tmp_path)] == [1, 3]


def test_an_empty_group_writes_nothing(tmp_path: Path) -> None:
    """A group of retries only leaves the records as they are."""
    records = JsonlRecords(tmp_path, EMPTY)
    records.append([])
    records.finish()
    assert (records.marks(), records.state()) == ([(NAME, EMPTY)], None)
    records.close()


def test_compressed_groups_are_one_file_for_every_reader(tmp_path: Path) -> None:
    """A frame a group: zstd itself, Python, duckdb and polars read them one after another."""
    duckdb, polars = pytest.importorskip("duckdb"), pytest.importorskip("polars")
    records = JsonlRecords(tmp_path, EMPTY, zstd=True)
    lines = [line(record_of(id, b"")) for id in range(300)]
    for at in range(0, 300, 7):
        records.append(lines[at : at + 7])
    records.finish()
    records.close()
    path = tmp_path / "records.jsonl.zst"
    whole = b"".join(lines)
    assert zstd.decompress(path.read_bytes()) == whole
    assert subprocess.run(["zstd", "-dc", path], capture_output=True, check=True).stdout == whole
    assert duckdb.sql(f"SELECT count(*), sum(id) FROM '{path}'").fetchall() == [(300, 44850)]
    assert polars.read_ndjson(path)["id"].to_list() == list(range(300))


def test_a_compressed_file_is_whole_at_each_commit(tmp_path: Path) -> None:
    """The committed length is the end of a frame: cut there it is sound, and the next start goes on there."""
    records = JsonlRecords(tmp_path, EMPTY, zstd=True)
    records.append([line(record_of(1, b""))])
    [(name, mark)] = records.marks()
    records.append([line(record_of(2, b""))])
    records.close()
    path = tmp_path / name
    assert (name, records.name) == ("records.jsonl.zst", name)
    assert orjson.loads(zstd.decompress(path.read_bytes()[: mark.length]))["id"] == 1
    again = JsonlRecords(tmp_path, mark, zstd=True)
    assert again.dropped > 0
    again.append([line(record_of(3, b""))])
    again.close()
    text = zstd.decompress(path.read_bytes())
    assert [orjson.loads(row)["id"] for row in text.splitlines()] == [1, 3]


def test_a_frame_knows_when_it_is_damaged(tmp_path: Path) -> None:
    """Each has its checksum."""
    records = JsonlRecords(tmp_path, EMPTY, name="other.jsonl", zstd=True)
    records.append([line(record_of(1, b""))])
    records.close()
    data = bytearray((tmp_path / "other.jsonl.zst").read_bytes())
    data[-1] ^= 1
    with pytest.raises(zstd.ZstdError, match="checksum"):
        zstd.decompress(data)


def placed(body: bytes | None = None, **places: Any) -> Entry:
    record = record_of(1, body)
    entry = Entry(record, None if body is None else Body(len(body), sha256(body).hexdigest(), data=body))
    for name, place in places.items():
        setattr(entry, name, place)
    return entry


def told(entry: Entry, beside: Beside = PATH_ONLY) -> dict[str, Any]:
    """The line with its places, which must be the line without them up to `body`."""
    text = with_places(line(entry.record), entry, beside)
    assert text.endswith(b"}\n")
    assert text.count(b"\n") == 1
    found = orjson.loads(text)
    names = [field.name for field in fields(Record)]
    assert list(found)[: len(names)] == names
    assert {name: found[name] for name in names[:-1]} == {name: asdict(entry.record)[name] for name in names[:-1]}
    return {name: found[name] for name in found if name not in names[:-1]}


def test_a_line_names_the_places_of_its_body() -> None:
    """The path alone, or with it the archives that the run writes, null where this body is in none."""
    spot = Spot("warc/crawl-00000.warc.gz", 10, 20)
    assert told(placed(b"x", file='bodies/"ü".html')) == {"body": 'bodies/"ü".html'}
    assert told(placed()) == {"body": None}
    both = Beside(warc=True, tar=True)
    assert told(placed(), both) == {"body": None, "warc": None, "tar": None}
    where = {"file": spot.file, "offset": 10, "length": 20}
    assert told(placed(b"x", warc=spot), both) == {"body": None, "warc": where, "tar": None}
    assert told(placed(b"x", file="a", tar=spot), Beside(tar=True)) == {"body": "a", "tar": where}


@given(st.binary(max_size=30) | ANY_TEXT.map(lambda text: text.encode(errors="replace")))
def test_a_body_in_its_line_comes_back_as_it_was(data: bytes) -> None:
    """As text where it is UTF-8 without NUL, else in Base64; both keys are there, one is null."""
    found = told(placed(data), Beside(inline=Path("/nowhere")))
    assert list(found) == ["body", "content", "content_base64"]
    if found["content"] is not None:
        assert (found["content"].encode(), found["content_base64"]) == (data, None)
        assert b"\0" not in data
    else:
        assert b64decode(found["content_base64"], validate=True) == data
        assert b"\0" in data or "\ufffd" in data.decode(errors="replace")


def test_a_large_body_is_taken_from_its_file(tmp_path: Path) -> None:
    """From the part, or where another sink has moved it by then; without a body both keys are null."""
    data = b"large" * 100_000
    (tmp_path / "x.part").write_bytes(data)
    entry = Entry(record_of(1, data), Body(len(data), sha256(data).hexdigest(), part=str(tmp_path / "x.part")))
    assert told(entry, Beside(inline=tmp_path))["content"] == data.decode()
    (tmp_path / "bodies").mkdir()
    os.rename(tmp_path / "x.part", tmp_path / "bodies/x")
    entry.file = "bodies/x"
    assert told(entry, Beside(inline=tmp_path)) == {
        "body": "bodies/x",
        "content": data.decode(),
        "content_base64": None,
    }
    counted = Entry(record_of(1, b""), Body(0, sha256(b"").hexdigest()))
    for none in (counted, placed()):
        assert told(none, Beside(inline=tmp_path)) == {"body": None, "content": None, "content_base64": None}


def test_a_policy_says_when_lines_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With each group, with the end of the run, or never."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    counts = []
    for sync in Sync:
        records = JsonlRecords(tmp_path, EMPTY, name=f"{sync.value}.jsonl", sync=sync)
        before = len(synced)
        records.append([line(record_of(1, b""))])
        middle = len(synced)
        records.finish()
        records.close()
        counts.append((middle - before, len(synced) - middle))
    assert counts == [(1, 1), (0, 2), (0, 0)]
