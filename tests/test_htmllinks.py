"""Links of HTML pages: which tags count, how they are written, and what no page may do to us."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from crawler.hreftext import MAX_HREF, MAX_LINKS, cleaned
from crawler.htmllinks import html_leads
from crawler.links import Kind, Leads, Link
from tests import hostilepages

ALL = frozenset(Kind)
LEADING = ALL - {Kind.REQUISITE}
MANUAL = Path("/usr/share/doc/python3-doc/html")
# Mostly what means something to a tokenizer, so that its states are met often.
SOUP = st.lists(
    st.sampled_from(
        r"""<a .<a href=".<A HREF='.<p title=".</a>.<b>.<div .">.>.".'.=. ./x./.y.#.&amp;.&#x2f;.<!--.-->.--!>.<!-->.-
        .!.<!x.<?.</.<.<base href=/b>.href=.<a href=.<title>.</title>.<SCRIPT>.</script >.<style>.</STYLE""".split(".")  # noqa: SIM905
    )
    | st.sampled_from("\n\0é")
    | st.sampled_from(
        ['<a href="#', '<a b="c"', ' href="#', ' href="/z', '" d="e', '">', " h='", '<a class="b" href="#c">']
    ),
    max_size=40,
).map("".join)
UNITS = [
    *("<", "<a ", "<a href=", '<a href="', "<!--", "<!---", '<p "', '<p ="', "<script>", "<title></titl", "</", "<a x"),
    *('<a b="', '<a b="c" href="#', '<a b="c" ', ' href="#"'),
    *("<a =", "<p style=(", "<style>url(", "<style>@import ", "<img srcset='a(", "<a href='&a", "<b><i>", "-", "<div>"),
]


def leads(page: str | bytes, follow: frozenset[Kind] = ALL, charset: str | None = None) -> Leads:
    return html_leads(page.encode() if isinstance(page, str) else page, charset, follow, "ourbot")


def hrefs(page: str | bytes, kind: Kind = Kind.A, charset: str | None = None) -> list[str]:
    return [link.href for link in leads(page, charset=charset).links if link.kind is kind]


@pytest.mark.parametrize(
    ("tag", "kind"),
    [
        ('<a href="/x">', Kind.A),
        ("<A CLASS=b HREF=/x>", Kind.A),
        ("<a\n href = '/x' >", Kind.A),
        ("<a title='<a href=/no>' href=/x>", Kind.A),
        ("<a title=a>b href=/no <a href=/x>", Kind.A),
        ('<a data-href="/no" href="/x" href="/no">', Kind.A),
        ('<a href="/x"">', Kind.A),
        ("<a/href=/x>", Kind.A),
        ('<area shape=rect href="/x">', Kind.AREA),
        ('<link rel="canonical" href="/x">', Kind.LINK),
        ('<link rel="NEXT" href="/x">', Kind.LINK),
        ('<link rel="prev" href="/x"/>', Kind.LINK),
        ('<link href="/x" hreflang=de rel="foo alternate">', Kind.LINK),
        ('<iframe src="/x"></iframe>', Kind.IFRAME),
        ('<frameset><frame src="/x">', Kind.IFRAME),
        ("<meta http-equiv=refresh content='0; url=/x'>", Kind.REFRESH),
        ('<img src="/x">', Kind.REQUISITE),
        ('<picture><source srcset="/x 2x"></picture>', Kind.REQUISITE),
        ('<script src="/x"></script>', Kind.REQUISITE),
        ('<link rel="stylesheet" href="/x">', Kind.REQUISITE),
        ('<link rel="alternate stylesheet" href="/x">', Kind.REQUISITE),
        ('<link rel="shortcut icon" href="/x">', Kind.REQUISITE),
        ('<link rel="preload" as=image imagesrcset="/x 2x">', Kind.REQUISITE),
        ('<link rel="manifest" href="/x">', Kind.REQUISITE),
        ('<link rel="apple-touch-icon" href="/x">', Kind.REQUISITE),
        ('<input type="IMAGE" src="/x">', Kind.REQUISITE),
        ('<video poster="/x"></video>', Kind.REQUISITE),
        ('<video><track src="/x"></video>', Kind.REQUISITE),
        ('<audio src="/x"></audio>', Kind.REQUISITE),
        ('<embed src="/x">', Kind.REQUISITE),
        ('<object data="/x"></object>', Kind.REQUISITE),
        ('<body background="/x">', Kind.REQUISITE),
        ('<svg><image xlink:href="/x"/></svg>', Kind.REQUISITE),
        ('<svg><use href="/x#part"/></svg>', Kind.REQUISITE),
        ('<p style="background: url(/x)">', Kind.REQUISITE),
        ("<style>p { background: url('/x') }</style>", Kind.REQUISITE),
    ],
)
def test_each_kind_of_link(tag: str, kind: Kind) -> None:
    """A link is found by its tag, and only where its kind is asked for."""
    assert leads(tag).links == (Link("/x", kind),)
    assert leads(tag, ALL - {kind}).links == ()
    assert leads(tag, frozenset({kind})).links == (Link("/x", kind),)


@pytest.mark.parametrize(
    "page",
    [
        "<!-- <a href=/no> -->",
        "<!-- > <a href=/no> --!",
        "<!-- a-b --- <a href=/no> --->",
        "<script>'<a href=/no>'</script>",
        "<style><a href=/no></style>",
        "<title><a href=/no></title>",
        "<textarea><a href=/no></TEXTAREA>",
        '<p title="<a href=/no>">',
        "<p title='>' data-x='<a href=/no>'>",
        "</a href=/no>",
        "<a href=/no",
        '<a href="/no',
        "<abbr href=/no>",
        "<a name=no>",
        "< a href=/no>",
        "<input type=text src=/no>",
        "<link rel=author href=/no>",
        "<link href=/no>",
        "<svg><use href='#no'/></svg>",
        "<a href='#no'>",
        "<a href=''>",
        "<a href>",
        "<a href=javascript:no()>",
        "<a href=' JavaScript:no()'>",
        "<a href='java\nscript:no()'>",
        "<a href=&#106;avascript:no()>",
        "<a href=mailto:no@h.example>",
        "<a href=tel:1>",
        "<img src=data:image/gif;base64,AAAA>",
        f"<a href=/{'n' * MAX_HREF}>",
    ],
)
def test_what_is_no_link(page: str) -> None:
    """What stands in a comment, a script or a value; other tags; and what leads nowhere. What follows is found."""
    assert leads(page).links == ()
    if not page.endswith(("/no", "--!")):
        assert hrefs(page + "<a href=/yes>") == ["/yes"]


@pytest.mark.parametrize(
    "page",
    [
        "<!--><a href=/yes>",
        "<!---><a href=/yes>",
        "<!-- --!><a href=/yes>",
        "<!x '><a href=/yes>",
        "<?php '><a href=/yes>",
        "<script src=x /><a href=/yes>",
        "<title/><a href=/yes>",
        "<noscript><a href=/yes></noscript>",
        "<noframes><a href=/yes></noframes>",
        "<iframe src=x /><a href=/yes>",
        "<p class='a'b'><a href=/yes>",
        '<p ="><a href=/yes><b title="">',
        '<p="><a href=/yes><b title="">',
        '<p class=a"><a href=/yes>',
        "<script>'</scripty'</script><a href=/yes>",
        "<<a href=/yes>",
        "</><a href=/yes>",
        "<a href='/yes'></a><a href='/yes#part'>",
    ],
)
def test_broken_pages_are_read_on(page: str) -> None:
    """A fault costs no more than the tag it stands in."""
    assert hrefs(page) == ["/yes"]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("  /a\n", "/a"),
        ("/a\n /b\tc\r", "/a /bc"),
        ("/a?b&amp;c", "/a?b&c"),
        ("/a?b&#38;c=1", "/a?b&c=1"),
        ("/a?b&copy=1&copy;", "/a?b&copy=1\N{COPYRIGHT SIGN}"),
        ("/a?b&notit;c&not", "/a?b&notit;c\N{NOT SIGN}"),
        ("/a#b", "/a"),
        ("/a #b", "/a%20"),
        ("/a?&#b", "/a?&"),
        ("/\0", "/\N{REPLACEMENT CHARACTER}"),
        ("HTTP://H.example/", "HTTP://H.example/"),
    ],
)
@pytest.mark.parametrize("quote", ["'", '"'])
def test_how_links_are_written(written: str, read: str, quote: str) -> None:
    """References are resolved as attributes have them; white space and the fragment go."""
    assert hrefs(f"<a href={quote}{written}{quote}>") == [read]
    assert [link.href for link in leads(f"<area href={quote}{written}{quote}>").links] == [read]


def test_links_are_told_once_and_in_order() -> None:
    """Written alike, a link counts once, as what it was first; what a page needs is told apart."""
    page = "<a href=/2><iframe src=/1></iframe><img src=/2><a href=' /1'><area href=/3><a href=/2#x><img src=/2>"
    assert leads(page).links == (
        Link("/2", Kind.A),
        Link("/1", Kind.IFRAME),
        Link("/3", Kind.AREA),
        Link("/2", Kind.REQUISITE),
    )


def test_nofollow_of_a_link() -> None:
    """A link is nofollow if each of its places says so; ugc and sponsored say nothing."""
    page = """<a href=/a rel=nofollow><a rel="ugc NoFollow" href=/b><a href=/c rel="ugc sponsored">
    <a href=/a title=nofollow><a href=/d>nofollow</a><area href=/e rel=nofollow><a href=/d rel=nofollow>"""
    assert [(link.href, link.nofollow) for link in leads(page).links] == [
        ("/a", False),
        ("/b", True),
        ("/c", False),
        ("/d", False),
        ("/e", True),
    ]


@pytest.mark.parametrize(
    ("tag", "asked"),
    [
        ("<meta name=robots content='noindex, nofollow'>", True),
        ("<META NAME=ROBOTS CONTENT=NONE>", True),
        ("<meta name=OurBot content=nofollow>", True),
        ("<meta name=otherbot content=nofollow>", False),
        ("<meta name=robots content=index>", False),
        ("<!-- <meta name=robots content=nofollow> -->", False),
    ],
)
def test_nofollow_of_the_page(tag: str, asked: bool) -> None:
    """`<meta name=robots>` speaks for the whole page; its links are told nevertheless."""
    found = leads(tag + "<a href=/x>")
    assert found.nofollow is asked
    assert found.links == (Link("/x", Kind.A),)


def test_the_first_base_counts() -> None:
    """A <base> without href is none; of several the first is meant (HTML standard, 4.2.3)."""
    assert leads("<base target=x><base href=' /one/&amp;'><base href=/two/>").base == "/one/&"
    assert leads("<a href=/x>").base is None


@pytest.mark.parametrize(
    ("data", "charset", "read"),
    [
        ("<a href=/é>".encode(), None, "/é"),
        ("<a href=/é>".encode("latin-1"), None, "/é"),
        ("<a href=/é>".encode("latin-1"), "utf-8", "/\N{REPLACEMENT CHARACTER}"),
        ("<a href=/é>".encode(), "windows-1252", "/Ã©"),
        ("<a href=/\N{CYRILLIC SMALL LETTER YA}>".encode("koi8-r"), "koi8-r", "/\N{CYRILLIC SMALL LETTER YA}"),
        ("<a href=/表>".encode("shift_jis"), "shift_jis", "/表"),
        ("<a href=/表>".encode("iso2022_jp"), "iso-2022-jp", "/表"),
        ("\ufeff<a href=/é>".encode("utf-16le"), "utf-16le", "/é"),
        ("\ufeff<a href=/é>".encode(), "utf-8", "/é"),
    ],
)
def test_charsets(data: bytes, charset: str | None, read: str) -> None:
    """Links are read in the page's charset; where nothing says it, in UTF-8 or else in windows-1252."""
    assert hrefs(data, charset=charset) == [read]


