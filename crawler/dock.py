"""Which parcel is sent next, and when: retries with backoff, a target that rests, one that is left alone.

Decides by what arrived and what did not. Must not know targets, files or threads; `now` is monotonic, `rng` given.
Invariant: after a fault of the target one parcel at a time is sent until one arrives; a target that refused REFUSALS
parcels in a row gets none before `close`, and then one; a parcel's attempts count only where the target was well.
"""

from __future__ import annotations

import heapq
from math import inf
from random import Random
from typing import NamedTuple

from crawler.parcels import COURSES, Parcel, Trouble
from crawler.retry import Backoff

REFUSALS = 5


class _Tried(NamedTuple):
    """Attempts that count, and how many parcels had arrived at the last of them."""

    attempts: int
    arrived: int


class Dock:
    """The parcels of one start that were read from the checkpoint and did not arrive yet.

    `probing`: parcels had failed when the last process ended, so one refusal is enough to leave the target alone.
    """

    def __init__(self, parallel: int, attempts: int, backoff: Backoff, *, probing: bool = False) -> None:
        self._parallel = parallel
        self._attempts = attempts
        self._backoff = backoff
        self._heap: list[tuple[float, int, Parcel]] = []  # by the moment when each is due: 0.0 is at once
        self._tried: dict[int, _Tried] = {}
        self._under_way: dict[int, int] = {}  # faults of the target when each was sent
        self._rest = 0.0  # nothing is sent before this moment
        self._faults = 0  # of the target, ever
        self._streak = int(probing)  # faults since a parcel arrived; those sent side by side are one
        self._refused = REFUSALS - 1 if probing else 0  # refusals since a parcel arrived
        self._arrived = 0
        self._closing = False
        self.shut = False  # the target is left alone

    def __repr__(self) -> str:
        state = "shut" if self.shut else f"streak={self._streak}" if self._streak else "well"
        return f"<Dock {state} waiting={len(self._heap)} under_way={len(self._under_way)}>"

    def __len__(self) -> int:
        """Parcels that wait here."""
        return len(self._heap)

    @property
    def idle(self) -> bool:
        """Nothing is under way."""
        return not self._under_way

    @property
    def over(self) -> bool:
        """Closing, and nothing of what is here will be sent any more."""
        return self._closing and self.idle and (self.shut or not self._heap)

    @property
    def troubled(self) -> bool:
        """The target has failed more than once since anything arrived."""
        return self._streak > 1

    def put(self, parcel: Parcel) -> None:
        """One more that waits."""
        heapq.heappush(self._heap, (0.0, parcel.n, parcel))

    def next(self, now: float) -> Parcel | None:
        """What is to be sent now, if anything; ends with `arrived` or `failed`."""
        if self._starts() > now:
            return None
        parcel = heapq.heappop(self._heap)[2]
        self._under_way[parcel.n] = self._faults
        return parcel

    def wakes(self) -> float:
        """The moment when `next` may have something by time alone; inf when something must happen first."""
        return self._starts()

    def arrived(self, parcel: Parcel) -> None:
        """A parcel that was sent is there: the target is well."""
        self._under_way.pop(parcel.n)
        self._tried.pop(parcel.n, None)
        self._arrived += 1
        self._streak = self._refused = 0
        self._rest = 0.0

    def failed(self, parcel: Parcel, trouble: Trouble, now: float, rng: Random) -> bool:
        """A parcel that was sent is not there; False when it is given up in this start."""
        course = COURSES[trouble]
        sent_at = self._under_way.pop(parcel.n)
        if course.of_target:
            self._strain(sent_at, now, rng, refusal=course.refusal)
        before = self._tried.get(parcel.n)
        attempts = before.attempts if before is not None else 0
        if before is None or not course.of_target or self._arrived > before.arrived:
            attempts += 1
        if attempts >= (self._attempts if course.tries is None else min(course.tries, self._attempts)):
            self._tried.pop(parcel.n, None)
            return False
        self._tried[parcel.n] = _Tried(attempts, self._arrived)
        due = now + self._backoff.delay(attempts, rng)
        heapq.heappush(self._heap, (due, parcel.n, parcel._replace(attempts=parcel.attempts + 1, before=True)))
        return True

    def close(self) -> None:
        """The crawl is over: whatever waits is due, before what is read later, also at a target that was left alone."""
        self._closing = True
        self._heap = [(0.0, n, parcel) for _, n, parcel in self._heap]
        heapq.heapify(self._heap)
        self._rest = 0.0
        self._streak = min(self._streak, 1)
        if self.shut:
            self.shut, self._refused = False, REFUSALS - 1

    def left(self) -> list[Parcel]:
        """What was tried and waits still."""
        return [parcel for _, n, parcel in self._heap if n in self._tried]

    def _starts(self) -> float:
        allowed = 1 if self._streak else self._parallel
        if self.shut or not self._heap or len(self._under_way) >= allowed:
            return inf
        return max(self._rest, self._heap[0][0])

    def _strain(self, sent_at: int, now: float, rng: Random, *, refusal: bool) -> None:
        """Let the target rest; what was sent before it was known to be in trouble says nothing new."""
        if sent_at == self._faults:
            self._streak += 1
        self._faults += 1
        self._refused = self._refused + 1 if refusal else 0
        self._rest = max(self._rest, now + self._backoff.delay(self._streak, rng))
        if self._refused >= REFUSALS or (self._closing and self._streak >= max(self._attempts, REFUSALS)):
            self.shut = True
