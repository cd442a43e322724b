"""records.csv: a header and one row per finished input, in one append-only segment, quoted as RFC 4180 says.

Does: turn the lines of records into rows and append them. Must not know requests, bodies or the checkpoint; what
stands in a cell is for `csvtext`. Invariant: the committed length is 0 or stands at the end of a row, and whatever
was committed has the header of this version.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from io import StringIO
from pathlib import Path

import orjson

from crawler.csvtext import HEADER, Cell, cells
from crawler.durable import Mark, open_segment
from crawler.entry import Sync
from crawler.errors import StorageError

NAME = "records.csv"


class CsvRecords:
    """The records of one run, as a table."""

    def __init__(self, run_folder: Path, mark: Mark, sync: Sync = Sync.COMMIT) -> None:
        """Raises StorageError where the file is not the one that `mark` vouches for, or has other columns."""
        self._path = run_folder / NAME
        self._sync = sync
        self._segment, self.dropped = open_segment(self._path, mark)
        try:
            self._check_header()
        except BaseException:
            self._segment.close()
            raise

    def __repr__(self) -> str:
        return f"<CsvRecords length={self._segment.length}>"

    def append(self, lines: Sequence[bytes]) -> None:
        """Write the rows of one group. Raises OSError."""
        if not lines:
            return
        self._write(cells(orjson.loads(line)) for line in lines)
        if self._sync is Sync.COMMIT:
            self._segment.sync()

    def marks(self) -> list[tuple[str, Mark]]:
        """Name and state for the checkpoint."""
        return [(NAME, self._segment.mark())]

    def state(self) -> str | None:
        """Nothing beside the mark."""
        return None

    def finish(self) -> None:
        """The run is over: one without records has the header alone. Raises OSError."""
        if self._segment.length == 0:
            self._write(())
        if self._sync is not Sync.NEVER:
            self._segment.sync()

    def close(self) -> None:
        """Close the segment, durable where that is done on closing."""
        if self._sync is Sync.CLOSE:
            self._segment.sync()
        self._segment.close()

    def _write(self, rows: Iterable[Sequence[Cell]]) -> None:
        self._segment.append(_text(rows, headed=self._segment.length == 0))

    def _check_header(self) -> None:
        """Rows of other columns under the same header would say what is not so."""
        if self._segment.length == 0:
            return
        wanted = _text((), headed=True)
        with open(self._path, "rb") as file:
            if file.read(len(wanted)) != wanted:
                raise StorageError(f"{self._path}: has other columns than this version writes; begin a new run")


def _text(rows: Iterable[Sequence[Cell]], *, headed: bool) -> bytes:
    text = StringIO(newline="")
    writer = csv.writer(text)
    if headed:
        writer.writerow(HEADER)
    writer.writerows(rows)
    return text.getvalue().encode()
