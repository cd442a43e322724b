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

import orjson

from crawler import __version__
from crawler.checkpoint import Checkpoint, SourceMark
from crawler.codings import ACCEPT_ENCODING
from crawler.commit import Outputs
from crawler.errors import ExitCode, StorageError
from crawler.feed import Defaults
from crawler.fetch import Fetcher, FetchRules
from crawler.folders import JobFolder
from crawler.frontier import Frontier
from crawler.job import Job, expand
from crawler.jobfile import LoadedJob
from crawler.pace import PaceLimits
from crawler.pipeline import Pipeline, Plan, Shown, Start, throttle
from crawler.redirect import harmless
from crawler.resume import Taken, inputs_of, open_run
from crawler.session import Session, SessionSettings
from crawler.settle import Rules
from crawler.sinks.bodies import PARTS
from crawler.sources import Source, open_sources, preflight
from crawler.spool import Keep
from crawler.tally import Snapshot, Tally
from crawler.watch import Limits, Watch

log = logging.getLogger("crawler")


USER_AGENT = f"crawler/{__version__}"


class Options(NamedTuple):
    """How this start of a job differs from others: begin anew, take SIGINT and SIGTERM as orders to stop."""

    fresh: bool = False
    signals: bool = False


class Ended(NamedTuple):
    """How a run ended: its exit code, its last snapshot and counts, where its results are."""

    exit_code: ExitCode
    snapshot: Snapshot
    tally: Tally
    started: float
    run_folder: Path


class _Opened(NamedTuple):
    """Everything on disk that a run holds open, and what of the job its parts need."""

    job: Job
    checkpoint: Checkpoint
    taken: Taken
    outputs: Outputs
    rules: Rules
    defaults: Defaults


async def run_job(loaded: LoadedJob, options: Options, shown: Callable[[Path], Shown]) -> Ended:
    """Run or resume a job to its end. Raises JobError, BusyError, StorageError; `shown` is given the run's folder."""
    sources = sources_of(loaded)
    preflight(sources)
    folder = JobFolder(Path(loaded.job.output.dir), loaded.job.name)
    folder.lock(wall_clock())
    try:
        with _opened(loaded.job, folder, fresh=options.fresh) as opened:
            return await _run(opened, sources, options, shown)
    except sqlite3.Error as error:
        raise StorageError(f"{folder.state}: {error}; what was reported is safe, the next run goes on") from error
    finally:
        folder.unlock()


@contextmanager
def _opened(job: Job, folder: JobFolder, *, fresh: bool) -> Iterator[_Opened]:
    with closing(Checkpoint(folder.state)) as checkpoint:
        taken = open_run(checkpoint, job, fresh=fresh, now=wall_clock())
        run_folder = folder.make_run(taken.run)
        layout = job.output.layout if job.output.bodies == "files" else None
        outputs = Outputs(checkpoint, taken.run, run_folder, layout)
        rules = Rules(
            taken.run,
            job.retry,
            job.request.accepted.__contains__,
            job.limits.max_redirects,
            job.output.headers_in_record,
        )
        yield _Opened(job, checkpoint, taken, outputs, rules, _defaults(job))


def sources_of(loaded: LoadedJob) -> list[Source]:
    """The sources of a job, in the order in which they are read."""
    given = loaded.job.input
    template = None
    if given.template is not None:
        text, variables = given.template, given.vars
        template = (f"{text} {variables}", lambda: expand(text, variables))
    return open_sources(given.urls, given.files, given.column, template, loaded.base)


def _defaults(job: Job) -> Defaults:
    request = job.request
    body: bytes | None = None
    if request.json_body is not None:
        body = orjson.dumps(request.json_body)
    elif request.body is not None:
        body = request.body.encode()
    content_type = "application/json" if request.json_body is not None else None
    return Defaults(request.method, request.base_url, request.params, body, content_type)


