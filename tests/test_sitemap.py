"""Sitemaps: what is one, what stands in it, and how large, broken or hostile ones are read."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.links import Kind, Link
from crawler.sitemap import SitemapReader, is_sitemap
from tests import hostilepages

URLSET = """<?xml version="1.0" encoding="UTF-8"?>
<!-- made by hand -->
<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" xmlns:image="http://www.google.com/schemas/sitemap-image/1.1">
<url><loc> http://h.example/1?a&amp;b </loc><lastmod>2026-01-02</lastmod><priority>0.8</priority>
  <image:image><image:loc>http://h.example/no.png</image:loc></image:image></url>
<url><priority>2</priority><loc><![CDATA[http://h.example/2#x]]></loc></url>
<url><lastmod>2026</lastmod></url>
</urlset>"""
INDEX = """<sm:sitemapindex xmlns:sm="http://www.sitemaps.org/schemas/sitemap/0.9">
<sm:sitemap><sm:loc>http://h.example/a.xml</sm:loc><sm:lastmod>2026-01-02T03:04:05Z</sm:lastmod></sm:sitemap>
</sm:sitemapindex>"""
PAGES = [
    Link("http://h.example/1?a&b", Kind.SITEMAP, priority=0.8, modified="2026-01-02"),
    Link("http://h.example/2", Kind.SITEMAP),
]


def read(pieces: Iterable[bytes]) -> tuple[list[Link], str | None]:
    reader = SitemapReader()
    found = [link for piece in pieces for link in reader.feed(piece)]
    return found + reader.finish(), reader.warning


def cut(data: bytes, step: int) -> list[bytes]:
    return [data[at : at + step] for at in range(0, len(data), step)]


@pytest.mark.parametrize("step", [1, 7, 10_000])
@pytest.mark.parametrize("packed", [False, True])
def test_urlset(step: int, packed: bool) -> None:
    """Its pages, with priority and lastmod; the locations of images are not pages."""
    data = gzip.compress(URLSET.encode()) if packed else URLSET.encode()
    assert read(cut(data, step)) == (PAGES, None)


def test_index() -> None:
    """An index leads to further sitemaps; prefixes do not matter."""
    link = Link("http://h.example/a.xml", Kind.SITEMAP, False, None, "2026-01-02T03:04:05Z", True)
    assert read([INDEX.encode()]) == ([link], None)


@pytest.mark.parametrize("step", [1, 5, 10_000])
def test_text(step: int) -> None:
    """One URL a line; what is none is passed over."""
    data = b"\xef\xbb\xbfhttp://h.example/1\r\n\n# no\nhttps://h.example/\xc3\xa9 \nftp://h.example/\n" + b"x" * 100_000
    data += b"\nhttp://h.example/" + b"x" * 100_000 + b"\nhttp://h.example/3"
    found, warning = read(cut(data, step * 1000) if step > 1 else cut(data[:80], 1))
    wanted = ["http://h.example/1", "https://h.example/é", "http://h.example/3"]
    assert [link.href for link in found] == (wanted if step > 1 else wanted[:2])
    assert warning is None


@pytest.mark.parametrize("charset", ["utf-16", "iso-8859-1"])
def test_charsets(charset: str) -> None:
    """That of the declaration."""
    data = URLSET.replace("UTF-8", charset).replace("/2", "/é").encode(charset)
    assert [link.href for link in read([data])[0]] == ["http://h.example/1?a&b", "http://h.example/é"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (URLSET[: URLSET.index("<url><lastmod>")].encode(), "broken XML"),
        (URLSET.replace("<url><lastmod>", "<url><bad &").encode(), "broken XML"),
        (gzip.compress(URLSET.encode(), mtime=0)[:-12], "cut off"),
        (gzip.compress(URLSET.encode(), mtime=0)[:-8] + b"\0" * 8, "damaged"),
        (gzip.compress(URLSET.encode(), mtime=0)[:-12] + b"\xff" * 30, "damaged"),
    ],
)
def test_what_came_before_the_damage_counts(data: bytes, said: str) -> None:
    """And the warning says that not all was read."""
    found, warning = read(cut(data, 50))
    assert found[:1] == PAGES[:1]
    assert warning is not None
    assert said in warning


def test_members_of_gzip() -> None:
    """Several are one text (RFC 1952, 2.2); zeros behind them are padding."""
    start, end = URLSET[:300].encode(), URLSET[300:].encode()
    assert read([gzip.compress(start) + gzip.compress(end) + bytes(100)]) == (PAGES, None)


def test_entities_are_refused() -> None:
    """Nothing of a billion laughs is built."""
    found, warning = read([hostilepages.entity_bomb()])
    assert found == []
    assert warning is not None
    assert "entities" in warning


@pytest.mark.slow
def test_a_gzip_bomb_is_not_unpacked() -> None:
    """Beyond 200 times its size, it is left alone."""
    found, warning = read(hostilepages.gzip_bomb(100 * 1024**2))
    assert [link.href for link in found] == ["http://h.example/first"]
    assert warning is not None
    assert "200 times" in warning


def test_a_huge_sitemap_takes_constant_memory() -> None:
    """Of 3 MB no more than a piece is held."""
    reader, count = SitemapReader(), 0
    tracemalloc.start()
    for piece in hostilepages.sitemap(40_000):
        count += len(reader.feed(piece))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count + len(reader.finish()) == 40_000
    assert peak < 1_000_000


@given(st.binary(max_size=200), st.integers(1, 50))
def test_nothing_raises(data: bytes, step: int) -> None:
    """Whatever bytes, alone or within a sitemap or gzip."""
    for whole in (data, URLSET[:400].encode() + data, b"\x1f\x8b" + data, gzip.compress(URLSET.encode())[:60] + data):
        assert len(read(cut(whole, step))[0]) <= 3


@pytest.mark.parametrize(
    ("start", "content_type", "url", "is_one"),
    [
        (URLSET, "application/xml", "http://h.example/x", True),
        (URLSET, "text/plain", "http://h.example/x", True),
        (INDEX, None, "http://h.example/x", True),
        ("\ufeff \n" + URLSET, "text/xml", "http://h.example/x", True),
        ("<!DOCTYPE urlset><urlset>", "text/xml", "http://h.example/x", True),
        ("http://h.example/1\nhttp://", "text/plain", "http://h.example/sitemap.txt", True),
        ("http://h.example/1\nhttp://", "text/plain; charset=utf-8", "http://h.example/my-sitemap-2.txt?x", True),
        ("http://h.example/1\nhttp://", "text/plain", "http://h.example/readme.txt", False),
        ("see http://h.example/1\n", "text/plain", "http://h.example/sitemap.txt", False),
        ("http://h.example/1\n", "text/html", "http://h.example/sitemap.txt", False),
        ("<rss><channel>", "text/xml", "http://h.example/sitemap.xml", False),
        ("<html><urlset>", "text/html", "http://h.example/sitemap.xml", False),
        ("", "text/xml", "http://h.example/sitemap.xml", False),
    ],
)
def test_what_is_a_sitemap(start: str, content_type: str | None, url: str, is_one: bool) -> None:
    """XML by its root; text by its name and its first line; each also gzipped, and cut."""
    data = start.encode()
    assert is_sitemap(data, content_type, url) is is_one
    assert is_sitemap(gzip.compress(data), content_type, url) is is_one
    if is_one and "<" in start:
        assert is_sitemap(gzip.compress(data * 1000)[:4096], content_type, url)
        assert is_sitemap(start.removeprefix("\ufeff").encode("utf-16"), content_type, url)


@given(st.binary(max_size=100))
def test_any_start_has_an_answer(start: bytes) -> None:
    """No bytes raise."""
    assert is_sitemap(start, None, "http://h.example/") in (True, False)
    assert is_sitemap(b"\x1f\x8b\x08" + start, None, "http://h.example/") is False
