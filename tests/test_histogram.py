"""Times in buckets, and the percentiles that come of them."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.histogram import STEP, Histogram, bucket_of


@given(value=st.floats(0.02, 1e9))
def test_a_value_stands_in_its_bucket(value: float) -> None:
    """A bucket holds what is above its lower bound and up to its upper one."""
    bucket = bucket_of(value)
    assert STEP ** (bucket - 1) * (1 - 1e-9) <= value <= STEP**bucket * (1 + 1e-9)


@given(
    values=st.lists(st.floats(0.1, 1e7), min_size=1, max_size=200),
    percent=st.sampled_from([1.0, 50.0, 90.0, 95.0, 99.0, 100.0]),
)
def test_percentiles_are_within_five_percent(values: list[float], percent: float) -> None:
    """Any percentile is within 5 % of the exact one (nearest rank), and none exceeds the largest value."""
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    exact = sorted(values)[max(0, ceil(percent / 100 * len(values)) - 1)]
    found = histogram.percentile(percent)
    assert found == pytest.approx(exact, rel=0, abs=0.05 * exact + 0.005)  # and half a digit of rounding
    assert histogram.percentiles()["max"] == round(max(values), 2)
    assert found is not None
    assert found <= round(max(values), 2)


def test_a_histogram_takes_zero() -> None:
    """A time too short to be measured is counted, not an error."""
    histogram = Histogram()
    histogram.add(0.0)
    assert histogram.percentiles() == {"p50": 0.0, "p90": 0.0, "p95": 0.0, "p99": 0.0, "max": 0.0}


def test_an_empty_histogram_knows_nothing() -> None:
    """Where nothing was counted there is no percentile, rather than a zero that looks like a good one."""
    assert set(Histogram().percentiles().values()) == {None}
