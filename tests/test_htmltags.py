"""Start tags found without a tree: their names, attributes and references are those of a tree."""

from __future__ import annotations

import html
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from crawler.htmltags import MAX_ATTRIBUTES, attributes, every_tag, named_tags, plain_attributes, resolved

MANUAL = Path("/usr/share/doc/python3-doc/html")


def read(page: bytes, names: frozenset[str] | None = None) -> list[tuple[str, dict[str, str]]]:
    """Each tag with its attributes as texts."""
    return [
        (found["name"].decode(), {name.decode(): resolved(value.decode()) for name, value in said.items()})
        for found in named_tags(page, names)
        if found["name"]
        for said in [attributes(found["rest"])]
    ]


def test_real_pages() -> None:
    """All tags of a manual with all their attributes, but those that a tree adds or drops."""
    pages = sorted(MANUAL.rglob("*.html"))
    if not pages:
        pytest.skip("python3-doc is not installed")
    for path in pages[:: max(1, len(pages) // 20)]:
        data = path.read_bytes()
        tree, found = LexborHTMLParser(data), read(data)
        for name in ("a", "div", "span", "img", "link", "script", "style", "td", "li"):
            wanted = [{key: value or "" for key, value in node.attributes.items()} for node in tree.css(name)]
            assert [said for tag, said in found if tag == name] == wanted, (path, name)


def test_names_choose() -> None:
    """Only those are told that were asked for, and <script> and <style>; "img" is not "imgx"."""
    page = b"<p><IMG a=1><imgx><script x></script><style>y</style><b><img/>"
    assert read(page, frozenset({"img"})) == [("IMG", {"a": "1"}), ("script", {"x": ""}), ("style", {}), ("img", {})]
    assert [found["text"] for found in named_tags(page, frozenset({"img"})) if found["text"]] == [b"y"]


def test_end_tags() -> None:
    """They are told where all tags are wanted; those in a <title> or a comment are not."""
    page = b"<p>a</p ><!-- <b> --><title></p></title></ no><br/>"
    assert [found["name"] for found in every_tag(page) if found["name"]] == [b"p", b"/p", b"/title", b"br"]


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        (b" a=1 B='2' c=\"3\" d", {b"a": b"1", b"b": b"2", b"c": b"3", b"d": b""}),
        (b" a=1 a=2 A=3", {b"a": b"1"}),
        (b" a = 1 / b=2/", {b"a": b"1", b"b": b"2/"}),
        (b" a='1'b='2'", {b"a": b"1", b"b": b"2"}),
        (b" a=''", {b"a": b""}),
        (b" =a=1 = b", {b"=a": b"1", b"=": b"", b"b": b""}),
        (b' a="x\'y" b=x"y', {b"a": b"x'y", b"b": b'x"y'}),
        (b"", {}),
    ],
)
def test_attributes(rest: bytes, said: dict[bytes, bytes]) -> None:
    """In all their spellings; the first of a name counts."""
    assert attributes(rest) == said


def test_attributes_are_bounded() -> None:
    """Of a tag with thousands of them so many are looked at."""
    assert len(attributes(b"".join(b" a%d" % number for number in range(5000)))) == MAX_ATTRIBUTES


@given(
    st.lists(
        st.sampled_from(["&amp", "&lt;", "&copy", "&not", "&#38", "&#x6", "&#128;", "&#x9f", *"&;=#x109it é"]),
        max_size=12,
    ).map("".join)
)
def test_references(text: str) -> None:
    """As a browser resolves them in attributes."""
    node = LexborHTMLParser(f'<a title="{text}">').css_first("a")
    assert node is not None
    assert resolved(text) == (node.attributes["title"] or "")


@given(st.text(max_size=50))
def test_what_was_escaped_is_read_again(text: str) -> None:
    """Any text, once it is escaped, comes back."""
    assert resolved(html.escape(text)) == text


@pytest.mark.parametrize(("count", "plain"), [(50, True), (5000, False)])
@pytest.mark.parametrize("unit", [b" a%d", b" a%d=1", b" a%d='>'", b" a%d='<'", b" <%d"])
def test_too_many_attributes(count: int, plain: bool, unit: bytes) -> None:
    """They are noticed, however they are written."""
    page = b"<p>x</p><p" + b"".join(unit % number for number in range(count)) + b">"
    assert plain_attributes(page) is plain
