"""What a page is taken for."""

from __future__ import annotations

import pytest

from crawler.charsets import media_type
from crawler.pageformat import Format, format_of

SITEMAP = b'<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">'


@pytest.mark.parametrize(
    ("content_type", "start", "found"),
    [
        ("text/html; charset=utf-8", b"anything", Format.HTML),
        ("Application/XHTML+XML", b"<?xml", Format.HTML),
        ("text/css", b"a{}", Format.CSS),
        ("application/ld+json", b"{}", Format.JSON),
        ("application/json", b"[]", Format.JSON),
        ("application/xml", SITEMAP, Format.SITEMAP),
        ("text/xml", b"<rss>", Format.FEED),
        ("application/atom+xml", b"<feed>", Format.FEED),
        (None, b"  <!DOCTYPE html><p>", Format.HTML),
        ("text/plain", b"<html lang=en>", Format.HTML),
        (None, b"\xef\xbb\xbf<body>", Format.HTML),
        ("", b'<?xml version="1.0"?><feed>', Format.FEED),
        ("text/plain", b"words <html>", None),
        ("image/png", b"\x89PNG<html>", None),
        ("application/pdf", b"%PDF", None),
        (None, b"", None),
    ],
)
def test_what_a_page_is(content_type: str | None, start: bytes, found: Format | None) -> None:
    """By its type; by its beginning only where the type says nothing or too little."""
    assert format_of(content_type, start, "http://a.example/x") is found


def test_the_media_type_is_told_without_its_parameters() -> None:
    """In lower case; absent is empty."""
    assert media_type(" Text/HTML ; charset=x") == "text/html"
    assert media_type(None) == ""
