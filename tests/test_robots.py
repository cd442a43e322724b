"""robots.txt: what Google, RFC 9309 and Protego expect through our own cache, the statuses, time, junk and bounds."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from crawler import urls
from crawler.nofollow import meta_nofollow, nofollow
from crawler.robots import (
    ASK_AGAIN,
    MAX_AGE,
    MIN_AGE,
    STALE,
    UNDEFINED,
    Answer,
    Entry,
    RobotsCache,
    Verdict,
    origin_of,
    read,
    renew,
    robots_url,
)
from crawler.robotstext import MAX_TEXT, MAX_WILDCARDS, Rules, kept, product_token

NOW = 1_800_000_000.0
DAY = 86400.0
ORIGIN = "https://example.org"
CLOSED = b"User-agent: *\nDisallow: /"


def answer(body: bytes | str = b"", status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, headers or {}, body if isinstance(body, bytes) else body.encode())


def cached(entry: Entry, **bounds: int) -> RobotsCache:
    cache = RobotsCache(entry.token, 60.0, **bounds)
    cache.put(ORIGIN, entry)
    return cache


def allowed(body: bytes | str, path: str, agent: str = "anybot") -> bool:
    """The whole way: answer, entry, checkpoint, cache, verdict."""
    entry = Entry.from_json(json.loads(json.dumps(read(answer(body), product_token(agent), NOW).to_json())))
    assert entry is not None
    verdict = cached(entry).look(urls.parse(ORIGIN + path).href, NOW)
    assert verdict in (Verdict.ALLOWED, Verdict.DISALLOWED)
    return verdict is Verdict.ALLOWED


@pytest.mark.parametrize(
    ("path", "agent"),
    [
        ("/group1", "hedwig-news"),
        ("/group1", "hedwig-news2"),
        ("/group2", "hedwi"),
        ("/group2", "a"),
        ("/group3", "hedwig-new"),
        ("/group3", "hedwig-images"),
    ],
)
def test_the_longest_name_that_fits_has_the_say(path: str, agent: str) -> None:
    """Google's precedence of groups: of three groups one counts, and nothing of the others."""
    text = (
        "user-agent: hedwig-news\ndisallow: /\nallow: /group1\nuser-agent: *\ndisallow: /\nallow: /group2\n"
        "user-agent: hedwig\ndisallow: /\nallow: /group3"
    )
    assert [each for each in ("/group1", "/group2", "/group3") if allowed(text, each, agent)] == [path]


@pytest.mark.parametrize(
    ("name", "agent", "applies"),
    [
        ("bot", "mybot", False),
        ("google", "notgooglebot", False),
        ("googlebot", "googlebot", True),
        ("googlebot", "googlebot-news", True),
        ("google", "googlebot-mobile", True),
        ("foobot", "Mozilla/5.0 (compatible; Foobot/1.0)", True),
        ("foobot", "FOOBOT", True),
        # Beyond Protego: versions, digits and comments, which no product token holds but which site owners write.
        ("FooBot/2.1", "foobot/3.0 (+https://example.org)", True),
        ("foo*bot", "foobot", True),
        ("* (all of you)", "foobot", True),
        ("my2bot", "my2bot/1.0", True),
        ("foobot crawler", "foobot", True),
        ("a6-indexer", "a-bot", False),
        ("googlebot-news", "googlebot", False),
        ("foobot-images", "foobot", False),
        ("360", "foobot", False),
    ],
)
def test_whom_a_name_means(name: str, agent: str, applies: bool) -> None:
    """A name applies to a token that begins with it, whatever the case; never to one that merely holds it."""
    assert allowed(f"User-agent: {name}\nDisallow: /private\n", "/private", agent) is not applies


