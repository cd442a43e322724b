"""What of the output folder can be seen, and that nothing else can."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crawler.monitorfiles import NONE, Tree
from tests.monitored import RUN, Job, record


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    root = tmp_path / "out"
    folder = Job(root).run([record(1)])
    (folder / "body").write_bytes(b"inside")
    (tmp_path / "secret").write_bytes(b"outside")
    return Tree(root)


def read(tree: Tree, *steps: str) -> bytes:
    with tree.open(*steps) as fd:
        return os.read(fd, 100)


def test_jobs_are_folders_with_a_state(tree: Tree) -> None:
    """Sorted; what was never run, is hidden, or is a link is none."""
    Job(tree.root, "<img src=x>")
    (tree.root / "empty").mkdir()
    (tree.root / ".hidden").mkdir()
    (tree.root / ".hidden" / "state.db").touch()
    (tree.root / "linked").symlink_to(tree.root / "almanac")
    assert tree.jobs() == ["<img src=x>", "almanac"]
    assert tree.is_job("almanac")
    for name in ("linked", "empty", ".hidden", "..", "", "almanac/", "a\0b", "x" * 300, "\udc80"):
        assert not tree.is_job(name)


def test_a_folder_that_is_not_there_has_no_jobs(tmp_path: Path) -> None:
    """The monitor may be started before the first job."""
    assert Tree(tmp_path / "none").jobs() == []


def test_files_are_opened_by_their_names(tree: Tree) -> None:
    """Step by step."""
    assert read(tree, "almanac", "runs", RUN, "body") == b"inside"
    assert tree.sign("almanac", "runs", RUN, "body").size == 6


@pytest.mark.parametrize(
    "steps",
    [
        ("almanac", "runs", RUN, ".."),
        ("almanac", "runs", "..", "state.db"),
        ("..", "secret"),
        ("almanac/../../secret",),
        ("almanac", "runs", RUN, "body\0x"),
        ("almanac", "runs", RUN, ""),
        ("almanac", "runs", RUN, "."),
        ("almanac", "latest", "body"),
        ("almanac", "runs", RUN, "nothing"),
        ("almanac", "runs", RUN),
        ("almanac", "runs", RUN, "x" * 5000),
        ("/etc/passwd",),
    ],
)
def test_nothing_else_is_opened(tree: Tree, steps: tuple[str, ...]) -> None:
    """No step up, no path as a step, no link, no folder as a file."""
    (tree.root / "almanac" / "latest").symlink_to(f"runs/{RUN}")
    with pytest.raises(FileNotFoundError):
        tree.opened(*steps)
    assert tree.sign(*steps) == NONE


def test_links_are_not_followed(tree: Tree, tmp_path: Path) -> None:
    """A file or a folder that leads out; a hard link is the file itself."""
    run = tree.root / "almanac" / "runs" / RUN
    (run / "out").symlink_to(tmp_path / "secret")
    (run / "up").symlink_to(tmp_path)
    os.link(tmp_path / "secret", run / "hard")
    for steps in (("out",), ("up", "secret")):
        with pytest.raises(FileNotFoundError):
            tree.opened("almanac", "runs", RUN, *steps)
    assert read(tree, "almanac", "runs", RUN, "hard") == b"outside"


def test_what_is_no_file_is_not_waited_for(tree: Tree) -> None:
    """A pipe nobody writes to would block for ever."""
    os.mkfifo(tree.root / "almanac" / "runs" / RUN / "pipe")
    with pytest.raises(FileNotFoundError):
        tree.opened("almanac", "runs", RUN, "pipe")


def test_nothing_stays_open(tree: Tree) -> None:
    """However an attempt ends."""
    before = os.listdir("/proc/self/fd")
    for steps in (("almanac", "runs", RUN, "body"), ("almanac", "x", "y"), ("almanac", "runs")):
        tree.sign(*steps)
        tree.is_folder(*steps)
        try:
            with tree.open(*steps):
                pass
        except FileNotFoundError:
            pass
    assert len(os.listdir("/proc/self/fd")) == len(before)
