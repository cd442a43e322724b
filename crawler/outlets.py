"""The outputs that a job asks for, opened and recovered by what the checkpoint vouches for.

Does: choose the sinks, and remove bodies that came in part and are of no more use. Must not know what they write, or
when. Invariant: whatever forms a job asks for, there is one journal of its records.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from crawler.checkpoint import Checkpoint
from crawler.commit import BodySink, Sinks
from crawler.durable import EMPTY, Mark, make_folder
from crawler.entry import Sync
from crawler.errors import StorageError
from crawler.fingerprints import fingerprint
from crawler.folders import JobFolder
from crawler.job import Job
from crawler.jobextract import column_types
from crawler.masking import Mask
from crawler.partial import Partial, loads
from crawler.sinks import frames, jsonl
from crawler.sinks.bodies import BodyFiles
from crawler.sinks.frames import Frames
from crawler.sinks.jsonl import ZST, Beside, JsonlRecords
from crawler.store import ContentStore

if TYPE_CHECKING:
    from crawler.sinks.csv import CsvRecords
    from crawler.sinks.parquet import ParquetParts
    from crawler.warcrecords import Refers

_PASSING = "journal.jsonl"


def open_sinks(job: Job, checkpoint: Checkpoint, run: str, folder: JobFolder, hide: Mask) -> Sinks:
    """All outputs of a run. `hide` takes secrets out of texts. Raises StorageError."""
    try:
        removed = _recover_parts(folder.parts, {partial.name for partial in partials_of(checkpoint, folder)})
        sinks = _opened(job, checkpoint, run, folder, hide)
        return sinks._replace(removed=sinks.removed + removed)
    except OSError as error:
        raise StorageError(f"{folder.run(run)}: cannot be written: {error}") from error


def partials_of(checkpoint: Checkpoint, folder: JobFolder) -> list[Partial]:
    """The bodies that came in part, of this run and of those before."""
    found = (loads(text, str(folder.parts)) for text in checkpoint.partials().values())
    return [partial for partial in found if partial is not None]


def _opened(job: Job, checkpoint: Checkpoint, run: str, folder: JobFolder, hide: Mask) -> Sinks:
    said, marks, states, at = job.output, checkpoint.marks(), checkpoint.sink_states(), folder.run(run)
    bodies: dict[str, BodySink] = {}
    if "warc" in said.bodies:
        from crawler.sinks.warc import WarcFiles

        size, kept = said.segment_size, said.keep_secrets
        bodies["warc"] = WarcFiles(
            at, job.name, run, marks, size, said.sync, hide, keep_secrets=kept, earlier=_earlier(checkpoint, hide)
        )
    if "tar" in said.bodies:
        from crawler.sinks.tar import TarShards

        bodies["tar"] = TarShards(at, marks, said.segment_size, said.sync, hide)
    removed = 0
    if "files" in said.bodies:
        store = ContentStore(folder.store) if said.share else None
        files = BodyFiles(at, said.layout, folder.parts, store=store, sync=said.sync)
        removed = files.recover(checkpoint.group)
        bodies["files"] = files
    passing = "jsonl" not in said.records
    zstd = passing or said.compress
    name = (_PASSING if passing else jsonl.NAME) + (ZST if zstd else "")
    parquet: ParquetParts | None = None
    if "parquet" in said.records:
        from crawler.sinks.parquet import ParquetParts

        columns = column_types(job.extract) if job.extract is not None else None
        parquet = ParquetParts(at, at / name, marks, states.get("parquet"), said.part_rows, said.sync, columns)
    return Sinks(
        JsonlRecords(at, marks.get(name, EMPTY), name=name.removesuffix(ZST), zstd=zstd, sync=said.sync),
        Frames(at, marks.get(frames.NAME, EMPTY), said.sync),
        Frames(at, marks.get(frames.ITEMS, EMPTY), said.sync, frames.ITEMS),
        bodies,
        Beside("warc" in bodies, "tar" in bodies, at if "inline" in said.bodies else None),
        _csv(at, marks, said.sync) if "csv" in said.records else None,
        parquet,
        passing,
        removed,
    )


def _csv(at: Path, marks: Mapping[str, Mark], sync: Sync) -> CsvRecords:
    from crawler.sinks import csv

    return csv.CsvRecords(at, marks.get(csv.NAME, EMPTY), sync)


def _earlier(checkpoint: Checkpoint, hide: Mask) -> Callable[[str], Refers | None]:
    """The record of the body that a 304 of a URL stands for."""
    from crawler import warctext
    from crawler.warcrecords import Refers

    def earlier(url: str) -> Refers | None:
        known = checkpoint.known(fingerprint("GET", url, None))
        return Refers(warctext.target(url, hide), warctext.date(known.taken)) if known is not None else None

    return earlier


def _recover_parts(parts: Path, kept: Collection[str]) -> int:
    """Remove bodies on their way in, but for those names; returns how many went."""
    removed = 0
    make_folder(parts)
    for part in os.scandir(parts):
        if part.name not in kept:
            os.unlink(part.path)
            removed += 1
    return removed
