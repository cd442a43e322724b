"""T2: power cuts. A job writes to a file system of its own; at random moments the disk is copied as it is.

What the copy holds is what a power cut would leave: everything that was given out before must be in it, right in each
output, whatever became of what was on its way (see tails.py); and a run that goes on there must bring all, once.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from random import Random
from time import sleep
from typing import NamedTuple

from tests.chaos import oracle, tails, volumes
from tests.chaos.herds import Herd
from tests.chaos.jobs import Build, Sinks, Work, write_job
from tests.chaos.shots import finish
from tests.chaos.site import Site

KINDS = {"s": 60, "d": 8, "r": 5, "m": 5, "z": 5, "e": 2, "l": 3, "x": 2, "h": 1}
TAILS = 3  # states of each snapshot beside that of the disk itself
_SYNCS = "fsync,fdatasync,syncfs"
# A disk so slow that most moments lie within a commit.
_SLOW = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={_SYNCS}", "-e", f"inject={_SYNCS}:delay_enter=20000")
_RATE = "30/s"  # so slow that it commits several times
_GAP = 1.0  # seconds between two cuts, at most: some come when the run is over


class Cut(NamedTuple):
    """A moment at which power fails: the disk, the tree as the process saw it, and what was given out."""

    image: Path
    live: Path
    acknowledged: set[str]


class Verdict(NamedTuple):
    """What came of one cut: how many records were given out, how many of them were lost, how many the checkpoint
    vouched for, how many blocks were on their way in its worst state; faults; and whether the run was over.
    """

    seed: int
    faults: list[str]
    given: int
    lost: int
    reported: int
    blocks: int
    states: int
    finished: bool


class Field(NamedTuple):
    """Where it takes place; `sync` as the job says it."""

    build: Build
    site: Site
    folder: Path
    variants: Sequence[Sinks]
    kind: str = "ext4"
    sync: str = "commit"
    tails: int = TAILS


def cuts(count: int, seed: int, field: Field, each: int = 5, at_once: int = 3) -> Iterator[Verdict]:
    """The verdicts of at least so many cuts, `each` in one run; some runs at a time."""
    rng = Random(seed)
    threads = ThreadPoolExecutor(at_once)
    made = 0
    try:
        while made < count:  # a run may be over before its last cut
            seeds = [rng.getrandbits(32) for _ in range(-(-(count - made) // each))]
            for verdicts in threads.map(lambda seed: ordeal(seed, field, each), seeds):
                yield from verdicts
                made += len(verdicts)
    finally:
        threads.shutdown(cancel_futures=True)


def ordeal(seed: int, field: Field, each: int) -> list[Verdict]:
    """One run and its cuts."""
    rng = Random(seed)
    folder, space = field.folder / f"{field.kind}-{seed}", f"{field.kind}-{field.sync}-{seed}"
    folder.mkdir()
    sinks = field.variants[0] if rng.random() < 0.5 else rng.choice(field.variants)
    pages = field.site.pages(space, KINDS)
    work = write_job(folder / "work", pages, sinks, rng, driven=True, out=folder / "disk")
    hurried = _retimed(work, field.sync)
    found = _taken(work, field, folder, rng, each)
    with Herd(field.build) as herd:
        verdicts = [_judged(seed, cut, work, hurried, field, herd, rng) for cut in found]
    field.site.forget(space)
    if not any(verdict.faults for verdict in verdicts):
        shutil.rmtree(folder)
    return verdicts


def _retimed(work: Work, sync: str) -> Path:
    """Give the job its way to sync; returns another job file for the same run, which makes no pause."""
    job = json.loads(work.file.read_text())
    job["output"]["sync"] = sync
    job["output"] |= {"min_free": "0B", "min_free_percent": 0}  # the disk is small
    job["limits"]["rate"] = _RATE
    work.file.write_text(json.dumps(job))
    del job["limits"]["rate"]
    hurried = work.file.with_name("hurried.json")
    hurried.write_text(json.dumps(job))
    return hurried


def _taken(work: Work, field: Field, folder: Path, rng: Random, each: int) -> list[Cut]:
    """Run the job on a new file system and copy the disk now and then."""
    image, found = folder / "image", list[Cut]()
    volumes.make(field.kind, image)
    slow = rng.random() < 0.5
    with volumes.mounted(field.kind, image, folder / "disk") as disk:
        process = field.build.start(work.command, work.folder, _SLOW if slow else ())
        try:
            while not (work.job_folder / "state.db").exists() and process.poll() is None:
                sleep(0.01)
            while len(found) < each and process.poll() is None:
                sleep(rng.uniform(0.0, _GAP))
                with suppress(ProcessLookupError), volumes.frozen(process, traced=slow):
                    cut = Cut(folder / f"cut{len(found)}", folder / f"live{len(found)}", work.acked())
                    volumes.copy(image, cut.image)
                    shutil.copytree(
                        disk, cut.live, symlinks=True, ignore=shutil.ignore_patterns("lost+found", "control")
                    )
                    found.append(cut)
        finally:
            code = process.poll()  # some pages are missing always: 1 where it is over
            _end(process, traced=slow)
        assert code in (None, 1), f"exit {code}: {(work.folder / 'said').read_text(errors='replace')[-700:]}"
    image.unlink()
    return found


def _end(process: subprocess.Popen[bytes], *, traced: bool) -> None:
    """Kill it; strace ends as what it traces does."""
    with suppress(ProcessLookupError):
        if traced:
            subprocess.run(["kill", "-KILL", volumes.child_of(process)], check=False, capture_output=True)
        else:
            process.kill()
    process.wait(30)


def _judged(seed: int, cut: Cut, work: Work, hurried: Path, field: Field, herd: Herd, rng: Random) -> Verdict:
    """The disk as it was, then with other things on it that may have been under way."""
    faults, blocks, first = list[str](), 0, None
    for state in range(1 + field.tails):
        image = cut.image.with_name("state")
        volumes.copy(cut.image, image)
        with volumes.mounted(field.kind, image, cut.image.with_name("disk")) as disk:
            if state:
                blocks = max(blocks, tails.wreck(disk, cut.live, rng))
            left = oracle.judge_killed(work.job_folder, work.pages, work.sinks, cut.acknowledged)
            more = [*left.faults, *_parts(work.job_folder, left.reported)]
            if field.sync == "commit":
                more += _gone_on(work, left, hurried, field, herd)
        image.unlink()
        faults += [f"state {state}: {fault}" for fault in more]
        first = first or left
    assert first is not None
    if not faults:
        cut.image.unlink()
        shutil.rmtree(cut.live)
    lost = len(cut.acknowledged - first.reported)
    given, reported = len(cut.acknowledged), len(first.reported)
    return Verdict(seed, faults, given, lost, reported, blocks, 1 + field.tails, first.finished)


def _gone_on(work: Work, left: oracle.Killed, hurried: Path, field: Field, herd: Herd) -> list[str]:
    """Bring the run to its end on that disk, and judge it."""
    if left.finished:  # another start would begin a new run
        return oracle.judge(work.job_folder, work.pages, work.sinks, killed=True)
    space = work.pages[0].url.split("/")[3]
    before = len(field.site.hits(space))
    said = work.folder / "said-later"
    said.unlink(missing_ok=True)
    code = herd.run(work, said, hurried)
    if code != 1:
        return [f"the run that was to end it: exit {code}: {said.read_text(errors='replace').strip()[-700:]}"]
    asked = {hit.url for hit in field.site.hits(space)[before:]}
    faults = [f"{url}: was asked for again after it was reported" for url in asked & left.reported]
    return faults + oracle.judge(work.job_folder, work.pages, work.sinks)


def _parts(job_folder: Path, reported: set[str]) -> list[str]:
    """The parts that the checkpoint names can be read, and hold rows of committed records, each once."""
    import pyarrow
    import pyarrow.parquet as parquet

    saved, faults = oracle.saved_of(job_folder), list[str]()
    if not isinstance(saved, oracle.Saved):
        return []
    urls = Counter[str]()
    for name in saved.lengths:
        if name.endswith(".parquet"):
            try:
                urls.update(parquet.read_table(job_folder / "runs" / saved.run / name)["url"].to_pylist())
            except (OSError, pyarrow.ArrowException) as error:
                faults.append(f"{name}: {error}")
    faults += [f"records/*.parquet: {url} stands there {n} times" for url, n in urls.items() if n > 1]
    return faults + [f"records/*.parquet: {url} is not committed" for url in set(urls) - reported]


def killed(count: int, seed: int, field: Field) -> tuple[int, dict[str, list[str]]]:
    """SIGKILLs of runs that sync as the field says: how many hit, and the faults of each that has some."""
    rng, faults, hit = Random(seed), dict[str, list[str]](), 0
    for number in range(count):
        space = f"killed-{field.sync}-{number}"
        work = write_job(
            field.folder / space, field.site.pages(space, KINDS), rng.choice(field.variants), rng, driven=True
        )
        _retimed(work, field.sync)
        process = field.build.start(work.command, work.folder)
        with suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0.8, 2.5))
        process.kill()
        if process.wait() < 0:
            hit += 1
            left = oracle.judge_killed(work.job_folder, work.pages, work.sinks, work.acked())
            more = left.faults if left.finished else left.faults + finish(field.build, work)
            more += oracle.judge(work.job_folder, work.pages, work.sinks, killed=left.finished)
            if more:
                faults[space] = more
    return hit, faults


def summary(verdicts: Sequence[Verdict]) -> str:
    """A line for people."""
    given, lost = sum(verdict.given for verdict in verdicts), sum(verdict.lost for verdict in verdicts)
    states = sum(verdict.states for verdict in verdicts)
    pending = sum(verdict.blocks > 0 for verdict in verdicts)
    faulty = sum(bool(verdict.faults) for verdict in verdicts)
    return (
        f"{len(verdicts)} snapshots, {states} states of the disk ({pending} snapshots with writes under way, "
        f"{sum(verdict.finished for verdict in verdicts)} of runs that were over): "
        f"{given} acknowledgements, {lost} lost, {faulty} snapshots with faults"
    )
