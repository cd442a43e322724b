"""From a job to a finished run: lock, recovery, resume or anew, the pipeline, the summary, the exit code.

Does: build everything a pipeline needs, in the order in which faults can be told before anything is created. Must not
know the command line. Invariant: whatever happens after the lock is taken, the checkpoint says where the run stands
and the lock is given back.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from time import monotonic
from time import time as wall_clock
from typing import NamedTuple

from crawler.admission import Admission, Taught
from crawler.bandwidth import Bandwidth
from crawler.capturing import Capturing
from crawler.checkpoint import Checkpoint, SourceMark
from crawler.commit import Listener, Outputs
from crawler.errors import ExitCode, StorageError
from crawler.exchange import Means
from crawler.feed import Defaults
from crawler.fetch import Fetcher
from crawler.folders import JobFolder
from crawler.frontier import Frontier
from crawler.hosts import Hosts
from crawler.identity import user_agent
from crawler.intake import Import
from crawler.jars import JobJar
from crawler.job import Job
from crawler.jobfile import LoadedJob
from crawler.keys import Keys
from crawler.ledger import Ledger
from crawler.means import Given, given
from crawler.pace import PaceLimits
from crawler.paces import state_of
from crawler.parts import (
    defaults_of,
    fetch_rules,
    keys_of,
    longest_crawl_delay,
    obeys_robots,
    session_settings,
    shortest_timeout,
    sources_of,
)
from crawler.picking import Picked
from crawler.pipeline import Gates, Pipeline, Plan, Shown
from crawler.quota import DAY
from crawler.resume import Taken, inputs_of, open_again, open_run
from crawler.robots import Entry, RobotsCache, robots_url
from crawler.robotstext import product_token
from crawler.session import Session
from crawler.settle import Rules
from crawler.sinks.bodies import PARTS
from crawler.sources import Source, preflight
from crawler.tally import Snapshot, Tally
from crawler.urls import hostname, netloc
from crawler.watch import Watch

log = logging.getLogger("crawler")


class Options(NamedTuple):
    """How this start of a job differs from others: begin anew, make again what failed, take SIGINT and SIGTERM as
    orders to stop; who listens to its records, and who is given its pipeline when it begins.
    """

    fresh: bool = False
    again: Picked | None = None
    signals: bool = False
    listener: Listener | None = None
    held: Callable[[Pipeline], None] | None = None


class Ended(NamedTuple):
    """How a run ended: its exit code, its last snapshot and counts, where its results are."""

    exit_code: ExitCode
    snapshot: Snapshot
    tally: Tally
    started: float
    run_folder: Path
    warnings: tuple[str, ...] = ()


class Going(NamedTuple):
    """What looks after the transfers of a run, and what goes along with its requests."""

    watch: Watch
    means: Means | None


class _Opened(NamedTuple):
    """Everything on disk that a run holds open, and what of the job its parts need."""

    job: Job
    checkpoint: Checkpoint
    taken: Taken
    outputs: Outputs
    rules: Rules
    defaults: Defaults
    hosts: Hosts
    keys: Keys
    found: Given
    jar: JobJar | None


async def run_job(loaded: LoadedJob, options: Options, shown: Callable[[Path], Shown]) -> Ended:
    """Run or resume a job to its end. Raises JobError, BusyError, StorageError; `shown` is given the run's folder."""
    sources: list[Source] = []
    if options.again is None:
        sources = sources_of(loaded)
        preflight(sources)
    found = given(loaded)
    folder = JobFolder(Path(loaded.job.output.dir), loaded.job.name)
    folder.lock(wall_clock())
    try:
        with _opened(loaded, found, folder, options) as opened:
            return await _run(opened, sources, options, shown)
    except sqlite3.Error as error:
        raise StorageError(f"{folder.state}: {error}; what was reported is safe, the next run goes on") from error
    finally:
        folder.unlock()


@contextmanager
def _opened(loaded: LoadedJob, found: Given, folder: JobFolder, options: Options) -> Iterator[_Opened]:
    job = loaded.job
    with closing(Checkpoint(folder.state)) as checkpoint:
        if options.again is not None:
            taken = open_again(checkpoint, job, options.again, wall_clock())
        else:
            taken = open_run(checkpoint, job, fresh=options.fresh, now=wall_clock())
        run_folder = folder.make_run(taken.run)
        jar = JobJar(job, loaded.base, folder, run_folder, resumed=taken.resumed) if job.cookies.jar else None
        layout = job.output.layout if job.output.bodies == "files" else None
        outputs = Outputs(checkpoint, taken.run, run_folder, layout, found.mask, options.listener)
        hosts, keys = Hosts(job), keys_of(job)
        rules = Rules(
            taken.run,
            lambda netloc: hosts.of(netloc).retry,
            keys.key_of,
            _accepts(job, hosts),
            job.limits.max_redirects,
            job.output.headers_in_record,
            job.paging.ends_by_status if job.paging is not None else lambda status, page: False,
            found.mask,
        )
        yield _Opened(job, checkpoint, taken, outputs, rules, defaults_of(loaded), hosts, keys, found, jar)


def _accepts(job: Job, hosts: Hosts) -> Callable[[str, int], bool]:
    if hosts.plain:
        accepted = job.request.accepted
        return lambda url, status: status in accepted
    return lambda url, status: status in hosts.of(netloc(url)).accepts


