"""The lock of a job's folder."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from crawler.errors import BusyError, StorageError
from crawler.folders import new_run_id
from crawler.joblock import JobLock


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "j").mkdir()
    return tmp_path / "j"


def test_a_lock_that_a_reboot_left_behind_is_none(folder: Path) -> None:
    """The file is there and names a process, but nobody holds it."""
    (folder / "lock").write_text('{"pid": 1, "host": "x", "started": "2020-01-01T00:00:00+00:00"}')
    lock = JobLock(folder)
    assert not lock.held()
    lock.take(0.0)
    assert lock.held()
    assert f"pid {os.getpid()} on " in lock.owner()
    lock.release()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_deleted_file_lets_nobody_in_and_is_made_again(folder: Path, replaced: bool) -> None:
    """The folder is held as well; the next look puts the owner's name back."""
    first, second = JobLock(folder), JobLock(folder)
    first.take(0.0)
    (folder / "lock").unlink()
    if replaced:
        (folder / "lock").write_text("x")
    with pytest.raises(BusyError):
        second.take(1.0)
    assert second.held()
    first.check()
    with pytest.raises(BusyError, match=f"pid {os.getpid()} on "):
        second.take(2.0)
    first.release()
    second.take(3.0)
    second.release()


def test_a_folder_that_was_moved_away_is_noticed(folder: Path) -> None:
    """What is written by name would go elsewhere: the run must end."""
    lock = JobLock(folder)
    lock.take(0.0)
    lock.check()
    folder.rename(folder.with_name("old"))
    with pytest.raises(StorageError, match="was moved or deleted"):
        lock.check()
    folder.mkdir()
    with pytest.raises(StorageError, match="was moved or deleted"):
        lock.check()
    shutil.rmtree(folder)
    lock.release()


def test_a_watcher_keeps_nobody_out(folder: Path) -> None:
    """Who looks holds a shared lock for a moment; a start that meets it tries again."""
    (folder / "lock").touch()
    looking = os.open(folder / "lock", os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    lock = JobLock(folder)
    attempts = []
    whole = lock._try

    def tried() -> bool:
        done = whole()
        attempts.append(done)
        if len(attempts) == 2:
            os.close(looking)
        return done

    lock._try = tried  # type: ignore[method-assign]
    lock.take(0.0)
    assert attempts == [False, False, True]
    lock.release()


def test_a_lock_is_no_link_to_somewhere(folder: Path, tmp_path: Path) -> None:
    """A link in place of the file would truncate what it leads to."""
    (tmp_path / "precious").write_text("x")
    (folder / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(StorageError):
        JobLock(folder).take(0.0)
    assert (tmp_path / "precious").read_text() == "x"


CROWD = """
import os, pathlib, sys
from crawler.errors import BusyError
from crawler.joblock import JobLock
folder = pathlib.Path(sys.argv[1])
(wait, go), (told, tell), (stay, leave) = os.pipe(), os.pipe(), os.pipe()
for _ in range(100):
    if os.fork() == 0:
        os.close(go), os.close(leave)
        os.read(wait, 1)
        lock = JobLock(folder)
        try:
            lock.take(0.0)
            os.write(tell, b"i")
        except BusyError:
            os.write(tell, b"b")
        os.read(stay, 1)
        os._exit(0)
os.close(go)
said = b""
while len(said) < 100:
    (folder / "lock").unlink(missing_ok=True)
    said += os.read(told, 100)
print(said.count(b"i"), "in,", said.count(b"b"), "busy")
"""


@pytest.mark.slow
def test_of_many_starts_one_gets_in(folder: Path) -> None:
    """A hundred processes at once, while somebody deletes the file again and again."""
    done = subprocess.run([sys.executable, "-c", CROWD, str(folder)], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("1 in, 99 busy\n", "")


def test_ids_stay_in_order_when_the_clock_is_set_back() -> None:
    """The next run sorts behind the one before; without a jump the id is the time."""
    first = new_run_id(1_800_000_000.0)
    back = new_run_id(1_800_000_000.0 - 86400, first)
    assert first < back < new_run_id(1_800_000_010.0, back)
    assert new_run_id(1_800_000_100.0, first).split("-")[0] == new_run_id(1_800_000_100.0).split("-")[0]
    assert new_run_id(0.0, "strange").startswith("1970")