PATTERNS = """
/            + /harry /device/time-turner /hogwards.html
/*           + /harry /device/time-turner
/phoenix     + /phoenix /phoenix.html /phoenix/sparky.html /phoenixheads /phoenixheads/yummy.html
/phoenix     + /phoenix.php?id=anything
/phoenix     - /Phoenix.asp /redphoenix /?id=phoenix
/phoenix*    + /phoenix /phoenix.html /phoenix/sparky.html /phoenixheads /phoenixheads/yummy.html
/phoenix*    + /phoenix.php?id=anything
/phoenix*    - /Phoenix.asp /redphoenix /?id=phoenix
/phoenix/    + /phoenix/ /phoenix/?id=anything /phoenix/sparky.htm
/phoenix/    - /phoenix /phoenix.html /Phoenix/Sparky.asp
/*.php       + /filename.php /folder/filename.php /folder/filename.php?parameters /folder/any.php.file.html
/*.php       + /filename.php/ /index?f=filename.php/
/*.php       - /windows.PHP / /index?php
/*.php$      + /filename.php /folder/filename.php
/*.php$      - /filename.php?parameters /filename.php/ /filename.php5 /windows.PHP /filename?php
/fish*.php   + /fish.php /fishheads/catfish.php?parameters
/fish*.php   - /Fish.PHP
/foo*        + /foo.html /food /foo/bar.html
/foo*        - /fo.html
/foo*/bar.html  + /foo/bar.html /food/bar.html /foo/a/b/c/x/y/z/bar.html
/foo*/bar.html  - /fo.html /food/xyz.html
*m           + /foo.htm /foo.html /foom /moo /foo/bar.html
*m           - /foo /foo/bar.txt
/foo*/*bar.html + /foo/bar.html /food/rebar.html /foo/a/b/c/rebar.html /foo/a/b/c/bar.html
/foo*/*bar.html - /food/rebarf.html
/d/*/end$    + /d/xyz/end /d/abc/end
/d/*/end$    - /d /d/xyz/endinglater
/pro*work    + /proworks /pro_works /pro/works /pro_does_work
/pro*work    - /ro_does_work /pro_does_wor
/x$/abc      + /x$/abcdef /x%24/abcdef
/y/abc$      + /y/abc
/y/abc$      - /y/abcdef
/x*x$/abc    + /xabcx$/abcdef /xabcx%24/abcdef
/y*y/abc$    + /yabcy/abc
/y*y/abc$    - /yabcy/abcdef
/x/abc%24    + /x/abc$abc /x/abc$
/x/abc%24    - /x/abc
/x%2Ax/abc   + /x*x/abc /x*x/abcdef
/x%2Ax/abc   - /xabcx/abc
/x/abc$      + /x/abc$ /x/abc%24
/x*x/abc     + /x*x/abc
/*s=         + /?s=asd
/*s=         - / /s/
/foo;a=b?c=d$   + /foo;a=b?c=d /foo;a=b?c=d#e
/en/*q=*rel* + /en/c/4018?q=%3Arel%3Atype /en/c/4018?q=:rel
/en/*q=*rel* - /en/c/4018?q=:price
/wiki/K%C3%A4yt + /wiki/Käyt /wiki/K%C3%A4yttäjä:
/wiki/Käyt   + /wiki/K%C3%A4ytt%C3%A4 /wiki/K%c3%a4yt
/wiki/Käyt   - /wiki/Kayt
/%62%61%7A   + /baz /%62%61%7A
/a%3cd.html  + /a<d.html /a%3cd.html
/a<d.html    + /a<d.html /a%3cd.html
//folder/*   + //folder/page
//folder/*   - / /folder /folder/ /folder/page //folder
/?           + /?query
/?           - /
/;           + /;params
/;           - /
http://a.example/ + /http://a.example/
http://a.example/ - /
"""


@pytest.mark.parametrize("line", PATTERNS.strip().splitlines())
def test_what_a_pattern_meets(line: str) -> None:
    """Google's table of paths and Protego's of wildcards, "$" and percent-encoding: + is met by the rule, - is not."""
    pattern, sign, *paths = line.split()
    assert paths
    met = [path for path in paths if not allowed(f"User-Agent: *\ndisallow: {pattern}\n", path)]
    assert met == (paths if sign == "+" else [])


PRECEDENCE = [
    ("allow: /p \n disallow: /", "/page", True),
    ("allow: /folder \n disallow: /folder", "/folder/page", True),
    ("disallow: /folder\nallow: /folder", "/folder/page", True),
    ("allow: /$ \n disallow: /", "/", True),
    ("allow: /$ \n disallow: /", "/page.htm", False),
    ("disallow: /x/page.html\nallow: /x/", "/x/page.html", False),
    ("allow: /x/page.html\ndisallow: /x/", "/x/page.html", True),
    ("allow: /x/page.html\ndisallow: /x/", "/x/", False),
    ("disallow:\nallow:", "/x", True),
    ("disallow: /\nallow: /", "/x", True),
    ("disallow: /x\nallow: /x/", "/x/", True),
    ("disallow: /x\nallow: /x/", "/x", False),
    ("allow: /page\ndisallow: /*.html", "/page", True),
    ("allow: /page\ndisallow: /*.html", "/page.html", False),
    ("allow: /x/page.\ndisallow: /*.html", "/x/page.html", True),
    ("allow: /x/page.\ndisallow: /*.html", "/x/y.html", False),
    ("allow: /page\ndisallow: /*.htm", "/page.htm", False),
    ("allow: /foo$\ndisallow: /foo", "/foo", True),
    ("allow: /foo$\ndisallow: /foo", "/fooey", False),
    ("allow: /foo/bar.html\ndisallow: *", "/foo/bar.html", True),
    ("allow: /foo/bar.html\ndisallow: *", "/foo/bar.txt", False),
    ("allow: *****************/****.js", "/foo.js", True),
    ("disallow: /foo/bar/quz\nallow: /foo/*/qux", "/foo/bar/quz", False),
    ("disallow: /foo/bar/quz\nallow: /foo/*/qux", "/foo/bax/quz", True),
    ("disallow: /foo/bar$\nallow: /foo/bar/qux", "/foo/bar", False),
    ("disallow: /foo/bar$\nallow: /foo/bar/qux", "/foo/bar/baz", True),
    ("allow: */p\ndisallow: /", "/page", True),
    ("allow: /page\ndisallow: */*.htm", "/page.htm", False),
    ("allow: /*/filter/page=*/$\ndisallow: /", "/1/filter/page=5/", True),
    ("allow: /*/filter/page=*/$\ndisallow: /", "/1/filter/page%3D5/", True),
    ("allow: /*/filter/page=*/$\ndisallow: /", "/1/filter/page=5/x", False),
    ("allow: /d/index.html\ndisallow: /", "/d/", True),
    ("allow: /d/index.html\ndisallow: /", "/d/index.htm", False),
    ("allow: /d/index.html\ndisallow: /", "/d/$budget", False),
    ("disallow: /\nallow: /foo?bar=ツ", "/foo?bar=%e3%83%84", True),
    ("disallow: /\nallow: /foo?q=t&b=http://foo.bar?tar&par", "/foo?q=t&b=http://foo.bar?tar&par", True),
    ("disallow: /", "/robots.txt", True),
    ("disallow: /", "/a/robots.txt", False),
]


