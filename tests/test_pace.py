"""The pace of one host: rate with burst, concurrency, blocks, faults in a row."""

from __future__ import annotations

from math import inf
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.pace import Pace, PaceLimits
from crawler.retry import Backoff

BACKOFF = Backoff()
RNG = Random(1)
SIZES = st.integers(1, 20)


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


def penalised(pace: Pace, *faults: tuple[float, float], wait: float | None = None) -> list[float]:
    """The blocks, in seconds, after requests sent and refused at those moments."""
    blocks = []
    for sent_at, now in faults:
        pace.busy(sent_at, now, wait, BACKOFF, RNG)
        blocks.append(pace.blocked_until - now)
    return blocks


def test_faults_of_one_window_count_once() -> None:
    """Requests that went out before the first fault was known are the same fault; later ones are another."""
    pace = Pace(PaceLimits(64))
    first, *same = penalised(pace, (9.0, 10.0), (9.5, 10.0), (9.9, 10.0))
    assert (0.25 <= first <= 0.5, same, pace.faults) == (True, [first, first], 1)
    (second,) = penalised(pace, (10.5, 12.0))
    assert 0.5 <= second <= 1.0
    assert pace.faults == 2


def test_faults_are_forgiven_after_quiet_time() -> None:
    """An answer right after a block ends no row of faults; one that came after as long a quiet time does."""
    pace = Pace(PaceLimits(1))
    (block,) = penalised(pace, (0.0, 10.0))
    pace.fine(10.0 + block, 10.1 + block, 0.1)
    assert pace.faults == 1
    pace.fine(9.0, 11.0 + 2 * block, 0.1)  # was sent before the fault
    assert pace.faults == 1
    pace.fine(10.0 + 2 * block, 10.1 + 2 * block, 0.1)
    assert pace.faults == 0


def test_retry_after_is_obeyed_with_jitter_on_top() -> None:
    """The host is left alone for what it says, and not a tenth longer; a second answer can only move that later."""
    pace = Pace(PaceLimits(64))
    (block,) = penalised(pace, (0.0, 10.0), wait=5.0)
    assert 5.0 <= block <= 5.5
    assert penalised(pace, (1.0, 11.0), wait=8.0) == [8.0]
    assert penalised(pace, (1.0, 12.0), wait=1.0) == [7.0]
    assert pace.faults == 1


def test_a_server_whose_retry_after_is_too_short_is_left_alone_longer() -> None:
    """After three windows in a row its own word is no longer taken alone."""
    pace = Pace(PaceLimits(64, adaptive=True))
    now, blocks = 0.0, []
    for _ in range(9):
        blocks += penalised(pace, (now, now), wait=1.0)
        now = pace.blocked_until
    assert max(blocks[:3]) <= 1.1
    assert blocks[-1] >= 8.0


def test_an_allowance_is_used_up_and_waits_for_its_reset() -> None:
    """Of three requests left, two are in flight already: one may go, the next waits for the reset."""
    pace = Pace(PaceLimits(64))
    pace.take(0.0)
    pace.take(0.0)
    pace.allow(3, 60.0)
    assert pace.not_before(1.0) <= 1.0
    pace.take(1.0)
    assert pace.not_before(1.0) == 60.0
    pace.release()
    assert pace.not_before(1.0) == 60.0
    pace.take(60.0)
    assert pace.not_before(60.0) <= 60.0


def test_a_crawl_delay_goes_one_by_one() -> None:
    """A request each so many seconds, the first so long after robots.txt, and never two at once."""
    pace = Pace(PaceLimits(8, 100.0, 50))
    pace.slow_to(2.0, 10.0)
    assert pace.not_before(10.0) == 12.0
    pace.take(12.0)
    assert pace.not_before(12.0) == inf
    pace.release()
    assert pace.not_before(12.0) == 14.0


