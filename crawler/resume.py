"""What a start finds: an unfinished run to go on with, or none; lists and job as they were, or changed.

Does: decide between resuming and beginning, name what changed, record inputs that left the list. Must not know tasks,
the wire or the command line. Invariant: two kinds of output are never mixed in one run, and a changed list is always
told.
"""

from __future__ import annotations

import logging
from random import Random
from typing import NamedTuple

import orjson

from crawler.checkpoint import Checkpoint, Settled, SourceMark
from crawler.commit import Batch, Ending, Outputs
from crawler.errors import JobError, NothingToDo, Reason
from crawler.feed import Defaults, request_of
from crawler.fingerprints import Fingerprints
from crawler.folders import JobFolder, new_run_id
from crawler.job import Job
from crawler.model import Request, Skipped
from crawler.picking import Picked, pick
from crawler.rejoin import rejoin
from crawler.runrows import RunRow
from crawler.settle import End, Rules, judge
from crawler.sources import Source
from crawler.states import SKIPPED
from crawler.tally import Tally

log = logging.getLogger("crawler")


class Taken(NamedTuple):
    """A run that was opened: new, or taken up where it was left."""

    run: str
    started: float
    elapsed: float
    tally: Tally
    resumed: bool
    anew: str | None = None  # why bodies are fetched whole, though earlier runs know them
    again: bool = False  # finished before: what failed in it is made again


def open_run(checkpoint: Checkpoint, job: Job, *, fresh: bool, now: float) -> Taken:
    """Resume the unfinished run, or begin a new one. Raises JobError when the job no longer fits the unfinished run."""
    last = checkpoint.last_run()
    text = job.model_dump_json(by_alias=True)
    if last is None or last.state in ("finished", "abandoned") or fresh:
        run = new_run_id(now, last.id if last is not None else None)
        checkpoint.begin_run(run, now, text)
        return Taken(run, now, 0.0, Tally(), False, _asks_otherwise(checkpoint, run, job))
    _compare(last, job)
    checkpoint.resume_run(last.id, text)
    tally = Tally.from_json(last.tally) if last.tally else Tally()
    return Taken(last.id, last.started, last.elapsed, tally, True, _asks_otherwise(checkpoint, last.id, job))


def open_again(checkpoint: Checkpoint, job: Job, folder: JobFolder, wanted: Picked, now: float) -> Taken:
    """Go on with the last run, which is finished, by what failed in it, as far as it is wanted.

    Raises JobError when it is not finished or its outputs are others than the job's, NothingToDo when nothing that
    failed is wanted, StorageError.
    """
    last = checkpoint.last_run()
    if last is not None and last.state not in ("finished", "abandoned"):
        raise JobError(f"run {last.id} is not finished; go on with it first: crawler run")
    try:
        failures = pick(checkpoint.failures(), wanted, now)
    except ValueError as error:
        raise JobError(str(error)) from None
    if last is None:
        raise NothingToDo(f"{job.name}: was never run, so nothing failed")
    if not failures:
        raise NothingToDo(f"{job.name}: nothing that failed is wanted again")
    _compare(last, job, "into which its results would go; put it back, or fetch all in a new run: crawler run")
    tally = rejoin(checkpoint, job, folder, last, failures)
    log.warning("%d that failed are made again; their results join run %s", len(failures), last.id)
    anew = _asks_otherwise(checkpoint, last.id, job)
    return Taken(last.id, last.started, last.elapsed, tally, False, anew, again=True)


_UNFINISHED = "which is not finished; put it back, or begin a new run with --fresh"


def _compare(last: RunRow, job: Job, cure: str = _UNFINISHED) -> None:
    """Name what changed in the job since the run began; refuse what would mix two kinds of output."""
    content, other = job.changes(orjson.loads(last.job))
    output = [path for path in content if path.startswith("output.")]
    if output:
        raise JobError(f"{', '.join(output)}: changed since run {last.id} began, {cure}")
    for path in (*content, *other):
        log.warning("the job changed since run %s began: %s", last.id, path)


def _asks_otherwise(checkpoint: Checkpoint, run: str, job: Job) -> str | None:
    """What of the job makes servers answer otherwise than in the last finished run, so that nothing known holds."""
    before = checkpoint.finished_before(run)
    if before is None:
        return None
    content, _ = job.changes(orjson.loads(before.job))
    asked = [path for path in content if path.startswith(("request.", "hosts."))]
    return ", ".join(asked) or None


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
            settled = Settled(request.home, request.id, SKIPPED)
            batch.end(Ending(settled, verdict.then.record, None, None))
            taken.tally.add(verdict.then.record, request.home)
        outputs.write(batch, taken.tally.to_json(), taken.elapsed)
    if gone:
        log.warning("%d inputs left the list before they were fetched; recorded as skipped (removed)", len(gone))


def inputs_of(
    job: Job, sources: list[Source], outputs: Outputs, taken: Taken, rules: Rules, defaults: Defaults
) -> list[tuple[Source, SourceMark]]:
    """What is still to be read. A list that changed since the run began is named, and its lost rows are recorded.

    Raises JobError where rows cannot be matched, StorageError.
    """
    inputs = match_sources(sources, outputs.checkpoint.sources())
    if not inputs.changed:
        return inputs.to_read
    said = ", ".join(inputs.changed)
    if not job.input.dedupe:
        raise JobError(
            f"input: {said} since the run began, and with dedupe = false rows cannot be matched; use --fresh"
        )
    log.warning("the input changed since the run began: %s", said)
    inputs, gone = relist(sources, outputs.checkpoint, defaults)
    drop(gone, outputs, rules, taken)
    return inputs.to_read
