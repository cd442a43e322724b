"""End to end: starts by the clock, as cron makes them, and what each of them finds."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import orjson
import pytest

from tests.disks import tmpfs
from tests.servers import Asked, RawSite, raw_site, reply

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
PROGRAM = [sys.executable, "-m", "crawler"]


class Done(NamedTuple):
    """How a start ended, after how many seconds."""

    code: int
    said: str
    out: str
    seconds: float


class Cron:
    """A job and a site, and starts of it with as little around them as cron gives."""

    def __init__(self, folder: Path, site: RawSite) -> None:
        self.folder = folder
        self.site = site
        self.job = folder / "j.toml"
        self.out = folder / "out" / "j"
        self.gate = asyncio.Event()
        site.answer = self.answer

    def answer(self, asked: Asked) -> bytes | AsyncIterator[bytes]:
        """/slow takes a quarter of a second, /hang waits for ever, /gate until it is opened, /404 is not there."""
        if asked.path.startswith(("/slow", "/hang", "/gate")):
            return self._late(asked.path)
        return reply(404) if asked.path.startswith("/404") else reply(body=asked.path.encode() * 100)

    async def _late(self, path: str) -> AsyncIterator[bytes]:
        await (self.gate.wait() if path == "/gate" else asyncio.sleep(0.25 if path.startswith("/slow") else 60.0))
        yield reply(headers={"Connection": "close"})

    def write(self, paths: list[str], run: str = "", more: str = "") -> None:
        """The job file; `run` are lines of [run]."""
        urls = "".join(f"{self.site.url(path)}\n" for path in paths)
        (self.folder / "urls.txt").write_text(urls)
        self.job.write_text(
            f'name = "j"\n[input]\nfiles = ["urls.txt"]\n[request]\ncontact = "me@example.org"\n'
            f'[limits]\nworkers = 2\n[output]\ndir = "{self.folder}/out"\nmin_free = "1MiB"\nmin_free_percent = 0\n'
            f'wait_for_room = "100ms"\n[run]\n{run}\n{more}'
        )

    def environment(self, **more: str) -> dict[str, str]:
        """What cron gives."""
        user = pwd.getpwuid(os.getuid())
        known = {"HOME": str(self.folder), "LOGNAME": user.pw_name, "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
        return {**known, **more}

    async def begin(self, *options: str, **environment: str) -> asyncio.subprocess.Process:
        """One start."""
        pipe = asyncio.subprocess.PIPE
        command = [*PROGRAM, "run", "--quiet", str(self.job), *options]
        return await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=self.environment(**environment)
        )

    async def run(self, *options: str, **environment: str) -> Done:
        """One start, to its end."""
        began = monotonic()
        return await self.end(await self.begin(*options, **environment), began)

    async def end(self, process: asyncio.subprocess.Process, began: float = 0.0) -> Done:
        out, said = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode is not None
        return Done(process.returncode, said.decode(), out.decode(), monotonic() - began)

    def records(self) -> Counter[str]:
        """Outcomes of the last run, each input once."""
        lines = [orjson.loads(line) for line in (self.out / "latest" / "records.jsonl").read_bytes().splitlines()]
        assert len({line["id"] for line in lines}) == len(lines)
        return Counter(line["outcome"] for line in lines)

    def runs(self) -> list[tuple[str, str, int | None]]:
        """All runs: id, state, exit code."""
        with closing(sqlite3.connect(f"file:{self.out}/state.db?mode=ro", uri=True)) as db:
            return db.execute("SELECT id, state, exit_code FROM runs ORDER BY n").fetchall()

    def summary(self) -> dict[str, Any]:
        """summary.json of the last run."""
        data: dict[str, Any] = orjson.loads((self.out / "latest" / "summary.json").read_bytes())
        return data


@pytest.fixture
async def cron(tmp_path: Path) -> AsyncIterator[Cron]:
    async with raw_site() as site:
        yield Cron(tmp_path, site)


async def until(ready: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    async with asyncio.timeout(20):
        while not ready():  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.02)


async def test_of_two_starts_that_overlap_one_runs(cron: Cron) -> None:
    """The other exits with 75 at once, and says nothing unless it is to; a third that waits runs behind the first."""
    cron.write(["/1"])
    started = (await cron.run("--set", "name=other")).seconds
    cron.write(["/gate", "/2"])
    first = await cron.begin()
    await until(lambda: "/gate" in cron.site.paths())
    second = await cron.run()
    assert (second.code, second.said, second.out) == (75, "", "")
    assert second.seconds < started + 1.0
    refused = await cron.run("--if-running", "fail")
    assert refused.code == 75
    assert f"pid {first.pid} on " in refused.said
    waiting = await cron.begin("--if-running", "wait", "--fresh")
    in_vain = await cron.run("--if-running", "wait", "--set", "run.wait=200ms")
    assert in_vain.code == 75
    assert "in vain" in in_vain.said
    cron.gate.set()
    done = await cron.end(first)
    assert (done.code, done.said, done.out) == (0, "", "")
    assert (await cron.end(waiting)).code == 0
    assert [row[1:] for row in cron.runs()] == [("finished", 0), ("finished", 0)]
    assert cron.records() == {"fetched": 2}


async def test_a_wait_for_the_lock_ends_by_a_signal(cron: Cron) -> None:
    """With exit code 3, as a run that is stopped."""
    cron.write(["/gate"])
    first = await cron.begin()
    await until(lambda: cron.site.paths() == ["/gate"])
    for number in (signal.SIGTERM, signal.SIGINT):
        waiting = await cron.begin("--if-running", "wait")
        await until(partial(_waits, waiting.pid))
        waiting.send_signal(number)
        assert (await cron.end(waiting)).code == 3
    first.kill()
    await first.communicate()


def _waits(pid: int) -> bool:
    """Has a process got as far as the lock that it waits for: its loop is there, and nothing goes on."""
    with suppress(OSError):  # descriptors come and go
        links = [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
        return any("eventpoll" in link for link in links)
    return False


async def test_after_a_kill_the_next_start_goes_on(cron: Cron) -> None:
    """The lock of the dead is none; nothing is fetched twice that was recorded."""
    cron.write([f"/slow/{n}" for n in range(12)])
    first = await cron.begin()
    await until(lambda: len(cron.site.asked) > 6)
    first.kill()
    await first.communicate()
    assert (cron.out / "lock").read_bytes()
    second = await cron.run()
    assert (second.code, second.said) == (0, "")
    assert len(cron.runs()) == 1
    assert cron.records() == {"fetched": 12}


async def test_a_deadline_lets_what_is_under_way_end(cron: Cron) -> None:
    """Exit code 3 and no word; each start has its time, and the last one finishes."""
    cron.write([f"/slow/{n}" for n in range(14)], 'max_time = "700ms"\non_success = "touch done"')
    done = [await cron.run()]
    assert (done[0].code, done[0].said) == (3, "")
    summary = cron.summary()
    assert (summary["state"], summary["stopped_by"]) == ("stopped", "max_time 700ms")
    assert not summary["failed_because"]
    assert not (cron.folder / "done").exists()
    while done[-1].code == 3:
        assert len(done) < 10
        done.append(await cron.run())
    assert len(cron.runs()) == 1
    assert (cron.folder / "done").exists(), "in the folder of the job file"
    assert cron.records() == {"fetched": 14}
    assert len(cron.site.asked) == 14  # nothing was cut


async def test_a_full_disk_is_told_and_the_next_start_goes_on(cron: Cron) -> None:
    """With exit code 4 and a screen; with room again the same run ends well."""
    with tmpfs(cron.folder / "disk", "8m") as disk:
        cron.write([f"/{n}" + "x" * 4000 for n in range(40)], f'on_failure = "env > {cron.folder}/told"')
        options = ("--set", f"output.dir={disk.path}/out")
        first = await cron.run(*options)
        assert first.code == 4
        assert "there is no room" in first.said
        assert len(first.said.splitlines()) <= 24
        assert "CRAWLER_EXIT=4\n" in (cron.folder / "told").read_text()
        disk.resize("128m")
        cron.out = disk.path / "out" / "j"
        assert (await cron.run(*options)).code == 0
        assert len(cron.runs()) == 1
        assert cron.records() == {"fetched": 40}


async def test_a_lock_that_is_deleted_under_a_run_lets_nobody_in(cron: Cron) -> None:
    """The next start is told as before, and the owner's name is back within seconds."""
    cron.write([f"/slow/{n}" for n in range(20)])
    first = await cron.begin()
    await until(lambda: len(cron.site.asked) > 2)
    (cron.out / "lock").unlink()
    second = await cron.run("--if-running", "fail")
    assert second.code == 75
    await until(lambda: f'"pid":{first.pid}' in (cron.out / "lock").read_text())
    assert (await cron.end(first)).code == 0
    assert cron.records() == {"fetched": 20}


