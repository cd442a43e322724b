"""Segments with a committed length, folders and files that survive."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.durable import (
    EMPTY,
    Mark,
    make_folder,
    open_segment,
    replace,
    sync_file,
    sync_filesystem,
    sync_folder,
    sync_many,
)
from crawler.errors import StorageError


@settings(max_examples=50)
@given(
    committed=st.lists(st.binary(max_size=3000), max_size=5),
    lost=st.lists(st.binary(min_size=1, max_size=3000), max_size=3),
    after=st.lists(st.binary(max_size=3000), max_size=3),
)
def test_a_segment_comes_back_at_its_committed_length(
    tmp_path_factory: pytest.TempPathFactory, committed: list[bytes], lost: list[bytes], after: list[bytes]
) -> None:
    """What stands above the mark is dropped, what is below it stays byte for byte, and appending goes on from there."""
    path = tmp_path_factory.mktemp("segment") / "s"
    segment, dropped = open_segment(path, EMPTY)
    assert dropped == 0
    for data in committed:
        segment.append(data)
    segment.sync()
    mark = segment.mark()
    for data in lost:
        segment.append(data)
    segment.close()
    segment, dropped = open_segment(path, mark)
    assert dropped == len(b"".join(lost))
    assert path.read_bytes() == b"".join(committed)
    assert segment.mark() == mark
    for data in after:
        segment.append(data)
    whole = b"".join(committed + after)
    assert segment.mark() == Mark(len(whole), sha256(whole[-4096:]).hexdigest())
    segment.close()
    assert path.read_bytes() == whole


def committed_segment(path: Path, data: bytes) -> Mark:
    segment, _ = open_segment(path, EMPTY)
    segment.append(data)
    segment.sync()
    segment.close()
    return segment.mark()


def test_a_segment_that_was_cut_is_refused(tmp_path: Path) -> None:
    """A file shorter than its committed length is named and left as it is."""
    path = tmp_path / "s"
    mark = committed_segment(path, b"one\ntwo\n")
    path.write_bytes(b"one\n")
    with pytest.raises(StorageError, match=r"s: has 4 bytes, the checkpoint vouches for 8"):
        open_segment(path, mark)
    assert path.read_bytes() == b"one\n"


def test_a_segment_that_was_edited_is_refused(tmp_path: Path) -> None:
    """Other bytes before the committed length are noticed, and nothing is truncated."""
    path = tmp_path / "s"
    mark = committed_segment(path, b"one\ntwo\n")
    path.write_bytes(b"one\nTWO\nthree\n")
    with pytest.raises(StorageError, match="somebody edited it"):
        open_segment(path, mark)
    assert path.read_bytes() == b"one\nTWO\nthree\n"


def test_a_link_in_place_of_a_segment_is_not_followed(tmp_path: Path) -> None:
    """A symlink under the segment's name is refused and its target untouched."""
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "s").symlink_to(tmp_path / "victim")
    with pytest.raises(StorageError, match="s: cannot be opened"):
        open_segment(tmp_path / "s", EMPTY)
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_a_pipe_or_a_folder_is_no_segment(tmp_path: Path) -> None:
    """Only a regular file is written, and opening a pipe does not hang."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(StorageError, match=name):
            open_segment(tmp_path / name, EMPTY)


def test_a_folder_that_is_missing_is_told(tmp_path: Path) -> None:
    """A segment is not made in a folder that does not exist."""
    with pytest.raises(StorageError, match="No such file"):
        open_segment(tmp_path / "absent" / "s", EMPTY)


def test_a_write_that_stops_short_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may take fewer bytes than it is given; none are left out."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:7]))
    segment, _ = open_segment(tmp_path / "s", EMPTY)
    segment.append(b"0123456789" * 5)
    segment.close()
    assert (tmp_path / "s").read_bytes() == b"0123456789" * 5


def test_a_segment_shows_its_length(tmp_path: Path) -> None:
    """The repr names file and length."""
    segment, _ = open_segment(tmp_path / "s", EMPTY)
    segment.append(b"abc")
    assert repr(segment) == "<Segment s length=3>"
    segment.close()


def test_folders_are_made_with_those_above_them(tmp_path: Path) -> None:
    """make_folder makes what is missing and accepts what is there, but no file in its place."""
    make_folder(tmp_path / "a" / "b" / "c")
    make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        make_folder(tmp_path / "file" / "below")


@pytest.mark.parametrize("count", [1, 20])
def test_many_and_few_files_are_synced_alike(tmp_path: Path, count: int) -> None:
    """Both ways accept the same arguments; one that is missing is an error where files are synced one by one."""
    files = [str(tmp_path / f"f{n}") for n in range(count)]
    for file in files:
        Path(file).write_bytes(b"x")
    sync_many(tmp_path, files, [str(tmp_path)])
    with pytest.raises(FileNotFoundError):
        sync_many(tmp_path, [str(tmp_path / "absent")], [])


def test_syncing_tells_what_cannot_be_synced(tmp_path: Path) -> None:
    """A missing folder or file is an OSError, and so is a link in place of a file."""
    (tmp_path / "link").symlink_to(tmp_path)
    for call in (sync_folder, sync_file, sync_filesystem):
        with pytest.raises(OSError):
            call(tmp_path / "absent")
    with pytest.raises(OSError):
        sync_file(tmp_path / "link")


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    """The new content stands under the name, nothing temporary is left, a link planted there is not written through."""
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "f.tmp").symlink_to(tmp_path / "victim")
    replace(tmp_path / "f", b"one")
    replace(tmp_path / "f", b"two")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"f": b"two", "victim": b"precious"}
