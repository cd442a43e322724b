"""Row groups of one Parquet file."""

from __future__ import annotations

from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crawler import __version__
from crawler.rowgroups import RowGroups, origin

COLUMNS = pa.schema([("n", pa.int64()), ("text", pa.string())])


def rows(first: int, count: int, text: str = "") -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"n": [*range(first, first + count)], "text": [text] * count}, schema=COLUMNS)


def written(*batches: pa.RecordBatch) -> pq.ParquetFile:
    file = BytesIO()
    groups = RowGroups(file.write, COLUMNS)
    for batch in batches:
        groups.add(batch)
    groups.end()
    return pq.ParquetFile(BytesIO(file.getvalue()))


def sizes(file: pq.ParquetFile) -> list[int]:
    return [file.metadata.row_group(n).num_rows for n in range(file.metadata.num_row_groups)]


def test_small_batches_become_one_row_group() -> None:
    """Rows that come by tens are gathered, and come out in their order."""
    file = written(*(rows(n, 10) for n in range(0, 300, 10)))
    assert sizes(file) == [300]
    assert file.read().column("n").to_pylist() == [*range(300)]


def test_a_row_group_is_bounded_by_rows() -> None:
    """Beyond 20,000 another one begins."""
    assert sizes(written(*(rows(n, 1000) for n in range(0, 45_000, 1000)))) == [20_000, 20_000, 5_000]


def test_a_row_group_is_bounded_by_bytes() -> None:
    """So that long texts do not fill the memory."""
    file = written(*(rows(n, 1, "x" * 12_000_000) for n in range(7)))
    assert sizes(file) == [3, 3, 1]


def test_no_rows_are_a_file_too() -> None:
    """It has the columns."""
    file = written()
    assert file.metadata.num_rows == 0
    assert file.schema_arrow == COLUMNS


def test_what_was_not_ended_is_no_file() -> None:
    """A reader refuses it, however much was written."""
    file = BytesIO()
    groups = RowGroups(file.write, COLUMNS)
    groups.add(rows(0, 30_000))
    data = file.getvalue()
    groups.give_up()
    assert file.getvalue() == data
    assert len(data) > 10_000
    with pytest.raises(pa.ArrowInvalid):
        pq.ParquetFile(BytesIO(data))


def test_an_error_of_the_system_comes_through() -> None:
    """As itself; and what is given up then is thrown away without another."""
    calls = 0

    def full(data: bytes) -> None:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise OSError(28, "No space left on device")

    groups = RowGroups(full, COLUMNS)
    with pytest.raises(OSError, match="No space left"):
        groups.add(rows(0, 30_000))
    groups.give_up()


def test_a_file_says_where_it_is_from() -> None:
    """Job, run, and the version that wrote it."""
    assert origin("j", "r") == {"crawler.job": "j", "crawler.run": "r", "crawler.version": __version__}
