"""The ends of files that a run appends to: its log, its progress, its records.

Does: read bounded pieces from a descriptor. Must not know which file it is, nor who asks. Invariant: whatever the size
of a file, at most TAIL bytes, or POINTS pieces of it, are read at once; only whole lines are told.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import orjson

TAIL = 256 * 1024  # bytes
POINTS = 300
_PIECE = 4096  # bytes in which a line of progress fits


class Point(NamedTuple):
    """A moment of a run: seconds since the epoch, ends and bytes a second, ends that failed so far."""

    at: float
    rate: float
    byte_rate: float
    done: int
    failed: int


def tail_lines(fd: int, count: int, end: int | None = None) -> list[bytes]:
    """The last whole lines before byte `end`, at most `count`, in their order. Raises OSError."""
    end = os.fstat(fd).st_size if end is None else end
    start = max(0, end - TAIL)
    lines = os.pread(fd, end - start, start).split(b"\n")
    lines.pop()  # "", or a line that is being written
    if start and lines:
        lines.pop(0)  # begun before
    return lines[-count:]


def history(fd: int) -> list[Point]:
    """Moments of a progress file from its beginning to its end, evenly spread where there are many. Raises OSError."""
    size = os.fstat(fd).st_size
    if size <= TAIL:
        lines = os.pread(fd, size, 0).split(b"\n")[:-1]
        lines = [lines[n * len(lines) // POINTS] for n in range(POINTS)] if len(lines) > POINTS else lines
    else:
        lines = list(_sampled(fd, size))
    points = (_point(line) for line in lines)
    return [point for point in points if point is not None]


def last_moment(fd: int) -> Mapping[str, Any]:
    """The last line of a progress file; {} where there is none. Raises OSError."""
    for line in reversed(tail_lines(fd, 3)):
        with suppress(ValueError):
            said = orjson.loads(line)
            if isinstance(said, dict) and said.get("event") == "progress":
                return said
    return {}


def _sampled(fd: int, size: int) -> Iterator[bytes]:
    last = -1
    for n in range(POINTS):
        start = max(0, n * (size - _PIECE) // (POINTS - 1))
        piece = os.pread(fd, _PIECE, start)
        begin = piece.find(b"\n") + 1 if start else 0
        end = piece.find(b"\n", begin)
        if end > 0 and start + begin > last:
            last = start + begin
            yield piece[begin:end]


def _point(line: bytes) -> Point | None:
    with suppress(ValueError, KeyError, TypeError):
        said = orjson.loads(line)
        done = int(said["fetched"]) + int(said["failed"]) + int(said["skipped"])
        return Point(float(said["at"]), float(said["rate"]), float(said["byte_rate"]), done, int(said["failed"]))
    return None
