"""The text of links: what is kept of it, and how many of them."""

from __future__ import annotations

import can_ada
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crawler import hreftext
from crawler.hreftext import MAX_HREF, Gathered, cleaned
from crawler.links import Kind, Link


@example("HTTPS:")
@example(" //#x")
@given(st.text(st.sampled_from("ab/?#:&%. \t\n\r\f") | st.characters(exclude_categories=["Cs", "Cc"]), max_size=40))
def test_cleaning_changes_no_url(text: str) -> None:
    """A cleaned link leads where the URL standard says that the written one does, but for its fragment."""
    kept = cleaned(text)
    if kept:
        assert _led_to(kept) == _led_to(text)
    else:
        assert not text.strip() or "#" in text or ":" in text


def _led_to(text: str) -> str | None:
    """Where a link of a page leads, without its fragment; None for what is no link, such as "//" or "https:"."""
    try:
        found = can_ada.parse("http://h.example/a/b?c") + text
    except ValueError:
        return None
    found.hash = ""
    return str(found.href)


@pytest.mark.parametrize(
    "text", ["", " ", "#x", " #", "javascript:x", "\x01JAVASCRIPT:x", "mailto:a", "x" * (MAX_HREF + 1)]
)
def test_what_leads_nowhere(text: str) -> None:
    """It is "", which is never gathered."""
    gathered = Gathered()
    gathered.add(text, Kind.A)
    assert cleaned(text) == ""
    assert gathered.links == ()


@pytest.mark.parametrize("text", ["file:///x", "javascript/x", "x:y", "data", "./data:x", "x" * MAX_HREF])
def test_what_may_lead_somewhere(text: str) -> None:
    """It is for others to judge."""
    assert cleaned(text) == text


def test_a_link_is_nofollow_only_if_all_of_it_are() -> None:
    """It keeps the place and the kind that it had first."""
    gathered = Gathered()
    for text, nofollow in (("/1", True), ("/2", False), ("/1", False), ("/2", True)):
        gathered.add(text, Kind.A, nofollow)
    assert gathered.links == (Link("/1", Kind.A), Link("/2", Kind.A))


def test_there_is_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Links that are known already do not count against it."""
    monkeypatch.setattr(hreftext, "MAX_LINKS", 2)
    gathered = Gathered()
    for text in ("/1", "/2", "/1", "/2"):
        gathered.add(text, Kind.A)
    assert gathered.warning is None
    gathered.add("/3", Kind.REQUISITE)
    assert len(gathered.links) == 2
    assert gathered.warning is not None
