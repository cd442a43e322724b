"""Index files: sorted at bounded memory, in place at once."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest

from crawler.entry import Sync
from crawler.warcindex import Lines, merge, put


def some(count: int) -> list[bytes]:
    lines = [b"key %06d\n" % n for n in range(count)]
    Random(3).shuffle(lines)
    return lines


@pytest.mark.parametrize("held", [1, 500, 1 << 20])
def test_lines_are_written_sorted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    """However few of them are held in memory, and nothing else is left in the folder."""
    monkeypatch.setattr("crawler.warcindex._HELD", held)
    lines = Lines(tmp_path)
    for line in some(150):
        lines.add(line)
    lines.write(tmp_path / "a.cdxj", Sync.COMMIT)
    assert (tmp_path / "a.cdxj").read_bytes() == b"".join(sorted(some(150)))
    assert os.listdir(tmp_path) == ["a.cdxj"]


def test_lines_that_are_never_written_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even while they wait in files."""
    monkeypatch.setattr("crawler.warcindex._HELD", 100)
    lines = Lines(tmp_path)
    for line in some(50):
        lines.add(line)
    assert os.listdir(tmp_path) == []
    lines.close()


@pytest.mark.parametrize("files", [1, 3, 10])
def test_files_are_merged_few_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int) -> None:
    """One sorted file of as many as there are, though only three may be open together."""
    monkeypatch.setattr("crawler.warcindex._AT_ONCE", 3)
    paths = [tmp_path / str(n) for n in range(files)]
    lines = some(100)
    for n, path in enumerate(paths):
        path.write_bytes(b"".join(sorted(lines[n::files])))
    merge(paths, tmp_path / "all", Sync.COMMIT)
    assert (tmp_path / "all").read_bytes() == b"".join(sorted(lines))


def test_a_name_stands_for_a_whole_file(tmp_path: Path) -> None:
    """A fault in the middle leaves what was there before, and the next try is not in its own way."""
    put(tmp_path / "a", [b"old\n"], Sync.NEVER)
    with pytest.raises(TypeError):
        put(tmp_path / "a", [b"new\n", None], Sync.NEVER)  # type: ignore[list-item]
    assert (tmp_path / "a").read_bytes() == b"old\n"
    put(tmp_path / "a", [b"new\n"], Sync.COMMIT)
    assert (tmp_path / "a").read_bytes() == b"new\n"
    assert os.listdir(tmp_path) == ["a"]
