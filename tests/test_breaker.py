"""The circuit of one host: closed, open, dead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.breaker import Breaker


def opened(at: float = 100.0) -> Breaker:
    """One of three failures and a minute, that opened at that moment."""
    breaker = Breaker(3, 60.0)
    assert [breaker.failed(at) for _ in range(3)] == [False, False, True]
    return breaker


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    """Not one earlier, and only once."""
    breaker = opened()
    assert breaker.open
    assert breaker.opened_at == 100.0
    assert not breaker.failed(101.0)
    assert breaker.opened_at == 100.0


def test_a_good_answer_begins_the_row_anew() -> None:
    """Two failures, an answer, two failures: it stays closed, and nothing has changed by that answer."""
    breaker = Breaker(3, 60.0)
    breaker.failed(1.0)
    breaker.failed(2.0)
    assert not breaker.fine()
    assert not breaker.failed(3.0)
    assert not breaker.failed(4.0)
    assert not breaker.open


def test_a_good_answer_closes_it() -> None:
    """That is told once; the next row of failures is counted, and its time measured, anew."""
    breaker = opened()
    assert breaker.fine()
    assert not breaker.fine()
    assert not breaker.open
    for _ in range(3):
        breaker.failed(1000.0)
    assert breaker.opened_at == 1000.0
    assert not breaker.failed(1059.9)
    assert not breaker.dead


@pytest.mark.parametrize(("after", "dead"), [(0.0, False), (59.9, False), (60.0, True), (1e6, True)])
def test_only_a_failure_after_the_time_is_over_makes_it_dead(after: float, dead: bool) -> None:
    """Time alone does not, and it counts from the opening."""
    breaker = opened()
    assert breaker.failed(100.0 + after) is dead
    assert breaker.dead is dead


def test_dead_is_dead() -> None:
    """Neither a late good answer nor another failure changes that, or is news."""
    breaker = opened()
    assert breaker.failed(200.0)
    assert not breaker.failed(300.0)
    assert not breaker.fine()
    assert breaker.dead
    assert breaker.open


def test_some_probes_are_made_before_it_is_given_up() -> None:
    """At least eight fit into the time."""
    assert Breaker(3, 60.0).probe_every * 8 <= 60.0


def test_it_comes_back_as_it_was_kept() -> None:
    """The row and its time go on where they were."""
    breaker = Breaker(3, 60.0)
    breaker.restore(3, 100.0, dead=False)
    assert breaker.open
    assert breaker.failed(160.0)
    assert breaker.dead
    again = Breaker(3, 60.0)
    again.restore(2, None, dead=False)
    assert not again.open
    assert again.failed(1.0)


def test_it_shows_its_state() -> None:
    """Closed, open or dead, and the row."""
    breaker = Breaker(1, 60.0)
    assert repr(breaker) == "<Breaker closed failures=0>"
    breaker.failed(0.0)
    assert repr(breaker) == "<Breaker open failures=1>"
    breaker.failed(60.0)
    assert repr(breaker) == "<Breaker dead failures=2>"


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 30)), max_size=60))
def test_it_is_open_exactly_after_a_row_and_dead_only_by_a_late_probe(events: list[tuple[bool, float]]) -> None:
    """Against the plain reading of the rules, whatever happens; what it tells as news is news."""
    breaker, now = Breaker(3, 60.0), 0.0
    row: list[float] = []  # moments of the failures in a row
    dead = False
    for good, wait in events:
        now += wait
        before = (breaker.open, breaker.dead)
        if good:
            news = breaker.fine()
            row = row if dead else []
        else:
            news = breaker.failed(now)
            row.append(now)
            dead = dead or (len(row) > 3 and now - row[2] >= 60.0)
        assert (breaker.open, breaker.dead) == (len(row) >= 3, dead)
        assert news == (before != (breaker.open, breaker.dead))
