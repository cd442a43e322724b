"""The text in which the checkpoint keeps a pace."""

from __future__ import annotations

from math import inf

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.pace import Pace, PaceLimits, PaceState
from crawler.paces import state_of, text_of

MOMENTS = st.floats(0, 4e9)
STATES = st.builds(
    PaceState,
    blocked_until=st.one_of(st.just(-inf), MOMENTS),
    faults=st.integers(0, 1000),
    rate=st.one_of(st.none(), st.floats(0.001, 1e6)),
    ceiling=st.one_of(st.none(), st.floats(0.001, 1e6)),
    concurrency=st.one_of(st.none(), st.integers(1, 10_000)),
    failures=st.integers(0, 1000),
    opened_at=st.one_of(st.none(), MOMENTS),
    dead=st.booleans(),
)
VALUES = st.one_of(st.none(), st.booleans(), st.integers(-5, 10), st.floats(allow_nan=False), st.text(max_size=3))
NOW = 1e9
PLAIN = [None, 0, None, None, None, 0, None, False]


@given(STATES)
def test_what_is_written_is_read(state: PaceState) -> None:
    """Every state comes back as it was; what a host was broken for counts on from then."""
    found = state_of(text_of(state, NOW), NOW + 500.0, inf)
    opened = None if state.opened_at is None else pytest.approx(state.opened_at + 500.0, abs=1e-3)
    assert found == state._replace(opened_at=found.opened_at)
    assert found.opened_at == opened


def test_a_pace_with_nothing_to_tell_says_so() -> None:
    """No block is no number."""
    assert orjson.loads(text_of(PaceState(), NOW)) == [*PLAIN, NOW]
    assert state_of(text_of(PaceState(), NOW), 0.0, 0.0) == PaceState()


def test_no_block_outlasts_the_longest_there_can_be() -> None:
    """A clock that was set back a year must not make a host wait for that."""
    text = text_of(PaceState(blocked_until=2000.0, faults=2), 900.0)
    assert state_of(text, 1000.0, 500.0) == PaceState(blocked_until=1500.0, faults=2)
    assert state_of(text, 1000.0, 1500.0).blocked_until == 2000.0
    of_old = orjson.dumps(orjson.loads(text)[:8]).decode()  # as earlier versions wrote it
    assert state_of(of_old, 1000.0, 500.0) == PaceState(blocked_until=1500.0, faults=2)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "null", "7", "[]", "{}", '"x"', "[1, 2]", '{"1": 2}', "\udcff"),
        *('["x", 0, null, null, null, 0, null, false]', '[null, "x", null, null, null, 0, null, false]'),
        *("[null, -1, null, null, null, 0, null, false]", "[null, 0, 0, null, null, 0, null, false]"),
        *("[null, 0, -2.5, null, null, 0, null, false]", "[null, 0, null, null, 1.5, 0, null, false]"),
        *("[null, 0, null, null, null, 0, [], false]", "[null, 0, null, null, null, 0, null, 1]"),
        "[null, 0, null, null, null, 0, null, false, 1]",
    ],
)
def test_anything_else_counts_as_nothing_known(text: str) -> None:
    """What is damaged, or of another version, costs what was learned and no more."""
    assert state_of(text, NOW, inf) == PaceState()


@given(st.lists(VALUES, max_size=9))
def test_what_is_read_can_be_worked_with(values: list[object]) -> None:
    """Whatever stands there, a pace takes it up and names a moment."""
    state = state_of(orjson.dumps(values).decode(), 1e9, 86_400.0)
    pace = Pace(PaceLimits(8, 10.0, 3, adaptive=True))
    pace.restore(state, 100.0)
    assert 1 <= pace.concurrency <= 8
    if not pace.dead:
        assert pace.not_before(100.0) < inf


def test_a_clock_that_was_set_back_makes_no_block_longer() -> None:
    """A block of a minute that was written tomorrow, by the clock of today, is one of a minute."""
    tomorrow = 1_790_086_400.0
    text = text_of(PaceState(tomorrow + 60.0, 1, None, None, None, 1, None, False), tomorrow)
    back = tomorrow - 86_400.0
    assert state_of(text, back, 86_400.0).blocked_until == back + 60.0
    assert state_of(text, tomorrow + 10.0, 86_400.0).blocked_until == tomorrow + 60.0
    assert state_of(text, tomorrow + 86_400.0, 86_400.0).blocked_until == tomorrow + 60.0
