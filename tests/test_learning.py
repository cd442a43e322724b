"""What is learned of a host, alone and at work: a whole pace against simulated servers, in simulated time."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import pairwise
from math import ceil
from random import Random
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.learning import Learned
from crawler.pace import Pace, PaceLimits
from crawler.retry import Backoff

SETTLED = 60.0  # seconds that a host may take to be known
END = 150.0
BACKOFF = Backoff()


class Said(NamedTuple):
    """What a simulated server answers: well, that it is asked too much (429), or that it is down (503)."""

    kind: str
    wait: float | None = None


FINE = Said("fine")
Server = Callable[[float], Said]


class Heard(NamedTuple):
    """An answer as it came."""

    at: float
    kind: str
    concurrency: int


def limiter(rate: float, burst: int, *, hint: bool) -> Server:
    """A token bucket; with `hint` its 429 says in whole seconds when the next request may come."""
    level, checked = float(burst), 0.0

    def serve(now: float) -> Said:
        nonlocal level, checked
        level, checked = min(burst, level + (now - checked) * rate), now
        if level < 1.0 - 1e-9:
            return Said("busy", max(1.0, ceil((1.0 - level) / rate)) if hint else None)
        level -= 1.0
        return FINE

    return serve


def asked(
    serve: Server, latency: Callable[[float], float], end: float, *, min_rate: float = 0.1, slots: int = 8
) -> list[Heard]:
    """Ask as fast as the pace allows, always with something left to ask; the server decides half way."""
    pace = Pace(PaceLimits(slots, adaptive=True, min_rate=min_rate))
    rng = Random(1)
    travelling: list[tuple[float, int, float, Said | None]] = []
    now, number = 0.0, 0
    heard: list[Heard] = []
    while now < end:
        due = pace.not_before(now)
        if due <= now:
            now += 1e-6  # no two things happen at once
            pace.take(now)
            number += 1
            heappush(travelling, (now + latency(now) / 2, number, now, None))
        elif not travelling or due < travelling[0][0]:
            now = due
        else:
            now, one, sent_at, said = heappop(travelling)
            if said is None:
                heappush(travelling, (now + (now - sent_at), one, sent_at, serve(now)))
                continue
            pace.release()
            if said.kind == "fine":
                pace.fine(sent_at, now, now - sent_at)
            else:
                tell = pace.busy if said.kind == "busy" else pace.down
                tell(sent_at, now, said.wait, BACKOFF, rng)
            heard.append(Heard(now, said.kind, pace.concurrency))
    return heard


def between(heard: list[Heard], start: float, end: float) -> tuple[float, float]:
    """Good answers and others, a second, of those that came in between."""
    kinds = [one.kind for one in heard if start <= one.at < end]
    return kinds.count("fine") / (end - start), (len(kinds) - kinds.count("fine")) / (end - start)


@pytest.mark.parametrize("latency", [0.01, 0.05, 0.2, 0.5])
@pytest.mark.parametrize("hint", [False, True])
@pytest.mark.parametrize("burst", [1, 5, 20])
@pytest.mark.parametrize("rate", [0.5, 2.0, 5.0, 20.0, 100.0])
def test_a_limit_is_found_and_used(rate: float, burst: int, hint: bool, latency: float) -> None:
    """Once settled at least 80 % of what the server allows is used, and less than 10 % of the requests are refused."""
    good, refused = between(asked(limiter(rate, burst, hint=hint), lambda _: latency, END), SETTLED, END)
    assert good >= 0.8 * min(rate, 8 / latency)
    assert refused < 0.1 * (good + refused)


@pytest.mark.parametrize("jitter", [0.02, 0.2])
def test_latency_that_wavers_makes_it_slower_but_not_rude(jitter: float) -> None:
    """Where requests arrive unevenly at a server without any burst, half of its limit is used at least."""
    rng = Random(2)
    heard = asked(limiter(20.0, 1, hint=False), lambda _: 0.2 * (1 + jitter * (rng.random() - 0.5)), END)
    good, refused = between(heard, SETTLED, END)
    assert good >= 10.0
    assert refused < 0.1 * (good + refused)


def test_a_limit_that_is_raised_is_found_again() -> None:
    """A server that allows ten times as much from some moment on is used at 80 % of that within a minute and a half."""
    before, after = limiter(2.0, 5, hint=False), limiter(20.0, 5, hint=False)
    heard = asked(lambda now: before(now) if now < 100 else after(now), lambda _: 0.1, 250.0)
    assert between(heard, 190.0, 250.0)[0] >= 0.8 * 20.0


def test_a_limit_that_falls_is_found_at_once() -> None:
    """A server that allows a tenth from some moment on refuses less than a request a second from then on."""
    before, after = limiter(20.0, 5, hint=False), limiter(2.0, 5, hint=False)
    heard = asked(lambda now: before(now) if now < 100 else after(now), lambda _: 0.1, 160.0)
    assert between(heard, 100.0, 160.0)[1] < 1.0
    good, refused = between(heard, 130.0, 160.0)
    assert good >= 0.8 * 2.0
    assert refused < 0.1 * (good + refused)


@pytest.mark.parametrize("kind", ["busy", "down"])
@pytest.mark.parametrize("seed", range(4))
def test_errors_at_random_slow_down_but_do_not_stop(kind: str, seed: int) -> None:
    """A server that refuses 30 % is asked at no less than the lowest rate, and is back at full speed in a minute."""
    rng = Random(seed)
    heard = asked(
        lambda now: Said(kind) if now < 120 and rng.random() < 0.3 else FINE, lambda _: 0.05, 240.0, min_rate=1.0
    )
    good, refused = between(heard, 30.0, 120.0)
    assert good + refused >= 0.9 * 1.0
    back, _ = between(heard, 180.0, 240.0)
    assert back >= 0.8 * 8 / 0.05


def test_latency_that_grows_halves_the_concurrency_once() -> None:
    """Thirty slow answers: four of eight slots; a few seconds later all are in use again."""
    slow = 0

    def latency(now: float) -> float:
        nonlocal slow
        slow += now >= 30.0
        return 2.0 if 0 < slow <= 30 else 0.05

    slots = [one.concurrency for one in asked(lambda _: FINE, latency, 60.0)]
    assert min(slots) == 4
    assert slots[-1] == 8
    falls = [after for before, after in pairwise(slots) if after < before]
    assert falls == [4]


def test_a_latency_that_stays_is_taken_for_what_it_is() -> None:
    """A host that has become slow whatever is asked of it is tried with few requests, then asked as before."""
    heard = asked(lambda _: FINE, lambda now: 0.05 if now < 20.0 else 1.5, 200.0)
    assert min(one.concurrency for one in heard) == 1
    assert {one.concurrency for one in heard if one.at > 120.0} == {8}


@pytest.mark.parametrize(("fast", "slow", "share"), [(0.01, 0.8, 0.5), (0.01, 1.5, 0.5), (0.02, 0.9, 0.9)])
def test_pages_that_differ_are_no_growth(fast: float, slow: float, share: float) -> None:
    """A host with quick and slow pages, mixed, is asked as fast as without learning."""
    rng = Random(3)
    heard = asked(lambda _: FINE, lambda _: slow if rng.random() < share else fast, 80.0)
    assert between(heard, 20.0, 80.0)[0] >= 0.85 * 8 / (slow * share + fast * (1 - share))


def test_a_server_that_queues_is_not_buried() -> None:
    """One that works off twenty requests a second, one by one, is kept busy with far less than 64 in its queue."""
    free_at, waits = 0.0, []

    def latency(now: float) -> float:
        nonlocal free_at
        free_at = max(free_at, now) + 0.05
        waits.append(free_at - now)
        return waits[-1]

    heard = asked(lambda _: FINE, latency, 120.0, slots=64)
    assert between(heard, 60.0, 120.0)[0] >= 0.95 * 20
    assert max(waits[-1200:]) < 0.8 * 64 * 0.05
    slots = [one.concurrency for one in heard if one.at > 60]
    assert sum(slots) / len(slots) < 0.6 * 64


def test_good_answers_between_faults_keep_the_blocks_short() -> None:
    """Where requests come through it is the rate that falls; where none does, each block is longer."""
    pace = Pace(PaceLimits(8, adaptive=True, min_rate=0.1))
    now, faults = 0.0, []
    for good in [True] * 5 + [False] * 5 + [True] * 3:
        now = pace.blocked_until + 1.0 if pace.faults else 1.0
        if good:
            pace.fine(now, now, 0.1)
        pace.busy(now, now, None, BACKOFF, Random(1))
        faults.append(pace.faults)
    assert faults == [1, 1, 1, 1, 1, 2, 3, 4, 5, 6, 3, 1, 1]


def test_the_pace_learned_holds_from_the_complaint_on() -> None:
    """However short the block is, the next request comes an interval later."""
    pace = Pace(PaceLimits(8, adaptive=True, min_rate=0.1))
    pace.take(0.0)
    pace.release()
    pace.busy(0.0, 0.1, 0.0, BACKOFF, Random(1))
    assert pace.learned is not None
    assert pace.learned.rate == 0.9
    assert pace.not_before(0.1) == pytest.approx(0.1 + 1 / 0.9)


def test_a_burst_says_nothing_about_a_rate() -> None:
    """Five answers in a tenth of a second are at first taken for five a second; from there it climbs by a fifth."""
    learned = Learned(8, None, 0.0)
    for tenth in range(5):
        learned.fine(tenth / 50, 0.01)
    learned.too_fast(0.1, 0.5)
    assert learned.rate == pytest.approx(4.5)
    assert learned.ceiling is None
    for half in range(1, 5):
        learned.fine(0.1 + half / 2, 0.01)
    assert learned.rate == pytest.approx(4.5 * 1.1**4)  # half a second counts of each pause


def test_a_long_time_without_complaint_measures_the_ceiling() -> None:
    """Nine tenths of the rate accepted so far, and then a hundredth of it a second."""
    learned = Learned(8, None, 0.0)
    for second in range(1, 31):
        learned.fine(second / 3, 0.01)
    learned.too_fast(10.0, 0.5)
    ceiling, before = learned.ceiling, learned.rate
    assert ceiling == pytest.approx(3.0, rel=0.01)
    assert ceiling is not None
    assert before == pytest.approx(0.9 * ceiling)
    assert before is not None
    for number in range(1, 4):
        learned.fine(10.0 + number / 3, 0.01)
    assert learned.rate == pytest.approx(before + 0.01 * ceiling)


def test_a_complaint_after_nothing_but_complaints_teaches_nothing() -> None:
    """The rate stays: the answer to those is a longer block."""
    learned = Learned(8, None, 0.0)
    for second in range(30):
        learned.fine(second / 3, 0.01)
    learned.too_fast(10.0, 0.5)
    rate = learned.rate
    for second in range(11, 40):
        learned.too_fast(float(second), 0.5)
    assert learned.rate == rate


def test_a_host_that_begins_with_a_complaint_is_asked_once_a_second() -> None:
    """Nothing was accepted yet, and the lowest rate is lower."""
    learned = Learned(8, None, 0.0)
    learned.too_fast(0.0, 0.1)
    assert learned.rate == 0.9


def test_a_rate_that_is_not_used_does_not_climb() -> None:
    """Requests that come once in ten seconds prove nothing about ten a second."""
    learned = Learned(8, None, 0.0)
    learned.restore(10.0, 10.0, None)
    for number in range(1, 100):
        learned.fine(number * 10.0, 0.01)
    assert learned.rate == 10.0


@pytest.mark.parametrize("slots", [2, 8, 64, 1000])
def test_all_slots_are_regained_within_a_minute(slots: int) -> None:
    """However many there are, and however few were left."""
    learned = Learned(slots, None, 0.0)
    for _ in range(20):
        learned.too_much(0.0)
    assert learned.concurrency == 1
    for second in range(1, 61):
        learned.fine(float(second), 0.01)
    assert learned.concurrency == slots


def test_what_was_kept_is_bounded_by_the_limits_of_today() -> None:
    """Neither rate nor concurrency come back higher than what is configured, nor below one slot."""
    learned = Learned(4, 2.0, 0.0)
    learned.restore(50.0, 60.0, 100)
    assert (learned.rate, learned.concurrency) == (2.0, 4)
    learned.restore(1.0, None, 0)
    assert (learned.rate, learned.ceiling, learned.concurrency) == (1.0, None, 1)


def test_it_shows_what_it_learned() -> None:
    """Rate and concurrency."""
    learned = Learned(4, None, 0.0)
    assert repr(learned) == "<Learned rate=any concurrency=4>"
    learned.restore(2.5, None, 2)
    assert repr(learned) == "<Learned rate=2.5/s concurrency=2>"


@given(
    limit=st.one_of(st.none(), st.floats(0.5, 50.0)),
    events=st.lists(
        st.tuples(st.sampled_from(["fine", "fast", "much"]), st.floats(0.0, 20.0), st.floats(0.0, 5.0)), max_size=80
    ),
)
def test_rate_and_concurrency_stay_within_their_bounds(
    limit: float | None, events: list[tuple[str, float, float]]
) -> None:
    """Whatever comes, they fall only by complaints and slowness, rise only by good answers, and stay within bounds."""
    learned, now = Learned(8, limit, 0.0), 0.0
    for event, wait, latency in events:
        now += wait
        rate, slots = learned.rate, learned.concurrency
        if event == "fine":
            changed = learned.fine(now, latency)
            assert changed or (learned.rate, learned.concurrency) == (rate, slots)
            assert rate is None or (learned.rate is not None and learned.rate >= rate)
        elif event == "fast":
            learned.too_fast(now, 0.5)
            assert learned.rate is not None
            assert rate is None or learned.rate <= rate
            assert learned.concurrency == slots
        else:
            learned.too_much(now)
            assert (learned.rate, learned.concurrency) == (rate, max(1, learned.concurrency))
            assert learned.concurrency <= slots
        assert 1 <= learned.concurrency <= 8
        assert learned.rate is None or 0.5 <= learned.rate <= (limit or learned.rate)


def test_other_limits_bound_what_was_learned() -> None:
    """Slots that were never lost are as many as are allowed now; those that were lost are regained, and no more."""
    well, hurt = Learned(8, 10.0, 0.0), Learned(8, 10.0, 0.0)
    hurt.too_much(0.0)
    hurt.rate = 6.0
    for learned in (well, hurt):
        learned.limit_to(20, 50.0)
    assert (well.concurrency, hurt.concurrency, hurt.rate) == (20, 4, 6.0)
    for learned in (well, hurt):
        learned.limit_to(2, 3.0)
    assert (well.concurrency, hurt.concurrency, hurt.rate) == (2, 2, 3.0)


@pytest.mark.parametrize("limit", [12.0, None])
def test_what_was_learned_climbs_as_far_as_the_limit_of_now(limit: float | None) -> None:
    """A host that answers well is asked faster than the limit of before allowed, and no faster than that of now."""
    learned = Learned(8, 10.0, 0.0)
    learned.rate = 9.9
    learned.limit_to(8, limit)
    for number in range(1, 400):
        learned.fine(number / 10, 0.01)
    assert learned.rate is not None
    assert learned.rate > 10.0
    assert limit is None or learned.rate == limit