@pytest.mark.parametrize(("rules", "path", "expected"), PRECEDENCE)
def test_the_longest_rule_wins_and_a_tie_allows(rules: str, path: str, expected: bool) -> None:
    """The precedence of rules (RFC 9309 2.2.2), with Google's and Protego's cases."""
    assert allowed(f"User-Agent: *\n{rules}\n", path) is expected


RFC_EXAMPLE = """
User-Agent: *
Disallow: *.gif$
Disallow: /example/
Allow: /publications/

User-Agent: foobot
Disallow:/
Allow:/example/page.html
Allow:/example/allowed.gif

User-Agent: barbot
User-Agent: bazbot
Disallow: /example/page.html

User-Agent: quxbot
"""


@pytest.mark.parametrize(
    ("agent", "path", "expected"),
    [
        ("anybot", "/a.gif", False),
        ("anybot", "/example/x", False),
        ("anybot", "/publications/", True),
        ("foobot", "/", False),
        ("foobot", "/publications/", False),
        ("foobot", "/example/page.html", True),
        ("foobot", "/example/allowed.gif", True),
        ("barbot", "/example/page.html", False),
        ("bazbot", "/example/page.html", False),
        ("bazbot", "/a.gif", True),
        ("quxbot", "/example/x", True),
    ],
)
def test_the_example_of_the_rfc(agent: str, path: str, expected: bool) -> None:
    """RFC 9309 5.1, whose last group is empty and so allows everything."""
    assert allowed(RFC_EXAMPLE, path, agent) is expected


MERGED = (
    "allow: /foo/bar/\n\nuser-agent: FooBot\ndisallow: /\nallow: /x/\nuser-agent: BarBot\ndisallow: /\nallow: /y/\n"
    "\n\nallow: /w/\nuser-agent: BazBot\n\nuser-agent: FooBot\nallow: /z/\ndisallow: /\n"
)
LONE = "User-agent: alpha\nDisallow: /x\n{}\nDisallow: /y\n"


@pytest.mark.parametrize(
    ("text", "agent", "open_paths", "closed_paths"),
    [
        (MERGED, "FooBot", "/x/b /z/d", "/y/c /foo/bar/"),
        (MERGED, "BarBot", "/y/c /w/a", "/z/d /foo/bar/"),
        (MERGED, "BazBot", "/z/d", "/foo/bar/"),
        ("Disallow: /\nUser-agent: b\nDisallow: /x", "b", "/", "/x"),
        ("Disallow: /\nUser-agent: b\nDisallow: /x", "c", "/ /x", ""),
        ("User-agent: one # 1\n# 2\nUser-agent: two\nDisallow: /x#y\n# Disallow: /z", "one", "/z", "/x"),
        ("User-agent: one\nDisallow: /1\nHarry: Potter\nUser-agent: two\nDisallow: /2", "one", "/2", "/1"),
        ("User-agent: one\nDisallow: /1\nHarry Potter\nUser-agent: two\nDisallow: /2", "two", "/1", "/2"),
        ("User-agent: one\nDisallow:\nUser-agent: two\nDisallow: /", "one", "/", ""),
        ("User-agent: one\nCrawl-delay: 2\nUser-agent: two\nDisallow: /", "one", "/", ""),
        ("User-agent: harry\nDisallow: /\nUser-agent: test", "test", "/x", ""),
        (LONE.format("User-agent:"), "alpha", "/y", "/x"),
        (LONE.format("user agent"), "alpha", "/y", "/x"),
        (LONE.format("User-agent:\nUser-agent: beta"), "beta", "/x", "/y"),
        (LONE.format(":\nUser-agent: beta"), "alpha", "/y", "/x"),
        ("User-agent: one\nUser-agent:\nUser-agent: two\nDisallow: /", "one", "", "/"),
        ("User-agent: one\nSitemap: /s\nHost: h\nUser-agent: two\nDisallow: /", "one", "", "/"),
        ("User-agent: one\nNoindex: /a\nUser-agent: two\nDisallow: /", "one", "", "/"),
        ("user-agent foobot\ndisallow /a\nUSERAGENT: b\nDISALLOW\t/b", "foobot", "/b", "/a"),
        ("user-agent foobot\ndisallow /a\nUSERAGENT: b\nDISALLOW\t/b", "b", "/a", "/b"),
        ("User-agent: *\nDisallow: /x\nUser-agent must match: see the docs\nAllow: /x/y", "b", "/x/y", "/x"),
        (
            "User-agent: *\nDissallow: /2\nDissalow: /3\nDisalow: /4\nDiasllow: /5\nDisallaw: /6",
            "b",
            "/",
            "/2 /3 /4 /5 /6",
        ),
    ],
)
def test_groups(text: str, agent: str, open_paths: str, closed_paths: str) -> None:
    """Groups of one name are merged, consecutive names share one, and other records part nothing (RFC 9309 2.2.4)."""
    assert [path for path in open_paths.split() if not allowed(text, path, agent)] == []
    assert [path for path in closed_paths.split() if allowed(text, path, agent)] == []


