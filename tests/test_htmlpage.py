"""Pages as trees: charsets, and what building a tree may cost."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.htmlpage import parse
from tests import hostilepages


@pytest.mark.parametrize(
    ("data", "charset", "text"),
    [
        ("é".encode(), None, "é"),
        ("é".encode("latin-1"), None, "é"),
        ("é".encode("latin-1"), "utf-8", "\N{REPLACEMENT CHARACTER}"),
        ("\ufeffé".encode(), None, "é"),
        ("\ufeffé".encode("utf-16le"), "utf-16le", "é"),
        ("表".encode("shift_jis"), "shift_jis", "表"),
        ("\N{EURO SIGN}".encode("cp1252"), "windows-1252", "\N{EURO SIGN}"),
    ],
)
def test_charsets(data: bytes, charset: str | None, text: str) -> None:
    """A page is read in its charset; where nothing says it, in UTF-8 or else in windows-1252."""
    page = parse(data, charset)
    assert page.tree.body is not None
    assert page.tree.body.text() == text
    assert page.warning is None


@given(st.binary(max_size=500), st.sampled_from([None, "utf-8", "utf-16be", "euc-jp", "windows-1251"]))
def test_garbage_has_a_tree(data: bytes, charset: str | None) -> None:
    """Whatever the bytes."""
    assert parse(data, charset).tree.root is not None


@pytest.mark.parametrize(
    "page",
    [
        hostilepages.formatted(100_000),
        hostilepages.nested(300_000),
        hostilepages.attributed(300_000),
        b"<div>" * 100_000 + b"</x>" * 100_000,
        b"<ul><li>" * 100_000,
        b"<b><i>" * 10_000 + b"<p a=1><font size=1>" * 20_000,
    ],
)
@pytest.mark.slow
def test_a_tree_is_bounded(page: bytes) -> None:
    """Nesting, formatting and attributes that would take minutes and gigabytes are cut, with a warning."""
    before = time.process_time()
    parsed = parse(page, None)
    assert time.process_time() - before < 8
    assert parsed.warning is None or "were parsed" in parsed.warning
    assert len(parsed.tree.css("*")) < 3_000_000


def test_what_is_cut_is_told() -> None:
    """The start of a page that is cut is there, its end is not."""
    parsed = parse(b"<h1>t</h1>" + hostilepages.formatted(30_000) + b"<h2>end</h2>", None)
    assert parsed.warning is not None
    assert parsed.tree.css_first("h1") is not None
    assert parsed.tree.css_first("h2") is None
