"""When a start must be over: after so much time at work, or at a time of the day.

Decides how long is left. Must not know clocks or what is stopped: each look is given the wall clock, which may have
been set meanwhile, and a steady one, which counts also while the machine sleeps and is never set. Invariant: what is
left is never more than `max_time`, nor more than the longest day; a clock set back or forth moves `until` with it, and
`max_time` not at all.
"""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo
from math import inf
from typing import NamedTuple

from crawler.units import render_duration

_LONGEST_DAY = 25 * 3600.0  # seconds: that on which summer time ends


class Left(NamedTuple):
    """Seconds until the deadline, 0 where it has passed, and which one it is."""

    seconds: float
    why: str


class Deadline:
    """The bounds of one start; `zone` is that of `until`, None: the machine's."""

    def __init__(
        self, max_time: float | None, until: str | None, wall: float, steady: float, zone: tzinfo | None = None
    ) -> None:
        self._max_time = max_time
        self._until = until
        self._zone = zone
        self._ends = steady + max_time if max_time is not None else inf
        self._latest = steady + _LONGEST_DAY
        self._moment = next_reading(until, wall, zone) if until is not None else inf

    def __repr__(self) -> str:
        return f"<Deadline max_time={self._max_time} until={self._until} at {self._moment:.0f}>"

    def begin(self, steady: float) -> None:
        """From now on time counts for `max_time`: it waits for nobody any more."""
        if self._max_time is not None:
            self._ends = steady + self._max_time

    def left(self, wall: float, steady: float) -> Left:
        """What is left now, by whichever bound comes first; `inf` where there is none."""
        found = Left(inf, "")
        if self._max_time is not None:
            found = Left(max(0.0, min(self._max_time, self._ends - steady)), _named(self._max_time))
        if self._until is not None:
            # The clock may have been set back: then that time of the day comes earlier than was reckoned.
            self._moment = min(self._moment, next_reading(self._until, wall, self._zone))
            seconds = max(0.0, min(self._moment - wall, self._latest - steady))
            if seconds < found.seconds:
                found = Left(seconds, f"until {self._until}")
        return found


def next_reading(time_of_day: str, wall: float, zone: tzinfo | None) -> float:
    """The first wall second after `wall` at which local clocks show `time_of_day`, or are put forward over it."""
    hour, minute = map(int, time_of_day.split(":"))
    day = datetime.fromtimestamp(wall, zone)
    # Tomorrow's is later than now in any zone, but for clocks that are put back by a day.
    for ahead in range(3):
        there = (day + timedelta(days=ahead)).replace(hour=hour, minute=minute, second=0, microsecond=0)
        for fold in (0, 1):
            moment = _moment(there.replace(fold=fold), zone)
            if moment > wall:
                return moment
    return wall + _LONGEST_DAY


def _moment(there: datetime, zone: tzinfo | None) -> float:
    """The wall second of a local time; of one that is skipped, the second at which clocks are put forward."""
    moment = there.timestamp()
    if _offset(moment, zone, there):
        return moment
    low, high = sorted((there.replace(fold=0).timestamp(), there.replace(fold=1).timestamp()))
    while high - low > 1:  # before the change at `low`, behind it at `high`
        middle = (low + high) // 2
        low, high = (middle, high) if _local(middle, zone) < there.replace(tzinfo=None) else (low, middle)
    return high


def _offset(moment: float, zone: tzinfo | None, there: datetime) -> bool:
    """Do local clocks show `there` at that moment."""
    return _local(moment, zone) == there.replace(tzinfo=None, fold=0)


def _local(moment: float, zone: tzinfo | None) -> datetime:
    return datetime.fromtimestamp(moment, zone).replace(tzinfo=None, fold=0)


def _named(max_time: float) -> str:
    return f"max_time {render_duration(max_time)}"
