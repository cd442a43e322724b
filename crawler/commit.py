"""One group commit: bodies, then records, then the transaction that vouches for both; nothing is shown before it.

Does: the order of the crash protocol, and recovery by it. Must not know the frontier, the wire or the clock.
Invariant: whatever the instant of a kill, either a whole group is in every output or none of it is, once recovery
has run. Everything here blocks and runs in the one storage thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from crawler.checkpoint import Checkpoint, Group, NewRow, Retry, Settled, SourceMark
from crawler.errors import StorageError
from crawler.model import Body, Record
from crawler.sinks.bodies import BodyFiles, Stored
from crawler.sinks.jsonl import NAME, JsonlRecords


class Ending(NamedTuple):
    """A request's end on its way to disk."""

    settled: Settled
    record: Record
    body: Body | None
    filename: str | None


class Batch:
    """What happened since the last commit. `weight` counts the bytes of bodies held in memory."""

    __slots__ = ("blocked", "endings", "retries", "weight")

    def __init__(self) -> None:
        self.endings: list[Ending] = []
        self.retries: list[Retry] = []
        self.blocked: dict[str, float] = {}
        self.weight = 0

    def __len__(self) -> int:
        return len(self.endings) + len(self.retries)

    def end(self, ending: Ending) -> None:
        """Add an end."""
        self.endings.append(ending)
        if ending.body is not None and ending.body.data is not None:
            self.weight += len(ending.body.data)


class Recovered(NamedTuple):
    """What a start found to repair after a kill."""

    record_bytes: int  # of lines that no commit vouched for
    files: int  # parts and bodies that no commit named


class Outputs:
    """All that a run writes: records, bodies, checkpoint."""

    def __init__(self, checkpoint: Checkpoint, run: str, folder: Path, layout: str | None) -> None:
        self.checkpoint = checkpoint
        self.folder = folder
        self._run = run
        self._group = checkpoint.group
        self._broken = False
        try:
            self._bodies = BodyFiles(folder, layout) if layout is not None else None
            files = self._bodies.recover(self._group) if self._bodies else 0
            self._records = JsonlRecords(folder, checkpoint.segment(NAME))
        except OSError as error:
            raise StorageError(f"{folder}: cannot be written: {error}") from error
        self.recovered = Recovered(self._records.dropped, files)

    def add_rows(self, rows: list[NewRow], sources: list[SourceMark]) -> None:
        """Remember new requests; they become durable with the next `write`. Raises StorageError."""
        with self._or_nothing():
            self.checkpoint.insert(rows, sources)

    def write(self, batch: Batch, tally: bytes, elapsed: float) -> None:
        """Commit one group: when this returns it is durable. Raises StorageError; then nothing of it counts."""
        number = self._group + 1
        with self._or_nothing():
            if self._bodies is not None:
                self._bodies.store(
                    number,
                    [Stored(end.record, end.body, end.filename) for end in batch.endings if end.body is not None],
                )
            self._records.append(end.record for end in batch.endings)
            if batch.endings:
                self._records.sync()
            settled = [end.settled for end in batch.endings]
            blocked = list(batch.blocked.items())
            group = Group(number, settled, batch.retries, blocked, [self._records.mark()], tally, elapsed)
            self.checkpoint.commit(self._run, group)
        self._group = number

    def close(self, *, finished: bool) -> None:
        """Close every file; a finished run leaves no helper folder behind."""
        self._records.close()
        if finished and self._bodies is not None:
            self._bodies.finish()

    @contextmanager
    def _or_nothing(self) -> Iterator[None]:
        """After a fault nothing more is taken: rows that come later would be committed over a gap, and bytes that
        were written in vain stand at the end of the records until recovery drops them."""
        if self._broken:
            raise StorageError(f"{self.folder}: could not be written before, so nothing more is taken")
        try:
            yield
        except BaseException as error:
            self._broken = True
            self.checkpoint.roll_back()
            if isinstance(error, OSError | sqlite3.Error):
                said = "what was reported is safe, the next run goes on"
                raise StorageError(f"{self.folder}: could not be written: {error}; {said}") from error
            raise
