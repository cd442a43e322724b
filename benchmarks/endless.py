"""A crawl of a site without end: memory, and whether links are handled as fast at the end as at the start.

The run is stopped once so many URLs were discovered: 10^6, with --full 10^7. Half of all links are new, which is worse
than any real site. Rates are those of the first and the last tenth; the time in between belongs to the disk as well.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

from benchmarks.measure import Watched
from benchmarks.site import folder
from benchmarks.table import Line

_NEW = 500  # links of a page that are new


class Seen(NamedTuple):
    """URLs discovered at a moment."""

    at: float
    known: int


def run(*, quick: bool, full: bool) -> list[Line]:
    """One run."""
    wanted = 100_000 if quick else 10_000_000 if full else 1_000_000
    with folder() as where:
        site = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.endlesssite", str(_NEW)], stdout=subprocess.PIPE, text=True
        )
        try:
            assert site.stdout is not None
            peak, seen = _crawled(where, int(site.stdout.readline()), wanted)
        finally:
            site.kill()
            site.wait()
    first, last = _rate(seen, 0.02, 0.12), _rate(seen, 0.9, 1.0)
    what = f"{wanted:,} URLs discovered"
    return [
        Line(f"{what}: peak memory", f"{peak / 1024**2:.0f} MiB", "<= 500 MB"),
        Line("  new URLs per second, first and last tenth", f"{first:,.0f} and {last:,.0f}", ""),
        Line("  last / first", f"{last / first:.2f}x", ">= 0.8x"),
    ]


def _crawled(where: Path, port: int, wanted: int) -> tuple[int, list[Seen]]:
    job = where / "endless.toml"
    job.write_text(
        f'name = "endless"\n[input]\nurls = ["http://127.0.0.1:{port}/p/0"]\n[crawl]\n'
        f'[limits]\nworkers = 8\nper_host = 8\nrobots = "ignore"\n'
        f'[output]\ndir = "{where}/out"\nbodies = "none"\n'
    )
    process = Watched([sys.executable, "-m", "crawler", "run", str(job), "--quiet"], log=str(where / "log"))
    seen: list[Seen] = [Seen(time.monotonic(), 0)]
    deadline = time.monotonic() + 3600
    while seen[-1].known < wanted and process.alive() and time.monotonic() < deadline:
        time.sleep(0.1)
        with urlopen(f"http://127.0.0.1:{port}/given", timeout=30) as answer:
            seen.append(Seen(time.monotonic(), int(answer.read())))
    process.end(signal.SIGTERM, 60.0)
    return process.peak, seen


def _rate(seen: list[Seen], start: float, end: float) -> float:
    """URLs per second between two parts of all."""
    wanted = seen[-1].known
    span = [one for one in seen if start * wanted <= one.known <= end * wanted]
    return (span[-1].known - span[0].known) / (span[-1].at - span[0].at)
