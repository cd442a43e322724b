"""A job for the metrics."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crawler.metrics import STATES, openmetrics
from crawler.monitormetrics import standing
from crawler.monitorviews import JobView

VIEW = JobView("j", "r", "finished", 1000.0, 1010.0, 0, fetched=3, failed=1, rate=2.0, last_success=1010.0)


@pytest.mark.parametrize("state", ["running", "draining", "paused", "finished", "stopped", "killed", "abandoned"])
def test_every_state_is_one_that_metrics_know(state: str) -> None:
    """A run that drains or is paused is still running."""
    told = standing(replace(VIEW, state=state))
    assert told.state in STATES
    assert (told.state == "running") == (state in ("running", "draining", "paused"))


def test_a_run_that_is_over_has_no_rate() -> None:
    """Its mean is no present speed."""
    assert standing(VIEW).rate == 0.0
    assert standing(replace(VIEW, state="running")).rate == 2.0


def test_the_numbers_are_those_of_the_view() -> None:
    """And become text."""
    told = standing(VIEW)
    assert (told.job, told.fetched, told.failed, told.last_success) == ("j", 3, 1, 1010.0)
    assert openmetrics([told]).endswith("# EOF\n")
