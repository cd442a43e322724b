"""The folder of a job: its lock, its runs, and what is told when it cannot be used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from crawler.errors import BusyError, StorageError
from crawler.folders import JobFolder, new_run_id

needs_rights = pytest.mark.skipif(os.geteuid() == 0, reason="rights do not bind root")


def test_nothing_is_made_before_the_lock(tmp_path: Path) -> None:
    """Looking at a folder, and checking that it could be made, leaves no trace."""
    folder = JobFolder(tmp_path / "output", "job")
    folder.check_writable()
    assert not folder.held()
    assert folder.owner() == "owner unknown"
    assert list(tmp_path.iterdir()) == []


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    """A second lock is refused naming the first holder, and granted once that one is given back."""
    first, second = JobFolder(tmp_path, "job"), JobFolder(tmp_path, "job")
    first.lock(0.0)
    with pytest.raises(BusyError, match=f"job is running already: pid {os.getpid()} on .*, since 1970-01-01T00:00:00"):
        second.lock(10.0)
    first.unlock()
    second.lock(10.0)
    assert "since 1970-01-01T00:00:10" in second.owner()
    second.unlock()
    second.unlock()


def test_looking_at_the_lock_does_not_take_it(tmp_path: Path) -> None:
    """`held` tells a running job from one that is not, and leaves both as they were."""
    runner, watcher = JobFolder(tmp_path, "job"), JobFolder(tmp_path, "job")
    runner.lock(0.0)
    assert [watcher.held(), watcher.held()] == [True, True]
    runner.unlock()
    assert not watcher.held()
    runner.lock(0.0)
    runner.unlock()


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    """A process that is killed gives its lock back, though its file stays."""
    code = (
        "import sys, os, pathlib; from crawler.folders import JobFolder; "
        "JobFolder(pathlib.Path(sys.argv[1]), 'job').lock(0.0); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        folder = JobFolder(tmp_path, "job")
        with pytest.raises(BusyError, match=f"pid {process.pid} "):
            folder.lock(1.0)
        process.kill()
    folder.lock(2.0)
    folder.unlock()


def test_a_run_has_its_folder_and_latest_points_at_it(tmp_path: Path) -> None:
    """Each new run moves `latest`; making a run that is there already changes nothing in it."""
    folder = JobFolder(tmp_path, "job")
    folder.lock(0.0)
    first = folder.make_run("run-1")
    (first / "records.jsonl").write_text("x")
    assert folder.make_run("run-1") == first == tmp_path / "job" / "runs" / "run-1"
    assert (tmp_path / "job" / "latest" / "records.jsonl").read_text() == "x"
    folder.make_run("run-2")
    assert os.readlink(tmp_path / "job" / "latest") == "runs/run-2"
    assert sorted(os.listdir(tmp_path / "job")) == ["latest", "lock", "runs"]
    folder.unlock()


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    """Where a folder should be made below a file, that file is told."""
    (tmp_path / "output").write_text("a file")
    folder = JobFolder(tmp_path / "output", "job")
    for call in (folder.check_writable, lambda: folder.lock(0.0)):
        with pytest.raises(StorageError, match=r"output: is not a folder, so .*output/job cannot be made there"):
            call()


def test_a_folder_in_place_of_latest_is_told(tmp_path: Path) -> None:
    """`latest` is replaced only where it is a link."""
    folder = JobFolder(tmp_path, "job")
    (tmp_path / "job" / "latest" / "mine").mkdir(parents=True)
    with pytest.raises(StorageError, match="cannot be made"):
        folder.make_run("run-1")
    assert (tmp_path / "job" / "latest" / "mine").is_dir()


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    """The lock is written into a file of ours only."""
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(StorageError, match="cannot be written"):
        JobFolder(tmp_path, "job").lock(0.0)
    assert (tmp_path / "victim").read_text() == "precious"


@needs_rights
def test_a_folder_without_rights_is_named(tmp_path: Path) -> None:
    """No right to write is told before anything is tried."""
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="no right to write there"):
        JobFolder(tmp_path, "job").check_writable()


def test_run_ids_sort_by_time_and_never_repeat() -> None:
    """Two runs of one second differ, later ones sort later, and the id is a plain file name."""
    ids = [new_run_id(1_700_000_000.0) for _ in range(50)]
    assert len(set(ids)) == 50
    assert all(id.startswith("20231114T221320Z-") for id in ids)
    assert max(ids) < new_run_id(1_700_000_001.0)
