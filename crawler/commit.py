"""One group commit: bodies, then records, then the transaction that vouches for both; nothing is shown before it.

Does: the order of the crash protocol, and recovery by it. Must not know the frontier, the wire or the clock.
Invariant: whatever the instant of a kill, either a whole group is in every output or none of it is, once recovery
has run. Everything here blocks and runs in the one storage thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from crawler.checkpoint import Checkpoint, Group, Progress, Retry, Settled, SourceMark
from crawler.errors import StorageError
from crawler.masking import NOTHING, Mask
from crawler.model import Body, Captured, Record
from crawler.rows import NewRow
from crawler.sinks.bodies import BodyFiles, Stored
from crawler.sinks.frames import NAME as FRAMES
from crawler.sinks.frames import Frames
from crawler.sinks.jsonl import NAME, JsonlRecords, line, with_body


class Ending:
    """A request's end on its way to disk: its record as a line, and a body to store where there is one."""

    __slots__ = ("line", "settled", "stored")

    def __init__(self, settled: Settled, record: Record, body: Body | None, filename: str | None) -> None:
        self.settled = settled
        self.line = line(record)
        to_store = body is not None and (body.data is not None or body.part is not None)
        self.stored = Stored(record, body, filename) if body is not None and to_store else None


class Batch:
    """What happened since the last commit. `weight` counts the bytes of bodies and frames held in memory; `paces` and
    `robots` hold texts by host and by origin, `captures` the last progress by request.
    """

    __slots__ = ("captures", "endings", "frames", "paces", "retries", "robots", "weight")

    def __init__(self) -> None:
        self.endings: list[Ending] = []
        self.frames: list[bytes] = []
        self.captures: dict[int, Captured] = {}
        self.retries: list[Retry] = []
        self.paces: dict[str, str] = {}
        self.robots: dict[str, str] = {}
        self.weight = 0

    def __len__(self) -> int:
        return len(self.endings) + len(self.retries) + len(self.captures)

    def end(self, ending: Ending) -> None:
        """Add an end."""
        self.endings.append(ending)
        if ending.stored is not None and ending.stored.body.data is not None:
            self.weight += len(ending.stored.body.data)

    def capture(self, id: int, lines: list[bytes], progress: Captured) -> None:
        """Add lines of frames, and how far with them the capture of a request came."""
        self.frames += lines
        self.captures[id] = progress
        self.weight += sum(map(len, lines))


def _named(end: Ending) -> bytes:
    """The line of a record, with its body's name once it has one."""
    name = end.stored.record.body if end.stored is not None else None
    return with_body(end.line, name) if name is not None else end.line


class Recovered(NamedTuple):
    """What a start found to repair after a kill."""

    record_bytes: int  # of lines that no commit vouched for
    files: int  # parts and bodies that no commit named


class Listener(Protocol):
    """Who is told of records as soon as they are durable. More than it can bear it does not refuse: it is `behind`."""

    @property
    def behind(self) -> bool:
        """Is there more than it wants to keep."""

    def hear(self, lines: Sequence[bytes]) -> None:
        """The lines of one group, as they stand in the file; called in whatever thread writes them."""

    async def caught_up(self) -> None:
        """Wait while it is behind."""


class Outputs:
    """All that a run writes: records, bodies, checkpoint."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        run: str,
        folder: Path,
        layout: str | None,
        mask: Mask = NOTHING,
        listener: Listener | None = None,
    ) -> None:
        """`mask` takes secrets out of records."""
        self._mask = mask
        self.listener = listener
        self.checkpoint = checkpoint
        self.folder = folder
        self._run = run
        self._group = checkpoint.group
        self._broken = False
        try:
            self._bodies = BodyFiles(folder, layout) if layout is not None else None
            files = self._bodies.recover(self._group) if self._bodies else 0
            self._records = JsonlRecords(folder, checkpoint.segment(NAME))
            self._frames = Frames(folder, checkpoint.segment(FRAMES))
        except OSError as error:
            raise StorageError(f"{folder}: cannot be written: {error}") from error
        self.recovered = Recovered(self._records.dropped + self._frames.dropped, files)

    def add_rows(self, rows: list[NewRow], sources: list[SourceMark]) -> None:
        """Remember new requests; they become durable with the next `write`. Raises StorageError."""
        with self._or_nothing():
            self.checkpoint.insert(rows, sources)

    def write(self, batch: Batch, tally: bytes, elapsed: float) -> None:
        """Commit one group: when this returns it is durable. Raises StorageError; then nothing of it counts."""
        number = self._group + 1
        with self._or_nothing():
            if self._bodies is not None:
                self._bodies.store(number, [end.stored for end in batch.endings if end.stored is not None])
            lines = [_named(end) for end in batch.endings]
            if self._mask.knows:
                lines = [self._mask.of_json(line) for line in lines]
            self._records.append(lines)
            if batch.endings:
                self._records.sync()
            self._frames.append([self._mask.of_json(frame) for frame in batch.frames])
            settled = [end.settled for end in batch.endings]
            paces = list(batch.paces.items())
            robots = [(origin, self._mask.of_json(text.encode()).decode()) for origin, text in batch.robots.items()]
            marks = [self._records.mark(), *self._frames.marks()]
            captures = [Progress(id, captured) for id, captured in batch.captures.items()]
            group = Group(number, settled, batch.retries, paces, robots, marks, tally, elapsed, captures)
            self.checkpoint.commit(self._run, group)
        self._group = number
        if self.listener is not None and lines:
            self.listener.hear(lines)

    def close(self, *, finished: bool) -> None:
        """Close every file; a finished run leaves no helper folder behind."""
        self._records.close()
        self._frames.close()
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
