"""What waits to be fetched, by host: a heap of deadlines over hosts, a short window of requests for each.

Decides which request goes next and when. Must not know fetching, files or the clock (`now` is given, monotonic).
Invariant: every request known is in exactly one of window, delayed, stored or leased; a host is due at the maximum of
its pace and its earliest request; no host's wait delays another's. Only `window` requests of a host are in memory, the
rest are a count (`stored`) of rows that the checkpoint holds with an id above `cursor`, asked for by `hungry()`.

After BUbiNG (Boldi et al., 2014): politeness, retries and failing hosts are all deadlines that move later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from heapq import heappop, heappush
from math import inf
from typing import NamedTuple

from crawler.model import Request
from crawler.pace import Pace, PaceLimits

_UNSCHEDULED = -1.0
_READY = 0.0


class WaitUntil(NamedTuple):
    """Nothing may go before `moment` (`inf`: not before something is released, refilled or added)."""

    moment: float


class Drained(Enum):
    """The sources are exhausted and nothing is outstanding."""

    DRAINED = "drained"


DRAINED = Drained.DRAINED


class Want(NamedTuple):
    """A host whose window runs low: rows of `host` with an id above `after` are asked for, `limit` of them."""

    host: str
    after: int
    limit: int


class FrontierState(NamedTuple):
    """Counts for people and tests."""

    waiting: int
    leased: int
    hosts: int
    hosts_waiting: int
    next_at: float


class _Host:
    """One politeness key and its queue. Containers are made when first needed: most of 10^5 hosts are idle."""

    __slots__ = ("cursor", "delayed", "due", "loading", "name", "pace", "stored", "window")

    def __init__(self, name: str, pace: Pace) -> None:
        self.name = name
        self.pace = pace
        self.window: deque[Request] | None = None
        self.delayed: list[tuple[float, int, Request]] | None = None  # a heap by not_before
        self.stored = 0
        self.cursor = 0
        self.loading = False
        self.due = _UNSCHEDULED

    def not_before(self, now: float) -> float:
        """When its next request may go; `inf` while it has none in memory or no free slot."""
        if self.window:
            return self.pace.not_before(now)
        if self.delayed:
            return max(self.delayed[0][0], self.pace.not_before(now))
        return inf

    def pop(self, now: float) -> Request:
        """The next request: a delayed one that is due, else the head of the window."""
        delayed = self.delayed
        if delayed and (delayed[0][0] <= now or not self.window):
            return heappop(delayed)[2]
        assert self.window is not None
        return self.window.popleft()


class Frontier:
    """All hosts. `limits_of` gives a host's pace; `in_memory` bounds the requests held in all windows together."""

    def __init__(self, limits_of: Callable[[str], PaceLimits], *, in_memory: int = 16_384) -> None:
        self._limits_of = limits_of
        self._in_memory = in_memory
        self._hosts: dict[str, _Host] = {}
        self._ready: deque[_Host] = deque()
        self._heap: list[tuple[float, int, _Host]] = []
        self._hungry: deque[_Host] = deque()
        self._ticket = 0  # breaks ties in the heaps: first come, first served
        self._waiting = 0
        self._leased = 0
        self._open = True

    def __repr__(self) -> str:
        return f"<Frontier waiting={self._waiting} leased={self._leased} hosts={len(self._hosts)} open={self._open}>"

    def add(self, request: Request, now: float) -> None:
        """A new request, whose row the checkpoint gets as well; it is kept in memory only while its window has room."""
        host = self._host(request.host)
        self._waiting += 1
        window = host.window
        if host.stored or host.loading or (window is not None and len(window) >= self._window_size()):
            host.stored += 1
            self._feed_if_low(host)
            return
        if window is None:
            window = host.window = deque()
        window.append(request)
        host.cursor = request.id
        self._reschedule(host, now)

    def restore(self, name: str, stored: int, blocked_until: float, now: float) -> None:
        """A host as the checkpoint knew it: `stored` rows wait there; its burst counts as used up."""
        host = self._host(name)
        host.pace.restart(now)
        host.pace.block(blocked_until)
        host.stored += stored
        self._waiting += stored
        self._feed_if_low(host)

    def refill(self, want: Want, rows: Iterable[tuple[Request, float]], now: float) -> None:
        """The answer to a Want: requests in the order of their ids, each with its own not_before (0: at once)."""
        host = self._hosts[want.host]
        host.loading = False
        for request, not_before in rows:
            host.stored -= 1
            host.cursor = request.id
            if not_before > now:
                self._delay(host, request, not_before)
                continue
            if host.window is None:
                host.window = deque()
            host.window.append(request)
        self._reschedule(host, now)
        self._feed_if_low(host)

    def close(self) -> None:
        """The sources are exhausted: no `add` will come."""
        self._open = False

    def take(self, now: float) -> Request | WaitUntil | Drained:
        """Lease the next request that may go at `now`, or say until when nothing may."""
        heap, ready = self._heap, self._ready
        while heap and heap[0][0] <= now:
            deadline, _, host = heappop(heap)
            if host.due == deadline:  # else it was scheduled earlier meanwhile
                host.due = _READY
                ready.append(host)
        while ready:
            host = ready.popleft()
            host.due = _UNSCHEDULED
            if host.not_before(now) <= now:
                request = host.pop(now)
                host.pace.take(now)
                self._waiting -= 1
                self._leased += 1
                self._schedule(host, now)
                self._feed_if_low(host)
                return request
            self._schedule(host, now)
        if self._waiting == 0 and self._leased == 0 and not self._open:
            return DRAINED
        return WaitUntil(heap[0][0] if heap else inf)

    def hungry(self, limit: int) -> list[Want]:
        """Windows to refill, oldest first; each host is named once until its `refill`."""
        wants: list[Want] = []
        while self._hungry and len(wants) < limit:
            host = self._hungry.popleft()
            room = self._window_size() - (len(host.window) if host.window else 0)
            wants.append(Want(host.name, host.cursor, max(room, 1)))
        return wants

    def done(self, host: str, now: float) -> None:
        """A leased request of `host` has come to its end."""
        self._leased -= 1
        self._release(self._hosts[host], now)

    def again(self, request: Request, not_before: float, now: float, *, came_from: str | None = None) -> None:
        """A leased request waits again: a retry, or a redirect hop that now stands at another host."""
        self._leased -= 1
        self._waiting += 1
        old = self._hosts[came_from or request.host]
        host = self._host(request.host)
        self._delay(host, request, not_before)
        self._release(old, now)
        self._reschedule(host, now)

    def pace(self, host: str) -> Pace:
        """The pace of a host, to be told of faults and blocks; a block needs no rescheduling, it only moves later."""
        return self._host(host).pace

    def state(self) -> FrontierState:
        """Counts, at once for any number of hosts; a host that was scheduled anew may be counted twice for a while."""
        return FrontierState(
            self._waiting, self._leased, len(self._hosts), len(self._heap), self._heap[0][0] if self._heap else inf
        )

    def blocked(self, now: float) -> Iterator[tuple[str, float]]:
        """Hosts that may not be asked yet, with the moment from which they may."""
        for host in self._hosts.values():
            if host.pace.blocked_until > now:
                yield host.name, host.pace.blocked_until

    @property
    def waiting(self) -> int:
        """Requests known and not leased."""
        return self._waiting

    @property
    def leased(self) -> int:
        """Requests taken and not yet given back."""
        return self._leased

    def _host(self, name: str) -> _Host:
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = _Host(name, Pace(self._limits_of(name)))
        return host

    def _window_size(self) -> int:
        return max(8, min(1024, self._in_memory // (len(self._hosts) or 1)))

    def _delay(self, host: _Host, request: Request, not_before: float) -> None:
        if host.delayed is None:
            host.delayed = []
        self._ticket += 1
        heappush(host.delayed, (not_before, self._ticket, request))

    def _release(self, host: _Host, now: float) -> None:
        host.pace.release()
        if host.due < 0:
            self._schedule(host, now)

    def _reschedule(self, host: _Host, now: float) -> None:
        """Something of the host may be due earlier than it is scheduled for."""
        if host.due != _READY:
            self._schedule(host, now)

    def _schedule(self, host: _Host, now: float) -> None:
        due = host.not_before(now)
        if due <= now:
            host.due = _READY
            self._ready.append(host)
        elif due < inf and (host.due < 0 or due < host.due):
            host.due = due
            self._ticket += 1
            heappush(self._heap, (due, self._ticket, host))

    def _feed_if_low(self, host: _Host) -> None:
        if host.stored and not host.loading and (not host.window or len(host.window) * 2 <= self._window_size()):
            host.loading = True
            self._hungry.append(host)
