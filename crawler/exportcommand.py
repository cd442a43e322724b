"""`crawler export`: a run's records in another form.

Does: flags in, what was written out. Must not know how anything is converted. Invariant: stdout names what was
written, stderr what is not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from crawler.exporting import Form


@click.command()
@click.argument("job", metavar="JOB")
@click.option(
    "--to", "form", type=click.Choice(["parquet", "csv", "jsonl", "warc"]), required=True, help="What to make."
)
@click.option("--run", metavar="RUN", help="Which run.  [default: the last]")
@click.option("-o", "--output", metavar="PATH", help="The file to write.  [default: in the run's folder, export/]")
@click.option("--zstd", is_flag=True, help="Compress it (csv and jsonl).")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Override a key: --set limits.rate=5/s")
def export(job: str, form: Form, run: str | None, output: str | None, zstd: bool, sets: Sequence[str]) -> None:
    """Convert what a run has committed to another form.

    The run is not disturbed; of one that is not finished, what is committed is converted. Nothing is overwritten.
    """
    from crawler.exporting import Wanted
    from crawler.exporting import export as make
    from crawler.jobfile import load
    from crawler.progress import size

    loaded = load(Path(job), sets, inputs=False)
    made = make(loaded.job, Wanted(form, run, Path(output) if output is not None else None, zstd))
    for note in made.notes:
        click.echo(f"crawler: {note}", err=True)
    click.echo(f"wrote {made.rows:,} records, {size(made.size)}: {made.path}")
