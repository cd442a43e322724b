"""[crawl]: what a job may say, and what it is told where it may not."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from crawler.jobcrawl import NAVIGATION, Crawl
from crawler.links import Kind


def crawl(**said: Any) -> Crawl:
    """The section, as a job file says it."""
    return Crawl.model_validate(said)


def test_it_loads_back_from_what_it_says() -> None:
    """With everything said, and with nothing."""
    whole = crawl(
        depth=3, max_pages=100, max_pages_per_host=10, scope="prefix", allow=["a+"], deny="b", prefer=["c"],
        follow=["a", "sitemap"], nofollow="ignore", sitemaps=True, json="jmespath:items[].url", requisites=True,
        requisites_anywhere=True, sort_query=True, drop_params=["ref", "x_*"], drop_tracking=True, max_url_length=500,
        prefer_priority=0.5, traps={"repeats": 5, "combinations": 100, "alike": 9},
    )  # fmt: skip
    for said in (whole, crawl(), crawl(traps=False)):
        assert Crawl.model_validate(said.model_dump(mode="json", by_alias=True, exclude_none=True)) == said


def test_one_of_several_needs_no_brackets() -> None:
    """As elsewhere in a job."""
    assert crawl(allow="x", drop_params="y", follow="link").follow == (Kind.LINK,)
    assert crawl(allow="x").allow == ("x",)


def test_true_and_false_stand_for_the_table_of_traps() -> None:
    """On by default."""
    assert crawl().traps.on
    assert crawl(traps=True) == crawl()
    assert not crawl(traps=False).traps.on


def test_kinds_are_those_that_are_followed_or_fetched() -> None:
    """The navigation; links in JSON and requisites where they are asked for."""
    assert crawl().kinds == set(NAVIGATION)
    assert crawl(follow=["a"], json="jmespath:x", requisites=True).kinds == {Kind.A, Kind.DATA, Kind.REQUISITE}
    assert set(Kind) == {*NAVIGATION, Kind.DATA, Kind.REQUISITE}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"follow": ["requisite"]}, "requisites = true"),
        ({"follow": "data"}, "json = 'jmespath:…'"),
        ({"follow": ["a", "a"]}, "'a' stands there twice"),
        ({"follow": ["href"]}, "'iframe'"),
        ({"allow": ["(a"]}, "no regular expression: missing ), unterminated subpattern at character 1"),
        ({"deny": ["*.html"]}, "at character 1; did you mean '.*.html'?"),
        ({"prefer": ["a{99999999999999}"]}, "too much"),
        ({"allow": [""]}, "at least 1 character"),
        ({"allow": ["x", "x"]}, "'x' stands there twice"),
        ({"drop_params": ["?ref=x"]}, "write 'ref'"),
        ({"drop_params": ["a b"]}, "such as 'ref'"),
        ({"drop_params": ["**"]}, "would drop every query"),
        ({"json": "items[].url"}, "did you mean 'jmespath:items[].url'?"),
        ({"requisites_anywhere": True}, "is of requisites = true"),
        ({"sitemaps": True, "follow": ["a"]}, "does not name 'sitemap'"),
        ({"max_pages": 5, "max_pages_per_host": 6}, "bounds nothing"),
        ({"traps": {"on": False, "alike": 4}}, "alike means nothing"),
        ({"traps": {"alike": 0}}, "greater than or equal to 1"),
        ({"depth": -1}, "greater than or equal to 0"),
        ({"max_url_length": 100_000}, "less than or equal to 16384"),
        ({"scope": "site"}, "'host', 'domain', 'prefix' or 'any'"),
    ],
)
def test_what_cannot_be_is_told(said: dict[str, Any], told: str) -> None:
    """With what would be right."""
    with pytest.raises(ValidationError) as caught:
        crawl(**said)
    assert told in str(caught.value)
