"""Which URLs belong to a crawl: the sites of its seeds, and what [crawl] allows and denies of them.

Decides by the URL alone. Must not know pages, depth, or what was seen before. Invariant: a place that was admitted
stays; http and https are one site. Addresses are guarded where connections are made; a literal address that no seed
names is out of scope as any other host is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from functools import lru_cache

from crawler.jobcrawl import Crawl
from crawler.urls import hostname

_HOSTS = 65_536  # whose registrable domain is kept in mind


class Why(StrEnum):
    """Why a link is not followed; the values are stable slugs."""

    OUT_OF_SCOPE = "out-of-scope"
    TOO_LONG = "too-long"  # max_url_length
    DENIED = "denied"  # one of `deny` matches
    NOT_ALLOWED = "not-allowed"  # none of `allow` does
    TRAP_REPEATS = "trap-repeats"  # traps.repeats
    TRAP_COMBINATIONS = "trap-combinations"  # traps.combinations
    TRAP_ALIKE = "trap-alike"  # traps.alike


class Scope:
    """The scope of one run. `registrable` gives a host's domain by the public suffix list, None where it has none;
    `places` are those that `admit` returned in runs before.
    """

    def __init__(self, said: Crawl, registrable: Callable[[str], str | None], places: Iterable[str] = ()) -> None:
        self._kind = said.scope
        self._anywhere = said.requisites_anywhere
        self._longest = said.max_url_length
        self._allow = [re.compile(text).search for text in said.allow]
        self._deny = [re.compile(text).search for text in said.deny]
        self._prefer = [re.compile(text).search for text in said.prefer]
        self._domain = lru_cache(_HOSTS)(lambda host: registrable(host) or host)
        self._places = set(places)

    def __repr__(self) -> str:
        return f"<Scope {self._kind} places={len(self._places)}>"

    def admit(self, href: str) -> str | None:
        """A canonical URL that a seed names, or that its redirect led to, is in scope with all its site from now on.

        Returns the place that is new, to be handed to the next Scope of this job; None where it was known.
        """
        place = self._place(href)
        if place is None or place in self._places:
            return None
        self._places.add(place)
        return place

    def why_not(self, href: str, *, requisite: bool = False) -> Why | None:
        """Why a canonical URL is none of the crawl's; None where it is. What a page needs to be shown is not measured
        by `allow`, and with requisites_anywhere it may stand anywhere.
        """
        if not (requisite and self._anywhere) and not self._inside(href):
            return Why.OUT_OF_SCOPE
        if len(href) > self._longest:
            return Why.TOO_LONG
        if self._deny and any(found(href) for found in self._deny):
            return Why.DENIED
        if self._allow and not requisite and not any(found(href) for found in self._allow):
            return Why.NOT_ALLOWED
        return None

    def preferred(self, href: str) -> bool:
        """Does it go before other pages."""
        return any(found(href) for found in self._prefer)

    def _inside(self, href: str) -> bool:
        if self._kind == "any":
            return True
        if self._kind == "prefix":
            return any(folder in self._places for folder in _folders(href))
        host = hostname(href)
        return (host if self._kind == "host" else self._domain(host)) in self._places

    def _place(self, href: str) -> str | None:
        match self._kind:
            case "host":
                return hostname(href)
            case "domain":
                return self._domain(hostname(href))
            case "prefix":
                return max(_folders(href), key=len)
        return None


def _folders(href: str) -> Iterator[str]:
    """Host, port and path of each folder that a URL stands in, the outermost first; each ends with a slash."""
    start = href.index("//") + 2
    path = href[start : href.find("?")] if "?" in href else href[start:]
    end = path.find("/")
    while end >= 0:
        yield path[: end + 1]
        end = path.find("/", end + 1)
