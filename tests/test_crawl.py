"""Whole crawls in this process: which pages are fetched, which not, and what is told of both."""

from __future__ import annotations

import csv
import gc
import gzip
import os
import signal
import sys
from collections.abc import AsyncIterator
from io import StringIO
from pathlib import Path
from typing import Any

import orjson
import pytest

from crawler.errors import ExitCode
from crawler.jobfile import LoadedJob
from crawler.picking import Picked
from tests.crawlsite import Crawled, crawl, html, job, moved, page, pins, ran, site_of, urlset, xml
from tests.servers import Answer, Asked, RawSite, reply

pytestmark = pytest.mark.slow

A, B, C = "a.example.org", "b.example.org", "c.example.org"


# -- scope ------------------------------------------------------------------------------------------------------------


async def test_each_page_of_a_site_is_fetched_once(tmp_path: Path) -> None:
    """Links in any spelling lead to one request a page; what is not there is a finding, and no failure of the crawl."""
    pages = {
        "/": html("/a", "a#top", "./b/../a", "/a?", "/b", "/gone", "mailto:a@b.example", "javascript:void(0)"),
        "/a": html("/", "b"),
        "/a?": html(),
        "/b": html("/", "/a", f"//{B}/x"),
    }
    async with site_of(pages) as site:
        done = await crawl(tmp_path, [site.url("/#start")])
        assert sorted(site.paths()) == ["/", "/a", "/a?", "/b", "/gone"]
    assert done.exit_code is ExitCode.OK
    assert done.of["/gone"]["reason"] == "status-404"
    assert done.of["/b"]["depth"] == 1
    assert done.of["/b"]["referrer"] == site.url("/")


async def test_a_crawl_fails_by_its_seeds_alone(tmp_path: Path) -> None:
    """Of dead links exit 0; of a dead seed exit 1."""
    async with site_of({"/": html("/dead")}) as site:
        assert (await crawl(tmp_path / "1", [site.url("/")])).exit_code is ExitCode.OK
        assert (await crawl(tmp_path / "2", [site.url("/"), site.url("/none")])).exit_code is ExitCode.FAILED


@pytest.mark.parametrize(
    ("scope", "reached"),
    [
        ("prefix", {"www.example.org/docs/", "www.example.org/docs/a"}),
        ("host", {"www.example.org/docs/", "www.example.org/docs/a", "www.example.org/x"}),
        ("domain", {"www.example.org/docs/", "www.example.org/docs/a", "www.example.org/x", "b.example.org/"}),
        (
            "any",
            {"www.example.org/docs/", "www.example.org/docs/a", "www.example.org/x", "b.example.org/", "example.com/"},
        ),
    ],
)
async def test_a_scope_is_kept(tmp_path: Path, scope: str, reached: set[str]) -> None:
    """Prefix, host, domain, any: each wider than the one before."""
    start = html("a", "/x", "http://b.example.org/", "http://example.com/")
    async with site_of({"/docs/": start, "/docs/a": html(), "/x": html(), "/": html()}) as site:
        connection = pins(site, "www.example.org", B, "example.com")
        done = await crawl(tmp_path, ["http://www.example.org/docs/"], {"scope": scope}, connection=connection)
        assert {f"{asked.host}{asked.path}" for asked in site.asked} == reached
    assert done.fetched == reached


async def test_allow_and_deny_choose_pages(tmp_path: Path) -> None:
    """The seed is fetched whatever they say; of links those that `allow` names and `deny` does not."""
    async with site_of({"/": html("/docs/1", "/docs/2.pdf", "/x"), "/docs/1": html()}) as site:
        done = await crawl(tmp_path, [site.url("/")], {"allow": "/docs/", "deny": [r"\.pdf$"]})
    assert done.ends == {"/": "fetched", "/docs/1": "fetched"}
    assert (done.summary["links"]["denied"], done.summary["links"]["not-allowed"]) == (1, 1)


@pytest.mark.parametrize("depth", [0, 1, 2])
async def test_depth_counts_clicks(tmp_path: Path, depth: int) -> None:
    """Of a chain of pages as many are fetched as clicks are allowed, and the seed."""
    async with site_of({f"/{n}": html(f"/{n + 1}", "/0") for n in range(5)}) as site:
        done = await crawl(tmp_path, [site.url("/0")], {"depth": depth})
    assert done.fetched == {f"/{n}" for n in range(depth + 1)}
    assert [done.of[f"/{n}"]["depth"] for n in range(depth + 1)] == list(range(depth + 1))


