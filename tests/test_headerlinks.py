"""Links of the head of an answer."""

from __future__ import annotations

import pytest

from crawler.headerlinks import header_leads
from crawler.links import NOTHING, Kind, Link


def test_nothing_is_said() -> None:
    """Of an answer without such headers."""
    assert header_leads([], None, {"Content-Type": "text/html"}, "ourbot") == NOTHING


@pytest.mark.parametrize("relation", ["canonical", "NEXT", "prev", "alternate", '"alternate nofollow"'])
def test_links(relation: str) -> None:
    """Those that lead to a page of the same matter."""
    found = header_leads([f"</x#y>; rel={relation}, </no>; rel=stylesheet"], None, {}, "ourbot")
    assert found.links == (Link("/x", Kind.HEADER, "nofollow" in relation),)


def test_links_of_others_do_not_count() -> None:
    """What has an anchor is a link of another resource (RFC 8288, 3.2)."""
    assert header_leads(['</x>; rel=next; anchor="/other"', "broken"], None, {}, "ourbot").links == ()


def test_refresh() -> None:
    """The header leads as the tag of that name does."""
    assert header_leads([], "0; url=/x", {}, "ourbot").links == (Link("/x", Kind.REFRESH),)
    assert header_leads([], "5", {}, "ourbot").links == ()


@pytest.mark.parametrize(("value", "asked"), [("nofollow", True), ("ourbot: none", True), ("other: nofollow", False)])
def test_nofollow(value: str, asked: bool) -> None:
    """X-Robots-Tag speaks for all links."""
    assert header_leads(["</x>; rel=next"], None, {"x-robots-tag": value}, "ourbot").nofollow is asked
