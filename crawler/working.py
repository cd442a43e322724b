"""A run at work: session, watch, disk, means, pipeline and uploads put together, until all is done or it is stopped.

Does: build what the pipeline is made of from what was opened, and let it work. Must not know the order of recovery or
the command line. Invariant: of several faults storage trouble is raised first, then bugs; what was opened here is
closed here.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from time import monotonic
from time import time as wall_clock
from typing import NamedTuple

from crawler.admission import Admission, Taught
from crawler.bandwidth import Bandwidth
from crawler.capturing import Capturing
from crawler.checkpoint import SourceMark
from crawler.controlling import listening
from crawler.crawling import astray_of
from crawler.diskguard import DiskGuard
from crawler.errors import StorageError
from crawler.exchange import Means
from crawler.fetch import Fetcher, FetchRules
from crawler.filelimit import open_files, raised_limit
from crawler.frontier import Frontier
from crawler.gates import Gates
from crawler.identity import user_agent
from crawler.intake import Import
from crawler.ledger import Ledger
from crawler.logs import reopen
from crawler.openfiles import fitted, needed
from crawler.opening import Opened, Options
from crawler.outlets import partials_of
from crawler.paces import state_of
from crawler.parcels import Counts
from crawler.parts import (
    fetch_rules,
    longest_crawl_delay,
    longest_wait,
    obeys_robots,
    session_settings,
    shortest_timeout,
)
from crawler.pipeline import Pipeline, Plan, Shown
from crawler.quota import DAY
from crawler.robots import Entry, RobotsCache, robots_url
from crawler.robotstext import product_token
from crawler.room import Headroom
from crawler.session import Session
from crawler.sources import Source
from crawler.steering import Limits, Steering
from crawler.urls import hostname
from crawler.watch import Watch
from crawler.watchdog import watching

log = logging.getLogger("crawler")


class Going(NamedTuple):
    """What looks after the transfers of a run, and what goes along with its requests."""

    watch: Watch
    means: Means | None
    disk: DiskGuard
    workers: int
    limits: Limits


class Worked(NamedTuple):
    """What came of the pipeline, and of the uploads where there are any; `trouble` says why some are left."""

    drained: bool
    pipeline: Pipeline
    uploads: Counts | None = None
    trouble: str | None = None


async def work(
    opened: Opened,
    to_read: list[tuple[Source, SourceMark]],
    storage: ThreadPoolExecutor,
    options: Options,
    watcher: Shown,
) -> Worked:
    """Let the pipeline work. Of several faults storage trouble is raised first, then bugs."""
    job, limits = opened.job, opened.job.limits
    bandwidth = _bandwidth(opened)
    in_use = open_files()
    files = fitted(limits.workers, raised_limit(needed(2 * limits.workers, in_use)), in_use)
    if files.warning is not None:
        log.warning("%s", files.warning)
    try:
        async with Session(session_settings(job)._replace(connections=files.at_once, idle=files.idle)) as session:
            # Often enough for the shortest timeout, seldom enough to cost nothing.
            watch = Watch(tick=max(0.02, min(0.25, shortest_timeout(job) / 4)))
            means = opened.found.means(session, watch, opened.hosts, opened.jar.jar if opened.jar else None)
            disk = _disk(opened)
            held = Limits(opened.hosts, limits.rate, bandwidth, limits.workers)
            going = Going(watch, means, disk, files.at_once, held)
            pipeline = _pipeline(opened, to_read, storage, session, going)
            rules = _fetch_rules(opened, pipeline, means, disk)
            fetcher = Fetcher(session, rules, watch, bandwidth.spend if bandwidth else None)
            if options.held is not None:
                options.held(pipeline)
            steering = Steering(pipeline, held)
            try:
                async with listening(opened.folder.path, steering.obey):
                    with watching(), _signals(pipeline, steering) if options.signals else nullcontext():
                        return await _carried(opened, pipeline, fetcher, watcher)
            finally:
                if means is not None and means.auth is not None:
                    await means.auth.close()
    except BaseExceptionGroup as group:
        raise _first(group) from group


def _bandwidth(opened: Opened) -> Bandwidth | None:
    """What bounds transfers; None where nothing does, so that they pay nothing for it."""
    job = opened.job
    parts = (job.limits, *job.hosts.values())
    if job.limits.bandwidth is None and all(part.bandwidth_per_host is None for part in parts):
        return None
    return Bandwidth(job.limits.bandwidth, lambda netloc: opened.hosts.of(netloc).bandwidth)


def _disk(opened: Opened) -> DiskGuard:
    said = opened.job.output
    headroom = Headroom(said.min_free, said.min_free_percent)
    copies = len(said.bodies) + ("files" not in said.bodies)  # what arrives is a file first
    return DiskGuard(opened.folder.path, headroom, said.wait_for_room, copies)


def _fetch_rules(opened: Opened, pipeline: Pipeline, means: Means | None, disk: DiskGuard) -> FetchRules:
    job, run = opened.job, opened.taken.run
    pages = opened.crawling.pages if opened.crawling is not None else None
    rules = fetch_rules(job, opened.hosts, pipeline.named, run, opened.folder.parts, pages)
    return rules._replace(
        copies=opened.copies,
        paced=pipeline.paced,
        means=means,
        capturing=Capturing(job.websocket, run, pipeline.ledger),
        keeper=pipeline.ledger.partial,
        lend=pipeline.lend,
        give_back=pipeline.give_back,
        disk=disk,
    )


async def _carried(opened: Opened, pipeline: Pipeline, fetcher: Fetcher, watcher: Shown) -> Worked:
    """Let the pipeline work, and the uploads beside it to their end."""
    said, target, ledger = (
        opened.job.output.upload,
        opened.found.target,
        pipeline.ledger,
    )
    if said is None or target is None:
        return Worked(await pipeline.run(fetcher, watcher), pipeline)
    from crawler.uploads import Uploads

    uploads = Uploads(said, target, opened.folder, ledger, opened.checkpoint.shipped(opened.taken.run))
    try:
        drained = await pipeline.run(fetcher, watcher)
        await uploads.finish(lambda: pipeline.stopping)
        # Who stops a run that waits for its uploads alone finds it where it was left.
        ended = drained and not (pipeline.stopping and uploads.counts.left)
        return Worked(ended, pipeline, uploads.counts, uploads.trouble)
    finally:
        await uploads.close()


def _pipeline(
    opened: Opened,
    to_read: list[tuple[Source, SourceMark]],
    storage: ThreadPoolExecutor,
    session: Session,
    going: Going,
) -> Pipeline:
    job, taken = opened.job, opened.taken
    token = product_token(user_agent(job))
    robots = RobotsCache(token, longest_crawl_delay(job)) if obeys_robots(job) else None
    admission = Admission(robots, opened.hosts.of, job.retry.attempts)
    frontier = _frontier(opened, robots, admission, going.limits)
    beside = opened.jar.beside if opened.jar is not None else None
    partials = {partial.url: partial for partial in partials_of(opened.checkpoint, opened.folder)}
    extracts = opened.crawling is not None and opened.crawling.pages.extracts
    ledger = Ledger(opened.outputs, storage, frontier, taken.tally, taken.elapsed, beside, partials, extracts=extracts)
    rules = opened.rules
    if opened.crawling is not None:
        rules = rules._replace(astray=astray_of(opened.crawling.discovery, ledger))
    limits = job.limits
    plan = Plan(
        job.name,
        taken.run,
        going.workers,
        limits.rate,
        rules,
        limits.memory,
        going.disk,
        opened.recall,
        opened.sees_all,
    )
    discovery = opened.crawling.discovery if opened.crawling is not None else None
    imported = Import(
        to_read,
        opened.checkpoint.last_id() + 1,
        opened.defaults,
        job.input.dedupe,
        discovery,
        longest_wait(job),
        opened.only_new,
    )
    auth = going.means.auth if going.means is not None else None
    gates = Gates(
        opened.keys,
        admission,
        session.address_of,
        auth.barred if auth is not None else None,
    )
    return Pipeline(plan, imported, gates, frontier, ledger, going.watch)


def _frontier(opened: Opened, robots: RobotsCache | None, admission: Admission, limits: Limits) -> Frontier:
    """All hosts as the checkpoint knew them, slowed to what their robots.txt asks."""
    keys, crawling = opened.keys, opened.crawling
    frontier = Frontier(limits.pace_of)
    now, wall = monotonic(), wall_clock()
    for name, waiting, pace in opened.checkpoint.hosts():
        state = state_of(pace, wall, DAY).shifted(now - wall) if pace is not None else None
        if state is not None and not opened.taken.resumed:
            state = state.forgiven()
        named = crawling.discovery.names(name) if crawling is not None and keys.plain else None
        frontier.restore(name, waiting, now, state, named=named)
    if robots is not None and not keys.by_address:  # else no key is known before it is looked up
        for origin, text in opened.checkpoint.robots():
            entry = Entry.loads(text)
            if entry is not None:
                if entry.kind == "unreachable" and not opened.taken.resumed:
                    entry = entry._replace(expires_at=0.0)  # a new run asks anew
                key = keys.key_of(hostname(robots_url(origin)))
                if delay := admission.take_up(origin, Taught(entry, None), key):
                    frontier.pace(key).slow_to(delay, now)
    return frontier


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What to tell: trouble with the disk before bugs, and of several the first."""
    storage = group.subgroup(StorageError)
    found: BaseException = storage or group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


@contextmanager
def _signals(pipeline: Pipeline, steering: Steering) -> Iterator[None]:
    """SIGINT and SIGTERM stop the pipeline: the first drains, the second cuts. SIGHUP, also that of a terminal that
    goes away, opens the logs anew; SIGUSR1 writes down how it stands.
    """
    loop = asyncio.get_running_loop()
    handlers: dict[signal.Signals, Callable[[], None]] = {
        signal.SIGINT: pipeline.stop,
        signal.SIGTERM: pipeline.stop,
        signal.SIGHUP: _hung_up,
        signal.SIGUSR1: steering.log_state,
    }
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)
        for number in (signal.SIGHUP, signal.SIGUSR1):  # what is left to do is no reason to end by them
            signal.signal(number, signal.SIG_IGN)


def _hung_up() -> None:
    reopen()
    log.info("SIGHUP: logs are opened anew, the run goes on")
