"""Which links of a page become requests, each once, and which redirects of a crawl are followed.

Decides by scope, depth, bounds, traps and what was seen. Must not know pages' formats, queues, the disk or the clock.
Invariant: for one canonical URL there is at most one request, and one page that fetches it, whatever leads there;
what is refused is counted by why.

Most links repeat from page to page: of those all that is paid is the join and a look into a set of texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from crawler.canon import Canon, Joiner
from crawler.errors import Reason
from crawler.fingerprints import Fingerprints, fingerprint
from crawler.jobcrawl import Crawl
from crawler.links import Kind, Link
from crawler.model import Fetched, Request, Row
from crawler.records import Fault
from crawler.redirect import exposed
from crawler.robots import origin_of
from crawler.scope import Scope
from crawler.traps import Traps
from crawler.urlpatterns import shape_of
from crawler.urls import hostname

_RECENT = 200_000  # texts of URLs that need no further look, about 40 MB
_SITEMAPS = 1000  # that a robots.txt may name
_PATTERNS = 10_000  # that are counted
_FEW, _NAMED = 200, 1000  # pages of one before they are compared; of a folder whose pages have names without numbers
_CHUNK = 1000  # links in one go: some milliseconds
# What is counted beside the refusals, by its key in the summary.
_LINKS, _PAGES, _REQUISITES, _KNOWN = "links", "pages", "requisites", "known"
_NOFOLLOW, _BOUND, _HOST_BOUND = "nofollow", "max-pages", "max-pages-per-host"
_TOO_DEEP = "too-deep"


class _Page(NamedTuple):
    """The page that links stand on; `barren`: it says nothing new."""

    request: Request
    nofollow: bool
    barren: bool


class Discovery:
    """The links of one run. `counts` are its own, and travel with the checkpoint; `key_of` gives a host's politeness
    key, `made` turns what a function asked for into a request. `seen` is filled before the first page is read.
    `requests` are those made so far, by processes before as well: by them alone max_pages is exact after a kill.
    """

    def __init__(
        self,
        said: Crawl,
        scope: Scope,
        traps: Traps | None,
        key_of: Callable[[str], str],
        counts: dict[str, int],
        named: Iterable[str] = (),
        made: Callable[[Row], tuple[Request, int]] | None = None,
    ) -> None:
        self._said = said
        self._scope = scope
        self._traps = traps
        self._key_of = key_of
        self._canon = Canon(said)
        self._made = made
        self._named: dict[str, list[str]] = {}  # origins that seeds name, by host
        for origin in named:
            self._named.setdefault(hostname(f"{origin}/"), []).append(f"{origin}/")
        self._recent: set[str] = set()
        self._of_host: dict[str, int] = {}
        self._patterns: dict[str, int] = {}  # pages by pattern
        self._asked: set[str] = set()  # origins whose sitemaps are known
        self.requests = 0
        self.counts = counts
        self.seen = Fingerprints()

    def __repr__(self) -> str:
        return f"<Discovery {self.counts.get(_PAGES, 0)} pages, {len(self.seen)} URLs seen>"

    # -- seeds --------------------------------------------------------------------------------------------------------

    def seed(self, request: Request) -> list[str]:
        """What the input named; returns what is to be remembered of it for a restart."""
        self.requests += 1
        if request.error is not None:
            return []
        self._count(_PAGES)
        href, host, told = request.url, hostname(request.url), []
        if self._said.max_pages_per_host is not None:
            self.of_host(host, 1)
        origin = origin_of(href)
        if f"{origin}/" not in (named := self._named.setdefault(host, [])):
            named.append(f"{origin}/")
            told.append(f"{NAMED}{origin}")
        if (place := self._scope.admit(href)) is not None:
            told.append(place)
        return told

    def names(self, host: str) -> bool:
        """Does the input name this host: then it may have a private address."""
        return host in self._named

    def strange(self, request: Request) -> bool:
        """Does a request stand where what the job lends to its inputs would be in other or worse hands: a page led to
        a host that none of them names, to another of its ports, or to plain http.
        """
        if not request.depth:
            return False
        url = request.url
        return all(exposed(url, origin) for origin in self._named.get(hostname(url), ()))

    def of_host(self, host: str, pages: int) -> None:
        """So many pages of a host were asked for before."""
        self._of_host[host] = self._of_host.get(host, 0) + pages

    def wants_sitemaps(self, request: Request) -> bool:
        """Is the site of this seed to be asked for its sitemaps now."""
        if not self._said.sitemaps or request.error is not None or request.robots is not None:
            return False
        return origin_of(request.url) not in self._asked

    def sitemaps(self, origin: str, named: Sequence[str]) -> list[Request]:
        """What to ask an origin for its sitemaps: those that its robots.txt names, else the usual place."""
        self._asked.add(origin)
        joiner, found = self._canon.joiner(f"{origin}/robots.txt", None), []
        for text in [*named[:_SITEMAPS]] or ["/sitemap.xml"]:
            href = joiner.join(text)
            if href is None or (print_ := fingerprint("GET", href, None)) in self.seen:
                continue
            if (bound := self._beyond(href)) is not None:
                self._count(bound)
                continue
            self.seen.add(print_)
            self._new_one(_PAGES)
            found.append(Request(0, href, self._key_of(hostname(href)), referrer=f"{origin}/robots.txt", depth=1))
            found[-1].fingerprint, found[-1].urgent = print_, True
        return found

    # -- pages --------------------------------------------------------------------------------------------------------

    def follows(self, request: Request) -> bool:
        """Is anything that this page may lead to wanted at all."""
        return request.requisite or self._said.requisites or self._deeper(request)

    def compares(self, request: Request) -> bool:
        """Is a page to be told from others: of patterns with few pages none is looked at more closely."""
        if self._traps is None:
            return False
        pattern = shape_of(request.url).pattern
        pages = self._patterns.get(pattern, 0) + 1
        if len(self._patterns) >= _PATTERNS:
            self._patterns.clear()
        self._patterns[pattern] = pages
        return pages > (_NAMED if pattern.endswith("…") else _FEW)

    def found(self, outcome: Fetched) -> Iterator[list[Request]]:
        """New requests that a page leads to, in pieces that cost some milliseconds each."""
        request, leads = outcome.request, outcome.leads
        barren = False
        if self._traps is not None and outcome.likeness is not None:
            barren = self._traps.seen_page(request.url, outcome.likeness)
        if outcome.follows:
            yield self._asked_for(request, outcome.follows)
        if leads is None or not leads.links:
            return
        joiner = self._canon.joiner(request.url, leads.base)
        links = leads.links
        for start in range(0, len(links), _CHUNK):
            yield self._new(_Page(request, leads.nofollow, barren), joiner, links[start : start + _CHUNK])

    def _new(self, page: _Page, joiner: Joiner, links: Sequence[Link]) -> list[Request]:
        found: list[Request] = []
        recent, seen, counts = self._recent, self.seen, self.counts
        deeper, obeyed = self._deeper(page.request), self._said.nofollow == "obey"
        known = 0
        for link in links:
            href = joiner.join(link.href)
            if href is None:
                continue
            if href in recent:
                known += 1
                continue
            print_ = fingerprint("GET", href, None)
            if print_ in seen:
                known += 1
                self._remember(href)
                continue
            if link.kind is not Kind.REQUISITE:
                if page.request.requisite or not (deeper or link.kind is Kind.SITEMAP):
                    self._count(_TOO_DEEP)
                    continue
                if obeyed and (link.nofollow or page.nofollow):
                    self._count(_NOFOLLOW)
                    continue
            request = self._admitted(page, href, link, print_)
            if request is not None:
                found.append(request)
        counts[_LINKS] = counts.get(_LINKS, 0) + len(links)
        counts[_KNOWN] = counts.get(_KNOWN, 0) + known
        for why, times in joiner.refused.items():
            counts[why] = counts.get(why, 0) + times
        joiner.refused.clear()
        return found

    def _asked_for(self, page: Request, follows: Sequence[Row]) -> list[Request]:
        """What a function of the user's asked for: its own word counts for more than nofollow and traps do."""
        found: list[Request] = []
        assert self._made is not None
        for row in follows:
            request, print_ = self._made(row)
            if request.error is None:
                if print_ in self.seen:
                    self._count(_KNOWN)
                    continue
                why: str | None = self._scope.why_not(request.url) if self._deeper(page) else _TOO_DEEP
                if (why := why or self._beyond(request.url)) is not None:
                    self._count(why)
                    continue
            self.seen.add(print_)
            self._new_one(_PAGES)
            request.fingerprint, request.depth, request.referrer = print_, page.depth + 1, page.url
            request.host = request.home = self._key_of(request.host)
            found.append(request)
        return found

    def _admitted(self, page: _Page, href: str, link: Link, print_: int) -> Request | None:
        """The request for a link to what was not seen; None where there is to be none."""
        requisite = link.kind is Kind.REQUISITE
        why = self._scope.why_not(href, requisite=requisite)
        if why is None and self._traps is not None and link.kind is not Kind.SITEMAP and not requisite:
            why = self._traps.why_not(href, page.barren)
        if why is not None:
            self._remember(href)
            self._count(why)
            return None
        if (bound := self._beyond(href)) is not None:
            self._count(bound)
            return None
        self.seen.add(print_)
        self._remember(href)
        self._new_one(_REQUISITES if requisite else _PAGES)
        own = page.request
        # Only what the input names has depth 0: it is trusted, and its failure is one of the run.
        depth = max(1, own.depth) if link.kind is Kind.SITEMAP else own.depth + 1
        key = self._key_of(hostname(href))
        request = Request(0, href, key, referrer=own.url, depth=depth, requisite=requisite)
        request.fingerprint = print_
        request.urgent = self._urgent(href, link)
        return request

    def _urgent(self, href: str, link: Link) -> bool:
        if link.is_index or (link.priority is not None and link.priority >= self._said.prefer_priority):
            return True
        return self._scope.preferred(href)

    def _deeper(self, request: Request) -> bool:
        return self._said.depth is None or request.depth < self._said.depth

    def _beyond(self, href: str) -> str | None:
        """Which bound on pages is reached, if one is."""
        said = self._said
        if said.max_pages is not None and self.requests >= said.max_pages:
            return _BOUND
        if said.max_pages_per_host is not None:
            host = hostname(href)
            if self._of_host.get(host, 0) >= said.max_pages_per_host:
                return _HOST_BOUND
            self.of_host(host, 1)
        return None

    # -- redirects ----------------------------------------------------------------------------------------------------

    def hop(self, request: Request, href: str) -> tuple[Fault | None, list[str]]:
        """Why a redirect is not followed, if it is not; and what is to be remembered, as of a seed.

        Where a seed's redirect leads is a seed as well: a site that moved is crawled where it is now.
        """
        told: list[str] = []
        if request.depth == 0 and not request.requisite:
            if (place := self._scope.admit(href)) is not None:
                told.append(place)
        elif (why := self._scope.why_not(href, requisite=request.requisite)) is not None:
            said = f"the redirect leads to {href}, which is not crawled ({why})"
            return Fault(Reason.OUT_OF_SCOPE, said, None), told
        target = self._canon.canonical(href)
        if target is None or target in map(self._canon.canonical, (request.url, *request.hops)):
            return None, told  # the same page, only spelled otherwise
        print_ = fingerprint("GET", target, None)
        if not self.seen.add(print_):
            return Fault(Reason.KNOWN, f"the redirect leads to {href}, which is fetched for itself", None), told
        return None, told

    def claimed(self, request: Request) -> list[int]:
        """What a request that came to its end stands for, beside its own URL: nobody else is to fetch it."""
        if not request.hops:
            return []
        hrefs = (self._canon.canonical(href) for href in (*request.hops[1:], request.url))
        return [fingerprint("GET", href, None) for href in hrefs if href is not None]

    # -- telling ------------------------------------------------------------------------------------------------------

    def stopped(self) -> list[tuple[str, int]]:
        """Patterns of URLs that were traps, each with how many of its URLs were left."""
        return self._traps.stopped() if self._traps is not None else []

    def traps_state(self) -> str | None:
        """What the traps must know after a restart."""
        return self._traps.dumps() if self._traps is not None else None

    def _remember(self, href: str) -> None:
        if len(self._recent) >= _RECENT:
            self._recent.clear()
        self._recent.add(href)

    def _new_one(self, what: str) -> None:
        self.requests += 1
        self._count(what)

    @property
    def unbounded(self) -> bool:
        """Was no link left for want of room below max_pages."""
        return not any(self.counts.get(bound) for bound in (_BOUND, _HOST_BOUND))

    def _count(self, what: str) -> None:
        what = str(what)  # one that is an enum's is no key to orjson
        self.counts[what] = self.counts.get(what, 0) + 1


TRAPS = "traps"  # the name of the note that traps go on with after a restart
NAMED = "seed "  # begins the text of a place that is an origin which the input names
