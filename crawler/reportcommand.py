"""`crawler report`: a run as a page for people, or its numbers for programs.

Does: flags in, the path of the page out. Must not know how anything is gathered or drawn. Invariant: stdout is the path
or the JSON, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click


@click.command()
@click.argument("job", metavar="JOB")
@click.option("--run", metavar="RUN", default="latest", help="Which run: its id or how it begins, latest, previous.")
@click.option("-o", "--output", metavar="FILE", help="Where to write it.  [default: report.html in the run's folder]")
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as one JSON object, and write nothing.")
@click.option("--open", "opening", is_flag=True, help="Open it in a browser.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Override a key: --set limits.rate=5/s")
def report(job: str, run: str, output: str | None, as_json: bool, opening: bool, sets: Sequence[str]) -> None:
    """Write a run's report.html, and print its path.

    One file that needs no network: rates, statuses, latencies, hosts, failures with examples, changes. The run is not
    disturbed; of one that is not finished, what is committed is shown.
    """
    import orjson

    from crawler.folders import JobFolder
    from crawler.jobfile import load
    from crawler.reportdata import to_data
    from crawler.reporting import report_of, write_report
    from crawler.runlist import named, runs_of

    loaded = load(Path(job), sets, inputs=False)
    folder = JobFolder(Path(loaded.job.output.dir), loaded.job.name)
    chosen = named(run, runs_of(folder)).id
    if as_json:
        click.echo(orjson.dumps(to_data(report_of(folder, chosen))))
        return
    path = write_report(folder.path, chosen, Path(output) if output is not None else None)
    click.echo(path)
    if opening:
        click.launch(str(path))
