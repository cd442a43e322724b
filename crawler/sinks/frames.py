"""frames.jsonl and items.jsonl: one line per frame of a WebSocket, or per item that a page's function gave, in one
append-only segment that is made with the first of them.

Does: append lines. Must not know what is in them, requests or the checkpoint. Invariant: the committed length always
stands at a line end; a run that captures nothing, or gives no items, has no such file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crawler.durable import Mark, Segment, open_segment
from crawler.entry import Sync

NAME = "frames.jsonl"
ITEMS = "items.jsonl"


class Frames:
    """The frames of one run, or its items; `name` is the file's."""

    def __init__(self, run_folder: Path, mark: Mark, sync: Sync = Sync.COMMIT, name: str = NAME) -> None:
        """Raises StorageError where the file is not the one that `mark` vouches for."""
        self._name = name
        self._path = run_folder / name
        self._mark = mark
        self._sync = sync
        self._segment: Segment | None = None
        self.dropped = 0
        if mark.length or self._path.exists():
            self._segment, self.dropped = open_segment(self._path, mark)

    def append(self, lines: Sequence[bytes]) -> None:
        """Write the lines of one group. Raises OSError, StorageError."""
        if not lines:
            return
        if self._segment is None:
            self._segment, _ = open_segment(self._path, self._mark)
        self._segment.append(b"".join(lines))
        if self._sync is Sync.COMMIT:
            self._segment.sync()

    def marks(self) -> list[tuple[str, Mark]]:
        """Name and state for the checkpoint, where there is a file."""
        return [(self._name, self._segment.mark())] if self._segment is not None else []

    def state(self) -> str | None:
        """Nothing beside the mark."""
        return None

    def finish(self) -> None:
        """The run is over. Raises OSError."""
        if self._segment is not None and self._sync is not Sync.NEVER:
            self._segment.sync()

    def close(self) -> None:
        """Close the segment, durable where that is done on closing."""
        if self._segment is not None:
            if self._sync is Sync.CLOSE:
                self._segment.sync()
            self._segment.close()
