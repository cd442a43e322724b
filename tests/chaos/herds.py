"""The other side of herd.py: a process that runs jobs, one at a time, traced where that is asked for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic, sleep

from tests.chaos.jobs import Build, Work

_PROGRAM = Path(__file__).with_name("herd.py")


class Herd:
    """A process in which a build is loaded; `with Herd(build) as herd`."""

    def __init__(self, build: Build) -> None:
        env = {**os.environ, "PYTHONPATH": str(build.folder)}
        command = [sys.executable, str(_PROGRAM)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, text=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders, self._answers = self._process.stdin, self._process.stdout

    def __enter__(self) -> Herd:
        return self

    def __exit__(self, *_: object) -> None:
        self._orders.close()
        self._process.wait(70)
        self._answers.close()

    def run(self, work: Work, said: Path, file: Path | None = None, tracer: Sequence[str] = ()) -> int:
        """Run a job to its end, as its work says or by another job file; returns its exit code."""
        words = ["run", str(file or work.file), "--quiet"]
        if work.driven:
            words = ["driver", str(file or work.file), str(work.acknowledged)]
        print(json.dumps([words, str(work.folder), str(said), bool(tracer)]), file=self._orders, flush=True)
        child = int(self._answers.readline())
        trace = _attach(child, tracer) if tracer else None
        code = int(self._answers.readline())
        if trace is not None:
            trace.wait(30)
        return code


def _attach(child: int, tracer: Sequence[str]) -> subprocess.Popen[bytes]:
    """Let strace take hold of a process that waits for it, and the process go on."""
    status, patience = Path(f"/proc/{child}/status"), monotonic() + 20
    while "\nState:\tT" not in status.read_text() and monotonic() < patience:
        sleep(0.002)
    trace = subprocess.Popen([*tracer, "-p", str(child)], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while "\nTracerPid:\t0\n" in status.read_text() and monotonic() < patience:
        sleep(0.002)
    os.kill(child, signal.SIGCONT)
    return trace
