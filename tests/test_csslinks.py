"""Links of style sheets: tokens, escapes, charsets, and what no sheet may do to us."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.csslinks import LARGEST, css_leads, css_urls
from crawler.links import Kind, Link


@pytest.mark.parametrize(
    "css",
    [
        "a { background: url(/x) }",
        "a { background: URL( '/x' ) }",
        'a { background: url("/x") }',
        "@import '/x';",
        '@import "/x" screen;',
        "@IMPORT url(/x);",
        "@import/**/'/x'",
        "@font-face { src: url(/x) format('woff') }",
        "a { background: image-set('/x' 1x) }",
        r"a { background: url(\/x) }",
        r"a { background: url('\2f x') }",
        r"a { background: url('\00002fx') }",
        "a { content: 'url(/no)'; background: url(/x) }",
        "/* url(/no) */ a { background: url(/x) }",
        r"a { content: '\'url(/no)'; background: url(/x) }",
        "a { content: 'broken\n; background: url(/x) }",
        "a { background: url(data:image/png;base64,AAAA), url(/x) }",
        "a { background: url(/x",
        "a { background: url('/x",
        "a { background: url(/x#part) }",
        "url(bad url(/no) url(/x)",
    ],
)
def test_each_way_to_write_it(css: str) -> None:
    """One link, whatever stands around it."""
    assert css_leads(css.encode(), None).links == (Link("/x", Kind.REQUISITE),)


@pytest.mark.parametrize("css", ["", "a { color: red }", "/* url(/no)", "'url(/no)'", "curl(/no)", "url()", "url('')"])
def test_what_is_none(css: str) -> None:
    """Comments, strings, other functions."""
    assert css_leads(css.encode(), None).links == ()


@pytest.mark.parametrize("page", ["\ufeffa{b:url(/é)}".encode("utf-16le"), "a{b:url(/é)}".encode()])
def test_charsets(page: bytes) -> None:
    """UTF-8, unless a byte order mark says otherwise."""
    assert [link.href for link in css_leads(page, None).links] == ["/é"]


@given(st.text(st.sampled_from("url(@import )'\"\\/*\n-x") | st.characters(), max_size=80))
def test_nothing_raises(css: str) -> None:
    """Whatever it is: texts."""
    assert all(isinstance(url, str) for url in css_urls(css))
    css_leads(css.encode("utf-8", "surrogatepass"), "windows-1252")


@pytest.mark.parametrize(
    "unit", ["url(", "/*", "@import ", "\\", "url('", "'\\", "@import/*", "image-set(", "url(\\", "url( ", "("]
)
def test_it_is_linear(unit: str) -> None:
    """Two megabytes of anything are read in a second or two."""
    css = unit.encode() * (2_000_000 // len(unit))
    before = time.process_time()
    css_leads(css, None)
    assert time.process_time() - before < 2.5


def test_a_large_sheet_is_read_up_to_a_bound() -> None:
    """And the warning says so."""
    found = css_leads(b"a{b:url(/1)}" + b" " * LARGEST + b"a{b:url(/2)}", None)
    assert [link.href for link in found.links] == ["/1"]
    assert found.warning is not None
    assert "bytes" in found.warning
