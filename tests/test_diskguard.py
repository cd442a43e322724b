"""The guard over the disk: looks, bodies that are let in or turned away, the reserve."""

from __future__ import annotations

import errno
import logging
import os
from contextlib import suppress
from math import inf
from pathlib import Path

import pytest

from crawler.diskguard import DiskGuard, NoRoom, Reserve, require_room, space_of
from crawler.errors import Reason, StorageError
from crawler.room import Headroom, Space
from crawler.wirefaults import TransportError
from tests.disks import tmpfs

MIB = 1024**2
GIB = 1024**3
TEN = Headroom(10 * MIB, 0.0)


class Disk:
    """A disk that is as full as the test says."""

    def __init__(self, free: int) -> None:
        self.free = free
        self.asked = 0

    def __call__(self, folder: Path) -> Space:
        self.asked += 1
        return Space(self.free, GIB)


def guard_of(disk: Disk, headroom: Headroom = TEN, patience: float = 30.0, copies: int = 1) -> DiskGuard:
    return DiskGuard(Path("out"), headroom, patience, copies, ask=disk)


def test_the_kernel_is_asked(tmp_path: Path) -> None:
    """What statvfs says of the nearest folder that exists."""
    said = os.statvfs(tmp_path)
    found = space_of(tmp_path / "not" / "there")
    assert found.total == said.f_blocks * said.f_frsize
    assert found.names == said.f_files
    assert 0 < found.free <= found.total
    assert not (tmp_path / "not").exists()


def test_where_the_kernel_does_not_say_there_is_plenty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without statvfs is written until it refuses."""

    def fails(_: object) -> None:
        raise OSError(errno.ENOSYS, "not implemented")

    monkeypatch.setattr(os, "statvfs", fails)
    assert space_of(tmp_path).free > 1 << 60
    require_room(tmp_path, Headroom(GIB, 50.0))


def test_a_change_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """Full and free again: each is one look that is True, and one warning."""
    disk = Disk(GIB)
    guard = guard_of(disk)
    seen = []
    with caplog.at_level(logging.WARNING, "crawler"):
        for now, free in enumerate([GIB, 9 * MIB, 8 * MIB, 12 * MIB, 13 * MIB, GIB]):
            disk.free = free
            seen.append((guard.look(float(now)), guard.full))
    assert seen == [(False, False), (True, True), (False, True), (False, True), (True, False), (False, False)]
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records] == [
        "nothing new is begun",
        "going on",
    ]


def test_it_does_not_look_more_than_four_times_a_second() -> None:
    """However short the tick of whoever asks."""
    disk = Disk(GIB)
    guard = guard_of(disk)
    before = disk.asked
    for tick in range(100):
        guard.look(tick / 100)
    assert disk.asked - before == 4


def test_where_nothing_is_written_nothing_is_asked() -> None:
    """Without a folder the disk is never full, and every body is welcome."""
    disk = Disk(0)
    guard = DiskGuard(None, TEN, ask=disk)
    assert not guard.look(1.0)
    with guard.writing(1 << 60) as writing:
        writing.more(1 << 60)
    assert disk.asked == 0
    assert not guard.full


def test_a_body_that_does_not_fit_now_waits() -> None:
    """No byte of it is read; the next look tells that the disk is full, and another that it is not."""
    disk = Disk(20 * MIB)
    guard = guard_of(disk)
    with pytest.raises(NoRoom) as caught, guard.writing(11 * MIB):
        pytest.fail("it was let in")
    assert caught.value.errno == errno.ENOSPC
    assert guard.full
    assert guard.look(1.0)
    disk.free = GIB
    assert guard.look(2.0)
    with guard.writing(11 * MIB):
        assert not guard.full


def test_what_became_full_and_free_between_two_looks_is_told() -> None:
    """Else who waits for the change would wait for ever."""
    disk = Disk(20 * MIB)
    guard = guard_of(disk)
    guard.look(1.0)
    with pytest.raises(NoRoom), guard.writing(11 * MIB):
        pass
    disk.free = GIB
    assert guard.look(2.0)
    assert not guard.full


def test_small_bodies_are_not_asked_about() -> None:
    """They stay in memory until they are committed; ten thousand a second must not pay for a look each."""
    disk = Disk(MIB)
    guard = guard_of(disk)
    before = disk.asked
    with guard.writing(256 * 1024), guard.writing(None):
        assert disk.asked == before


def test_a_body_larger_than_the_disk_is_too_large() -> None:
    """To wait for room would be in vain."""
    with pytest.raises(TransportError) as caught, guard_of(Disk(GIB)).writing(GIB):
        pass
    assert caught.value.reason is Reason.TOO_LARGE


def test_each_copy_needs_its_room() -> None:
    """A body that goes into two outputs needs twice its length."""
    with pytest.raises(NoRoom), guard_of(Disk(100 * MIB), copies=2).writing(50 * MIB):
        pass
    with guard_of(Disk(100 * MIB), copies=2).writing(45 * MIB):
        pass


def test_a_body_of_unknown_length_must_stop_when_the_disk_fills_up() -> None:
    """In the lower half of the headroom it is given up; its file was removed by whoever wrote it."""
    disk = Disk(GIB)
    guard = guard_of(disk)
    with guard.writing(None) as writing:
        writing.more(MIB)
        disk.free = 4 * MIB
        with pytest.raises(NoRoom):
            writing.more(2 * MIB)
    assert guard.full


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_refuses_is_full(number: int) -> None:
    """Also where the file system, or a quota, had not let it know."""
    guard = guard_of(Disk(GIB))
    with pytest.raises(NoRoom) as caught, guard.writing(None):
        raise OSError(number, os.strerror(number))
    assert caught.value.errno == number
    assert guard.full


def test_a_quota_keeps_it_full() -> None:
    """What the file system says is free is of no use then; without a quota it is."""
    for number, full in ((errno.EDQUOT, True), (errno.ENOSPC, False)):
        guard = guard_of(Disk(GIB))
        with pytest.raises(NoRoom), guard.writing(None):
            raise OSError(number, os.strerror(number))
        guard.look(1.0)
        assert guard.full is full


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.EFBIG])
def test_other_faults_of_the_disk_pass_and_name_the_place(number: int) -> None:
    """Waiting would not help; a write names no file, so the folder is named."""
    guard = guard_of(Disk(GIB))
    with pytest.raises(OSError, match="'out'") as caught, guard.writing(None):
        raise OSError(number, os.strerror(number))
    assert not isinstance(caught.value, NoRoom)
    assert not guard.full


def test_a_promise_ends_with_its_body() -> None:
    """Whole, failed or cancelled: the room is free again."""
    guard = guard_of(Disk(100 * MIB))
    with guard.writing(80 * MIB):
        pass
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), guard.writing(80 * MIB):
            raise error
    with guard.writing(90 * MIB):
        pass


def test_it_is_hopeless_after_its_patience() -> None:
    """Full for so long, and nothing is written."""
    disk = Disk(MIB)
    guard = guard_of(disk, patience=5.0)
    guard.look(0.0)
    guard.look(4.9)
    assert not guard.hopeless
    guard.look(5.2)
    assert guard.hopeless
    assert "MiB are wanted" in guard.why


def test_a_start_without_room_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """Nothing is made."""
    with pytest.raises(StorageError, match=r"wanted \(output\.min_free\); nothing was begun"):
        require_room(tmp_path / "out" / "job", Headroom(1 << 60, 0.0))
    assert list(tmp_path.iterdir()) == []
    require_room(tmp_path / "out" / "job", Headroom(0, 0.0))


def test_the_reserve_is_space_that_can_be_given_up(tmp_path: Path) -> None:
    """8 MiB that are really taken, only once, and that a release gives back."""
    reserve = Reserve(tmp_path)
    assert reserve.keep()
    assert reserve.keep()
    [file] = tmp_path.iterdir()
    assert file.stat().st_blocks * 512 >= 8 * MIB
    assert file.stat().st_mode & 0o777 == 0o600
    reserve.release()
    reserve.release()
    assert list(tmp_path.iterdir()) == []


def test_there_is_no_reserve_where_it_would_eat_the_headroom(tmp_path: Path) -> None:
    """Then what is free already serves the same purpose."""
    assert not Reserve(tmp_path, Headroom(1 << 60, 0.0)).keep()
    assert list(tmp_path.iterdir()) == []


def test_a_reserve_that_fails_when_it_is_closed_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems tell only then; the run begins without it."""

    def close(fd: int) -> None:
        real(fd)
        raise OSError(errno.EIO, "Input/output error")

    real = os.close
    monkeypatch.setattr(os, "close", close)
    assert not Reserve(tmp_path).keep()
    assert list(tmp_path.iterdir()) == []


