"""A whole documentation site, from its first page on: pages per second of processor time beside Scrapy and wget.

All are whole processes on one core, start-up included, without politeness limits. Ours keeps records and checkpoint,
beside wget the bodies too, as that does; Scrapy writes an item a page. nginx is on the other core. The site is
python3-doc.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import Cost, cost
from benchmarks.site import Nginx, folder
from benchmarks.table import Line

SITE = Path("/usr/share/doc/python3-doc/html")
_WORKERS = 16
_PAGES = "*.html"


def run(*, quick: bool, full: bool) -> list[Line]:
    """Interleaved rounds; medians."""
    if not SITE.is_dir():
        return [Line("a crawl of python3-doc", "not measured: the package is not installed", "")]
    pages = len(list(SITE.rglob(_PAGES)))
    with folder() as where, Nginx(SITE, where / "nginx") as server:
        spent, reached = _rounds(where, f"{server.url}/index.html", 1 if quick else 5 if full else 3)
    return _lines(spent, reached, pages)


def _rounds(where: Path, seed: str, rounds: int) -> tuple[dict[str, list[Cost]], dict[str, int]]:
    job, theirs, items = where / "crawl.toml", where / "theirs", where / "items.jsonl"
    job.write_text(
        f'name = "crawl"\n[input]\nurls = ["{seed}"]\n[crawl]\n'
        f'[limits]\nworkers = {_WORKERS}\nper_host = {_WORKERS}\nrobots = "ignore"\n'
        f'[output]\ndir = "{where}/out"\n'
    )
    ours = [sys.executable, "-m", "crawler", "run", str(job), "--quiet", "--fresh", "--set", "run.again=all"]
    wanted = ["--recursive", "--level=inf", "--no-verbose", f"--directory-prefix={theirs}"]
    commands = {
        "ours, files": [*ours, "--set", "output.layout=mirror"],
        "ours": [*ours, "--set", "output.bodies=none"],
        "scrapy": [sys.executable, "-m", "benchmarks.linkspider", seed, str(_WORKERS), str(items)],
    }
    for name in ("wget", "wget2"):
        if (program := shutil.which(name)) is not None:
            robots = ["--execute=robots=off"] if name == "wget" else ["--robots=off"]
            commands[name] = [program, *wanted, *robots, seed]
    spent: dict[str, list[Cost]] = {name: [] for name in commands}
    reached: dict[str, int] = {}
    for _ in range(rounds):
        for name, command in commands.items():
            spent[name].append(cost(_pinned(command)))
            reached[name] = _reached(name, where, theirs, items)
            items.unlink(missing_ok=True)
            for place in (theirs, where / "out"):
                shutil.rmtree(place, ignore_errors=True)
    return spent, reached


def _pinned(command: Sequence[str]) -> list[str]:
    """On one core, and not the one that nginx has most of."""
    return ["taskset", "--cpu-list", str((os.cpu_count() or 1) - 1), *command]


def _reached(name: str, where: Path, theirs: Path, items: Path) -> int:
    if name.startswith("ours"):
        records = (where / "out/crawl/latest/records.jsonl").read_bytes().splitlines()
        return sum(json.loads(line)["outcome"] == "fetched" for line in records)
    if name == "scrapy":
        return len(items.read_bytes().splitlines())
    return sum(path.is_file() for path in theirs.rglob("*"))


def _lines(spent: dict[str, list[Cost]], reached: dict[str, int], pages: int) -> list[Line]:
    def rate(name: str) -> float:
        return statistics.median(reached[name] / one.cpu for one in spent[name])

    def wall(name: str) -> float:
        return statistics.median(one.wall for one in spent[name])

    lines = [
        Line(
            f"crawl of {pages} pages: {name}",
            f"{reached[name]} files, {wall(name):.2f} s, {rate(name):.0f} per CPU-s",
            "",
        )
        for name in spent
    ]
    lines.append(Line("  pages per CPU-second / Scrapy's", f"{rate('ours') / rate('scrapy'):.1f}x", ">= 15x"))
    for name, asked in (("wget", "> 1x"), ("wget2", "printed")):
        if name in spent:
            lines.append(Line(f"  files per second / {name} -r", f"{rate_by_wall(spent, reached, name):.2f}x", asked))
    return lines


def rate_by_wall(spent: dict[str, list[Cost]], reached: dict[str, int], name: str) -> float:
    """How many times as many files a second ours gets."""

    def files(program: str) -> float:
        return statistics.median(reached[program] / one.wall for one in spent[program])

    return files("ours, files") / files(name)
