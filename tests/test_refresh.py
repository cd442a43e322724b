"""Refresh: where it leads, in all its spellings."""

from __future__ import annotations

import pytest

from crawler.refresh import target


@pytest.mark.parametrize(
    "content",
    [
        "0;url=/x",
        "5; url='/x'",
        '5; URL="/x"',
        "5 url=/x",
        "5, url = /x",
        " 5.5 ; url=/x ",
        ".5;url=/x",
        "5;/x",
        "5; /x",
        "5; url='/x' trailing",
        "5; url='/x",
        "\n5\n;\nurl\n=\n/x",
    ],
)
def test_where_it_leads(content: str) -> None:
    """Quotes, case, white space and the separators of the standard."""
    assert target(content) == "/x"


@pytest.mark.parametrize(
    "content", ["", "5", "5;", "5; url=", "5; url=''", "url=/x", "x;url=/x", "-1;url=/x", "5url=/x"]
)
def test_where_it_does_not(content: str) -> None:
    """Only a reload, or not to be read."""
    assert target(content) is None


def test_a_path_may_begin_like_url() -> None:
    """Without "=" it is a relative link (the standard's steps 10 to 13)."""
    assert target("0; urls/x") == "urls/x"