def test_a_broken_host_is_probed_and_given_up() -> None:
    """After ten failures one request at a time; when a probe fails after `give_up` seconds, the host is dead."""
    pace = Pace(PaceLimits(8, give_up=60.0))
    assert [pace.down(0.0, 1.0, None, BACKOFF, RNG) for _ in range(10)] == [True] + [False] * 8 + [True]
    assert pace.concurrency == 1
    now = 1.0
    probes = 0
    while not pace.dead:
        now = max(now, pace.not_before(now))
        pace.take(now)
        assert pace.not_before(now) == inf
        pace.release()
        pace.down(now, now + 0.1, None, BACKOFF, RNG)
        probes += 1
    assert 61.0 <= now <= 61.0 + 7.5
    assert probes >= 8
    assert pace.not_before(now) == -inf
    pace.fine(now, now, 0.1)
    assert pace.dead


def test_what_was_taken_before_a_block_and_fails_during_it_is_the_same_fault() -> None:
    """Twenty requests that fail as fast as they are begun, one after another, escalate a block once."""
    pace = Pace(PaceLimits(20))
    assert pace.down(10.0, 10.0, None, BACKOFF, RNG)
    until = pace.blocked_until
    assert not any(pace.down(10.0 + step / 1000, 10.0 + step / 1000, None, BACKOFF, RNG) for step in range(1, 9))
    assert (pace.blocked_until, pace.faults) == (until, 1)
    assert pace.down(until, until + 0.1, None, BACKOFF, RNG)
    assert pace.faults == 2


def test_one_good_answer_closes_the_circuit() -> None:
    """The host is asked as before."""
    pace = Pace(PaceLimits(8))
    for _ in range(10):
        pace.error(1.0)
    pace.fine(2.0, 2.0, 0.1)
    assert pace.concurrency == 8
    assert pace.breaker is not None
    assert not pace.breaker.open


def test_what_is_learned_survives_a_restart() -> None:
    """Blocks, rate, concurrency, failures and death come back; a new run forgives the last two."""
    limits = PaceLimits(8, adaptive=True, break_after=2, give_up=1.0)
    pace = Pace(limits)
    for second in range(20):
        pace.fine(second, second, 0.1)
    penalised(pace, (20.0, 20.0), wait=30.0)
    for now in (21.0, 22.0, 24.0):
        pace.down(now, now, None, BACKOFF, RNG)
    again = Pace(limits)
    again.restore(pace.state(), 30.0)
    assert again.state() == pace.state()
    assert pace.state().shifted(100.0).opened_at == 122.0
    assert again.dead
    forgiven = Pace(limits)
    forgiven.restore(pace.state().forgiven(), 30.0)
    assert (forgiven.dead, forgiven.faults) == (False, 0)
    assert forgiven.blocked_until == pace.blocked_until
    assert forgiven.learned is not None
    assert pace.learned is not None
    assert (forgiven.learned.rate, forgiven.concurrency) == (pace.learned.rate, pace.learned.concurrency)


@given(
    events=st.lists(
        st.tuples(st.sampled_from(["take", "fine", "busy", "down", "slow"]), st.integers(0, 16)), max_size=60
    )
)
def test_what_is_learned_only_slows_down(events: list[tuple[str, int]]) -> None:
    """Whatever a host answers, no window holds more than rate*w + burst, nor more than its slots at once."""
    limits = PaceLimits(3, 4.0, 3, adaptive=True, min_rate=0.5, break_after=4, give_up=5.0)
    pace, now, sent = Pace(limits), 0.0, []
    for event, eighths in events:
        now += eighths / 8
        if event == "take":
            due = pace.not_before(now)
            if pace.dead or due == inf:
                continue
            now = max(now, due)
            pace.take(now)
            sent.append(now)
            assert pace.in_flight <= 3
        elif event == "slow":
            pace.slow_to(eighths / 8, now)
        elif pace.in_flight:
            pace.release()
            if event == "fine":
                pace.fine(now, now, eighths / 8)
            else:
                (pace.busy if event == "busy" else pace.down)(now, now, None, BACKOFF, RNG)
    for first, at in enumerate(sent):
        for last in range(first, len(sent)):
            assert last - first + 1 <= 4.0 * (sent[last] - at) + 3 + 1e-6


