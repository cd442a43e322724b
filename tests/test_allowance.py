"""Did more fail than the job allows."""

from __future__ import annotations

import pytest

from crawler.allowance import Counts, exceeded
from crawler.jobrun import Run, Share

COUNTS = Counts(950, 50, {"status-404": 30, "status-500": 5, "host-dead": 15, "robots": 7})


@pytest.mark.parametrize(
    ("allowed", "over"),
    [(0, True), (49, True), (50, False), (Share(4.9), True), (Share(5), False), (Share(0), True), (Share(100), False)],
)
def test_a_total_is_a_count_or_a_share_of_what_was_fetched_or_failed(allowed: int | Share, over: bool) -> None:
    """50 of 1,000 are 5 percent; what was skipped counts on neither side."""
    assert bool(exceeded(COUNTS, {"total": allowed})) is over


def test_each_reason_has_its_own_allowance_beside_the_total() -> None:
    """All must hold; a glob counts what it matches, `status` any status."""
    assert exceeded(COUNTS, {"total": 50, "status-404": 30, "host-*": 15, "status": 35}) == []
    [said] = exceeded(COUNTS, {"total": 50, "status-404": 30, "host-*": 14})
    assert "15 failed with host-*" in said
    [said] = exceeded(COUNTS, {"total": 50, "status": 34})
    assert "35 failed with status" in said
    assert len(exceeded(COUNTS, {"total": 1, "status-404": 1, "host-dead": 1})) == 3


def test_what_no_key_speaks_of_may_not_fail() -> None:
    """A list of reasons allows these, and nothing else."""
    assert exceeded(COUNTS, {"status-404": 30, "status-5*": 5, "host-dead": Share(2)}) == []
    [said] = exceeded(COUNTS, {"status-404": 100})
    assert "20 failed for reasons that run.max_failed does not name: host-dead 15, status-500 5" in said
    assert exceeded(COUNTS, {"status-404": 100, "*": 50}) == []


def test_without_failures_nothing_is_exceeded() -> None:
    """Not even an allowance of none; what was skipped is no failure."""
    assert exceeded(Counts(0, 0, {"robots": 5}), {"total": 0, "status-404": 0}) == []


def test_a_share_is_told_so_that_it_shows_the_excess() -> None:
    """1 of 30,000 above 0 % is not told as 0.0 %."""
    [said] = exceeded(Counts(29_999, 1, {"stall": 1}), {"total": Share(0)})
    assert "1 failed (0.003% of 30,000), run.max_failed allows 0%" in said


def test_the_default_allows_none() -> None:
    """A job that says nothing fails with the first input that does."""
    assert exceeded(Counts(10, 1, {"stall": 1}), Run().max_failed) == ["1 failed, run.max_failed allows 0"]
