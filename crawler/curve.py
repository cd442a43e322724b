"""How a run went over time: stretches of it, from the lines of progress.jsonl or from when requests began.

Decides what happened between two moments. Must not know files nor how it is drawn. Invariant: stretches follow each
other without overlap, and nothing in one is negative, also where a run was killed and went on from before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby, pairwise
from math import ceil
from typing import NamedTuple

import orjson


class Stretch(NamedTuple):
    """From `start` to `end`, seconds at work: so many ends, failures among them, and bytes."""

    start: float
    end: float
    done: int
    failed: int
    bytes: int


class _Moment(NamedTuple):
    """Counts since the run began."""

    elapsed: float
    done: int
    failed: int
    bytes: int


def of_progress(lines: Iterable[bytes]) -> list[Stretch]:
    """What progress.jsonl tells; lines that are torn or no progress are passed over."""
    moments = [_Moment(0.0, 0, 0, 0)]
    for line in lines:
        moment = _moment(line)
        if moment is None or moment.elapsed <= 0:
            continue
        while len(moments) > 1 and moments[-1].elapsed >= moment.elapsed:
            moments.pop()  # a kill took the run back: what was told of the time behind was done again
        moments.append(moment)
    return [_between(before, after) for before, after in pairwise(moments)]


def of_seconds(counts: Mapping[str, Sequence[int]]) -> list[Stretch]:
    """What records tell: by the second (ISO 8601) in which requests began how many ended, failed, and their bytes."""
    if not counts:
        return []
    times = {datetime.fromisoformat(second).timestamp(): found for second, found in counts.items()}
    begun = min(times)
    stretches: list[Stretch] = []
    for time in sorted(times):
        at, end = time - begun, stretches[-1].end if stretches else 0.0
        if at > end:
            stretches.append(Stretch(end, at, 0, 0, 0))
        done, failed, size = times[time]
        stretches.append(Stretch(at, at + 1, done, failed, size))
    return stretches


def thinned(stretches: Sequence[Stretch], most: int) -> list[Stretch]:
    """At most so many, of about the same length; what they count stays."""
    if len(stretches) <= most:
        return list(stretches)
    whole = stretches[-1].end
    return [_together(list(group)) for _, group in groupby(stretches, lambda one: ceil(one.end / whole * most))]


def _together(stretches: Sequence[Stretch]) -> Stretch:
    """Neighbours as one."""
    done, failed = sum(one.done for one in stretches), sum(one.failed for one in stretches)
    return Stretch(stretches[0].start, stretches[-1].end, done, failed, sum(one.bytes for one in stretches))


def _moment(line: bytes) -> _Moment | None:
    try:
        said = orjson.loads(line)
        done = said["fetched"] + said["failed"] + said["skipped"]
        return _Moment(float(said["elapsed"]), int(done), int(said["failed"]), int(said["bytes"]))
    except (ValueError, KeyError, TypeError):
        return None


def _between(before: _Moment, after: _Moment) -> Stretch:
    return Stretch(
        before.elapsed,
        after.elapsed,
        max(0, after.done - before.done),
        max(0, after.failed - before.failed),
        max(0, after.bytes - before.bytes),
    )
