"""What may be said of bodies and cookies, by a job's value and a table's cell alike."""

from __future__ import annotations

import json
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qsl

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.bodytext import BadContent, content_of, cookie_line, cookies_of, fields_of, pairs_of, path_of
from crawler.model import Field, FileBody, Multipart

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
PAIRS = st.dictionaries(TEXT, TEXT | st.lists(TEXT, min_size=1, max_size=3), max_size=4)
TOKENS = st.from_regex(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,8}", fullmatch=True)
OCTETS = st.from_regex(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]{0,8}", fullmatch=True)


def flat(pairs: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name, one) for name, item in pairs.items() for one in (item if isinstance(item, list) else [item])]


@given(PAIRS)
def test_a_form_is_read_back(pairs: dict[str, Any]) -> None:
    """Any names and texts are encoded so that a form parser finds them, in their order, said as value or as JSON."""
    for said in (pairs, orjson.dumps(pairs).decode()):
        body, kind = content_of(form=pairs_of("form", said))
        assert kind == "application/x-www-form-urlencoded"
        assert isinstance(body, bytes)
        assert parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body)) == flat(pairs)


def test_a_form_may_be_a_query_string_and_have_numbers() -> None:
    """What is encoded already is not encoded twice; numbers and truth values are written as in JSON."""
    assert content_of(form=pairs_of("form", "a=1%202&b=&a=ü"))[0] == b"a=1+2&a=%C3%BC&b="
    assert content_of(form=pairs_of("form", {"n": 1, "x": 2.5, "on": True, "l": [1, "2"]}))[0] == (
        b"n=1&x=2.5&on=true&l=1&l=2"
    )


def test_a_multipart_is_an_object_or_a_list() -> None:
    """Texts, numbers, files, lists that repeat a name; as a list the order is free and names may repeat."""
    file = {"file": "a.pdf", "filename": "x.pdf", "content_type": "application/pdf"}
    expected = (
        Field("note", "hello"),
        Field("n", "7"),
        Field("doc", None, "a.pdf", "x.pdf", "application/pdf"),
        Field("tag", "a"),
        Field("tag", None, "b"),
        Field("at", "@home"),
    )
    said = {"note": "hello", "n": 7, "doc": file, "tag": ["a", {"file": "b"}], "at": {"value": "@home"}}
    listed = [
        {"name": "note", "value": "hello"},
        {"name": "n", "value": 7},
        {"name": "doc", **file},
        {"name": "tag", "value": "a"},
        {"name": "tag", "file": "b"},
        {"name": "at", "value": "@home"},
    ]
    assert fields_of(said) == fields_of(listed) == fields_of(json.dumps(said)) == expected


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("{", "multipart is not JSON"),
        ("1", "multipart is neither an object of fields nor a list of them"),
        ({}, "multipart has no field"),
        ([], "multipart has no field"),
        (["a"], "multipart: an item of the list is not an object with a name"),
        ([{"value": "a"}], "multipart: the name of a field is empty"),
        ({"": "a"}, "multipart: the name of a field is empty"),
        ({"a\0": "a"}, "multipart: the name of a field has a NUL"),
        ({"a": None}, "multipart: 'a' is neither a text nor a number"),
        ({"a": [["b"]]}, "multipart: 'a' is neither a text nor a number"),
        ({"a": {}}, "multipart: 'a' has not one of file and value"),
        ({"a": {"file": "f", "value": "v"}}, "multipart: 'a' has not one of file and value"),
        ({"a": {"path": "f"}}, "multipart: 'path' is not one of file, value, filename, content_type"),
        ({"a": {"name": "b", "value": "f"}}, "multipart: 'name' is not one of file, value, filename, content_type"),
        ({"a": {"file": "f\0"}}, "multipart: the file of 'a' has a NUL"),
        ({"a": {"file": 1}}, "multipart: the file of 'a' is not the path of a file"),
        ({"a": {"file": "f", "filename": "x\0"}}, "multipart: filename has a NUL"),
        ({"a": {"file": "f", "filename": 1}}, "multipart: the filename of 'a' is not a text"),
        ({"a": {"file": "f", "content_type": "text"}}, "multipart: the content_type of 'a' is not like"),
        ({"a": {"file": "f", "content_type": "text/a\r\nX: y"}}, "multipart: the content_type of 'a' is not like"),
        ({"a": {"file": "f", "content_type": "text/a; b=c\n"}}, "multipart: the content_type of 'a' is not like"),
        ({"a": "@f"}, "multipart: 'a' begins with @"),
        ({"a": "\ud800"}, "multipart has half of a surrogate pair"),
    ],
)
def test_a_bad_multipart_is_told(said: Any, error: str) -> None:
    """The sentence names the field; nothing that could end a header line, and no NUL, gets through."""
    with pytest.raises(BadContent) as caught:
        fields_of(said)
    assert str(caught.value).startswith(error)


