"""A page as the user's functions see it: its text, its tree, where it leads, what it may ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from selectolax.lexbor import LexborHTMLParser

from crawler.htmlpage import parse
from crawler.page import Follow, Format, Head, Page
from crawler.urls import BadURL

URL = "https://a.example/docs/page.html"


def page(body: bytes, content_type: str | None = "text/html", **more: Any) -> Page:
    """A page of a body that was answered with a status of 200."""
    headers: Mapping[str, str] = {"Content-Type": content_type} if content_type is not None else {}
    return Page(Head(URL, URL, 200, headers), body, lambda: parse(body, None).tree, **more)


@pytest.mark.parametrize(
    ("content_type", "body", "kind"),
    [
        ("text/html; charset=utf-8", b"{}", "html"),
        ("Application/XHTML+xml", b"", "html"),
        ("application/json", b"<p>", "json"),
        ("application/ld+json;x=y", b"", "json"),
        ("text/plain", b"<p>", "text"),
        ("image/svg+xml", b"<svg>", "text"),
        ("application/javascript", b"", "text"),
        ("image/png", b"<p>", "binary"),
        (None, b"\xef\xbb\xbf  <p>", "html"),
        (None, b"\n[1]", "json"),
        (None, b"plain", "text"),
        (None, b"", "text"),
        (None, b"PK\x03\x04\0", "binary"),
    ],
)
def test_the_format_is_what_the_header_says(content_type: str | None, body: bytes, kind: Format) -> None:
    """Only where there is no header does the beginning count."""
    assert page(body, content_type).format == kind


def test_text_is_in_the_charset_that_is_told() -> None:
    """By the header, by the page itself, and where nothing says it an HTML page is UTF-8 or else windows-1252."""
    assert page("ж".encode("koi8-r"), "text/plain; charset=koi8-r").text == "ж"
    assert page(b"<meta charset=latin1>\xe9").text == "<meta charset=latin1>é"
    assert page(b"\xe9").text == "é"
    assert page("é".encode()).text == "é"
    assert page(b"\xe9", "text/plain").text == "\ufffd"
    assert page(b"ab\xe9", charset="windows-1252").beginning(2) == "ab"


def test_nothing_is_parsed_before_it_is_asked_for_and_once() -> None:
    """A function that reads JSON costs no parse of HTML; links are found once."""
    asked: list[str] = []

    def tree() -> LexborHTMLParser:
        asked.append("tree")
        return LexborHTMLParser("<p>x")

    def links() -> list[str]:
        asked.append("links")
        return ["https://a.example/2"]

    one = Page(Head(URL, URL, 200, {"Content-Type": "application/json"}), b'{"a":1}', tree, links=links)
    assert one.json == {"a": 1}
    assert one.base == URL
    assert asked == []
    assert one.css_first("p") is not None
    assert len(one.css("p")) == 1
    assert one.links == one.links == ["https://a.example/2"]
    assert asked == ["tree", "links"]


def test_what_is_no_json_is_told_to_the_function() -> None:
    """As a ValueError, which is a named failure where nobody catches it."""
    with pytest.raises(ValueError, match="line 1"):
        _ = page(b"<p>").json


@pytest.mark.parametrize(
    ("base", "leads"),
    [
        ("", "https://a.example/docs/x"),
        ("<base href='/other/'>", "https://a.example/other/x"),
        ("<base target=_top><base href='//b.example'><base href='/no/'>", "https://b.example/x"),
        ("<base href='mailto:me'>", "https://a.example/docs/x"),
        ("<base href>", "https://a.example/docs/x"),
    ],
)
def test_hrefs_are_relative_to_the_base_of_the_page(base: str, leads: str) -> None:
    """The first <base> with an href counts; one that cannot be fetched from does not."""
    one = page(f"<head>{base}".encode())
    assert one.join("x") == leads
    assert one.follow("x#part", input={"n": 1}) == Follow(leads, input={"n": 1})


def test_an_href_that_leads_nowhere_is_left_to_the_crawl() -> None:
    """What stands in a page does not make the function fail; `join` says it."""
    one = page(b"")
    assert one.follow("javascript:void(0)") == Follow("javascript:void(0)")
    with pytest.raises(BadURL):
        one.join("javascript:void(0)")


def test_the_head_is_what_was_answered() -> None:
    """A function needs no look into headers for what is asked most."""
    head = Head("https://a.example/", URL, 203, {"Content-Type": "text/plain"}, 3, {"sku": "7"})
    one = Page(head, b"abc", lambda: LexborHTMLParser(""))
    assert (one.url, one.final_url, one.status, one.depth) == ("https://a.example/", URL, 203, 3)
    assert (one.content_type, one.input, one.links) == ("text/plain", {"sku": "7"}, [])
    assert page(b"").input == {}
    assert repr(one) == f"<Page 203 {URL} 3 bytes>"
