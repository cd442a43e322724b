"""A run as the command line shows it: display, logs, summary, last words.

Does: put the display around `run_job` and end it well. Must not decide anything about the run. Invariant: the terminal
is given back, and the summary says what the exit code says.
"""

from __future__ import annotations

import gc
import sys
from contextlib import ExitStack
from pathlib import Path

import click
import uvloop

from crawler.errors import ExitCode
from crawler.jobfile import LoadedJob
from crawler.logs import logging_to
from crawler.progress import Progress, ProgressFile, choose
from crawler.report import final_lines, summarize, write_summary
from crawler.run import Options, run_job
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


def run_shown(loaded: LoadedJob, options: Options, *, log_format: str, quiet: bool) -> ExitCode:
    """Run a job under the eyes of whoever started it. Raises CrawlerError."""
    as_json = log_format == "json"
    # Thousands of requests live for a second: the default thresholds would look through all of them all the time. What
    # start-up made lives for ever.
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
    displays: list[_Shown] = []
    last: Snapshot | None = None
    with ExitStack() as stack:

        def shown(run_folder: Path) -> _Shown:
            progress = choose(sys.stderr, quiet=quiet, as_json=as_json)
            stack.enter_context(logging_to(run_folder, progress.message, as_json=as_json, quiet=quiet))
            displays.append(_Shown(progress, ProgressFile(run_folder)))
            return displays[0]

        try:
            ended = uvloop.run(run_job(loaded, options._replace(signals=True), shown))
            last = ended.snapshot
        finally:
            for display in displays:
                display.close(last)
    summary = summarize(ended.tally, ended.snapshot, ended.started, ended.exit_code, ended.warnings)
    write_summary(ended.run_folder, summary)
    if not as_json and not (quiet and ended.exit_code == ExitCode.OK):
        click.echo("\n".join(final_lines(summary, ended.run_folder)), err=True)
    return ended.exit_code
