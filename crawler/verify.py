"""A run read again: is every record there once, every body with its digest, every file as long as was committed.

Does: compare what stands on disk with what state.db and the records say. Must not write, lock or repair anything.
Invariant: works beside a running process and after any kill, by what was committed when it began; memory does not grow
with the bodies, and with the records by a bit for each.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from crawler import tarcheck, warccheck
from crawler.durable import EMPTY, Mark, tail_of
from crawler.errors import JobError, StorageError
from crawler.folders import JobFolder
from crawler.job import Job
from crawler.progress import size
from crawler.recordfiles import csv_records
from crawler.recordlines import lines
from crawler.rejoin import ASIDE
from crawler.schema import reading
from crawler.tally import Tally
from crawler.urls import printable

_RECORDS = ("records.jsonl", "records.jsonl.zst")
_PASSING = "journal.jsonl.zst"  # gone when a run is over; begins anew where that goes on
_CSV = "records.csv"


class Fault(NamedTuple):
    """What is wrong with a file of the run's folder, in a sentence that lacks its subject."""

    file: str
    error: str


class Known(NamedTuple):
    """What the checkpoint says of a run: how many ended, its files, and whole digests of those that are finished.

    `whole`: the passing journal, if there is one, holds all records; else those behind byte `taken` stand in no part.
    `aside`: files that a start has still to put in their places.
    """

    run: str
    ended: int
    marks: Mapping[str, Mark]
    digests: Mapping[str, str]
    whole: bool = True
    taken: int = 0
    aside: Collection[str] = ()


class Verified(NamedTuple):
    """What was read: records, bodies (each name once for each record), bytes of all."""

    run: str
    records: int
    bodies: int
    bytes: int


class Verifier:
    """Reads one run; `faults` gives what is wrong as it is found, `verified` counts meanwhile."""

    def __init__(self, job: Job) -> None:
        folder = JobFolder(Path(job.output.dir), job.name)
        self._known = _known(folder.state, job.name)
        self._run = folder.run(self._known.run)
        self._seen = bytearray()
        self._records = self._bodies = self._bytes = 0
        self.found = 0  # faults

    @property
    def verified(self) -> Verified:
        """What was read so far."""
        return Verified(self._known.run, self._records, self._bodies, self._bytes)

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self._run

    def faults(self) -> Iterator[Fault]:
        """All that is wrong. Raises StorageError where the disk cannot be read."""
        for fault in self._all():
            self.found += 1
            yield fault

    def _all(self) -> Iterator[Fault]:
        try:
            for name, mark in sorted(self._known.marks.items()):
                if mark.length:
                    yield from (Fault(name, error) for error in self._of_file(name, mark))
            yield from self._of_records()
        except OSError as error:
            raise StorageError(f"{self._run}: cannot be read: {error}") from error

    def _path(self, name: str) -> Path:
        aside = self._run / ASIDE / name
        return aside if name in self._known.aside and aside.exists() else self._run / name

    def _of_file(self, name: str, mark: Mark) -> Iterator[str]:
        path = self._path(name)
        if not path.is_file():
            yield "is gone"
            return
        length = path.stat().st_size
        self._bytes += length
        if length < mark.length:
            yield f"has {length} bytes, {mark.length} are committed: it was cut"
        elif mark.closed and length > mark.length:
            yield f"has {length} bytes, only {mark.length} are committed"
        elif tail_of(path, mark.length) != mark.tail:
            yield "does not end with the bytes that were committed: it was edited"
        elif (digest := self._known.digests.get(name)) is not None and _sha256(path) != digest:
            yield "is not what it was when the run was finished: it was edited"
        if name.endswith(".warc.gz"):
            yield from (
                f"byte {torn.offset}: {torn.error}" for torn in warccheck.check(path, mark.length, closed=mark.closed)
            )
        elif name.endswith(".tar"):
            found = tarcheck.check(path, mark.length, closed=mark.closed)
            yield from (f"byte {fault.offset}: {fault.said}" for fault in found)

    def _of_records(self) -> Iterator[Fault]:
        names = (*_RECORDS, _PASSING) if self._known.whole else _RECORDS
        name = next((name for name in names if self._known.marks.get(name, EMPTY).length), None)
        found = self._of_lines(name, 0) if name is not None else self._of_parts()
        shown = name or "records"
        try:
            for record in found:
                yield from self._of_record(shown, record)
        except (StorageError, ValueError, FileNotFoundError) as error:
            yield Fault(shown, f"cannot be read to its end: {str(error).removeprefix(f'{self._run / shown}: ')}")
        except (KeyError, TypeError, AttributeError):
            yield Fault(shown, f"cannot be read to its end: behind record {self._records} stands what is none")
        if self._records != self._known.ended:
            yield Fault(shown, f"has {self._records} records of {self._known.ended} that ended")

    def _of_lines(self, name: str, start: int) -> Iterator[Mapping[str, Any]]:
        return map(orjson.loads, lines(self._path(name), start, self._known.marks[name].length))

    def _of_parts(self) -> Iterator[Mapping[str, Any]]:
        """The records of a run that kept them as Parquet or as CSV alone."""
        parts = sorted(name for name in self._known.marks if name.endswith(".parquet"))
        if parts:
            from crawler.parquetrows import check_available

            check_available()
            import pyarrow.parquet as pq

            for name in parts:
                for batch in pq.ParquetFile(self._path(name)).iter_batches(columns=["id", "body", "sha256", "bytes"]):
                    yield from batch.to_pylist()
            if self._known.marks.get(_PASSING, EMPTY).length > self._known.taken:
                yield from self._of_lines(_PASSING, self._known.taken)
            return
        if length := self._known.marks.get(_CSV, EMPTY).length:  # else nothing was committed yet
            yield from csv_records(self._path(_CSV), length)

    def _of_record(self, name: str, record: Mapping[str, Any]) -> Iterator[Fault]:
        self._records += 1
        number = record["id"]
        if self._twice(number):
            yield Fault(name, f"has input {number} more than once")
        for kind in ("warc", "tar"):
            spot = record.get(kind)
            if spot is not None and not self._vouched(spot):
                yield Fault(name, f"input {number}: its {kind} names bytes that are not there")
        body = record["body"]
        if body is not None:
            self._bodies += 1
            yield from (Fault(body, error) for error in self._of_body(body, record))

    def _vouched(self, spot: Mapping[str, Any]) -> bool:
        mark = self._known.marks.get(spot["file"])
        return mark is not None and spot["offset"] + spot["length"] <= mark.length

    def _of_body(self, body: str, record: Mapping[str, Any]) -> Iterator[str]:
        path = self._run / body
        if not path.is_file():
            yield f"is gone; it is the body of input {record['id']}"
            return
        length = path.stat().st_size
        self._bytes += length
        if length != record["bytes"]:
            yield f"has {length} bytes, its record says {record['bytes']} (input {record['id']})"
        elif _sha256(path) != record["sha256"]:
            yield f"is not what its record says: its sha256 is another (input {record['id']})"

    def _twice(self, number: int) -> bool:
        at, bit = number >> 3, 1 << (number & 7)
        if at >= len(self._seen):
            self._seen.extend(bytes(at + 1024 - len(self._seen)))
        before = self._seen[at] & bit
        self._seen[at] |= bit
        return bool(before)


