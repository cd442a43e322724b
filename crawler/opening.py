"""Everything on disk that a run needs, opened, recovered and given back: checkpoint, run, sinks, cookie jar.

Does: open in the order of the crash protocol, and say in the checkpoint where a run stands that storage stopped. Must
not know the wire, tasks or the command line. Invariant: whatever is raised while it is open, all of it is closed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from time import time as wall_clock
from typing import NamedTuple

from crawler.checkpoint import Checkpoint
from crawler.commit import Listener, Outputs
from crawler.copies import Copies
from crawler.crawling import Crawling, Functions, crawling_of
from crawler.diskguard import Reserve
from crawler.errors import ExitCode, StorageError
from crawler.feed import Defaults
from crawler.folders import JobFolder
from crawler.hosts import Hosts
from crawler.jars import JobJar
from crawler.job import Job
from crawler.jobfile import LoadedJob
from crawler.keys import Keys
from crawler.means import Given
from crawler.outlets import open_sinks
from crawler.parts import defaults_of, keys_of
from crawler.past import copies_of, recall_of
from crawler.picking import Picked
from crawler.pipeline import Pipeline
from crawler.recall import Recall
from crawler.rejoin import mend
from crawler.resume import Taken, open_again, open_run
from crawler.settle import Rules
from crawler.urls import netloc

NO_FUNCTIONS = Functions()


class Options(NamedTuple):
    """How this start of a job differs from others: begin anew, make again what failed, take SIGINT and SIGTERM as
    orders to stop; who listens to its records, who is given its pipeline when it begins, and which function of a
    program is given each page.
    """

    fresh: bool = False
    again: Picked | None = None
    signals: bool = False
    listener: Listener | None = None
    held: Callable[[Pipeline], None] | None = None
    page: Callable[..., object] | None = None


class Opened(NamedTuple):
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
    folder: JobFolder
    recall: Recall
    copies: Copies | None
    crawling: Crawling | None = None

    @property
    def sees_all(self) -> bool:
        """Is a URL that this run did not see gone."""
        return self.job.run.again != "new"

    @property
    def only_new(self) -> bool:
        """Are inputs that were fetched left out."""
        return self.job.run.again == "new"


@contextmanager
def opened_run(
    loaded: LoadedJob, found: Given, folder: JobFolder, options: Options, functions: Functions = NO_FUNCTIONS
) -> Iterator[Opened]:
    """What a run needs of the disk, in the order of the crash protocol. Raises JobError, NothingToDo, StorageError."""
    job = loaded.job
    with closing(Checkpoint(folder.state, job.output.sync)) as checkpoint:
        mend(checkpoint, folder)
        if options.again is not None:
            taken = open_again(checkpoint, job, folder, options.again, wall_clock())
        else:
            taken = open_run(checkpoint, job, fresh=options.fresh, now=wall_clock())
        folder.make_run(taken.run)
        jar = _jar(loaded, found, folder, taken)
        outputs = _outputs(job, checkpoint, taken, folder, found, options.listener)
        hosts, keys, defaults = Hosts(job), keys_of(job), defaults_of(loaded)
        crawling = crawling_of(job, checkpoint, keys, defaults, taken.tally, functions)
        rules = _rules(job, taken, hosts, keys, found)
        recall = recall_of(job, checkpoint, folder)
        try:
            copies = copies_of(job, checkpoint, folder, taken)
            yield Opened(
                job, checkpoint, taken, outputs, rules, defaults, hosts, keys, found, jar, folder, recall, copies,
                crawling,
            )  # fmt: skip
        except BaseException:
            with suppress(OSError, StorageError):  # what is wrong is known
                outputs.close()
            raise
        finally:
            recall.close()


def _jar(loaded: LoadedJob, found: Given, folder: JobFolder, taken: Taken) -> JobJar | None:
    job = loaded.job
    if not job.cookies.jar:
        return None
    resumed = taken.resumed or taken.again
    return JobJar(job, loaded.base, folder, folder.run(taken.run), found.cookies, resumed=resumed)


def _outputs(
    job: Job, checkpoint: Checkpoint, taken: Taken, folder: JobFolder, found: Given, listener: Listener | None
) -> Outputs:
    sinks = open_sinks(job, checkpoint, taken.run, folder, found.mask)
    kinds = job.output.upload.what if job.output.upload is not None else ()
    return Outputs(checkpoint, taken.run, folder.run(taken.run), sinks, found.mask, listener, kinds)


def _rules(job: Job, taken: Taken, hosts: Hosts, keys: Keys, found: Given) -> Rules:
    return Rules(
        taken.run,
        lambda netloc: hosts.of(netloc).retry,
        keys.key_of,
        _accepts(hosts),
        job.limits.max_redirects,
        job.output.headers_in_record,
        job.paging.ends_by_status if job.paging is not None else lambda status, page: False,
        found.mask,
        honors=job.run.honor_expires,
    )


@contextmanager
def stopped_by_storage(opened: Opened, reserve: Reserve) -> Iterator[None]:
    """Where storage fails the run is stopped; to say so takes some room, which was kept for that."""
    try:
        yield
    except (StorageError, sqlite3.Error):
        reserve.release()
        with suppress(sqlite3.Error):
            opened.checkpoint.end_run(opened.taken.run, wall_clock(), "stopped", ExitCode.NO_ROOM)
        raise


def _accepts(hosts: Hosts) -> Callable[[str, int], bool]:
    if hosts.plain:
        accepted = hosts.of("").accepts
        return lambda url, status: status in accepted
    return lambda url, status: status in hosts.of(netloc(url)).accepts
