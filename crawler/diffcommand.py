"""`crawler diff`: what changed between two runs, a line each.

Does: flags in, lines out. Must not know how runs are compared. Invariant: stdout has the lines, sorted, stderr the
counts; no text from the web moves a terminal or makes a line of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import click

from crawler.comparison import VERDICTS, Line, Verdict


@click.command()
@click.argument("job", metavar="JOB")
@click.argument("runs", nargs=-1, metavar="[RUN [RUN]]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--only", metavar="WHAT", help=f"Only these, with commas between: {','.join(VERDICTS)}")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Override a key: --set limits.rate=5/s")
def diff(job: str, runs: Sequence[str], as_json: bool, only: str | None, sets: Sequence[str]) -> None:
    """Say what is new, changed, gone or unknown between two runs.

    A RUN is an id, the beginning of one, latest or previous. Without any, the last finished run is compared with the
    one before it; two are compared as they are given, the older first.

    \b
    Content is compared by its sha256. A URL that failed by anything but 404 or 410 in one of them is unknown, never
    gone. What is unchanged is counted, and listed with --only unchanged.
    """
    from crawler.diffing import difference
    from crawler.folders import JobFolder
    from crawler.jobfile import load

    wanted = _wanted(only)
    loaded = load(Path(job), sets, inputs=False)
    folder = JobFolder(Path(loaded.job.output.dir), loaded.job.name)
    found = difference(folder, runs, unchanged="unchanged" in wanted)
    for note in found.notes:
        click.echo(f"crawler: {note}", err=True)
    text = _json if as_json else _plain
    sys.stdout.writelines(text(line) for line in found.lines if line.verdict in wanted)
    sys.stdout.flush()
    counted = ", ".join(f"{found.counts[verdict]:,} {verdict}" for verdict in VERDICTS)
    since = f"{found.older} -> {found.newer}" if found.older else found.newer
    click.echo(f"{since}: {counted}", err=True)


def _wanted(only: str | None) -> frozenset[Verdict]:
    if only is None:
        return frozenset(VERDICTS) - {"unchanged"}
    named = [name.strip() for name in only.split(",") if name.strip()]
    wrong = [name for name in named if name not in VERDICTS]
    if wrong or not named:
        raise click.BadParameter(
            f"{', '.join(wrong) or 'nothing'} is none of {', '.join(VERDICTS)}", param_hint="--only"
        )
    return frozenset(verdict for verdict in get_args(Verdict) if verdict in named)


def _plain(line: Line) -> str:
    from crawler.urls import MAX_LENGTH, printable

    method = "" if line.method == "GET" else f"\t{printable(line.method)}"
    return f"{line.verdict}\t{printable(line.url, 3 * MAX_LENGTH)}{method}\n"


def _json(line: Line) -> str:
    import orjson

    return orjson.dumps({"change": line.verdict, "url": line.url, "method": line.method}).decode() + "\n"