@pytest.mark.parametrize("most", [1, 7, 30])
async def test_max_pages_bounds_requests(tmp_path: Path, most: int) -> None:
    """Exactly as many as allowed are asked for, requisites and what is not there among them."""
    pages = {f"/{n}": html(*(f"/{n * 10 + m}" for m in range(10)), f"/gone{n}") for n in range(60)}
    async with site_of(pages) as site:
        done = await crawl(tmp_path, [site.url("/1")], {"max_pages": most})
        assert len(site.asked) == most
    assert len(done.records) == most
    assert done.summary["links"]["max-pages"] > 0


async def test_each_host_has_its_bound(tmp_path: Path) -> None:
    """max_pages_per_host is of each host by itself, whatever shares its pace."""
    links = [*(f"http://{A}/{n}" for n in range(10)), *(f"http://{B}/{n}" for n in range(10))]
    async with site_of({"/": html(*links), **{f"/{n}": html(*links) for n in range(10)}}) as site:
        said = {"max_pages_per_host": 4, "scope": "domain"}
        limits = {"politeness": "domain"}
        done = await crawl(tmp_path, [f"http://{A}/"], said, connection=pins(site, A, B), limits=limits)
        assert sorted(asked.host for asked in site.asked) == [A] * 4 + [B] * 4
    assert done.exit_code is ExitCode.OK


# -- redirects --------------------------------------------------------------------------------------------------------


async def test_a_redirect_out_of_scope_is_told_and_not_followed(tmp_path: Path) -> None:
    """Status and target stand in the record; nobody asks there."""
    pages = {"/": html("/away"), "/away": moved(f"http://{B}/x", 301)}
    async with site_of(pages) as site:
        done = await crawl(tmp_path, [f"http://{A}/"], connection=pins(site, A, B))
        assert {asked.host for asked in site.asked} == {A}
    record = done.of[f"{A}/away"]
    assert (record["outcome"], record["reason"], record["status"]) == ("skipped", "out-of-scope", 301)
    assert record["final_url"] == f"http://{B}/x"
    assert done.exit_code is ExitCode.OK


async def test_what_two_redirects_lead_to_is_fetched_once(tmp_path: Path) -> None:
    """One of them brings it, the other is `known`; a link to it asks no third time."""
    pages = {"/": html("/1", "/2", "/3"), "/1": moved("/t"), "/2": moved("/t"), "/3": html("/t"), "/t": html("/4")}
    async with site_of(pages) as site:
        done = await crawl(tmp_path, [site.url("/")], limits={"per_host": 1})
        assert site.paths().count("/t") == 1
        assert "/4" in site.paths()
    assert sorted([done.ends["/1"], done.ends["/2"]]) == ["fetched", "known"]


async def test_a_redirect_to_what_is_fetched_anyway_is_known(tmp_path: Path) -> None:
    """The home page under another name costs no second request for it."""
    pages = {"/": html("/home", "/a"), "/home": moved("/"), "/a": moved("/a/", 301), "/a/": html()}
    async with site_of(pages) as site:
        done = await crawl(tmp_path, [site.url("/")])
        assert sorted(site.paths()) == ["/", "/a", "/a/", "/home"]
    assert done.ends == {"/": "fetched", "/home": "known", "/a": "fetched"}
    assert done.of["/home"]["status"] == 302


async def test_a_site_that_moved_is_crawled_where_it_is(tmp_path: Path) -> None:
    """Where the redirect of a seed leads is in scope, with what its pages link to."""
    pages = {f"{A}/": moved(f"http://{B}/start"), "/start": html("/x", f"http://{A}/y"), "/x": html(), "/y": html()}
    async with site_of(pages) as site:
        done = await crawl(tmp_path, [f"http://{A}/"], connection=pins(site, A, B))
    assert done.fetched == {f"{A}/", f"{B}/x", f"{A}/y"}
    assert done.of[f"{A}/"]["final_url"] == f"http://{B}/start"


async def test_links_are_relative_to_where_a_redirect_led(tmp_path: Path) -> None:
    """And to <base>, where the page has one."""
    pages = {
        "/": html("/old"),
        "/old": moved("/new/page"),
        "/new/page": html("rel"),
        "/new/rel": html("deep", head='<base href="/based/">'),
        "/based/deep": html(),
    }
    async with site_of(pages) as site:
        done = await crawl(tmp_path, [site.url("/")])
    assert done.fetched == {"/", "/old", "/new/rel", "/based/deep"}


