"""Append-only files that follow each other, each begun when the one before is large enough: a-00000.x, a-00001.x, …

Does: append, begin the next file, recover all of them by what the checkpoint vouches for. Must not know what is in
them. Invariant: a file that no mark names is removed by recovery; a closed one is never opened for writing again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from crawler.durable import EMPTY, Mark, Segment, make_folder, open_segment
from crawler.entry import Sync
from crawler.errors import StorageError


class Series:
    """The files `pattern.format(n)` under a run's folder, n from 0; `marks` are what the checkpoint vouches for.

    `size` in bytes is when a file is `full`. Raises StorageError, OSError.
    """

    def __init__(self, run_folder: Path, pattern: str, marks: Mapping[str, Mark], size: int, sync: Sync) -> None:
        self._run = run_folder
        self._pattern = pattern
        self._size = size
        self._sync = sync
        self._closed: list[tuple[str, Mark]] = []  # since the last `marks`
        self._segment: Segment | None = None
        self.dropped = 0  # bytes that no commit vouched for
        known = {name: mark for name, mark in marks.items() if self._number(name) is not None}
        self._n = max((self._number(name) or 0 for name in known), default=-1)
        make_folder((run_folder / pattern).parent)
        self._remove_unknown(known)
        for name, mark in known.items():
            if mark.closed:
                self._check_closed(name, mark)
        if known and not known[self.name].closed:
            self._segment, surplus = open_segment(run_folder / self.name, known[self.name])
            self.dropped += surplus

    def __repr__(self) -> str:
        return f"<Series {self.name} length={self.length}>"

    @property
    def name(self) -> str:
        """The file that is written now, as a path relative to the run's folder."""
        return self._pattern.format(max(self._n, 0))

    @property
    def length(self) -> int:
        """Bytes in it so far."""
        return self._segment.length if self._segment is not None else 0

    @property
    def open(self) -> bool:
        """Is there a file to append to; else `begin` comes first."""
        return self._segment is not None

    @property
    def full(self) -> bool:
        """Is it time for the next file."""
        return self.length >= self._size

    def begin(self) -> None:
        """Start the next file."""
        assert self._segment is None
        self._n += 1
        self._segment, _ = open_segment(self._run / self.name, EMPTY)

    def append(self, data: bytes) -> None:
        """Write at the end of the present file."""
        assert self._segment is not None
        self._segment.append(data)

    def sync(self) -> None:
        """The group is written: make it durable, where that is done with each commit."""
        if self._segment is not None and self._sync is Sync.COMMIT:
            self._segment.sync()

    def end(self) -> None:
        """Close the present file for ever; durable when this returns, unless that is never asked for."""
        assert self._segment is not None
        if self._sync is not Sync.NEVER:
            self._segment.sync()
        self._closed.append((self.name, self._segment.mark()._replace(closed=True)))
        self._segment.close()
        self._segment = None

    def marks(self) -> list[tuple[str, Mark]]:
        """What the next commit vouches for: files that were closed since the last, and the present one."""
        closed, self._closed = self._closed, []
        return [*closed, (self.name, self._segment.mark())] if self._segment is not None else closed

    def close(self) -> None:
        """Close the present file for now, durable where that is done on closing."""
        if self._segment is not None:
            if self._sync is Sync.CLOSE:
                self._segment.sync()
            self._segment.close()
            self._segment = None

    def _number(self, name: str) -> int | None:
        """Which file of the series has this name, if any."""
        before, _, after = self._pattern.partition("{")
        after = after.partition("}")[2]
        digits = name[len(before) : len(name) - len(after)]
        ours = name.startswith(before) and name.endswith(after) and digits.isdecimal()
        return int(digits) if ours and self._pattern.format(int(digits)) == name else None

    def _remove_unknown(self, known: Mapping[str, Mark]) -> None:
        folder = Path(self._pattern).parent
        for file in os.scandir(self._run / folder):
            name = str(folder / file.name)
            if self._number(name) is not None and name not in known:
                self.dropped += file.stat(follow_symlinks=False).st_size
                os.unlink(file.path)

    def _check_closed(self, name: str, mark: Mark) -> None:
        path = self._run / name
        try:
            size = os.stat(path, follow_symlinks=False).st_size
        except FileNotFoundError:
            raise StorageError(f"{path}: is gone; the checkpoint vouches for its {mark.length} bytes") from None
        if size != mark.length:
            raise StorageError(f"{path}: has {size} bytes, the checkpoint vouches for {mark.length}")