@given(st.dictionaries(TOKENS, OCTETS, max_size=4))
def test_cookies_come_back(cookies: dict[str, str]) -> None:
    """An object, and the line that is sent, say the same."""
    assert cookies_of(cookies) == cookies
    assert cookies_of(cookie_line(cookies)) == cookies


def test_cookies_are_read_as_people_write_them() -> None:
    """Spaces and a last semicolon do not matter, a value may have equals signs, quotes stay; parsers find the same."""
    line = ' a=b; c = d=e;q="x"; n=;'
    assert cookies_of(line) == {"a": "b", "c": "d=e", "q": '"x"', "n": ""}
    assert cookies_of('{"a": "b", "n": 1}') == {"a": "b", "n": "1"}
    parsed = SimpleCookie(cookie_line(cookies_of(line)))
    assert {name: morsel.coded_value for name, morsel in parsed.items()} == dict(cookies_of(line))


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ([], "cookies is neither"),
        (1, "cookies is neither"),
        ("{", "cookies is not JSON"),
        ("a=1; a=2", "cookies names one twice"),
        ("=1", "cookies: the name ''"),
        ({"a b": "1"}, "cookies: the name 'a b'"),
        ({"a\r\nX": "1"}, "cookies: the name"),
        ({"a": "1; b=2"}, "cookies: the value of 'a'"),
        ({"a": "1\r\nX: y"}, "cookies: the value of 'a'"),
        ({"a": "1\n"}, "cookies: the value of 'a'"),
        ({"a": "ü"}, "cookies: the value of 'a'"),
        ({"a": "b c"}, "cookies: the value of 'a'"),
        ({"a": "b,c"}, "cookies: the value of 'a'"),
        ({"a": "\ud800"}, "cookies has half of a surrogate pair"),
        ({"a": '"b'}, "cookies: the value of 'a'"),
        ({"a": ["b"]}, "cookies: 'a' is neither a text nor a number"),
    ],
)
def test_bad_cookies_are_told(said: Any, error: str) -> None:
    """RFC 6265 4.1.1 says which characters a cookie can have; the value itself is not shown."""
    with pytest.raises(BadContent) as caught:
        cookies_of(said)
    assert str(caught.value).startswith(error)


@pytest.mark.parametrize("said", ["", 1, None, "a\0b", "a\ud800"])
def test_what_is_no_path(said: Any) -> None:
    """A file is named by a text without NUL."""
    with pytest.raises(BadContent, match="body_file"):
        path_of(said)


def test_files_stand_below_the_base() -> None:
    """Relative paths start from the given folder, absolute ones stay."""
    assert content_of(body_file="a/b.bin", base="/jobs") == (FileBody("/jobs/a/b.bin"), None)
    assert content_of(body_file="/a/b.bin", base="/jobs") == (FileBody("/a/b.bin"), None)
    said = (Field("a", "b"), Field("c", path="../d"), Field("e", path="/f"))
    body, kind = content_of(multipart=said, base="/jobs")
    assert kind is None
    assert body == Multipart((Field("a", "b"), Field("c", path="/jobs/../d"), Field("e", path="/f")))


def test_json_and_text_bodies() -> None:
    """JSON has its type, a text has none, and nothing is nothing; an empty text or form is a body."""
    assert content_of(json={"a": [1]}) == (b'{"a":[1]}', "application/json")
    assert content_of(body="ü") == ("ü".encode(), None)
    assert content_of(body="")[0] == content_of(form={})[0] == b""
    assert content_of() == (None, None)