async def test_a_folder_that_is_moved_away_ends_the_run(cron: Cron) -> None:
    """It is told, nothing is written into another's folder, and the next start begins anew."""
    cron.write(["/hang", "/1"])
    first = await cron.begin()
    await until(lambda: len(cron.site.asked) == 2)
    cron.out.rename(cron.folder / "moved")
    done = await cron.end(first)
    assert done.code == 4
    assert "was moved or deleted" in done.said
    assert not cron.out.exists()


async def test_a_failure_is_one_screen(cron: Cron) -> None:
    """What failed, why, where, and what to do next; a success says nothing."""
    cron.write(["/1", *(f"/404/{n}" for n in range(30))], "max_failed = { total = 30, status-404 = 3 }")
    done = await cron.run()
    assert (done.code, done.out) == (1, "")
    lines = done.said.splitlines()
    assert len(lines) <= 24
    assert "30 failed with status-404, run.max_failed allows 3" in done.said
    assert "/404/" in done.said
    command = lines[-1].strip().removeprefix("crawler ")
    words = [*PROGRAM, *command.split(), "-q"]
    pipe = asyncio.subprocess.PIPE
    again = await cron.end(
        await asyncio.create_subprocess_exec(*words, cwd="/", stdout=pipe, stderr=pipe, env=cron.environment())
    )
    assert again.code == 1  # the command that it names works from anywhere: it makes the 30 again
    assert len(cron.site.asked) == 61


