"""Plots: ticks are round, shapes stay within the picture, and what is seen is told."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.svg import Series, Words, areas, bars, log_ticks, share, ticks, time_ticks

WORDS = Words("id", "A title", "What it shows <b>", lambda value: f"{value:g}")
VALUES = st.lists(st.floats(0, 1e12), min_size=1, max_size=50)


def numbers(picture: str) -> list[float]:
    """All coordinates of shapes."""
    root = ET.fromstring(picture)
    found: list[float] = []
    for shape in root.iter():
        found += [float(shape.attrib[name]) for name in ("x", "y", "x1", "x2", "y1", "y2") if name in shape.attrib]
        found += [float(number) for number in re.findall(r"[\d.]+", shape.attrib.get("d", ""))]
    return found


@given(most=st.floats(1e-6, 1e15), base=st.sampled_from([10, 1024]))
def test_ticks_are_even_and_reach_the_top(most: float, base: int) -> None:
    """A few steps of one width from 0 up to the first that is not below the largest value."""
    found = ticks(most, base=base)
    step = found[1]
    assert 2 <= len(found) <= 7
    assert found == pytest.approx([n * step for n in range(len(found))])
    assert found[-2] <= most * (1 + 1e-6)
    assert found[-1] >= most * (1 - 1e-6)


@pytest.mark.parametrize("most", [0.0, -1.0, 5e-324, nan, inf])
def test_nothing_to_measure_still_has_an_axis(most: float) -> None:
    """An empty plot has a base line and one step."""
    assert ticks(most) == [0.0, 1.0]


def test_bytes_are_counted_in_their_own_round_numbers() -> None:
    """Steps are whole KiB or MiB."""
    assert ticks(3.5 * 1024, base=1024) == [0, 1024, 2048, 3072, 4096]


@given(most=st.floats(0.1, 1e8), count=st.integers(2, 12))
def test_times_are_round_and_not_too_many(most: float, count: int) -> None:
    """From 0 on, none behind the end."""
    found = time_ticks(most, count)
    assert found[0] == 0
    assert len(found) <= count + 1
    assert found[-1] <= most * (1 + 1e-6)


@given(least=st.floats(0.01, 1e4), factor=st.floats(1.1, 1e6), count=st.integers(3, 15))
def test_logarithmic_ticks_stand_between_the_ends(least: float, factor: float, count: int) -> None:
    """Each is within, in its place, and they are not too many."""
    found = log_ticks(least, least * factor, count)
    assert len(found) <= count
    assert all(least <= value <= least * factor for value, _ in found)
    assert [at for _, at in found] == sorted(at for _, at in found)
    assert all(-1e-9 <= at <= 1 + 1e-9 for _, at in found)


@given(values=VALUES, width=st.sampled_from([360, 1080]))
def test_areas_stay_within_the_picture(values: list[float], width: int) -> None:
    """Whatever the numbers, nothing is drawn outside."""
    edges = [float(n * 10) for n in range(len(values) + 1)]
    half = [value / 2 for value in values]
    picture = areas(WORDS, [Series("total", edges, values), Series("failed", edges, half)], width, 200)
    assert all(0 <= number <= width for number in numbers(picture))
    assert picture.count('class="area ') == 2


@given(values=st.lists(st.integers(0, 10**9), min_size=1, max_size=60))
def test_each_bar_that_counts_is_seen_and_told(values: list[int]) -> None:
    """One of a milliard has a bar of a pixel, too, and says its number."""
    edges = [1.1**n for n in range(len(values) + 1)]
    root = ET.fromstring(bars(WORDS, edges, values, 360, 180))
    drawn = [shape for shape in root.iter("rect") if float(shape.attrib["height"]) >= 1]
    assert len(drawn) == sum(value > 0 for value in values)
    told = [title.text.rsplit(": ", 1)[1] for title in root.iter("title") if title.text and ": " in title.text]
    assert told == [f"{value:,}" for value in values if value]


def test_bars_need_their_edges() -> None:
    """A histogram that does not fit together is our mistake."""
    with pytest.raises(ValueError, match="2 bars have 2 edges"):
        bars(WORDS, [1.0, 2.0], [1, 2], 360, 180)


def test_a_picture_has_a_name_and_a_description() -> None:
    """Whoever does not see it reads what it shows; text in it is escaped."""
    root = ET.fromstring(areas(WORDS, [Series("total", [0.0, 1.0], [5.0])], 360, 200))
    assert root.attrib["role"] == "img"
    assert root.find("title").text == "A title"  # type: ignore[union-attr]
    assert root.find("desc").text == "What it shows <b>"  # type: ignore[union-attr]
    assert root.attrib["aria-labelledby"] == root.find("title").attrib["id"]  # type: ignore[union-attr]


@given(part=st.integers(0, 10**9), whole=st.integers(0, 10**9))
def test_a_share_is_never_wider_than_its_cell(part: int, whole: int) -> None:
    """The smallest part is seen, the largest fills the bar."""
    width = float(ET.fromstring(share(part, whole, "total"))[0].attrib["width"])
    assert 0 <= width <= 100
    assert (width > 0) == (part > 0)