@pytest.mark.parametrize(
    ("user_agent", "token"),
    [
        ("crawler/0.1 (+mailto:me@example.org)", "crawler"),
        ("My_News-Bot", "My_News-Bot"),
        ("news2bot/3", "newsbot"),
        ("Mozilla/5.0 (compatible; Foobot/2.1; +https://example.org)", "Foobot"),
        ("Mozilla/5.0 (Linux) Chrome/120 Safari/537 (compatible; Foobot/2.1)", "Foobot"),
        ("Mozilla/5.0 (X11; Linux x86_64)", "Mozilla"),
        ("", "crawler"),
        ("42/1", "crawler"),
        ("-_/1", "crawler"),
        ("\u041b\u044c\u0432\u0456\u0432/1.1", "crawler"),
    ],
)
def test_product_token(user_agent: str, token: str) -> None:
    """The token is made of what RFC 9309 2.2.1 allows, and there always is one."""
    assert product_token(user_agent) == token


@pytest.mark.parametrize(
    ("href", "origin"),
    [
        ("http://a/", "http://a"),
        ("https://example.org:8443/a//b?c=/d", "https://example.org:8443"),
        ("http://[::1]:80/x", "http://[::1]"),
        ("http://example.org:443/?u=http://x/", "http://example.org:443"),
    ],
)
def test_each_origin_has_its_robots_txt(href: str, origin: str) -> None:
    """Scheme, host and port tell whose robots.txt counts; the default port is not spelled."""
    assert origin_of(urls.parse(href).href) == origin
    assert robots_url(origin) == origin + "/robots.txt"


@pytest.mark.parametrize(
    ("value", "delay"),
    [
        ("10", 10.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("5 # seconds", 5.0),
        ("60.1", 60.0),
        ("1000000000", 60.0),
        ("1e9", 60.0),
        ("9" * 5000, None),
        ("-1", None),
        ("-0.5", None),
        ("abc", None),
        ("5s", None),
        ("1,5", None),
        ("", None),
        ("inf", None),
        ("nan", None),
    ],
)
def test_crawl_delay(value: str, delay: float | None) -> None:
    """A number of seconds, at most crawl_delay_max; anything else is as if it were not there."""
    cache = cached(read(answer(f"User-agent: *\nCrawl-delay: {value}\nDisallow: /x"), "b", NOW))
    assert cache.crawl_delay(ORIGIN) == delay
    assert cache.look(ORIGIN + "/x", NOW) is Verdict.DISALLOWED


def test_crawl_delay_of_merged_groups() -> None:
    """In two groups of one name the last usable delay counts; other groups' delays never do."""
    text = "User-agent: b\nCrawl-delay: 5\nUser-agent: *\nCrawl-delay: 9\nUser-agent: b\nCrawl-delay: 7\nCrawl-delay: x"
    assert Rules(kept(text.encode(), "b"), 60.0).crawl_delay == 7
    assert Rules(kept(text.encode(), "c"), 60.0).crawl_delay == 9
    assert Rules(kept(b"User-agent: *\nCrawl-delay: 9\nUser-agent: b\nDisallow: /", "b"), 60.0).crawl_delay is None


def test_sitemaps_belong_to_all() -> None:
    """Sitemap lines count wherever they stand, each once, in their order; an origin without any has none."""
    text = "Sitemap: https://a/1\nUser-agent: x\nSitemap:/2#c\nDisallow: /\nsite-map https://a/3\nSitemap: https://a/1"
    cache = cached(read(answer(text), "b", NOW))
    assert cache.sitemaps(ORIGIN) == ("https://a/1", "/2", "https://a/3")
    assert cache.look(ORIGIN + "/x", NOW) is Verdict.ALLOWED
    assert cached(read(answer(CLOSED), "b", NOW)).sitemaps(ORIGIN) == cache.sitemaps("https://unknown.example") == ()


@pytest.mark.parametrize(
    ("body", "closed"),
    [
        (b"\xef\xbb\xbf" + CLOSED, True),
        (CLOSED.replace(b"\n", b"\r"), True),
        (CLOSED.replace(b"\n", b"\r\n\r\n"), True),
        (b"User-agent: *\0\nDis\0allow: /", True),
        (CLOSED.decode().encode("utf-16"), True),
        (b"\xfe\xff" + CLOSED.decode().encode("utf-16-be"), True),
        (b"# caf\xe9\n" + CLOSED, True),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 50, False),
        (b"\x1f\x8b\x08\x00" + CLOSED[::-1] * 9, False),
        (b"<!DOCTYPE html>\n<pre>\n" + CLOSED, False),
        (b" \n<html>\n" + CLOSED, False),
        (b"<!-- by hand -->\n" + CLOSED, True),
        (b"{}", False),
        (b"", False),
        (b"User-agent: *\nDisallow: /" + b"x" * MAX_TEXT, False),
        (b"#" * MAX_TEXT + b"\n" + CLOSED, False),
    ],
)
def test_junk(body: bytes, closed: bool) -> None:
    """Odd line ends, marks and encodings are read; binary, HTML and what lies beyond 500 KiB hold no rules."""
    assert allowed(body, "/page") is not closed


