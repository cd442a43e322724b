"""Cookies as text: our JSON, and cookies.txt."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.cookierules import Cookie, fault
from crawler.cookietext import Loaded, dump_json, dump_netscape, load, load_json, load_netscape

HOST = Cookie("sid", "s3cr3t", "www.example.org", "/", host_only=True)
BELOW = Cookie("a", "b=c", "example.org", "/x", host_only=False, expires=1_700_000_000.0, secure=True, http_only=True)
NAMELESS = Cookie("", "lonely", "127.0.0.1", "/", host_only=True, http_only=True)
EMPTY = Cookie("e", "", "[::1]", "/", host_only=True, expires=1_700_000_000.0)
ALL = [HOST, BELOW, NAMELESS, EMPTY]

TEXT = st.text('ab#=. \t"\\\u2028é', max_size=5)
COOKIES = st.builds(
    Cookie,
    TEXT,
    TEXT,
    st.sampled_from(
        ["example.org", "127.0.0.1", "[::1]", "co.uk", "xn--bcher-kva.example", "a_b.example.", "localhost"]
    ),
    TEXT.map("/".__add__),
    st.booleans(),
    st.none() | st.integers(1, 2**40).map(float),
    st.booleans(),
    st.booleans(),
).filter(lambda cookie: fault(cookie) is None)


@settings(max_examples=40)
@given(st.lists(COOKIES, max_size=5))
def test_json_there_and_back(cookies: list[Cookie]) -> None:
    """Every cookie that a jar may hold comes back as it was, in its order."""
    assert load_json(dump_json(cookies)) == Loaded(cookies, [])
    assert load(dump_json(cookies)) == Loaded(cookies, [])


@settings(max_examples=40)
@given(st.lists(COOKIES, max_size=5))
def test_cookies_txt_there_and_back(cookies: list[Cookie]) -> None:
    """All but those with a tab, each of which is told."""
    data, faults = dump_netscape(cookies)
    kept = [cookie for cookie in cookies if "\t" not in cookie.name + cookie.value + cookie.path]
    assert len(faults) == len(cookies) - len(kept)
    assert load_netscape(data) == load(data) == Loaded(kept, [])
    assert load_netscape(data.replace(b"\n", b"\r\n")) == Loaded(kept, [])


def test_the_columns_of_a_cookies_txt() -> None:
    """Domain with or without a dot, below too, path, Secure, expiry or 0, name, value; HttpOnly is a prefix."""
    lines = dump_netscape(ALL)[0].decode().split("\n")
    assert lines[0] == "# Netscape HTTP Cookie File"
    assert lines[2:] == [
        "www.example.org\tFALSE\t/\tFALSE\t0\tsid\ts3cr3t",
        "#HttpOnly_.example.org\tTRUE\t/x\tTRUE\t1700000000\ta\tb=c",
        "#HttpOnly_127.0.0.1\tFALSE\t/\tFALSE\t0\t\tlonely",
        "[::1]\tFALSE\t/\tFALSE\t1700000000\te\t",
        "",
    ]


def test_what_other_programs_write() -> None:
    """No header, comments, empty lines, a mark of byte order, no last column, fractions, letters of either case."""
    text = (
        "\ufeff# a comment\r\n\r\n  \nWWW.Example.ORG\tfalse\t/\tFalse\t0\tsid\ts3cr3t\n"
        "#HttpOnly_example.org\tTRUE\t/x\tTRUE\t1700000000.0\ta\tb=c\n"
        "[::1]\tFALSE\t/\tFALSE\t1700000000\te\n"
        "bücher.example\tFALSE\t/\tFALSE\t\tk\tv"
    )
    book = Cookie("k", "v", "xn--bcher-kva.example", "/", host_only=True)
    assert load(text.encode()) == Loaded([HOST, BELOW, EMPTY, book], [])


def test_the_second_column_says_who_gets_it_not_the_dot() -> None:
    """As curl reads it."""
    found = load_netscape(b".example.org\tFALSE\t/\tFALSE\t0\ta\tb\nexample.org\tTRUE\t/\tFALSE\t0\ta\tb\n")
    assert [cookie.host_only for cookie in found.cookies] == [True, False]


@pytest.mark.parametrize(
    "line",
    [
        "example.org\tTRUE\t/\tFALSE\t0\tsid\ts3cr3t\tmore",
        "example.org\tTRUE\t/\tFALSE\t0",
        "example.org TRUE / FALSE 0 sid s3cr3t",
        "example.org\tMAYBE\t/\tFALSE\t0\tsid\ts3cr3t",
        "example.org\tTRUE\t/\t\t0\tsid\ts3cr3t",
        "example.org\tTRUE\t/\tFALSE\tsoon\tsid\ts3cr3t",
        "example.org\tTRUE\t/\tFALSE\tnan\tsid\ts3cr3t",
        "example.org\tTRUE\t/\tFALSE\tinf\tsid\ts3cr3t",
        "example.org\tTRUE\t/\tFALSE\t-1\tsid\ts3cr3t",
        "example.org\tTRUE\tnowhere\tFALSE\t0\tsid\ts3cr3t",
        "\tTRUE\t/\tFALSE\t0\tsid\ts3cr3t",
        "a b\tTRUE\t/\tFALSE\t0\tsid\ts3cr3t",
        "example.org/x\tTRUE\t/\tFALSE\t0\tsid\ts3cr3t",
        "example.org:81\tTRUE\t/\tFALSE\t0\tsid\ts3cr3t",
        "u:p@example.org\tTRUE\t/\tFALSE\t0\tsid\ts3cr3t",
        "co.uk\tTRUE\t/\tFALSE\t0\tsid\ts3cr3t",
        "127.0.0.1\tTRUE\t/\tFALSE\t0\tsid\ts3cr3t",
        "example.org\tTRUE\t/\tFALSE\t0\t__Host-sid\ts3cr3t",
        "example.org\tTRUE\t/\tFALSE\t0\tsid\ts3c\0r3t",
        "example.org\tTRUE\t/\tFALSE\t0\tsid\ts3c\rr3t",
        "example.org\tTRUE\t/\tFALSE\t0\tsid\ts3cr3t; x=y",
        "example.org\tTRUE\t/\tFALSE\t0\t\t",
    ],
)
def test_a_bad_line_is_named_by_its_number(line: str) -> None:
    """The others are read; nothing of the line is quoted."""
    good = "www.example.org\tFALSE\t/\tFALSE\t0\tsid\ts3cr3t\n"
    found = load_netscape((good + line + "\n" + good).encode())
    assert found.cookies == [HOST, HOST]
    assert len(found.faults) == 1
    assert found.faults[0].startswith("line 2 ")
    assert "s3c" not in found.faults[0]


def test_octets_that_are_not_utf8_spoil_their_line_only() -> None:
    """A cookies.txt in another encoding still gives its other cookies."""
    good = b"www.example.org\tFALSE\t/\tFALSE\t0\tsid\ts3cr3t\n"
    found = load_netscape(good.replace(b"s3cr3t", b"\xfc") + good)
    assert (found.cookies, len(found.faults)) == ([HOST], 1)


ENTRY = {
    "name": "sid",
    "value": "s3cr3t",
    "domain": "www.example.org",
    "path": "/",
    "host_only": True,
    "expires": None,
    "secure": False,
    "http_only": False,
}


def jar(*entries: object) -> bytes:
    return orjson.dumps({"version": 1, "cookies": entries})


def test_json_says_whether_a_cookie_is_for_one_host() -> None:
    """An entry that lacks it is left out: guessing would send it to others (CVE-2026-54279)."""
    assert load_json(jar(ENTRY)).cookies == [HOST]
    for name in ENTRY:
        found = load_json(jar({key: value for key, value in ENTRY.items() if key != name}, ENTRY))
        assert found.cookies == [HOST]
        assert found.faults[0].startswith("cookie 1 ")


@pytest.mark.parametrize(
    "entry",
    [
        None,
        [],
        "sid=s3cr3t",
        ENTRY | {"host_only": 1},
        ENTRY | {"secure": "no"},
        ENTRY | {"expires": "never"},
        ENTRY | {"expires": True},
        ENTRY | {"value": 5},
        ENTRY | {"value": "s3cr3t\r\nX-Evil: 1"},
        ENTRY | {"name": "__Secure-sid"},
        ENTRY | {"domain": "co.uk", "host_only": False},
        ENTRY | {"domain": "127.0.0.1", "host_only": False},
        ENTRY | {"domain": "not a host"},
        ENTRY | {"path": ""},
        ENTRY | {"value": "x" * 5000},
    ],
)
def test_a_poisoned_entry_is_left_out(entry: object) -> None:
    """The same checks as for what a server sends; nothing of it is quoted."""
    found = load_json(jar(entry, ENTRY))
    assert found.cookies == [HOST]
    assert len(found.faults) == 1
    assert found.faults[0].startswith("cookie 1 ")
    assert "s3cr3t" not in found.faults[0]


def test_what_a_later_version_adds_is_ignored() -> None:
    """As long as the version stays."""
    assert load_json(jar(ENTRY | {"colour": "red"})) == Loaded([HOST], [])


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"{}",
        b'{"version": 1}',
        b'{"version": 2, "cookies": []}',
        b'{"cookies": []}',
        b'{"version": 1, "cookies": {}}',
        b'{"a":' * 100_000,
        b"<!doctype html>\n<title>Log in</title>",
        b"\x80\x04\x95pickle\n.",
        b'[{"name": "sid"}]',
    ],
)
def test_what_is_no_jar_at_all(data: bytes) -> None:
    """A sentence; nothing of the text in it."""
    with pytest.raises(ValueError, match=r"^is (no|not|a cookie jar of another version)\b"):
        load(data)


def test_an_empty_cookies_txt_is_an_empty_jar() -> None:
    """As a browser without cookies exports it."""
    assert load(b"") == load(b"# Netscape HTTP Cookie File\n\n") == Loaded([], [])


def test_millions_of_faults_are_told_in_a_few_lines() -> None:
    """And counted."""
    good = b"www.example.org\tFALSE\t/\tFALSE\t0\tsid\ts3cr3t\n"
    found = load_netscape(good + b"x\n" * 1000)
    assert len(found.faults) == 21
    assert "980 more" in found.faults[-1]


@given(st.binary(max_size=200) | st.text('\t\n #{}[]",:TRUEFALSE/.0aé', max_size=200).map(str.encode))
def test_no_junk_does_more_than_raise_value_error(data: bytes) -> None:
    """What is read passes the checks."""
    try:
        found = load(data)
    except ValueError:
        return
    assert all(fault(cookie) is None for cookie in found.cookies)
