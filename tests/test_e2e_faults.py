"""Disks that fail: a run says what it could not do, loses nothing that it gave out, and goes on once they work."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from time import monotonic, sleep

import pytest

from tests.chaos import faults, oracle
from tests.chaos.jobs import ALL, VARIANTS, Build, Work, write_job
from tests.chaos.site import Site
from tests.disks import abort, loop_mount, repair, tmpfs

SEED = 20261121
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """The package as it is now."""
    return Build.copy(tmp_path_factory.mktemp("faults") / "build")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """The site."""
    with Site() as site:
        yield site


def tried(count: int, seed: int, build: Build, site: Site, folder: Path) -> None:
    """Let so many calls fail and say what came of it; all is right."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    field = faults.prepare(build, site, folder, VARIANTS)
    verdicts = list(faults.verdicts(count, seed, field))
    print(f"\nseed {seed}: {faults.summary(verdicts)}")
    faulty = [f"{verdict.fault} at {verdict.hit}: {fault}" for verdict in verdicts for fault in verdict.faults[:3]]
    assert not faulty, "\n".join(faulty[:20])
    assert {verdict.code for verdict in verdicts} == {1, 4}


@pytest.mark.e2e
def test_calls_that_fail_lose_nothing(build: Build, site: Site, tmp_path: Path) -> None:
    """Each kind of call with each of its errors, once."""
    tried(46, SEED, build, site, tmp_path)


@pytest.mark.chaos
def test_many_calls_that_fail_lose_nothing(build: Build, site: Site, tmp_path: Path) -> None:
    """300 calls."""
    tried(300, Random(SEED).getrandbits(32), build, site, tmp_path)


def work_of(site: Site, folder: Path, out: Path) -> Work:
    """A job with every output at `out`."""
    pages = site.pages(folder.name, faults.KINDS)
    return faults.hastened(write_job(folder / "work", pages, ALL, Random(SEED), driven=True, out=out))


def code_of(build: Build, work: Work, wrap: Sequence[str] = ()) -> int:
    """Run it to its end."""
    process = build.start(work.command, work.folder, wrap)
    try:
        return process.wait(60)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()


def said(work: Work) -> str:
    """All that its runs said."""
    return (work.folder / "said").read_text(errors="replace")


def assert_told(work: Work) -> None:
    """The place is named, unless the code of a run that was stopped in time is all that its caller is given."""
    assert not said(work) or str(work.job_folder.resolve()) in said(work)
    assert "Traceback" not in said(work)


def assert_nothing_is_lost(work: Work) -> None:
    """What was given out so far is there."""
    left = oracle.judge_killed(work.job_folder, work.pages, work.sinks, work.acked())
    assert left.faults == []


def assert_completes(build: Build, work: Work) -> None:
    """Without the fault it comes to its end, and has all, once."""
    assert code_of(build, work) == 1, said(work)  # some pages are missing always
    assert oracle.judge(work.job_folder, work.pages, work.sinks) == []


@pytest.mark.e2e
def test_a_full_disk_loses_nothing_in_any_output(build: Build, site: Site, tmp_path: Path) -> None:
    """A tmpfs too small for the run: exit 4 and its place; with more room the same run completes."""
    with tmpfs(tmp_path / "disk", "12m") as disk:
        work = work_of(site, tmp_path, disk.path / "out")
        assert code_of(build, work) == 4, said(work)
        assert_told(work)
        assert_nothing_is_lost(work)
        disk.resize("128m")
        assert_completes(build, work)


@pytest.mark.e2e
def test_a_full_loop_device_loses_nothing_in_any_output(build: Build, site: Site, tmp_path: Path) -> None:
    """An ext4 on which others left little room; they make some, and the same run completes."""
    with loop_mount(tmp_path / "disk", tmp_path / "image", 64 * MIB) as disk:
        ballast = disk / "ballast"
        free = shutil.disk_usage(disk).free
        ballast.write_bytes(bytes(free - 6 * MIB))
        subprocess.run(["sync", "-f", str(disk)], check=True)
        work = work_of(site, tmp_path, disk / "out")
        assert code_of(build, work) == 4, said(work)
        assert_told(work)
        assert_nothing_is_lost(work)
        ballast.unlink()
        subprocess.run(["sync", "-f", str(disk)], check=True)
        assert_completes(build, work)


@pytest.mark.e2e
def test_a_disk_that_turns_read_only_loses_nothing_in_any_output(build: Build, site: Site, tmp_path: Path) -> None:
    """As ext4 does after an error of its device, in the middle of a run: exit 4; repaired, the same run completes."""
    image = tmp_path / "image"
    with loop_mount(tmp_path / "disk", image, 64 * MIB) as disk:
        work = work_of(site, tmp_path, disk / "out")
        process = build.start(work.command, work.folder)
        patience = monotonic() + 30
        while not work.acked() and monotonic() < patience:
            sleep(0.01)
        abort(disk)
        assert process.wait(60) == 4, said(work)
        assert_told(work)
        assert work.acked()
    repair(image)
    with loop_mount(tmp_path / "disk", image, 64 * MIB):
        assert_nothing_is_lost(work)
        assert_completes(build, work)


@pytest.mark.e2e
@pytest.mark.parametrize("limit", ["--nofile=24:24", "--nofile=64:64", f"--fsize={MIB}"])
def test_limits_of_the_process_lose_nothing_in_any_output(build: Build, site: Site, tmp_path: Path, limit: str) -> None:
    """Few open files, or none above 1 MiB: all is brought, or exit 4 and its place; then the next run completes."""
    if shutil.which("prlimit") is None:
        pytest.skip("util-linux only")
    work = work_of(site, tmp_path, tmp_path / "out")
    code = code_of(build, work, ("prlimit", limit))
    assert code in (1, 4), said(work)
    assert "Traceback" not in said(work)
    if code == 4:
        assert_told(work)
        assert_nothing_is_lost(work)
        assert_completes(build, work)
    else:
        assert oracle.judge(work.job_folder, work.pages, work.sinks) == []
