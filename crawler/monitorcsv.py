"""records.csv read back, as far as a page shows it.

Does: turn rows into what the lines of records say. Must not know who asks. Invariant: a row that is cut off, as the
last one of a file that is being written may be, ends the reading; a row that no record was written as is texts.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping
from io import TextIOWrapper
from typing import Any

from crawler.csvtext import HEADER, reader

_CELL = 64 << 20  # characters


def records_in_csv(fd: int) -> Iterator[Mapping[str, Any]]:
    """The records; the descriptor is closed behind the last. A header of another version is read by its names."""
    csv.field_size_limit(max(csv.field_size_limit(), _CELL))
    with TextIOWrapper(os.fdopen(fd, "rb"), encoding="utf-8", errors="replace", newline="") as file:
        rows = csv.reader(file)
        header = next(rows, list(HEADER))
        record = reader(header)
        for row in rows:
            if len(row) != len(header):
                return
            try:
                yield record(row)
            except ValueError:  # whoever wrote that
                yield dict(zip(header, row, strict=True))
