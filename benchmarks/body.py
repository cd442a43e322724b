"""One body of 1 GiB: speed against curl, and memory."""

from __future__ import annotations

import random
import shutil
import statistics

from benchmarks.measure import cost
from benchmarks.site import Nginx, folder, write_job
from benchmarks.table import Line


def run(*, quick: bool, full: bool) -> list[Line]:
    """Alternating rounds of curl and crawler, both to disk."""
    size = (256 if quick else 1024) * 1024 * 1024
    with folder() as where:
        root = where / "www"
        root.mkdir()
        block = random.Random(1).randbytes(1024 * 1024)
        with open(root / "large.bin", "wb") as file:
            for number in range(size // len(block)):
                file.write(number.to_bytes(8, "big") + block[8:])
        with Nginx(root, where / "nginx") as server:
            url = f"{server.url}/large.bin"
            job = write_job(where, "large", [url], f'[limits]\nmax_body = "2GiB"\n[output]\ndir = "{where}/out"')
            ratios, peak = [], 0
            for _ in range(5 if full else 3):
                # Each result goes before the next run, so that both write into memory that was just given back.
                theirs = cost(["curl", "--silent", "--output", str(where / "curl.bin"), url])
                (where / "curl.bin").unlink()
                ours = cost([*job, "--fresh"])
                assert theirs.code == ours.code == 0
                ratios.append(theirs.wall / ours.wall)
                peak = max(peak, ours.rss)
                shutil.rmtree(where / "out")
    name = f"A body of {size >> 20} MiB to disk, whole process"
    return [
        Line(name, f"{statistics.median(ratios):.2f}x curl's speed", ">= 0.9x"),
        Line("  peak memory", f"{peak / 1e6:.0f} MB", "< 100 MB"),
    ]
