"""Cells: one shape of row, nothing that calculates or commands, numbers as numbers."""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import fields
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.csvtext import HEADER, Cell, cells, inert, reader
from crawler.entry import Entry, Spot
from crawler.model import Elapsed, Record
from crawler.sinks.jsonl import Beside, line, with_places
from tests.fakes import record_of

ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | ANY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY, inner, max_size=3),
    max_leaves=8,
)


def row(record: dict[str, Any]) -> dict[str, Cell]:
    return dict(zip(HEADER, cells(record), strict=True))


def test_every_field_of_a_record_has_its_column() -> None:
    """In their order, nested ones taken apart, places and content behind them."""
    flat = [name for name in HEADER if not name.startswith(("elapsed_ms_", "warc_", "tar_", "content"))]
    names = [field.name for field in fields(Record) if field.name not in ("elapsed_ms", "content_type")]
    assert flat == [*names, "change", "fields"]
    assert [name for name in HEADER if name.startswith("elapsed_ms")] == [
        f"elapsed_ms_{field.name}" for field in fields(Elapsed)
    ]
    places = [f"{form}_{part}" for form in ("warc", "tar") for part in ("file", "offset", "length")]
    assert list(HEADER[-11:]) == ["body", "change", "fields", *places, "content", "content_base64"]
    assert len(set(HEADER)) == len(HEADER)


def test_a_record_with_everything_is_told_flat() -> None:
    """Times and places get columns of their own, what a server or user nests is JSON."""
    record = record_of(7, b"x")
    record.elapsed_ms = Elapsed(0.5, None, 12.25, 13.0)
    record.headers, record.input, record.length_checked = {"etag": '"a"'}, {"n": [1, None]}, False
    entry = Entry(record, None)
    entry.file, entry.warc, entry.tar = "bodies/x", Spot("warc/a.warc.gz", 5, 6), Spot("tar/a.tar", 0, 1024)
    told = row(orjson.loads(with_places(line(record), entry, Beside(warc=True, tar=True))))
    wanted = {
        "id": 7,
        "elapsed_ms_dns": 0.5,
        "elapsed_ms_connect": None,
        "elapsed_ms_total": 13.0,
        "headers": '{"etag":"\\"a\\""}',
        "input": '{"n":[1,null]}',
        "length_checked": "false",
        "error": None,
        "body": "bodies/x",
        "warc_file": "warc/a.warc.gz",
        "warc_offset": 5,
        "tar_length": 1024,
        "content": None,
    }
    assert {name: told[name] for name in wanted} == wanted


def read(record: dict[str, Any]) -> dict[str, Any]:
    """A record read back from its row as the csv module gives it."""
    return reader(HEADER)(["" if cell is None else str(cell) for cell in cells(record)])


def test_a_row_is_read_back_as_its_record() -> None:
    """Every key of it, what is nested together again."""
    record = record_of(7, b"x")
    record.elapsed_ms = Elapsed(0.5, None, 12.25, 13.0)
    record.headers, record.input, record.length_checked = {"etag": '"a"'}, {"n": [1, None]}, False
    record.error = "=1+1"
    entry = Entry(record, None)
    entry.file, entry.warc, entry.tar = "bodies/x", Spot("warc/a.warc.gz", 5, 6), Spot("tar/a.tar", 0, 1024)
    said = orjson.loads(with_places(line(record), entry, Beside(warc=True, tar=True)))
    assert {**dict.fromkeys(("change", "fields", "content", "content_base64")), **said} == read(said)


@pytest.mark.parametrize(("name", "cell"), [("id", "x"), ("status", "1.5"), ("warc_offset", "-"), ("input", "{")])
def test_a_cell_that_no_record_was_written_as_is_refused(name: str, cell: str) -> None:
    """As is a row of another length."""
    with pytest.raises(ValueError):
        reader([name])([cell])
    with pytest.raises(ValueError):
        reader([name])([])


@given(ANY.filter(lambda text: text.isprintable() and text[:1] != "'"), st.dictionaries(ANY, JSON, max_size=3))
def test_texts_and_json_are_read_back(text: str, given_input: dict[str, Any]) -> None:
    """Whatever sign a text begins with; one that is empty is None."""
    said = read({"url": text, "input": given_input})
    assert (said["url"], said["input"]) == (text or None, given_input)


def test_what_a_record_does_not_have_is_empty() -> None:
    """A failure, a run without archives: the same columns, nothing in them."""
    told = row(orjson.loads(line(record_of(1, None))))
    assert (told["elapsed_ms_total"], told["warc_file"], told["tar_offset"], told["body"]) == (None,) * 4
    assert told["status"] == 404


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r\n", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_a_text_that_would_calculate_does_not(sign: str) -> None:
    """An apostrophe before it makes it text; the same sign further on is harmless."""
    assert inert(f"{sign}cmd|' /C calc'!A0") == f"'{sign}cmd|' /C calc'!A0"
    assert inert(f"a{sign}b") == f"a{sign}b"


def test_numbers_stay_numbers() -> None:
    """A number of the JSON is no text, whatever its sign; a text that looks like one is."""
    told = row({"id": -5, "bytes": -1.5, "error": "-5"})
    assert (told["id"], told["bytes"], told["error"]) == (-5, -1.5, "'-5")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\u001b[2J"),
        ("a\0b", "a\\u0000b"),
        ("a\u202eb", "a\\u202eb"),
        ("a\rb", "a\\u000db"),
        ("\rb", "\\u000db"),
        ("a\r\nb\tc", "a\r\nb\tc"),
        ("\x9b2J\x7f", "\\u009b2J\\u007f"),
        ("a\u2028b", "a\\u2028b"),
    ],
)
def test_what_commands_a_terminal_is_shown(text: str, shown: str) -> None:
    """Controls and signs of direction are spelt out, line ends and tabs stay."""
    assert inert(text) == shown


@given(ANY)
def test_no_text_is_a_formula_or_a_command(text: str) -> None:
    """Whatever a page says."""
    told = inert(text)
    assert not re.match("[=+@\t\r\n\uff1d\uff0b\uff0d\uff20-]", told)
    assert not re.search("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", told)
    assert "\r" not in told.replace("\r\n", "")


@given(st.dictionaries(ANY, JSON, max_size=3), st.dictionaries(ANY, ANY, max_size=3))
def test_nested_values_stay_json(given_input: dict[str, Any], headers: dict[str, str]) -> None:
    """What is shown of controls is what JSON shows, so it reads back as it was."""
    told = row({"input": given_input, "headers": headers})
    assert orjson.loads(str(told["input"])) == given_input
    assert orjson.loads(str(told["headers"])) == headers


@given(ANY | st.sampled_from(["=1", "+a", "\x1b", "a\rb", "", "plain\nlines"]))
def test_a_body_in_a_cell_is_exact(text: str) -> None:
    """As text where that is inert as it is, else in Base64."""
    told = row({"content": text, "content_base64": None})
    if told["content"] is not None:
        assert told["content"] == text == inert(text)
    else:
        assert b64decode(str(told["content_base64"]), validate=True).decode() == text


def test_a_body_in_base64_stays_as_it_is() -> None:
    """Also where it begins with a sign."""
    assert row({"content": None, "content_base64": "+/8="})["content_base64"] == "+/8="
