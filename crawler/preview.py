"""What `crawler plan` looks at: the lists, the robots.txt of their hosts, and what the checkpoint knows of these.

Does: bring together counts, paces and robots.txt for the bound, and what is known of credentials. Must not change the
checkpoint. Invariant: no host is asked for more than its robots.txt or a token, and with `offline` none at all.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from heapq import nlargest
from itertools import chain
from pathlib import Path
from time import time as wall_clock

from crawler.admission import Admission, Taught
from crawler.authplan import auth_seen
from crawler.bound import Share
from crawler.errors import Reason
from crawler.feed import request_of
from crawler.fetch import Fetcher
from crawler.fingerprints import Fingerprints
from crawler.folders import JobFolder
from crawler.hosts import Hosts
from crawler.identity import user_agent
from crawler.jobfile import LoadedJob
from crawler.keys import Keys
from crawler.means import Given, given
from crawler.model import BadRow, Failed, Outcome, Request, Row
from crawler.paces import state_of
from crawler.parts import (
    defaults_of,
    fetch_rules,
    keys_of,
    longest_crawl_delay,
    obeys_robots,
    session_settings,
    sources_of,
)
from crawler.plan import Plan, RobotsSeen, counts, plan_of
from crawler.quota import DAY
from crawler.redirect import Hop
from crawler.robots import Entry, RobotsCache, Verdict, robots_url
from crawler.robotstext import product_token
from crawler.schema import reading
from crawler.session import Session
from crawler.settle import move
from crawler.sources import Source, preflight
from crawler.urls import hostname, netloc
from crawler.watch import Watch

_ASKED = 1_000  # origins, those with most requests
_AT_ONCE = 32


class _Known:
    """What the checkpoint knows of hosts: a rate that was learned, seconds that they must still wait."""

    def __init__(self, folder: JobFolder, now: float) -> None:
        self.rate: dict[str, float] = {}
        self.blocked: dict[str, float] = {}
        self.robots: dict[str, Entry] = {}
        if folder.state.exists():
            self._read(folder.state, now)

    def _read(self, path: Path, now: float) -> None:
        with reading(path) as db:
            for name, text in db.execute("SELECT name, pace FROM hosts WHERE pace IS NOT NULL"):
                state = state_of(text, now, DAY)
                self.blocked[name] = max(0.0, state.blocked_until - now)
                if state.rate:
                    self.rate[name] = state.rate
            for origin, text in db.execute("SELECT origin, entry FROM robots"):
                entry = Entry.loads(text)
                if entry is not None:
                    self.robots[origin] = entry


async def preview(loaded: LoadedJob, *, offline: bool) -> Plan:
    """The plan of a job. Raises JobError, StorageError."""
    job, sources = loaded.job, sources_of(loaded)
    preflight(sources)
    outside = given(loaded)
    hosts, keys = Hosts(job), keys_of(job)
    counted = await asyncio.to_thread(counts, _rows(sources), defaults_of(loaded), keys.key_of, dedupe=job.input.dedupe)
    counted = counted._replace(shown_bad=tuple(map(outside.mask, counted.shown_bad)))
    known = _Known(JobFolder(Path(job.output.dir), job.name), wall_clock())
    seen, delays, sent = None, {}, counted.hosts
    if obeys_robots(job):
        cache = RobotsCache(product_token(user_agent(job)), longest_crawl_delay(job))
        asker = _Asker(loaded, outside, cache, hosts)
        for origin, entry in known.robots.items():
            asker.take_up(origin, Taught(entry, None), keys)
        asked = [] if offline else nlargest(_ASKED, counted.origins, key=lambda origin: counted.origins[origin])
        await asker.ask([origin for origin in asked if hosts.of(netloc(robots_url(origin))).robots], keys)
        found, unsent = await asyncio.to_thread(_judged, loaded, sources, cache, hosts, keys)
        seen = RobotsSeen(asker.asked, *(found[v] for v in (Verdict.DISALLOWED, Verdict.UNREACHABLE, Verdict.UNKNOWN)))
        delays, sent = asker.delays, {key: number - unsent[key] for key, number in counted.hosts.items()}
    return plan_of(
        job.name,
        counted,
        _shares(sent, hosts, known, delays),
        rate=job.limits.rate,
        workers=job.limits.workers,
        robots=seen,
        auth=await auth_seen(loaded, outside, hosts, counted.origins, offline=offline),
    )


def _rows(sources: list[Source]) -> Iterator[Row | BadRow]:
    return chain.from_iterable(source.rows() for source in sources)


def _shares(sent: Mapping[str, int], hosts: Hosts, known: _Known, delays: dict[str, float]) -> Iterator[Share]:
    for key, requests in sent.items():
        pace = hosts.pace_of(key)
        crawl_delay = delays.get(key, 0.0)
        rates = [rate for rate in (pace.rate, known.rate.get(key)) if rate is not None]
        yield Share(
            key,
            requests,
            rate=min(rates) if rates else None,
            burst=pace.burst,
            delay=max(pace.delay, crawl_delay),
            concurrency=1 if crawl_delay else pace.concurrency,
            blocked=known.blocked.get(key, 0.0),
        )


class _Asker:
    """Asks for robots.txt, a few hosts at once, each origin once."""

    def __init__(self, loaded: LoadedJob, outside: Given, cache: RobotsCache, hosts: Hosts) -> None:
        self._loaded = loaded
        self._outside = outside
        self._cache = cache
        self._admission = Admission(cache, hosts.of, attempts=1)
        self._hosts = hosts
        self.delays: dict[str, float] = {}  # by politeness key
        self.asked = 0

    def take_up(self, origin: str, taught: Taught, keys: Keys) -> None:
        """What stands for an origin from now on."""
        key = keys.key_of(hostname(robots_url(origin)))
        self.delays[key] = self._admission.take_up(origin, taught, key)

    async def ask(self, origins: list[str], keys: Keys) -> None:
        """Ask those of which nothing is known."""
        wall = wall_clock()
        todo = [origin for origin in origins if self._cache.look(robots_url(origin), wall) is Verdict.UNKNOWN]
        if not todo:
            return
        async with Session(session_settings(self._loaded.job)) as session:
            # Every origin is of the job's own input; where it redirects to may not be.
            named = {hostname(robots_url(origin)) for origin in origins}
            rules = fetch_rules(self._loaded.job, self._hosts, named=lambda request: hostname(request.url) in named)
            watch = Watch(tick=1.0)
            rules = rules._replace(means=self._outside.means(session, watch, self._hosts, None))
            fetcher = Fetcher(session, rules, watch)
            turns = asyncio.Semaphore(_AT_ONCE)
            await asyncio.gather(*(self._one(origin, fetcher, turns, keys) for origin in todo))

    async def _one(self, origin: str, fetcher: Fetcher, turns: asyncio.Semaphore, keys: Keys) -> None:
        request = Request(0, robots_url(origin), keys.key_of(hostname(robots_url(origin))))
        request.robots = origin
        timeouts = self._hosts.of(netloc(request.url)).timeouts
        async with turns:
            try:
                async with asyncio.timeout(timeouts.connect + timeouts.read):
                    outcome: Outcome = await fetcher(request)
                    while isinstance(step := self._admission.hop(outcome), Hop):
                        move(request, step, keys.key_of)
                        outcome = await fetcher(request)
            except TimeoutError:
                outcome = Failed(request, "", Reason.READ_TIMEOUT, "robots.txt did not come in time", None)
        self.asked += 1
        taught = self._admission.learned(outcome, wall_clock())
        if taught is not None:
            self.take_up(origin, taught, keys)


def _judged(
    loaded: LoadedJob, sources: list[Source], cache: RobotsCache, hosts: Hosts, keys: Keys
) -> tuple[Counter[Verdict], Counter[str]]:
    """What robots.txt says of each request, and by politeness key how many will not be sent. The lists are read a
    second time, so stdin is left out.
    """
    wall, defaults, dedupe = wall_clock(), defaults_of(loaded), loaded.job.input.dedupe
    found, unsent, known = Counter[Verdict](), Counter[str](), Fingerprints()
    if "-" in loaded.job.input.files:
        return found, unsent
    for row in _rows(sources):
        request, print_ = request_of(row, 0, defaults)
        if request.error is None and (not dedupe or known.add(print_)) and hosts.of(netloc(request.url)).robots:
            verdict = cache.look(request.url, wall)
            found[verdict] += 1
            if verdict in (Verdict.DISALLOWED, Verdict.UNREACHABLE):
                unsent[keys.key_of(request.host)] += 1
    return found, unsent
