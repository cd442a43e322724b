"""How a job is killed: after some time, or by strace at the Nth call of a kind; and how it is brought to its end.

The signal comes when the call is about to be made, so N and N + 1 stand for before and after. strace counts in each
thread apart: a shot is fired by whichever thread gets there first.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from random import Random
from time import sleep
from typing import NamedTuple

from tests.chaos.jobs import Build, Work

CALLS = ["write", "pwrite64", "fsync", "fdatasync", "syncfs", "ftruncate"]
CALLS += ["rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat"]
_SYNCS = "fdatasync,syncfs"
_SLOW = 80_000  # microseconds that these take more on a slow disk
LONGEST = 3.0  # seconds; about what a run takes
_GIVE_UP = 90.0

Counts = Mapping[str, list[int]]  # by call, how often each thread of a run makes it


class Shot(NamedTuple):
    """When to kill: so many seconds after the start, or `working`: after its first request; or at the Nth call of a
    kind that any one thread makes. `slow`: the disk is, so that a kill is likely to come within a commit.
    """

    seconds: float = 0.0
    call: str | None = None
    nth: int = 0
    working: bool = False
    slow: bool = False

    def __str__(self) -> str:
        if self.call is not None:
            return f"{self.call} {self.nth}"
        said = f"{self.seconds * 1000:.0f} ms"
        return said + (" at work" if self.working else "") + (", slow disk" if self.slow else "")


def by_time(rng: Random, longest: float) -> Shot:
    """Log-uniform from a millisecond on, so that start-up and end are hit as well."""
    return Shot(math.exp(rng.uniform(math.log(0.001), math.log(longest))))


def by_call(rng: Random, counts: Counts) -> Shot:
    """One of the calls that were counted. Not each event alike, else all would be writes; nor each call, else many
    shots would be the same.
    """
    calls = sorted(counts)
    call = rng.choices(calls, [math.sqrt(sum(counts[call])) for call in calls])[0]
    return Shot(call=call, nth=rng.randint(1, rng.choices(counts[call], counts[call])[0]))


def fire(build: Build, work: Work, shot: Shot, at_work: Callable[[], bool]) -> bool:
    """Start the job and kill it at that moment; False when it was over before. Raises TimeoutExpired.

    `at_work` tells whether the site was asked for anything since.
    """
    if shot.call is None:
        return _fire_in_time(build, work, shot, at_work)
    inject = f"inject={shot.call}:signal=SIGKILL:when={shot.nth}"
    # Without `trace`, or with --seccomp-bpf, strace 6.1 injects nothing.
    wrap = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={shot.call}", "-e", inject]
    return _waited(build.start(work.command, work.folder, wrap)) == -signal.SIGKILL


def _fire_in_time(build: Build, work: Work, shot: Shot, at_work: Callable[[], bool]) -> bool:
    slow = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={_SYNCS}"]
    slow += ["-e", f"inject={_SYNCS}:delay_enter={_SLOW}"]
    process = build.start(work.command, work.folder, slow if shot.slow else ())
    with suppress(subprocess.TimeoutExpired):
        while shot.working and process.poll() is None and not at_work():
            sleep(0.005)
        process.wait(shot.seconds)
        return False
    _kill(process, traced=shot.slow)
    return process.wait() == -signal.SIGKILL


def _kill(process: subprocess.Popen[bytes], *, traced: bool) -> None:
    """Kill it, not its tracer, which ends as it does."""
    if not traced:
        process.kill()
        return
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    with suppress(ProcessLookupError):
        for child in children:
            os.kill(int(child), signal.SIGKILL)


def finish(build: Build, work: Work) -> list[str]:
    """Run the job to its end; faults where it does not come there: the missing pages make its exit code 1."""
    try:
        code: int | str = _waited(build.start(work.command, work.folder))
    except subprocess.TimeoutExpired:
        code = "still at work"
    if code == 1:
        return []
    said = (work.folder / "said").read_text(errors="replace").strip()[-500:]
    return [f"the run that was to end it: exit {code}: {said}"]


def verified(build: Build, work: Work) -> list[str]:
    """What `crawler verify` finds wrong."""
    code = _waited(build.start(["-m", "crawler", "verify", work.file], work.folder))
    said = (work.folder / "said").read_text(errors="replace").strip()[-500:]
    return [] if code == 0 else [f"verify: exit {code}: {said}"]


def counted(build: Build, work: Work) -> Counts:
    """Run it to its end and count its calls, in each thread apart."""
    traces = work.folder / "traces"
    traces.mkdir()
    wrap = ["strace", "-ff", "-qq", "-o", str(traces / "t"), "-e", f"trace={','.join(CALLS)}"]
    code = _waited(build.start(work.command, work.folder, wrap))
    assert code == 1, (work.folder / "said").read_text(errors="replace")
    counts: dict[str, list[int]] = {}
    for trace in traces.iterdir():
        called = Counter(re.findall(r"^(\w+)\(", trace.read_text(errors="replace"), re.M))
        for call, count in called.items():
            counts.setdefault(call, []).append(count)
    shutil.rmtree(traces)
    return counts


def _waited(process: subprocess.Popen[bytes]) -> int:
    """Its exit code; one that hangs is killed. Raises TimeoutExpired."""
    try:
        return process.wait(_GIVE_UP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
