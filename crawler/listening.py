"""Records on their way from a commit to whoever iterates over a run, as the lines that were written.

Does: keep what was committed and not taken yet, in its order; say when that is too much. Must not know runs, files or
the wire. Invariant: each line that is heard is given out once; what waits is bounded by a group more than the bounds
here, since the workers wait while this is behind.

Lines and not Records: they are masked, a third of the size, and what is shown is what stands in the file.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import fields

import orjson

from crawler.model import Elapsed, Record

_MOST = 1000  # records that wait to be taken; half of it lets the workers go on
_MOST_BYTES = 16 * 1024 * 1024
_FIELDS = tuple(field.name for field in fields(Record))


def record_of(line: bytes) -> Record:
    """The Record of a line of records.jsonl; what an older version did not write is None."""
    data = orjson.loads(line)
    elapsed = data.get("elapsed_ms")
    if elapsed is not None:
        data["elapsed_ms"] = Elapsed(**elapsed)
    record = Record(*map(data.get, _FIELDS))
    if "fields" in data:
        record.fields = data["fields"]
    return record


class Listening:
    """The Listener of one run, in its loop; any number of tasks may take from it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._room = asyncio.Event()
        self._room.set()
        self._came = asyncio.Event()
        self._over = False
        self._open = True

    def __repr__(self) -> str:
        return f"<Listening {len(self._lines)} wait{', behind' if self.behind else ''}{', over' if self._over else ''}>"

    @property
    def behind(self) -> bool:
        """Should no more come before some were taken."""
        return not self._room.is_set()

    def hear(self, lines: Sequence[bytes]) -> None:
        """Lines that are durable now; called in any thread. They are there before who waits for the commit goes on."""
        self._loop.call_soon_threadsafe(self._take_in, lines)

    async def caught_up(self) -> None:
        """Wait while it is behind."""
        await self._room.wait()

    def over(self) -> None:
        """Nothing more will come."""
        self._over = True
        self._came.set()

    def close(self) -> None:
        """Nobody takes any more: what waits is dropped, and nobody waits for it."""
        self._open = False
        self._lines.clear()
        self._room.set()
        self.over()

    async def next(self) -> Record | None:
        """The next record, as soon as there is one; None after the last."""
        while not self._lines:
            if self._over:
                return None
            self._came.clear()
            await self._came.wait()
        line = self._lines.popleft()
        self._bytes -= len(line)
        if len(self._lines) <= _MOST // 2 and self._bytes <= _MOST_BYTES // 2:
            self._room.set()
        return record_of(line)

    def _take_in(self, lines: Sequence[bytes]) -> None:
        if not self._open:
            return
        self._lines += lines
        self._bytes += sum(map(len, lines))
        self._came.set()
        if len(self._lines) >= _MOST or self._bytes >= _MOST_BYTES:
            self._room.clear()
