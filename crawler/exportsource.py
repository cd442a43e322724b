"""What a run has of committed records, to be read while it may be going on.

Does: find a run in state.db, and read its records as lines from whatever holds them. Must not write, lock or make
anything, nor know what the records become. Invariant: of a run that state.db still has marks of, what they vouch for
is read and nothing else; of an earlier one, the whole lines that are there.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from crawler.errors import JobError, StorageError
from crawler.folders import JobFolder
from crawler.parquetrows import check_available, records_of, told
from crawler.recordlines import lines
from crawler.schema import reading

_KEPT = ("records.jsonl", "records.jsonl.zst")
_PASSING = "journal.jsonl.zst"  # there until the run is over, where no JSONL was asked for
_CSV = "records.csv"
_PART = re.compile(r"records/part-[0-9]+\.parquet\Z")
_PIECE = 64 * 1024


class Source(NamedTuple):
    """The records of a run: those of Parquet parts, then the lines of `journal` from byte `start` to `end`.

    `note` is a sentence where they are not those of a whole run.
    """

    run: str
    folder: Path
    note: str | None = None
    parts: tuple[Path, ...] = ()
    journal: Path | None = None
    start: int = 0
    end: int = 0

    def lines(self) -> Iterator[bytes]:
        """The records, a line each. Raises StorageError where something is gone or damaged."""
        for part in self.parts:
            yield from _lines_of(part)
        if self.journal is not None and self.start < self.end:
            try:
                yield from lines(self.journal, self.start, self.end)
            except OSError as error:
                raise StorageError(f"{self.journal}: cannot be read: {error.strerror}") from error

    def records(self) -> Iterator[dict[str, Any]]:
        """The same as what they say. Raises StorageError."""
        for line in self.lines():
            try:
                yield told(line)
            except ValueError as error:
                raise self.damaged(error) from error

    def damaged(self, error: ValueError) -> StorageError:
        """What to raise where a line is no record."""
        return StorageError(f"{self.folder}: its records are damaged: a line {error}")


class _Known(NamedTuple):
    """What state.db says of a run: `lengths` by file where it still knows, `taken` bytes of the journal in parts."""

    run: str
    state: str
    last: bool
    lengths: dict[str, int]
    taken: int


def find(folder: JobFolder, run: str | None) -> Source:
    """The records of a run, the last one if None. Raises JobError where there is no such run, StorageError."""
    if not folder.state.exists():
        raise JobError(f"{folder.path.name}: never run, so there is nothing to export")
    known = _known(folder, run)
    place = folder.run(known.run)
    if not place.is_dir():
        raise StorageError(f"{place}: is gone; of run {known.run} nothing is left")
    if known.last:
        lengths, taken = known.lengths, known.taken
    else:
        lengths, taken = _on_disk(place), 0
    return _chosen(known.run, place, _note(known, folder), lengths, taken)


def _known(folder: JobFolder, run: str | None) -> _Known:
    with reading(folder.state) as db:
        db.execute("BEGIN")  # all of one moment
        runs = db.execute("SELECT id, state FROM runs ORDER BY n").fetchall()
        found = [row for row in runs if run is None or row[0] == run]
        if not found:
            names = ", ".join(id for id, _ in reversed(runs[-5:]))
            said = f"there is no run '{run}'; the last are {names}" if runs else "never run"
            raise JobError(f"{folder.path.name}: {said}")
        id, state = found[-1]
        lengths, states = dict(db.execute("SELECT name, length FROM segments")), _states(db)
        if "digests" in states and "parquet" not in states:
            lengths.pop(_PASSING, None)  # the run was over, and goes on: what came before stands in no journal
        taken = int(orjson.loads(states["parquet"])["journal"]) if "parquet" in states else 0
        return _Known(id, state, id == runs[-1][0], lengths, taken)


def _states(db: sqlite3.Connection) -> dict[str, str]:
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'sinks'").fetchone():
        return {}  # a database made before there were any
    return dict(db.execute("SELECT name, state FROM sinks"))


def _note(known: _Known, folder: JobFolder) -> str | None:
    if known.state == "finished":
        return None
    if not known.last:
        return f"run {known.run} was left unfinished: these are the whole records that stand in its files"
    if known.state == "running" and folder.held():
        return f"run {known.run} is going on: these are the records committed by now"
    return f"run {known.run} is not finished: these are the records committed so far"


def _on_disk(place: Path) -> dict[str, int]:
    """The files of an earlier run by name, and how far they hold whole lines."""
    lengths = {}
    for name in (*_KEPT, _PASSING, _CSV):
        path = place / name
        if path.is_file():
            lengths[name] = _whole_lines(path) if path.suffix == ".jsonl" else path.stat().st_size
    if not lengths.get(_PASSING):  # else it holds what stands in the parts
        for path in (place / "records").glob("part-*.parquet"):
            lengths[f"records/{path.name}"] = path.stat().st_size
    return lengths


def _whole_lines(path: Path) -> int:
    """Bytes up to the last line end."""
    with open(path, "rb") as file:
        at = file.seek(0, 2)
        while at:
            start = max(0, at - _PIECE)
            file.seek(start)
            found = file.read(at - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            at = start
    return 0


def _chosen(run: str, place: Path, note: str | None, lengths: dict[str, int], taken: int) -> Source:
    for name in _KEPT:
        if lengths.get(name):
            return Source(run, place, note, (), place / name, 0, lengths[name])
    parts = sorted((name for name in lengths if _PART.match(name)), key=lambda name: (len(name), name))
    journal = lengths.get(_PASSING, 0)
    if parts:
        check_available("to read the records of this run, which are Parquet,")
        return Source(run, place, note, tuple(place / name for name in parts), place / _PASSING, taken, journal)
    if journal:
        return Source(run, place, note, (), place / _PASSING, 0, journal)
    if lengths.get(_CSV):
        raise JobError(f"run {run} has its records as CSV only ({place / _CSV}), from which nothing else can be made")
    return Source(run, place, note)


def _lines_of(part: Path) -> Iterator[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(part) as file:
            for batch in file.iter_batches(batch_size=1000):
                for record in records_of(batch):
                    yield orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
    except FileNotFoundError:
        raise StorageError(f"{part}: is gone") from None
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{part}: cannot be read: {error}") from error
