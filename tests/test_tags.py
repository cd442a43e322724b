"""Markup: text stays text, whatever it is."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.tags import escape, join, raw, shown, tag

TEXT = st.text() | st.sampled_from(["<script>", '" onload="x', "' x='", "&amp;", "</p>", "\u202e", "\0", "]]>", "<!--"])


class Read(HTMLParser):
    """Tags with their attributes, and the text between."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((name, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data


@given(text=TEXT, value=TEXT)
def test_no_text_makes_a_tag_or_leaves_an_attribute(text: str, value: str) -> None:
    """What a browser reads is one element with that one attribute and that text."""
    read = Read(tag("p", text, title=value))
    assert read.tags == [("p", {"title": shown(value)})]
    assert read.text == shown(text)


@given(text=st.text())
def test_what_cannot_be_seen_is_shown(text: str) -> None:
    """Nothing that turns the direction of writing or moves a terminal is left; line ends and tabs stay."""
    turned = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c\x1b\x00\r\x7f\x9b\u200b\ufeff"
    assert not set(shown(text + turned)) & set(turned)
    assert shown("a\tb\nc ä 漢 🙂") == "a\tb\nc ä 漢 🙂"


def test_markup_is_not_escaped_again_and_plain_text_made_of_it_is() -> None:
    """Tags nest; what is put together by hand is no markup any more, so that forgetting shows rather than harms."""
    inner = tag("b", "<x>")
    assert tag("p", inner, 1, None, [inner, ["&"]]) == "<p><b>&lt;x&gt;</b>1<b>&lt;x&gt;</b>&amp;</p>"
    assert tag("p", f"{inner}").startswith("<p>&lt;b&gt;")
    assert join(raw("<hr>"), escape("<")) == "<hr>&lt;"


def test_attributes_that_are_nothing_are_left_out() -> None:
    """None and False are no attribute, True is one without a value, `_` stands for `-`."""
    assert tag("a", class_="x", hidden=True, data_v=0, id=None, open=False) == '<a class="x" hidden data-v="0"></a>'
    assert tag("meta", charset="utf-8") == '<meta charset="utf-8">'


@pytest.mark.parametrize("name", ["p onclick", "1a", "", "a>", "a\n"])
def test_names_are_ours_alone(name: str) -> None:
    """A name that is none is our mistake, and said."""
    with pytest.raises(ValueError, match="no name"):
        tag(name)
    with pytest.raises(ValueError, match="no name"):
        tag("p", **{name: "x"})