def test_the_first_500_kib_count() -> None:
    """Of 600 KB the rules of the first 500 KiB stand, and the line that the limit cuts does not."""
    rule = b"Disallow: /%05d/\n"
    body = b"User-agent: *\n" + b"".join(rule % n for n in range(600_000 // len(rule % 0)))
    last = (MAX_TEXT - 14) // len(rule % 0) - 1
    assert len(body) > 590_000
    cache = cached(read(answer(body), "b", NOW))
    verdicts = [cache.look(f"{ORIGIN}/{n:05d}/", NOW) for n in (0, last, last + 1, last + 2)]
    assert verdicts == [Verdict.DISALLOWED] * 2 + [Verdict.ALLOWED] * 2


def test_many_names_cost_no_more_than_many_lines() -> None:
    """A file of 10,000 names over 15,000 rules keeps our rules once, not the product of both."""
    names = "".join(f"User-agent: a{n}\n" for n in range(10_000))
    body = (names + "User-agent: b\n" + "".join(f"Disallow: /{n}\n" for n in range(15_000))).encode()
    assert len(body) < MAX_TEXT
    assert len(kept(body, "b").splitlines()) == 15_001
    assert kept(body, "c") == ""


def test_beyond_the_wildcards_more_is_closed_not_less() -> None:
    """Past MAX_WILDCARDS a Disallow counts up to its first star, at its rank, and an Allow with a star not at all."""
    filler = "".join(f"Disallow: /f*{n}x\n" for n in range(MAX_WILDCARDS))
    late = "Disallow: /late*end\nAllow: /late\nAllow: /late/and/longer\nAllow: /fine/*\nDisallow: /fine\n"
    text = f"User-agent: *\n{filler}{late}"
    assert allowed(text, "/f7x") is False
    assert allowed(text, "/f-") is True
    assert allowed(text, "/late-other") is False
    assert allowed(text, "/late/and/longer") is True
    assert allowed(text, "/fine/x") is False
    assert allowed(text.replace(filler, ""), "/late-other") is True
    assert allowed(text.replace(filler, ""), "/fine/x") is True


@pytest.mark.parametrize(
    ("pattern", "met"),
    [
        ("a*" * 4000, True),
        ("a*" * 9000, False),
        ("*a" * 32 + "b", False),
        ("a*" * 50_000 + "b$", False),
        ("*" * 100_000, True),
        ("%" * 100_000, False),
        ("$" * 10_000, False),
    ],
)
def test_hostile_patterns_are_answered(pattern: str, met: bool) -> None:
    """Patterns that would keep a backtracking matcher busy for years are matched like any other."""
    assert allowed(f"User-agent: *\nDisallow: /{pattern}", "/" + "a" * 8000 + "c") is not met


@pytest.mark.parametrize(
    ("status", "kind"),
    [(200, "rules"), (204, "rules"), (206, "rules")]
    + [(status, "unavailable") for status in (301, 302, 304, 308, 400, 401, 403, 404, 408, 410, 418, 451, 499)]
    + [(status, "unreachable") for status in (429, 500, 502, 503, 504, 599, 999, 100, 0)],
)
def test_statuses(status: int, kind: str) -> None:
    """RFC 9309 2.3.1: the body counts for 2xx alone; 429 counts as 5xx, as Google has it."""
    cache = cached(read(answer(CLOSED, status), "b", NOW))
    entry = cache.entry(ORIGIN)
    assert entry is not None
    assert entry.kind == kind
    assert (
        cache.look(ORIGIN + "/x", NOW)
        is {
            "rules": Verdict.DISALLOWED,
            "unavailable": Verdict.ALLOWED,
            "unreachable": Verdict.UNREACHABLE,
        }[kind]
    )
    assert cache.crawl_delay(ORIGIN) is None


def test_no_answer_is_unreachable_for_a_while() -> None:
    """A network failure closes the origin; after 15 minutes it is to be asked for again."""
    cache = cached(read(None, "b", NOW))
    assert cache.look(ORIGIN + "/", NOW + ASK_AGAIN - 1) is Verdict.UNREACHABLE
    assert cache.look(ORIGIN + "/", NOW + ASK_AGAIN) is Verdict.UNKNOWN
    assert read(None, "b", NOW, ask_again=5.0).expires_at == NOW + 5


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, MAX_AGE),
        ({"Cache-Control": "max-age=3600"}, 3600.0),
        ({"cache-control": "public, Max-Age=3600, s-maxage=1"}, 3600.0),
        ({"Cache-Control": "max-age=99999999999999"}, MAX_AGE),
        ({"Cache-Control": "max-age=1"}, MIN_AGE),
        ({"Cache-Control": "no-store"}, MIN_AGE),
        ({"Cache-Control": "no-cache, max-age=7200"}, MIN_AGE),
        ({"Cache-Control": "max-age=-1"}, MAX_AGE),
        ({"Cache-Control": "max-age=7200", "Expires": "0"}, 7200.0),
        ({"Expires": "Thu, 01 Jan 1970 00:00:00 GMT"}, MIN_AGE),
        ({"Expires": "0"}, MIN_AGE),
        ({"Expires": "-1"}, MIN_AGE),
        ({"Expires": "Mon, 05 Jan 2026 12:00:00 GMT", "Date": "Mon, 05 Jan 2026 10:00:00 GMT"}, 7200.0),
        ({"Expires": "Mon, 05 Jan 2099 12:00:00 GMT"}, MAX_AGE),
    ],
)
@pytest.mark.parametrize("status", [200, 404])
def test_how_long_an_answer_stands(headers: dict[str, str], seconds: float, status: int) -> None:
    """A day, or less if the server says so, but ten minutes at least; then the origin is unknown."""
    cache = cached(read(answer(CLOSED, status, headers), "b", NOW))
    known = Verdict.DISALLOWED if status == 200 else Verdict.ALLOWED
    assert cache.look(ORIGIN + "/", NOW + seconds - 1) is known
    assert cache.look(ORIGIN + "/", NOW + seconds) is Verdict.UNKNOWN


