"""The committed records of a run as plain objects, from whatever form they are in.

Does: read JSONL, .zst, Parquet and CSV. Must not know what becomes of the records. Invariant: nothing is written or
locked; a CSV, which is read where there is nothing else, gives the keys of the JSON that a report or a diff reads.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from crawler.csvtext import reader
from crawler.errors import StorageError
from crawler.exportsource import Source, find
from crawler.folders import JobFolder
from crawler.parquetrows import told

_CSV = "records.csv"
_OTHERS = ("records.jsonl", "records.jsonl.zst", "journal.jsonl.zst")


class Records(NamedTuple):
    """The records of a run; `note` is a sentence where they are not all that were made."""

    note: str | None
    objects: Iterator[dict[str, Any]]


def records_of(folder: JobFolder, run: str) -> Records:
    """The records of a run that state.db knows. Raises JobError, StorageError, at the latest while they are read."""
    place = folder.run(run)
    others = (any((place / name).is_file() for name in _OTHERS), any((place / "records").glob("part-*.parquet")))
    if (place / _CSV).is_file() and not any(others):
        return Records(None, _of_csv(place / _CSV))
    source = find(folder, run)
    return Records(source.note, _of_lines(source))


def _of_lines(source: Source) -> Iterator[dict[str, Any]]:
    loads = orjson.loads
    for line in source.lines():
        try:
            record = loads(line)
        except orjson.JSONDecodeError:
            record = None
        if type(record) is not dict:
            try:
                record = told(line)
            except ValueError as error:
                raise source.damaged(error) from error
        yield record


def _of_csv(path: Path) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(sys.maxsize)  # bodies may stand in the cells
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            names = next(rows, [])
            record = reader(names)
            for row in rows:
                if len(row) != len(names):  # cut off by a kill, or not yet whole
                    break
                yield record(row)
    except (OSError, ValueError, csv.Error) as error:
        raise StorageError(f"{path}: cannot be read: {error}") from error
