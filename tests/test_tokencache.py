"""The file in which jobs share tokens: its mode, its lock, what is not trusted, and kills in the midst of writing."""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crawler.tokencache import CacheFile, FileLock

OLD, NEW = b'{"tokens": {"old": 1}}', b'{"tokens": {"new": 2}}'


@contextmanager
def wide_umask() -> Iterator[None]:
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)


def lock_of(path: Path) -> FileLock:
    path.parent.mkdir(exist_ok=True)
    return FileLock(path.with_name(path.name + ".lock"))


def write(path: Path, text: bytes) -> CacheFile:
    file = CacheFile(path)
    file.write(lock_of(path), text)
    return file


def is_free(path: Path) -> bool:
    """Could another process have the lock now."""
    fd = os.open(path.with_name(path.name + ".lock"), os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def waiting_for(path: Path) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == f"lock of {path}"]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """With the state that `look` tells, which changes with each writing; and the lock is given back."""
    path = tmp_path / "t.json"
    file = CacheFile(path)
    assert (file.look(), file.read()) == (None, (None, b""))
    file.write(lock_of(path), OLD)
    old = file.look()
    assert file.read() == (old, OLD)
    file.write(lock_of(path), NEW)
    assert file.read() == (file.look(), NEW)
    assert file.look() != old
    assert is_free(path)


def test_all_files_are_for_the_owner_alone(tmp_path: Path) -> None:
    """Mode 0600 whatever the umask, also where the file was open to others before; and nothing is left beside them."""
    path = tmp_path / "t.json"
    path.write_bytes(OLD)
    path.chmod(0o666)
    with wide_umask():
        write(path, NEW)
    assert {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {
        "t.json": 0o600,
        "t.json.lock": 0o600,
    }


def test_a_part_left_by_a_kill_is_no_hindrance(tmp_path: Path) -> None:
    """Nor is a link that somebody put in its place: what it points to stays as it is."""
    path, victim = tmp_path / "t.json", tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "t.json.tmp").symlink_to(victim)
    write(path, NEW)
    assert path.read_bytes() == NEW
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o660])
def test_a_file_open_to_others_is_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int) -> None:
    """Group or world, reading or writing; said once, with its path and mode."""
    path = tmp_path / "t.json"
    file = write(path, OLD)
    path.chmod(mode)
    assert [file.read()[1], file.read()[1]] == [b"", b""]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(path) in caplog.text
    assert f"{mode:04o}" in caplog.text


