"""Times, sizes and rates in text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler import units


@pytest.mark.parametrize(
    ("parse", "text", "number"),
    [
        (units.parse_duration, "500ms", 0.5),
        (units.parse_duration, "5m", 300),
        (units.parse_size, "64MiB", 64 * 1024**2),
        (units.parse_size, "10kB", 10_000),
        (units.parse_rate, "30/min", 0.5),
        (units.parse_bandwidth, "20MiB/s", 20 * 1024**2),
    ],
)
def test_texts_are_numbers(parse, text: str, number: float) -> None:  # type: ignore[no-untyped-def]
    """Each unit means what people expect."""
    assert parse(text) == number


@pytest.mark.parametrize("text", ["5", "5 parsecs", "", "-1s", "1/s", "9" * 200 + "s", 5, None])
def test_what_is_no_duration_is_told(text: object) -> None:
    """The sentence shows how to write one."""
    with pytest.raises(ValueError, match="write it like '2s'"):
        units.parse_duration(text)


@given(st.integers(0, 10**9))
def test_rendered_texts_mean_the_same(number: int) -> None:
    """What is written down is read back as the same number."""
    assert units.parse_size(units.render_size(number)) == number
    assert units.parse_duration(units.render_duration(number / 1000)) == pytest.approx(number / 1000)
    if number:
        assert units.parse_rate(units.render_rate(number / 60)) == pytest.approx(number / 60)
