"""10,000,000 lines over 100,000 hosts: first request, memory, restart after SIGKILL, and what a request costs.

Each host is an address of 127/8, each answer closes its connection, so that requests over 100 and over 100,000 hosts
cost the wire the same. Three starts of one run: (1) at full speed, killed while the list is still being read; (2) with
few requests a second, so that the reading gets all of the processor, until it is done or its time is up; killed;
(3) at full speed with everything known: here the cost is taken. Everything is bounded in time; what was cut is said.
"""

from __future__ import annotations

import random
import signal
import statistics
import sys
import time
from array import array
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import orjson

from benchmarks.measure import AccessLog, Watched, cost
from benchmarks.site import Nginx, folder
from benchmarks.table import Line
from crawler.errors import StorageError
from crawler.jobfile import load
from crawler.status import status_of

PAGES = 100  # lines of each host
WORKERS = 64
SMALL = 10_000  # lines of the list that is compared with
_SERVER = "keepalive_timeout 0; location / { try_files /one.html =404; }"


class Plan(NamedTuple):
    """How large, and seconds for each part."""

    hosts: int
    beside: float  # reading and fetching at full speed, before the first kill
    reading: float  # at most, until everything is known
    window: float  # over which the cost is taken
    rounds: int  # of the small list


class Steady(NamedTuple):
    """Requests in a steady window: processor seconds of each, those a bare loop needs, how many a second."""

    cpu: float
    bare: float
    rate: float

    @property
    def own(self) -> float:
        """What is not the wire's: take, settle, records, commits."""
        return self.cpu - self.bare


class Bench:
    """One list on disk, its job, and the server it leads to."""

    def __init__(self, where: Path, server: Nginx, name: str) -> None:
        self.server = server
        self.list = where / f"{name}.txt"
        self._job = where / f"{name}.toml"
        self._state = where / "out" / name / "state.db"
        self._job.write_text(
            f'name = "{name}"\n[input]\nfiles = ["{name}.txt"]\n'
            f"[limits]\nworkers = {WORKERS}\nper_host = {WORKERS}\n"
            f'[output]\ndir = "{where}/out"\nbodies = "none"\n'
        )
        self._loaded = load(self._job, inputs=False)
        self.said = where / f"{name}.said"  # what the crawler says

    def start(self, *sets: str) -> Watched:
        """The crawler at this job, begun or taken up again."""
        extra = [word for each in sets for word in ("--set", each)]
        command = [sys.executable, "-m", "crawler", "run", str(self._job), "--quiet", *extra]
        return Watched(command, log=str(self.said))

    def known(self) -> int:
        """Lines that the checkpoint knows."""
        try:
            said = status_of(self._loaded.job, as_json=True)
        except StorageError:  # its tables are not made yet
            return 0
        return int(orjson.loads(said).get("known", 0)) if said.startswith("{") else 0

    def size(self) -> int:
        """Bytes of the checkpoint with its log."""
        return sum(path.stat().st_size for path in self._state.parent.glob("state.db*"))


def run(*, quick: bool, full: bool) -> list[Line]:
    """Sorted; with `full` also shuffled, and with an hour to read each. Quick: 1,000,000 lines over 10,000 hosts."""
    plan = Plan(10_000, 6, 25, 6, 2) if quick else Plan(100_000, 30, 3600 if full else 240, 15, 3)
    with folder() as where:
        root = where / "www"
        root.mkdir()
        (root / "one.html").write_bytes(b"x" * 1024)
        with Nginx(root, where / "nginx", address="0.0.0.0", log=True, extra=_SERVER) as server:
            small = _small(Bench(where, server, "small"), plan.rounds)
            lines = []
            for shuffled in (False, True) if full else (False,):
                bench = Bench(where, server, "shuffled" if shuffled else "sorted")
                write_list(bench.list, plan.hosts, server.port, shuffled=shuffled)
                lines += _huge(bench, plan, small)
    return lines


def write_list(path: Path, hosts: int, port: int, *, shuffled: bool) -> None:
    """PAGES lines for each host; one host after the other in the order of their names, or all of them shuffled."""
    numbers = range(hosts)
    names = sorted(f"http://127.{1 + n // 62500}.{n // 250 % 250 + 1}.{n % 250 + 1}:{port}/p/" for n in numbers)
    with open(path, "w", buffering=1 << 20) as file:
        if not shuffled:
            tails = [f"{page}.html\n" for page in range(PAGES)]
            file.writelines(name + name.join(tails) for name in names)
            return
        order = array("L", range(hosts * PAGES))
        random.Random(1).shuffle(order)
        file.writelines(f"{names[n // PAGES]}{n % PAGES}.html\n" for n in order)


def _huge(bench: Bench, plan: Plan, small: Steady) -> list[Line]:
    count = plan.hosts * PAGES
    head = f"{count:,} lines, {plan.hosts:,} hosts, {bench.list.stem}"
    first, beside, peaks = _beside(bench, plan)
    middle, reading, peak = _read_on(bench, plan, count)
    peaks.append(peak)
    again, work, peak = _at_work(bench, plan)
    peaks.append(peak)
    known = bench.known()
    part = "all known" if known >= count else f"CUT: {known / count:.0%} known"
    return [
        Line(f"{head}: first request", _seconds(first), "< 2 s"),
        Line("  reading while fetching at full speed", beside, "beside it"),
        Line("  killed while reading; first request again", _seconds(middle), "< 5 s"),
        Line("  reading on with few requests", reading, "beside it"),
        Line(f"  killed, {part}; first request again", _seconds(again), "< 5 s"),
        Line("  peak memory of the three starts", ", ".join(f"{peak / 1e6:.0f} MB" for peak in peaks), "<= 400 MB"),
        *_costs(work, small, part),
        Line("  state.db at the end", f"{bench.size() / 1e6:.0f} MB, {bench.size() / (known or 1):.0f} B a line", ""),
    ]