async def _run(opened: _Opened, sources: list[Source], options: Options, shown: Callable[[Path], Shown]) -> Ended:
    job, taken, outputs = opened.job, opened.taken, opened.outputs
    watcher = shown(outputs.folder)
    if taken.resumed:
        log.warning("resumed run %s: %s", taken.run, _recovered(outputs))
    to_read = inputs_of(job, sources, outputs, taken, opened.rules, opened.defaults)
    with ThreadPoolExecutor(1, thread_name_prefix="storage") as storage:
        pipeline = _pipeline(opened, to_read, storage)
        drained = await _worked(opened, pipeline, options, watcher)
    outputs.close(finished=drained)
    code = ExitCode.STOPPED if not drained else ExitCode.FAILED if pipeline.tally.failed else ExitCode.OK
    state = "finished" if drained else "stopped"
    opened.checkpoint.end_run(taken.run, wall_clock(), state, code)
    return Ended(code, pipeline.snapshot()._replace(state=state), pipeline.tally, taken.started, outputs.folder)


def _pipeline(opened: _Opened, to_read: list[tuple[Source, SourceMark]], storage: ThreadPoolExecutor) -> Pipeline:
    job, taken, timeouts = opened.job, opened.taken, opened.job.timeouts
    frontier = Frontier(_pace_limits(job))
    now, wall = monotonic(), wall_clock()
    for name, waiting, blocked_until in opened.checkpoint.waiting_hosts():
        # The clock may have been set back meanwhile: no block is longer than the longest that is obeyed.
        blocked = min(blocked_until - wall, job.retry.retry_after_max)
        frontier.restore(name, waiting, now + blocked, now)
    # Often enough for the shortest timeout, seldom enough to cost nothing.
    watch = Watch(tick=max(0.02, min(0.25, timeouts.connect / 4, timeouts.read / 4, timeouts.total / 4)))
    plan = Plan(
        job.name, taken.run, job.limits.workers, job.limits.rate, opened.rules, opened.defaults, job.input.dedupe
    )
    start = Start(to_read, opened.checkpoint.last_id() + 1, opened.checkpoint.counts()[0], taken.elapsed, taken.tally)
    return Pipeline(plan, start, opened.outputs, frontier, watch, storage)


async def _worked(opened: _Opened, pipeline: Pipeline, options: Options, watcher: Shown) -> bool:
    """Let the pipeline work; True when drained. Of several faults storage trouble is raised first, then bugs."""
    job = opened.job
    settings = SessionSettings(
        job.limits.workers, job.connection.keepalive, job.connection.dns_ttl, harmless(_headers(job))
    )
    bandwidth = throttle(job.limits.bandwidth) if job.limits.bandwidth else None
    try:
        async with Session(settings) as session:
            fetcher = Fetcher(session, _fetch_rules(opened), pipeline.watch, bandwidth)
            with _signals(pipeline) if options.signals else nullcontext():
                return await pipeline.run(fetcher, watcher)
    except BaseExceptionGroup as group:
        raise _first(group) from group


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What to tell: trouble with the disk before bugs, and of several the first."""
    storage = group.subgroup(StorageError)
    found: BaseException = storage or group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


def _pace_limits(job: Job) -> Callable[[str], PaceLimits]:
    limits = job.limits
    each = PaceLimits(limits.per_host, limits.rate_per_host, limits.burst_per_host)
    none = PaceLimits(limits.workers)  # the "host" of inputs that are never sent
    return lambda host: each if host else none


def _headers(job: Job) -> dict[str, str]:
    """What every request says unless its row says otherwise."""
    ours = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": ACCEPT_ENCODING}
    named = {name.lower() for name in job.request.headers}
    return {**{name: value for name, value in ours.items() if name.lower() not in named}, **job.request.headers}


def _fetch_rules(opened: _Opened) -> FetchRules:
    job, timeouts = opened.job, opened.job.timeouts
    headers = _headers(job)
    return FetchRules(
        run=opened.taken.run,
        headers={name: value for name, value in headers.items() if name not in harmless(headers)},
        accepts=job.request.accepted.__contains__,
        max_body=job.limits.max_body,
        limits=Limits(timeouts.connect, timeouts.read, timeouts.total, timeouts.stall, timeouts.min_speed),
        keep=Keep(str(opened.outputs.folder / PARTS) if job.output.bodies == "files" else None),
    )


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