async def test_signals_in_start_up_end_with_3(cron: Cron) -> None:
    """As soon as they can be caught, and later; the next start does it all."""
    cron.write(["/1"])
    for number in (signal.SIGTERM, signal.SIGINT):
        for later in (0.0, 0.05, 0.1, 0.2):
            process = await cron.begin()
            await until(partial(_catches, process.pid, signal.SIGTERM))
            await asyncio.sleep(later)
            if process.returncode is None:
                process.send_signal(number)
            done = await cron.end(process)
            assert done.code in (0, 3)
    assert (await cron.run()).code == 0
    assert cron.records() == {"fetched": 1}


def _catches(pid: int, number: signal.Signals) -> bool:
    """Has a process a handler for a signal (proc(5)), or is it over."""
    with suppress(FileNotFoundError):
        return _handles(pid, number)
    return True


def _handles(pid: int, number: signal.Signals) -> bool:
    lines = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(lines.get("SigCgt", "0"), 16) >> (number - 1) & 1)


@pytest.mark.skipif(not FAKETIME.exists(), reason="there is no libfaketime here")
@pytest.mark.parametrize("jump", ["-1d", "+1d"])
async def test_a_clock_that_jumps_between_starts_changes_nothing(cron: Cron, jump: str) -> None:
    """A stopped run goes on at once, and the one behind it sorts behind it."""
    cron.write([f"/slow/{n}" for n in range(8)], 'again = "all"')
    assert (await cron.run("--max-time", "300ms")).code == 3
    jumped = {"LD_PRELOAD": str(FAKETIME), "FAKETIME": jump, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    done = await cron.run(**jumped)
    assert (done.code, done.said) == (0, "")
    assert done.seconds < 10
    assert cron.records() == {"fetched": 8}
    assert (await cron.run()).code == 0
    assert len(cron.runs()) == 2


@pytest.mark.skipif(not FAKETIME.exists(), reason="there is no libfaketime here")
@pytest.mark.parametrize("jump", ["-1d", "+1d"])
async def test_a_clock_that_jumps_during_a_run_holds_nothing_up(cron: Cron, jump: str) -> None:
    """The clock is set in the middle of the run: max_time holds, and the next start goes on."""
    cron.write([f"/slow/{n}" for n in range(30)])
    clock = cron.folder / "clock"
    clock.write_text("+0\n")
    faked = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    began = monotonic()
    first = await cron.begin("--max-time", "2s", **faked)
    await until(lambda: len(cron.site.asked) > 4)
    clock.write_text(f"{jump}\n")
    done = await cron.end(first, began)
    assert (done.code, done.said) == (3, "")
    assert 2.0 < done.seconds < 8.0
    assert 0 < cron.records()["fetched"] < 30
    assert (await cron.run()).code == 0
    assert cron.records() == {"fetched": 30}


async def test_the_printed_line_does_under_cron_what_it_says(cron: Cron) -> None:
    """By /bin/sh with what cron gives, from a folder with blanks and a percent sign; quiet, and overlapping once."""
    folder = cron.folder / "my 100% jobs"
    folder.mkdir()
    cron.write([f"/slow/{n}" for n in range(8)])
    shutil.copy(cron.folder / "urls.txt", folder)
    text = cron.job.read_text().replace(f'dir = "{cron.folder}/out"\n', "")
    (folder / "j.toml").write_text(text)
    command = [*PROGRAM, "cron", "j.toml", "* * * * *"]
    pipe = asyncio.subprocess.PIPE
    printed = await cron.end(await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=pipe, stderr=pipe))
    [line] = printed.out.splitlines()
    said = line.removeprefix("* * * * * ").replace(r"\%", "%")  # as cron reads it

    async def start() -> Done:
        shell = ["/bin/sh", "-c", said]
        return await cron.end(
            await asyncio.create_subprocess_exec(*shell, stdout=pipe, stderr=pipe, env=cron.environment(), cwd="/")
        )

    both = await asyncio.gather(start(), start())
    assert sorted(done.code for done in both) == [0, 75]
    assert [done.said + done.out for done in both] == ["", ""]
    cron.out = folder / "output" / "j"
    assert cron.records() == {"fetched": 8}


