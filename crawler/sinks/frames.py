"""frames.jsonl: one line per frame of a WebSocket, in one append-only segment that is made with the first of them.

Does: append lines. Must not know what is in them, requests or the checkpoint. Invariant: the committed length always
stands at a line end; a run that captures nothing has no such file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crawler.durable import Mark, Segment, open_segment

NAME = "frames.jsonl"


class Frames:
    """The frames of one run."""

    def __init__(self, run_folder: Path, mark: Mark) -> None:
        """Raises StorageError where the file is not the one that `mark` vouches for."""
        self._path = run_folder / NAME
        self._mark = mark
        self._segment: Segment | None = None
        self.dropped = 0
        if mark.length or self._path.exists():
            self._segment, self.dropped = open_segment(self._path, mark)

    def append(self, lines: Sequence[bytes]) -> None:
        """Write the lines of one group and make them durable. Raises OSError, StorageError."""
        if not lines:
            return
        if self._segment is None:
            self._segment, _ = open_segment(self._path, self._mark)
        self._segment.append(b"".join(lines))
        self._segment.sync()

    def marks(self) -> list[tuple[str, Mark]]:
        """Name and committed state for the checkpoint, where there is a file."""
        return [(NAME, self._segment.mark())] if self._segment is not None else []

    def close(self) -> None:
        """Close the segment."""
        if self._segment is not None:
            self._segment.close()
