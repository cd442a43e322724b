"""Queries by CSS: what they give of a page, and what is said of one that cannot be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from crawler.cssquery import MAX_VALUES, parsed

TREE = LexborHTMLParser(
    b"<title>A</title><h1>One <b>two</b><br>three</h1><p>first<p class=x title='t::text'>second"
    b"<a name=top>no href</a><a href='/1' HREF=/2>a</a><a href>b</a><svg viewBox='0 0 1 1'></svg>"
)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("css:title", ["A"]),
        ("title::text", ["A"]),
        ("h1::text", ["One twothree"]),
        ("p::texts", ["first", "secondno hrefab"]),
        ("a::attr(href)", ["/1", ""]),
        ("a::attrs( 'HREF' )", ["/1", ""]),
        ("svg::attr(viewBox)", ["0 0 1 1"]),
        ("p[title='t::text']::attr(class)", ["x"]),
        ("p[title='t::text']", ["secondno hrefab"]),
        ("b::html", ["<b>two</b>"]),
        ("title, b :: text", ["A", "two"]),
        ("p:lexbor-contains('second')::attr(title)", ["t::text"]),
        ("table td", []),
    ],
)
def test_what_a_query_gives(query: str, found: list[str]) -> None:
    """The first is the first of all; an element that lacks the attribute is passed over."""
    asked = parsed(query)
    assert list(asked.all(TREE)) == found
    assert asked.first(TREE) == (found[0] if found else None)


def test_plurals_ask_for_all() -> None:
    """The others are of one element, unless the field is a list."""
    assert [parsed(f"p::{part}").many for part in ("text", "texts", "attr(x)", "attrs(x)", "html")] == [
        *(False, True, False, True, False)
    ]


def test_a_separator_stands_between_what_tags_divide() -> None:
    """Else the lines of an address run together."""
    assert parsed("h1").first(TREE, "|") == "One |two|three"


def test_one_more_than_is_kept_is_enough() -> None:
    """Who takes them can tell that there were more."""
    tree = LexborHTMLParser("<i>x" * (2 * MAX_VALUES))
    assert sum(1 for _ in parsed("i::attrs(title)").all(tree)) == 0
    tree = LexborHTMLParser("<i>x</i>" * (2 * MAX_VALUES))
    assert sum(1 for _ in parsed("i").all(tree)) == MAX_VALUES + 1


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("", "0 characters"),
        ("a" * 1001, "1001 characters"),
        ("::text", "no selector before"),
        ("h1::txt", "did you mean '::text'"),
        ("h1::attrib(href)", "did you mean '::attr(href)'"),
        ("a::href", "did you mean '::attr(href)'"),
        ("a::attr", "write it like '::attr(href)'"),
        ("a::attr()", "write it like '::attr(href)'"),
        ("a::attrs(a b)", "names no attribute"),
        ("h1::text()", "write '::text'"),
        ("h1::zzzz", "none of ::text, ::texts"),
        ("p[", "no CSS selector"),
        ("div > p..x a", "cannot be read from '> p..x a' on"),
        ("a:frist-child", "did you mean ':first-child'"),
        ("a:contains('x')", "':lexbor-contains("),
        ("a::text b::text", "'::' stands at its end"),
        ("//h1/text()", "XPath"),
        ("a\ud800", "no CSS selector"),
        ("a ~ b ~ c", "may take hours"),
    ],
)
def test_a_wrong_query_is_found_when_the_job_is_loaded(query: str, says: str) -> None:
    """With what was probably meant."""
    with pytest.raises(ValueError) as error:
        parsed(query)
    assert says in str(error.value)


@given(
    st.text(max_size=40) | st.from_regex(r"[a-z.#:>~+*\[\]()='\" ]{1,30}(::[a-z]{2,6}(\([a-z ]*\))?)?", fullmatch=True)
)
def test_a_query_that_was_let_through_never_fails(text: str) -> None:
    """Whatever was written in the job."""
    try:
        query = parsed(text)
    except ValueError:
        return
    for value in query.all(TREE):
        assert isinstance(value, str)
    query.first(TREE)