async def test_what_a_redirect_only_respells_is_fetched(tmp_path: Path) -> None:
    """Where a server adds a session id, or orders a query otherwise than we do, its page is still the one asked for."""
    pages = {
        "/": html("/p?b=2&a=1", "/q"),
        "/p?a=1&b=2": moved("/p?b=2&a=1"),
        "/p?b=2&a=1": html(),
        "/q": moved("/q?PHPSESSID=1"),
        "/q?PHPSESSID=1": html("/r"),
        "/r": html(),
    }
    async with site_of(pages) as site:
        done = await crawl(tmp_path, [site.url("/")], {"sort_query": True, "drop_tracking": True})
    assert done.fetched == {"/", "/p?a=1&b=2", "/q", "/r"}


async def test_a_redirect_out_of_scope_that_sets_a_cookie_is_not_followed(tmp_path: Path) -> None:
    """Also where cookies are kept, and what goes along changed by it."""
    away = reply(302, b"", {"Location": f"http://{B}/x", "Set-Cookie": "a=b"})
    async with site_of({"/": html("/away"), "/away": away}) as site:
        said = {"connection": pins(site, A, B), "cookies": {"jar": True}}
        done = await crawl(tmp_path, [f"http://{A}/"], **said)
        assert {asked.host for asked in site.asked} == {A}
    assert done.ends[f"{A}/away"] == "out-of-scope"


async def test_what_a_redirect_led_to_in_vain_is_made_again(tmp_path: Path) -> None:
    """`crawler retry` goes there once more, though it was there before."""
    pages = {"/": html("/1"), "/1": moved("/t"), "/t": reply(500)}
    async with site_of(pages) as site:
        first = await crawl(tmp_path, [site.url("/")])
        pages["/t"] = html("/2")
        second = await crawl(tmp_path, [site.url("/")], again=Picked())
    assert (first.ends["/1"], second.ends["/1"]) == ("status-500", "fetched")
    assert "/2" in second.ends


# -- what pages and sites ask for -------------------------------------------------------------------------------------


async def test_robots_are_obeyed_unless_a_job_says_otherwise(tmp_path: Path) -> None:
    """Without a word of the job: what is disallowed ends as `robots`, unasked."""
    pages = {
        "/robots.txt": page("User-agent: *\nDisallow: /no", "text/plain"),
        "/": html("/no/1", "/yes"),
        "/yes": html(),
        "/no/1": html(),
    }
    async with site_of(pages) as site:
        done = await crawl(tmp_path, [site.url("/")], limits=None)
        assert site.paths()[0] == "/robots.txt"
        assert "/no/1" not in site.paths()
    assert done.ends == {"/": "fetched", "/no/1": "robots", "/yes": "fetched"}
    assert done.exit_code is ExitCode.OK


NOFOLLOW = {
    "/": page('<a rel="nofollow ugc" href="/1">x</a><a href="/meta">x</a><a href="/header">x</a><a href="/ok">x</a>'),
    "/meta": html("/2", head='<meta name="robots" content="noindex, NOFOLLOW">'),
    "/header": html("/3", X_Robots_Tag="nofollow"),
    "/ok": html(),
    **{f"/{n}": html() for n in (1, 2, 3)},
}


async def test_nofollow_is_obeyed(tmp_path: Path) -> None:
    """At a link, in a page's head, in its header."""
    async with site_of(NOFOLLOW) as site:
        done = await crawl(tmp_path, [site.url("/")])
    assert done.fetched == {"/", "/meta", "/header", "/ok"}
    assert done.summary["links"]["nofollow"] == 3


async def test_nofollow_may_be_ignored(tmp_path: Path) -> None:
    """Where the job says so."""
    async with site_of(NOFOLLOW) as site:
        done = await crawl(tmp_path, [site.url("/")], {"nofollow": "ignore"})
    assert done.fetched == set(NOFOLLOW)


# -- requisites -------------------------------------------------------------------------------------------------------

STYLED = {
    f"{A}/": page(
        '<link rel=stylesheet href="/s.css"><script src="/j.js"></script><img src="/i.png" srcset="/i2.png 2x">'
        f'<img src="http://{B}/far.png"><a href="/next">x</a><p style="background: url(inline.png)">x</p>'
    ),
    "/s.css": page('@import "more.css"; p { background: url("/bg.png") }', "text/css"),
    "/more.css": page("q { background: url(deep.png) }", "text/css"),
    "/next": html("/deeper"),
    "/j.js": page("location = '/not-a-link'", "text/javascript"),
    **{f"/{name}.png": page("PNG", "image/png") for name in ("i", "i2", "bg", "deep", "inline", "far")},
}


