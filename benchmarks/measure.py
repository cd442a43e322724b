"""Running a command to its end and reading what it cost."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Cost(NamedTuple):
    """Seconds of processor and wall, bytes of peak memory, exit code."""

    cpu: float  # user and system together
    wall: float
    rss: int
    code: int


def cost(command: Sequence[str], *, log: str = os.devnull, timeout: float = 900.0) -> Cost:
    """Run a command and wait for it; what it prints goes to `log`."""
    started = time.perf_counter()
    with open(log, "wb") as sink:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT)
        killer = threading.Timer(timeout, process.kill)
        killer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        finally:
            killer.cancel()
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    return Cost(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss * 1024, process.returncode)


class Watched:
    """A running command whose memory and processor time are looked at from outside; `began` is wall-clock seconds."""

    def __init__(self, command: Sequence[str], *, log: str = os.devnull) -> None:
        self.peak = 0  # bytes of resident memory
        with open(log, "ab") as sink:
            self.began = time.time()
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def cpu(self) -> float:
        """Seconds of user and system time so far, to 0.01 s. Raises FileNotFoundError when it is gone."""
        with open(f"/proc/{self._process.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self, number: signal.Signals = signal.SIGKILL, timeout: float = 60.0) -> int:
        """Send a signal and wait as `wait` does."""
        self._look_once()
        self._process.send_signal(number)
        return self.wait(timeout)

    def wait(self, timeout: float) -> int:
        """The exit code; killed when it has not ended after `timeout` seconds."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._watch.join()
        return code

    def _look(self) -> None:
        while self._process.returncode is None and self._look_once():
            time.sleep(0.1)

    def _look_once(self) -> bool:
        """The kernel's own high-water mark: what came and went between two looks is in it."""
        try:
            with open(f"/proc/{self._process.pid}/status") as file:
                found = [int(line.split()[1]) for line in file if line.startswith("VmHWM")]
        except (FileNotFoundError, ProcessLookupError):
            return False
        if not found:  # a zombie has no memory
            return False
        self.peak = max(self.peak, found[0] * 1024)
        return True


class AccessLog:
    """A server's log from one moment on; a line begins with wall-clock seconds and a tab."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = self._path.stat().st_size
        self._seen = 0

    def count(self) -> int:
        """Requests logged since the beginning of this object."""
        with open(self._path, "rb") as file:
            file.seek(self._at)
            while piece := file.read(1 << 20):
                self._seen += piece.count(b"\n")
                self._at += len(piece)
        return self._seen

    def first(self, process: Watched, timeout: float) -> float | None:
        """Seconds from the start of `process` to the first request logged; None when there was none in time."""
        while process.alive() and time.time() < process.began + timeout:
            with open(self._path, "rb") as file:
                file.seek(self._at)
                line = file.readline()
            if line.endswith(b"\n"):
                return float(line.split(b"\t")[0]) - process.began
            time.sleep(0.01)
        return None