def test_it_shows_its_state() -> None:
    """The repr tells slots, interval, block, faults, what was learned and the circuit."""
    pace = Pace(PaceLimits(3, 4.0, adaptive=True))
    pace.take(1.0)
    pace.block(9.5)
    pace.fine(1.0, 1.5, 0.5)
    pace.error(2.0)
    said = "out=1/3 interval=0.25s blocked_until=9.500 faults=0"
    assert repr(pace) == f"<Pace {said} <Learned rate=any concurrency=3> <Breaker closed failures=1>>"


def test_other_limits_hold_from_the_next_request() -> None:
    """A debt to the old rate becomes the same number of requests at the new one, slower or faster, or none at all."""
    for rate, due in ((0.5, 1002.0), (2.0, 1000.5), (None, 1000.0)):
        pace = Pace(PaceLimits(1, 1.0))
        pace.take(1000.0)
        pace.release()
        pace.limit_to(PaceLimits(1, rate), 1000.0)
        assert max(1000.0, pace.not_before(1000.0)) == due


def test_an_hour_of_waiting_ends_when_its_limit_is_lifted() -> None:
    """A host that may be asked once an hour is asked at its new rate at once."""
    pace = Pace(PaceLimits(1, 1 / 3600))
    pace.take(0.0)
    pace.sent(0.0)
    pace.release()
    pace.limit_to(PaceLimits(4, 10.0), 60.0)
    assert 60.0 < pace.not_before(60.0) <= 60.1
    assert pace.concurrency == 4


@given(new=st.one_of(st.none(), st.floats(0.01, 1000)), slots=SIZES, now=st.floats(0, 100), burst=SIZES)
def test_no_limit_lifts_what_a_host_asked_for(new: float | None, slots: int, now: float, burst: int) -> None:
    """A block, a Crawl-delay, an allowance and a broken circuit hold whatever is set."""
    pace = Pace(PaceLimits(8, 5.0, break_after=2))
    pace.slow_to(30.0, 0.0)
    pace.block(50.0)
    pace.limit_to(PaceLimits(slots, new, burst, break_after=2), now)
    assert pace.concurrency == 1
    assert pace.interval >= 30.0
    assert pace.not_before(now) >= 50.0
    pace.slow_to(0.0, now)
    pace.allow(0, 200.0)
    for _ in range(2):
        pace.error(now)
    pace.limit_to(PaceLimits(slots, new, burst, break_after=2), now)
    assert pace.not_before(now) >= 200.0
    assert pace.concurrency == 1


@settings(max_examples=150)
@given(
    changes=st.lists(
        st.tuples(st.sampled_from([0.5, 1.0, 2.0, 5.0]), st.lists(st.floats(0, 3), max_size=8)), min_size=1, max_size=6
    ),
    burst=st.integers(1, 4),
)
def test_over_changes_no_window_holds_more_than_the_fastest_rate_allows(
    changes: list[tuple[float, list[float]]], burst: int
) -> None:
    """However often the rate is changed, none gains a burst by it."""
    pace = Pace(PaceLimits(1, changes[0][0], burst))
    fastest, now, log = max(rate for rate, _ in changes), 1000.0, list[float]()
    for rate, waits in changes:
        pace.limit_to(PaceLimits(1, rate, burst), now)
        log += takes_of(pace, waits, now)
        now = log[-1] if log else now
    for first in range(len(log)):
        for last in range(first, len(log)):
            assert last - first + 1 <= fastest * (log[last] - log[first]) + burst + 1e-6


def test_what_was_learned_holds_under_other_limits() -> None:
    """A rate that a host was seen to bear is not exceeded by a configured one that is higher."""
    pace = Pace(PaceLimits(8, 20.0, adaptive=True))
    pace.busy(0.0, 0.0, None, BACKOFF, RNG)
    assert pace.learned is not None
    learned = pace.learned.rate
    assert learned is not None
    assert learned < 20.0
    pace.limit_to(PaceLimits(8, 100.0, adaptive=True), 0.0)
    assert pace.interval == 1 / learned
    pace.limit_to(PaceLimits(8, learned / 2, adaptive=True), 0.0)
    assert pace.interval == 2 / learned
