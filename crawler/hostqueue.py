"""The queue of one host, and the line in which hosts stand.

Decides which of a host's requests is next, and whose turn it is. Must not know the other hosts, nor read a clock.
Invariant: the ids in a window ascend, and those above `skipped` lie above all that were leased; `stored` counts the
rows above `cursor` that are neither in the window nor delayed.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from heapq import heappop
from math import inf

from crawler.model import Request
from crawler.pace import Pace

UNSCHEDULED = -1.0
READY = 0.0


class Feeding(Enum):
    """How far a host is with its next window."""

    NOT = 0
    IN_LINE = 1
    ASKED = 2


class HostQueue:
    """One politeness key and its queue. Containers are made when first needed: most of 10^5 hosts are idle."""

    __slots__ = (
        *("cursor", "delayed", "due", "errands", "feeding", "held"),
        *("low", "name", "named", "pace", "passed", "skipped", "stored", "urgent", "window"),
    )

    def __init__(self, name: str, pace: Pace) -> None:
        self.name = name
        self.pace = pace
        self.window: deque[Request] | None = None
        self.delayed: list[tuple[float, int, Request]] | None = None  # a heap by not_before
        self.urgent: deque[Request] | None = None  # goes before the window
        self.passed: set[int] | None = None  # ids that were urgent: the store names them again in their turn
        self.errands: list[Request] | None = None  # go first, even while it is held: robots.txt of whomever
        self.stored = 0
        self.cursor = 0
        self.skipped = 0  # the highest id that was not put into a window, since it was not due
        self.low = 0  # a window of no more than this wants to be filled
        self.feeding = Feeding.NOT
        self.held = False  # nothing goes until its robots.txt is known
        self.named = False  # the job's own input names it
        self.due = UNSCHEDULED

    def not_before(self, now: float) -> float:
        """When its next request may go; `inf` while it has none in memory, no free slot, or is held."""
        if self.errands:
            return self.pace.not_before(now)
        if self.held:
            return inf
        if self.window or self.urgent:
            return self.pace.not_before(now)
        if self.delayed:
            earliest = self.pace.not_before(now)
            # Nothing is waited for on a host that was given up.
            return max(self.delayed[0][0], earliest) if earliest > -inf or not self.pace.dead else earliest
        return inf

    def unload(self) -> int:
        """Give the window back to the store, from which it will be read again; as many requests as that were."""
        window = self.window
        if not window or self.feeding is not Feeding.NOT:
            return 0
        first = window[0].id
        if first <= self.skipped:
            return 0  # one that is delayed, or leased by now, would be read twice
        self.stored += len(window)
        self.cursor = first - 1
        self.window = None
        return len(window)

    def hurry(self, request: Request) -> None:
        """A request that goes before those in the window, whose row the store holds in its place all the same."""
        if self.urgent is None:
            self.urgent = deque()
        if self.passed is None:
            self.passed = set()
        self.urgent.append(request)
        self.passed.add(request.id)

    def pop(self, now: float) -> Request:
        """The next request: an errand, a delayed one that is due, an urgent one, else the head of the window."""
        if self.errands:
            return self.errands.pop(0)
        delayed = self.delayed
        if delayed and (delayed[0][0] <= now or not (self.window or self.urgent)):
            return heappop(delayed)[2]
        if self.urgent:
            return self.urgent.popleft()
        assert self.window is not None
        return self.window.popleft()


class Turns:
    """Hosts in line, those that set the end of the run in a line of their own; the two lines take turns."""

    __slots__ = ("_last_was_first", "first", "others")

    def __init__(self) -> None:
        self.first: deque[HostQueue] = deque()
        self.others: deque[HostQueue] = deque()
        self._last_was_first = False

    def __bool__(self) -> bool:
        return bool(self.first or self.others)

    def append(self, host: HostQueue, *, first: bool) -> None:
        """To the end of its line."""
        (self.first if first else self.others).append(host)

    def pop(self) -> HostQueue:
        """The head of the line whose turn it is."""
        if self.first and not (self._last_was_first and self.others):
            self._last_was_first = True
            return self.first.popleft()
        self._last_was_first = False
        return self.others.popleft()