def test_a_clock_set_back_does_not_make_an_answer_last() -> None:
    """A second back is nothing; a day back makes what is known unknown, rather than known for two days."""
    cache = cached(read(answer(CLOSED), "b", NOW))
    assert cache.look(ORIGIN + "/", NOW - 1) is Verdict.DISALLOWED
    assert cache.look(ORIGIN + "/", NOW - DAY) is Verdict.UNKNOWN


def test_a_good_copy_serves_while_nobody_answers() -> None:
    """Old rules stand for a day beyond their expiry, asked for again each 15 minutes; then all is closed."""
    entry = good = read(answer("User-agent: *\nDisallow: /x"), "b", NOW)
    at = NOW + MAX_AGE
    while at < NOW + MAX_AGE + STALE:
        entry = renew(entry, answer(b"", 503), "b", at)
        assert (entry.text, entry.fetched_at, entry.unreachable_since) == (good.text, NOW, NOW + MAX_AGE)
        assert entry.expires_at == min(at + ASK_AGAIN, NOW + MAX_AGE + STALE)
        assert cached(entry).look(ORIGIN + "/x", at) is Verdict.DISALLOWED
        assert cached(entry).look(ORIGIN + "/y", at) is Verdict.ALLOWED
        at = entry.expires_at
    entry = renew(entry, None, "b", at)
    assert cached(entry).look(ORIGIN + "/y", at) is Verdict.UNREACHABLE
    assert (entry.kind, entry.text, entry.unreachable_since) == ("unreachable", "", NOW + MAX_AGE)


def test_a_fresh_copy_is_not_made_shorter_by_a_failure() -> None:
    """Asked for early and in vain, it stands as long as it would have."""
    good = read(answer(CLOSED), "b", NOW)
    assert renew(good, None, "b", NOW + 60).expires_at == good.expires_at


def test_that_there_was_no_file_is_not_a_copy() -> None:
    """After a 404 a failure closes the origin: only rules that were read are worth keeping."""
    assert renew(read(answer(b"", 404), "b", NOW), None, "b", NOW + DAY).kind == "unreachable"


