"""What an outcome leads to, made ready before it is settled: links, sitemaps, and addresses that decide on pace.

Does: hand what pages name to the intake, look addresses up where hosts are told apart by them. Must not know what
becomes of the outcome itself. Invariant: whatever a page led to is in the intake, or in its outcome, before that is
settled; no request is queued under a politeness key that is not known yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress

from crawler.admission import Admission
from crawler.discovery import Discovery
from crawler.intake import Intake
from crawler.keys import Keys
from crawler.links import Leads
from crawler.mirrors import next_mirror
from crawler.model import Fetched, Outcome, Request
from crawler.robots import origin_of
from crawler.urls import BadURL, hostname, join


class Following:
    """Of one run; without a crawl, and with hosts told apart by name, it is `idle` and never asked."""

    def __init__(self, discovery: Discovery | None, keys: Keys, admission: Admission, intake: Intake) -> None:
        self._discovery = discovery
        self._keys = keys
        self._admission = admission
        self._intake = intake
        self.idle = discovery is None and keys.plain

    def leads_on(self, request: Request) -> bool:
        """May links be followed from its page."""
        return self._discovery is not None and self._discovery.follows(request)

    async def before(self, request: Request) -> None:
        """What is to be known of a request before it is sent: sitemaps of a seed's site, whether a page led here."""
        if self._discovery is None:
            return
        if not request.depth:
            await self._find_sitemaps(self._discovery, request)
        if self._discovery.strange(request):
            request.foreign = True

    async def after(self, outcome: Outcome) -> None:
        """All that an outcome names."""
        if not self._keys.plain:
            await self.know_mirror(outcome.request)
            if isinstance(outcome, Fetched):
                await self._know_next(outcome)
        if self._discovery is not None and isinstance(outcome, Fetched):
            await self._discover(self._discovery, outcome)

    async def know_mirror(self, request: Request) -> None:
        """Look up the host of the URL at which a request would go on if this one failed."""
        if (url := next_mirror(request)) is not None:
            await self._intake.know(hostname(url))

    async def _find_sitemaps(self, discovery: Discovery, request: Request) -> None:
        """Of the site of a seed, now that its robots.txt is known."""
        if not discovery.wants_sitemaps(request):
            return
        await self._intake.knows.wait()
        origin = origin_of(request.url)
        await self._intake.found_many(discovery.sitemaps(origin, self._admission.sitemaps(origin)))

    async def _discover(self, discovery: Discovery, outcome: Fetched) -> None:
        """What a page leads to, as requests that are committed with its end; of very many most are put in before."""
        if outcome.again:
            return
        if not self._intake.knows.is_set():
            await self._intake.knows.wait()
        if outcome.sitemap is not None:
            await self._listed(discovery, outcome)
        last: list[Request] = []
        for found in discovery.found(outcome):
            if last:
                await self._intake.found_many(last)
            if self._keys.by_address:
                await self._placed(found)
            last = found
        outcome.found = last

    async def _listed(self, discovery: Discovery, outcome: Fetched) -> None:
        """The same of a sitemap, which is read piece by piece, however large."""
        batches = outcome.sitemap or iter(())
        while (leads := await asyncio.to_thread(_next, batches)) is not None:
            outcome.leads = leads
            for found in discovery.found(outcome):
                if self._keys.by_address:
                    await self._placed(found)
                await self._intake.found_many(found)
            if leads.warning is not None:
                outcome.warning = "; ".join(filter(None, [outcome.warning, leads.warning]))
        outcome.leads = None

    async def _placed(self, found: list[Request]) -> None:
        """Where hosts are told apart by address, those of new requests are looked up."""
        for request in found:
            name = hostname(request.url)
            await self._intake.know(name)
            request.host = request.home = self._keys.key_of(name)

    async def _know_next(self, outcome: Fetched) -> None:
        """Where hosts are told apart by address, that of the next hop or page has to be known before it is queued."""
        if outcome.next_url is not None:  # of a run that goes on, the addresses of its rows are not known
            await self._intake.know(hostname(outcome.next_url))
        location = outcome.headers.get("Location")
        if location is not None and 300 <= outcome.status < 400:
            with suppress(BadURL):
                await self._intake.know(join(outcome.request.url, location).host)


def _next(batches: Iterator[Leads]) -> Leads | None:
    return next(batches, None)
