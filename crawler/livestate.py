"""The picture of a run at work beyond its Snapshot: its hosts, its oldest requests, what is waited for.

Decides what is told of them, and in which words. Must not know tasks, sockets or the clock (`now` is monotonic,
given). Invariant: bounded whatever the run: at most HOSTS hosts, OLDEST requests, LINES lines; of very many hosts the
weightiest are looked for now and then only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from heapq import nlargest, nsmallest
from itertools import islice
from math import inf
from typing import NamedTuple

from crawler.hostqueue import HostQueue
from crawler.pace import Pace
from crawler.tally import Snapshot
from crawler.units import render_rate
from crawler.urls import printable
from crawler.watch import Phase, Transfer

HOSTS, OLDEST, LINES = 100, 20, 60
_MANY = 2_000  # hosts; of more the weightiest are looked for every _AGAIN seconds
_AGAIN = 5.0
_LOOKED_AT = 100_000
_URL = 500  # characters
_SHOWN_HOSTS, _SHOWN_OLDEST = 30, 20  # in a dump


class HostState(NamedTuple):
    """One host: requests that wait and that are under way, seconds until the next may go (0: now, or when one under
    way has ended), requests per second that its pace allows (None: any), why it waits ("": it does not).
    """

    host: str
    waiting: int
    in_flight: int
    blocked_for: float
    rate: float | None
    why: str


class OldState(NamedTuple):
    """One request under way: its URL, its age in seconds, its phase."""

    url: str
    age: float
    phase: str


class Hindered(NamedTuple):
    """What keeps the whole run from beginning something new: `full` says why memory or disk do, `paying`: limits.rate
    does; of the workers so many are `idle`.
    """

    paused: bool
    stopping: bool
    full: str
    rate: float | None
    paying: bool
    idle: int


class Process(NamedTuple):
    """What this process holds: resident bytes, tasks, requests handed to workers and not begun."""

    memory: int
    tasks: int
    queued: int


class Weightiest:
    """The hosts with most to do."""

    def __init__(self) -> None:
        self._at = -inf
        self._names: list[str] = []

    def of(self, queues: Mapping[str, HostQueue], now: float) -> list[HostQueue]:
        """At most HOSTS of them, the weightiest first."""
        if len(queues) <= _MANY or now - self._at >= _AGAIN:
            self._at = now
            found = nlargest(HOSTS, islice(queues.values(), _LOOKED_AT), key=_weight)
            self._names = [host.name for host in found]
            return found
        return sorted((queues[name] for name in self._names), key=_weight, reverse=True)


def host_state(host: HostQueue, now: float) -> HostState:
    """How one host stands."""
    pace = host.pace
    blocked, why = _why(host, now)
    rate = 1.0 / pace.interval if pace.interval else None
    return HostState(host.name, waiting_of(host), pace.in_flight, blocked, rate, why)


def waiting_of(host: HostQueue) -> int:
    """Requests of a host that wait, in memory or in the checkpoint."""
    return host.stored + sum(len(queue) for queue in (host.window, host.delayed, host.urgent) if queue)


def oldest(transfers: Iterable[Transfer], now: float) -> list[OldState]:
    """The requests longest under way, the oldest first."""
    first = nsmallest(OLDEST, transfers, key=lambda transfer: transfer.started)
    return [OldState(one.url[:_URL], now - one.started, Phase(one.phase).name.lower()) for one in first]


def waits_for(snapshot: Snapshot, hindered: Hindered, hosts: Iterable[HostState]) -> str:
    """What is waited for, in a sentence."""
    under_way = _counted(snapshot.in_flight, "request", "under way")
    if hindered.stopping:
        return f"stopping: waits for {under_way}" if snapshot.in_flight else "stopping"
    if hindered.paused:
        ends = f"; {under_way} may end" if snapshot.in_flight else ""
        return f"paused: waits to be resumed{ends}"
    if hindered.full:
        return f"nothing new is begun: {hindered.full}"
    if hindered.idle <= 0:
        return f"waits for {under_way}: all workers are busy"
    if hindered.paying and hindered.rate is not None:
        return f"waits for limits.rate: {render_rate(hindered.rate)}"
    if not snapshot.waiting:
        return "waits for its input lists" if snapshot.importing else f"waits for {under_way}"
    held = [host for host in hosts if host.waiting and host.why]
    if not held:
        return f"waits for {under_way}" if snapshot.in_flight else "waits for nothing"
    first = min(held, key=lambda host: host.blocked_for)
    others = f", and {len(held) - 1} hosts more" if len(held) > 1 else ""
    return f"waits for {printable(first.host)}: {first.why}{others}"


def dump(
    snapshot: Snapshot,
    hosts: list[HostState],
    olds: list[OldState],
    waits: str,
    process: Process,
) -> Iterator[str]:
    """The same as lines for a log, at most LINES."""
    yield (
        f"state: {snapshot.state}, {snapshot.done} of {snapshot.known} done, in_flight={snapshot.in_flight} "
        f"waiting={snapshot.waiting} queued={process.queued} hosts={snapshot.hosts} "
        f"memory={process.memory >> 20}MiB tasks={process.tasks}"
    )
    yield f"state: {waits}"
    held = sorted((host for host in hosts if host.why), key=lambda host: -host.blocked_for)
    for host in held[:_SHOWN_HOSTS]:
        yield (
            f"state: host {printable(host.host)} waiting={host.waiting} in_flight={host.in_flight} "
            f"blocked_for={host.blocked_for:.1f}s: {host.why}"
        )
    if len(held) > _SHOWN_HOSTS:
        yield f"state: {len(held) - _SHOWN_HOSTS} hosts more that wait"
    for old in olds[:_SHOWN_OLDEST]:
        yield f"state: under way for {old.age:.1f}s, phase {old.phase}: {printable(old.url, _URL)}"


def _weight(host: HostQueue) -> int:
    window = host.window
    return host.stored + host.pace.in_flight + (len(window) if window else 0)


def _why(host: HostQueue, now: float) -> tuple[float, str]:
    """For how many seconds nothing of a host goes, and why."""
    pace = host.pace
    if pace.dead:
        return 0.0, "given up: nothing but failures since [breaker] give_up"
    if host.held and not host.errands:
        return 0.0, "its robots.txt is asked for"
    if pace.in_flight >= pace.concurrency:
        return 0.0, _slots(pace)
    due = pace.not_before(now)
    if due > now:
        return due - now, _late(pace, due)
    if not (host.window or host.urgent or host.errands) and host.delayed and host.delayed[0][0] > now:
        return host.delayed[0][0] - now, "its next request is tried again then"
    return 0.0, ""


def _slots(pace: Pace) -> str:
    if pace.breaker is not None and pace.breaker.open:
        return f"one request at a time after {_counted(pace.breaker.failures, 'failure', 'in a row')}"
    if pace.crawl_delay and pace.concurrency == 1:
        return f"one request at a time under its Crawl-delay of {pace.crawl_delay:g} s"
    return f"{_counted(pace.concurrency, 'request', 'at once are out, as many as it may have')}"


def _late(pace: Pace, due: float) -> str:
    if due == pace.blocked_until:
        if pace.breaker is not None and pace.breaker.open:
            return f"left alone after {_counted(pace.breaker.failures, 'failure', 'in a row')}"
        faults = _counted(pace.faults, "fault", "in a row")
        return f"left alone after {faults}" if pace.faults else "it asked us to wait"
    if due == pace.counted_until:
        return "it has counted our requests, and allows no more until then"
    if pace.crawl_delay and pace.crawl_delay == pace.interval:
        return f"its Crawl-delay is {pace.crawl_delay:g} s"
    learned = pace.learned.rate if pace.learned is not None else None
    if learned is not None and 1.0 / learned == pace.interval:
        return f"it bears {learned:.3g}/s, as was learned"
    return f"its rate is {1.0 / pace.interval:.3g}/s" if pace.interval else "its pace"


def _counted(number: int, noun: str, rest: str) -> str:
    return f"{number:,} {noun if number == 1 else f'{noun}s'} {rest}"
