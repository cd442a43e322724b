"""Which proxy of a pool is taken, through failures and over time."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.proxies import FAILURES, FIRST, LONGEST, ProxyPool
from crawler.routes import Proxy

A, B, C = ALL = [Proxy("http", f"p{number}.test", 3128) for number in range(3)]


def put_out(pool: ProxyPool, proxy: Proxy, now: float) -> None:
    for _ in range(FAILURES):
        pool.failed(proxy, now)


def test_each_request_takes_the_next_one() -> None:
    """In the order given, and round again."""
    pool = ProxyPool(ALL)
    assert [pool.choose("a.test", 0) for _ in range(7)] == [A, B, C, A, B, C, A]


def test_one_failure_says_nothing() -> None:
    """Nor do two with a success between them."""
    pool = ProxyPool([A, B])
    pool.failed(A, 0)
    pool.worked(A, 0)
    pool.failed(A, 0)
    assert [pool.choose("a.test", 0) for _ in range(4)] == [A, B, A, B]


def test_two_failures_put_a_proxy_out_for_half_a_minute() -> None:
    """The others share what it would have had."""
    pool = ProxyPool(ALL)
    put_out(pool, B, 10)
    assert [pool.choose("a.test", 10 + FIRST - 0.1) for _ in range(4)] == [A, C, A, C]
    assert B in [pool.choose("a.test", 10 + FIRST) for _ in range(3)]


def test_one_request_tries_it_again_while_the_others_wait() -> None:
    """A success brings it back, a failure puts it out for twice as long."""
    pool = ProxyPool([A, B])
    put_out(pool, A, 0)
    now = FIRST
    assert [pool.choose("a.test", now) for _ in range(4)] in ([A, B, B, B], [B, A, B, B])
    pool.failed(A, now)
    assert {pool.choose("a.test", now + 2 * FIRST - 0.1) for _ in range(4)} == {B}
    now += 2 * FIRST
    assert [pool.choose("a.test", now) for _ in range(4)].count(A) == 1
    pool.worked(A, now)
    assert [pool.choose("a.test", now) for _ in range(4)].count(A) == 2


def test_a_probe_without_an_end_does_not_keep_it_out_for_ever() -> None:
    """The request may have been cancelled, or have failed for another reason."""
    pool = ProxyPool([A, B])
    put_out(pool, A, 0)
    assert A in [pool.choose("a.test", FIRST) for _ in range(2)]
    assert A in [pool.choose("a.test", 2 * FIRST) for _ in range(2)]


def test_requests_under_way_when_it_was_put_out_do_not_count() -> None:
    """A hundred of them end with the same failure: it is one."""
    pool = ProxyPool([A, B])
    put_out(pool, A, 0)
    for _ in range(100):
        pool.failed(A, 1)
    assert A in [pool.choose("a.test", FIRST) for _ in range(2)]


def test_the_time_out_grows_to_ten_minutes() -> None:
    """Doubled with each probe that fails."""
    pool, now, waits = ProxyPool([A, B]), 0.0, []
    put_out(pool, A, now)
    for _ in range(12):
        began = now
        while A not in [pool.choose("a.test", now) for _ in range(2)]:
            now += 10
        waits.append(now - began)
        pool.failed(A, now)
    assert waits[:5] == [30, 60, 120, 240, 480]
    assert set(waits[5:]) == {LONGEST}


def test_when_all_are_out_the_first_to_come_back_is_given() -> None:
    """There is always one: nobody goes without a proxy because they are dead."""
    pool = ProxyPool([A, B])
    put_out(pool, A, 5)
    put_out(pool, B, 0)
    assert {pool.choose("a.test", 6) for _ in range(3)} == {B}
    pool.worked(B, 7)
    assert {pool.choose("a.test", 7) for _ in range(3)} == {B}


def test_a_host_keeps_its_proxy() -> None:
    """Another one while that is out, the same one again afterwards; hosts spread over all."""
    pool = ProxyPool(ALL, "host")
    hosts = [f"h{number}.test" for number in range(300)]
    first = {host: pool.choose(host, 0) for host in hosts}
    assert {host: pool.choose(host, 1) for host in hosts} == first
    assert min(Counter(first.values()).values()) > 60
    put_out(pool, A, 2)
    moved = {host: pool.choose(host, 3) for host in hosts}
    assert all(moved[host] == first[host] for host in hosts if first[host] != A)
    assert {moved[host] for host in hosts if first[host] == A} == {B, C}
    pool.worked(A, 4)
    assert {host: pool.choose(host, 5) for host in hosts} == first


def test_a_long_host_has_its_proxy_too() -> None:
    """Whatever its length."""
    pool = ProxyPool(ALL, "host")
    assert {pool.choose("a" * 250 + ".test", now) for now in range(5)} <= set(ALL)


def test_a_pool_of_none_is_refused() -> None:
    """It could give nothing."""
    with pytest.raises(ValueError, match="needs a proxy"):
        ProxyPool([])


EVENTS = st.lists(st.tuples(st.sampled_from(["fail", "work", "choose", "wait"]), st.integers(0, 2)), max_size=80)


@given(EVENTS, st.sampled_from(["each", "host"]))
def test_what_is_out_is_not_given_while_another_lives(events: list[tuple[str, int]], rotate: str) -> None:
    """By a model that knows since when each is out, whatever happens in whatever order."""
    pool, now = ProxyPool(ALL, "host" if rotate == "host" else "each"), 0.0
    bad, out_at = [0, 0, 0], [None, None, None]  # failures in a row; when put out
    for what, which in events:
        now += 1 if what != "wait" else 11
        if what == "work":
            pool.worked(ALL[which], now)
            bad[which], out_at[which] = 0, None
        elif what == "fail":
            pool.failed(ALL[which], now)
            bad[which] += 1
            if bad[which] == FAILURES:
                out_at[which] = now
        else:
            given_one = ALL.index(pool.choose(f"h{which}.test", now))
            inside = [one for one in range(3) if out_at[one] is None]
            since = out_at[given_one]
            assert since is None or not inside or now - since >= FIRST


@given(st.sets(st.integers(0, 4), max_size=4), st.integers(1, 6))
def test_the_living_share_alike(dead: set[int], rounds: int) -> None:
    """However many are out, and wherever they stand in the ring."""
    ring = [Proxy("http", f"p{number}.test", 1) for number in range(5)]
    pool = ProxyPool(ring)
    for number in dead:
        put_out(pool, ring[number], 0)
    living = len(ring) - len(dead)
    taken = Counter(pool.choose("a.test", 1) for _ in range(rounds * living))
    assert taken == {ring[number]: rounds for number in range(5) if number not in dead}