@pytest.fixture(params=["fake", "real"])
def crontab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder with the `crontab` program to use: one that keeps a file, or the system's, whose table is put back."""
    programs = tmp_path / "programs"
    programs.mkdir()
    if request.param == "real":
        found = shutil.which("crontab")
        if found is None:
            pytest.skip("there is no crontab here")
        (programs / "crontab").symlink_to(found)
        before = subprocess.run([found, "-l"], capture_output=True, timeout=20)
        if before.returncode not in (0, 1):
            pytest.skip("crontab may not be used here")
        subprocess.run([found, "-r"], capture_output=True, timeout=20)
        yield programs
        back = [found, "-"] if before.returncode == 0 else [found, "-r"]
        subprocess.run(back, input=before.stdout, capture_output=True, timeout=20)
        return
    (programs / "crontab").write_text(
        f'#!/bin/sh\nif [ "$1" = -l ]; then\n  [ -f {tmp_path}/tab ] && exec cat {tmp_path}/tab\n'
        f'  echo "no crontab for you" >&2; exit 1\nfi\n[ "$1" = - ] && exec cat > {tmp_path}/tab\n'
    )
    (programs / "crontab").chmod(0o755)
    yield programs


def test_installing_and_removing_touch_only_our_lines(cron: Cron, crontab: Path) -> None:
    """Both twice is once; others' lines stay byte for byte."""
    cron.write(["/1"])
    path = f"{crontab}:{os.environ['PATH']}"

    def call(*words: str, given: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([*words], input=given, capture_output=True, timeout=30, env={**os.environ, "PATH": path})

    def table() -> bytes:
        return call("crontab", "-l").stdout

    job = str(cron.job)
    assert call(*PROGRAM, "cron", job, "--remove").returncode == 0
    installed = call(*PROGRAM, "cron", job, "1 2 * * *", "--install")
    assert (installed.returncode, installed.stdout) == (0, b"")
    alone = table()
    assert call(*PROGRAM, "cron", job, "--remove").returncode == 0
    assert table() == b""
    others = b'# mine \xff\nMAILTO=""\n\n0 1 * * * x\n'
    assert call("crontab", "-", given=others).returncode == 0
    for _ in range(2):
        assert call(*PROGRAM, "cron", job, "1 2 * * *", "--install").returncode == 0
        assert table() == others + alone
    assert call(*PROGRAM, "cron", job, "@daily", "--install").returncode == 0
    assert table() == others + alone.replace(b"1 2 * * *", b"@daily")
    for _ in range(2):
        assert call(*PROGRAM, "cron", job, "--remove").returncode == 0
        assert table() == others


def test_units_are_written_and_removed(cron: Cron) -> None:
    """systemd takes them; somebody else's are left alone; removed ones are gone."""
    cron.write(["/1"], 'jitter = "30s"')
    config = cron.folder / "config"
    environment = {**os.environ, "XDG_CONFIG_HOME": str(config)}
    units = config / "systemd" / "user"

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        command = [*PROGRAM, "cron", str(cron.job), *words, "--systemd"]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment)

    assert call("0 3 1 * mon", "--install").returncode == 0
    assert sorted(path.name for path in units.iterdir()) == ["crawler-j.service", "crawler-j.timer"]
    assert "RandomizedDelaySec=30" in (units / "crawler-j.timer").read_text()
    if shutil.which("systemd-analyze") is not None:
        command = ["systemd-analyze", "verify", "--user", str(units / "crawler-j.timer")]
        verified = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert "crawler-j" not in verified.stderr, verified.stderr
    assert "already" in call("0 3 1 * mon", "--install").stderr
    assert call("--remove").returncode == 0
    assert list(units.iterdir()) == []
    (units / "crawler-j.timer").write_text("[Timer]\n")
    refused = call("0 3 1 * mon", "--install")
    assert refused.returncode == 4
    assert "was not written for" in refused.stderr
    assert (units / "crawler-j.timer").read_text() == "[Timer]\n"


