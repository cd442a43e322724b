"""How a run went over time, from progress.jsonl or from the moments of its records."""

from __future__ import annotations

from itertools import pairwise

import orjson
from hypothesis import given
from hypothesis import strategies as st

from crawler.curve import Stretch, of_progress, of_seconds, thinned


def line(elapsed: float, fetched: int, failed: int = 0, size: int = 0) -> bytes:
    return orjson.dumps({"elapsed": elapsed, "fetched": fetched, "failed": failed, "skipped": 0, "bytes": size}) + b"\n"


def test_stretches_tell_what_came_between_two_lines() -> None:
    """Counts are those of the stretch, the first begins with the run."""
    found = of_progress([line(10, 100, 1, 1000), line(20, 150, 4, 1500)])
    assert found == [Stretch(0, 10, 101, 1, 1000), Stretch(10, 20, 53, 3, 500)]


def test_torn_lines_are_passed_over() -> None:
    """A line that was cut by a kill, or that is no progress, costs itself alone."""
    torn = [b'{"elapsed": 5, "fet', b"null\n", b'{"event":"log"}\n', b"\n", line(10, 7)]
    assert of_progress(torn) == [Stretch(0, 10, 7, 0, 0)]


def test_a_run_that_went_on_from_before_a_kill_takes_its_time_back() -> None:
    """What was told of the time behind the last commit was done again: it counts once."""
    found = of_progress([line(10, 100), line(20, 200), line(30, 300), line(25, 240), line(35, 300)])
    assert [(one.start, one.end, one.done) for one in found] == [
        (0, 10, 100),
        (10, 20, 100),
        (20, 25, 40),
        (25, 35, 60),
    ]


def test_seconds_of_records_make_a_curve_with_its_gaps() -> None:
    """A second without requests is a stretch of nothing."""
    counts = {"2026-01-01T00:00:05": [4, 1, 40], "2026-01-01T00:00:02": [2, 0, 20]}
    assert of_seconds(counts) == [Stretch(0, 1, 2, 0, 20), Stretch(1, 3, 0, 0, 0), Stretch(3, 4, 4, 1, 40)]
    assert of_seconds({}) == []


@given(
    steps=st.lists(st.tuples(st.floats(0.01, 1e4), st.integers(0, 99), st.integers(0, 9)), max_size=300),
    most=st.integers(1, 50),
)
def test_thinning_keeps_all_counts(steps: list[tuple[float, int, int]], most: int) -> None:
    """There are at most so many, they follow each other, and they add up to the same."""
    stretches, at = [], 0.0
    for span, done, failed in steps:
        stretches.append(Stretch(at, at + span, done, failed, done * 3))
        at += span
    found = thinned(stretches, most)
    assert len(found) <= most
    assert sum(one.done for one in found) == sum(done for _, done, _ in steps)
    assert sum(one.bytes for one in found) == sum(done * 3 for _, done, _ in steps)
    assert all(before.end == after.start for before, after in pairwise(found))
