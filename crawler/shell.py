"""A run as the command line shows it: display, logs, summary, last words.

Does: put the display around `run_job` and end it well. Must not decide anything about the run. Invariant: the terminal
is given back, and the summary says what the exit code says; a quiet run says nothing where nothing is wrong.
"""

from __future__ import annotations

import gc
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import click
import uvloop

from crawler.complaint import complaint
from crawler.errors import BusyError, CrawlerError, ExitCode
from crawler.jobfile import LoadedJob
from crawler.logs import logging_to, masked
from crawler.opening import Options
from crawler.progress import LineProgress, Progress, ProgressFile, choose
from crawler.report import final_lines
from crawler.run import Ended, run_job
from crawler.tally import Snapshot


class _Shown:
    """Terminal and progress.jsonl together."""

    def __init__(self, progress: Progress, file: ProgressFile) -> None:
        self._progress = progress
        self._file = file

    def update(self, snapshot: Snapshot) -> None:
        """Show a moment wherever one is due."""
        self._progress.update(snapshot)
        self._file.update(snapshot)

    def close(self, last: Snapshot | None) -> None:
        """The run is over, well (`last` is how it stood) or not."""
        self._progress.close(last)
        if last is not None:
            self._file.close(last)


class Over(NamedTuple):
    """How a start ended; `interrupted`: by somebody, who wants no other to follow."""

    code: ExitCode
    interrupted: bool = False


def run_shown(loaded: LoadedJob, options: Options, *, log_format: str, quiet: bool, source: str | None = None) -> Over:
    """Run a job under the eyes of whoever started it; `source` is how a command names it. Raises CrawlerError."""
    as_json = log_format == "json"
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGHUP, signal.SIGUSR1):  # until there is a run that can do something about them
            signal.signal(number, signal.SIG_IGN)
    # Thousands of requests live for a second: the default thresholds would look through all of them all the time. What
    # start-up made lives for ever.
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
    gc.enable()
    displays: list[_Shown] = []
    last: Snapshot | None = None
    with ExitStack() as stack, ExitStack() as early:
        before = early.enter_context(_early(as_json=as_json, quiet=quiet))

        def shown(run_folder: Path) -> _Shown:
            progress = choose(sys.stderr, quiet=quiet, as_json=as_json)
            early.close()
            stack.enter_context(logging_to(run_folder, progress.message, as_json=as_json, quiet=quiet))
            for record in before:
                logging.getLogger(record.name).handle(record)
            displays.append(_Shown(progress, ProgressFile(run_folder)))
            return displays[0]

        try:
            # Who sits before a terminal is not kept waiting.
            jitter = not (sys.stderr is not None and sys.stderr.isatty())
            ended = uvloop.run(run_job(loaded, options._replace(signals=True), shown, jitter=jitter))
            last = ended.snapshot
        except BusyError as busy:
            if not (quiet and loaded.job.run.if_running == "skip"):
                click.echo(f"crawler: {masked(str(busy))}", err=True)
            return Over(ExitCode.BUSY)
        finally:
            for display in displays:
                display.close(last)
    if loaded.job.run.report:
        _report(ended)
    if not as_json and (lines := _last_words(ended, source, quiet=quiet)):
        with suppress(OSError):  # the disk that stderr stands on may be full: the exit code counts all the same
            click.echo("\n".join(map(masked, lines)), err=True)
    return Over(ended.exit_code, ended.exit_code is ExitCode.STOPPED and ended.stopped_by is None)


def _report(ended: Ended) -> None:
    """Write report.html, now that all it is made of is there. The run was what it was, also where that fails."""
    from crawler.reporting import write_report

    try:
        write_report(ended.run_folder.parent.parent, ended.run_folder.name)
    except (CrawlerError, OSError) as error:
        with suppress(OSError):
            click.echo(f"crawler: no report was written: {masked(str(error))}", err=True)


class _Keeping(logging.Handler):
    """Keeps lines for a log that is still to be opened."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.records.append(record)


@contextmanager
def _early(*, as_json: bool, quiet: bool) -> Iterator[list[logging.LogRecord]]:
    """Before there is a run: lines are shown at once; of a quiet run they are kept for its log."""
    handler = _Keeping(logging.WARNING)
    with logging_to(None, LineProgress(sys.stderr, as_json=as_json).message, as_json=as_json, quiet=quiet):
        logger = logging.getLogger("crawler")
        if quiet:
            logger.addHandler(handler)
        try:
            yield handler.records
        finally:
            logger.removeHandler(handler)


def _last_words(ended: Ended, source: str | None, *, quiet: bool) -> list[str]:
    """What is said at the end. A run that its own deadline stopped did as it should."""
    summary = ended.summary()
    if not quiet:
        return final_lines(summary, ended.run_folder)
    if ended.exit_code is ExitCode.OK or ended.stopped_by is not None:
        return []
    return complaint(summary, ended.run_folder.absolute(), source)
