"""T1: SIGKILL at a moment, at the Nth call of a kind, and again while the run before is being repaired.

Each point is a job killed once or more and then run to its end; everything about it follows from one seed. After each
kill what is vouched for must be right; in the end everything must be, once; and nothing that was reported is asked
for again, nor what was answered more than a second before the kill.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from time import monotonic
from typing import NamedTuple

from tests.chaos import oracle
from tests.chaos.jobs import Build, Sinks, Work, write_job
from tests.chaos.shots import LONGEST, Counts, Shot, by_call, by_time, counted, finish, fire, verified
from tests.chaos.site import KINDS, Hit, Site

_SHARES = (("time", 0.4), ("syscall", 0.5), ("recovery", 0.1))
_STARTING = 0.2  # seconds that no process is at work after its start
_TRIES = 6  # a shot may come when the run is over


class Point(NamedTuple):
    """One experiment; of kind "time", "syscall", "recovery", or "commit": on a slow disk, so that commits are hit, and
    again when that was repaired.
    """

    number: int
    seed: int
    kind: str


class Verdict(NamedTuple):
    """What came of it: faults, the shots that hit, URLs asked for again and the greatest age of their answers."""

    point: Point
    faults: list[str]
    shots: list[Shot]
    again: int
    age: float


class Range(NamedTuple):
    """Where it takes place: what is tested, on which site, in which folder, with which outputs in turn, and how many
    pages of each kind.
    """

    build: Build
    site: Site
    folder: Path
    variants: Sequence[Sinks]
    kinds: Mapping[str, int]
    whole: Counts  # calls of a run from start to end
    repair: Counts  # calls of a run that takes up what a kill left


def points(count: int, seed: int, kind: str | None = None) -> list[Point]:
    """So many of each kind as their shares say, mixed; or all of one."""
    kinds = [each for each, share in _SHARES for _ in range(round(count * share))] if kind is None else [kind] * count
    rng = Random(seed)
    rng.shuffle(kinds)
    return [Point(number, rng.getrandbits(32), each) for number, each in enumerate(kinds)]


def prepare(
    build: Build, site: Site, folder: Path, variants: Sequence[Sinks], kinds: Mapping[str, int] = KINDS
) -> Range:
    """Count the calls of a run of the first variant, and of one that goes on after a kill."""
    field = Range(build, site, folder, variants, kinds, {}, {})
    whole = counted(build, _work(field, "whole", variants[0], Random(0)))
    work = _work(field, "repair", variants[0], Random(0))
    _fire(field, work, Shot(1.0, working=True))
    return field._replace(whole=whole, repair=counted(build, work))


def _work(field: Range, name: str, sinks: Sinks, rng: Random, *, driven: bool = False) -> Work:
    pages = field.site.pages(_space(field, name), field.kinds)
    return write_job(field.folder / name, pages, sinks, rng, driven=driven)


def _space(field: Range, name: str) -> str:
    return f"{field.folder.name}-{name}"


def _fire(field: Range, work: Work, shot: Shot) -> bool:
    space = _space(field, work.folder.name)
    before = len(field.site.hits(space))
    return fire(field.build, work, shot, lambda: len(field.site.hits(space)) > before)


def shoot(points: Sequence[Point], field: Range, at_once: int = 2) -> Iterator[Verdict]:
    """The verdicts of these points, in their order, some at a time; those not begun when nobody asks are left out."""
    threads = ThreadPoolExecutor(at_once)
    try:
        yield from threads.map(lambda point: shoot_one(point, field), points)
    finally:
        threads.shutdown(cancel_futures=True)


def shoot_one(point: Point, field: Range) -> Verdict:
    """Make one point; where the first shot came too late another is drawn."""
    rng = Random(point.seed)
    for attempt in range(_TRIES):
        driven = rng.random() < 0.5
        sinks = field.variants[0] if rng.random() < 0.5 else rng.choice(field.variants)
        work = _work(field, f"p{point.number}-{attempt}", sinks, rng, driven=driven)
        verdict = _ordeal(point, work, field, rng)
        if verdict.shots or verdict.faults or attempt == _TRIES - 1:
            if not verdict.faults:
                shutil.rmtree(work.folder)
            return verdict
        shutil.rmtree(work.folder)
    raise AssertionError


def _ordeal(point: Point, work: Work, field: Range, rng: Random) -> Verdict:
    faults: list[str] = []
    hit: list[Shot] = []
    deaths: list[tuple[float, set[str]]] = []
    left: oracle.Killed | None = None
    for shot in _shots(point.kind, field, rng):
        if not _fire(field, work, shot):
            if not hit:
                return Verdict(point, [], [], 0, 0.0)
            break  # it came to its end before the next shot
        hit.append(shot)
        died = monotonic()
        left = oracle.judge_killed(work.job_folder, work.pages, work.sinks, work.acked())
        faults += [f"after {shot}: {fault}" for fault in left.faults]
        deaths.append((died, left.reported))
        if left.finished:  # another start would begin a new run
            break
    else:
        faults += finish(field.build, work)
    finished = left is not None and left.finished
    faults += oracle.judge(work.job_folder, work.pages, work.sinks, killed=finished)
    if point.number % 4 == 0 and not finished:
        faults += verified(field.build, work)
    space = _space(field, work.folder.name)
    traced = any(shot.slow or shot.call is not None for shot in hit)
    more, again, age = asked_again(field.site.hits(space), deaths, unreported(traced))
    field.site.forget(space)
    return Verdict(point, faults + more, hit, again, age)


def _shots(kind: str, field: Range, rng: Random) -> list[Shot]:
    if kind == "time" and rng.random() < 0.7:
        return [by_time(rng, LONGEST)]
    if kind in ("time", "commit"):
        within = Shot(rng.uniform(0.6, LONGEST), working=True, slow=True)
        return [within] if kind == "time" else [within, Shot(rng.uniform(0.0, 0.2), working=True)]
    if kind == "syscall":
        return [by_call(rng, field.whole)]
    shots = [Shot(rng.uniform(0.1, 1.5), working=True)]
    for _ in range(rng.choice((1, 2))):
        shots.append(by_time(rng, 1.2) if rng.random() < 0.4 else by_call(rng, field.repair))
    return shots


def asked_again(
    hits: Sequence[Hit], deaths: Sequence[tuple[float, set[str]]], bound: float
) -> tuple[list[str], int, float]:
    """What was asked for twice with no reason; how many URLs were at all, and how old their answers were at most."""
    faults, again, age = [], 0, 0.0
    by_url: dict[str, list[tuple[int, Hit]]] = {}
    for hit in sorted(hits, key=lambda hit: hit.began):
        # What a killed process sent may be read when it is dead; no process is at work as soon as that after its start.
        life = sum(died + _STARTING < hit.began for died, _ in deaths)
        by_url.setdefault(hit.url, []).append((life, hit))
    for url, lives in by_url.items():
        if any(url in reported for _, reported in deaths[: lives[-1][0]]):
            faults.append(f"{url}: was asked for again after it was reported")
        if len({life for life, _ in lives}) < len(lives):
            faults.append(f"{url}: was asked for twice by one process")
        for life, hit in lives[:-1]:
            again += 1
            old = deaths[life][0] - hit.ended if hit.ended is not None and life < len(deaths) else 0.0
            age = max(age, old)
            if old > bound:
                faults.append(f"{url}: was answered {old:.1f} s before the kill and asked for again")
    return faults, again, age


def unreported(traced: bool) -> float:
    """What may be asked for again was answered at most so many seconds before the kill: one by the promise, and one for
    the commit itself: more where each system call is stopped, and where the machine is at work on other things.
    """
    busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    return 1.0 + busy * (2.0 if traced else 1.0)


def summary(verdicts: list[Verdict]) -> str:
    """A line for people."""
    kinds = Counter(verdict.point.kind for verdict in verdicts)
    kills = sum(len(verdict.shots) for verdict in verdicts)
    missed = sum(not verdict.shots for verdict in verdicts)
    again = sum(verdict.again for verdict in verdicts)
    ages = sorted(verdict.age for verdict in verdicts)
    faulty = sum(bool(verdict.faults) for verdict in verdicts)
    said = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return (
        f"{len(verdicts)} points ({said}), {kills} kills, {missed} shots too late, {faulty} with faults; "
        f"{again} URLs asked for again, {again / max(kills, 1):.1f} a kill, "
        f"their answers at most {ages[-1]:.2f} s old (half of the points {ages[len(ages) // 2]:.2f} s, "
        f"95 % {ages[len(ages) * 95 // 100]:.2f} s)"
    )
