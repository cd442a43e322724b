"""Append-only files that follow each other: rotation, and recovery by what was vouched for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.durable import Mark
from crawler.entry import Sync
from crawler.errors import StorageError
from crawler.series import Series

PATTERN = "kind/x-{:02}.bin"


def opened(run: Path, marks: dict[str, Mark], size: int = 10) -> Series:
    return Series(run, PATTERN, marks, size, Sync.COMMIT)


def written(series: Series, units: list[bytes]) -> None:
    """As a sink does it: the next file begins with the first unit that finds the present one full."""
    for unit in units:
        if series.open and series.full:
            series.end()
        if not series.open:
            series.begin()
        series.append(unit)
    series.sync()


def contents(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*.bin")}


@pytest.mark.slow
@given(
    groups=st.lists(st.tuples(st.lists(st.binary(min_size=1, max_size=12), min_size=1, max_size=4), st.booleans())),
)
def test_what_was_committed_is_there_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, groups: list[tuple[list[bytes], bool]]
) -> None:
    """Over any kills between a group's write and its commit, over any rotation."""
    run = tmp_path_factory.mktemp("series")
    marks: dict[str, Mark] = {}
    expected: list[bytes] = []
    series = opened(run, marks)
    for units, killed in groups:
        written(series, units)
        if killed:
            series.close()
            series = opened(run, marks)
        else:
            marks.update(series.marks())
            expected += units
    series.close()
    opened(run, marks).close()
    found = contents(run)
    assert b"".join(found[name] for name in sorted(found)) == b"".join(expected)
    assert {name: len(data) for name, data in found.items()} == {name: mark.length for name, mark in marks.items()}
    assert all(mark.closed == (name != max(marks)) for name, mark in marks.items())


def test_a_file_begins_when_the_one_before_is_full(tmp_path: Path) -> None:
    """A unit is never split; the number grows; a closed one says so once."""
    series = opened(tmp_path, {})
    written(series, [b"12345", b"678901", b"x"])
    assert [(name, mark.length, mark.closed) for name, mark in series.marks()] == [
        ("kind/x-00.bin", 11, True),
        ("kind/x-01.bin", 1, False),
    ]
    assert [name for name, _ in series.marks()] == ["kind/x-01.bin"]
    series.close()


def test_the_bytes_that_went_are_counted(tmp_path: Path) -> None:
    """Those above a mark, and those of files that no mark names; files of others stay."""
    series = opened(tmp_path, {})
    written(series, [b"1234"])
    marks = dict(series.marks())
    written(series, [b"567890", b"new file"])
    series.close()
    (tmp_path / "kind" / "x-0.bin").write_bytes(b"not ours")
    again = opened(tmp_path, marks)
    assert again.dropped == 6 + 8
    assert (again.name, again.length) == ("kind/x-00.bin", 4)
    again.close()
    assert contents(tmp_path) == {"kind/x-00.bin": b"1234", "kind/x-0.bin": b"not ours"}


@pytest.mark.parametrize("damage", ["gone", "shorter", "longer"])
def test_a_closed_file_that_changed_is_told(tmp_path: Path, damage: str) -> None:
    """Whoever cut, extended or removed it."""
    series = opened(tmp_path, {})
    written(series, [b"0123456789"])
    series.end()
    marks = dict(series.marks())
    path = tmp_path / "kind" / "x-00.bin"
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(b"012" if damage == "shorter" else b"0123456789+")
    with pytest.raises(StorageError, match=r"x-00.bin: (is gone|has (3|11) bytes)"):
        opened(tmp_path, marks)


def test_after_a_closed_file_the_next_one_begins(tmp_path: Path) -> None:
    """A run that was stopped just after a rotation goes on with a file of its own."""
    series = opened(tmp_path, {})
    written(series, [b"0123456789"])
    series.end()
    again = opened(tmp_path, dict(series.marks()))
    assert not again.open
    again.begin()
    assert again.name == "kind/x-01.bin"
    again.close()
