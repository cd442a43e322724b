"""T4: a call to the file system fails, once or from then on, for each kind of call, error and moment.

strace lets the Nth call of a kind fail that a thread makes, in a run whose process is loaded before: so N counts what
the run itself does. Such a run may say in a sentence what it could not do, and exit with 4; or bring all. It never
loses what it gave out, shows no traceback, and does not hang; and the next run, without faults, brings all.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from threading import local
from typing import NamedTuple

from tests.chaos import oracle
from tests.chaos.herds import Herd
from tests.chaos.jobs import Build, Sinks, Work, write_job
from tests.chaos.site import Site

KINDS = {"s": 50, "d": 6, "r": 4, "m": 4, "z": 4, "e": 2, "l": 3, "x": 2, "h": 1}
_ROOM = ("ENOSPC", "EDQUOT")
# What each call may say, by Linux's manual pages.
ERRORS: Mapping[str, Sequence[str]] = {
    "write": (*_ROOM, "EIO", "EINTR"),
    "pwrite64": (*_ROOM, "EIO", "EINTR"),
    "fsync": (*_ROOM, "EIO", "EINTR"),
    "fdatasync": (*_ROOM, "EIO", "EINTR"),
    "syncfs": (*_ROOM, "EIO"),
    "rename": (*_ROOM, "EIO", "EROFS"),
    "linkat": (*_ROOM, "EIO", "EROFS"),
    "openat": (*_ROOM, "EIO", "EMFILE", "ENFILE", "EROFS", "EINTR"),
    "mkdir": (*_ROOM, "EIO", "EROFS"),
    "ftruncate": ("EIO", "EINTR", "EROFS"),
    "unlink": ("EIO", "EROFS"),
    "close": ("EIO", "ENOSPC", "EDQUOT"),
    "socket": ("EMFILE", "ENFILE"),
}
# How many calls behind the first one fail as well; that none can be made at all is waited for, as for a host.
_USUAL = (0, 0, 3, 1000)
_MORE = {"close": (0,), "socket": (0, 1, 3)}
_TRIES = 6  # a fault may hit something else, or come when the run is over
_CALL = re.compile(r"^(\w+)\((.*)", re.M)
_INJECTED = re.compile(r"^\d+ +(\w+)\((.*)\) += .*\(INJECTED\)$", re.M)
_FAULT_OF_OURS = {"connect-failed"}  # what a page may end with when there are no descriptors for a socket

Counts = Mapping[str, Sequence[Sequence[int]]]  # by call, for each thread, which of its calls are those of outputs


class Fault(NamedTuple):
    """The Nth call of a kind that a thread makes fails, and so do the next ones, until `last`."""

    call: str
    error: str
    nth: int
    last: int

    def __str__(self) -> str:
        return f"{self.call} {self.nth}..{self.last}: {self.error}"


class Verdict(NamedTuple):
    """What came of it: the exit code, the call that failed, and faults. `hit` is None where the run was over before, or
    where the call was none for an output: then nothing is said.
    """

    seed: int
    fault: Fault
    code: int
    hit: str | None
    faults: list[str]


class Field(NamedTuple):
    """Where it takes place."""

    build: Build
    site: Site
    folder: Path
    variants: Sequence[Sinks]
    counts: Counts


def prepare(build: Build, site: Site, folder: Path, variants: Sequence[Sinks]) -> Field:
    """Count the calls of a run of the first variant."""
    field = Field(build, site, folder, variants, {})
    work = _work(field, "whole", variants[0], Random(0), driven=True)
    traces = folder / "traces"
    traces.mkdir()
    tracer = ("strace", "-ff", "-y", "-qq", "-o", str(traces / "t"), "-e", f"trace={','.join(ERRORS)}")
    with Herd(build) as herd:
        code = herd.run(work, work.folder / "said", tracer=tracer)
    assert code == 1, (work.folder / "said").read_text(errors="replace")
    counts: dict[str, list[list[int]]] = {}
    for trace in traces.iterdir():
        seen: Counter[str] = Counter()
        ours: dict[str, list[int]] = {}
        for call, args in _CALL.findall(trace.read_text(errors="replace")):
            seen[call] += 1
            if "/out/" in args or call == "socket":
                ours.setdefault(call, []).append(seen[call])
        for call, numbers in ours.items():
            counts.setdefault(call, []).append(numbers)
    shutil.rmtree(traces)
    return field._replace(counts=counts)


def _work(field: Field, name: str, sinks: Sinks, rng: Random, *, driven: bool) -> Work:
    pages = field.site.pages(f"{field.folder.name}-{name}", KINDS)
    return hastened(write_job(field.folder / name, pages, sinks, rng, driven=driven))


def hastened(work: Work) -> Work:
    """The same work, quicker, and on a disk as small as may be."""
    job = json.loads(work.file.read_text())
    job["limits"]["rate"] = "300/s"
    job["output"] |= {"min_free": "0B", "min_free_percent": 0, "wait_for_room": "1s"}
    work.file.write_text(json.dumps(job))
    return work


def verdicts(count: int, seed: int, field: Field, at_once: int = 3) -> Iterator[Verdict]:
    """So many faults that hit, some at a time; kinds of calls and errors take turns."""
    rng = Random(seed)
    kinds = [(call, error) for call in field.counts for error in ERRORS[call]]
    own, herds = local(), list[Herd]()

    def one(task: tuple[int, str, str]) -> Verdict | None:
        if not hasattr(own, "herd"):
            own.herd = Herd(field.build)
            herds.append(own.herd)
        seeds = Random(task[0])
        tries = (_tried(seeds.getrandbits(32), *task[1:], field, own.herd) for _ in range(_TRIES))
        return next((verdict for verdict in tries if verdict.hit is not None), None)

    threads = ThreadPoolExecutor(at_once)
    made = 0
    try:
        while made < count:
            turns = [rng.sample(kinds, len(kinds)) for _ in range(-(-(count - made) // len(kinds)))]
            tasks = [(rng.getrandbits(32), *kind) for turn in turns for kind in turn][: count - made]
            for verdict in threads.map(one, tasks):
                if verdict is not None:
                    made += 1
                    yield verdict
    finally:
        threads.shutdown(cancel_futures=True)
        for herd in herds:
            herd.__exit__()


def _tried(seed: int, call: str, error: str, field: Field, herd: Herd) -> Verdict:
    """One run with a fault, what it left, and the run that goes on."""
    rng = Random(seed)
    nth = rng.choice(rng.choice(field.counts[call]))
    fault = Fault(call, error, nth, nth + (0 if error == "EINTR" else rng.choice(_MORE.get(call, _USUAL))))
    sinks = field.variants[0] if rng.random() < 0.6 else rng.choice(field.variants)
    work = _work(field, f"f{seed}", sinks, rng, driven=rng.random() < 0.5)
    said, trace = work.folder / "said", work.folder / "trace"
    inject = f"inject={call}:error={error}:when={nth}..{fault.last}"
    tracer = ("strace", "-f", "-y", "-qq", "-o", str(trace), "-e", f"trace={call}", "-e", inject)
    code = herd.run(work, said, tracer=tracer)
    hits = _INJECTED.findall(trace.read_text(errors="replace"))
    if not hits or not all(name == "socket" or "/out/" in args for name, args in hits):
        shutil.rmtree(work.folder)  # nothing, or not an output alone
        return Verdict(seed, fault, code, None, [])
    hit = f"{hits[0][0]}({hits[0][1]})"[:200]
    faults = _allowed(code, said, work, fault)
    left = oracle.judge_killed(work.job_folder, work.pages, work.sinks, work.acked())
    named = _named(work) if call == "socket" else set[str]()
    faults += [f"what it left: {text}" for text in left.faults if not _of(text, named)]
    if not left.finished:
        later = work.folder / "said-later"
        again = herd.run(work, later)
        if again != 1:
            text = later.read_text(errors="replace").strip()[-500:]
            faults.append(f"the run without faults: exit {again}: {text}")
    end = oracle.judge(work.job_folder, work.pages, work.sinks, killed=left.finished)
    faults += [f"in the end: {text}" for text in end if not _of(text, named)]
    field.site.forget(f"{field.folder.name}-f{seed}")
    if not faults:
        shutil.rmtree(work.folder)
    return Verdict(seed, fault, code, hit, faults)


def _allowed(code: int, said: Path, work: Work, fault: Fault) -> list[str]:
    """Is it a way in which such a run may end."""
    text = said.read_text(errors="replace")
    if "Traceback" in text:
        return [f"exit {code} with a traceback: {text.strip()[-1500:]}"]
    if code == 4 and (str(work.folder) in text or (work.driven and not text)):  # a library gives the code alone
        return [] if fault.error != "EINTR" or fault.call != "write" else ["EINTR is no fault"]
    if code == 1:  # some pages are missing always
        saved = oracle.saved_of(work.job_folder)
        if isinstance(saved, oracle.Saved) and saved.state == "finished":
            return []
        return [f"exit 1 of a run that is {saved}: {text.strip()[-500:]}"]
    return [f"exit {code}: {text.strip()[-700:]}"]


def _named(work: Work) -> set[str]:
    """URLs that failed for want of descriptors, and say so."""
    saved = oracle.saved_of(work.job_folder)
    if not isinstance(saved, oracle.Saved):
        return set()
    path = work.job_folder / "runs" / saved.run / work.sinks.lines
    records, _ = oracle.records_of(path, saved.lengths.get(work.sinks.lines))
    return {record["url"] for record in records if record.get("reason") in _FAULT_OF_OURS}


def _of(fault: str, urls: set[str]) -> bool:
    return any(url in fault for url in urls)


def summary(verdicts: Sequence[Verdict]) -> str:
    """A table for people: by call, how the runs ended."""
    lines = []
    for call in sorted({verdict.fault.call for verdict in verdicts}):
        of_call = [verdict for verdict in verdicts if verdict.fault.call == call]
        codes = Counter(verdict.code for verdict in of_call)
        said = ", ".join(f"{count} exit {code}" for code, count in sorted(codes.items()))
        lines.append(f"  {call}: {said}; {sum(bool(verdict.faults) for verdict in of_call)} with faults")
    return "\n".join([f"{len(verdicts)} runs with an error in a call:", *lines])
