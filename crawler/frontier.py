"""What waits to be fetched, by host: a heap of deadlines over hosts, a short window of requests for each.

Decides which request goes next and when. Must not know fetching, files or the clock (`now` is given, monotonic).
Invariant: every request known is in exactly one of window, delayed, stored or leased; a host is due at the maximum of
its pace and its earliest request; no host's wait delays another's.

Only windows are in memory: about two seconds of a host's pace each, and `in_memory` requests in all. The rest are a
count (`stored`) of rows that the checkpoint holds with an id above `cursor`. A host asks for its next window shortly
before it is due; one that is blocked for long gives its window back, and is fetched from the store again.

After BUbiNG (Boldi et al., 2014): politeness, retries and failing hosts are all deadlines that move later. Hosts whose
own pace sets the end of the run go first, every other turn (Graham's longest-processing-time rule, 1969).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from heapq import heappop, heappush
from math import inf
from typing import NamedTuple

from crawler.hostqueue import READY, UNSCHEDULED, Feeding, HostQueue, Turns
from crawler.model import Request
from crawler.pace import Pace, PaceLimits, PaceState

_LEAD = 0.5  # seconds before it is due that a host asks for its window
_FAR = 5.0  # a host that is due later than this gives its window back
_AHEAD = 2.0  # seconds of its pace that a window holds
_UNPACED = 64  # requests in the window of a host without a rate
_URGENT = 50_000  # ids that may be remembered as having gone before others


class WaitUntil(NamedTuple):
    """Nothing may go before `moment` (`inf`: not before something is released, refilled or added)."""

    moment: float


class Drained(Enum):
    """The sources are exhausted and nothing is outstanding."""

    DRAINED = "drained"


DRAINED = Drained.DRAINED


class Want(NamedTuple):
    """A host whose window runs low: rows of `host` with an id above `after` are asked for, `limit` of the `known`."""

    host: str
    after: int
    limit: int
    known: int = 0


class FrontierState(NamedTuple):
    """Counts for people and tests."""

    waiting: int
    leased: int
    hosts: int
    hosts_waiting: int
    next_at: float


class Frontier:
    """All hosts. `limits_of` gives a host's pace; `in_memory` bounds the requests held in all windows together."""

    def __init__(self, limits_of: Callable[[str], PaceLimits], *, in_memory: int = 16_384) -> None:
        self._limits_of = limits_of
        self._in_memory = in_memory
        self._hosts: dict[str, HostQueue] = {}
        self._ready = Turns()
        self._hungry = Turns()
        self._heap: list[tuple[float, int, HostQueue]] = []
        self._ticket = 0  # breaks ties in the heaps: first come, first served
        self._waiting = 0
        self._leased = 0
        self._held = 0  # requests in windows, and those asked for
        self._hurried = 0
        self._open = True
        # The host whose own pace takes longest, in seconds as of a moment: it sets the end of the run.
        self._longest: tuple[float, float, str | None] = (0.0, 0.0, None)

    def __repr__(self) -> str:
        return f"<Frontier waiting={self._waiting} leased={self._leased} hosts={len(self._hosts)} open={self._open}>"

    # -- what comes in ------------------------------------------------------------------------------------------------

    def add(self, request: Request, now: float) -> None:
        """A new request, whose row the checkpoint gets as well; it is kept in memory only while its window has room."""
        host = self._host(request.host)
        host.named = host.named or not request.depth
        self._waiting += 1
        if request.urgent and self._hurried < _URGENT:
            self._hurried += 1
            host.hurry(request)
            self._reschedule(host, now)
            return
        window = host.window
        room = self._held < self._in_memory and (not window or len(window) < self._size(host))
        if host.stored or host.feeding is not Feeding.NOT or not room:
            host.stored += 1
            if host.stored & (host.stored - 1) == 0:  # now and then: it may have become one that sets the end
                self._feed(host, now)
                self._promote(host, now)
            return
        if window is None:
            window = host.window = deque()
        window.append(request)
        self._held += 1
        host.cursor = request.id
        host.low = len(window) // 2
        self._reschedule(host, now)

    def restore(
        self, name: str, stored: int, now: float, state: PaceState | None = None, *, named: bool | None = None
    ) -> None:
        """A host as the checkpoint knew it: `stored` rows wait there; its burst counts as used up. `named`: does the
        input name it, where not all rows are of the input.
        """
        host = self._host(name)
        host.named = host.named or (stored > 0 if named is None else named)
        host.pace.restore(state or PaceState(), now)
        host.stored += stored
        self._waiting += stored
        self._feed(host, now)

    def refill(self, want: Want, rows: Iterable[tuple[Request, float]], now: float) -> None:
        """The answer to a Want: requests in the order of their ids, each with its own not_before (0: at once)."""
        host = self._hosts[want.host]
        host.feeding = Feeding.NOT
        self._held -= want.limit
        passed = host.passed
        for request, not_before in rows:
            if passed is not None and request.id in passed:
                host.cursor = request.id
                continue  # it went before its turn
            host.stored -= 1
            host.cursor = request.id
            if not_before > now:
                self._delay(host, request, not_before)
                host.skipped = request.id
                continue
            if host.window is None:
                host.window = deque()
            host.window.append(request)
            self._held += 1
        host.low = want.limit // 2
        self._reschedule(host, now)

    def close(self) -> None:
        """The sources are exhausted: no `add` will come."""
        self._open = False

    # -- what goes out ------------------------------------------------------------------------------------------------

    def take(self, now: float) -> Request | WaitUntil | Drained:
        """Lease the next request that may go at `now`, or say until when nothing may."""
        heap, ready = self._heap, self._ready
        while heap and heap[0][0] <= now:
            deadline, _, host = heappop(heap)
            if host.due == deadline:  # else it was scheduled earlier meanwhile
                host.due = READY
                ready.append(host, first=self._sets_the_end(host, now))
        while ready:
            host = ready.pop()
            if host.due != READY:
                continue  # it stood in both lines
            host.due = UNSCHEDULED
            if host.not_before(now) <= now:
                request = self._pop(host, now)
                host.pace.take(now)
                self._waiting -= 1
                self._leased += 1
                self._schedule(host, now)
                return request
            self._schedule(host, now)
        if self._waiting == 0 and self._leased == 0 and not self._open:
            return DRAINED
        return WaitUntil(heap[0][0] if heap else inf)

    def hungry(self, limit: int) -> list[Want]:
        """Windows to fill, as far as memory has room; each host is named once until its `refill`."""
        wants: list[Want] = []
        # A host with nothing in memory is never refused for long: each answer gives back what it did not use.
        while self._hungry and len(wants) < limit and self._held < self._in_memory:
            host = self._hungry.pop()
            if host.feeding is not Feeding.IN_LINE:
                continue  # it stood in both lines
            host.feeding = Feeding.ASKED
            wants.append(Want(host.name, host.cursor, self._size(host), host.stored))
            self._held += wants[-1].limit
        return wants

    # -- what comes back ----------------------------------------------------------------------------------------------

    def done(self, host: str, now: float, *, sent: bool = True) -> None:
        """A leased request of `host` has come to its end; one that was not sent at all costs its host no time."""
        self._leased -= 1
        found = self._hosts[host]
        if not sent:
            found.pace.take_back()
        self._release(found, now)
        if not sent:  # the next is due earlier than it was scheduled for
            self._reschedule(found, now)

    def lend(self, host: str, now: float) -> bool:
        """One more connection for a leased request of `host`, as far as its pace allows another request at once. It is
        given back by `done`.
        """
        found = self._hosts[host]
        if found.held or found.pace.not_before(now) > now:
            return False
        found.pace.take(now)
        self._leased += 1
        return True

    def again(self, request: Request, not_before: float, now: float, *, came_from: str | None = None) -> None:
        """A leased request waits again: a retry, or a redirect hop that now stands at another host."""
        self._leased -= 1
        self._waiting += 1
        old = self._hosts[came_from or request.host]
        host = self._host(request.host)
        if request.robots is not None:
            host.errands = [*(host.errands or ()), request]
        else:
            self._delay(host, request, not_before)
        self._release(old, now)
        self._reschedule(host, now)

    def hold(self, request: Request, now: float) -> bool:
        """A leased request goes back, and nothing of its host goes until `let_go`. True: its slot stays taken, and
        robots.txt is to be asked for in its place, which ends by `done` or `again` as any request does.
        """
        host = self._hosts[request.host]
        self._waiting += 1
        self._delay(host, request, 0.0)
        if host.held:  # it was taken beside the one for which that is asked already
            self.done(request.host, now, sent=False)
            return False
        host.held = True
        return True

    def let_go(self, host: str, now: float) -> None:
        """The robots.txt that a host was held for is known, or will be asked for again."""
        held = self._hosts[host]
        held.held = False
        self._reschedule(held, now)

    def pace(self, host: str) -> Pace:
        """The pace of a host, to be told of answers; what makes it later needs no rescheduling."""
        return self._host(host).pace

    def limit(self, names: Iterable[str], now: float) -> int:
        """Let today's `limits_of` hold for these hosts; to how many that was news."""
        changed = 0
        for name in names:
            host = self._hosts[name]
            limits = self._limits_of(name)
            if limits != host.pace.limits:
                changed += 1
                host.pace.limit_to(limits, now)
                self._reschedule(host, now)
        return changed

    def named(self, host: str) -> bool:
        """Does the job's own input name this host."""
        found = self._hosts.get(host)
        return found is not None and found.named

    # -- what is told -------------------------------------------------------------------------------------------------

    def state(self) -> FrontierState:
        """Counts, at once for any number of hosts; a host that was scheduled anew may be counted twice for a while."""
        return FrontierState(
            self._waiting, self._leased, len(self._hosts), len(self._heap), self._heap[0][0] if self._heap else inf
        )

    def longest(self, now: float) -> tuple[float, str | None]:
        """Seconds that the host with most to do needs at its own pace, and its name."""
        seconds, at, name = self._longest
        return max(0.0, seconds - (now - at)), name

    @property
    def queues(self) -> Mapping[str, HostQueue]:
        """Every host's queue by its name, to look at."""
        return self._hosts

    @property
    def waiting(self) -> int:
        """Requests known and not leased."""
        return self._waiting

    @property
    def ready(self) -> bool:
        """May more go at once, as far as is known; a look costs nothing."""
        return bool(self._ready)

    @property
    def leased(self) -> int:
        """Requests taken and not yet given back."""
        return self._leased

    # -----------------------------------------------------------------------------------------------------------------

    def _host(self, name: str) -> HostQueue:
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = HostQueue(name, Pace(self._limits_of(name)))
        return host

    def _size(self, host: HostQueue) -> int:
        """Requests of a window: what the pace lets go in some seconds, or a fair share of memory if that is more."""
        spacing = host.pace.spacing
        ahead = min(256, int(_AHEAD / spacing) + 1) if spacing else _UNPACED
        return max(ahead, min(1024, self._in_memory // (4 * len(self._hosts))))

    def _pop(self, host: HostQueue, now: float) -> Request:
        before = len(host.window) if host.window else 0
        request = host.pop(now)
        if before:
            self._held -= before - len(host.window or ())
        return request

    def _delay(self, host: HostQueue, request: Request, not_before: float) -> None:
        if host.delayed is None:
            host.delayed = []
        self._ticket += 1
        heappush(host.delayed, (not_before, self._ticket, request))

    def _release(self, host: HostQueue, now: float) -> None:
        host.pace.release()
        if host.due < 0:
            self._schedule(host, now)

    def _reschedule(self, host: HostQueue, now: float) -> None:
        """Something of the host may be due earlier than it is scheduled for."""
        if host.due != READY:
            self._schedule(host, now)

    def _schedule(self, host: HostQueue, now: float) -> None:
        due = host.not_before(now)
        if due <= now:
            host.due = READY
            self._ready.append(host, first=self._sets_the_end(host, now))
        elif due < inf:
            self._wake_at(host, due)
            if due > now + _FAR and host.window:
                self._held -= host.unload()
        if host.stored and host.feeding is Feeding.NOT and (not host.window or len(host.window) <= host.low):
            self._feed(host, now)

    def _wake_at(self, host: HostQueue, due: float) -> None:
        if host.due < 0 or due < host.due:
            host.due = due
            self._ticket += 1
            heappush(self._heap, (due, self._ticket, host))

    def _feed(self, host: HostQueue, now: float) -> None:
        """Ask for the next window when it will be needed soon; else see to it that somebody looks again then."""
        if not host.stored or host.held:
            return
        if host.feeding is Feeding.ASKED:
            return
        if host.feeding is Feeding.IN_LINE:
            if self._sets_the_end(host, now):  # it was not when it got in line
                self._hungry.append(host, first=True)
            return
        if host.window and len(host.window) > host.low:
            return
        soon = host.pace.not_before(now) - _LEAD
        if soon <= now or soon == inf:
            host.feeding = Feeding.IN_LINE
            self._hungry.append(host, first=self._sets_the_end(host, now))
        elif not host.window and host.due != READY:
            self._wake_at(host, soon)

    def _promote(self, host: HostQueue, now: float) -> None:
        if host.due == READY and self._sets_the_end(host, now):
            self._ready.append(host, first=True)

    def _sets_the_end(self, host: HostQueue, now: float) -> bool:
        """Does it need at least half as long as the host that needs longest."""
        spacing = host.pace.spacing
        if not spacing:
            return False
        mine = (host.stored + len(host.window or ()) + len(host.delayed or ())) * spacing
        seconds, at, _ = self._longest
        longest = seconds - (now - at)
        if mine >= longest:
            self._longest = (mine, now, host.name)
        return mine > 1.0 and 2 * mine >= longest
