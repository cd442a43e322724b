"""Rows of tables: what the columns mean, and what is wrong with a cell, told with its line."""

from __future__ import annotations

import csv
import io
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.bodytext import BODIES
from crawler.model import BadRow, Field, Place, Promised, Row
from crawler.tables import LIMIT, csv_items, json_row, read_header, row_of

PLACE = Place("t", 1)
DIGEST = "ab" * 32
CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)


def table(text: str | bytes, skip: int = 0) -> list[Row | BadRow]:
    data = text.encode() if isinstance(text, str) else text
    return list(csv_items(iter([(n, line, None) for n, line in enumerate(io.BytesIO(data), 1)]), "t", "url", ",", skip))


def from_text(**cells: str) -> Row | BadRow:
    return row_of(PLACE, {"url": "u", **cells}, "url")


def from_json(value: Any) -> Row | BadRow:
    return json_row(PLACE, orjson.dumps(value), "url")


def test_special_columns_are_read_from_texts() -> None:
    """The special columns of a CSV become what a request needs; all others are carried as they are."""
    row = from_text(
        note="=1",
        method=" post ",
        headers='{"X-Mine": "1"}',
        params="?a=1&b=&a=2",
        json="[1]",
        cookies="a=b; c=d",
        filename="a/b",
        sha256=DIGEST.upper(),
    )
    assert row == Row(
        PLACE,
        "u",
        "POST",
        {"X-Mine": "1"},
        {"a": ["1", "2"], "b": [""]},
        [1],
        cookies={"a": "b", "c": "d"},
        filename="a/b",
        promised=Promised(DIGEST),
        input={"note": "=1"},
    )


def test_bodies_are_read_from_texts_and_natively() -> None:
    """form, multipart and body_file mean the same in a cell and in a JSON line; paths stay as they were written."""
    said = {"form": {"a": "b", "l": ["1", "2"]}, "multipart": {"n": "v", "doc": {"file": "../a.pdf"}}}
    for name, value in said.items():
        assert from_text(**{name: orjson.dumps(value).decode()}) == from_json({"url": "u", name: value})
    assert from_text(form="a=b&l=1&l=2") == Row(PLACE, "u", form={"a": ["b"], "l": ["1", "2"]})
    fields = (Field("n", "v"), Field("doc", path="../a.pdf"))
    assert from_json({"url": "u", "multipart": said["multipart"]}) == Row(PLACE, "u", multipart=fields)
    assert from_text(body_file="up/ä b.bin") == Row(PLACE, "u", body_file="up/ä b.bin")
    assert from_json({"url": "u", "form": {}}) == Row(PLACE, "u", form={})


@given(st.sets(st.sampled_from(BODIES), min_size=2))
def test_one_row_has_one_body(names: set[str]) -> None:
    """Two of them are refused, and both are named."""
    said = {"json": "1", "form": "a=b", "multipart": '{"a": "b"}', "body": "x", "body_file": "f"}
    row = from_text(**{name: said[name] for name in names})
    assert isinstance(row, BadRow)
    first, second = [name for name in BODIES if name in names][:2]
    assert row.error == f"has both {first} and {second}; one request has one body"


def test_special_columns_are_native_in_json_lines() -> None:
    """Objects and numbers need no text around them, and a text under json is a text."""
    row = from_json({"url": " u ", "json": "hello", "params": {"n": 1, "on": True, "l": ["x", 2.5]}, "n": None})
    assert row == Row(PLACE, "u", params={"n": "1", "on": "true", "l": ["x", "2.5"]}, json="hello", input={"n": None})
    assert from_json({"url": "u", "json": ""}) == Row(PLACE, "u", json="")
    assert from_json({"url": "u", "json": 0, "body": ""}) == Row(PLACE, "u", json=0)


def test_a_json_text_is_a_url() -> None:
    """A line may be the URL itself."""
    assert from_json(" u ") == Row(PLACE, "u")


def test_empty_cells_mean_nothing() -> None:
    """An empty special cell is as none, and a row without columns of its own has no input."""
    columns = "method headers params json form multipart body body_file cookies filename sha256 sha512 md5 size mirrors"
    assert from_text(**dict.fromkeys(columns.split(), "")) == Row(PLACE, "u")
    assert from_json({"url": "u", **dict.fromkeys(columns.split())}) == Row(PLACE, "u")


