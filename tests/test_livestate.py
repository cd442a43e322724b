"""The picture of a run at work: which hosts and requests are told, why a host waits, what is waited for."""

from __future__ import annotations

from random import Random
from time import process_time

import pytest

from crawler.frontier import Frontier
from crawler.livestate import (
    HOSTS,
    LINES,
    OLDEST,
    Hindered,
    HostState,
    Process,
    Weightiest,
    dump,
    host_state,
    oldest,
    waits_for,
)
from crawler.model import Request
from crawler.pace import PaceLimits
from crawler.retry import Backoff
from crawler.watch import Limits, Phase, Transfer
from tests.fakes import SNAPSHOT

FREE = Hindered(paused=False, stopping=False, full="", rate=None, paying=False, idle=4)
TWO = PaceLimits(2)
LIMITS = Limits(5, 15, 300, 30, 10)


def frontier(hosts: int, each: int = 1, limits: PaceLimits = TWO) -> Frontier:
    """Hosts h0, h1, ..., the later ones with more requests."""
    made = Frontier(lambda _: limits)
    number = 0
    for host in range(hosts):
        for _ in range(each + (host if hosts <= 300 else 0)):
            number += 1
            made.add(Request(number, f"http://h{host}/{number}", f"h{host}"), 0.0)
    return made


def of(made: Frontier, host: str, now: float) -> HostState:
    return host_state(made.queues[host], now)


def test_the_hosts_with_most_to_do_are_told() -> None:
    """At most a hundred, the one with most first, with what waits there and is under way."""
    made = frontier(150)
    for _ in range(5):
        made.take(0.0)
    found = Weightiest().of(made.queues, 0.0)
    states = [host_state(host, 0.0) for host in found]
    assert [state.host for state in states] == [f"h{number}" for number in range(149, 49, -1)]
    assert len(states) == HOSTS
    assert all(state.waiting + state.in_flight == int(state.host[1:]) + 1 for state in states)


def test_of_very_many_hosts_the_ranking_is_kept_for_a_while() -> None:
    """What is told of them is of the moment all the same, and a new heavy host comes in later."""
    made, ranking = frontier(3000), Weightiest()
    assert len(ranking.of(made.queues, 0.0)) == HOSTS
    for number in range(9):
        made.add(Request(10_000 + number, f"http://late/{number}", "late"), 0.0)
    assert "late" not in [host.name for host in ranking.of(made.queues, 1.0)]
    assert ranking.of(made.queues, 10.0)[0].name == "late"


@pytest.mark.slow
@pytest.mark.parametrize(("hosts", "seconds"), [(1_000, 0.002), (100_000, 0.02)])
def test_it_costs_little(hosts: int, seconds: float) -> None:
    """2 ms with a thousand hosts; with very many 20 ms on average, as their ranking is kept for a while."""
    made, ranking = frontier(hosts), Weightiest()
    spent = []
    for second in range(20):
        began = process_time()
        [host_state(host, 0.0) for host in ranking.of(made.queues, float(second))]
        spent.append(process_time() - began)
    assert sorted(spent)[len(spent) // 2] < seconds
    assert sum(spent) / len(spent) < seconds


def test_why_a_host_waits_is_told() -> None:
    """Slots, rate, Crawl-delay, a block with and without fault, an allowance, a retry, robots.txt, a broken host."""
    made = frontier(1, each=9, limits=PaceLimits(1, rate=0.5))
    assert of(made, "h0", 0.0) == HostState("h0", 9, 0, 0.0, 0.5, "")
    taken = made.take(0.0)
    assert isinstance(taken, Request)
    assert "as many as it may have" in of(made, "h0", 0.0).why
    made.done("h0", 0.5)
    assert of(made, "h0", 0.5)[3:] == (1.5, 0.5, "its rate is 0.5/s")
    pace = made.pace("h0")
    pace.slow_to(20.0, 0.5)
    assert of(made, "h0", 0.5)[3:] == (20.0, 0.05, "its Crawl-delay is 20 s")
    pace.block(100.0)
    assert of(made, "h0", 0.5)[3:5] == (99.5, 0.05)
    assert of(made, "h0", 0.5).why == "it asked us to wait"
    pace.allow(0, 200.0)
    assert of(made, "h0", 0.5).blocked_for == 199.5
    assert "counted our requests" in of(made, "h0", 0.5).why
    for _ in range(10):
        pace.down(300.0, 300.0, None, Backoff(), Random(1))
    assert of(made, "h0", 300.0).why == "left alone after 10 failures in a row"


def test_a_request_that_is_tried_again_later_is_told() -> None:
    """Where nothing else of the host waits, that is what it waits for."""
    made = frontier(1)
    request = made.take(0.0)
    assert isinstance(request, Request)
    made.again(request, 30.0, 1.0)
    assert of(made, "h0", 1.0) == HostState("h0", 1, 0, 29.0, None, "its next request is tried again then")


def test_the_oldest_requests_are_told() -> None:
    """At most twenty, the oldest first, each with its age and its phase."""
    transfers = [Transfer(f"http://x/{number}", LIMITS, float(number)) for number in range(30)]
    transfers[3].enter(Phase.BODY, 5.0)
    found = oldest(set(transfers), 40.0)
    assert [one.url for one in found] == [f"http://x/{number}" for number in range(OLDEST)]
    assert (found[3].age, found[3].phase, found[0].phase) == (37.0, "body", "connect")


@pytest.mark.parametrize(
    ("hindered", "changes", "told"),
    [
        (FREE._replace(stopping=True, paused=True), {}, "stopping: waits for 32 requests under way"),
        (FREE._replace(paused=True), {"in_flight": 1}, "paused: waits to be resumed; 1 request under way may end"),
        (FREE._replace(full="limits.memory is reached"), {}, "nothing new is begun: limits.memory is reached"),
        (FREE._replace(idle=0), {}, "waits for 32 requests under way: all workers are busy"),
        (FREE._replace(paying=True, rate=5.0), {}, "waits for limits.rate: 5/s"),
        (FREE, {"waiting": 0, "importing": True}, "waits for its input lists"),
        (FREE, {"waiting": 0}, "waits for 32 requests under way"),
        (FREE, {"in_flight": 0}, "waits for b: why b, and 1 hosts more"),
    ],
)
def test_what_is_waited_for_is_one_sentence(hindered: Hindered, changes: dict[str, object], told: str) -> None:
    """The nearest cause is told: a person's word before limits, those before hosts."""
    hosts = [HostState("a", 1, 0, 9.0, None, "why a"), HostState("b", 1, 0, 2.0, None, "why b")]
    assert waits_for(SNAPSHOT._replace(**changes), hindered, hosts) == told


def test_a_dump_is_bounded_and_inert() -> None:
    """However much waits, there are at most sixty lines, none with a control character."""
    hosts = [HostState(f"h\x1b{number}", 1, 0, float(number), None, "why") for number in range(100)]
    olds = oldest({Transfer(f"http://x/{number}\u202e\n", LIMITS, 0.0) for number in range(30)}, 9.0)
    lines = list(dump(SNAPSHOT, hosts, olds, "waits", Process(5 << 20, 7, 0)))
    assert len(lines) <= LINES
    assert all(line.startswith("state: ") and line.isprintable() for line in lines)
    assert "memory=5MiB tasks=7" in lines[0]
    assert "h\\x1b99" in lines[2]
    assert "70 hosts more" in "".join(lines)