def test_a_link_is_ignored_and_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What it points to is neither read nor written."""
    path, other = tmp_path / "t.json", tmp_path / "other.json"
    write(other, OLD)
    path.symlink_to(other)
    file = CacheFile(path)
    assert file.read()[1] == b""
    file.write(lock_of(path), NEW)
    assert other.read_bytes() == OLD
    assert file.read()[1] == NEW
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"{path}: is a link" in caplog.text


@pytest.mark.parametrize("text", [b"", b"hello", OLD[:-1], b"[]", OLD + b" " * (8 * 2**20)])
def test_a_damaged_file_is_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture, text: bytes) -> None:
    """And so is one of another kind or of senseless size; its text is not shown."""
    path = tmp_path / "t.json"
    file = write(path, text)
    assert file.read() == (file.look(), b"")
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: is damaged, or no token cache; it is ignored, and replaced by the next token"
    ]


@pytest.mark.parametrize("kind", ["folder", "fifo"])
def test_what_is_no_file_is_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    """Reading does not hang, and where it cannot be replaced that is said."""
    path = tmp_path / "t.json"
    path.mkdir() if kind == "folder" else os.mkfifo(path, 0o600)
    file = CacheFile(path)
    assert file.read()[1] == b""
    file.write(lock_of(path), NEW)
    assert file.read()[1] == (b"" if kind == "folder" else NEW)
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    assert ("cannot be written" in caplog.text) == (kind == "folder")
    assert is_free(path)


async def test_the_lock_is_had_by_one(tmp_path: Path) -> None:
    """A second opener, in this process or another, waits until it is given back."""
    path = tmp_path / "folder" / "t.json"
    first, second = CacheFile(path), CacheFile(path)
    lock = await first.lock(30.0)
    assert lock is not None
    assert not is_free(path)
    waiting = asyncio.create_task(second.lock(30.0))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), 0.02)
    lock.release()
    other = await waiting
    assert other is not None
    other.release()
    assert is_free(path)


async def test_a_lock_that_is_not_given_back_is_given_up(tmp_path: Path) -> None:
    """Again and again with one thread in all; and when it comes at last it goes to who asks then."""
    path = tmp_path / "t.json"
    holder, file = lock_of(path), CacheFile(path)
    for _ in range(5):
        with pytest.raises(TimeoutError):
            await file.lock(0.01)
    assert len(waiting_for(path)) == 1
    waiting = asyncio.create_task(file.lock(30.0))
    await asyncio.wait([waiting], timeout=0.01)
    holder.release()
    lock = await waiting
    assert lock is not None
    lock.release()
    assert is_free(path)


async def test_a_lock_that_comes_too_late_is_given_back(tmp_path: Path) -> None:
    """When nobody wants it any more, also for having been cancelled."""
    path = tmp_path / "t.json"
    holder, file = lock_of(path), CacheFile(path)
    waiting = asyncio.create_task(file.lock(30.0))
    await asyncio.wait([waiting], timeout=0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    (thread,) = waiting_for(path)
    holder.release()
    await asyncio.to_thread(thread.join, 10)
    lock = await file.lock(10.0)
    assert lock is not None
    lock.release()
    assert is_free(path)


async def test_a_folder_that_cannot_be_had_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without a lock there is None, once a warning, and no end of the run."""
    (tmp_path / "file").write_text("")
    file = CacheFile(tmp_path / "file" / "t.json")
    assert [await file.lock(10.0), await file.lock(10.0)] == [None, None]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "cannot be locked" in caplog.text


HANGING = """\
import asyncio, sys
from pathlib import Path
from crawler.tokencache import CacheFile

async def main():
    try:
        await CacheFile(Path(sys.argv[1])).lock(0.05)
    except TimeoutError:
        print("given up", flush=True)

asyncio.run(main())
"""


@pytest.mark.slow
def test_a_held_lock_does_not_keep_a_process_from_ending(tmp_path: Path) -> None:
    """Though a thread is still blocked in the kernel."""
    path = tmp_path / "t.json"
    lock = lock_of(path)
    done = subprocess.run([sys.executable, "-c", HANGING, str(path)], capture_output=True, timeout=30, check=True)
    assert (done.stdout, done.stderr) == (b"given up\n", b"")
    lock.release()


# Kills itself before and after each step of a writing; says what stands in the cache then.
KILLING = """\
import os, signal, sys
from pathlib import Path
from crawler.tokencache import CacheFile, FileLock

path, old, new = Path(sys.argv[1]), sys.argv[2].encode(), sys.argv[3].encode()
lock = path.with_name(path.name + ".lock")

def write(text, steps):
    left = [steps]
    def dying(frame, event, what):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    held = FileLock(lock)
    sys.setprofile(dying)  # called around each function, those of C too
    CacheFile(path).write(held, text)
    sys.setprofile(None)

steps, survived = 0, False
while not survived:
    write(old, 10**9)
    steps += 1
    child = os.fork()
    if child == 0:
        write(new, steps)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    survived = os.waitstatus_to_exitcode(status) == 0
    print(os.waitstatus_to_exitcode(status), path.read_bytes().decode(), flush=True)
write(new, 10**9)  # neither a lock nor a part hinders the next one
"""


@pytest.mark.slow
def test_a_kill_in_the_midst_leaves_the_old_or_the_new_text(tmp_path: Path) -> None:
    """At each call within a writing (kill -9): never a part, and the next writing is not hindered."""
    path = tmp_path / "t.json"
    command = [sys.executable, "-c", KILLING, str(path), OLD.decode(), NEW.decode()]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True, text=True)
    *killed, last = done.stdout.splitlines()
    assert last == f"0 {NEW.decode()}"
    assert len(killed) > 20
    assert set(killed) == {f"-9 {OLD.decode()}", f"-9 {NEW.decode()}"}
    assert path.read_bytes() == NEW
    assert path.stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "t.json.tmp").exists()