def test_what_a_row_says_of_its_body() -> None:
    """Digests and size stand together; mirrors are a list, or separated by spaces."""
    mirrors = ("http://a/1", "b")
    row = Row(PLACE, "u", promised=Promised(DIGEST, md5="ab" * 16, size=0), mirrors=mirrors)
    assert from_text(sha256=DIGEST, md5="AB" * 16, size="0", mirrors=" http://a/1   b ") == row
    assert from_json({"url": "u", "sha256": DIGEST, "md5": "ab" * 16, "size": 0, "mirrors": list(mirrors)}) == row
    assert from_json({"url": "u", "mirrors": [], "size": None}) == from_text(mirrors="  ") == Row(PLACE, "u")


@pytest.mark.parametrize(
    ("cells", "error"),
    [
        ({"method": "BREW"}, "method 'BREW' is not one of GET, HEAD"),
        ({"headers": "X: 1"}, "headers is not JSON"),
        ({"headers": '{"X": 1}'}, "headers is not a JSON object of texts"),
        ({"headers": '{"X": "a\\r\\nY: b"}'}, "the value of header X has control characters"),
        ({"headers": '{"X\\n": "a"}'}, "header name 'X\\n' has characters that HTTP does not allow"),
        ({"params": "[1]"}, None),
        ({"params": "{1}"}, "params is not JSON"),
        ({"params": "a=%ff"}, "params is not a query string in UTF-8"),
        ({"params": '{"a": {}}'}, "params: 'a' is neither a text nor a number"),
        ({"params": '{"a": [null]}'}, "params: 'a' is neither a text nor a number"),
        ({"json": "{"}, "json is not JSON"),
        ({"json": "1", "body": "x"}, "has both json and body"),
        ({"form": "[1]"}, None),
        ({"form": "a=%ff"}, "form is not a query string in UTF-8"),
        ({"form": '{"a": null}'}, "form: 'a' is neither a text nor a number"),
        ({"multipart": '{"a": "@b"}'}, "multipart: 'a' begins with @"),
        ({"multipart": "a=b"}, "multipart is not JSON"),
        ({"body_file": "a\0b"}, "body_file has a NUL character"),
        ({"cookies": '{"a": "1\\r\\nX: y"}'}, "cookies: the value of 'a' has characters"),
        ({"filename": "a\nb"}, "filename is not a text, or has control characters"),
        ({"sha256": "ab"}, "sha256 is not 64 hexadecimal digits"),
        ({"sha256": "é" * 64}, "sha256 is not 64 hexadecimal digits"),
        ({"size": "12 KB"}, "size '12 KB' is not a number of bytes, in digits alone"),
        ({"mirrors": "http://a/ " * 101}, "mirrors has 101 URLs, at most 100 are tried"),
        ({"url": " "}, "column 'url': the URL is empty"),
        ({"url": "a\x00b"}, "column 'url': the URL has a control character (character 2)"),
    ],
)
def test_a_bad_cell_is_told(cells: dict[str, str], error: str | None) -> None:
    """What cannot be used makes a BadRow that says which cell and why; what can, does not."""
    row = from_text(**cells)
    if error is None:
        assert isinstance(row, Row)
    else:
        assert isinstance(row, BadRow)
        assert row.error.startswith(error)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ([], "the line is neither a JSON object nor a text"),
        ("", "the URL is empty"),
        ({"u": 1}, "has no column 'url'"),
        ({"url": 1}, "the column 'url' is not a text"),
        ({"url": "u", "body": {}}, "body is not a text"),
        ({"url": "u", "params": 1}, "params is neither a JSON object nor a query string"),
        ({"url": "u", "headers": []}, "headers is not a JSON object of texts"),
        ({"url": "u", "method": 1}, "method '1' is not one of"),
        ({"url": "u", "json": "", "body": "x"}, "has both json and body"),
        ({"url": "u", "form": 1}, "form is neither a JSON object nor a query string"),
        ({"url": "u", "multipart": 1}, "multipart is neither an object of fields nor a list of them"),
        ({"url": "u", "body_file": ["a"]}, "body_file is not the path of a file"),
        ({"url": "u", "cookies": ["a"]}, "cookies is neither a JSON object nor a line"),
    ],
)
def test_a_bad_json_line_is_told(value: Any, error: str) -> None:
    """Wrong types are named."""
    row = from_json(value)
    assert isinstance(row, BadRow)
    assert row.error.startswith(error)