async def test_what_pages_need_is_fetched(tmp_path: Path) -> None:
    """Images, scripts, style sheets and what these name, even of pages at the last depth; none of another host."""
    async with site_of(STYLED) as site:
        said = {"requisites": True, "depth": 0}
        done = await crawl(tmp_path, [f"http://{A}/"], said, connection=pins(site, A, B))
        assert {asked.host for asked in site.asked} == {A}
    names = ("", "s.css", "more.css", "j.js", "i.png", "i2.png", "bg.png", "deep.png", "inline.png")
    assert done.fetched == {f"{A}/{name}" for name in names}
    assert done.summary["links"]["requisites"] == len(names) - 1


async def test_what_pages_need_is_no_seed(tmp_path: Path) -> None:
    """An image that is not there is no failure of the run; one at a private address is refused."""
    async with site_of({}, addresses=("127.0.0.1", "127.0.0.2")) as site:
        far = site.url("/far.png", "127.0.0.2")
        site.answer = lambda asked: page(f'<img src="/gone.png"><img src="{far}">') if asked.path == "/" else reply(404)
        said = {"requisites": True, "requisites_anywhere": True}
        done = await crawl(tmp_path, [site.url("/")], said)
        assert site.connections["127.0.0.2"] == 0
    assert done.ends == {"/": "fetched", "/gone.png": "status-404", "/far.png": "blocked-address"}
    assert done.exit_code is ExitCode.OK


async def test_what_pages_need_may_stand_anywhere(tmp_path: Path) -> None:
    """With requisites_anywhere also what another host has; its pages are none of ours."""
    async with site_of({**STYLED, f"{B}/far.png": html("/b")}) as site:
        said = {"requisites": True, "requisites_anywhere": True}
        done = await crawl(tmp_path, [f"http://{A}/"], said, connection=pins(site, A, B))
    assert f"{B}/far.png" in done.fetched
    assert f"{B}/b" not in done.ends
    assert f"{A}/next" in done.fetched


# -- sitemaps ---------------------------------------------------------------------------------------------------------


async def test_sitemaps_of_robots_txt_are_found(tmp_path: Path) -> None:
    """An index, in it a gzipped sitemap: its pages are fetched though no page links to them."""
    async with site_of({}) as site:
        packed = gzip.compress(b"<urlset><url><loc>%s</loc></url></urlset>" % site.url("/b").encode())
        pages = {
            "/robots.txt": page(f"Sitemap: {site.url('/index.xml')}", "text/plain"),
            "/index.xml": xml(
                f"<sitemapindex><sitemap><loc>{site.url('/1.xml')}</loc></sitemap>"
                f"<sitemap><loc>{site.url('/2.xml.gz')}</loc></sitemap></sitemapindex>"
            ),
            "/1.xml": urlset(site.url("/a"), f"http://{B}/far"),
            "/2.xml.gz": reply(200, packed, {"Content-Type": "application/x-gzip"}),
            "/": html(),
            "/a": html("/linked"),
            "/b": html(),
            "/linked": html(),
        }
        site.answer = lambda asked: pages.get(asked.path) or reply(404)
        done = await crawl(tmp_path, [site.url("/")], {"sitemaps": True}, limits={"robots": "obey"})
        assert sorted(site.paths()) == sorted(pages)
    assert done.fetched == set(pages) - {"/robots.txt"}
    assert done.summary["links"]["out-of-scope"] == 1


async def test_a_site_that_names_no_sitemap_is_asked_at_the_usual_place(tmp_path: Path) -> None:
    """Once, however many seeds it has; that there is none is no failure."""
    async with site_of({"/": html(), "/2": html()}) as site:
        done = await crawl(tmp_path, [site.url("/"), site.url("/2")], {"sitemaps": True}, limits={"robots": "obey"})
        assert site.paths().count("/sitemap.xml") == 1
    assert done.exit_code is ExitCode.OK


