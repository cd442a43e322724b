"""Links of feeds: RSS and Atom, broken ones too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.feedlinks import feed_leads
from crawler.links import NOTHING, Kind, Link
from tests import hostilepages

RSS = """<?xml version="1.0" encoding="utf-8"?>
<rss version="2.0" xmlns:atom="http://www.w3.org/2005/Atom"><channel>
  <title>t</title><link>http://h.example/site</link>
  <atom:link rel="self" href="http://h.example/feed"/><atom:link rel="next" href="http://h.example/feed?page=2"/>
  <image><url>http://h.example/logo.png</url><link>http://h.example/site</link></image>
  <item><title>1</title><link> http://h.example/1#top
  </link><enclosure url="http://h.example/1.mp3" length="1" type="audio/mpeg"/><guid>http://h.example/no</guid></item>
  <item><guid isPermaLink="false">http://h.example/no</guid><link>http://h.example/2?a&amp;b</link></item>
  <item><guid>http://h.example/3</guid><source><link>http://h.example/no</link></source></item>
  <item><guid>tag:h.example,3</guid></item>
</channel></rss>"""
RDF = """<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/">
  <channel rdf:about="x"><link>http://h.example/site</link></channel>
  <item rdf:about="y"><link>http://h.example/1</link></item><item><link>http://h.example/2</link></item>
</rdf:RDF>"""
ATOM = """<feed xmlns="http://www.w3.org/2005/Atom" xml:base="http://h.example/base/">
  <link href="/site"/><link rel="self" href="/feed"/><link rel="next" href="?page=2"/>
  <entry><link href="1"/><link rel="edit" href="/no"/><link rel="enclosure" href="1.mp3"/><id>http://h.example/no</id></entry>
  <entry xml:base="sub/"><link rel="alternate" href="2"/>
    <content xml:base="/c/"><link href="/no" rel="x"/></content></entry>
  <entry><link rel="replies" href="/no"/></entry>
</feed>"""


def leading(feed: str) -> list[str]:
    return [link.href for link in feed_leads(feed.encode(), None).links if link.kind is Kind.FEED]


def test_rss() -> None:
    """The links of its items, or a guid that is one; enclosures are what an item needs; rel=next leads on."""
    assert leading(RSS) == [f"http://h.example/{end}" for end in ("feed?page=2", "1", "2?a&b", "3")]
    assert [link for link in feed_leads(RSS.encode(), None).links if link.kind is not Kind.FEED] == [
        Link("http://h.example/1.mp3", Kind.REQUISITE)
    ]


def test_rdf() -> None:
    """RSS 1.0 has its items beside the channel."""
    assert leading(RDF) == ["http://h.example/1", "http://h.example/2"]


def test_atom() -> None:
    """Links of entries, alternate or without rel; xml:base of the feed is the base, that of an entry is joined."""
    found = feed_leads(ATOM.encode(), "utf-8")
    assert found.base == "http://h.example/base/"
    assert found.links == (
        Link("?page=2", Kind.FEED),
        Link("1", Kind.FEED),
        Link("sub/2", Kind.FEED),
        Link("1.mp3", Kind.REQUISITE),
    )
    assert found.warning is None


@pytest.mark.parametrize(
    "data", [b"", b"<urlset><url><loc>http://h.example/</loc></url></urlset>", b"{}", b"<html><a href=x>", b"\xff\xfe"]
)
def test_what_is_no_feed(data: bytes) -> None:
    """It leads nowhere, and nothing is said."""
    assert feed_leads(data, None) == NOTHING


@pytest.mark.parametrize("damage", ["", "<item>", "&nbsp;", "</rss>", "\x0b", "<a b=1>"])
def test_a_broken_feed(damage: str) -> None:
    """What came before the damage counts."""
    found = feed_leads((RSS[: RSS.index("<item><guid>http")] + damage).encode(), None)
    assert "http://h.example/2?a&b" in [link.href for link in found.links]
    assert found.warning is not None
    assert "broken XML" in found.warning


@pytest.mark.parametrize(
    ("data", "charset"),
    [
        (RSS.replace("/1#", "/é#").encode("latin-1"), "windows-1252"),
        (RSS.replace("/1#", "/é#").encode("utf-16"), "utf-16le"),
        (b"\xef\xbb\xbf\n " + RSS.replace("/1#", "/é#").encode(), "utf-8"),
        (b"\n" + RSS.replace("/1#", "/é#").encode(), None),
    ],
)
def test_charsets(data: bytes, charset: str | None) -> None:
    """Its charset is the one that is told, whatever it declares; white space before it does no harm."""
    assert "http://h.example/é" in [link.href for link in feed_leads(data, charset).links]


def test_entities_are_refused() -> None:
    """Those that a feed declares itself."""
    bomb = hostilepages.entity_bomb().replace(b"urlset", b"rss")
    assert feed_leads(bomb, None) == NOTHING


@given(st.data())
def test_nothing_raises(data: st.DataObject) -> None:
    """A feed that is damaged anywhere."""
    feed = data.draw(st.sampled_from([RSS, RDF, ATOM])).encode()
    at = data.draw(st.integers(0, len(feed)))
    broken = feed[:at] + data.draw(st.binary(max_size=4)) + feed[at + data.draw(st.integers(0, 20)) :]
    assert len(feed_leads(broken, data.draw(st.sampled_from([None, "utf-8", "utf-16be", "shift_jis"]))).links) < 10