async def test_whoever_is_to_be_told_is_told(cron: Cron) -> None:
    """Heartbeats and the textfile at start and end; the commands by how it ended, when the lock is free again."""
    text = f"{cron.folder}/j.prom"
    free = f"flock -n {cron.out}/lock true && echo $CRAWLER_EXIT-$CRAWLER_FAILED"
    url, told = cron.site.url("/hb/secret"), f"{cron.folder}/told"
    run = f'heartbeat = "{url}"\non_success = "{free}-ok >>{told}"\non_failure = "{free}-bad >>{told}"'
    cron.write(["/1"], run, f'[metrics]\ntextfile = "{text}"\n')
    beats: list[tuple[str, bool]] = []
    plain = cron.site.answer

    def answered(asked: Asked) -> bytes | AsyncIterator[bytes]:
        if asked.path.startswith("/hb"):
            beats.append((asked.path, 'state="running"} 1' in Path(text).read_text()))
            return reply()
        return plain(asked)

    cron.site.answer = answered
    assert (await cron.run()).code == 0
    assert beats == [("/hb/secret/start", beats[0][1]), ("/hb/secret", False)]
    assert 'crawler_exit_code{job="j"} 0' in Path(text).read_text()
    cron.write(["/404"], run, f'[metrics]\ntextfile = "{text}"\n')
    failed = await cron.run()
    assert failed.code == 1
    assert [path for path, _ in beats[2:]] == ["/hb/secret/start", "/hb/secret/fail"]
    assert 'crawler_exit_code{job="j"} 1' in Path(text).read_text()
    assert "crawler_last_success_timestamp_seconds" in Path(text).read_text()
    assert (cron.folder / "told").read_text() == "0-0-ok\n1-1-bad\n"
    logs = "".join(path.read_text() for path in cron.out.rglob("*.log")) + failed.said
    assert "secret" not in logs
