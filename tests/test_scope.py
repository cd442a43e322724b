"""Scope: the sites of the seeds, and what is allowed of them."""

from __future__ import annotations

from typing import Any

import pytest
from publicsuffixlist import PublicSuffixList

from crawler.jobcrawl import Crawl
from crawler.scope import Scope, Why

SUFFIXES = PublicSuffixList()


def registrable(host: str) -> str | None:
    """As the job has it: an address has none."""
    found: str | None = (
        None if host.startswith("[") or host.replace(".", "").isdigit() else SUFFIXES.privatesuffix(host)
    )
    return found


def scope(*seeds: str, **said: Any) -> Scope:
    """A scope that these seeds admitted."""
    found = Scope(Crawl.model_validate(said), registrable)
    for seed in seeds:
        found.admit(seed)
    return found


@pytest.mark.parametrize(
    ("kind", "inside", "outside"),
    [
        (
            "host",
            ["http://www.a.co.uk/", "https://www.a.co.uk:8443/x?y"],
            ["https://a.co.uk/", "https://x.www.a.co.uk/", "https://b.example/?www.a.co.uk/", "http://10.0.0.1/"],
        ),
        (
            "domain",
            ["https://a.co.uk/", "http://x.www.a.co.uk:81/"],
            ["https://b.co.uk/", "https://co.uk/", "https://aa.co.uk/", "http://10.0.0.1/"],
        ),
        (
            "prefix",
            ["http://www.a.co.uk/docs/", "https://www.a.co.uk/docs/x/y?z=/", "https://www.a.co.uk/docs/?"],
            [
                "https://www.a.co.uk/docs",
                "https://www.a.co.uk/docsx/",
                "https://www.a.co.uk/",
                "https://www.a.co.uk/x/docs/",
                "https://www.a.co.uk:81/docs/",
                "https://a.co.uk/docs/",
                "https://b.example/?www.a.co.uk/docs/",
                "https://www.a.co.uk/?/docs/",
            ],
        ),
        ("any", ["http://10.0.0.1/", "https://b.example/"], []),
    ],
)
def test_what_is_inside(kind: str, inside: list[str], outside: list[str]) -> None:
    """Of the seed's host with all its ports, its registrable domain, its folder; http and https are one site."""
    rules = scope("https://www.a.co.uk/docs/index.html?a=/b/", scope=kind)
    assert [url for url in inside if rules.why_not(url) is not None] == []
    assert [url for url in outside if rules.why_not(url) is not Why.OUT_OF_SCOPE] == []


@pytest.mark.parametrize("kind", ["host", "domain"])
def test_an_address_is_a_site_of_its_own(kind: str) -> None:
    """It has no domain; another one is outside, and inside where a seed names it."""
    rules = scope("http://127.0.0.1:8080/", "http://[::1]/", scope=kind)
    assert rules.why_not("http://127.0.0.1/x") is None
    assert rules.why_not("http://[::1]:81/x") is None
    assert rules.why_not("http://127.0.0.2/") is Why.OUT_OF_SCOPE


@pytest.mark.parametrize("kind", ["host", "domain", "prefix"])
def test_a_place_is_told_once_and_outlives_a_restart(kind: str) -> None:
    """What `admit` returns makes the same scope in the next run."""
    rules = scope(scope=kind)
    seeds = ["https://a.example/docs/x", "http://a.example/docs/y?z", "https://b.example:8080/"]
    places = [rules.admit(seed) for seed in seeds]
    assert places[0] is not None
    assert places[1] is None
    assert places[2] is not None
    again = Scope(Crawl.model_validate({"scope": kind}), registrable, [place for place in places if place])
    assert [again.why_not(seed) for seed in seeds] == [None, None, None]
    assert again.admit(seeds[0]) is None
    assert again.why_not("https://c.example/") is Why.OUT_OF_SCOPE


def test_any_scope_has_no_places() -> None:
    """There is nothing to remember."""
    assert scope(scope="any").admit("https://a.example/") is None


def test_deny_goes_before_allow() -> None:
    """Both are searched for in the whole URL; one of several is enough."""
    rules = scope("https://a.example/", allow=["/docs/", r"\?page="], deny=[r"\.zip$", "/docs/old/"])
    assert rules.why_not("https://a.example/docs/x") is None
    assert rules.why_not("https://a.example/?page=2") is None
    assert rules.why_not("https://a.example/x") is Why.NOT_ALLOWED
    assert rules.why_not("https://a.example/docs/old/x") is Why.DENIED
    assert rules.why_not("https://a.example/docs/x.zip") is Why.DENIED
    assert rules.why_not("https://b.example/docs/x") is Why.OUT_OF_SCOPE


def test_long_urls_are_left() -> None:
    """Before any expression is searched for in them: that bounds how long it may take."""
    rules = scope("https://a.example/", deny=["z"], max_url_length=30)
    assert rules.why_not("https://a.example/" + "y" * 12) is None
    assert rules.why_not("https://a.example/" + "z" * 13) is Why.TOO_LONG


def test_requisites_may_stand_elsewhere() -> None:
    """If the job says so; `allow` is about pages, `deny` about all."""
    here, far = "https://a.example/logo.png", "https://cdn.example/x.css"
    rules = scope("https://a.example/docs/", allow=["/docs/"], deny=["ads"], requisites=True)
    assert rules.why_not(here, requisite=True) is None
    assert rules.why_not(far, requisite=True) is Why.OUT_OF_SCOPE
    rules = scope("https://a.example/", requisites=True, requisites_anywhere=True, deny=["ads"])
    assert rules.why_not(far, requisite=True) is None
    assert rules.why_not(far) is Why.OUT_OF_SCOPE
    assert rules.why_not("https://ads.example/x.js", requisite=True) is Why.DENIED


def test_some_pages_go_first() -> None:
    """Those that one of the expressions finds."""
    rules = scope("https://a.example/", prefer=["/news/", "today"])
    assert rules.preferred("https://a.example/news/1")
    assert not rules.preferred("https://a.example/old")
    assert not scope().preferred("https://a.example/news/1")