async def test_what_a_sitemap_prefers_goes_first(tmp_path: Path) -> None:
    """Of two hundred pages the one of high priority is asked for as soon as it is known."""
    async with site_of({}) as site:
        told = [f"<url><loc>{site.url(f'/{n}')}</loc></url>" for n in range(200)]
        told[150] = f"<url><loc>{site.url('/150')}</loc><priority>0.9</priority></url>"
        site.answer = lambda asked: xml(f"<urlset>{''.join(told)}</urlset>") if asked.path == "/s.xml" else html()
        loaded: dict[str, Any] = {"input": {"urls": [], "sitemaps": [site.url("/s.xml")]}}
        done = await crawl(tmp_path, [], limits={"per_host": 1}, **loaded)
        assert site.paths()[:2] == ["/s.xml", "/150"]
        assert len(site.paths()) == 201
    assert len(done.fetched) == 201


async def test_a_list_may_be_a_sitemap(tmp_path: Path) -> None:
    """Without [crawl] all that it names is fetched, on any host, and no links of pages are followed."""
    async with site_of({}) as site:
        pages = {f"{A}/s.xml": urlset(f"http://{A}/1", f"http://{B}/2"), "/1": html("/3"), "/2": html(), "/3": html()}
        site.answer = lambda asked: pages.get(f"{asked.host}{asked.path}") or pages.get(asked.path) or reply(404)
        given = {"urls": [], "sitemaps": [f"http://{A}/s.xml"]}
        done = await crawl(tmp_path, [], None, input=given, connection=pins(site, A, B))
    assert done.ends == {f"{A}/s.xml": "fetched", f"{A}/1": "fetched", f"{B}/2": "fetched"}


# -- canonical URLs and order -----------------------------------------------------------------------------------------


async def test_spellings_of_a_query_are_one_page(tmp_path: Path) -> None:
    """With sort_query and drop_tracking each page is asked for once; without, each spelling is a page."""
    links = ["/p?b=2&a=1", "/p?a=1&b=2", "/p?a=1&utm_source=x&b=2", "/p?fbclid=1", "/p"]
    async with site_of({}) as site:
        site.answer = lambda asked: html(*links)
        said = {"sort_query": True, "drop_tracking": True}
        done = await crawl(tmp_path / "1", [site.url("/")], said)
        assert sorted(site.paths()) == ["/", "/p", "/p?a=1&b=2"]
        assert len((await crawl(tmp_path / "2", [site.url("/")])).records) == 6
    assert len(done.records) == 3


async def test_what_is_preferred_goes_first(tmp_path: Path) -> None:
    """One at a time: preferred pages before those that were found earlier, each once."""
    pages = {"/": html(*(f"/{n}" for n in range(30)), "/news/1"), "/news/1": html("/news/2")}
    async with site_of({**{f"/{n}": html() for n in range(30)}, **pages, "/news/2": html()}) as site:
        done = await crawl(tmp_path, [site.url("/")], {"prefer": "/news/"}, limits={"per_host": 1})
        assert site.paths() == ["/", "/news/1", "/news/2", *(f"/{n}" for n in range(30))]
    assert len(done.fetched) == 33


async def test_pages_of_one_depth_go_before_deeper_ones(tmp_path: Path) -> None:
    """Breadth first, where nothing else is said."""
    pages = {"/": html("/a", "/b"), "/a": html("/a/1"), "/b": html("/b/1"), "/a/1": html("/a/2"), "/b/1": html()}
    async with site_of({**pages, "/a/2": html()}) as site:
        await crawl(tmp_path, [site.url("/")], limits={"per_host": 1})
        assert site.paths() == ["/", "/a", "/b", "/a/1", "/b/1", "/a/2"]


async def test_hosts_that_share_an_address_share_a_pace(tmp_path: Path) -> None:
    """With politeness = "ip" links to hosts of one address are fetched one at a time."""
    links = [*(f"http://{A}/{n}" for n in range(5)), *(f"http://{B}/{n}" for n in range(5))]
    async with site_of({"/": html(*links), **{f"/{n}": html(*links) for n in range(5)}}, latency=0.01) as site:
        limits = {"politeness": "ip", "per_host": 1, "workers": 8}
        done = await crawl(tmp_path, [f"http://{A}/"], {"scope": "any"}, connection=pins(site, A, B), limits=limits)
        assert site.peak() == 1
    assert len(done.fetched) == 11


# -- private addresses ------------------------------------------------------------------------------------------------

PRIVATE = ["http://127.0.0.2:{port}/x", "http://10.0.0.1/", "http://169.254.169.254/latest/", "http://[::1]:{port}/"]


