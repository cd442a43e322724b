"""Whole runs, as a command of their own, on disks that fill up, turn read-only, or under limits of the process."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest

from tests.disks import abort, loop_mount, repair, tmpfs
from tests.servers import Asked, RawSite, raw_site, reply

pytestmark = pytest.mark.slow

MIB = 1024**2
CRUMB = b"0123456789abcdef" * 4096
PROGRAM = [sys.executable, "-m", "crawler", "run"]


class Done(NamedTuple):
    """How a command ended."""

    code: int
    said: str


def answer(asked: Asked) -> bytes | AsyncIterator[bytes]:
    """/sized/N/M and /chunked/N/M: a body of N bytes that no other M has, with its length or without; /late/N/M is
    chunked, and its end comes some looks after the rest.
    """
    _, kind, size, number = asked.path.split("/")
    body = (number.encode() + CRUMB * (int(size) // len(CRUMB) + 1))[: int(size)]
    return reply(body=body) if kind == "sized" else _chunked(body, 0.7 if kind == "late" else 0.0)


async def _chunked(body: bytes, pause: float) -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    for at in range(0, len(body), len(CRUMB)):
        piece = body[at : at + len(CRUMB)]
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    await asyncio.sleep(pause)
    yield b"0\r\n\r\n"


def write_job(folder: Path, out: Path, site: RawSite, paths: list[str], *, limits: str = "", **output: object) -> Path:
    """A job over these paths; `output` says its [output] keys."""
    said = {"min_free": "2MiB", "min_free_percent": 1, "wait_for_room": "1s", **output}
    lines = "".join(f"{key} = {orjson.dumps(value).decode()}\n" for key, value in said.items())
    (folder / "urls.txt").write_text("".join(f"{site.url(path)}/{n}\n" for n, path in enumerate(paths)))
    job = folder / "job.toml"
    job.write_text(
        f'name = "j"\n[input]\nfiles = ["urls.txt"]\ndedupe = false\n[limits]\n{limits}\n'
        f'[retry.backoff]\ninitial = "20ms"\nmax = "50ms"\n[output]\ndir = "{out}"\n{lines}'
    )
    return job


async def run(job: Path, *before: str) -> Done:
    """The command, to its end; `before` are the words of a command that starts it."""
    process = await asyncio.create_subprocess_exec(
        *before, *PROGRAM, str(job), "--quiet", stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    said = (await asyncio.wait_for(process.communicate(), 60))[1]
    assert process.returncode is not None
    return Done(process.returncode, said.decode())


async def until(ready: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    async with asyncio.timeout(20):
        while not ready():  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.02)


def ends(out: Path) -> Counter[str]:
    """How the inputs of the one run ended, each counted once; every body is there as long as its record says."""
    [folder] = (out / "j" / "runs").iterdir()
    found, ids = Counter[str](), Counter[int]()
    for line in (folder / "records.jsonl").read_bytes().splitlines():
        record = orjson.loads(line)
        found[record["reason"] or record["outcome"]] += 1
        ids[record["id"]] += 1
        if record["outcome"] == "fetched":
            assert (folder / record["body"]).stat().st_size == record["bytes"]
    assert set(ids.values()) <= {1}
    return found


def state_of(out: Path) -> tuple[str, int]:
    """What the checkpoint says of the run: state and exit code."""
    with closing(sqlite3.connect(f"file:{out}/j/state.db?mode=ro", uri=True)) as db:
        state: tuple[str, int] = db.execute("SELECT state, exit_code FROM runs").fetchone()
        return state


def parts(out: Path) -> list[Path]:
    """Files of bodies that are not whole."""
    return list(out.rglob("*.part"))


async def test_known_lengths_are_let_in_as_far_as_they_fit(tmp_path: Path) -> None:
    """Of eight bodies of 3 MiB some fit onto 16 MiB: these are kept, none was begun in vain, the rest waits."""
    async with raw_site(answer) as site:
        with tmpfs(tmp_path / "disk", "16m") as disk:
            job = write_job(tmp_path, disk.path / "out", site, [f"/sized/{3 * MIB}"] * 8)
            first = await run(job)
            assert first.code == 4
            kept = ends(disk.path / "out")["fetched"]
            assert 3 <= kept <= 4
            assert state_of(disk.path / "out") == ("stopped", 4)
            assert parts(disk.path / "out") == []
            disk.resize("128m")
            assert (await run(job)).code == 0
            assert ends(disk.path / "out") == {"fetched": 8}


async def test_a_body_of_unknown_length_stops_before_the_disk_is_full(tmp_path: Path) -> None:
    """It is given up, and counts as no failure; the small ones are kept; with more room it comes whole."""
    async with raw_site(answer) as site:
        with tmpfs(tmp_path / "disk", "16m") as disk:
            paths = [*["/sized/1000"] * 20, f"/chunked/{40 * MIB}"]
            job = write_job(tmp_path, disk.path / "out", site, paths, min_free="8MiB")
            first = await run(job)
            assert first.code == 4
            assert ends(disk.path / "out") == {"fetched": 20}
            log = (disk.path / "out" / "j" / "latest" / "run.log").read_text()
            assert "bytes so far is given up" in log  # by us, and not by the kernel
            assert parts(disk.path / "out") == []
            disk.resize("128m")
            assert (await run(job)).code == 0
            assert ends(disk.path / "out") == {"fetched": 21}


async def test_it_goes_on_by_itself_when_there_is_room_again(tmp_path: Path) -> None:
    """Within `wait_for_room` somebody makes the disk larger: the same run comes to its end."""
    async with raw_site(answer) as site:
        with tmpfs(tmp_path / "disk", "16m") as disk:
            job = write_job(tmp_path, disk.path / "out", site, [f"/sized/{3 * MIB}"] * 8, wait_for_room="30s")
            running = asyncio.create_task(run(job))
            log = disk.path / "out" / "j" / "latest" / "run.log"
            await until(lambda: log.exists() and "nothing new is begun" in log.read_text())
            disk.resize("128m")
            assert (await running).code == 0
            assert ends(disk.path / "out") == {"fetched": 8}
            assert log.read_text().count("going on") == 1


async def test_a_start_without_room_touches_nothing(tmp_path: Path) -> None:
    """One sentence, exit 4, no folder made, nobody asked."""
    async with raw_site(answer) as site:
        with tmpfs(tmp_path / "disk", "16m") as disk:
            (disk.path / "other").write_bytes(bytes(15 * MIB))
            job = write_job(tmp_path, disk.path / "out", site, ["/sized/1000"])
            done = await run(job)
            assert done.code == 4
            assert len(done.said.splitlines()) == 1
            assert "output.min_free" in done.said
            assert [path.name for path in disk.path.iterdir()] == ["other"]
            assert site.asked == []
            (disk.path / "other").unlink()
            assert (await run(job)).code == 0


async def test_a_disk_that_is_full_at_the_end_is_no_fault(tmp_path: Path) -> None:
    """The last body fills it up, and nothing waits any more."""
    async with raw_site(answer) as site:
        with tmpfs(tmp_path / "disk", "16m") as disk:
            job = write_job(tmp_path, disk.path / "out", site, [f"/late/{12 * MIB}"], min_free="4MiB")
            assert (await run(job)).code == 0
            left = os.statvfs(disk.path)
            assert left.f_bavail * left.f_frsize < 4 * MIB
            assert ends(disk.path / "out") == {"fetched": 1}


@pytest.mark.parametrize("kind", ["sized", "chunked"])
async def test_without_headroom_a_full_disk_costs_one_group(tmp_path: Path, kind: str) -> None:
    """The kernel itself says no, in a commit or in a body: exit 4, the checkpoint says so, and nothing is lost."""
    async with raw_site(answer) as site:
        with tmpfs(tmp_path / "disk", "8m") as disk:
            size = 200_000 if kind == "sized" else 900_000
            job = write_job(
                tmp_path, disk.path / "out", site, [f"/{kind}/{size}"] * 60, min_free="0B", min_free_percent=0
            )
            assert (await run(job)).code == 4
            assert state_of(disk.path / "out") == ("stopped", 4)
            disk.resize("128m")
            assert (await run(job)).code == 0
            assert ends(disk.path / "out") == {"fetched": 60}


async def test_inodes_that_run_out_are_no_room(tmp_path: Path) -> None:
    """Bytes are free, but no file can be made."""
    async with raw_site(answer) as site:
        with tmpfs(tmp_path / "disk", "64m", names=420) as disk:
            job = write_job(
                tmp_path, disk.path / "out", site, [f"/sized/{n}" for n in range(1, 401)], limits='rate = "400/s"'
            )
            assert (await run(job)).code == 4
            disk.more_names(4000)
            assert (await run(job)).code == 0
            assert ends(disk.path / "out") == {"fetched": 400}


async def test_a_file_too_large_for_the_process_ends_the_run(tmp_path: Path) -> None:
    """RLIMIT_FSIZE: no signal kills it; the fault and its place are named; the next run completes."""
    async with raw_site(answer) as site:
        job = write_job(tmp_path, tmp_path / "out", site, [f"/sized/{3 * MIB}", *["/sized/1000"] * 20])
        done = await run(job, "prlimit", f"--fsize={MIB}")
        assert done.code == 4
        assert "File too large" in done.said
        assert str(tmp_path / "out") in done.said
        assert (await run(job)).code == 0
        assert ends(tmp_path / "out") == {"fetched": 21}


async def test_a_disk_that_turns_read_only_ends_the_run(tmp_path: Path) -> None:
    """As ext4 does after an error of the device: exit 4, and once it is repaired nothing is missing."""
    image = tmp_path / "image"
    async with raw_site(answer) as site:
        with loop_mount(tmp_path / "disk", image, 64 * MIB) as disk:
            out = disk / "out"
            job = write_job(tmp_path, out, site, ["/sized/1000"] * 600, limits='rate = "400/s"')
            running = asyncio.create_task(run(job))
            await until(lambda: len(site.asked) >= 300)
            abort(disk)
            done = await running
            assert done.code == 4
            assert str(out) in done.said
            again = await run(job)
            assert again.code == 4
            assert str(out) in again.said
        repair(image)
        with loop_mount(tmp_path / "disk", image, 64 * MIB) as disk:
            assert (await run(job)).code == 0
            assert ends(disk / "out") == {"fetched": 600}


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="util-linux only")
@pytest.mark.parametrize("files", [24, 64])
async def test_with_few_open_files_the_pool_shrinks(tmp_path: Path, files: int) -> None:
    """No request fails for it, and one warning tells how many files would be needed."""
    addresses = [f"127.0.0.{n}" for n in range(1, 101)]
    async with raw_site(answer, addresses=addresses) as site:
        job = write_job(tmp_path, tmp_path / "out", site, [])
        urls = [site.url(f"/sized/300000/{n}", address) for address in addresses for n in range(3)]
        (tmp_path / "urls.txt").write_text("\n".join(urls))
        assert (await run(job, "prlimit", f"--nofile={files}:{files}")).code == 0
        assert ends(tmp_path / "out") == {"fetched": 300}
        log = (tmp_path / "out" / "j" / "latest" / "run.log").read_text()
        [warning] = [line for line in log.splitlines() if "open files" in line]
        assert f"the limit is {files}" in warning
