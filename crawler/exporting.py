"""A run's records in another form, as one file: JSONL, CSV, Parquet or WARC.

Does: convert, under a temporary name that becomes the right one when all is there. Must not know how a run is made,
nor disturb one. Invariant: a file that is there is never overwritten, and one that has its name is whole.
"""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from crawler.csvtext import HEADER, cells
from crawler.durable import make_folder, sync_file, sync_folder
from crawler.errors import JobError, StorageError
from crawler.exportsource import Source, find
from crawler.exportwarc import Archive
from crawler.folders import JobFolder
from crawler.job import Job
from crawler.jobextract import column_types
from crawler.parquetrows import batches_of, check_available, schema
from crawler.rowgroups import RowGroups, origin

Form = Literal["parquet", "csv", "jsonl", "warc"]
SUFFIXES: dict[Form, str] = {"parquet": ".parquet", "csv": ".csv", "jsonl": ".jsonl", "warc": ".warc.gz"}
_TEXTS = ("csv", "jsonl")


class Wanted(NamedTuple):
    """What to make: `run` None is the last one, `output` None a file in the run's own folder."""

    form: Form
    run: str | None = None
    output: Path | None = None
    zstd: bool = False


class Exported(NamedTuple):
    """What was made: its path, records and bytes. `notes` are sentences of what is not there."""

    path: Path
    rows: int
    size: int
    notes: tuple[str, ...]


def export(job: Job, wanted: Wanted) -> Exported:
    """Convert a run of a job. Raises JobError where that is not to be had, StorageError where files fail."""
    if wanted.zstd and wanted.form not in _TEXTS:
        raise JobError(f"--zstd is for {' and '.join(_TEXTS)}: a {wanted.form} file is compressed within")
    if wanted.form == "parquet":
        check_available("--to parquet")
    source = find(JobFolder(Path(job.output.dir), job.name), wanted.run)
    target = (
        wanted.output or source.folder / "export" / f"records{SUFFIXES[wanted.form]}{'.zst' if wanted.zstd else ''}"
    )
    notes = [source.note] if source.note else []
    try:
        _check_free(target, given=wanted.output is not None)
        with _whole(target) as temporary:
            if wanted.form == "warc":
                archive = Archive(temporary, job.name, source, decoded=job.request.decompress)
                rows = archive.write(target.name)
                notes += archive.notes()
            else:
                rows = _write(temporary, _WRITERS[wanted.form], job, source, zstd=wanted.zstd)
    except OSError as error:
        raise StorageError(f"{target}: cannot be written: {error}") from error
    return Exported(target, rows, target.stat().st_size, tuple(notes))


def _check_free(target: Path, *, given: bool) -> None:
    if os.path.lexists(target):
        raise JobError(f"{target}: exists already; nothing was written")
    if not given:
        make_folder(target.parent)
    elif not target.parent.is_dir():
        raise JobError(f"{target.parent}: is no folder, so nothing can be written there")


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """A temporary name beside the target, which what was written there gets at the end, durably."""
    temporary = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        yield temporary
        sync_file(temporary)
        if os.path.lexists(target):
            raise JobError(f"{target}: somebody else has made it meanwhile; nothing was written")
        os.rename(temporary, target)
        sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _write(temporary: Path, writer: Callable[..., int], job: Job, source: Source, *, zstd: bool) -> int:
    with open(temporary, "xb") as file:
        if not zstd:
            return writer(source, file, job)
        with _compressed(file) as packed:
            return writer(source, packed, job)


@contextmanager
def _compressed(file: BinaryIO) -> Iterator[BinaryIO]:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    with zstd.ZstdFile(file, "w", options={zstd.CompressionParameter.checksum_flag: 1}) as packed:
        yield packed  # type: ignore[misc]


def _jsonl(source: Source, file: BinaryIO, job: Job) -> int:
    rows = 0
    for line in source.lines():
        file.write(line)
        rows += 1
    return rows


def _csv(source: Source, file: BinaryIO, job: Job) -> int:
    rows = 0
    text = TextIOWrapper(file, encoding="utf-8", newline="")
    try:
        writer = csv.writer(text)
        writer.writerow(HEADER)
        for record in source.records():
            writer.writerow(cells(record))
            rows += 1
    finally:
        text.detach()  # what it holds is handed over; the file is closed by whoever opened it
    return rows


def _parquet(source: Source, file: BinaryIO, job: Job) -> int:
    fields = column_types(job.extract) if job.extract is not None else None
    columns = schema(fields, origin(job.name, source.run))
    groups = RowGroups(file.write, columns)
    try:
        for batch in batches_of(source.lines(), columns):
            groups.add(batch)
        groups.end()
    except BaseException as error:
        groups.give_up()
        if isinstance(error, ValueError):
            raise source.damaged(error) from error
        raise
    return groups.rows


_WRITERS: dict[Form, Callable[[Source, BinaryIO, Job], int]] = {"jsonl": _jsonl, "csv": _csv, "parquet": _parquet}