async def test_links_to_private_addresses_are_refused(tmp_path: Path) -> None:
    """The seed's own loopback address is an input; to others no connection is made, and each says so."""
    async with site_of({}, addresses=("127.0.0.1", "127.0.0.2")) as site:
        links = [link.format(port=site.port) for link in PRIVATE]
        site.answer = lambda asked: html(*links, "/mine")
        done = await crawl(tmp_path, [site.url("/")], {"scope": "any"})
        assert site.connections["127.0.0.2"] == 0
    assert {record["url"]: record["reason"] for record in done.records if record["reason"]} == dict.fromkeys(
        links, "blocked-address"
    )
    assert done.fetched == {"/", "/mine"}
    assert done.exit_code is ExitCode.OK


async def test_links_to_other_hosts_are_not_even_requests(tmp_path: Path) -> None:
    """Within the scope of a host none of them is followed."""
    async with site_of({}, addresses=("127.0.0.1", "127.0.0.2")) as site:
        site.answer = lambda asked: html(*(link.format(port=site.port) for link in PRIVATE))
        done = await crawl(tmp_path, [site.url("/")])
    assert done.ends == {"/": "fetched"}
    assert done.summary["links"]["out-of-scope"] == len(PRIVATE)


async def test_credentials_stay_with_the_hosts_of_the_input(tmp_path: Path) -> None:
    """What a job sends that may be a credential goes to no other host that a page led to, nor to another port."""
    async with site_of({"/mine": html(), "/theirs": html(), "/port": html()}) as site:
        links = "/mine", f"http://{B}/theirs", f"http://{A}:{site.port}/port"
        pages, rest = {f"{A}/": html(*links)}, site.answer
        site.answer = lambda asked: pages.get(f"{asked.host}{asked.path}") or rest(asked)
        request = {"headers": {"Authorization": "Bearer secret", "Cookie": "a=b", "X-Api-Key": "k", "Accept": "x/y"}}
        await crawl(tmp_path, [f"http://{A}/"], {"scope": "any"}, request=request, connection=pins(site, A, B))
        sent = {asked.path: asked.headers for asked in site.asked}
    assert sent["/mine"]["authorization"] == "Bearer secret"
    for path in ("/theirs", "/port"):
        assert not {"authorization", "cookie", "x-api-key"} & sent[path].keys()
        assert sent[path]["accept"] == "x/y"


async def test_a_function_may_name_headers_for_its_request(tmp_path: Path) -> None:
    """They go where it says, also to a host that no input names, and no further than that; the job's do not."""
    source = f"""
def page(page):
    if page.depth == 0:
        return [page.follow("http://{B}/api", headers={{"X-Api-Key": "for b"}})]
"""
    (tmp_path / "crawl_headers.py").write_text(source)
    async with site_of({f"{A}/": html(), f"{B}/api": moved(f"http://{C}/"), f"{C}/": html()}) as site:
        said = {"request": {"headers": {"X-Job-Key": "for a"}}, "connection": pins(site, A, B, C)}
        await crawl(tmp_path, [f"http://{A}/"], {"scope": "any"}, extract={"function": "crawl_headers:page"}, **said)
        sent = {asked.host: asked.headers for asked in site.asked}
    assert sent[A]["x-job-key"] == "for a"
    assert sent[B]["x-api-key"] == "for b"
    assert not {"x-job-key"} & sent[B].keys()
    assert not {"x-job-key", "x-api-key"} & sent[C].keys()


# -- going on ---------------------------------------------------------------------------------------------------------


async def test_what_is_made_again_leads_on(tmp_path: Path) -> None:
    """`crawler retry` after a crawl: a page that is there by now is followed, in the scope of the crawl's seeds."""
    pages = {"/": html("/later"), "/new": html()}
    async with site_of(pages) as site:
        first = await crawl(tmp_path, [site.url("/")])
        assert first.ends == {"/": "fetched", "/later": "status-404"}
        pages["/later"] = html("/new", "/", f"http://{B}/")
        asked = len(site.asked)
        second = await crawl(tmp_path, [site.url("/")], again=Picked())
        assert site.paths()[asked:] == ["/later", "/new"]
    assert second.ends == {"/": "fetched", "/later": "fetched", "/new": "fetched"}
    assert second.of["/new"]["depth"] == 2


# -- fields -----------------------------------------------------------------------------------------------------------

SHOP = {
    "/": html("/tea", "/mug", text="Shop"),
    "/tea": page("<h1>Tea</h1><b class=price>3.50</b><i>black</i><i>green</i>"),
    "/mug": page("<h1>Mug</h1><b class=price>12</b>"),
}
FIELDS = {
    "title": "css:h1::text",
    "price": {"css": ".price::text", "type": "float"},
    "kinds": {"css": "i::text", "list": True},
}


