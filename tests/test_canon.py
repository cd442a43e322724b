"""Canonical URLs of links: what the standard says, spelled in one way, whatever stands in a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.canon import SESSIONS, TRACKING, Canon, Joiner
from crawler.jobcrawl import Crawl
from crawler.urls import MAX_LENGTH, BadURL, parse

PAGE = "https://a.example/docs/page.html?x=1"
CASES = json.loads((Path(__file__).parent / "data" / "urltestdata.json").read_text("utf-8"))
STANDARD = [case for case in CASES if isinstance(case, dict)]

ANY = st.text(max_size=60)
LIKELY = st.text("ab1/.?#&=;:@%2eE \t\\[]+~\u00e9\U0001f600\x01\x7f\ud800", max_size=40)
HREF = st.one_of(ANY, LIKELY, LIKELY.map("//b.example/{}".format), LIKELY.map("HTTP://u:p@B.example:80/{}".format))
OPTIONS = st.builds(
    lambda **said: Crawl.model_validate(said),
    sort_query=st.booleans(),
    drop_tracking=st.booleans(),
    drop_params=st.sampled_from(((), ("a",), ("b*", "1"))),
)


def canon(**said: Any) -> Canon:
    """The canonical form under these options."""
    return Canon(Crawl.model_validate(said))


def test_the_standards_cases_come_out_as_it_says() -> None:
    """Each of them that is http(s), without its fragment and userinfo; what it calls a failure leads nowhere."""
    wrong, counted = [], 0
    for case in STANDARD:
        scheme = case["input"].strip().lower().partition(":")[0]
        base = case["base"] or ("http://none.invalid/" if scheme == "https" else "https://none.invalid/")
        if not base.startswith(("http://", "https://")) or (case["base"] is None and scheme not in ("http", "https")):
            continue
        counted += 1
        if Joiner(base).join(case["input"]) != expected(case):
            wrong.append(case["input"])
    assert counted > 400
    assert wrong == []


def expected(case: dict[str, Any]) -> str | None:
    """The standard's href, without what is no part of a request; None where it is none of ours."""
    if case.get("failure") or case["protocol"] not in ("http:", "https:"):
        return None
    assert isinstance(case["href"], str)
    return f"{case['protocol']}//{case['host']}{case['pathname']}{case['search'] or query_mark(case['href'])}"


def query_mark(href: str) -> str:
    """An empty query is part of the URL, though `search` does not tell it."""
    return "?" if href.partition("#")[0].endswith("?") else ""


@given(HREF, OPTIONS)
def test_what_comes_out_is_canonical(href: str, said: Crawl) -> None:
    """For urls.parse, for any page, and for itself: joined to whatever page once more, it is the same."""
    whole = Canon(said)
    found = whole.joiner(PAGE).join(href)
    if found is not None:
        assert parse(found).href == found
        assert whole.joiner("http://b.example/other/?y").join(found) == found
        assert whole.canonical(found) == whole.spelled(found) == found


@given(HREF)
def test_it_is_what_urls_parse_gives(href: str) -> None:
    """Where that takes the URL at all: a list's URL and a page's link to it are one."""
    try:
        found = parse(href).href
    except BadURL:
        return
    assert Joiner(PAGE).join(href) == found


@given(LIKELY, st.text("ab# \t", max_size=5))
def test_a_fragment_changes_nothing(href: str, fragment: str) -> None:
    """Nor does a link's having been joined before."""
    joiner, last = Joiner(PAGE), href[-1:]
    if "#" not in href and (not last or last > " "):
        assert joiner.join(f"{href}#{fragment}") == joiner.join(href) == Joiner(PAGE).join(href)


