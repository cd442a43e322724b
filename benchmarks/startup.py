"""How long a person waits: --help, and check of every example job."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from benchmarks.measure import cost
from benchmarks.table import Line


def run(*, quick: bool, full: bool) -> list[Line]:
    """Medians of seven."""
    command = [sys.executable, "-m", "crawler"]
    helps = [cost([*command, "--help"]).wall for _ in range(8)][1:]
    jobs = sorted(Path("jobs").glob("*.toml"))
    codes = [cost([*command, "check", str(job)]).code for job in jobs]
    return [
        Line("crawler --help", f"{statistics.median(helps) * 1000:.0f} ms", "< 200 ms"),
        Line("crawler check of each job in jobs/", f"{codes.count(0)} of {len(codes)} exit 0", "all"),
    ]