def _costs(work: Steady | None, small: Steady, part: str) -> Iterator[Line]:
    asked = "<= 1.3x"
    if work is None:
        yield Line("  CPU per request against 10,000 lines", "no steady window", asked)
        return
    yield Line(f"  CPU per request against {SMALL:,} lines ({part})", _against(work.cpu, small.cpu), asked)
    yield Line("    less that of a bare loop over such a list", _against(work.own, small.own), asked)
    said = f"{work.rate / small.rate:.2f}x, {work.rate:,.0f} against {small.rate:,.0f}"
    yield Line("  requests/s", said, "beside it")


def _against(ours: float, theirs: float) -> str:
    return f"{ours / theirs:.2f}x, {ours * 1e6:.0f} against {theirs * 1e6:.0f} us"


def _beside(bench: Bench, plan: Plan) -> tuple[float | None, str, list[int]]:
    """Start anew at full speed, kill: seconds to the first request, how far it came, peak memory."""
    log = AccessLog(bench.server.log)
    process = bench.start()
    first = log.first(process, 60)
    time.sleep(plan.beside)
    spent = time.time() - process.began
    known, fetched = bench.known(), log.count()
    process.end()
    said = f"{known / spent:,.0f} lines/s beside {fetched / spent:,.0f} requests/s, {known:,} in {spent:.0f} s"
    return first, said, [process.peak]


def _read_on(bench: Bench, plan: Plan, count: int) -> tuple[float | None, str, int]:
    """Take up again with few requests until all is known or time is up, kill: the same three."""
    time.sleep(1)  # what was on its way at the kill is logged by now
    log, before = AccessLog(bench.server.log), bench.known()
    process = bench.start("limits.rate=50/s")
    first = log.first(process, 60)
    known = bench.known()
    while known < count and process.alive() and time.time() < process.began + plan.reading:
        time.sleep(0.5)
        known = bench.known()
    spent = time.time() - process.began
    process.end()
    cut = "" if known >= count else f", CUT at {known:,}"
    return first, f"{(known - before) / spent:,.0f} lines/s for {spent:.0f} s{cut}", process.peak


def _at_work(bench: Bench, plan: Plan) -> tuple[float | None, Steady | None, int]:
    """Take up again at full speed, stop in good order: the first request, a steady window, peak memory."""
    time.sleep(1)
    log = AccessLog(bench.server.log)
    process = bench.start()
    first = log.first(process, 60)
    steady = None
    if first is not None:
        time.sleep(plan.window / 4)
        began, seen, spent = time.time(), log.count(), process.cpu()
        time.sleep(plan.window)
        if process.alive() and (seen := log.count() - seen):
            steady = Steady((process.cpu() - spent) / seen, 0.0, seen / (time.time() - began))
    process.end(signal.SIGTERM, 40)
    if steady is not None:
        with open(bench.list) as file:  # as many hosts as requests, as in the window
            steady = steady._replace(bare=_bare(bench, islice(file, 0, SMALL * PAGES, PAGES), plan.rounds))
    return first, steady, process.peak


def _small(bench: Bench, rounds: int) -> Steady:
    """The same over SMALL lines."""
    write_list(bench.list, SMALL // PAGES, bench.server.port, shuffled=False)
    middles = [_middle(bench) for _ in range(rounds)]
    with open(bench.list) as file:
        bare = _bare(bench, file, rounds)
    return Steady(*(statistics.median(values) for values in zip(*middles, strict=True)))._replace(bare=bare)


def _middle(bench: Bench) -> Steady:
    """A run of the small list between its second and its last tenth, when reading is over."""
    log = AccessLog(bench.server.log)
    process = bench.start()
    marks: list[tuple[float, int, float]] = []
    for tenths in (2, 9):
        while log.count() < SMALL * tenths // 10:
            if not process.alive():
                raise RuntimeError(f"the crawler ended early: {bench.said.read_text()[-2000:]}")
            time.sleep(0.01)
        marks.append((time.time(), log.count(), process.cpu()))
    process.wait(40)
    (began, seen, spent), (ended, last, total) = marks
    return Steady((total - spent) / (last - seen), 0.0, (last - seen) / (ended - began))


def _bare(bench: Bench, lines: Iterable[str], rounds: int) -> float:
    """Processor seconds that a bare loop needs for each of SMALL lines, its start taken off."""
    path = bench.list.with_suffix(".bare")
    spent = []
    texts = list(lines)
    for part in [texts[:1], texts] * rounds:
        path.write_text("".join(part))
        spent.append(cost([sys.executable, "-m", "benchmarks.bare_loop", str(path), str(WORKERS)]).cpu)
    return statistics.median(whole - start for start, whole in zip(spent[::2], spent[1::2], strict=True)) / len(texts)


def _seconds(value: float | None) -> str:
    return "none in 60 s" if value is None else f"after {value:.2f} s"
