"""frames.jsonl: made with the first frame, cut back to what was committed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crawler.durable import EMPTY
from crawler.entry import Sync
from crawler.errors import StorageError
from crawler.sinks.frames import NAME, Frames


def test_without_frames_there_is_no_file(tmp_path: Path) -> None:
    """A run that captures nothing leaves nothing, and commits no segment."""
    frames = Frames(tmp_path, EMPTY)
    frames.append([])
    assert (frames.marks(), frames.state()) == ([], None)
    frames.finish()
    frames.close()
    assert not (tmp_path / NAME).exists()


def test_lines_are_appended_over_runs(tmp_path: Path) -> None:
    """What was committed stays, what was not is dropped, what comes then follows."""
    frames = Frames(tmp_path, EMPTY)
    frames.append([b"1\n", b"2\n"])
    [(name, mark)] = frames.marks()
    frames.append([b"torn\n"])
    frames.close()
    frames = Frames(tmp_path, mark)
    assert (name, frames.dropped) == (NAME, 5)
    frames.append([b"3\n"])
    frames.close()
    assert (tmp_path / NAME).read_bytes() == b"1\n2\n3\n"


def test_what_was_never_committed_is_dropped(tmp_path: Path) -> None:
    """A file that a kill left before its first commit is emptied, and used."""
    (tmp_path / NAME).write_bytes(b"torn\n")
    frames = Frames(tmp_path, EMPTY)
    assert frames.dropped == 5
    frames.append([b"1\n"])
    frames.close()
    assert (tmp_path / NAME).read_bytes() == b"1\n"


def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    """Shorter than what was committed, or gone: somebody changed it."""
    frames = Frames(tmp_path, EMPTY)
    frames.append([b"1\n2\n"])
    [(_, mark)] = frames.marks()
    frames.close()
    (tmp_path / NAME).write_bytes(b"1\n")
    with pytest.raises(StorageError, match="somebody cut it"):
        Frames(tmp_path, mark)


def test_a_policy_says_when_frames_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With each group, with the end of the run, or never."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    counts = []
    for sync in Sync:
        folder = tmp_path / sync.value
        folder.mkdir()
        frames = Frames(folder, EMPTY, sync)
        before = len(synced)
        frames.append([b"1\n"])
        middle = len(synced)
        frames.finish()
        frames.close()
        counts.append((middle - before, len(synced) - middle))
    assert counts == [(1, 1), (0, 2), (0, 0)]
