"""One body of 1 GiB: speed and processor time against curl and aria2, over one connection and over four; memory.

Everything is timed as a person waits for it: whole processes, to a file on disk. Our start-up, which curl has not, is
told beside it: what a run of one small body takes.
"""

from __future__ import annotations

import random
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import Cost, cost
from benchmarks.site import Nginx, folder, write_job
from benchmarks.table import Line

WAYS = 4
_LIMITS = f'max_body = "2GiB"\nworkers = 8\nper_host = {WAYS}'


def run(*, quick: bool, full: bool) -> list[Line]:
    """Interleaved rounds; medians of the ratios within each round."""
    size = (256 if quick else 1024) * 1024 * 1024
    with folder() as where:
        root = where / "www"
        root.mkdir()
        block = random.Random(1).randbytes(1024 * 1024)
        with open(root / "large.bin", "wb") as file:
            for number in range(size // len(block)):
                file.write(number.to_bytes(8, "big") + block[8:])
        (root / "small.bin").write_bytes(block[:1000])
        with Nginx(root, where / "nginx") as server:
            spent = _rounds(where, server.url, 7 if full else 5)
    return _lines(spent, size)


def _rounds(where: Path, url: str, rounds: int) -> dict[str, list[Cost]]:
    """What each program took in each round."""
    large, theirs, ours = f"{url}/large.bin", where / "theirs", where / "out"
    job = write_job(where, "large", [large], f'[limits]\n{_LIMITS}\n[output]\ndir = "{ours}"')
    small = write_job(where, "small", [f"{url}/small.bin"], f'[limits]\n{_LIMITS}\n[output]\ndir = "{ours}"')
    commands = {
        "curl": ["curl", "--silent", "--create-dirs", "--output", str(theirs / "curl.bin"), large],
        "ours": [*job, "--fresh"],
        "ours, 4": [*job, "--fresh", "--set", f"limits.segments_per_file={WAYS}"],
        "start-up": [*small, "--fresh"],
    }
    if (aria := shutil.which("aria2c")) is not None:
        # Its default would write all zeros first.
        plain = [aria, "--no-conf", "--quiet", "--file-allocation=none", f"--dir={theirs}", large]
        commands |= {"aria2": [*plain, "-x1", "-s1"], "aria2, 4": [*plain, f"-x{WAYS}", f"-s{WAYS}"]}
    spent: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            spent[name].append(_one(command, (theirs, ours)))
    return spent


def _one(command: Sequence[str], results: Sequence[Path]) -> Cost:
    """Each result goes before the next is made, so that all write into memory that was just given back."""
    spent = cost(command)
    assert spent.code == 0, f"{command} failed"
    for folder_ in results:
        shutil.rmtree(folder_, ignore_errors=True)
    return spent


def _lines(spent: dict[str, list[Cost]], size: int) -> list[Line]:
    start = statistics.median(item.wall for item in spent["start-up"])
    peak = max(item.rss for item in (*spent["ours"], *spent["ours, 4"]))
    lines = [
        Line(f"A body of {size >> 20} MiB to disk, whole process", _speed(spent, "ours", "curl"), ">= 0.95x"),
        Line(f"  without our start-up ({start * 1000:.0f} ms)", _speed(spent, "ours", "curl", start), ""),
        _beside(spent, "  against aria2c -x1", "ours", "aria2", ""),
        Line("  over 4 connections, against ours over one", _speed(spent, "ours, 4", "ours"), ""),
        _beside(spent, "  over 4, against aria2c -x4 -s4", "ours, 4", "aria2, 4", ">= 1x"),
    ]
    if "aria2, 4" in spent:
        lines.append(Line("    without our start-up", _speed(spent, "ours, 4", "aria2, 4", start), ""))
    return [*lines, Line("  peak memory", f"{peak / 1e6:.0f} MB", "< 100 MB")]


def _beside(spent: dict[str, list[Cost]], what: str, ours: str, theirs: str, asked: str) -> Line:
    measured = _speed(spent, ours, theirs) if theirs in spent else "aria2c is not installed (apt: aria2)"
    return Line(what, measured, asked)


def _speed(spent: dict[str, list[Cost]], ours: str, theirs: str, start: float = 0.0) -> str:
    """Our speed by theirs, and our processor time by theirs."""
    pairs = list(zip(spent[ours], spent[theirs], strict=True))
    wall = statistics.median(other.wall / (one.wall - start) for one, other in pairs)
    cpu = statistics.median(one.cpu / other.cpu for one, other in pairs)
    return f"{wall:.2f}x the speed, {cpu:.2f}x the CPU"
