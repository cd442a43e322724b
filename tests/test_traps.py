"""Traps: endless sites end by themselves, and what is real is fetched."""

from __future__ import annotations

import re
from collections import Counter, deque
from itertools import product
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from crawler import jobcrawl
from crawler.canon import Canon
from crawler.jobcrawl import Crawl
from crawler.likeness import likeness
from crawler.scope import Scope, Why
from crawler.traps import Traps
from tests import trapsite

DOCS = Path("/usr/share/doc/python3-doc/html").resolve()
HREF = re.compile(r'href="([^"]*)"')
TAG = re.compile(r"<[^>]*>")


class Crawled(NamedTuple):
    """What a simple crawl asked for, in its order, and why links were left."""

    asked: list[str]
    left: Counter[str]
    traps: Traps


def crawl(said: Crawl, *, restart_every: int = 0, most: int = 20_000) -> Crawled:
    """A breadth-first crawl of the site of traps, without any network; ends by itself or at `most` pages."""
    origin, canon, traps = "http://traps.example", Canon(said), Traps(said.traps)
    scope = Scope(said, lambda host: None)
    scope.admit(f"{origin}/")
    asked: list[str] = []
    left: Counter[str] = Counter()
    waiting, seen = deque([f"{origin}/"]), {f"{origin}/"}
    while waiting and len(asked) < most:
        href = waiting.popleft()
        asked.append(href.removeprefix(origin))
        if restart_every and len(asked) % restart_every == 0:
            text, traps = traps.dumps(), Traps(said.traps)
            traps.loads(text)
        text = trapsite.answer(href.removeprefix(origin))[2].decode()
        barren = traps.seen_page(href, likeness(TAG.sub(" ", text), href))
        joiner = canon.joiner(href)
        for link in HREF.findall(text):
            target = joiner.join(link.replace("&amp;", "&"))
            if target is None or target in seen:
                continue
            seen.add(target)
            why = scope.why_not(target) or traps.why_not(target, barren)
            left[why or "followed"] += 1
            if why is None:
                waiting.append(target)
    return Crawled(asked, left, traps)


def real(asked: list[str]) -> set[str]:
    """The real pages among them; a session id makes no other page."""
    return {re.sub(r"\?sid=.*", "", target) for target in asked} & trapsite.REAL


FEW = Crawl.model_validate({"traps": {"combinations": 300}})


@pytest.mark.slow
def test_a_site_of_traps_ends_with_all_real_pages() -> None:
    """Calendar, filters, session ids, folders in themselves, soft 404s, ever longer URLs: each ends by its rule."""
    found = crawl(FEW)
    assert real(found.asked) == trapsite.REAL
    assert len(found.asked) < 15 * len(trapsite.REAL)
    assert {Why.TRAP_ALIKE, Why.TRAP_COMBINATIONS, Why.TRAP_REPEATS, Why.TOO_LONG} <= set(found.left)
    told = dict(found.traps.stopped())
    assert {"traps.example/calendar/#/#", "traps.example/endless/#", "traps.example/members/ann?sid"} <= set(told)
    assert sum(told.values()) == sum(found.left[why] for why in Why if why.startswith("trap"))


@pytest.mark.slow
def test_without_the_rules_it_does_not_end() -> None:
    """So it is they that end it."""
    never = {"repeats": 1000, "combinations": 10**9, "alike": 10**6}
    assert len(crawl(Crawl.model_validate({"traps": never}), most=4000).asked) == 4000


@pytest.mark.slow
def test_a_restart_decides_alike() -> None:
    """However often the crawl is killed, it asks for the same pages in the same order."""
    assert crawl(FEW, restart_every=7).asked == crawl(FEW).asked


@pytest.mark.slow
@pytest.mark.skipif(not DOCS.is_dir(), reason="python3-doc is not installed")
def test_no_page_of_a_real_site_is_left() -> None:
    """By default; whatever its pages link to, and in whatever order they are read."""
    rules, joiner_of = Traps(jobcrawl.Traps()), Canon(Crawl()).joiner
    pages = sorted(DOCS.rglob("*.html"))
    assert pages
    for file in pages:
        href, text = f"https://docs.example/{file.relative_to(DOCS)}", file.read_text("utf-8", "replace")
        barren = rules.seen_page(href, likeness(TAG.sub(" ", text), href))
        targets = filter(None, map(joiner_of(href).join, HREF.findall(text)))
        assert [target for target in targets if rules.why_not(target, barren) is not None] == []
    assert rules.stopped() == []


