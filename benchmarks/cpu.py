"""Processor time for each request: bare loop, crawler without and with body files; curl and Scrapy beside it."""

from __future__ import annotations

import importlib.util
import shutil
import statistics
import sys

from benchmarks.measure import Cost, cost
from benchmarks.site import Nginx, folder, make_pages, write_job
from benchmarks.table import Line

WORKERS = 64


def run(*, quick: bool, full: bool) -> list[Line]:
    """Interleaved rounds; medians of the ratios within each round."""
    count, rounds = (10_000, 2) if quick else (50_000, 5 if full else 3)
    with folder() as where:
        paths = make_pages(where / "www", count)
        with Nginx(where / "www", where / "nginx") as server:
            urls = [server.url + path for path in paths]
            output = f'[limits]\nworkers = {WORKERS}\nper_host = {WORKERS}\n[output]\ndir = "{where}/out"\n'
            job = write_job(where, "pages", urls, output)
            listed = str(where / "pages.txt")
            bare: list[Cost] = []
            none: list[Cost] = []
            files: list[Cost] = []
            for _ in range(rounds):
                bare.append(cost([sys.executable, "-m", "benchmarks.bare_loop", listed, str(WORKERS)]))
                none.append(cost([*job, "--set", "output.bodies=none"]))
                files.append(cost([*job, "--set", "output.bodies=files"]))
            assert all(round_.code == 0 for round_ in (*bare, *none, *files)), "a round failed"
            lines = [
                Line("CPU per request, bare aiohttp + uvloop loop", _micro(bare, count), "the yardstick"),
                Line("  crawler, bodies none", f"{_ratio(none, bare)}, {_micro(none, count)}", "<= 1.3x"),
                Line(
                    "  crawler, bodies files (all different)",
                    _ratio(files, bare) + ", " + _micro(files, count),
                    "<= 1.6x",
                ),
            ]
            return lines + _peers(where, urls, bare, count)


def _peers(where: object, urls: list[str], bare: list[Cost], count: int) -> list[Line]:
    lines = []
    base = statistics.median(round_.cpu for round_ in bare) / count
    few = urls[: max(2000, len(urls) // 10)]
    if program := shutil.which("curl"):
        config = f"{where}/curl.cfg"
        with open(config, "w") as file:
            file.writelines(f'url = "{url}"\noutput = "/dev/null"\n' for url in urls)
        spent = cost([program, "--silent", "--parallel", "--parallel-max", str(WORKERS), "--config", config])
        each = spent.cpu / len(urls)
        lines.append(Line("  curl --parallel", f"{each / base:.2f}x, {each * 1e6:.0f} us", "beside it"))
    if importlib.util.find_spec("scrapy"):
        listed = f"{where}/few.txt"
        with open(listed, "w") as file:
            file.writelines(f"{url}\n" for url in few)
        spent = cost([sys.executable, "-m", "benchmarks.spider", listed, str(WORKERS)])
        each = spent.cpu / len(few)
        lines.append(Line("  Scrapy", f"{each / base:.1f}x, {each * 1e6:.0f} us", "beside it"))
    return lines


def _micro(costs: list[Cost], count: int) -> str:
    return f"{statistics.median(item.cpu for item in costs) / count * 1e6:.0f} us"


def _ratio(ours: list[Cost], theirs: list[Cost]) -> str:
    return f"{statistics.median(a.cpu / b.cpu for a, b in zip(ours, theirs, strict=True)):.2f}x"
