"""The records of a run in pages, those that are wanted; the last that failed.

Does: read a bounded slice of whatever holds the records, and go on from there when asked again. Must not know aiohttp
or how rows are shown. Invariant: one call reads for about SLICE seconds and tells where it stands; what is not
committed is not shown. Of records.jsonl a cursor is a byte, of other forms the number of a record.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from threading import Lock
from time import monotonic
from typing import Any, NamedTuple

import orjson

from crawler.errors import JobError, StorageError
from crawler.exportsource import Source, find
from crawler.folders import JobFolder
from crawler.monitorcsv import records_in_csv
from crawler.monitorfiles import NONE, Tree
from crawler.monitorfilter import Wanted
from crawler.monitortails import tail_lines
from crawler.recordlines import is_zstd, lines

SLICE = 0.5  # seconds
ROWS = 200  # at most, in a page
_SKIP = 20.0  # seconds, to go to where a cursor stands when that is not kept
_PIECE = 1 << 20  # bytes
_LINE = 64 << 20  # bytes of a line that is still read
_KEPT = 4  # places in other forms than plain lines
_JSONL = "records.jsonl"
_CSV = "records.csv"
_MAGIC = b"\x28\xb5\x2f\xfd"  # of a zstd frame (RFC 8878 3.1.1)
_BACK = 1 << 20  # bytes, in which the last frames are looked for


class Slice(NamedTuple):
    """Records that are wanted; `next`: the cursor to go on from, None at the end. `looked`: how many were looked at.

    `note` is a sentence where these are not those of a whole run.
    """

    records: list[Mapping[str, Any]]
    next: int | None
    looked: int
    note: str | None


class _Place(NamedTuple):
    """Where a reading of other forms stands."""

    at: int
    records: Iterator[Mapping[str, Any]]


class Browser:
    """Reads the records below one output folder, for any number of readers; calls block and may come from threads."""

    def __init__(self, tree: Tree, clock: Callable[[], float] = monotonic) -> None:
        self._tree = tree
        self._clock = clock
        self._places: OrderedDict[tuple[str, str, int], _Place] = OrderedDict()
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"<Browser {len(self._places)} places kept>"

    def browse(self, job: str, run: str, asked: Wanted, cursor: int, rows: int) -> Slice:
        """The next `rows` that are wanted, or fewer where time ran out. Raises JobError, StorageError."""
        rows = max(1, min(rows, ROWS))
        source = self._found(job, run)
        if source is not None and source.journal is not None and source.journal.name == _JSONL:
            with self._opened(job, run, _JSONL) as fd:
                return self._plain(fd, source, asked, cursor, rows)
        return self._numbered((job, run), source, asked, cursor, rows)

    def failures(self, job: str, run: str, count: int) -> list[Mapping[str, Any]]:
        """The last that failed, the latest first, as far as the end of the records tells. Raises as `browse` does."""
        source = self._found(job, run)
        if source is None or source.journal is None or source.start >= source.end:
            return []
        name, asked = source.journal.name, Wanted(outcome="failed")
        if is_zstd(source.journal):
            ends = _last_frames(source)
        else:
            with self._opened(job, run, name) as fd:
                ends = tail_lines(fd, 1_000_000, source.end)
        found: list[Mapping[str, Any]] = []
        for line in reversed(ends):
            if asked.may(line) and (record := _told(line)) is not None and asked.wants(record):
                found.append(record)
                if len(found) == count:
                    break
        return found

    def _found(self, job: str, run: str) -> Source | None:
        """What holds the records; None: a CSV file alone. What is no file of this very folder is not there."""
        if not self._tree.is_job(job) or not self._tree.is_folder(job, "runs", run):
            raise StorageError(f"{job}: of run {run} nothing is left")
        try:
            source = find(JobFolder(self._tree.root, job), run)
        except JobError:
            if self._tree.sign(job, "runs", run, _CSV) != NONE:
                return None
            raise
        held = [part.relative_to(source.folder).parts for part in source.parts]
        held += [(source.journal.name,)] if source.journal is not None and source.start < source.end else []
        if any(self._tree.sign(job, "runs", run, *steps) == NONE for steps in held):
            raise StorageError(f"{job}: of run {run} some records are gone")
        return source

    def _opened(self, job: str, run: str, name: str) -> Any:
        try:
            return self._tree.open(job, "runs", run, name)
        except FileNotFoundError:
            raise StorageError(f"{job}: run {run} has no {name}") from None

    def _plain(self, fd: int, source: Source, asked: Wanted, cursor: int, rows: int) -> Slice:
        if cursor and (cursor > source.end or os.pread(fd, 1, cursor - 1) != b"\n"):
            raise JobError("no record begins there")
        until, found, looked = self._clock() + SLICE, list[Mapping[str, Any]](), 0
        for at, line in _lines_from(fd, cursor, source.end):
            looked += 1
            cursor = at + len(line) + 1
            if asked.may(line) and (record := _told(line)) is not None and asked.wants(record):
                found.append(record)
                if len(found) == rows:
                    break
            if not looked % 64 and self._clock() > until:
                break
        return Slice(found, cursor if cursor < source.end else None, looked, source.note)

    def _numbered(self, at: tuple[str, str], source: Source | None, asked: Wanted, cursor: int, rows: int) -> Slice:
        with self._lock:
            place = self._places.pop((*at, cursor), None)
        place = place or self._gone_to(at, source, cursor)
        until, found, number, over = self._clock() + SLICE, list[Mapping[str, Any]](), cursor, True
        for record in place.records:
            number += 1
            if asked.wants(record):
                found.append(record)
            if len(found) == rows or (not number % 16 and self._clock() > until):
                over = False
                break
        if not over:
            self._keep((*at, number), _Place(number, place.records))
        return Slice(found, None if over else number, number - cursor, source.note if source is not None else None)

    def _gone_to(self, at: tuple[str, str], source: Source | None, cursor: int) -> _Place:
        records: Iterator[Mapping[str, Any]] = (
            source.records() if source is not None else records_in_csv(self._tree.opened(at[0], "runs", at[1], _CSV))
        )
        until = self._clock() + _SKIP
        for number in range(cursor):
            if next(records, None) is None:
                break
            if not number % 1024 and self._clock() > until:
                raise JobError("it takes too long to go there; begin at the first record")
        return _Place(cursor, records)

    def _keep(self, key: tuple[str, str, int], place: _Place) -> None:
        with self._lock:
            self._places[key] = place
            while len(self._places) > _KEPT:
                self._places.popitem(last=False)  # with it goes its file


def _lines_from(fd: int, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Whole lines with the byte at which each begins. Raises StorageError for one that nobody could show."""
    rest = b""
    while start < end:
        piece = os.pread(fd, min(_PIECE, end - start - len(rest)), start + len(rest))
        if not piece:
            return
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield start, line
            start += len(line) + 1
        if len(rest) > _LINE:
            raise StorageError(f"the record at byte {start} is larger than {_LINE} bytes")


def _last_frames(source: Source) -> list[bytes]:
    """The lines of the last zstd frames: a commit ends one, so that the first that is whole leads to the end."""
    assert source.journal is not None
    start = max(source.start, source.end - _BACK)
    with open(source.journal, "rb") as file:
        file.seek(start)
        data = file.read(source.end - start)
    at = data.find(_MAGIC)
    while at >= 0:
        with suppress(StorageError, OSError):
            return list(lines(source.journal, start + at, source.end))
        at = data.find(_MAGIC, at + 1)
    return []


def _told(line: bytes) -> Mapping[str, Any] | None:
    with suppress(ValueError):
        record = orjson.loads(line)
        if isinstance(record, dict):
            return record
    return None