def test_the_reserve_follows_no_link(tmp_path: Path) -> None:
    """A name planted there does not lead us to write elsewhere."""
    (tmp_path / "reserve").symlink_to(tmp_path / "elsewhere")
    assert not Reserve(tmp_path).keep()
    assert not (tmp_path / "elsewhere").exists()


def test_on_a_disk_that_is_full_the_reserve_makes_room(tmp_path: Path) -> None:
    """What could not be written before its release can be written after."""
    with tmpfs(tmp_path / "disk", "32m") as disk:
        reserve = Reserve(disk.path)
        assert reserve.keep()
        size = (disk.path / "reserve").stat().st_size
        assert size == MIB  # of a small file system, a part
        _fill(disk.path / "other")
        with pytest.raises(OSError, match="No space left"):
            (disk.path / "state").write_bytes(b"x" * (size // 2))
        reserve.release()
        (disk.path / "state").write_bytes(b"x" * (size // 2))
        assert not reserve.keep()  # no room to keep it again
        assert not (disk.path / "reserve").exists()


def test_a_real_disk_is_full_and_free_again(tmp_path: Path) -> None:
    """On a tmpfs that fills up and grows."""
    with tmpfs(tmp_path / "disk", "16m") as disk:
        guard = DiskGuard(disk.path, Headroom(4 * MIB, 0.0))
        assert not guard.look(0.0)
        _fill(disk.path / "other")
        assert guard.look(1.0)
        assert guard.full
        with pytest.raises(NoRoom), guard.writing(None), (disk.path / "body").open("wb", buffering=0) as file:
            file.write(b"x" * MIB)
        disk.resize("64m")
        assert guard.look(inf)
        assert not guard.full


def test_real_file_names_run_out(tmp_path: Path) -> None:
    """A tmpfs with few inodes is full when these are."""
    with tmpfs(tmp_path / "disk", "64m", names=400) as disk:
        guard = DiskGuard(disk.path, Headroom(0, 1.0))
        guard.look(0.0)
        assert not guard.full
        for number in range(360):
            (disk.path / str(number)).touch()
        assert guard.look(1.0)
        assert "inodes" in guard.why


def _fill(path: Path) -> None:
    """Write until nothing more fits."""
    with path.open("wb", buffering=0) as file:
        for size in (MIB, 4096, 1):
            with suppress(OSError):
                while file.write(b"x" * size) == size:
                    pass