@pytest.mark.parametrize("line", [b"{", b"\xff", b'{"url": "a\x00"}', b"[" * 5000])
def test_what_is_no_json_is_told(line: bytes) -> None:
    """Broken, binary and bottomless lines become BadRows."""
    row = json_row(PLACE, line, "url")
    assert isinstance(row, BadRow)
    assert row.error.startswith("the line is not JSON")


@given(rows=st.lists(st.tuples(CELLS, CELLS)), quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
def test_any_table_comes_back(rows: list[tuple[str, str]], quoting: Any) -> None:
    """What Python's writer wrote is read back cell by cell: quotes, separators and line ends within cells included."""
    text = io.StringIO(newline="")
    csv.writer(text, quoting=quoting).writerows([("a", "url", "b"), *((a, "u", b) for a, b in rows)])
    assert [row[-1] for row in table(text.getvalue())] == [{"a": a, "b": b} for a, b in rows]


def test_places_are_the_first_lines_of_rows() -> None:
    """A row that goes over lines, and blank lines, move the line of the next row."""
    found = table('id,url\n\n"a\nb",u\n\r\nc,v\n')
    assert [(row.place.line, row[1]) for row in found] == [(3, "u"), (6, "v")]


def test_column_names_may_have_spaces_around_them() -> None:
    """`id, url` is what people type."""
    assert table("id, url \n1,u\n") == [Row(Place("t", 2), "u", input={"id": "1"})]


def test_bad_rows_do_not_spoil_their_neighbours() -> None:
    """Wrong counts, NUL and broken UTF-8, quoted or not, are told one by one; the rows between them are read."""
    data = b'url,n\nu1,1\nu,2,3\n"u",2,3\nu,\0\n"u",\0\nu,\xff\n"u",\xff\nu,a\rb\nu2,2\n'
    first, *bad, last = table(data)
    assert [row[1] for row in (first, last)] == ["u1", "u2"]
    assert [row.error.split(" (")[0] for row in bad if isinstance(row, BadRow)] == [
        *["the row has 3 fields, the header 2"] * 2,
        *["the row has a NUL character"] * 2,
        *["the row is not UTF-8"] * 2,
        "the row is not CSV: new-line character seen in unquoted field - do you need to open the file in "
        "universal-newline mode?",
    ]


def test_a_quote_left_open_is_told() -> None:
    """It takes at most LIMIT bytes with it, and never passes for a cell."""
    (row,) = table('url,n\nu,"1\nv,2\n')
    assert row == BadRow(Place("t", 2), "u,1\nv,2\n", "a quote is left open")
    line = "v," + "2" * 1000 + "\n"
    first, *rest = table('url,n\nu,"1\n' + line * (LIMIT // len(line) + 10))
    assert first[2] == f"the row is longer than {LIMIT} bytes; is a quote left open?"
    assert [row[1] for row in rest] == ["v"] * len(rest)
    assert len(rest) == 9


@pytest.mark.parametrize(("column", "header"), [("url", "URL"), ("URL", "url"), ("link", "links")])
def test_the_nearest_column_is_named(column: str, header: str) -> None:
    """A missing column is answered with the one that was probably meant, whatever its case."""
    assert f"did you mean '{header}'?" in str(read_header(iter([(1, f"id,{header}\n".encode(), None)]), column, ",")[1])


def test_a_header_that_cannot_be_used_ends_the_table() -> None:
    """One BadRow tells it instead of one a row, and none once it is skipped."""
    text = "link,n\nu,1\nv,2\n"
    assert table(text) == [
        BadRow(Place("t", 1), "link,n", "has no column 'url' (input.column); its columns are 'link', 'n'")
    ]
    assert table(text, 1) == []


def test_send_is_read_for_websockets_alone() -> None:
    """Messages of a ws(s) row; for any other URL a column like any."""
    row = json_row(PLACE, b'{"url": "ws://a.example/", "send": ["a", {"base64": "AA=="}], "x": 1}', "url")
    assert row == Row(PLACE, "ws://a.example/", send=("a", b"\0"), input={"x": 1})
    row = json_row(PLACE, b'{"url": "http://a.example/", "send": "now"}', "url")
    assert row == Row(PLACE, "http://a.example/", input={"send": "now"})
    assert table(b'url,send\nwss://a.example/,"[""a""]"\nwss://b.example/,\n') == [
        Row(Place("t", 2), "wss://a.example/", send=("a",)),
        Row(Place("t", 3), "wss://b.example/"),
    ]
    bad = json_row(PLACE, b'{"url": "ws://a.example/", "send": {}}', "url")
    assert isinstance(bad, BadRow)
    assert "send" in bad.error
