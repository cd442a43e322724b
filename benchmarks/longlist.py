"""A list of 1,000,000 lines: the first request, memory, and whether the throughput stays flat."""

from __future__ import annotations

import signal
import statistics
import time

from benchmarks.measure import Watched
from benchmarks.site import Nginx, folder, write_job
from benchmarks.table import Line


def run(*, quick: bool, full: bool) -> list[Line]:
    """`full` fetches the whole list; otherwise it is stopped after 90 s (quick: 20 s), which is said."""
    count = 1_000_000
    with folder() as where:
        root = where / "www"
        root.mkdir()
        (root / "one.html").write_bytes(b"x" * 1024)
        extra = "location / { try_files /one.html =404; }"
        with Nginx(root, where / "nginx", log=True, extra=extra) as server:
            urls = [f"{server.url}/p/{number}.html" for number in range(count)]
            settings = f'[limits]\nper_host = 64\n[output]\ndir = "{where}/out"\nbodies = "none"'
            job = write_job(where, "long", urls, settings)
            del urls
            # By /proc: what wait4 says of a child counts what its parent held when it was forked.
            watched = Watched(job)
            if full:
                watched.wait(7200)
            else:
                time.sleep(20 if quick else 90)
                watched.end(signal.SIGTERM)
            stamps = sorted(float(line[0]) for line in server.requests())
    tenth = max(1, len(stamps) // 10)
    rates = [tenth / (stamps[(n + 1) * tenth - 1] - stamps[n * tenth]) for n in range(10)]
    middle = statistics.median(rates)
    part = "all of them" if len(stamps) >= count else f"the first {len(stamps):,} of them (--full fetches all)"
    return [
        Line(f"1,000,000 lines, {part}", f"first request after {stamps[0] - watched.began:.2f} s", "< 2 s"),
        Line("  peak memory", f"{watched.peak / 1e6:.0f} MB", "< 300 MB"),
        Line("  requests/s by tenth, against their median", " ".join(f"{rate / middle:.2f}" for rate in rates), "flat"),
    ]
