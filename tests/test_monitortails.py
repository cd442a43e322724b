"""The ends of files that grow."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import orjson
import pytest

from crawler.monitortails import POINTS, TAIL, history, last_moment, tail_lines


def moment(at: int, **more: object) -> bytes:
    said = {"event": "progress", "at": at, "rate": 2.0, "byte_rate": 3.0, "fetched": at, "failed": 1, "skipped": 0}
    return orjson.dumps({**said, "job": "j" * 300, **more}) + b"\n"


def opened(folder: Path, data: bytes) -> int:
    (folder / "file").write_bytes(data)
    return os.open(folder / "file", os.O_RDONLY)


@pytest.mark.parametrize(
    ("data", "count", "lines"),
    [
        (b"", 5, []),
        (b"no end", 5, []),
        (b"a\nb\nc\n", 2, [b"b", b"c"]),
        (b"a\nb\nbegun", 5, [b"a", b"b"]),
        (b"x" * TAIL + b"\nb\n", 5, [b"b"]),
        (b"x" * (2 * TAIL), 5, []),
    ],
)
def test_whole_lines_are_told(tmp_path: Path, data: bytes, count: int, lines: list[bytes]) -> None:
    """Neither one that is being written nor one whose beginning was not read."""
    assert tail_lines(opened(tmp_path, data), count) == lines


def test_what_is_not_committed_is_not_told(tmp_path: Path) -> None:
    """An end before the end of the file."""
    assert tail_lines(opened(tmp_path, b"a\nb\nc\n"), 5, 4) == [b"a", b"b"]


def test_a_history_has_each_moment(tmp_path: Path) -> None:
    """Damaged lines are left out."""
    fd = opened(tmp_path, moment(1) + b"{torn\n\n[]\n" + moment(2) + b'{"at":3}\n')
    assert [(point.at, point.done, point.failed) for point in history(fd)] == [(1, 2, 1), (2, 3, 1)]


@pytest.mark.parametrize("count", [POINTS + 50, 5000])
def test_a_long_history_is_spread_evenly(tmp_path: Path, count: int) -> None:
    """From the beginning nearly to the end, in order, and bounded: 5,000 lines are read in pieces."""
    points = history(opened(tmp_path, b"".join(moment(at) for at in range(count))))
    times = [point.at for point in points]
    assert POINTS / 2 < len(points) <= POINTS
    assert times == sorted(set(times))
    assert times[0] < count * 0.01
    assert times[-1] > count * 0.99
    gaps = [after - before for before, after in pairwise(times)]
    assert max(gaps) <= 4 * count / POINTS


def test_the_last_moment_is_the_last_whole_one(tmp_path: Path) -> None:
    """A line that is cut by a full disk, or no progress, is passed over."""
    assert last_moment(opened(tmp_path, moment(1) + moment(2) + b'{"event":"x"}\n{"at":\n'))["at"] == 2
    assert last_moment(opened(tmp_path, b"")) == {}
