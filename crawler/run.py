"""From a job to a finished run: lock, recovery, resume or anew, the pipeline, the summary, the exit code.

Does: build everything a pipeline needs, in the order in which faults can be told before anything is created. Must not
know the command line. Invariant: whatever happens after the lock is taken, the checkpoint says where the run stands
and the lock is given back.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from random import Random
from time import monotonic
from time import time as wall_clock
from typing import NamedTuple

import orjson

from crawler import __version__
from crawler.checkpoint import SKIPPED, Checkpoint, RunRow, Settled, SourceMark
from crawler.codings import ACCEPT_ENCODING
from crawler.commit import Batch, Ending, Outputs
from crawler.errors import ExitCode, JobError, Reason, StorageError
from crawler.feed import Defaults, request_of
from crawler.fetch import Fetcher, FetchRules
from crawler.fingerprints import Fingerprints
from crawler.folders import JobFolder, new_run_id
from crawler.frontier import Frontier
from crawler.job import Job, expand
from crawler.jobfile import LoadedJob
from crawler.model import Request, Skipped
from crawler.pace import PaceLimits
from crawler.pipeline import Pipeline, Plan, Shown, Start, throttle
from crawler.redirect import harmless
from crawler.session import Session, SessionSettings
from crawler.settle import End, Rules, judge
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


class Taken(NamedTuple):
    """A run that was opened: new, or taken up where it was left."""

    run: str
    started: float
    elapsed: float
    tally: Tally
    resumed: bool


def open_run(checkpoint: Checkpoint, job: Job, *, fresh: bool, now: float) -> Taken:
    """Resume the unfinished run, or begin a new one. Raises JobError when the job no longer fits the unfinished run."""
    last = checkpoint.last_run()
    text = job.model_dump_json()
    if last is None or last.state in ("finished", "abandoned") or fresh:
        run = new_run_id(now)
        checkpoint.begin_run(run, now, text)
        return Taken(run, now, 0.0, Tally(), False)
    _compare(last, job)
    checkpoint.resume_run(last.id, text)
    tally = Tally.from_json(last.tally) if last.tally else Tally()
    return Taken(last.id, last.started, last.elapsed, tally, True)


def _compare(last: RunRow, job: Job) -> None:
    """Name what changed in the job since the run began; refuse what would mix two kinds of output."""
    content, other = job.changes(orjson.loads(last.job))
    output = [path for path in content if path.startswith("output.")]
    if output:
        raise JobError(
            f"{', '.join(output)}: changed since run {last.id} began, which is not finished; "
            "put it back, or begin a new run with --fresh"
        )
    for path in (*content, *other):
        log.warning("the job changed since run %s began: %s", last.id, path)


class Inputs(NamedTuple):
    """Which sources are still to be read, and whether the lists differ from those the run began with."""

    to_read: list[tuple[Source, SourceMark]]
    changed: list[str]


def match_sources(sources: list[Source], marks: list[SourceMark]) -> Inputs:
    """Compare today's sources with what the checkpoint knows of them."""
    known = {mark.n: mark for mark in marks}
    to_read, changed = [], []
    for n, source in enumerate(sources):
        signature, mark = source.signature(), known.pop(n, None)
        fresh = SourceMark(n, source.name, signature, 0, False)
        if mark is None:
            to_read.append((source, fresh))
            if marks:
                changed.append(f"{source.name} is new")
        elif mark.signature != signature:
            changed.append(f"{source.name} changed")
        elif not mark.complete:
            to_read.append((source, mark))
    changed += [f"{mark.name} is gone" for mark in known.values()]
    return Inputs(to_read, changed)


def relist(sources: list[Source], checkpoint: Checkpoint, defaults: Defaults) -> tuple[Inputs, list[Request]]:
    """The lists changed: all are read again (known inputs are passed over), and waiting ones that left are named."""
    present = Fingerprints()
    for source in sources:
        for row in source.rows():
            present.add(request_of(row, 0, defaults)[1])
    gone = [
        Request(number, url, host) for host, number, print_, url in checkpoint.waiting_rows() if print_ not in present
    ]
    checkpoint.forget_sources()
    marks = [SourceMark(n, source.name, source.signature(), 0, False) for n, source in enumerate(sources)]
    return Inputs(list(zip(sources, marks, strict=True)), []), gone


def drop(gone: list[Request], outputs: Outputs, rules: Rules, taken: Taken) -> None:
    """Record inputs that left the list before they were fetched as skipped."""
    for first in range(0, len(gone), 1000):
        batch = Batch()
        for request in gone[first : first + 1000]:
            verdict = judge(Skipped(request, Reason.REMOVED, "its row left the input list"), rules, 0.0, Random(0))
            assert isinstance(verdict.then, End)
            settled = Settled(request.home, request.id, SKIPPED, 0)
            batch.end(Ending(settled, verdict.then.record, None, None))
            taken.tally.add(verdict.then.record, request.home)
        outputs.write(batch, taken.tally.to_json(), taken.elapsed)
    if gone:
        log.warning("%d inputs left the list before they were fetched; recorded as skipped (removed)", len(gone))


