"""Which links become requests, and which redirects are followed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.discovery import NAMED, Discovery
from crawler.errors import Reason
from crawler.fingerprints import fingerprint
from crawler.jobcrawl import Crawl
from crawler.links import Kind, Leads, Link
from crawler.model import Fetched, Request, Row, Timing
from crawler.scope import Scope
from crawler.spool import EMPTY
from crawler.traps import Traps

SEED = "http://a.example/"


def discovery(*, traps: bool = False, seed: str | None = SEED, **said: object) -> Discovery:
    """A crawl of a.example, its seed known."""
    crawl = Crawl.model_validate(said)
    made = Discovery(
        crawl,
        Scope(crawl, lambda host: None),
        Traps(crawl.traps) if traps else None,
        lambda host: f"key of {host}",
        {},
        made=lambda row: (Request(0, row.url, "a.example"), fingerprint("GET", row.url, None)),
    )
    if seed is not None:
        made.seed(Request(1, seed, "a.example"))
        made.seen.add(fingerprint("GET", seed, None))
    return made


def page(url: str = SEED, *links: Link | str, depth: int = 0, nofollow: bool = False, **more: object) -> Fetched:
    """A page with these links, by default of <a>."""
    request = Request(1, url, "a.example", depth=depth)
    outcome = Fetched(request, "", 200, {}, EMPTY, Timing(0.0))
    given_ = tuple(link if isinstance(link, Link) else Link(link, Kind.A) for link in links)
    outcome.leads = Leads(given_, nofollow=nofollow)
    for name, value in more.items():
        setattr(outcome, name, value)
    return outcome


def found(crawl: Discovery, outcome: Fetched) -> list[str]:
    """Where the new requests of a page go."""
    return [request.url for piece in crawl.found(outcome) for request in piece]


def test_a_link_becomes_a_request_once() -> None:
    """However it is spelled and wherever it stands; the request knows who led to it, and how far it is."""
    crawl = discovery()
    [[request]] = list(crawl.found(page(SEED, "/b", "b", "http://A.example:80/x/../b#c")))
    assert (request.url, request.host, request.depth, request.referrer) == (
        "http://a.example/b",
        "key of a.example",
        1,
        SEED,
    )
    assert found(crawl, page("http://a.example/b", "/b", "/c", "/", depth=1)) == ["http://a.example/c"]
    assert (crawl.counts["links"], crawl.counts["pages"], crawl.counts["known"]) == (6, 3, 4)


@given(st.lists(st.lists(st.sampled_from([f"/{n}" for n in range(12)]), max_size=8), max_size=6))
def test_no_url_is_requested_twice(pages: Sequence[Sequence[str]]) -> None:
    """Whatever links to what."""
    crawl = discovery()
    urls = [url for number, links in enumerate(pages) for url in found(crawl, page(f"{SEED}p{number}", *links))]
    assert len(urls) == len(set(urls)) == len({link for links in pages for link in links})


def test_what_is_refused_is_counted_by_why() -> None:
    """Scope, deny, depth, nofollow, schemes and bounds, each under its name."""
    crawl = discovery(deny=["/no"], depth=2)
    links = ["http://b.example/", "/no", "javascript:x", "mailto:a@b", Link("/quiet", Kind.A, nofollow=True), "/yes"]
    assert found(crawl, page(SEED, *links)) == ["http://a.example/yes"]
    assert found(crawl, page("http://a.example/yes", "/deeper", depth=2)) == []
    counted = {why: crawl.counts[why] for why in ("out-of-scope", "denied", "scheme", "nofollow", "too-deep")}
    assert counted == {"out-of-scope": 1, "denied": 1, "scheme": 2, "nofollow": 1, "too-deep": 1}


def test_nofollow_of_a_page_holds_for_all_its_links_unless_it_is_ignored() -> None:
    """A link that was not followed here is followed from elsewhere."""
    crawl = discovery()
    assert found(crawl, page(SEED, "/x", nofollow=True)) == []
    assert found(crawl, page(SEED, "/x")) == ["http://a.example/x"]
    assert found(discovery(nofollow="ignore"), page(SEED, "/x", nofollow=True)) == ["http://a.example/x"]


@pytest.mark.parametrize(("said", "allowed"), [({"max_pages": 3}, 2), ({"max_pages_per_host": 2}, 1)])
def test_bounds_on_pages_are_exact(said: dict[str, int], allowed: int) -> None:
    """The seed counts; what is beyond is not remembered as seen, but counted."""
    crawl = discovery(**said)
    assert len(found(crawl, page(SEED, *(f"/{n}" for n in range(5))))) == allowed
    assert sum(crawl.counts.get(why, 0) for why in ("max-pages", "max-pages-per-host")) == 5 - allowed


def test_requisites_are_fetched_at_any_depth_and_lead_to_requisites_alone() -> None:
    """With requisites_anywhere they may be out of scope."""
    crawl = discovery(requisites=True, requisites_anywhere=True, depth=0)
    image = Link("http://cdn.example/i.css", Kind.REQUISITE)
    [[request]] = list(crawl.found(page(SEED, image, "/next")))
    assert (request.url, request.requisite, request.depth) == ("http://cdn.example/i.css", True, 1)
    style = page(request.url, Link("f.woff", Kind.REQUISITE), "/page")
    style.request.requisite = True
    assert found(crawl, style) == ["http://cdn.example/f.woff"]


def test_sitemaps_and_preferred_pages_are_urgent() -> None:
    """By pattern, by a sitemap's priority, and indexes; what a sitemap names is one link from its seed."""
    crawl = discovery(prefer=["/news/"], depth=1)
    links = [
        Link("/s2.xml", Kind.SITEMAP, is_index=True),
        Link("/hot", Kind.SITEMAP, priority=0.9),
        Link("/cold", Kind.SITEMAP, priority=0.2),
        Link("/news/1", Kind.SITEMAP),
    ]
    [requests] = list(crawl.found(page("http://a.example/sitemap.xml", *links, depth=1)))
    assert [(request.urgent, request.depth) for request in requests] == [(True, 1), (True, 1), (False, 1), (True, 1)]