def traps(**said: int) -> Traps:
    """Traps with these bounds."""
    return Traps(jobcrawl.Traps.model_validate(said))


@pytest.mark.slow
def test_a_large_forum_is_no_trap() -> None:
    """100,000 threads that each say something, with neighbours and pages, are asked for to the last."""
    rules = traps()
    for number in range(100_000):
        assert rules.why_not(f"https://a.example/t/{number}", False) is None
        assert not rules.seen_page(f"https://a.example/t/{number}", number)
    topics = ((number % 7, number, start) for number in range(1500) for start in (0, 20, 40, 60, 80, 100, 120, 140))
    assert all(
        rules.why_not(f"https://a.example/viewtopic.php?f={f}&t={t}&start={start}", False) is None
        for f, t, start in topics
    )


@pytest.mark.slow
def test_items_by_pages_are_no_combinations() -> None:
    """A thousand threads of fifty pages each are more than the bound, and yet a list of things."""
    rules = traps(combinations=1000)
    for thread, page in product(range(200), range(50)):
        assert rules.why_not(f"https://a.example/show?lang=en&t={thread}&page={page}", False) is None


@pytest.mark.parametrize(
    "form", ["shop?c={}&s={}&b={}&o={}", "shop/{}/{}/{}/{}", "shop?f=c{}&f=s{}&f=b{}&f=o{}", "shop/{}-{}?b={}&s={}"]
)
def test_combinations_of_few_values_are_bounded(form: str) -> None:
    """Filters, in the query or the path: as many as two parameters could make of all values, or the bound where that
    is more; from then on none, new values or not.
    """
    urls = [f"https://a.example/{form.format(*values)}" for values in product(range(10, 19), repeat=4)]
    Random(1).shuffle(urls)
    for bound, let in ((50, 36**2), (3000, 3000)):
        rules = traps(combinations=bound, repeats=9)
        whys = Counter(rules.why_not(url, False) for url in urls)
        assert whys[None] == pytest.approx(let, rel=0.1)
        later = [f"https://a.example/{form.format(77, 88, 99, number)}" for number in range(2000, 2100)]
        assert {rules.why_not(url, False) for url in later} == {Why.TRAP_COMBINATIONS}
        assert [count for _, count in rules.stopped()] == [9**4 - whys[None] + 100]


def test_what_stands_on_a_page_that_says_something_is_followed() -> None:
    """However many pages of its pattern were barren; and one of them that says something sets the count back."""
    rules = traps(alike=3)
    assert [rules.seen_page(f"https://a.example/p/{number}", 7) for number in range(4)] == [False, True, True, True]
    assert rules.why_not("https://a.example/p/9", True) is Why.TRAP_ALIKE
    assert rules.why_not("https://a.example/p/10", False) is None
    assert rules.why_not("https://a.example/q/9", True) is None
    assert rules.why_not("https://b.example/p/9", True) is None
    assert rules.stopped() == [("a.example/p/#", 1)]
    assert not rules.seen_page("https://a.example/p/10", 8)
    assert rules.why_not("https://a.example/p/11", True) is None


def test_hosts_may_say_the_same() -> None:
    """A page of a mirror is not barren because of the other host's."""
    rules = traps()
    assert not rules.seen_page("https://a.example/", 1)
    assert not rules.seen_page("https://b.example/", 1)
    assert rules.seen_page("http://a.example/", 1)


def test_memory_is_bounded() -> None:
    """Whatever the patterns look like, the checkpoint's text stays below 1 MB and reads back alike."""
    rules, rng = traps(repeats=2, combinations=10, alike=1), Random(1)
    for number in range(9000):
        name = "\\" * 200 + "".join(rng.choices("abcdefghij", k=12))
        href = f"https://a.example/{'a/' * (number % 2 * 3)}x?{name}=1&b={number}&c={number % 2}"
        rules.why_not(href, True)
        rules.seen_page(href, rng.getrandbits(63) if number % 2 else 5)
        rules.why_not(href, True)
    for number in range(9000):
        rules.seen_page(f"https://a.example/{number}", rng.getrandbits(63))
    text = rules.dumps()
    assert len(text) < 1_000_000
    again = traps()
    again.loads(text)
    assert again.dumps() == text
    assert again.stopped() == rules.stopped() != []


def test_what_another_version_wrote_is_left_aside() -> None:
    """The rules begin anew, rather than not at all."""
    rules = traps()
    rules.loads('{"version": 0}')
    assert rules.stopped() == []