class _Opened(NamedTuple):
    """Everything on disk that a run holds open."""

    job: Job
    folder: JobFolder
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
            inputs = _inputs(sources, opened)
            return await _run(opened, inputs, options, shown)
    finally:
        folder.unlock()


@contextmanager
def _opened(job: Job, folder: JobFolder, *, fresh: bool) -> Iterator[_Opened]:
    checkpoint = Checkpoint(folder.state)
    try:
        taken = open_run(checkpoint, job, fresh=fresh, now=wall_clock())
        run_folder = folder.make_run(taken.run)
        layout = job.output.layout if job.output.bodies == "files" else None
        outputs = Outputs(checkpoint, taken.run, run_folder, layout)
        rules = Rules(taken.run, job.retry, job.request.accepts, job.limits.max_redirects, job.output.headers_in_record)
        yield _Opened(job, folder, checkpoint, taken, outputs, rules, _defaults(job))
    finally:
        checkpoint.close()


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


def _inputs(sources: list[Source], opened: _Opened) -> list[tuple[Source, SourceMark]]:
    """What is still to be read; a list that changed since the run began is named, its lost rows are recorded."""
    inputs = match_sources(sources, opened.checkpoint.sources())
    if not inputs.changed:
        return inputs.to_read
    said = ", ".join(inputs.changed)
    if not opened.job.input.dedupe:
        raise JobError(
            f"input: {said} since the run began, and with dedupe = false rows cannot be matched; use --fresh"
        )
    log.warning("the input changed since the run began: %s", said)
    inputs, gone = relist(sources, opened.checkpoint, opened.defaults)
    drop(gone, opened.outputs, opened.rules, opened.taken)
    return inputs.to_read


async def _run(
    opened: _Opened, to_read: list[tuple[Source, SourceMark]], options: Options, shown: Callable[[Path], Shown]
) -> Ended:
    job, taken, outputs = opened.job, opened.taken, opened.outputs
    limits = job.limits
    frontier = Frontier(_pace_limits(job))
    known, _ = opened.checkpoint.counts()
    now, wall = monotonic(), wall_clock()
    for name, waiting, blocked_until in opened.checkpoint.waiting_hosts():
        frontier.restore(name, waiting, now + blocked_until - wall, now)
    timeouts = job.timeouts
    watch = Watch(tick=max(0.02, min(0.25, timeouts.connect / 4, timeouts.read / 4, timeouts.total / 4)))
    plan = Plan(job.name, taken.run, limits.workers, limits.rate, opened.rules, opened.defaults, job.input.dedupe)
    start = Start(to_read, opened.checkpoint.last_id() + 1, known, taken.elapsed, taken.tally)
    settings = SessionSettings(
        limits.workers, job.connection.keepalive, job.connection.dns_ttl, harmless(_headers(job))
    )
    storage = ThreadPoolExecutor(1, thread_name_prefix="storage")
    pipeline = Pipeline(plan, start, outputs, frontier, watch, storage)
    watcher = shown(outputs.folder)
    if taken.resumed:
        log.info("resumed run %s: %s", taken.run, _recovered(outputs))
    drained, code = False, ExitCode.NO_ROOM
    try:
        async with Session(settings) as session:
            fetcher = Fetcher(
                session,
                _fetch_rules(job, taken, outputs),
                watch,
                throttle(limits.bandwidth) if limits.bandwidth else None,
            )
            with _signals(pipeline) if options.signals else nullcontext():
                drained = await pipeline.run(fetcher, watcher)
        code = ExitCode.STOPPED if not drained else ExitCode.FAILED if pipeline.tally.failed else ExitCode.OK
    except BaseExceptionGroup as group:
        raise _first(group) from group
    finally:
        storage.shutdown()
        outputs.close(finished=drained)
        opened.checkpoint.end_run(taken.run, wall_clock(), "finished" if drained else "stopped", code)
    snapshot = pipeline.snapshot()._replace(state="finished" if drained else "stopped")
    return Ended(code, snapshot, pipeline.tally, taken.started, outputs.folder)


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


def _fetch_rules(job: Job, taken: Taken, outputs: Outputs) -> FetchRules:
    timeouts = job.timeouts
    headers = _headers(job)
    return FetchRules(
        run=taken.run,
        headers={name: value for name, value in headers.items() if name not in harmless(headers)},
        accepts=job.request.accepts,
        max_body=job.limits.max_body,
        limits=Limits(timeouts.connect, timeouts.read, timeouts.total, timeouts.stall, timeouts.min_speed),
        keep=Keep(str(outputs.folder / PARTS) if job.output.bodies == "files" else None),
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
