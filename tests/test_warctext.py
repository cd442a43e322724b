"""Heads of records and of the HTTP messages in them, as bytes."""

from __future__ import annotations

from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler import warctext
from crawler.masking import Mask
from crawler.model import Visit
from crawler.warctext import Hiding
from tests.warcs import visit

PLAIN = Hiding(str)
ANY = st.text("aZ: \t\r\n\0\x0b\x85\u2028\xe9\ud800\udcff", max_size=12)


def answer(*headers: tuple[str, str], data: bytes = b"hello", **more: Any) -> bytes:
    return warctext.response_head(visit(data=data, headers=headers, **more), PLAIN)


def test_headers_stand_as_they_came() -> None:
    """Order, case and duplicates are kept where the head agrees with the body."""
    head = answer(("x-B", "2"), ("A", "1"), ("a", "3"), ("Content-Length", "5"))
    assert head == b"HTTP/1.1 200 OK\r\nx-B: 2\r\nA: 1\r\na: 3\r\nContent-Length: 5\r\n\r\n"


@pytest.mark.parametrize(
    ("headers", "decoded", "kept"),
    [
        ((("Content-Length", "9"),), False, b"X-Archive-Orig-Content-Length: 9\r\nContent-Length: 5\r\n"),
        ((("content-length", "9"),), False, b"X-Archive-Orig-content-length: 9\r\nContent-Length: 5\r\n"),
        ((("Content-Encoding", "gzip"),), True, b"X-Archive-Orig-Content-Encoding: gzip\r\nContent-Length: 5\r\n"),
        ((("Content-Encoding", "gzip"),), False, b"Content-Encoding: gzip\r\n"),
        (
            (("Content-Encoding", "gzip"), ("Content-Length", "9")),
            False,
            b"Content-Encoding: gzip\r\nX-Archive-Orig-Content-Length: 9\r\nContent-Length: 5\r\n",
        ),
        (
            (("Transfer-Encoding", "chunked"),),
            False,
            b"X-Archive-Orig-Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        ),
        ((), False, b""),
    ],
)
def test_what_no_longer_holds_has_another_name(
    headers: tuple[tuple[str, str], ...], decoded: bool, kept: bytes
) -> None:
    """Lengths and codings that the stored body has not are told as what they were, and its length is added."""
    assert answer(*headers, decoded=decoded) == b"HTTP/1.1 200 OK\r\n" + kept + b"\r\n"


def test_bytes_that_are_no_text_come_back() -> None:
    """A header in Latin-1, which arrives with lone surrogates, is written as its own bytes."""
    value = b"caf\xe9 \xff".decode("utf-8", "surrogateescape")
    assert b"X: caf\xe9 \xff\r\n" in answer(("X", value))
    assert b"X: ?\r\n" in answer(("X", "\ud800"))


@given(st.lists(st.tuples(ANY, ANY), max_size=4), ANY, ANY)
def test_nothing_said_ends_a_line(headers: list[tuple[str, str]], phrase: str, method: str) -> None:
    """Whatever stands in names, values, phrase or method, each head has as many lines as headers, and one colon."""
    odd: Visit = visit(headers=headers, sent=headers, phrase=phrase, method=method, data=b"", url="http://a.test/")
    for head in (warctext.unmodified_head(odd, PLAIN), warctext.request_head(odd, PLAIN)):
        assert head.endswith(b"\r\n\r\n")
        lines = head[:-4].split(b"\r\n")
        assert len(lines) == 1 + len(headers)
        assert head.count(b"\n") == head.count(b"\r") == len(lines) + 1
        assert b"\0" not in head
        assert all(line.partition(b": ")[0].strip() for line in lines[1:])


def test_credentials_are_left_out_by_name() -> None:
    """What only credentials and cookies stand in is starred in whatever case, unless it is to be kept."""
    sent = (("AUTHORIZATION", "a"), ("proxy-authorization", "b"), ("Cookie", "c"), ("Set-Cookie", "d"))
    asked = visit(sent=sent, headers=(("SET-COOKIE", "e"), ("Cookie", "f"), ("Content-Length", "5")))
    assert warctext.request_head(asked, PLAIN).count(b": ***\r\n") == 3
    assert b"SET-COOKIE: ***\r\nCookie: f\r\n" in warctext.response_head(asked, PLAIN)
    kept = Hiding(str, keep_secrets=True)
    assert b"***" not in warctext.request_head(asked, kept) + warctext.response_head(asked, kept)


def test_known_secrets_are_left_out_wherever_they_stand() -> None:
    """In the target, in any header, in the phrase; what the record needs stays."""
    hiding = Hiding(Mask(["s3cret-value", "HTTP"]))
    told = visit("http://a.test/s3cret-value", sent=(("X", "s3cret-value"),), phrase="s3cret-value", headers=())
    assert warctext.request_head(told, hiding) == b"GET /*** HTTP/1.1\r\nX: ***\r\n\r\n"
    assert warctext.response_head(told, hiding) == b"HTTP/1.1 200 ***\r\n\r\n"


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("http://a.test", b"GET / HTTP/1.1"),
        ("http://a.test/a?b#c", b"GET /a?b HTTP/1.1"),
        ("http://u:p@a.test:8/a b\n\xe9", b"GET /a%20b%0A%C3%A9 HTTP/1.1"),
    ],
)
def test_the_target_is_what_was_asked_for(url: str, line: bytes) -> None:
    """Path and query without fragment or authority; what cannot stand in a request line is escaped."""
    assert warctext.request_head(visit(url, sent=()), PLAIN) == line + b"\r\n\r\n"


