"""Running a command to its end and reading what it cost."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Sequence
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