def told(verifier: Verifier, *, as_json: bool) -> Iterator[str]:
    """What was found, as lines for people or one JSON object."""
    if as_json:
        faults = [fault._asdict() for fault in verifier.faults()]
        yield orjson.dumps({**verifier.verified._asdict(), "faults": faults}).decode()
        return
    for fault in verifier.faults():
        yield printable(f"{fault.file} {fault.error}", 1000)
    run, records, bodies, bytes_ = verifier.verified
    wrong = "1 fault" if verifier.found == 1 else f"{verifier.found:,} faults"
    found = wrong if verifier.found else "all is there"
    yield f"run {run}: {records:,} records, {bodies:,} body files, {size(bytes_)} read; {found}"
    yield f"  {verifier.folder}"


def _known(state: Path, job: str) -> Known:
    if not state.exists():
        raise JobError(f"{job}: was never run, so there is nothing to verify")
    with reading(state) as db:
        db.execute("BEGIN")  # all of one moment
        row = db.execute("SELECT id, tally, state FROM runs ORDER BY n DESC LIMIT 1").fetchone()
        if row is None:
            raise JobError(f"{job}: was never run, so there is nothing to verify")
        marks = db.execute("SELECT name, length, tail, closed FROM segments")
        known = {name: Mark(length, tail, bool(closed)) for name, length, tail, closed in marks}
        sealed = _told(db, "SELECT state FROM sinks WHERE name = 'digests'")
        taken = _told(db, "SELECT state FROM sinks WHERE name = 'parquet'") or {}
        aside = _told(db, "SELECT value FROM meta WHERE key = 'replace'") or ()
    ended = Tally.from_json(row[1]).done if row[1] else 0
    digests = sealed or {} if row[2] == "finished" else {}  # else it may have gone on, with a longer list
    return Known(row[0], ended, known, digests, sealed is None, taken.get("journal", 0), aside)


def _told(db: sqlite3.Connection, query: str) -> Any:
    row = db.execute(query).fetchone()
    return orjson.loads(row[0]) if row is not None else None


def _sha256(path: Path) -> str:
    with open(os.open(path, os.O_RDONLY), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