def test_a_url_is_visible_ascii() -> None:
    """A WARC-Target-URI has no spaces, line ends or letters beyond ASCII, whatever it was made from."""
    assert warctext.target("http://a.test/a\r\n b\xe9\ud800", str) == "http://a.test/a%0D%0A%20b%C3%A9%3F"
    assert warctext.target("http://a.test/?token=1234", Mask(["token=1234"])) == "http://a.test/?***"


def test_the_head_of_a_secret_at_a_cut_is_left_out() -> None:
    """Content that was cut within a secret does not tell the secret's first half."""
    mask = Mask(["a-very-long-secret"])
    length = (("Content-Length", "100"),)
    assert warctext.request_content(visit(sent=length, content=b"x=a-very-lon"), Hiding(mask)) == (b"x=***", True)
    assert warctext.request_content(visit(sent=length, content=b"x=\xff"), Hiding(mask)) == (b"x=\xff", True)
    assert warctext.request_content(visit(sent=(), content=b"x=a-very-long-secret"), Hiding(mask)) == (b"x=***", False)
    assert warctext.request_content(visit(sent=length), Hiding(mask)) == (b"", True)


@given(st.text(max_size=20), st.integers(0), st.integers(0, 40))
def test_ids_are_uuids_of_version_5(run: str, id: int, n: int) -> None:
    """The same for the same record, and one that any UUID library makes."""
    name = f"{run}/{id}/{n}/request"
    assert warctext.record_id(run, id, n, "request") == f"<urn:uuid:{uuid5(NAMESPACE_URL, name)}>"


def test_dates_have_microseconds() -> None:
    """WARC 1.1 allows them; they are cut, never rounded up into the next second."""
    assert warctext.date(1_700_000_000.5) == "2023-11-14T22:13:20.500000Z"
    assert warctext.date(1_700_000_000.9999996) == "2023-11-14T22:13:20.999999Z"


@pytest.mark.parametrize(
    ("headers", "decoded", "squeezed"),
    [
        ((("content-type", "IMAGE/png"),), False, True),
        ((("Content-Type", "image/svg+xml"),), False, False),
        ((("Content-Type", "application/zip"),), False, True),
        ((("Content-Type", "text/html"),), False, False),
        ((("Content-Type", "text/html"), ("Content-Encoding", "br")), False, True),
        ((("Content-Type", "text/html"), ("Content-Encoding", "br")), True, False),
        ((("Content-Encoding", "identity"),), False, False),
    ],
)
def test_what_is_compressed_already_is_known(
    headers: tuple[tuple[str, str], ...], decoded: bool, squeezed: bool
) -> None:
    """By its type, or by a coding that is still on it."""
    assert warctext.squeezed(visit(headers=headers, decoded=decoded)) is squeezed