def test_what_a_tree_finds_in_real_pages() -> None:
    """On a whole manual the links are those of a tree that a browser would build."""
    pages = sorted(MANUAL.rglob("*.html"))
    if not pages:
        pytest.skip("python3-doc is not installed")
    for path in pages[:: max(1, len(pages) // 60)]:
        data = path.read_bytes()
        tree = LexborHTMLParser(data)
        wanted = [cleaned(node.attributes.get("href") or "") for node in tree.css("a")]
        found = [link.href for link in leads(data, frozenset({Kind.A})).links]
        assert found == list(dict.fromkeys(href for href in wanted if href)), path
        images = [cleaned(node.attributes.get("src") or "") for node in tree.css("img,script")]
        assert set(filter(None, images)) <= set(hrefs(data, Kind.REQUISITE)), path


@settings(max_examples=300)
@given(SOUP)
def test_what_a_tree_finds_in_soup(page: str) -> None:
    """However broken: no link but those of a tree, and all of those, in text that a tree does not treat apart."""
    if "<title>" in page or "<SCRIPT>" in page or "<style>" in page:
        assert all(link.href for link in leads(page).links)
        return
    wanted = [cleaned(node.attributes.get("href") or "") for node in LexborHTMLParser(page.encode()).css("a")]
    assert set(hrefs(page)) == set(filter(None, wanted))


@given(st.binary(max_size=300), st.sampled_from([None, "utf-8", "utf-16le", "shift_jis", "windows-1252", "gbk"]))
def test_garbage_never_raises(data: bytes, charset: str | None) -> None:
    """Whatever bytes in whatever charset: an answer."""
    for page in (data, b"<a href=" + data, b'<img srcset="' + data + b'">', b"<style>" + data):
        assert isinstance(leads(page, charset=charset), Leads)


@given(st.data())
def test_a_broken_real_page_never_raises(data: st.DataObject) -> None:
    """A page that was cut, or damaged anywhere, still gives links."""
    page = b"<!doctype html><title>t</title><base href=/b/><a href='/1'>1</a><img srcset='/2 2x, /3'><a href=/4>4</a>"
    at = data.draw(st.integers(0, len(page)))
    damaged = page[:at] + data.draw(st.binary(max_size=5)) + page[at + data.draw(st.integers(0, 9)) :]
    assert len(leads(damaged).links) <= 8


@pytest.mark.parametrize("unit", UNITS)
def test_no_page_costs_more_than_its_length(unit: str) -> None:
    """Two megabytes of anything are read in a second."""
    page = unit.encode() * (2_000_000 // len(unit))
    before = time.process_time()
    leads(page)
    assert time.process_time() - before < 1.5


def test_links_of_a_page_are_bounded() -> None:
    """Of a page with more than MAX_LINKS so many are told, with a warning."""
    found = leads(b"".join(hostilepages.many_links(MAX_LINKS + 5000)), LEADING)
    assert len(found.links) == MAX_LINKS
    assert found.links[-1].href == f"/n/{MAX_LINKS - 1}"
    assert found.warning is not None
    assert "100,000 links" in found.warning


def test_a_large_page_is_read_up_to_a_bound() -> None:
    """What stands behind 16 MiB is not looked at, and the warning says so."""
    found = leads(b"".join(hostilepages.large(17 * 1024**2)), LEADING)
    assert [link.href for link in found.links] == ["/first"]
    assert found.warning is not None
    assert "16,777,216 bytes" in found.warning


def test_hostile_pages_lead_where_they_should() -> None:
    """Nesting, formatting, attributes, NULs and a false charset hide no link."""
    assert hrefs(hostilepages.nested(200_000)) == ["/deep"]
    assert hrefs(hostilepages.formatted(100_000)) == ["/formatted"]
    assert hrefs(hostilepages.attributed(200_000)) == ["/attributed"]
    assert hrefs(hostilepages.with_nuls()) == ["/be\N{REPLACEMENT CHARACTER}fore", "/after"]
    assert hrefs(hostilepages.lying_charset()[0], charset="utf-8")[-1] == "/plain"
    told = hrefs(hostilepages.strange_schemes())
    assert told[-1] == "/good"
    assert not [href for href in told if href.lower().startswith(("javascript", "data", "mailto", "tel"))]
    assert "file:///etc/passwd" in told  # for the crawl to refuse, and name
