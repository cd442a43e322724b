"""CSV and Parquet as their usual readers see them, against the records of the JSONL."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_PART = re.compile(r"records/part-[\d-]+\.parquet\Z")
# Columns that every form has, and that say whether a row is of the right end.
_COMPARED = ("url", "final_url", "outcome", "status", "sha256", "bytes", "body")
Row = tuple[str, ...]


def owns(path: Path) -> bool:
    """Is this a file of ours."""
    return _PART.match(str(path)) is not None


def judge(folder: Path, records: Sequence[dict[str, Any]], forms: Sequence[str]) -> list[str]:
    """The faults of the tables of a run that came to its end."""
    faults: list[str] = []
    if "csv" in forms:
        faults += judge_csv(folder, records, None)
    if "parquet" in forms:
        faults += _compare("records/*.parquet", _parquet_rows(folder, faults), records)
    return faults


def judge_csv(folder: Path, records: Sequence[dict[str, Any]], length: int | None) -> list[str]:
    """The faults of records.csv, as far as `length` where only that much counts."""
    path = folder / "records.csv"
    if not path.exists():
        return [] if not records else ["records.csv: is not there"]
    data = path.read_bytes()[:length]
    if data and not data.endswith(b"\n"):
        return ["records.csv: ends within a line"]
    try:
        rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        return [f"records.csv: {error}"]
    if any(None in row or None in row.values() for row in rows):
        return ["records.csv: has rows of another length than its header"]
    return list(_compare("records.csv", [_row(row) for row in rows], records))


def records_of(folder: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The records of a run that left nothing but Parquet and CSV."""
    import pyarrow
    import pyarrow.parquet as parquet

    records: list[dict[str, Any]] = []
    for path in sorted((folder / "records").glob("*.parquet")):
        try:
            records += parquet.read_table(path).to_pylist()
        except (OSError, pyarrow.ArrowException) as error:
            return [], [f"{path.name}: {error}"]
    return records, []


def _parquet_rows(folder: Path, faults: list[str]) -> list[Row]:
    import pyarrow
    import pyarrow.parquet as parquet

    rows: list[Row] = []
    schemas = set()
    for path in sorted((folder / "records").glob("*.parquet")):
        try:
            table = parquet.read_table(path)
        except (OSError, pyarrow.ArrowException) as error:
            faults.append(f"{path.name}: {error}")
            continue
        schemas.add(str(table.schema.remove_metadata()))
        rows += map(_row, table.select(list(_COMPARED)).to_pylist())
    if len(schemas) > 1:
        faults.append(f"records/*.parquet: {len(schemas)} schemas")
    return rows


def _row(row: dict[str, Any]) -> Row:
    return tuple("" if row[name] is None else str(row[name]) for name in _COMPARED)


def _compare(name: str, rows: Sequence[Row], records: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The rows of a table are the records, each once."""
    have, wanted = Counter(rows), Counter(map(_row, records))
    yield from (f"{name}: {row[0]} is missing or differs" for row in wanted - have)
    yield from (f"{name}: {row[0]} is doubled or unknown" for row in have - wanted)
