"""The least time that politeness and latencies leave."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf, isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.bound import Share, bound_of, eta, held_by, lower_bound
from crawler.pace import Pace, PaceLimits

RATES = st.none() | st.floats(0.01, 1000)
SHARES = st.builds(
    Share,
    key=st.sampled_from("abcdef"),
    requests=st.integers(0, 200),
    rate=RATES,
    burst=st.integers(0, 20),
    delay=st.just(0.0) | st.floats(0.001, 60),
    concurrency=st.integers(1, 16),
    latency=st.none() | st.floats(0, 10),
    blocked=st.floats(-10, 100),
)


def last_take(requests: int, limits: PaceLimits, blocked: float) -> float:
    """When the last request goes if each is sent as soon as the pace lets it, the first at the moment 0."""
    pace = Pace(limits)
    pace.block(blocked)
    now = 0.0
    for _ in range(requests):
        now = max(now, pace.not_before(now))
        pace.take(now)
        pace.release()
    return now


@given(
    requests=st.integers(0, 200),
    rate=RATES,
    burst=st.integers(1, 20),
    delay=st.just(0.0) | st.floats(0.001, 60),
    blocked=st.floats(0, 100),
)
def test_a_greedy_host_takes_exactly_its_bound(
    requests: int, rate: float | None, burst: int, delay: float, blocked: float
) -> None:
    """The bound is what the pace itself needs when nothing else is in the way, and never more."""
    share = Share("a", requests, rate, burst, delay, blocked=blocked)
    took = last_take(requests, PaceLimits(1, rate, burst, delay=delay), blocked) if requests else 0.0
    assert isclose(bound_of(share), took, rel_tol=1e-9, abs_tol=1e-9)


@given(requests=st.integers(1, 50), rate=st.floats(0.01, 1000), burst=st.integers(1, 20))
def test_a_burst_of_none_is_the_pace_after_a_restart(requests: int, rate: float, burst: int) -> None:
    """Where the burst may be used up, each request waits for its turn."""
    pace = Pace(PaceLimits(1, rate, burst))
    pace.restart(0.0)
    now = 0.0
    for _ in range(requests):
        now = max(now, pace.not_before(now))
        pace.take(now)
        pace.release()
    assert isclose(bound_of(Share("a", requests, rate, 0)), now, rel_tol=1e-9)


@given(SHARES, st.integers(1, 50))
def test_more_requests_never_take_less(share: Share, more: int) -> None:
    """The bound is monotone in the requests, and never negative."""
    assert 0 <= bound_of(share) <= bound_of(share._replace(requests=share.requests + more))


@given(st.lists(SHARES, max_size=20), RATES, st.integers(1, 64))
def test_the_job_takes_as_long_as_its_longest_host(shares: list[Share], rate: float | None, workers: int) -> None:
    """The bound of a job is below none of its parts, is set by one of them, and lists the five longest in order."""
    bound = lower_bound(iter(shares), rate=rate, workers=workers)
    bounds = sorted(map(bound_of, shares), reverse=True)
    assert [timed.seconds for timed in bound.longest] == bounds[:5]
    assert [bound_of(timed.share) for timed in bound.longest] == bounds[:5]
    busy = sum(share.requests * (share.latency or 0.0) for share in shares)
    assert bound.seconds >= max([0.0, busy / workers * (1 - 1e-12), *bounds])
    if bound.key not in ("limits.rate", "limits.workers", ""):
        assert bound.seconds == max(bound_of(share) for share in shares if share.key == bound.key)
    assert (bound.key == "") == (bound.seconds == 0)


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (Share("a", 0, 1.0, blocked=60.0), ("", 0.0)),
        (Share("a", 100), ("", 0.0)),
        (Share("a", 1, 1.0, delay=5.0), ("", 0.0)),
        (Share("a", 101, 2.0), ("rate", 50.0)),
        (Share("a", 101, 2.0, burst=11), ("rate", 45.0)),
        (Share("a", 101, 2.0, burst=11, delay=0.1), ("rate", 50.0)),
        (Share("a", 101, 2.0, delay=1.0), ("delay", 100.0)),
        (Share("a", 100, concurrency=4, latency=0.2), ("latency", 5.0)),
        (Share("a", 1, blocked=60.0), ("blocked", 60.0)),
        (Share("a", 101, 2.0, blocked=60.0), ("blocked", 110.0)),
        (Share("a", 101, 2.0, blocked=10.0), ("rate", 60.0)),
    ],
)
def test_what_holds_a_host_up(share: Share, expected: tuple[str, float]) -> None:
    """The limit that needs longest is named; a block comes before all of them."""
    assert held_by(share) == expected


def test_what_all_share_may_need_longer() -> None:
    """A hundred hosts with a hundred requests each are held up by the job's own rate or its workers."""
    shares = [Share(f"h{number}", 100, 100.0, latency=0.01) for number in range(100)]
    assert lower_bound(shares, rate=None, workers=1000)[:2] == (1.0, "h0")
    assert lower_bound(shares, rate=10.0, workers=1000)[:2] == (999.9, "limits.rate")
    assert lower_bound(shares, rate=100.0, workers=1000)[:2] == (99.95, "limits.rate")
    seconds, key, _ = lower_bound(shares, rate=None, workers=2)
    assert (round(seconds, 6), key) == (50.0, "limits.workers")


def test_the_first_of_equal_hosts_is_named() -> None:
    """The order of equal hosts is that in which they came, so that two plans of one list read alike."""
    shares = [Share(key, 11, 1.0) for key in "fedcba"]
    bound = lower_bound(shares, rate=None, workers=1, top=3)
    assert bound[:2] == (10.0, "f")
    assert [timed.share.key for timed in bound.longest] == ["f", "e", "d"]


def test_shares_are_not_kept() -> None:
    """A hundred thousand hosts pass one by one."""

    def shares() -> Iterator[Share]:
        for number in range(100_000):
            yield Share("host", number % 1000, 1.0)

    assert lower_bound(shares(), rate=None, workers=1).seconds == 998.0


def test_no_host_no_time() -> None:
    """An empty list takes no time and is held up by nothing."""
    assert lower_bound([], rate=1.0, workers=1) == (0.0, "", ())


@pytest.mark.parametrize(
    ("longest", "waiting", "speed", "expected"),
    [(100.0, 50, 10.0, 100.0), (1.0, 50, 10.0, 5.0), (7.0, 50, 0.0, inf), (0.0, 0, 0.0, 0.0), (7.0, 0, 0.0, 7.0)],
)
def test_the_eta_is_the_larger_of_both(longest: float, waiting: int, speed: float, expected: float) -> None:
    """One slow host outlasts the speed of the many before it; nothing ends while nothing moves."""
    assert eta(longest, waiting, speed) == expected
