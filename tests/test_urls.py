"""Canonical URLs."""

from __future__ import annotations

import sys
from unicodedata import bidirectional, category

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.urls import BadURL, BlockedScheme, join, origin, parse, printable, with_params, without_params


@pytest.mark.parametrize(
    ("text", "href", "host"),
    [
        ("HTTP://ExAmple.COM:80/a/../b#f", "http://example.com/b", "example.com"),
        ("https://example.com:443", "https://example.com/", "example.com"),
        ("http://example.com:8080/ä?q=ü", "http://example.com:8080/%C3%A4?q=%C3%BC", "example.com"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/", "xn--bcher-kva.example"),
        ("http://0x7f.1/", "http://127.0.0.1/", "127.0.0.1"),
        ("http://[::1]:80/x", "http://[::1]/x", "[::1]"),
    ],
)
def test_one_spelling(text: str, href: str, host: str) -> None:
    """Case, default port, dot segments, encoding, IDNA and address forms come out one way."""
    assert parse(text)[:2] == (href, host)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("example.org/a", "did you mean 'https://example.org/a'"),
        ("example.org:80/a", "has no scheme"),
        ("http://", "is not a URL"),
        ("http://u:p@example.org/", "credentials"),
        ("http://e.org/\x00", "control characters"),
        ("http://e.org/\ud800", "is not a URL"),
        ("http://e.org/" + "x" * 20_000, "characters long"),
    ],
)
def test_what_is_no_url_is_told(text: str, said: str) -> None:
    """Each refusal is a sentence that helps."""
    with pytest.raises(BadURL, match=said):
        parse(text)


@pytest.mark.parametrize("text", ["ftp://e.org/", "file:///etc/passwd", "javascript:1", "data:,x", "mailto:a@b"])
def test_only_http_is_fetched(text: str) -> None:
    """Other schemes are refused by name."""
    with pytest.raises(BlockedScheme):
        parse(text)


@given(st.text(max_size=60))
def test_canonical_is_stable(text: str) -> None:
    """The canonical form of a canonical form is itself, whatever is joined to a base."""
    try:
        url = join("https://example.org/a/b?c", text)
    except BadURL:
        return
    assert parse(url.href) == url
    assert "#" not in url.href


def test_userinfo_of_a_redirect_is_dropped() -> None:
    """A Location cannot make us send its credentials."""
    assert join("https://a.org/", "https://evil:pw@b.org/x").href == "https://b.org/x"


def test_parameters_are_appended() -> None:
    """Existing ones stay, lists repeat, texts are form-encoded."""
    assert with_params("http://e.org/?a=1", {"b": [1, "x y"], "c": True}) == "http://e.org/?a=1&b=1&b=x+y&c=true"


def test_origin_has_the_port() -> None:
    """Credentials are bound to scheme, host and port."""
    assert origin("http://e.org:81/x") == ("http", "e.org:81")


@given(st.text())
def test_printable_is_printable(text: str) -> None:
    """No control or direction character survives."""
    assert not set(printable(text)) & {*map(chr, range(32)), "\x7f", "\u202e", "\x9b"}


def test_no_character_that_steers_a_terminal_is_printable() -> None:
    """Of all of Unicode: controls (C0, C1), marks and overrides of direction, line and paragraph separators."""
    steering = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}
    for number in range(sys.maxunicode + 1):
        letter = chr(number)
        if (
            category(letter) in ("Cc", "Cs", "Zl", "Zp")
            or bidirectional(letter) in steering
            or number
            in (
                *(0x61C, 0x200E, 0x200F),  # the marks of direction, of which Unicode says Bidi_Control too
            )
        ):
            assert printable(letter).isascii()
            assert printable(letter).isprintable()


def test_what_people_write_stays_as_it_is() -> None:
    """Letters of any script, accents, symbols and emoji are no harm."""
    text = "=cmd|' /C calc'!A0 ünïcödé 長い العربية שלום 😀 a\u0301"
    assert printable(text) == text


@pytest.mark.parametrize(
    ("href", "left"),
    [
        ("http://a/?k=1&b=2", "http://a/?b=2"),
        ("http://a/?k=1", "http://a/"),
        ("http://a/?%6B=1&kk=2&b", "http://a/?kk=2&b"),
        ("http://a/k=1", "http://a/k=1"),
    ],
)
def test_a_parameter_is_taken_out_of_a_query(href: str, left: str) -> None:
    """By its decoded name, wherever it stands; the others stay as they are spelled."""
    assert without_params(href, {"k"}) == left
