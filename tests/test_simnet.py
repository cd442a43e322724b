"""The judge of server logs and the lower bound: made-up logs, most of which must be found guilty."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.simnet import (
    Behaviour,
    Host,
    Seen,
    by_host,
    down,
    early_after,
    flaky,
    least_time,
    limited,
    lower_bound,
    most_at_once,
    plain,
    slow_body,
    stalling,
    worst_window,
)


def seen(
    begin: float, end: float | None = None, *, host: str = "a", status: int = 200, wait: float | None = None
) -> Seen:
    return Seen(begin, begin if end is None else end, host, "/", status, wait)


def test_a_log_is_parted_by_host_in_order_of_the_begins() -> None:
    """Entries of two hosts, written as they came, are told apart and sorted."""
    log = [seen(2.0, host="b"), seen(1.0), seen(0.0, host="b")]
    assert by_host(log) == {"b": [log[2], log[0]], "a": [log[1]]}


def test_three_requests_under_way_are_three() -> None:
    """Requests that overlap are counted, however many were over before."""
    assert most_at_once([seen(0, 1), seen(2, 6), seen(3, 5), seen(4, 7), seen(8, 9)]) == 3


def test_a_request_that_begins_as_another_ends_does_not_overlap() -> None:
    """Ends count before begins of the same moment; an empty log has none at once."""
    assert most_at_once([seen(0, 1), seen(1, 2), seen(2, 3)]) == 1
    assert most_at_once([]) == 0


def test_only_lost_connections_have_grace() -> None:
    """A connection noticed as lost a little after the next request came is forgiven, a late answer is not."""
    lost = [seen(0, 1.01, status=0), seen(1, 2)]
    assert most_at_once(lost) == 2
    assert most_at_once(lost, grace=0.02) == 1
    assert most_at_once([seen(0, 1.01), seen(1, 2)], grace=0.02) == 2


def test_an_even_pace_after_its_burst_is_no_excess() -> None:
    """Three at once and then one each tenth of a second fill rate 10/s with burst 3 exactly."""
    log = [seen(0), seen(0), *(seen(step / 10) for step in range(20))]
    assert worst_window(log, 10, 3) == pytest.approx(0)


def test_one_request_too_many_in_a_burst_is_an_excess_of_one() -> None:
    """Four at once, where three are allowed, stand out after any quiet time and among any others."""
    quiet = [seen(step) for step in range(100)]
    assert worst_window([*quiet, *(seen(200.0) for _ in range(4))], 10, 3) == pytest.approx(1)


def test_a_burst_that_comes_twice_is_found() -> None:
    """A client that forgets its bucket in a new start sends its burst again."""
    log = [seen(step / 10) for step in range(10)] + [seen(1.0) for _ in range(5)]
    assert worst_window(log, 10, 5) == pytest.approx(0)
    assert worst_window([*log, seen(1.05)], 10, 5) == pytest.approx(0.5)


def test_a_pace_that_is_slightly_too_fast_is_found_in_a_long_window() -> None:
    """Two percent too many: no short window shows it, a hundred seconds do."""
    assert worst_window([seen(step / 10.2) for step in range(1020)], 10, 1) == pytest.approx(20, abs=0.1)


def test_tolerance_forgives_what_the_wire_adds() -> None:
    """A request 30 ms late and the next on time: within 50 ms of tolerance, not within 10."""
    log = [seen(0.0), seen(0.13), seen(0.2)]
    assert worst_window(log, 10, 1, 0.05) < 0 < worst_window(log, 10, 1, 0.01)


@settings(max_examples=200)
@given(
    begins=st.lists(st.floats(0, 20), min_size=1, max_size=25),
    rate=st.floats(0.1, 50),
    burst=st.integers(1, 5),
)
@example(begins=[0.0, 0.0], rate=1.0, burst=1)
def test_the_bucket_finds_the_worst_of_all_windows(begins: list[float], rate: float, burst: int) -> None:
    """One pass gives what looking at every window gives."""
    moments = sorted(begins)
    count = len(moments)
    every = max(
        last - first + 1 - rate * (moments[last] - moments[first]) - burst
        for first in range(count)
        for last in range(first, count)
    )
    assert worst_window([seen(begin) for begin in begins], rate, burst) == pytest.approx(every, abs=1e-6)


def test_a_request_within_the_wait_is_early() -> None:
    """A 429 written at 1 with a wait of 2 forbids all until 3, and nothing from then on."""
    told = seen(0.9, 1.0, status=429, wait=2.0)
    log = [told, seen(1.5), seen(2.999), seen(3.0)]
    assert early_after(log) == [log[1], log[2]]


def test_requests_that_crossed_the_answer_are_not_early() -> None:
    """What was sent before the 429 was written, or within the time of its way, could not know."""
    told = seen(0.9, 1.0, status=429, wait=2.0)
    crossing = [seen(0.95), seen(1.0), seen(1.04)]
    assert early_after([told, *crossing]) == []
    assert early_after([told, *crossing], transit=0.01) == [crossing[2]]


def test_who_was_killed_right_after_a_429_cannot_know_it() -> None:
    """But one that had the time to write it down must."""
    log = [seen(0, 0, status=429, wait=5), seen(1), seen(6)]
    assert early_after(log, kills=[0.1], unwritten=0.25) == []
    assert early_after(log, kills=[0.3], unwritten=0.25) == [log[1]]
    assert early_after(log, kills=[-0.3]) == [log[1]]
    assert early_after(log, kills=[-0.05]) == []  # on its way when the client was killed: nobody read the answer


def test_a_shorter_wait_never_lifts_a_longer_one() -> None:
    """The second 429 asks for one second, the first one's ten still hold; a headerless one asks for nothing."""
    log = [seen(0, 0, status=429, wait=10.0), seen(0.01, 0.01, status=429, wait=1.0), seen(5, status=429), seen(6)]
    assert early_after(log) == [log[2], log[3]]
    assert early_after([seen(0, 0, status=429), seen(0.5)]) == []


@pytest.mark.parametrize(
    ("behaviour", "rate", "seconds"),
    [
        (plain(0.5), 10.0, 9.8),  # (100 - 2) / 10
        (plain(2.0), 10.0, 25.0),  # 100 * 2 / 8: slower than the rate
        (slow_body(2.0), 10.0, 25.0),
        (limited(4.0, 20, "retry-after"), 10.0, 20.0),  # the server's rate and burst
        (limited(50.0, 1, "headerless"), 10.0, 9.8),  # the client's own rate
        (flaky(0.5), math.inf, 0.0625),  # 100 * 0.005 / 8
        (down(), 10.0, 3.0),
        (stalling(), 10.0, 3.0),
    ],
)
def test_a_host_takes_what_its_tightest_limit_says(behaviour: Behaviour, rate: float, seconds: float) -> None:
    """The client's rate, the server's, the latency over all slots, or the time for giving up a dead host."""
    assert least_time(Host("a", behaviour, 100, 8, rate, 2), 3.0) == pytest.approx(seconds)


def test_the_slowest_host_sets_the_bound() -> None:
    """Hosts are served beside each other: the bound is a maximum, and names its host; a dead host unasked sets none."""
    hosts = [Host("a", plain(0.01), 10, 8, 5.0), Host("b", plain(0.01), 100, 8, 5.0), Host("c", down(), 0, 8)]
    bound = lower_bound(hosts, 100.0)
    assert bound.host == "b"
    assert bound.seconds == pytest.approx(19.8)
