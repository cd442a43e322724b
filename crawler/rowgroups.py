"""Row groups of one Parquet file: rows gathered until they are many enough to be read well, then compressed at once.

Does: write to a file that somebody opened. Must not know where the rows are from, names of files or the checkpoint.
Invariant: memory holds one row group; a file that was not ended has no footer, so that no reader takes it for one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from crawler import __version__

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS = 20_000  # of a row group,
_BYTES = 32 * 1024 * 1024  # or so many of its columns in memory


def origin(job: str, run: str) -> dict[str, str]:
    """What the metadata of a file say of where it is from."""
    return {"crawler.version": __version__, "crawler.job": job, "crawler.run": run}


class RowGroups:
    """Rows gathered until they make a row group, and written to a Parquet file."""

    def __init__(self, write: Callable[[bytes], object], columns: pa.Schema) -> None:
        """`write` is given all bytes of the file, in their order."""
        import pyarrow.parquet as pq

        self.rows = 0
        self.bytes = 0  # in memory, before compression
        self._columns = columns
        self._into = _Into(write)
        self._batches: list[pa.RecordBatch] = []
        self._written = (0, 0)  # rows and bytes of the row groups so far
        self._writer = pq.ParquetWriter(self._into, columns, compression="zstd")

    def add(self, batch: pa.RecordBatch) -> None:
        """More rows. Raises OSError."""
        self._batches.append(batch)
        self.rows += batch.num_rows
        self.bytes += batch.nbytes
        if self.rows - self._written[0] >= _ROWS or self.bytes - self._written[1] >= _BYTES:
            self._write()

    def end(self) -> None:
        """Write what is left, and the footer. Raises OSError."""
        self._write()
        self._writer.close()

    def give_up(self) -> None:
        """Nothing more is written, not even by what pyarrow does when it is thrown away."""
        self._into.wanted = False
        self._batches = []
        self._writer.close()

    def _write(self) -> None:
        import pyarrow as pa

        rows = self.rows - self._written[0]
        if rows:
            self._writer.write_table(pa.Table.from_batches(self._batches, self._columns), row_group_size=rows)
        self._batches, self._written = [], (self.rows, self.bytes)


class _Into:
    """The file that pyarrow writes to."""

    closed = False

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._size = 0
        self.wanted = True

    def write(self, data: bytes) -> int:
        """All of it, or an error."""
        if self.wanted:
            self._write(bytes(data))
        self._size += len(data)
        return len(data)

    def tell(self) -> int:
        """Bytes so far."""
        return self._size

    def writable(self) -> bool:
        """Yes."""
        return True

    def readable(self) -> bool:
        """No."""
        return False

    def seekable(self) -> bool:
        """No."""
        return False

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Whoever opened what is behind `write` closes it."""
