"""Selectors matched in bounded time: the same elements as lexbor's own, without its ways to take for ever."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from crawler.cssmatch import LARGEST, Selector, TooLarge, selector

PARTS = [
    "div",
    "b",
    "i",
    "*",
    ".x",
    ".y",
    "#n",
    "i.z",
    "[class~=x]",
    "[title='a, b > c (d']",
    "div:first-child",
    ".a\\+b",
]
PARTS += [":not(.x, i)", "b:has(> i)", ":is(div b, .y)", "i:nth-child(2n + 1)", "b:lexbor-contains('i b ~ u')"]
WORDS = st.sampled_from(PARTS)
LINKS = st.sampled_from([" ", " ", "  ", " > ", ">", " + ", "~"])
SELECTORS = st.lists(
    st.tuples(WORDS, st.lists(st.tuples(LINKS, WORDS), max_size=4)).map(
        lambda said: said[0] + "".join(link + word for link, word in said[1])
    ),
    min_size=1,
    max_size=3,
).map(", ".join)
TAGS = [
    f"<{tag}{said}>"
    for tag in ("div", "b", "i")
    for said in ("", " class=x", " class='y x' title='a, b > c (d'", " id=n")
]
PAGES = st.lists(st.sampled_from([*TAGS, "</div>", "</b>", "</i>", "t", "<p class='a+b'>"]), max_size=40).map("".join)


@given(PAGES, SELECTORS)
def test_the_elements_are_those_of_lexbor(page: str, text: str) -> None:
    """Each once, in the order of the page; where two alternatives match, lexbor itself tells an element twice."""
    try:
        asked = selector(text)
    except ValueError:
        assert any(costly in text for costly in "~:")
        return
    tree = LexborHTMLParser(page)
    expected = list(dict.fromkeys(node.mem_id for node in tree.css(text)))
    found = [node.mem_id for node in asked.all(tree)]
    # Where the nearest ancestor does not match such a step, lexbor looks no further.
    if found != expected and any(step in text for step in (":not(", ":is(", ":has(", ":nth-child(")):
        assert set(expected) <= set(found)
        return
    assert found == expected
    first = asked.first(tree)
    assert (first and first.mem_id) == (expected[0] if expected else None)


@pytest.mark.parametrize("text", [":not(.x, i) b", "div :not(.x) b", ":is(div, p) b", ":not(.x) div > b"])
def test_an_ancestor_further_up_counts(text: str) -> None:
    """That the nearest one is not meant says nothing of those above it."""
    tree = LexborHTMLParser("<div><div><div class=x><b>")
    assert [node.tag for node in selector(text).all(tree)] == ["b"]


@pytest.mark.parametrize(
    ("text", "stepwise", "square"),
    [
        ("div", False, False),
        (".x > div + p", False, False),
        (".x div", False, False),
        (".x div p", True, False),
        ("a, .x div p", True, False),
        ("[title='a b c'] p", False, False),
        ("p:lexbor-contains('a b ~ c')", False, False),
        ("li:nth-child(2n + 1)", False, True),
        ("ul li:nth-child(2)", True, True),
        ("h2 ~ p", False, True),
        ("[class~=x]", False, False),
        ("p:has(> a)", False, True),
        ("p:not(.x a)", False, True),
        ("p:not(.x):not(a, b)", False, False),
        ("tr:nth-child(2) > td:nth-child(3)", False, True),
    ],
)
def test_lexbor_is_asked_what_it_can_do_in_time(text: str, stepwise: bool, square: bool) -> None:
    """All else goes step by step, or not on large pages."""
    asked = selector(text)
    assert (bool(asked.steps), asked.square) == (stepwise, square)


@pytest.mark.parametrize(
    "text", ["a ~ b ~ c", "p:has(a b)", "p:not(.x a b)", "li:nth-child(2) ~ li", "p:not(:is(.a b) c)", "a:has(b ~ c)"]
)
def test_what_has_no_bound_is_refused(text: str) -> None:
    """It is told when the job is loaded."""
    with pytest.raises(ValueError, match="may take hours"):
        selector(text)


@pytest.mark.parametrize(
    "text", [".x div div div div", "div div div div .y", "div > div div > div div .y", "p div div"]
)
def test_a_deep_page_takes_no_longer_than_a_flat_one(text: str) -> None:
    """lexbor alone takes half a minute for the first at a tenth of this depth; a test that hangs fails."""
    assert selector(text).all(LexborHTMLParser("<div>" * 5000)) == []


def test_costly_selectors_are_not_asked_of_large_pages() -> None:
    """The sentence says why the field is empty."""
    tree = LexborHTMLParser("<p>" * (LARGEST + 1))
    for asked in (selector("p:nth-child(2)"), selector("ul p:nth-child(2)")):
        for ask in (asked.all, asked.first):
            with pytest.raises(TooLarge, match=r"elements, too many for this selector \(extract-limit\)"):
                ask(tree)
    assert selector("p:nth-child(2)").all(LexborHTMLParser("<p>" * 10)) != []


def test_a_plain_selector_is_asked_as_it_is() -> None:
    """Nothing is lost on the common case."""
    assert selector("h1.title") == Selector("h1.title")
