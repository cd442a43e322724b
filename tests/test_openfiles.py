"""How many requests may be under way with so many open files."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crawler.openfiles import Crew, fitted, needed


def test_with_files_enough_all_workers_work() -> None:
    """What is left keeps connections that nobody uses at the moment."""
    fits = fitted(64, 1024, 20)
    assert (fits.at_once, fits.warning) == (64, None)
    assert fits.idle == 1024 - needed(64, 20) > 0


def test_with_too_few_fewer_work_and_the_number_needed_is_told() -> None:
    """64 workers under a limit of 64 files."""
    fits = fitted(64, 64, 14)
    assert fits.at_once < 64
    assert fits.idle == 0
    assert fits.warning == (
        f"limits.workers is 64, which needs {needed(64, 14)} open files; the limit is 64 (ulimit -n): "
        f"at most {fits.at_once} at once"
    )


@given(st.integers(1, 10_000), st.integers(0, 100_000), st.integers(0, 2000))
def test_what_fits_never_needs_more_than_the_limit(workers: int, limit: int, in_use: int) -> None:
    """Save that one works in any case; and no more work than could."""
    fits = fitted(workers, limit, in_use)
    assert 1 <= fits.at_once <= workers
    assert fits.at_once == 1 or needed(fits.at_once, in_use) + fits.idle <= limit
    assert fits.at_once == workers or needed(fits.at_once + 1, in_use) > limit
    assert (fits.warning is None) == (needed(workers, in_use) <= limit)


def test_a_crew_shrinks_when_a_file_cannot_be_opened() -> None:
    """By a quarter of those at work, and it is told the first time alone."""
    crew = Crew(64)
    assert crew.missing == 0
    told = crew.struck(40, 100)
    assert crew.allowed == 30
    assert crew.missing == 34
    assert told == (
        f"limits.workers is 64, which needs {needed(64, 100)} open files, and no more can be opened (ulimit -n): "
        "at most 30 at once"
    )
    assert crew.struck(30, 100) is None
    assert crew.allowed < 30


def test_a_small_crew_shrinks_as_well() -> None:
    """By one at least."""
    crew = Crew(3)
    allowed = []
    for _ in range(3):
        crew.struck(crew.allowed, 0)
        allowed.append(crew.allowed)
    assert allowed == [2, 1, 1]


@given(st.lists(st.integers(0, 100), min_size=1, max_size=50))
def test_a_crew_never_grows_and_is_never_gone(at_work: list[int]) -> None:
    """Whatever was under way when it happened."""
    crew, before = Crew(64), 64
    for under_way in at_work:
        crew.struck(under_way, 0)
        assert 1 <= crew.allowed <= before
        before = crew.allowed


def test_it_is_hopeless_when_not_even_one_finds_a_file() -> None:
    """Forty times in a row; one that finds what it needs is hope again."""
    crew = Crew(8)
    for _ in range(39):
        crew.struck(1, 0)
    assert not crew.hopeless
    crew.fine()
    for _ in range(39):
        crew.struck(1, 0)
    assert not crew.hopeless
    crew.struck(1, 0)
    assert crew.hopeless


def test_others_at_work_are_hope() -> None:
    """Their files will be closed."""
    crew = Crew(8)
    for _ in range(100):
        crew.struck(5, 0)
    assert not crew.hopeless
