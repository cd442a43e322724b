"""From sources and store into the frontier: new rows as they are read, windows of hosts as they run low.

Does: the two loops that keep the frontier fed. Must not know fetching or outputs. Invariant: a row is in the ledger
whenever it is in the frontier, and a source is marked as read so far only with all its rows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import islice
from math import inf
from time import monotonic
from time import time as wall_clock
from typing import NamedTuple

from crawler.checkpoint import SourceMark
from crawler.discovery import Discovery
from crawler.feed import Defaults, request_of
from crawler.fingerprints import Fingerprints, fingerprint
from crawler.frontier import Frontier
from crawler.keys import Keys
from crawler.ledger import Ledger
from crawler.model import BadRow, Request, Row
from crawler.rows import NewRow
from crawler.sources import Source
from crawler.wake import Wake

log = logging.getLogger("crawler")

# Rows read and canonicalised in one go, at first and then: about 3 and 12 ms of the loop.
_FIRST, _SLICE = 500, 2000
# While every worker is busy a long import takes a quarter of the time: the sooner all hosts are known, the better
# those that set the end of the run can be told from the rest.
_REST = 3.0
_SHORT = 100_000  # rows that are read without rest


class Import(NamedTuple):
    """What is to be read: sources with what was taken of them, the next id, how rows become requests."""

    sources: Sequence[tuple[Source, SourceMark]]
    next_id: int
    defaults: Defaults
    dedupe: bool
    discovery: Discovery | None = None  # of a crawl
    longest: float = inf  # seconds that a retry waits at most, whatever became of the clock
    only_new: bool = False  # what earlier runs fetched is left out, but for the seeds of a crawl


class Intake:
    """Feeds one frontier. `busy` says that no worker waits for work, `fed` is called when there may be some."""

    def __init__(
        self,
        given: Import,
        keys: Keys,
        address_of: Callable[[str], Awaitable[str | None]],
        frontier: Frontier,
        ledger: Ledger,
        *,
        busy: Callable[[], bool],
        fed: Callable[[], None],
    ) -> None:
        self._given = given
        self._keys = keys
        self._address_of = address_of
        self._frontier = frontier
        self._ledger = ledger
        self._busy = busy
        self.fed = fed
        self.low = Wake()  # a window may run low
        self.eased = Wake()  # memory is free again
        self.paused = False  # nothing is read while something waits
        self.reading = True
        self.read = 0  # new requests
        self.left_out = 0  # inputs that earlier runs fetched
        self.knows = asyncio.Event()  # of a crawl: which URLs were seen before this process
        self.names: set[str] = set()  # hosts that the input names, where politeness keys are others

    async def read_sources(self) -> None:
        """Read the sources into frontier and store: at full speed while a worker idles, else now and then."""
        seen = await self._seen()
        passed = await self._passed() if self._given.only_new else None
        for source, mark in self._given.sources:
            rows = source.rows(mark.taken)
            try:
                while chunk := await asyncio.to_thread(_slice, rows, _SLICE if self.read else _FIRST):
                    began = monotonic()
                    await self._take(chunk, seen, passed)
                    mark = mark._replace(taken=mark.taken + len(chunk))
                    self._ledger.mark(mark)
                    self.fed()
                    if self.read > _SHORT and self._busy():
                        await asyncio.sleep(_REST * (monotonic() - began))
                    if self._ledger.full:
                        await self._ledger.store_rows()
                    while self.paused and self._frontier.waiting:
                        await self.eased.wait(monotonic() + 1.0)
            finally:
                rows.close()
            self._ledger.mark(mark._replace(complete=True))
        if self._given.only_new and self._given.discovery is not None:
            await self._learn(self._given.discovery.seen)
            self.knows.set()
        if self.left_out:
            log.warning("%d inputs were fetched by earlier runs, and are left out", self.left_out)
        self.reading = False
        self._frontier.close()
        self.fed()

    async def refill(self) -> None:
        """Bring rows of the store into windows that run low."""
        while True:
            wants = self._frontier.hungry(64)
            if not wants:
                await self.low.wait(monotonic() + 0.05 if self._frontier.waiting else inf)
                continue
            answers = await self._ledger.windows(wants)
            now, wall = monotonic(), wall_clock()
            for want, rows in zip(wants, answers, strict=True):
                longest = self._given.longest
                waits = [(row, now + min(due - wall, longest) if due > wall else 0.0) for row, due in rows]
                self._frontier.refill(want, waits, now)
            self.fed()

    def found(self, request: Request, now: float) -> None:
        """A request that an answer led to; it is committed together with the end of what led there."""
        request.id = self._given.next_id + self.read
        self.read += 1
        self._frontier.add(request, now)
        print_ = request.fingerprint or fingerprint(request.method, request.url, request.body)
        self._ledger.row(NewRow(request, print_))
        self.fed()

    async def found_many(self, requests: Sequence[Request]) -> None:
        """Some of the requests of a page with very many links, before its end is committed: if that does not come to
        pass they are found once more, and known.
        """
        now = monotonic()
        for request in requests:
            self.found(request, now)
        if self._ledger.full:
            await self._ledger.store_rows()
        else:
            await asyncio.sleep(0)

    async def know(self, host: str) -> None:
        """See to it that a host has its politeness key: where that is its address, it is looked up."""
        if self._keys.unknown(host):
            self._keys.learn(host, await self._address_of(host))

    async def _take(self, chunk: list[Row | BadRow], seen: Fingerprints | None, passed: Fingerprints | None) -> None:
        defaults, frontier, ledger = self._given.defaults, self._frontier, self._ledger
        asked = [request_of(row, 0, defaults) for row in chunk]
        if not self._keys.plain:
            await self._place([request for request, _ in asked])
        # From here on nothing is awaited: all of a chunk is in the ledger together, or none of it.
        now, number, discovery = monotonic(), self._given.next_id + self.read, self._given.discovery
        for request, print_ in asked:
            if passed is not None and print_ in passed:
                self.left_out += 1
            elif seen is None or seen.add(print_):
                request.fingerprint = print_
                if discovery is not None:
                    ledger.places(discovery.seed(request))
                request.id = number
                number += 1
                frontier.add(request, now)
                ledger.row(NewRow(request, print_))
        self.read = number - self._given.next_id

    async def _place(self, requests: list[Request]) -> None:
        """Give new requests their politeness keys."""
        hosts = {request.host for request in requests if self._keys.unknown(request.host)}
        await asyncio.gather(*(self.know(host) for host in hosts))
        self.names.update(request.host for request in requests)
        for request in requests:
            request.host = request.home = self._keys.key_of(request.host)

    async def _seen(self) -> Fingerprints | None:
        """The fingerprints already known; None where duplicates are welcome or nothing is left to read."""
        discovery = self._given.discovery
        if discovery is None and not (self._given.dedupe and self._given.sources):
            return None
        seen = Fingerprints() if discovery is None else discovery.seen
        if self._given.next_id > 1:
            known = self._ledger.fingerprints()
            while prints := await self._ledger.step(known):
                seen.update(prints)
        if not self._given.only_new:
            self.knows.set()
        return seen

    async def _passed(self) -> Fingerprints | None:
        """The fingerprints of inputs that are left out. The seeds of a crawl lead to what is new, so they are not."""
        if self._given.discovery is not None:
            return None
        passed = Fingerprints()
        await self._learn(passed)
        return passed

    async def _learn(self, prints: Fingerprints) -> None:
        """Add all that earlier runs know."""
        known = self._ledger.known_prints()
        while found := await self._ledger.step(known):
            prints.update(found)


def _slice(rows: Iterator[Row | BadRow], count: int) -> list[Row | BadRow]:
    return list(islice(rows, count))