async def test_fields_stand_in_each_record(tmp_path: Path) -> None:
    """Typed, as JSON Lines, CSV and Parquet."""
    import pyarrow.parquet as pq

    async with site_of(SHOP) as site:
        output = {"records": ["jsonl", "csv", "parquet"]}
        done = await crawl(tmp_path, [site.url("/")], extract=FIELDS, output=output)
    assert done.of["/tea"]["fields"] == {"title": "Tea", "price": 3.5, "kinds": ["black", "green"]}
    assert done.of["/"]["fields"]["title"] is None
    text = StringIO((done.folder / "records.csv").read_text(), newline="")
    rows = {row["url"]: orjson.loads(row["fields"]) for row in csv.DictReader(text)}
    assert rows[site.url("/mug")] == {"title": "Mug", "price": 12.0, "kinds": []}
    table = pq.read_table(next(done.folder.rglob("*.parquet")).parent)
    by_url = {row["url"]: row["fields"] for row in table.to_pylist()}
    assert by_url[site.url("/tea")] == {"title": "Tea", "price": 3.5, "kinds": ["black", "green"]}


async def test_a_field_that_must_be_there(tmp_path: Path) -> None:
    """A page without it is a failure with a name, and its links are not followed."""
    async with site_of(SHOP) as site:
        price = {"css": ".price::text", "required": True, "url": "/(tea|mug)$"}
        done = await crawl(tmp_path / "1", [site.url("/")], extract={"price": price})
        assert done.fetched == {"/", "/tea", "/mug"}
        done = await crawl(tmp_path / "2", [site.url("/")], extract={"kind": {"css": "i", "required": True}})
    assert done.ends == {"/": "missing-field"}
    assert "kind" in done.of["/"]["error"]
    assert done.exit_code is ExitCode.FAILED


FUNCTIONS = """
from crawler import Fields

def page(page):
    if page.url.endswith("/bad"):
        raise LookupError("no such thing: \x1b[31m" + page.url)
    for row in page.css("i"):
        yield {"kind": row.text()}
    if page.url.endswith("/"):
        yield page.follow("/hidden", input={"from": "function"})
        yield page.follow("/tea")
        yield page.follow("http://b.example.org/far")
        yield page.follow("/form", method="POST", form={"q": "x"})
    yield Fields(kinds=len(page.css("i")))
"""


def functions(folder: Path, name: str) -> str:
    """A module beside the job, of a name that no other test has."""
    (folder / f"{name}.py").write_text(FUNCTIONS)
    return f"{name}:page"


async def test_a_function_gives_items_fields_and_requests(tmp_path: Path) -> None:
    """Items go to items.jsonl, fields beside the others, requests through scope and what was seen."""
    async with site_of({**SHOP, "/hidden": html("/deep"), "/deep": html(), "/form": html()}) as site:
        extract = {"function": functions(tmp_path, "crawl_gives"), "title": "css:h1::text"}
        done = await crawl(tmp_path, [site.url("/")], extract=extract)
        assert len(site.paths()) == len(set(site.paths()))
    items = [orjson.loads(line) for line in (done.folder / "items.jsonl").read_bytes().splitlines()]
    assert [item["item"] for item in items] == [{"kind": "black"}, {"kind": "green"}]
    assert {item["page"] for item in items} == {done.of["/tea"]["id"]}
    assert done.of["/tea"]["fields"] == {"title": "Tea", "kinds": 2}
    assert done.fetched == {"/", "/tea", "/mug", "/hidden", "/deep", "/form"}
    assert done.of["/hidden"]["input"] == {"from": "function"}
    assert (done.of["/form"]["method"], done.of["/form"]["referrer"]) == ("POST", site.url("/"))


