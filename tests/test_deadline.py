"""When a start must be over."""

from __future__ import annotations

from datetime import datetime
from math import inf
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.deadline import Deadline, next_reading

BERLIN = ZoneInfo("Europe/Berlin")
UTC = ZoneInfo("UTC")
HOUR, DAY = 3600.0, 86400.0


def at(text: str, zone: ZoneInfo = UTC, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


def test_without_bounds_there_is_no_end() -> None:
    """A job that says nothing may work for ever."""
    assert Deadline(None, None, 0.0, 0.0).left(10.0, 10.0).seconds == inf


def test_max_time_counts_by_the_steady_clock_from_the_turn() -> None:
    """Waiting for the lock is not counted, and setting the wall clock changes nothing."""
    deadline = Deadline(50 * 60.0, None, at("2026-03-01T22:00"), 100.0)
    deadline.begin(400.0)
    assert deadline.left(at("2026-03-01T22:05"), 400.0) == (3000.0, "max_time 50m")
    assert deadline.left(at("2026-03-02T22:10"), 1000.0).seconds == 2400.0
    assert deadline.left(at("2026-02-28T22:10"), 3400.0).seconds == 0.0


def test_until_is_the_next_time_that_clocks_show_it() -> None:
    """Today where it is still to come, else tomorrow; the very moment counts as past."""
    deadline = Deadline(None, "06:00", at("2026-03-01T22:00"), 0.0, UTC)
    assert deadline.left(at("2026-03-01T22:00"), 0.0) == (8 * HOUR, "until 06:00")
    assert deadline.left(at("2026-03-02T06:00"), 8 * HOUR).seconds == 0.0
    assert next_reading("06:00", at("2026-03-01T05:59"), UTC) == at("2026-03-01T06:00")
    assert next_reading("06:00", at("2026-03-01T06:00"), UTC) == at("2026-03-02T06:00")


def test_the_earlier_bound_counts_and_is_named() -> None:
    """With both the nearer one ends the run."""
    deadline = Deadline(HOUR, "22:30", at("2026-03-01T22:00"), 0.0, UTC)
    assert deadline.left(at("2026-03-01T22:00"), 0.0).why == "until 22:30"
    deadline = Deadline(600.0, "22:30", at("2026-03-01T22:00"), 0.0, UTC)
    assert deadline.left(at("2026-03-01T22:00"), 0.0).why == "max_time 10m"


def test_a_clock_put_forward_brings_until_at_once() -> None:
    """A day ahead the time has passed."""
    deadline = Deadline(None, "06:00", at("2026-03-01T22:00"), 0.0, UTC)
    assert deadline.left(at("2026-03-02T22:01"), 60.0).seconds == 0.0


def test_a_clock_put_back_makes_no_longer_day() -> None:
    """A day back the next 06:00 is as near as before."""
    deadline = Deadline(None, "06:00", at("2026-03-01T22:00"), 0.0, UTC)
    assert deadline.left(at("2026-02-28T22:01"), 60.0).seconds == 8 * HOUR - 60
    assert deadline.left(at("2026-03-01T05:59:59"), 99.0).seconds == 1.0


def test_a_clock_that_is_put_back_again_and_again_ends_after_the_longest_day() -> None:
    """The steady clock bounds it."""
    deadline = Deadline(None, "06:00", at("2026-03-01T22:00"), 0.0, UTC)
    assert deadline.left(at("2026-03-01T22:00"), 24 * HOUR).seconds == HOUR
    assert deadline.left(at("2026-03-01T22:00"), 25 * HOUR).seconds == 0.0


def test_summer_time() -> None:
    """A skipped time is the moment of the change; one that comes twice is the first that is still to come."""
    change = at("2026-03-29T01:00", UTC)
    assert next_reading("02:30", at("2026-03-28T22:00", BERLIN), BERLIN) == change
    assert next_reading("02:30", change, BERLIN) == at("2026-03-30T02:30", BERLIN)
    assert next_reading("06:00", at("2026-03-28T22:00", BERLIN), BERLIN) - at("2026-03-28T22:00", BERLIN) == 7 * HOUR
    first, second = at("2026-10-25T02:30", BERLIN), at("2026-10-25T02:30", BERLIN, fold=1)
    assert second - first == HOUR
    assert next_reading("02:30", first - 1, BERLIN) == first
    assert next_reading("02:30", first, BERLIN) == second
    assert next_reading("06:00", at("2026-10-24T22:00", BERLIN), BERLIN) - at("2026-10-24T22:00", BERLIN) == 9 * HOUR


@pytest.mark.parametrize("zone", [UTC, BERLIN, ZoneInfo("Australia/Lord_Howe"), ZoneInfo("America/St_Johns")])
@given(st.integers(1_700_000_000, 1_900_000_000), st.integers(0, 23), st.integers(0, 59))
def test_the_next_reading_is_ahead_within_a_longest_day(zone: ZoneInfo, now: int, hour: int, minute: int) -> None:
    """Never now or before, never more than 25 hours away; local clocks show it, or were just put over it."""
    text = f"{hour:02d}:{minute:02d}"
    moment = next_reading(text, float(now), zone)
    assert now < moment <= now + 25 * HOUR
    local = datetime.fromtimestamp(moment, zone)
    before = datetime.fromtimestamp(moment - 1, zone)
    if f"{local:%H:%M:%S}" != f"{text}:00":
        assert local.utcoffset() != before.utcoffset()
        assert f"{before:%H:%M}" < text < f"{local:%H:%M}"


@given(st.lists(st.tuples(st.floats(-2 * DAY, 2 * DAY), st.floats(0.0, HOUR)), max_size=20))
def test_no_jump_of_the_clock_leaves_more_than_the_caps(jumps: list[tuple[float, float]]) -> None:
    """Whatever is set: at most max_time, at most a day, and by the steady clock never past either."""
    wall, steady = at("2026-03-01T12:00"), 0.0
    deadline = Deadline(2 * HOUR, "06:00", wall, steady, UTC)
    for jump, passed in jumps:
        wall, steady = wall + jump + passed, steady + passed
        seconds = deadline.left(wall, steady).seconds
        assert 0.0 <= seconds <= max(0.0, 2 * HOUR - steady)