def test_after_30_days_an_unreachable_file_counts_as_none() -> None:
    """One second less and all is closed; later failures leave it open, and a success begins anew (RFC 9309 2.3.1.4)."""
    entry = renew(None, None, "b", NOW)
    entry = renew(entry, answer(b"", 429), "b", NOW + UNDEFINED - 1)
    assert cached(entry).look(ORIGIN + "/", NOW + UNDEFINED - 1) is Verdict.UNREACHABLE
    for later in (UNDEFINED, UNDEFINED + 2 * DAY):
        entry = renew(entry, None, "b", NOW + later)
        assert cached(entry).look(ORIGIN + "/", NOW + later) is Verdict.ALLOWED
        assert cached(entry).look(ORIGIN + "/", NOW + later + DAY) is Verdict.UNKNOWN
        assert entry.unreachable_since == NOW
    entry = renew(entry, answer(CLOSED), "b", NOW + UNDEFINED + 3 * DAY)
    assert (entry.kind, entry.unreachable_since) == ("rules", None)
    assert renew(entry, None, "b", NOW + UNDEFINED + 9 * DAY).kind == "unreachable"


def test_changed_rules_are_obeyed_from_then_on() -> None:
    """What is put last counts, for parsed rules too."""
    cache = cached(read(answer("User-agent: *\nDisallow: /a"), "b", NOW))
    assert cache.look(ORIGIN + "/a", NOW) is Verdict.DISALLOWED
    old = cache.entry(ORIGIN)
    cache.put(ORIGIN, renew(old, answer("User-agent: *\nDisallow: /b"), "b", NOW + DAY))
    assert cache.look(ORIGIN + "/a", NOW + DAY) is Verdict.ALLOWED
    assert cache.look(ORIGIN + "/b", NOW + DAY) is Verdict.DISALLOWED
    cache.put(ORIGIN, renew(old, answer(b"", 410), "b", NOW + DAY))
    assert cache.look(ORIGIN + "/b", NOW + DAY) is Verdict.ALLOWED


def test_each_origin_is_asked_for_itself() -> None:
    """Another scheme, port or host is unknown until its own file was read."""
    cache = cached(read(answer(b"", 404), "b", NOW))
    assert cache.look(ORIGIN + "/x", NOW) is Verdict.ALLOWED
    for other in (
        "http://example.org/",
        "https://example.org:8443/",
        "https://www.example.org/",
        "https://example.or/",
    ):
        assert cache.look(other, NOW) is Verdict.UNKNOWN


def test_another_token_has_to_ask_anew() -> None:
    """What was kept for one product token says nothing for another, in the cache or as a copy; the 30 days go on."""
    entry = read(answer("User-agent: b\nDisallow:\nUser-agent: *\nDisallow: /"), "b", NOW)
    cache = RobotsCache("c", 60.0)
    cache.put(ORIGIN, read(answer(CLOSED), "c", NOW))
    cache.put(ORIGIN, entry)
    assert cache.look(ORIGIN + "/", NOW) is Verdict.UNKNOWN
    assert renew(entry, None, "c", NOW + DAY).kind == "unreachable"
    assert renew(renew(None, None, "b", NOW), None, "c", NOW + UNDEFINED).kind == "unavailable"


def test_the_cache_is_bounded() -> None:
    """Beyond its bounds the entry put longest ago is unknown, and rules are parsed again when they are asked for."""
    cache = RobotsCache("b", 60.0, max_entries=3, max_rules=2)
    origins = [f"http://h{n}.example" for n in range(4)]
    for origin in origins[:3]:
        cache.put(origin, read(answer(CLOSED), "b", NOW))
        assert cache.look(origin + "/", NOW) is Verdict.DISALLOWED
    assert repr(cache) == "<RobotsCache b entries=3 parsed=2>"
    cache.put(origins[0], read(answer(CLOSED), "b", NOW))
    cache.put(origins[3], read(answer(CLOSED), "b", NOW), Rules(kept(CLOSED, "b"), 60.0))
    verdicts = [cache.look(origin + "/", NOW) for origin in origins]
    assert verdicts == [Verdict.DISALLOWED, Verdict.UNKNOWN, Verdict.DISALLOWED, Verdict.DISALLOWED]
    assert cache.entry(origins[1]) is None
    assert repr(cache) == "<RobotsCache b entries=3 parsed=2>"


@pytest.mark.parametrize(
    "body", ["", "User-agent: *\nDisallow:", "User-agent: x\nDisallow: /", "User-agent: *\nAllow: /a\nAllow: /b*c"]
)
def test_an_open_origin_costs_nothing(body: str) -> None:
    """Where nothing is asked of us nothing is kept or parsed."""
    cache = cached(read(answer(body), "b", NOW))
    assert cache.look(ORIGIN + "/a", NOW) is Verdict.ALLOWED
    entry = cache.entry(ORIGIN)
    assert entry is not None
    assert entry.text == ""
    assert "parsed=0" in repr(cache)