async def _run(opened: _Opened, sources: list[Source], options: Options, shown: Callable[[Path], Shown]) -> Ended:
    job, taken, outputs = opened.job, opened.taken, opened.outputs
    watcher = shown(outputs.folder)
    if taken.resumed:
        log.warning("resumed run %s: %s", taken.run, _recovered(outputs))
    again = options.again is not None
    to_read = [] if again else inputs_of(job, sources, outputs, taken, opened.rules, opened.defaults)
    for warning in opened.found.warnings:
        log.warning("%s", warning)
    if job.request.contact is None and not any(name.lower() == "user-agent" for name in job.request.headers):
        log.warning("request.contact is not set: give an address or a page, so that site owners can reach you")
    with ThreadPoolExecutor(1, thread_name_prefix="storage") as storage:
        drained, pipeline = await _worked(opened, to_read, storage, options, watcher)
    outputs.close(finished=drained)
    if opened.jar is not None:
        opened.jar.close()
    code = ExitCode.STOPPED if not drained else ExitCode.FAILED if taken.tally.failed else ExitCode.OK
    state = "finished" if drained else "stopped"
    opened.checkpoint.end_run(taken.run, wall_clock(), state, code)
    last = _last(pipeline.snapshot(), state)
    return Ended(code, last, taken.tally, taken.started, outputs.folder, opened.found.warnings)


def _last(snapshot: Snapshot, state: str) -> Snapshot:
    """How a run stood when it ended: what is over has no time left."""
    left = snapshot.eta if state != "finished" else None
    return snapshot._replace(state=state, eta=left, eta_host=snapshot.eta_host if left is not None else None)


def _frontier(opened: _Opened, robots: RobotsCache | None, admission: Admission) -> Frontier:
    """All hosts as the checkpoint knew them, slowed to what their robots.txt asks."""
    hosts, keys = opened.hosts, opened.keys
    none = PaceLimits(opened.job.limits.workers)  # the "host" of inputs that are never sent
    frontier = Frontier(lambda key: hosts.pace_of(key) if key else none)
    now, wall = monotonic(), wall_clock()
    for name, waiting, pace in opened.checkpoint.hosts():
        state = state_of(pace, wall, DAY).shifted(now - wall) if pace is not None else None
        if state is not None and not opened.taken.resumed:
            state = state.forgiven()
        frontier.restore(name, waiting, now, state)
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


def _pipeline(
    opened: _Opened,
    to_read: list[tuple[Source, SourceMark]],
    storage: ThreadPoolExecutor,
    session: Session,
    going: Going,
) -> Pipeline:
    job, taken = opened.job, opened.taken
    token = product_token(user_agent(job))
    robots = RobotsCache(token, longest_crawl_delay(job)) if obeys_robots(job) else None
    admission = Admission(robots, opened.hosts.of, job.retry.attempts)
    frontier = _frontier(opened, robots, admission)
    plan = Plan(job.name, taken.run, job.limits.workers, job.limits.rate, opened.rules, job.limits.memory)
    imported = Import(to_read, opened.checkpoint.last_id() + 1, opened.defaults, job.input.dedupe)
    auth = going.means.auth if going.means is not None else None
    gates = Gates(opened.keys, admission, session.address_of, auth.barred if auth is not None else None)
    beside = opened.jar.beside if opened.jar is not None else None
    ledger = Ledger(opened.outputs, storage, frontier, taken.tally, taken.elapsed, beside)
    return Pipeline(plan, imported, gates, frontier, ledger, going.watch)


async def _worked(
    opened: _Opened,
    to_read: list[tuple[Source, SourceMark]],
    storage: ThreadPoolExecutor,
    options: Options,
    watcher: Shown,
) -> tuple[bool, Pipeline]:
    """Let the pipeline work; True when drained. Of several faults storage trouble is raised first, then bugs."""
    job = opened.job
    limits = job.limits
    capped = limits.bandwidth is not None or any(
        part.bandwidth_per_host is not None for part in (limits, *job.hosts.values())
    )
    bandwidth = Bandwidth(limits.bandwidth, lambda netloc: opened.hosts.of(netloc).bandwidth) if capped else None
    try:
        async with Session(session_settings(job)) as session:
            # Often enough for the shortest timeout, seldom enough to cost nothing.
            watch = Watch(tick=max(0.02, min(0.25, shortest_timeout(job) / 4)))
            means = opened.found.means(session, watch, opened.hosts, opened.jar.jar if opened.jar else None)
            pipeline = _pipeline(opened, to_read, storage, session, Going(watch, means))
            rules = fetch_rules(job, opened.hosts, pipeline.named, opened.taken.run, opened.outputs.folder / PARTS)
            capturing = Capturing(job.websocket, opened.taken.run, pipeline.ledger)
            rules = rules._replace(paced=pipeline.paced, means=means, capturing=capturing)
            fetcher = Fetcher(session, rules, watch, bandwidth.spend if bandwidth else None)
            if options.held is not None:
                options.held(pipeline)
            try:
                with _signals(pipeline) if options.signals else nullcontext():
                    return await pipeline.run(fetcher, watcher), pipeline
            finally:
                if means is not None and means.auth is not None:
                    await means.auth.close()
    except BaseExceptionGroup as group:
        raise _first(group) from group


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What to tell: trouble with the disk before bugs, and of several the first."""
    storage = group.subgroup(StorageError)
    found: BaseException = storage or group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


def _recovered(outputs: Outputs) -> str:
    """What the start had to repair, in words."""
    bytes_, files = outputs.recovered
    if not (bytes_ or files):
        return "nothing to repair"
    return f"{bytes_} bytes of uncommitted records and {files} uncommitted files removed"


@contextmanager
def _signals(pipeline: Pipeline) -> Iterator[None]:
    """SIGINT and SIGTERM stop the pipeline: the first drains, the second cuts."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, pipeline.stop)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
