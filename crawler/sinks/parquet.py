"""records/part-00000.parquet, …: parts made of what is committed of the journal, each whole before it has its name.

Does: turn new lines of the journal into rows of the part under way, close it when it is large enough. Must not know
what a record says, or who writes the journal. Invariant: the ranges of the parts are disjoint and without a gap, so
each record stands in one of them; a part that no mark names is removed, and made again from the journal.

A part cannot be appended to: what is under way (`.part`) never outlives its process. It grows with each group, so
that no commit waits for a whole part to be made.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import orjson

from crawler.durable import EMPTY, Mark, make_folder, open_segment, sync_folder
from crawler.entry import Sync
from crawler.errors import StorageError
from crawler.parquetrows import batches_of, schema
from crawler.recordlines import lines
from crawler.rowgroups import RowGroups, origin

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = "records"
_PART = re.compile(r"records/part-([0-9]{5,})\.parquet\Z")
_PART_BYTES = 1024**3  # bytes of columns after which a part is closed, whatever its rows


class _Place(NamedTuple):
    """What the commits know: bytes of the journal that stand in closed parts, how many parts, how many rows."""

    journal: int = 0
    parts: int = 0
    rows: int = 0


class ParquetParts:
    """The Parquet parts of one run. `rows` is after how many of them a part is closed."""

    def __init__(
        self,
        run_folder: Path,
        journal: Path,
        marks: Mapping[str, Mark],
        state: str | None,
        rows: int,
        sync: Sync,
        fields: Mapping[str, pa.DataType] | None = None,
    ) -> None:
        """`fields` are the columns of what is extracted. Raises StorageError where a part is not the one that its mark
        vouches for, OSError.
        """
        self._run = run_folder
        self._journal = journal
        self._rows = rows
        self._fields = fields
        self._sync = sync
        self._place = _Place(**orjson.loads(state)) if state is not None else _Place()
        self._closed: list[tuple[str, Mark]] = []  # since the last `marks`
        self._part: _Part | None = None
        self._read = self._place.journal  # bytes of the journal that stand in parts, the one under way included
        self.dropped = 0
        make_folder(run_folder / FOLDER)
        self._recover({name: mark for name, mark in marks.items() if _PART.match(name)})
        # What an earlier process had under way is made again now, while no answer waits to be committed.
        self._take(marks.get(str(journal.relative_to(run_folder)), EMPTY).length)

    def __repr__(self) -> str:
        return f"<ParquetParts {self._place.parts} parts, {self._place.rows} rows, journal read to {self._read}>"

    def append(self, lines: Sequence[bytes]) -> None:
        """Nothing to do: what is in the journal is taken from there, once it is committed."""

    def compact(self, committed: Mark, *, last: bool = False) -> None:
        """Make rows of what was committed of the journal since; close the part where it is large enough, or the `last`.

        A run without records has one part without rows. Raises StorageError, OSError.
        """
        self._take(committed.length)
        if last and self._part is None and self._place.parts == 0:
            self._part = self._begin(self._columns())
        if self._part is not None and (
            last or self._part.groups.rows >= self._rows or self._part.groups.bytes >= _PART_BYTES
        ):
            self._close(self._part)

    def marks(self) -> list[tuple[str, Mark]]:
        """The parts that were closed since this was asked last."""
        closed, self._closed = self._closed, []
        return closed

    def state(self) -> str | None:
        """Where the next part begins, as a JSON text."""
        return orjson.dumps(self._place._asdict()).decode()

    def forgetting(self) -> str:
        """The same when the journal is to go: should another one begin, it does so at its start. No part is open."""
        assert self._part is None
        self._place = self._place._replace(journal=0)
        self._read = 0
        return orjson.dumps(self._place._asdict()).decode()

    def finish(self) -> None:
        """Nothing to do: `compact` closes the last part when it is told to, since only a commit says how far."""

    def close(self) -> None:
        """Give up the part under way; its rows will be made again."""
        if self._part is not None:
            self._part.give_up()
            self._part = None

    def _take(self, end: int) -> None:
        """Rows of the journal up to a byte, some at a time."""
        if end <= self._read:
            return
        columns = self._columns()
        try:
            for batch in batches_of(lines(self._journal, self._read, end), columns):
                if self._part is None:
                    self._part = self._begin(columns)
                self._part.groups.add(batch)
        except ValueError as error:
            raise StorageError(f"{self._journal}: a line of bytes {self._read}-{end} {error}") from error
        self._read = end

    def _columns(self) -> pa.Schema:
        run = self._run.absolute()  # <job>/runs/<run>
        return schema(self._fields, origin(run.parent.parent.name, run.name))

    def _begin(self, columns: pa.Schema) -> _Part:
        return _Part(self._run / f"{_name(self._place.parts)}.part", columns)

    def _close(self, part: _Part) -> None:
        """The part gets its name; the next commit vouches for it."""
        mark = part.end(sync=self._sync is not Sync.NEVER)
        name = _name(self._place.parts)
        os.rename(part.path, self._run / name)
        if self._sync is not Sync.NEVER:
            sync_folder(self._run / FOLDER)
        self._closed.append((name, mark))
        self._place = _Place(self._read, self._place.parts + 1, self._place.rows + part.groups.rows)
        self._part = None

    def _recover(self, known: Mapping[str, Mark]) -> None:
        """Remove what no commit vouches for, check what one does."""
        if known.keys() != {_name(n) for n in range(self._place.parts)}:
            said = f"of {self._place.parts} parts of records the checkpoint vouches for {len(known)}"
            raise StorageError(f"{self._run}: {said}; its state is damaged")
        for file in os.scandir(self._run / FOLDER):
            name = f"{FOLDER}/{file.name}"
            if _PART.match(name.removesuffix(".part")) and name not in known:
                self.dropped += file.stat(follow_symlinks=False).st_size
                os.unlink(file.path)
        for name, mark in known.items():
            path = self._run / name
            try:
                size = os.stat(path, follow_symlinks=False).st_size
            except FileNotFoundError:
                raise StorageError(f"{path}: is gone; the checkpoint vouches for its {mark.length} bytes") from None
            if size != mark.length:
                raise StorageError(f"{path}: has {size} bytes, the checkpoint vouches for {mark.length}")


def _name(n: int) -> str:
    return f"{FOLDER}/part-{n:05d}.parquet"


class _Part:
    """A part under way."""

    def __init__(self, path: Path, columns: pa.Schema) -> None:
        self.path = path
        self._segment, _ = open_segment(path, EMPTY)
        self.groups = RowGroups(self._segment.append, columns)

    def full(self, rows: int) -> bool:
        """Is it time to close it."""
        return self.groups.rows >= rows or self.groups.bytes >= _PART_BYTES

    def end(self, *, sync: bool) -> Mark:
        """Make it whole; durable when this returns where that is asked for."""
        self.groups.end()
        if sync:
            self._segment.sync()
        self._segment.close()
        return self._segment.mark()._replace(closed=True)

    def give_up(self) -> None:
        """Remove it."""
        self.groups.give_up()
        self._segment.close()
        self.path.unlink()