def test_sitemaps_of_a_seeds_site_are_asked_for_once() -> None:
    """Those that robots.txt names, wherever they are; else the usual place."""
    crawl = discovery(sitemaps=True)
    seed = Request(1, SEED, "a.example")
    assert crawl.wants_sitemaps(seed)
    named = crawl.sitemaps("http://a.example", ["http://cdn.example/s.xml", "/t.xml", "javascript:x"])
    assert [request.url for request in named] == ["http://cdn.example/s.xml", "http://a.example/t.xml"]
    assert not crawl.wants_sitemaps(seed)
    assert [request.url for request in discovery(sitemaps=True).sitemaps("http://a.example", [])] == [
        "http://a.example/sitemap.xml"
    ]


def test_a_redirect_is_judged_as_a_link_is() -> None:
    """Out of scope it is not followed; to what is fetched anyway neither; back to itself it is (a cookie was set)."""
    crawl = discovery()
    [[first, second]] = list(crawl.found(page(SEED, "/1", "/2")))
    assert crawl.hop(first, "http://b.example/")[0] is not None
    fault, _ = crawl.hop(first, "http://a.example/2")
    assert fault is not None
    assert fault.reason is Reason.KNOWN
    assert crawl.hop(first, "http://a.example/3") == (None, [])
    fault, _ = crawl.hop(second, "http://a.example/3")
    assert fault is not None, "the first stands for it"
    assert crawl.hop(second, second.seed) == (None, [])


def test_where_a_seeds_redirect_leads_is_a_seed() -> None:
    """It widens the scope, to be remembered, but its host is none that the input names."""
    crawl = discovery()
    seed = Request(1, SEED, "a.example")
    assert crawl.hop(seed, "http://www.a.example/") == (None, ["www.a.example"])
    assert found(crawl, page("http://www.a.example/", "/x")) == ["http://www.a.example/x"]
    assert crawl.names("a.example")
    assert not crawl.names("www.a.example")


def test_what_a_request_claimed_is_told_at_its_end() -> None:
    """All URLs that it stood at, but its own, which its row holds."""
    request = Request(1, "http://a.example/3", "a.example")
    request.seed, request.hops = "http://a.example/1", ("http://a.example/1", "http://a.example/2")
    prints = [fingerprint("GET", f"http://a.example/{n}", None) for n in (2, 3)]
    assert discovery().claimed(request) == prints
    assert discovery().claimed(Request(1, SEED, "a.example")) == []


def test_a_seed_is_told_to_whoever_keeps_it() -> None:
    """The origin that it names, and the place that it brings into scope; once each."""
    crawl = discovery(seed=None, scope="prefix")
    assert crawl.seed(Request(1, "http://a.example/docs/x", "")) == [f"{NAMED}http://a.example", "a.example/docs/"]
    assert crawl.seed(Request(2, "http://a.example/docs/y", "")) == []


def test_what_a_function_asks_for_is_held_to_scope_and_bounds() -> None:
    """But not to nofollow; what cannot be a request is one that says so."""
    crawl = discovery(max_pages=3)
    rows = [
        Row(None, f"http://{host}/")
        for host in ("a.example/f", "b.example", "a.example/f", "a.example/g", "a.example/h")
    ]  # type: ignore[arg-type]
    assert found(crawl, page(SEED, follows=rows, nofollow=True)) == ["http://a.example/f/", "http://a.example/g/"]


def test_very_many_links_come_in_pieces() -> None:
    """So that others get their turn between."""
    pieces = list(discovery().found(page(SEED, *(f"/{n}" for n in range(2500)))))
    assert [len(piece) for piece in pieces] == [1000, 1000, 500]


def test_barren_pages_stop_their_pattern() -> None:
    """Pages that say the same again and again: their links of the same pattern are left, and told."""
    crawl = discovery(traps=True)
    for number in range(60):
        found(crawl, page(f"http://a.example/d/{number}", f"/d/{number + 1}", likeness=7))
    [(pattern, count)] = crawl.stopped()
    assert pattern.endswith("/d/#")
    assert count == crawl.counts["trap-alike"] > 0
    assert crawl.traps_state() is not None
