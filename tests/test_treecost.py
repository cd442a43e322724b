"""What the tree of a page costs: real pages pass whole, those that are built to hurt are cut where they begin to."""

from __future__ import annotations

from pathlib import Path

import pytest

from crawler.treecost import MAX_COPIES, MAX_STEPS, affordable
from tests import hostilepages

MANUAL = Path("/usr/share/doc/python3-doc/html")


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"<p>one<p>two" * 30_000,
        b"<li><b>x</b>" * 30_000,
        b"<li><font color=red>x\n" * 10_000,
        b"<table>" + b"<tr><td>x<th>y" * 20_000,
        b"<dl>" + b"<dt>x<dd>y" * 20_000,
        b"<a href=x>" * 30_000,
        b"<br><img src=x>" * 30_000,
        b"<div><span class='x'>y</span></div>" * 30_000,
        b"<p title='" + b" a" * 200_000 + b"'>",
        hostilepages.nested(10_000),
    ],
)
def test_pages_that_are_only_long(page: bytes) -> None:
    """Length alone, ends that are left out, and a nesting of 10,000 cost no page its end."""
    assert affordable(page) == len(page)


def test_real_pages_pass() -> None:
    """A whole manual is parsed to the end of each page."""
    pages = sorted(MANUAL.rglob("*.html"), key=lambda path: -path.stat().st_size)
    if not pages:
        pytest.skip("python3-doc is not installed")
    for path in pages[:10] + pages[10::50]:
        data = path.read_bytes()
        assert affordable(data) == len(data), path


def test_nesting_is_cut() -> None:
    """So deep that all tags before have looked through MAX_STEPS open elements."""
    depth = affordable(hostilepages.nested(1_000_000)) // len(b"<div>")
    assert depth * depth / 2 == pytest.approx(MAX_STEPS, rel=0.01)


@pytest.mark.parametrize("name", [b"font", b"B", b"code"])
def test_formatting_is_cut(name: bytes) -> None:
    """Where elements that differ and stay open would have been copied MAX_COPIES times."""
    unit = b"<%s id=%07d><p>"
    page = b"".join(unit % (name, number) for number in range(100_000))
    count = affordable(page) / len(unit % (name, 0))
    assert count * count == pytest.approx(MAX_COPIES, rel=0.01)


def test_formatting_of_one_kind_is_not() -> None:
    """No more than three alike are ever copied."""
    page = b"<font size=1><p>" * 20_000
    assert affordable(page) == len(page)


def test_attributes_are_cut() -> None:
    """A tag of 100,000 attributes is left out, with all that follows; what is before it stays."""
    page = b"<h1>x</h1>" + hostilepages.attributed(100_000)
    assert affordable(page) == page.index(b"<p ")
    assert affordable(b"<h1>" + b"<p title='<>'" + page[page.index(b" a0") :]) == len(b"<h1>")