@pytest.mark.parametrize(
    "value", [None, [], "rules", 7, {}, {"kind": "rules"}, {**read(None, "b", NOW).to_json(), "kind": "maybe"}]
)
def test_a_damaged_entry_is_no_entry(value: object) -> None:
    """What is not an entry's JSON comes back as None, so that robots.txt is asked for again."""
    assert Entry.from_json(value) is None


@pytest.mark.parametrize("text", ["", "{", "null", "nonsense", '{"kind": "rules"}', "\udcff"])
def test_a_damaged_text_is_no_entry(text: str) -> None:
    """The checkpoint's text of an entry comes back as it was, and anything else counts as unknown."""
    entry = read(None, "b", NOW)
    assert Entry.loads(entry.dumps()) == entry
    assert Entry.loads(text) is None


SOME = (
    "User-agent: *|User-agent: b|user agent: bo|Disallow: /|Disallow: /a*b$|Disallow:|Allow: /a|Crawl-delay: 3|Foo: bar"
)
LINES = st.lists(st.sampled_from([*SOME.split("|"), "Sitemap: x", "# x"]) | st.text(max_size=20), max_size=20).map(
    lambda lines: "\n".join(lines).encode("utf-8", "replace")
)


@settings(max_examples=200)
@given(body=st.one_of(LINES, st.binary(max_size=300)), path=st.text(max_size=20), status=st.integers(-1, 1000))
def test_no_bytes_raise(body: bytes, path: str, status: int) -> None:
    """Any answer gives a verdict, the same each time and after a restart; what is kept is kept unchanged."""
    try:
        href = urls.parse(f"{ORIGIN}/{path}").href
    except urls.BadURL:
        return
    entry = renew(read(answer(body), "bot", NOW - DAY), answer(body, status), "bot", NOW)
    restored = Entry.from_json(json.loads(json.dumps(entry.to_json())))
    assert restored == entry
    cache = cached(entry)
    verdict = cache.look(href, NOW)
    assert verdict is cache.look(href, NOW) is cached(restored).look(href, NOW)
    assert verdict is not Verdict.UNKNOWN
    assert kept(entry.text.encode(), "other") == entry.text
    if verdict is not Verdict.UNREACHABLE:
        assert Rules(entry.text, 60.0).allows(href) is (verdict is Verdict.ALLOWED)
        assert cache.look(ORIGIN + "/robots.txt", NOW) is Verdict.ALLOWED


@pytest.mark.parametrize(
    ("values", "asked"),
    [
        (["nofollow"], True),
        (["none"], True),
        (["NoIndex, NoFollow"], True),
        (["noindex nofollow"], True),
        (["noindex"], False),
        (["follow, all"], False),
        ([""], False),
        ([], False),
        (["crawler: nofollow"], True),
        (["Crawler:none"], True),
        (["googlebot: nofollow"], False),
        (["googlebot: noindex, nofollow"], False),
        (["robots: nofollow"], True),
        (["googlebot: noindex, crawler: nofollow"], True),
        (["crawler: noindex, googlebot: nofollow"], False),
        (["nofollow, googlebot: noindex"], True),
        (["unavailable_after: 25 Jun 2010 15:00:00 PST"], False),
        (["unavailable_after: Friday, 25-Jun-10 15:00:00 UTC, nofollow"], True),
        (["unavailable_after: Fri, 25 Jun 2010 15:00:00 GMT, nofollow"], True),
        (["unavailable_after: 2010-06-25T15:00:00+00:00, noindex"], False),
        (["googlebot: unavailable_after: Fri, 25 Jun 2010 15:00:00 GMT, nofollow"], False),
        (["max-snippet: 20, max-image-preview: none"], False),
        (["max-snippet:-1, nofollow"], True),
        (["googlebot: noindex", "nofollow"], True),
        (["noindex", "crawler: nofollow"], True),
    ],
)
def test_x_robots_tag(values: list[str], asked: bool) -> None:
    """Every form of the header: for all or by name, several in a line, several lines, dates with commas and colons."""
    headers = CIMultiDict([("Content-Type", "text/html"), *(("X-Robots-Tag", value) for value in values)])
    assert nofollow(headers, "crawler") is asked


def test_x_robots_tag_in_a_plain_mapping() -> None:
    """Names compare without case whatever holds them."""
    assert nofollow({"x-robots-tag": "nofollow"}, "crawler") is nofollow({"X-ROBOTS-TAG": "none"}, "crawler") is True


@pytest.mark.parametrize(
    ("name", "content", "asked"),
    [
        ("robots", "noindex,nofollow", True),
        ("ROBOTS", " None ", True),
        ("robots", "NOINDEX NOFOLLOW", True),
        ("crawler", "nofollow", True),
        ("Crawler", "noindex", False),
        ("googlebot", "nofollow", False),
        ("description", "none", False),
        ("robots", "follow, index", False),
        ("robots", "", False),
    ],
)
def test_meta_nofollow(name: str, content: str, asked: bool) -> None:
    """One meta element, for all or for us by name."""
    assert meta_nofollow(name, content, "crawler") is asked