async def test_a_function_that_raises(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its page is `extract-failed` with the traceback in the log; the run goes on."""
    async with site_of({"/": html("/bad", "/tea"), "/bad": html("/x"), "/tea": html(), "/hidden": html()}) as site:
        extract = {"function": functions(tmp_path, "crawl_raises")}
        done = await crawl(tmp_path, [site.url("/")], extract=extract)
    assert done.ends["/bad"] == "extract-failed"
    assert "LookupError" in done.of["/bad"]["error"]
    assert "\x1b" not in done.of["/bad"]["error"]
    assert 'raise LookupError("no such thing' in caplog.text
    assert "\x1b" not in caplog.text
    assert done.ends["/tea"] == "fetched"
    assert done.exit_code is ExitCode.OK


WEAKLY = """
from weakref import ref

seen = []

def page(page):
    page.links, page.html, page.text
    seen.append(ref(page))
"""


async def test_pages_are_not_kept(tmp_path: Path) -> None:
    """Whatever a function looked at, a page goes with it, and does not wait for the collector of garbage."""
    (tmp_path / "crawl_weakly.py").write_text(WEAKLY)
    async with site_of(SHOP) as site:
        gc.disable()
        try:
            await crawl(tmp_path, [site.url("/")], {"depth": 1}, extract={"function": "crawl_weakly:page"})
            seen = sys.modules["crawl_weakly"].seen
            assert len(seen) == 3
            assert [page() for page in seen] == [None] * 3
        finally:
            gc.enable()


async def test_a_list_has_fields_as_well(tmp_path: Path) -> None:
    """Without [crawl] fields are extracted and no links followed, but what a function asks for is."""
    async with site_of({**SHOP, "/hidden": html("/deep")}) as site:
        extract = {"function": functions(tmp_path, "crawl_list"), "title": "css:title::text"}
        done = await crawl(tmp_path, [site.url("/")], None, extract=extract)
    assert done.of["/"]["fields"] == {"title": "Shop", "kinds": 0}
    assert done.fetched == {"/", "/hidden", "/tea"}


# -- stopped and gone on with -----------------------------------------------------------------------------------------


class StoppedAt:
    """Answers as a site does, and stops the run with the request of that number."""

    def __init__(self, answer: Answer, number: int) -> None:
        self._answer = answer
        self._left = number

    def __call__(self, asked: Asked) -> bytes | AsyncIterator[bytes]:
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), signal.SIGTERM)
        return self._answer(asked)


async def stopped_and_gone_on(loaded: LoadedJob, site: RawSite, number: int) -> Crawled:
    """A run that is stopped at one of its requests, and the run that goes on with it."""
    answer, site.answer = site.answer, StoppedAt(site.answer, number)
    first = await ran(loaded, signals=True)
    assert first.exit_code is ExitCode.STOPPED
    site.answer = answer
    return await ran(loaded)


@pytest.mark.parametrize("politeness", ["host", "domain", "ip"])
async def test_bounds_are_kept_over_a_restart(tmp_path: Path, politeness: str) -> None:
    """What was asked for before counts, for the whole crawl and for each host, whatever shares its pace."""
    links = [*(f"http://{A}/{n}" for n in range(30)), *(f"http://{B}/{n}" for n in range(30))]
    async with site_of({"/": html(*links[::3]), **{f"/{n}": html(*links[n::7]) for n in range(30)}}) as site:
        limits = {"politeness": politeness, "per_host": 1, "workers": 1}
        for turn, (said, most) in enumerate([({"max_pages": 25}, 25), ({"max_pages_per_host": 12}, 24)]):
            site.asked.clear()
            crawl_ = {"scope": "any", **said}
            loaded = job(tmp_path / f"{turn}", [f"http://{A}/"], crawl_, connection=pins(site, A, B), limits=limits)
            done = await stopped_and_gone_on(loaded, site, 6)
            asked = [f"{asked.host}{asked.path}" for asked in site.asked]
            assert len(asked) == len(set(asked)) == len(done.records) == most


async def test_what_seeds_allow_is_known_after_a_restart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A site that a seed's redirect led to stays in scope, and what redirects brought stays `known`."""
    chain = {f"/{n}": html(f"/{n + 1}", "/t", f"http://{A}/x") for n in range(12)}
    pages = {f"{A}/": moved(f"http://{B}/0"), f"{A}/x": html(), **chain, "/12": html("/r"), "/r": moved("/t2")}
    async with site_of({**pages, "/t": moved("/t2"), "/t2": html()}) as site:
        said = {"scope": "host", "json": "jmespath:links[].href"}
        loaded = job(tmp_path, [f"http://{A}/"], said, connection=pins(site, A, B), limits={"per_host": 1})
        done = await stopped_and_gone_on(loaded, site, 8)
        assert site.paths().count("/t2") == 1
    assert done.fetched == {f"{A}/", f"{A}/x", *(f"{B}/{n}" for n in range(1, 13)), f"{B}/t"}
    assert done.ends[f"{B}/r"] == "known"
    assert "the job changed" not in caplog.text
