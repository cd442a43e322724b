"""How fast one host may be asked: concurrency, rate with burst, and blocks, all folded into one `not_before`.

Decides the earliest moment of a host's next request. Must not know which requests wait, nor read a clock: `now` is
monotonic seconds, given. Invariant: in any window of w seconds no more than rate*w + burst requests are taken, never
more than `concurrency` are out, and none is taken before `blocked_until`.

The token bucket is kept as GCRA (ITU-T I.371): one number, the theoretical arrival time, instead of a level and a
time of last refill.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple


class PaceLimits(NamedTuple):
    """What a host allows: requests out at once, requests per second (None: any), requests in one go after a pause."""

    concurrency: int
    rate: float | None = None
    burst: int = 1


class Pace:
    """The pace of one host."""

    __slots__ = ("_arrival", "_interval", "_tolerance", "blocked_until", "concurrency", "faults", "in_flight", "window")

    def __init__(self, limits: PaceLimits) -> None:
        self.concurrency = limits.concurrency
        self._interval = 1.0 / limits.rate if limits.rate else 0.0
        self._tolerance = self._interval * (limits.burst - 1)
        self._arrival = -inf  # theoretical arrival time of the next request at an even pace
        self.in_flight = 0
        self.blocked_until = -inf
        self.faults = 0  # in a row, counted once per window
        self.window = -inf  # requests sent before this moment belong to a fault that was counted already

    def __repr__(self) -> str:
        return (
            f"<Pace out={self.in_flight}/{self.concurrency} interval={self._interval:g}s "
            f"blocked_until={self.blocked_until:.3f} faults={self.faults}>"
        )

    def not_before(self, now: float) -> float:
        """Earliest moment of the next request; `inf` while every slot is taken (a release must come first)."""
        if self.in_flight >= self.concurrency:
            return inf
        earliest = self._arrival - self._tolerance
        blocked = self.blocked_until
        return earliest if earliest > blocked else blocked

    def take(self, now: float) -> None:
        """Count one request as sent at `now`; the caller has looked at `not_before`."""
        self.in_flight += 1
        if self._interval:
            arrival = self._arrival
            self._arrival = (arrival if arrival > now else now) + self._interval

    def release(self) -> None:
        """Give the slot of one request back."""
        self.in_flight -= 1

    def block(self, until: float) -> None:
        """Let nothing go before `until`; a shorter block never lifts a longer one."""
        if until > self.blocked_until:
            self.blocked_until = until

    def restart(self, now: float) -> None:
        """After a restart the burst counts as used up: what the killed process sent last is not known."""
        self._arrival = now + self._tolerance + self._interval if self._interval else -inf

    def fault(self, sent_at: float, now: float) -> bool:
        """Count a fault of the host; False when the request went out before the last counted one was known.

        Sixty-four requests in flight when a host falls over are one fault, not sixty-four.
        """
        if sent_at < self.window:
            return False
        self.faults += 1
        self.window = now
        return True

    def fine(self) -> None:
        """The host answered well: faults in a row end."""
        self.faults = 0
