"""The pace of one host: rate with burst, concurrency, blocks, faults in a row."""

from __future__ import annotations

from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.pace import Pace, PaceLimits


def takes_of(pace: Pace, waits: list[float], start: float = 1000.0) -> list[float]:
    """Ask after each wait, take when allowed, else at the moment that was named; return the moments of the takes."""
    now, log = start, []
    for wait in waits:
        now = max(now + wait, pace.not_before(now))
        pace.take(now)
        pace.release()
        log.append(now)
    return log


@settings(max_examples=150)
@given(
    rate=st.floats(0.01, 1000),
    burst=st.integers(1, 20),
    waits=st.lists(st.one_of(st.just(0.0), st.floats(0, 30)), min_size=1, max_size=40),
)
def test_no_window_holds_more_than_rate_and_burst(rate: float, burst: int, waits: list[float]) -> None:
    """In any window of w seconds at most rate*w + burst requests go, however the asking is timed."""
    log = takes_of(Pace(PaceLimits(1, rate, burst)), waits)
    for first in range(len(log)):
        for last in range(first, len(log)):
            assert last - first + 1 <= rate * (log[last] - log[first]) + burst + 1e-6 * rate


@settings(max_examples=150)
@given(rate=st.sampled_from([0.25, 1.0, 4.0]), burst=st.integers(1, 5), waits=st.lists(st.integers(0, 9), max_size=30))
def test_nothing_waits_longer_than_the_rate_demands(rate: float, burst: int, waits: list[int]) -> None:
    """A request that `not_before` puts off would break the limit if it went any earlier."""
    pace = Pace(PaceLimits(1, rate, burst))
    now = 0.0
    log: list[float] = []
    for wait in waits:
        now += wait / 4
        earliest = max(now, pace.not_before(now))
        needed = max((at + (len(log) - i + 1 - burst) / rate for i, at in enumerate(log)), default=now)
        assert earliest == max(now, needed)
        now = earliest
        pace.take(now)
        pace.release()
        log.append(now)


def test_a_burst_goes_at_once_and_then_the_rate_holds() -> None:
    """Ten requests with rate 5/s and burst 4: four at once, then one each 0.2 s."""
    log = takes_of(Pace(PaceLimits(1, 5.0, 4)), [0.0] * 10, start=0.0)
    assert [round(at, 9) for at in log] == [0, 0, 0, 0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2]


def test_no_rate_means_no_wait() -> None:
    """Without a rate only the slots count."""
    pace = Pace(PaceLimits(2))
    pace.take(7.0)
    assert pace.not_before(7.0) <= 7.0
    pace.take(7.0)
    assert pace.not_before(7.0) == inf
    pace.release()
    assert pace.not_before(7.0) <= 7.0
    assert pace.in_flight == 1


def test_a_restart_counts_the_burst_as_used_up() -> None:
    """After a restart requests go one by one at the even pace, the first after one interval."""
    pace = Pace(PaceLimits(1, 2.0, 5))
    pace.restart(100.0)
    assert takes_of(pace, [0.0] * 4, start=100.0) == [100.5, 101.0, 101.5, 102.0]


def test_a_restart_without_a_rate_changes_nothing() -> None:
    """A host without a rate may be asked at once after a restart."""
    pace = Pace(PaceLimits(1))
    pace.restart(100.0)
    assert pace.not_before(100.0) <= 100.0


def test_a_shorter_block_never_lifts_a_longer_one() -> None:
    """The latest moment of all blocks holds."""
    pace = Pace(PaceLimits(1))
    pace.block(50.0)
    pace.block(20.0)
    assert pace.not_before(10.0) == 50.0


def test_a_block_and_a_rate_hold_both() -> None:
    """The later of the two counts."""
    pace = Pace(PaceLimits(1, 0.5, 1))
    pace.take(10.0)
    pace.release()
    pace.block(11.0)
    assert pace.not_before(10.0) == 12.0
    pace.block(13.0)
    assert pace.not_before(10.0) == 13.0


def test_faults_of_one_window_count_once() -> None:
    """Requests that went out before the first fault was known are the same fault; later ones are another."""
    pace = Pace(PaceLimits(64))
    assert [pace.fault(sent_at, now=10.0) for sent_at in (9.0, 9.5, 9.9)] == [True, False, False]
    assert pace.faults == 1
    assert pace.fault(sent_at=10.5, now=12.0)
    assert pace.faults == 2


def test_a_good_answer_ends_the_row_of_faults() -> None:
    """Faults count in a row only."""
    pace = Pace(PaceLimits(1))
    pace.fault(1.0, 2.0)
    pace.fine()
    assert pace.faults == 0


def test_it_shows_its_state() -> None:
    """The repr tells slots, interval, block and faults."""
    pace = Pace(PaceLimits(3, 4.0))
    pace.take(1.0)
    pace.block(9.5)
    assert repr(pace) == "<Pace out=1/3 interval=0.25s blocked_until=9.500 faults=0>"
