"""A real run controlled from outside: by commands, by signals, by logrotate; judged by what the server sees."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import shutil
import signal
import sys
import termios
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import orjson
import pytest

from crawler.control import NAME, NotRunning, ask, ask_async
from tests.jsonschema import against
from tests.servers import RawSite, raw_site

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SCHEMA = orjson.loads((Path(__file__).parent.parent / "docs" / "progress.schema.json").read_bytes())
SOON = 10.0


class Running:
    """A job at work in a process of its own, over many pages of a slow site."""

    def __init__(self, folder: Path, site: RawSite, process: Process) -> None:
        self.job = folder / "job.toml"
        self.folder = folder / "output" / "live"
        self.site = site
        self.process = process
        self.stderr = folder / "stderr"

    @property
    def run(self) -> Path:
        [run] = (self.folder / "runs").iterdir()
        return run

    def log(self) -> str:
        return (self.run / "run.log").read_text()

    def records(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in (self.run / "records.jsonl").read_bytes().splitlines()]

    async def until(self, what: Callable[[], bool], seconds: float = SOON) -> None:
        """Look again and again until it is so."""
        async with asyncio.timeout(seconds):
            while not what():
                assert self.process.returncode is None, self.stderr.read_text()
                await asyncio.sleep(0.02)

    async def command(self, *arguments: str) -> tuple[int, str]:
        """One of our commands, on this job: its exit code, and all it said."""
        made = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "crawler", arguments[0], str(self.job), *arguments[1:]),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=self.job.parent,
        )
        said, _ = await made.communicate()
        assert made.returncode is not None
        return made.returncode, said.decode()

    async def state(self) -> dict[str, Any]:
        return await ask_async(self.folder, {"do": "state"})

    async def ended(self) -> int:
        async with asyncio.timeout(30):
            return await self.process.wait()

    async def rate(self, seconds: float) -> float:
        """Requests a second that the site sees in the time to come."""
        before, began = len(self.site.asked), monotonic()
        await asyncio.sleep(seconds)
        return (len(self.site.asked) - before) / (monotonic() - began)


@asynccontextmanager
async def running(
    folder: Path,
    said: str = "",
    *,
    pages: int = 20_000,
    latency: float = 0.02,
    stderr: int | None = None,
    terminal: bool = False,
) -> AsyncIterator[Running]:
    """A job that has begun, killed at the end if it has not ended. `terminal`: its stderr is that of its session."""
    async with raw_site(latency=latency) as site:
        (folder / "urls.txt").write_text("".join(f"{site.url(f'/{number}')}\n" for number in range(pages)))
        job = 'name = "live"\n[input]\nfiles = ["urls.txt"]\n[request]\ncontact = "me@example.org"\n'
        (folder / "job.toml").write_text(f'{job}[output]\ndir = "output"\n{said}')
        with (folder / "stderr").open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "crawler", "run", str(folder / "job.toml")),
                stdin=asyncio.subprocess.DEVNULL,
                stderr=file if stderr is None else stderr,
                cwd=folder,
                env={**os.environ, "TERM": "xterm"},
                start_new_session=True,
                preexec_fn=(lambda: fcntl.ioctl(2, termios.TIOCSCTTY, 0)) if terminal else None,
            )
        try:
            made = Running(folder, site, process)
            await made.until(lambda: len(site.asked) > 5)
            yield made
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def test_a_pause_holds_until_it_is_resumed(tmp_path: Path) -> None:
    """While paused the server sees nothing new, what was under way is committed, and all else is as before."""
    async with running(tmp_path) as job:
        code, said = await job.command("pause")
        assert code == 0
        assert said.startswith("live is paused; ")
        await asyncio.sleep(0.3)
        asked = len(job.site.asked)
        assert await job.rate(1.0) == 0
        state = await job.state()
        assert (state["snapshot"]["paused"], state["snapshot"]["state"]) == (True, "paused")
        assert state["waits"] == "paused: waits to be resumed"
        await job.until(lambda: len(job.records()) == asked)
        code, status = await job.command("status")
        assert "live: paused" in status
        assert "waits to be resumed" in status
        assert await job.command("resume") == (0, "live goes on\n")
        await job.until(lambda: len(job.site.asked) > asked + 50)
        assert await job.command("resume") == (0, "live was not paused, and goes on\n")
        assert "paused by pid" in job.log()
        paths = job.site.paths()
        assert len(paths) == len(set(paths))


async def test_limits_can_be_set_while_it_runs(tmp_path: Path) -> None:
    """The rate that the server sees follows within two seconds: of the job, of one host, and when they are lifted."""
    async with running(tmp_path, '[limits]\nrate = "20/s"\n') as job:
        assert await job.command("set", "limits.rate=100/s") == (0, "live: limits.rate = 100/s\n")
        await asyncio.sleep(2.0)
        assert await job.rate(2.0) == pytest.approx(100, rel=0.2)
        code, said = await job.command("set", 'hosts."127.0.0.1".rate_per_host=10/s', "limits.rate=none")
        assert code == 0
        assert said == 'live: hosts."127.0.0.1".rate_per_host = 10/s, 1 host follows\nlive: limits.rate = none\n'
        await asyncio.sleep(1.0)
        assert await job.rate(2.0) == pytest.approx(10, rel=0.3)
        assert (await job.state())["hosts"][0]["rate"] == pytest.approx(10.0)
        await job.command("set", "hosts.127.0.0.1.rate_per_host=none", "limits.per_host=1")
        await asyncio.sleep(1.0)
        before = len(job.site.asked)
        assert await job.rate(1.0) == pytest.approx(45, rel=0.3)  # one after the other, 20 ms each
        assert max(asked.at_once for asked in job.site.asked[before:]) == 1
        code, said = await job.command("set", "limits.rte=5/s")
        assert (code, "did you mean limits.rate?" in said) == (2, True)
        assert "limits.rate set to 100/s (was 20/s) by pid" in job.log()


async def test_a_stop_is_as_sigterm(tmp_path: Path) -> None:
    """Exit code 3, every record committed, the socket gone; then nobody is there to be told."""
    async with running(tmp_path) as job:
        code, said = await job.command("stop")
        assert (code, said.startswith("live stops; ")) == (0, True)
        assert await job.ended() == 3
        assert len(job.records()) == len(job.site.asked)
        assert not (job.folder / NAME).exists()
        for command in ("pause", "resume", "stop"):
            assert await job.command(command) == (2, "crawler: live is not running\n")


async def test_a_paused_run_can_be_stopped_and_cut(tmp_path: Path) -> None:
    """`stop --now` does not wait for what is under way, also of a run that is paused; the next run fetches it."""
    async with running(tmp_path, latency=60.0) as job:
        await job.command("pause")
        began = monotonic()
        code, said = await job.command("stop", "--now")
        assert (code, said) == (0, "live stops; what is under way is cut\n")
        assert await job.ended() == 3
        assert monotonic() - began < 10
        assert job.records() == []


async def test_a_killed_run_leaves_no_hindrance(tmp_path: Path) -> None:
    """Its socket stays; it is told as not running, and the next run listens there again."""
    async with running(tmp_path) as job:
        job.process.kill()
        await job.process.wait()
        assert (job.folder / NAME).is_socket()
        with pytest.raises(NotRunning):
            ask(job.folder, {"do": "state"})
    async with running(tmp_path) as again:
        assert (await again.state())["ok"]


async def test_logs_are_opened_anew_by_a_hangup(tmp_path: Path) -> None:
    """After a rotation lines go to the new files, none is lost, and the run goes on; progress keeps to its schema."""
    async with running(tmp_path, latency=0.2) as job:
        await job.until(lambda: (job.run / "progress.jsonl").stat().st_size > 0)
        for name in ("run.log", "progress.jsonl"):
            (job.run / name).rename(job.run / f"{name}.1")
        job.process.send_signal(signal.SIGHUP)
        await job.until(lambda: (job.run / "run.log").exists() and "SIGHUP" in job.log())
        await job.until(lambda: (job.run / "progress.jsonl").exists())
        await job.command("stop")
        assert await job.ended() == 3
        for name in ("progress.jsonl.1", "progress.jsonl"):
            lines = (job.run / name).read_bytes().splitlines()
            assert lines
            assert [against(SCHEMA, orjson.loads(line)) for line in lines] == [[]] * len(lines)


async def test_logrotate_does_it(tmp_path: Path) -> None:
    """With the configuration of the documentation, compressed at once."""
    program = shutil.which("logrotate") or "/usr/sbin/logrotate"
    if not Path(program).exists():
        pytest.skip("logrotate is not installed")
    async with running(tmp_path, latency=0.2) as job:
        await job.until(lambda: (job.run / "progress.jsonl").stat().st_size > 0)
        (tmp_path / "rotate.conf").write_text(
            f"{job.run}/*.log {job.run}/progress.jsonl {{\n  rotate 3\n  compress\n  missingok\n  nocreate\n"
            f"  su root root\n  sharedscripts\n  postrotate\n    kill -HUP {job.process.pid}\n  endscript\n}}\n"
        )
        made = await asyncio.create_subprocess_exec(
            *(program, "--force", "--state", str(tmp_path / "state"), str(tmp_path / "rotate.conf")),
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await made.communicate()
        assert (made.returncode, said) == (0, b"")
        assert {"run.log.1.gz", "progress.jsonl.1.gz"} <= {path.name for path in job.run.iterdir()}
        await job.until(lambda: (job.run / "run.log").exists() and "SIGHUP" in job.log())
        assert (await job.state())["ok"]


async def test_a_dump_says_how_it_stands(tmp_path: Path) -> None:
    """SIGUSR1, also while paused: to run.log and to stderr, bounded; the run goes on."""
    async with running(tmp_path, '[limits]\nrate_per_host = "5/s"\n', latency=0.5) as job:
        job.process.send_signal(signal.SIGUSR1)
        await job.until(lambda: "state: under way for" in job.log())
        await job.command("pause")
        job.process.send_signal(signal.SIGUSR1)
        await job.until(lambda: "state: paused: waits to be resumed" in job.stderr.read_text())
        lines = [line for line in job.log().splitlines() if " state: " in line]
        assert len(lines) <= 120
        assert any("host 127.0.0.1 waiting=" in line and "its rate is 5/s" in line for line in lines)
        assert (await job.state())["ok"]


async def test_a_stop_of_the_process_makes_nothing_time_out(tmp_path: Path) -> None:
    """SIGSTOP for longer than every timeout, then SIGCONT: no failure, no retry, nobody blamed; the run goes on."""
    said = '[timeouts]\nconnect = "1s"\nread = "1s"\nstall = "1s"\ntotal = "2s"\n'
    async with running(tmp_path, said, latency=0.4) as job:
        job.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(4.0)
        job.process.send_signal(signal.SIGCONT)
        asked = len(job.site.asked)
        await job.until(lambda: len(job.site.asked) > asked + 50)
        snapshot = (await job.state())["snapshot"]
        assert (snapshot["failed"], snapshot["retries"]) == (0, 0)
        assert "stood still" not in job.log()


async def test_a_terminal_that_goes_away_ends_no_run(tmp_path: Path) -> None:
    """The hangup of a closed terminal, and the errors of writing to it, leave the run and its log as they were."""
    ours, theirs = pty.openpty()
    async with running(tmp_path, stderr=theirs, latency=0.05, terminal=True) as job:
        os.close(theirs)
        os.close(ours)  # now the kernel sends a hangup to the session
        await job.until(lambda: "SIGHUP" in job.log())
        asked = len(job.site.asked)
        await job.until(lambda: len(job.site.asked) > asked + 100)
        await job.command("stop")
        assert await job.ended() == 3
        assert (job.run / "summary.json").exists()


async def test_a_closed_pipe_ends_no_run(tmp_path: Path) -> None:
    """Nobody reads stderr any longer: the run goes on to its end, and its exit code is its own."""
    ours, theirs = os.pipe()
    os.close(ours)
    async with running(tmp_path, pages=300, stderr=theirs, latency=0.05) as job:
        os.close(theirs)
        job.process.send_signal(signal.SIGUSR1)
        assert await job.ended() == 0
        assert len(job.records()) == 300