@pytest.mark.parametrize(
    ("href", "why"),
    [
        ("javascript:alert(1)", "scheme"),
        ("data:text/html,x", "scheme"),
        ("file:///etc/passwd", "scheme"),
        ("mailto:x@a.example", "scheme"),
        ("ftp://a.example/", "scheme"),
        ("http://", "bad"),
        ("http://a b/", "bad"),
        ("http://[::1", "bad"),
        ("http://1.2.3.4.5/", "bad"),
        ("x" * (MAX_LENGTH + 1), "long"),
        ("\u00e9" * (MAX_LENGTH // 3), "long"),
    ],
)
def test_what_leads_nowhere_is_counted(href: str, why: str) -> None:
    """By why, once a page."""
    joiner = Joiner(PAGE)
    assert joiner.join(href) is None
    assert joiner.join(href) is None
    assert joiner.refused == {why: 1}


def test_credentials_are_dropped() -> None:
    """The link is followed without them."""
    joiner = Joiner(PAGE)
    assert joiner.join("//me:secret@b.example/x") == "https://b.example/x"
    assert joiner.join("http://@b.example/") == "http://b.example/"
    assert joiner.refused == {"credentials": 1}
    assert "secret" not in repr(joiner)


@pytest.mark.parametrize(
    ("base", "joined"),
    [
        (None, "https://a.example/docs/x"),
        ("/other/", "https://a.example/other/x"),
        ("//b.example/1/2", "https://b.example/1/x"),
        ("?", "https://a.example/docs/x"),
        ("http://u:p@b.example/#f", "http://b.example/x"),
        ("javascript:alert(1)//", "https://a.example/docs/x"),
        ("data:text/html,", "https://a.example/docs/x"),
        ("file:///etc/", "https://a.example/docs/x"),
        ("http://[", "https://a.example/docs/x"),
        ("/\ud800/", "https://a.example/%EF%BF%BD/x"),
        ("/" * 20_000, "https://a.example/docs/x"),
    ],
)
def test_a_base_is_taken_where_it_is_one(base: str | None, joined: str) -> None:
    """A hostile or broken one is as if it were not there."""
    assert Joiner(PAGE, base).join("x#y") == joined


@pytest.mark.parametrize(
    ("href", "spelled"),
    [
        ("?b=2&a=1", "?a=1&b=2"),
        ("?b=2&a=z&a=y&&b", "?&a=z&a=y&b=2&b"),
        ("?a=%2F+%20&A=", "?A=&a=%2F+%20"),
        ("?", "?"),
        ("", ""),
    ],
)
def test_a_query_is_sorted_by_name(href: str, spelled: str) -> None:
    """Values of one name keep their order, empty ones stay, and nothing is encoded anew."""
    assert canon(sort_query=True).canonical(f"http://a.example/{href}") == f"http://a.example/{spelled}"
    assert canon().canonical(f"http://a.example/{href}") == f"http://a.example/{href}"


@pytest.mark.parametrize(
    ("href", "spelled"),
    [
        ("?utm_source=x&id=7&fbclid=", "?id=7"),
        ("?UTM%5Fsource=x&gclid=1", ""),
        ("?id=7&PHPSESSID=1a2b", "?id=7"),
        ("?ASPSESSIONIDQQBBCCDD=X", ""),
        ("?sid=0123456789abcdef0123456789abcdef&x", "?x"),
        ("?sid=7&s=x", "?sid=7&s=x"),
        ("page;jsessionid=0A1B.node1?x=1", "page?x=1"),
        ("a;JSESSIONID=0A1B/b;v=2", "a/b;v=2"),
        ("?utm=1&xutm_a=2&gclid2=3", "?utm=1&xutm_a=2&gclid2=3"),
        ("?a=;jsessionid=1", "?a=;jsessionid=1"),
        ("?a=%75tm_source", "?a=%75tm_source"),
    ],
)
def test_who_came_from_where_is_dropped_if_asked_for(href: str, spelled: str) -> None:
    """Tracking parameters and session ids, in the query or the path; all else stays as it is spelled."""
    assert canon(drop_tracking=True).canonical(f"http://a.example/{href}") == f"http://a.example/{spelled}"
    assert canon().canonical(f"http://a.example/{href}") == f"http://a.example/{href}"


def test_each_name_of_the_lists_is_dropped() -> None:
    """None of them is written so that it matches nothing."""
    for name in (*TRACKING, *SESSIONS):
        assert (
            canon(drop_tracking=True).canonical(f"http://a.example/?{name.replace('*', 'x')}=1") == "http://a.example/"
        )


def test_names_of_the_job_are_dropped() -> None:
    """As globs of the decoded name, in its case; a query of which all goes is gone."""
    whole = canon(drop_params=["ref", "x_*", "[a]"])
    assert whole.canonical("http://a.example/?ref=1&Ref=2&x_1&x%5F2=&preref=") == "http://a.example/?Ref=2&preref="
    assert whole.canonical("http://a.example/?ref&x_=") == "http://a.example/"
    assert whole.canonical("http://a.example/?ref=1&&b=") == "http://a.example/?&b="
