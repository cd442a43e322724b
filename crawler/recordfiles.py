"""Files of records copied without some of them: lines (plain or zstd), CSV byte for byte, parts of Parquet.

Does: read a file up to its committed length, give what is left out to whoever asks, write the rest beside it. Must not
know why records go, the checkpoint or the names of files. Invariant: the source is not changed, what stays keeps its
order and its bytes (its values in Parquet), and a copy is durable when its mark is returned. Memory holds some records.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from io import StringIO
from pathlib import Path
from typing import Any

import orjson

from crawler.csvtext import HEADER, reader
from crawler.durable import EMPTY, Mark, open_segment
from crawler.entry import Sync
from crawler.errors import StorageError
from crawler.parquetrows import records_of
from crawler.recordlines import is_zstd, lines
from crawler.rowgroups import RowGroups
from crawler.sinks.jsonl import ZST, JsonlRecords

LeftOut = Callable[[Mapping[str, Any]], None]

_AT_ONCE = 1 << 20  # bytes of lines or rows that are written at once, as a frame where compressed
_ROWS = 1000  # of Parquet
_NUMBER = re.compile(rb'\{"(?:id|page)":([0-9]+),')  # how every line of ours begins


def copy_lines(source: Path, length: int, target: Path, ids: Container[int], left_out: LeftOut) -> Mark:
    """Copy records, frames or items, a line each; those of requests in `ids` are left out.

    `target` has the name of `source` in another folder. Raises OSError, StorageError where the source is damaged.
    """
    name, zstd = target.name.removesuffix(ZST), is_zstd(source)
    with closing(JsonlRecords(target.parent, EMPTY, name=name, zstd=zstd, sync=Sync.CLOSE)) as copy:
        for group in _grouped(_kept_lines(source, length, ids, left_out)):
            copy.append(group)
        copy.finish()
        (_, mark), *_ = copy.marks()
        return mark


def _kept_lines(source: Path, length: int, ids: Container[int], left_out: LeftOut) -> Iterator[bytes]:
    for line in lines(source, 0, length):
        found = _NUMBER.match(line)
        try:
            number = int(found[1]) if found else orjson.loads(line)["id"]
            if number not in ids:
                yield line
                continue
            left_out(orjson.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            raise StorageError(f"{source}: is damaged: a line is no record ({error})") from error


def _grouped(texts: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Some at a time."""
    group: list[bytes] = []
    size = 0
    for text in texts:
        group.append(text)
        size += len(text)
        if size >= _AT_ONCE:
            yield group
            group, size = [], 0
    if group:
        yield group


def copy_csv(source: Path, length: int, target: Path, ids: Container[int], left_out: LeftOut) -> Mark:
    """Copy a table; one with fewer columns than this version writes gets those it lacks, empty.

    Raises OSError, StorageError where the source is damaged or has a column that is unknown.
    """
    rows = _csv_rows(source, length)
    try:
        names = _cells(next(rows, b""))
        if not set(names) <= set(HEADER) or names[:1] != ["id"]:
            raise StorageError(f"{source}: has other columns than this version writes; begin a new run")
        kept = _kept_rows(rows, names, ids, left_out)
        segment, _ = open_segment(target, EMPTY)
        with closing(segment):
            segment.append(_text(HEADER))
            for group in _grouped(kept if tuple(names) == HEADER else (_widened(row, names) for row in kept)):
                segment.append(b"".join(group))
            segment.sync()
            return segment.mark()
    except ValueError as error:
        raise StorageError(f"{source}: is damaged: {error}") from error


def csv_records(source: Path, length: int) -> Iterator[dict[str, Any]]:
    """What the rows of a table say. Raises OSError, StorageError, ValueError."""
    rows = _csv_rows(source, length)
    record = reader(_cells(next(rows, b"")))
    for row in rows:
        yield record(_cells(row))


def _csv_rows(source: Path, length: int) -> Iterator[bytes]:
    """The rows, the header among them, as they stand in the file: a line end within quotes is none (RFC 4180)."""
    csv.field_size_limit(sys.maxsize)  # bodies may stand in the cells
    begun: list[bytes] = []
    quoted, left = False, length
    with open(source, "rb") as file:
        for line in file:
            line = line[:left]
            left -= len(line)
            begun.append(line)
            quoted ^= line.count(b'"') % 2 == 1
            if not quoted:
                yield b"".join(begun)
                begun = []
            if not left:
                break
    if left or begun:
        raise StorageError(f"{source}: is damaged: it does not have {length} bytes of whole rows")


def _kept_rows(rows: Iterable[bytes], names: Sequence[str], ids: Container[int], left_out: LeftOut) -> Iterator[bytes]:
    record = reader(names)
    for row in rows:
        if int(row[: row.index(b",")]) not in ids:
            yield row
        else:
            left_out(record(_cells(row)))


def _widened(row: bytes, names: Sequence[str]) -> bytes:
    cells = dict(zip(names, _cells(row), strict=True))
    return _text([cells.get(name, "") for name in HEADER])


def _cells(row: bytes) -> list[str]:
    try:
        return next(csv.reader(StringIO(row.decode(), newline="")), [])
    except csv.Error as error:
        raise ValueError(str(error)) from error


def _text(cells: Sequence[str]) -> bytes:
    text = StringIO(newline="")
    csv.writer(text).writerow(cells)
    return text.getvalue().encode()


def copy_part(source: Path, target: Path, ids: Container[int], left_out: LeftOut) -> Mark | None:
    """Copy a Parquet file, with its columns and metadata; None, and nothing is written, where it has none of `ids`.

    Raises OSError, StorageError where the source is damaged.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(source) as file:
            if not any(number in ids for batch in file.iter_batches(columns=["id"]) for number in _ids(batch)):
                return None
            segment, _ = open_segment(target, EMPTY)
            with closing(segment):
                groups = RowGroups(segment.append, file.schema_arrow)
                for batch in _batches(file):
                    kept = pa.array([number not in ids for number in _ids(batch)])
                    for record in records_of(batch.filter(pc.invert(kept))):
                        left_out(record)
                    groups.add(batch.filter(kept))
                groups.end()
                segment.sync()
                return segment.mark()._replace(closed=True)
    except pa.ArrowException as error:
        raise StorageError(f"{source}: is damaged: {error}") from error


def _batches(file: Any) -> Iterator[Any]:
    """A row group after the other: bodies may stand in the rows, and a row group is bounded by its bytes."""
    for group in range(file.num_row_groups):
        yield from file.iter_batches(batch_size=_ROWS, row_groups=[group])


def _ids(batch: Any) -> list[int]:
    found: list[int] = batch.column("id").to_pylist()
    return found
