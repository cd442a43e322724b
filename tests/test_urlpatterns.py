"""Patterns of URLs: what is left out of them, and what repeats in a path."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.urlpatterns import LONGEST, most_parts, pattern_of, repeated, shape_of
from crawler.urls import parse


@pytest.mark.parametrize(
    ("url", "pattern"),
    [
        ("https://a.example/t/123?page=2&b=", "a.example/t/#?b&page"),
        ("http://a.example/t/4?b=9&page=", "a.example/t/#?b&page"),
        ("https://a.example:8080/2031-03-04/p7.html", "a.example:8080/#-#-#/p#.html"),
        ("https://a.example/d/0123456789abcdef0", "a.example/d/*"),
        ("https://a.example/d/550e8400-e29b-41d4-a716-446655440000/x", "a.example/d/*/x"),
        ("https://a.example/d/Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5", "a.example/d/*"),
        ("https://a.example/%E4%BD%A01/", "a.example/%E4%BD%A0#/"),
        ("https://a.example/how-to-build-a-house-without-any-nails", "a.example/…"),
        ("https://a.example/wiki/Cat", "a.example/wiki/…"),
        ("https://a.example/", "a.example/…"),
        ("http://[::1]:81/?f[]=1&f[]=2&&x", "[::1]:81/?&f[]&f[]&x"),
    ],
)
def test_a_pattern_leaves_out_what_varies(url: str, pattern: str) -> None:
    """Numbers, identifiers and values; names in the query are sorted, and words stay, however they are encoded."""
    assert pattern_of(url) == pattern


@given(st.text("ab/1-%2F?&=;", max_size=300), st.integers(0, 10**9), st.integers(0, 10**9))
def test_numbers_do_not_tell_patterns_apart(text: str, first: int, second: int) -> None:
    """Whatever stands around them; and no pattern is long."""
    patterns = {pattern_of(f"https://a.example/x{number}/{text}?n={number}") for number in (first, second)}
    assert len(patterns) == 1
    assert len(patterns.pop()) <= LONGEST


def test_long_patterns_are_told_apart() -> None:
    """Those that begin alike have another checksum."""
    long = "https://a.example/" + "x" * 500
    assert pattern_of(f"{long}/a/1") != pattern_of(f"{long}/b/1")


def test_parts_that_vary_are_named_by_where_they_stand() -> None:
    """A value in another place is another value."""
    assert shape_of("https://a.example/1/2?x=3").parts == ("0=1", "1=2", "x=3")
    assert shape_of("https://a.example/wiki/Cat").parts == ()


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("a/b/a/b/a/b", "a/b"),
        ("z/a/b/c/a/b/c/a/b/c/y.html", "a/b/c"),
        ("x/x/x/x", "x"),
        ("x/a/x/b/x/c/x/", "x"),
        ("a/b/a/b", None),
        ("0/0/0", None),
        ("2011/11/11/11", None),
        ("a/b/c/a/b/d/a/b/e", None),
        ("a/b/a/c/b/a/b", None),
        ("", None),
        ("x?a/b/a/b/a/b/a/b", None),
    ],
)
def test_what_repeats(path: str, what: str | None) -> None:
    """A segment more than three times, or several of them three times in a row; the query does not count."""
    assert repeated(f"https://a.example/{path}", 3) == what


@given(st.lists(st.sampled_from("abc"), min_size=2, max_size=4), st.lists(st.integers(0, 9).map(str), max_size=3))
def test_every_run_of_segments_is_found(group: list[str], before: list[str]) -> None:
    """However it begins, and whatever it is made of."""
    assert repeated("https://a.example/" + "/".join(before + group * 3), 3) is not None


@given(st.text(st.sampled_from("ab1/?&=-%20"), max_size=40))
def test_no_shape_has_more_parts_than_a_quick_look_says(text: str) -> None:
    """What has few by that needs no closer look."""
    href = parse(f"http://a.example/{text}").href
    assert len(shape_of(href).parts) <= most_parts(href)
